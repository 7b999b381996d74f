"""Speaking to a lab's keeper from another process, one order at a time."""

import os
import select
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from polysite.errors import OutcomeUnknown, UnknownKey, from_code
from polysite.lab.orders import Answer, AnyOrder, Down, LabStatus, PairRtt, Rtt, Status
from polysite.lab.state import LabFolder, State, end, is_alive
from polysite.server.socket_names import short_name

T = TypeVar("T")

ANSWER_S = 30.0
START_S = 200.0
"""For an order that waits until processes are ready."""
DOWN_S = 40.0


class Control:
    """The lab in a folder, alive. UnknownKey if none lives there; a dead one has left nothing but files."""

    def __init__(self, path: Path) -> None:
        self.folder = LabFolder(path)
        if not is_alive(self.folder):
            raise UnknownKey(f"no lab is up in {path}: polysite lab up, or name another folder with --dir")

    @property
    def state(self) -> State:
        state = self.folder.read()
        if state is None:
            raise UnknownKey("the lab's folder has lost its lab.json")
        return state

    def order(self, order: AnyOrder, *, answer_s: float = ANSWER_S) -> Any:
        """The keeper's answer. Its own errors are raised as they are; OutcomeUnknown: it did not answer in time."""
        with _Line(self.folder, answer_s) as line:
            return line.ask(order)

    def status(self) -> LabStatus:
        return msgspec.convert(self.order(Status()), LabStatus)

    def rtt(self, count: int = 5) -> list[PairRtt]:
        return msgspec.convert(self.order(Rtt(count=count), answer_s=ANSWER_S + count), list[PairRtt])

    def keeper_pid(self) -> int:
        """The keeper's process, by the number that it has here."""
        with _Line(self.folder, ANSWER_S) as line:
            line.ask(Status())
            return line.peer_pid()

    def down(self) -> None:
        """End the lab and wait until nothing of it is left; a keeper that does not answer is killed."""
        keeper = self.state.keeper
        try:
            with _Line(self.folder, ANSWER_S) as line:
                watched = os.pidfd_open(line.peer_pid())
                line.ask(Down())
        except (OSError, OutcomeUnknown):
            if keeper is not None:
                end(keeper)
        else:
            try:
                # Process 1 of a namespace has ended when all others in it have.
                if not select.select([watched], [], [], DOWN_S)[0] and keeper is not None:
                    end(keeper)
            finally:
                os.close(watched)


class _Line:
    """One connection to the keeper."""

    def __init__(self, folder: LabFolder, answer_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(answer_s)
        try:
            with short_name(folder.socket) as name:
                self._socket.connect(name or str(folder.socket))
        except OSError as error:
            self._socket.close()
            raise OutcomeUnknown(
                f"the lab's keeper cannot be spoken to: {error.strerror or error}", reason="peer"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, order: AnyOrder) -> Any:
        try:
            self._socket.sendall(msgspec.json.encode(order) + b"\n")
            with self._socket.makefile("rb") as answers:
                text = answers.readline()
        except TimeoutError:
            raise OutcomeUnknown("the lab's keeper did not answer in time", reason="peer") from None
        except OSError as error:
            raise OutcomeUnknown(f"the lab's keeper went away: {error.strerror}", reason="peer") from None
        if not text:
            raise OutcomeUnknown("the lab's keeper went away before it answered", reason="peer")
        answer = msgspec.json.decode(text, type=Answer)
        if answer.code:
            raise from_code(answer.code, answer.message, {})
        return answer.value

    def peer_pid(self) -> int:
        size = struct.calcsize("3i")
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid: int = struct.unpack("3i", credentials)[0]
        return pid
