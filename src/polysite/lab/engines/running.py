"""An engine as a running process: started, waited for, stopped for good or for a while, and never left behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from polysite.client.pacing import Pace
from polysite.lab.engines import probes
from polysite.lab.engines.failures import EngineEnded
from polysite.lab.engines.probes import Standing
from polysite.lab.engines.releases import release_of
from polysite.lab.engines.specs import OUTPUT_LOG, SYSTEM_LOG, EngineSpec, Installation

READY_S = 180.0
STOP_S = 30.0
LOOK_S = 0.05
TAIL_BYTES = 64 * 1024
LAST_LINES = 12
LOGS = (SYSTEM_LOG, OUTPUT_LOG)
REMARK = re.compile(r"[\d:.]+ (?:INFO|DEBUG|TRACE) ")
SAYING_NOTHING = (
    "at ",
    "... ",
    # Java 17 on Cassandra 5.0, at every start.
    "WARNING: A terminally deprecated method",
    "WARNING: System::setSecurityManager",
    "WARNING: Please consider reporting",
)
# Ends the engine's process group when our end of the pipe closes without a word, which is how our own death looks.
GUARD = 'read -r word || kill -s KILL -- "-$1"'


class BlockingTime(Protocol):
    """What waiting needs; `polysite.client.pacing.Pace` is the machine's."""

    def sleep_s(self, duration_s: float) -> None: ...

    def monotonic_s(self) -> float: ...


class Engine:
    """A started engine, in a session of its own, so that it can be ended together with whatever it started."""

    def __init__(
        self,
        spec: EngineSpec,
        process: "subprocess.Popen[bytes]",
        *,
        guard: "subprocess.Popen[bytes] | None",
        prefix: Sequence[str],
        pace: BlockingTime,
        written: Mapping[str, int],
    ) -> None:
        """`guard` None: it outlives this process. `prefix` is what was put before its command. `written`: bytes of each log from earlier."""
        self.spec = spec
        self._process = process
        self._guard = guard
        self._prefix = tuple(prefix)
        self._pace = pace
        self._written = written

    @property
    def pid(self) -> int:
        """Also the number of its session and of its process group."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs; a frozen one does."""
        if self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):
            return self._process.poll() is None
        # Looks without reaping: until then nobody else can get its number, so that signals meet nobody else.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def log(self) -> str:
        """Everything the engine has logged."""
        path = Path(self.spec.folder) / SYSTEM_LOG
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def standing(self, *, expected: Collection[str] = (), wait_s: float = 0.0) -> Standing:
        """How it stands now; through the prefix if it lives behind one, where waiting for `expected` peers is done as well."""
        if not self._prefix:
            return self.spec.ask()
        script = [sys.executable, "-I", probes.__file__, self.spec.engine, self.spec.address, str(self.spec.port)]
        done = subprocess.run(
            [*self._prefix, *script, str(wait_s), *expected],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            told = json.loads(done.stdout)
            return Standing(flaw=told["flaw"], peers=tuple(told["peers"]), mode=told["mode"])
        except ValueError:
            return Standing(flaw=f"the question could not be asked: {last_words(done.stderr, 1)}")

    def wait_ready(self, *, expected: Collection[str] = (), wait_s: float = READY_S) -> Standing:
        """Return once it serves and lists every `expected` peer. EngineEnded, with its last words: it died, or took too long.

        An open port is no formed cluster: CREATE KEYSPACE fails on a Cassandra node that does not know the other data centres yet.
        """
        end = self._pace.monotonic_s() + wait_s
        while True:
            standing = self.standing(expected=expected, wait_s=1.0)
            lack = standing.lacks(expected)
            if not lack:
                return standing
            if not self.is_alive():
                raise EngineEnded(f"{self._about} ended while it started; its last words:\n{self.last_words()}")
            if self._pace.monotonic_s() >= end:
                raise EngineEnded(
                    f"{self._about} is not ready after {wait_s:g} s: {lack}; its last words:\n{self.last_words()}"
                )
            self._pace.sleep_s(LOOK_S)

    def last_words(self) -> str:
        """The last telling lines of what it wrote since it was started: to its log, and to its output where its Java machine speaks."""
        folder = Path(self.spec.folder)
        told = [last_words(_tail(folder / name, self._written[name]), LAST_LINES) for name in LOGS]
        return "\n".join(filter(None, told)) or "(it wrote nothing)"

    def freeze(self) -> None:
        """Stop its clock, so to speak: nothing runs in it until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self, wait_s: float = STOP_S) -> bool:
        """End it as an operator would, and by force if it takes longer than `wait_s`; nothing of it is left afterwards.

        False: force was needed.
        """
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self.thaw()
            end = self._pace.monotonic_s() + wait_s
            while self.is_alive() and self._pace.monotonic_s() < end:
                self._pace.sleep_s(LOOK_S)
        willing = not self.is_alive()
        self.kill()
        return willing

    def kill(self) -> None:
        """End it at once, with whatever it started; nothing of it is left afterwards."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        if self._guard is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.communicate(b"done\n")
            self._guard = None

    def _signal(self, number: int) -> None:
        """To its whole process group, as long as its number is still its own."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    @property
    def _about(self) -> str:
        return f"{release_of(self.spec.engine).about} at {self.spec.address}"


def start(
    spec: EngineSpec,
    installation: Installation,
    *,
    prefix: Sequence[str] = (),
    guarded: bool = True,
    jvm: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    pace: BlockingTime | None = None,
) -> Engine:
    """Write the files of `spec` and start it; the answer comes before it serves (`wait_ready`).

    `prefix` goes before the command (`["ip", "netns", "exec", NAME]`). `guarded`: it ends when this process ends, however that
    happens. `jvm`: more options for its Java machine. `environ` None: this process's environment.
    """
    folder = Path(spec.folder)
    for name, content in spec.files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    inherited = os.environ if environ is None else environ
    environment = {name: value for name, value in inherited.items() if name != "CLASSPATH"} | {"MALLOC_ARENA_MAX": "2"}
    command = [*prefix, *without_locked_memory(), *spec.command(installation, jvm=jvm)]
    written = {name: (folder / name).stat().st_size if (folder / name).exists() else 0 for name in LOGS}
    with (folder / OUTPUT_LOG).open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    guard = _guard(process.pid) if guarded else None
    return Engine(spec, process, guard=guard, prefix=prefix, pace=pace if pace is not None else Pace(), written=written)


def without_locked_memory() -> list[str]:
    """What to put before a command so that it cannot lock its memory, which only root's could: 150 MiB less for a Cassandra node."""
    if os.geteuid() != 0 or shutil.which("prlimit") is None or shutil.which("setpriv") is None:
        return []
    return ["prlimit", "--memlock=0:0", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]


def last_words(text: str, lines_max: int) -> str:
    """The last lines that say something: no frames of stack traces, nothing that Java says every time, remarks only if there is nothing else."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith(SAYING_NOTHING)]
    complaints = [line for line in said if not REMARK.match(line)]
    return "\n".join((complaints or said)[-lines_max:])


def _guard(group: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "sh", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tail(path: Path, start: int) -> str:
    """The end of a log, nothing before byte `start`."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, start))
        return file.read().decode("utf-8", "replace")
