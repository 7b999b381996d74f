"""A command that runs while a lock is held, and does not outlive the loss of it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from polysite.cli import exits
from polysite.cli.output import print_note, tell_error
from polysite.errors import LockLost
from polysite.sync import Section

TOKEN_VARIABLE = "POLYSITE_FENCING_TOKEN"  # noqa: S105
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Holding:
    """One command in a process group of its own, so that what it starts ends with it when the lock is lost."""

    def __init__(self, command: list[str], *, grace_s: float, as_json: bool = False) -> None:
        """`grace_s`: between SIGTERM and SIGKILL when the lock is lost. `as_json`: how that is told."""
        self._command = command
        self._as_json = as_json
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Lock()
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._early: list[int] = []
        """Signals that came before the command's process was known: it may be running, and must not miss them."""

    def run(self, section: Section) -> int:
        """Hold `section` while the command runs; its exit code, or the one that says the lock was lost."""
        code = exits.NOT_STARTED
        try:
            with section:
                code = self._run_under(section.fencing_token)
                if self._lost.is_set():
                    self._end_rest()
        except LockLost as error:
            self._end_rest()
            tell_error(error, as_json=self._as_json)
            return exits.LOCK_LOST
        return code

    def end(self) -> None:
        """The lock is lost: SIGTERM to the whole group, SIGKILL after the grace. Called from the keeper's thread."""
        self._lost.set()
        with self._started:
            if self._process is None:
                return
            self._signal_group(signal.SIGTERM)
        if not self._ended.wait(self._grace_s):
            self._signal_group(signal.SIGKILL)

    def _run_under(self, fencing_token: int) -> int:
        environment = {**os.environ, TOKEN_VARIABLE: str(fencing_token)}
        with self._passing_signals():
            with self._started:
                if self._lost.is_set():
                    return exits.LOCK_LOST
                try:
                    process = subprocess.Popen(self._command, env=environment, process_group=0)  # noqa: S603
                except FileNotFoundError:
                    print_note(f"there is no command {self._command[0]}")
                    return exits.NOT_THERE
                except OSError as error:
                    print_note(f"{self._command[0]} cannot be started: {error.strerror}")
                    return exits.NOT_STARTED
                self._process = process
            while self._early:
                self._signal_group(self._early.pop(0))
            with _terminal_of(process.pid):
                code = process.wait()
            self._ended.set()
        return code if code >= 0 else exits.SIGNALLED - code

    def _end_rest(self) -> None:
        """Nothing of the group goes on after the loss, also if the command itself has ended and left others behind."""
        if self._process is not None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals | int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    @contextlib.contextmanager
    def _passing_signals(self) -> Iterator[None]:
        """Signals that this process gets go to the command's group while it runs."""

        def pass_on(number: int, _frame: FrameType | None) -> None:
            if self._process is None:
                self._early.append(number)
            self._signal_group(number)

        before = {number: signal.signal(number, pass_on) for number in PASSED_ON}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _terminal_of(group: int) -> Iterator[None]:
    """The command's group has the terminal while it runs, so that it may read from it and gets what is typed."""
    terminal, ours = -1, None
    with contextlib.suppress(OSError, ValueError):
        terminal = sys.stdin.fileno()
        ours = os.tcgetpgrp(terminal) if os.isatty(terminal) else None
    if ours is None or ours != os.getpgrp():
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, group)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, ours)
        signal.signal(signal.SIGTTOU, before)
