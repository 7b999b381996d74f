"""The keeper's processes: started in a site's network, told when they end, and buried.

The keeper is process 1 of the lab, so orphans of its children come to it too and are buried like its own.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from polysite.errors import Unavailable
from polysite.lab.network import kernel
from polysite.lab.network.devices import inside
from polysite.lab.services.service import Command


@dataclass(eq=False)
class Child:
    """A started process, head of a group of its own."""

    process: "subprocess.Popen[bytes]"
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    frozen: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None: it lives. Negative: the signal that ended it."""
        return self.process.returncode

    def send(self, number: int) -> None:
        """Send a signal to it and to what it has started."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self.send(signal.SIGCONT)
        self.frozen = False

    async def end(self, gentle_s: float) -> None:
        """Ask it to end, and after `gentle_s` make it; 0: at once, also if it is frozen, without letting it go on first."""
        if gentle_s > 0:
            self.send(signal.SIGTERM)
            self.thaw()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(gentle_s):
                    await self.ended.wait()
        self.send(signal.SIGKILL)
        await self.ended.wait()
        self.frozen = False


class Children:
    """All of them. `bound`: the kernel must be told to end each with the keeper, which is not process 1 of a namespace."""

    def __init__(self, environment: Mapping[str, str], *, bound: bool) -> None:
        self._environment = environment
        self._bound = bound
        self._living: dict[int, Child] = {}

    def start(self, command: Command, namespace: int | None, *, files: tuple[int, ...] = ()) -> Child:
        """Start it in a network (None: this machine's), with the open files `files`. Unavailable: it cannot be started."""
        place = inside(namespace) if namespace is not None else contextlib.nullcontext()
        try:
            with place, command.log.open("ab") as log:
                process = subprocess.Popen(  # what runs at the sites is ours to choose
                    list(command.argv),
                    cwd=command.folder,
                    env={**self._environment, **command.variables},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=files,
                    preexec_fn=_die_with_keeper if self._bound else None,  # noqa: PLW1509  # no other thread is here
                )
        except OSError as error:
            raise Unavailable(f"{command.argv[0]} cannot be started: {error.strerror}") from None
        child = self._living[process.pid] = Child(process)
        return child

    def bury(self) -> None:
        """After SIGCHLD: note every process that has ended."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = self._living.pop(found.si_pid, None)
            if child is None:
                os.waitpid(found.si_pid, 0)
            else:
                child.process.wait()
                child.ended.set()


def _die_with_keeper() -> None:
    kernel.die_with_parent(signal.SIGKILL)
