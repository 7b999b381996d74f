"""Server processes that start quickly: a process that has imported everything forks them.

For drills that start a server a hundred times. What runs is the command `polysite serve` as everywhere else; only the
imports, which are most of its start, are done once. Over standard input and output, a line each:

    {"arguments": […], "log": PATH}     → "started PID", then what the server prints, "ended PID STATUS" when it is gone

When standard input ends, every server is killed.
"""

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.source import ROOT

EVERYTHING = (
    "polysite.server.app",
    "polysite.server.peers",
    "polysite.server.run",
    "polysite.stores.embedded",
    "polysite._open",
    "polysite.site",
    "polysite.cli.serving",
    "uvicorn.main",
    "uvloop",
    "httptools",
)
START_S = 60.0
LISTENS = "polysite listens on "


class ForkingProcess:
    """The process that forks, seen from the test."""

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLYSITE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forking"],
            cwd=ROOT,
            env=kept,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._ended: dict[int, queue.Queue[int]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(START_S)
        self._reader.join(START_S)
        self._process.stdout.close()

    def start(self, arguments: list[str], log: Path) -> int:
        """Start a server and wait until it listens; its process id. One at a time."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"arguments": arguments, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        pid = 0
        while True:
            line = self._lines.get(timeout=START_S)
            if line.startswith("started "):
                pid = int(line.split()[1])
            elif line.startswith(LISTENS):
                return pid
            elif line.startswith("ended "):
                raise AssertionError(f"the server ended before it listened:\n{tail(log)}")

    def wait(self, pid: int) -> int:
        """The status with which a server ended."""
        return self._ended.setdefault(pid, queue.Queue()).get(timeout=START_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        started = 0
        listening: set[int] = set()
        for line in self._process.stdout:
            if line.startswith("started "):
                started = int(line.split()[1])
                self._ended.setdefault(started, queue.Queue())
            elif line.startswith(LISTENS):
                listening.add(started)
            elif line.startswith("ended "):
                _, pid, status = line.split()
                self._ended.setdefault(int(pid), queue.Queue()).put(int(status))
                if int(pid) in listening:
                    continue
            self._lines.put(line)


class ForkedServer:
    """`polysite serve` on a port that it keeps over restarts."""

    def __init__(self, forking: ForkingProcess, folder: Path, port: int, log: Path) -> None:
        self._forking = forking
        self._arguments = ["serve", "--port", str(port), "--data", str(folder)]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._pid: int | None = None

    def start(self) -> None:
        self._pid = self._forking.start(self._arguments, self.log)

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Stop it gently; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self._pid is None:
            return 0
        pid, self._pid = self._pid, None
        os.kill(pid, number)
        return self._forking.wait(pid)


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else ""


def main() -> None:
    """Fork a server per line, and say when one has ended."""
    from polysite.cli import main as command

    for name in EVERYTHING:
        importlib.import_module(name)

    children: set[int] = set()

    def reap(*_: Any) -> None:
        for pid in list(children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                children.discard(pid)
                os.write(1, f"ended {pid} {os.waitstatus_to_exitcode(status)}\n".encode())

    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        wish = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(os.open(wish["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
            os.write(1, f"started {os.getpid()}\n".encode())
            sys.argv = ["polysite", *wish["arguments"]]
            command()
            sys.exit(0)
        children.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
