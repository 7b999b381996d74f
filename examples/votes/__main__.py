"""Count the ballots from three processes with twenty tasks each while a client and the server are killed.

    python -m examples.votes [--interface v2] [--ballots-limit N] [--data DIR]

Ends with 0 only if every choice's count equals the file's.
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import polysite
from polysite.client import Site
from polysite.errors import PolysiteError
from polysite.testing.history import History

from .ballots import fetch, totals
from .interfaces import WAYS
from .v2 import Away

CACHE = Path(".cache/example")
READY_S = 30.0
RUN_S = 900.0


class Told(Protocol):
    """What a run left: histories in a folder, how long it took, what was done to it."""

    folder: Path
    elapsed_s: float
    log: list[str]


class Drill:
    """The processes of one run and what was done to them."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, ballots: Path) -> None:
        self.arguments = arguments
        self.folder = folder
        self.ballots = ballots
        self.way = WAYS[arguments.interface]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log: list[str] = []
        self.started = time.monotonic()
        self.elapsed_s = 0.0
        self.children: list[asyncio.subprocess.Process] = []

    def tell(self, line: str) -> None:
        text = f"{time.monotonic() - self.started:7.1f} s  {line}"
        self.log.append(text)
        print(text, flush=True)

    async def start_server(self) -> asyncio.subprocess.Process:
        """The server as a process of its own, ready."""
        with (self.folder / "server.log").open("ab") as log:
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "polysite.cli", "serve", "--port", str(self.port)),
                *("--data", str(self.folder / "site")),
                stdout=log,
                stderr=log,
                env={**os.environ, **self.way.variables},
            )
        self.children.append(server)
        async with asyncio.timeout(READY_S), polysite.connect(self.url) as site:
            await until(lambda: is_ready(site, server))
        return server

    async def start_client(self, process: int) -> asyncio.subprocess.Process:
        options = ["--url", self.url, "--file", str(self.ballots), "--process", str(process)]
        options += ["--history", str(self.folder / f"history-{process}.ndjson")]
        options += ["--processes", str(self.arguments.processes), "--tasks", str(self.arguments.tasks)]
        options += ["--ballots-max", str(self.arguments.ballots_max)]
        if self.arguments.ballots_limit is not None:
            options += ["--ballots-limit", str(self.arguments.ballots_limit)]
        client = await asyncio.create_subprocess_exec(sys.executable, "-m", self.way.counter, *options)
        self.children.append(client)
        return client

    def end_children(self) -> None:
        """Leave no process behind, whatever happened."""
        for child in self.children:
            if child.returncode is None:
                kill(child)

    async def counted(self, share: float, ballots: int) -> None:
        """Return when that share of the ballots is counted."""

        async def reached() -> bool:
            failed = [child for child in self.children if child.returncode not in {None, 0, -signal.SIGKILL}]
            if failed:
                raise SystemExit(f"process {failed[0].pid} ended with {failed[0].returncode} before its time")
            return sum((await self.way.totals(self.url)).values()) >= share * ballots

        await until(reached)

    async def run(self, ballots: int) -> Counter[str]:
        """As `count`, within RUN_S; no process outlives it."""
        try:
            async with asyncio.timeout(RUN_S):
                return await self.count(ballots)
        finally:
            self.end_children()

    async def count(self, ballots: int) -> Counter[str]:
        """Start all, kill a client and the server on the way, and return what was counted."""
        server = await self.start_server()
        await self.way.make(self.url)
        self.tell(f"server {server.pid} is ready; {self.arguments.processes} clients start")
        clients = [await self.start_client(process) for process in range(self.arguments.processes)]
        counting = time.monotonic()
        chance = random.Random()
        victim = chance.randrange(len(clients))
        await self.counted(0.2, ballots)
        kill(clients[victim])
        await clients[victim].wait()
        self.tell(f"client {victim} killed with SIGKILL")
        clients[victim] = await self.start_client(victim)
        self.tell(f"client {victim} started again")
        for share in (0.4, 0.7):
            await self.counted(share, ballots)
            kill(server)
            await server.wait()
            self.tell("server killed with SIGKILL")
            server = await self.start_server()
            self.tell(f"server {server.pid} started again on the same file")
        codes = [await client.wait() for client in clients]
        self.elapsed_s = time.monotonic() - counting
        if any(codes):
            raise SystemExit(f"a client ended with {codes}")
        found = await self.way.totals(self.url)
        server.send_signal(signal.SIGTERM)
        self.tell(f"server stopped gracefully with exit code {await server.wait()}")
        return found


def kill(process: asyncio.subprocess.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


async def is_ready(site: Site, server: asyncio.subprocess.Process) -> bool:
    if server.returncode is not None:
        raise SystemExit(f"the server ended with {server.returncode}; its output is in server.log")
    return (await site.health()).ready


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds; a server that is away counts as no."""
    while True:
        try:
            if await condition():
                return
        except (PolysiteError, Away):
            pass
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def report(expected: Counter[str], found: Counter[str], drill: Told) -> bool:
    """Print the table and the figures; True if every total equals the file's."""
    print(f"\n{'choice (first>second)':<44} {'in file':>9} {'counted':>9}")
    for choice, ballots in expected.most_common():
        print(f"{choice:<44} {ballots:>9} {found[choice]:>9}{'' if found[choice] == ballots else '   OFF'}")
    surplus = [choice for choice in found if choice not in expected]
    right = not surplus and all(found[choice] == ballots for choice, ballots in expected.items())
    history = History.read(*sorted(drill.folder.glob("history-*.ndjson")))
    outcomes = Counter(call.outcome if call.ended else "never answered" for call in history)
    print(f"\n{sum(expected.values())} ballots, {len(expected)} keys; calls by outcome: {dict(outcomes)}")
    print(f"{outcomes['done'] / drill.elapsed_s:.0f} sections per second over {drill.elapsed_s:.1f} s, kills included")
    print(*(line for line in drill.log if "kill" in line or "again" in line), sep="\n")
    print("every total equals the file's" if right else "TOTALS ARE OFF")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--interface", choices=WAYS, default="v3", help="v2: by clients that know only REST v2 of MUSIC"
    )
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--ballots-max", type=int, default=25, help="ballots of one batch")
    parser.add_argument("--ballots-limit", type=int, help="count only about so many ballots")
    parser.add_argument("--data", type=Path, help="keep the site's data and the histories here")
    arguments = parser.parse_args()
    path = fetch(CACHE)
    expected = totals(path)
    if arguments.ballots_limit is not None:
        expected = limited(expected, arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        drill = Drill(arguments, folder, path)
        found = asyncio.run(drill.run(sum(expected.values())))
        return 0 if report(expected, found, drill) else 1


def limited(expected: Counter[str], arguments: argparse.Namespace) -> Counter[str]:
    """What a run with `--ballots-limit` has to arrive at."""
    from .ballots import batches

    kept: Counter[str] = Counter()
    hands = batches(
        expected,
        tasks=arguments.processes * arguments.tasks,
        ballots_max=arguments.ballots_max,
        ballots_limit=arguments.ballots_limit,
    )
    for hand in hands:
        for batch in hand:
            kept[batch.choice] += batch.ballots
    return kept


if __name__ == "__main__":
    sys.exit(main())
