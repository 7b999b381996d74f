"""Count the ballots at three sites at once, far from each other: one site dies and comes back, one is cut off.

    python -m examples.votes.sites [--ballots-limit N] [--rtt-ms 50]

Each site is a Cassandra node and a polysite process in a network of its own (`polysite lab`), and a client process beside them with
twenty tasks. Ends with 0 only if every choice's count, read at the site that was cut off, equals the file's.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .__main__ import CACHE, limited, report
from .ballots import fetch, totals

SITES = ("ams", "bei", "irv")
DEAD, CUT = "bei", "irv"
DEAD_S, CUT_S = 20.0, 20.0
RUN_S = 1_500.0


class SiteDrill:
    """One run: the lab, a client process per site, and what was done to the sites."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, ballots: Path) -> None:
        self.arguments = arguments
        self.folder = folder
        self.ballots = ballots
        self.lab = folder / "lab"
        self.urls: dict[str, str] = {}
        self.log: list[str] = []
        self.started = time.monotonic()
        self.elapsed_s = 0.0

    def tell(self, line: str) -> None:
        text = f"{time.monotonic() - self.started:7.1f} s  {line}"
        self.log.append(text)
        print(text, flush=True)

    async def lab_command(self, *arguments: str) -> str:
        """Run `polysite lab …`; what it printed. SystemExit with its words if it failed."""
        command = (sys.executable, "-m", "polysite.cli", "lab", *arguments, "--dir", str(self.lab))
        child = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, errors = await child.communicate()
        if child.returncode:
            raise SystemExit(f"polysite lab {arguments[0]} ended with {child.returncode}: {errors.decode().strip()}")
        return out.decode()

    async def at(self, site: str, *arguments: str) -> asyncio.subprocess.Process:
        """Start a Python module at a site, in its network."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "polysite.cli", "lab", "exec", "--dir", str(self.lab), site, "--"),
            *(sys.executable, "-m", *arguments),
            stdout=asyncio.subprocess.PIPE,
        )

    async def ask(self, site: str, *arguments: str) -> str:
        child = await self.at(site, "examples.votes.at_site", "--url", self.urls[site], *arguments)
        out, _ = await child.communicate()
        if child.returncode:
            raise SystemExit(f"{arguments[0]} at {site} ended with {child.returncode}")
        return out.decode()

    async def counted(self, share: float, ballots: int, clients: list[asyncio.subprocess.Process]) -> None:
        """Return when about that share of the ballots is counted, as one site sees it."""
        while int(await self.ask("ams", "votes")) < share * ballots:
            if any(client.returncode not in {None, 0} for client in clients):
                raise SystemExit("a client ended before its time")
            await asyncio.sleep(1.0)

    async def run(self, ballots: int) -> Counter[str]:
        """As `count`, within RUN_S; the lab is ended whatever happened."""
        await self.lab_command(
            "up", "--sites", ",".join(SITES), "--rtt-ms", str(self.arguments.rtt_ms), "--store", "cassandra"
        )
        try:
            async with asyncio.timeout(RUN_S):
                return await self.count(ballots)
        finally:
            await self.lab_command("down")

    async def count(self, ballots: int) -> Counter[str]:
        """Start all, kill one site and cut another off on the way, and return what was counted."""
        status = json.loads(await self.lab_command("status", "--json"))
        self.urls = {site["name"]: site["url"] for site in status["sites"]}
        self.tell(f"{len(self.urls)} sites are up, {self.arguments.rtt_ms} ms apart")
        await self.ask("ams", "make")
        clients = [await self.start_client(number, site) for number, site in enumerate(SITES)]
        counting = time.monotonic()
        await self.counted(0.2, ballots, clients)
        await self.lab_command("kill", DEAD)
        self.tell(f"{DEAD} killed: Cassandra and polysite, with SIGKILL")
        await asyncio.sleep(DEAD_S)
        await self.lab_command("start", DEAD)
        self.tell(f"{DEAD} started again")
        await self.counted(0.6, ballots, clients)
        await self.lab_command("cut", CUT)
        self.tell(f"{CUT} cut off from both others")
        await asyncio.sleep(CUT_S)
        await self.lab_command("heal")
        self.tell(f"{CUT} reached again, after {CUT_S:.0f} s")
        ends = [await client.communicate() for client in clients]
        self.elapsed_s = time.monotonic() - counting
        print(*(out.decode().strip() for out, _ in ends), sep="\n")
        if any(client.returncode for client in clients):
            raise SystemExit(f"a client ended with {[client.returncode for client in clients]}")
        return Counter(json.loads(await self.ask(CUT, "totals")))

    async def start_client(self, number: int, site: str) -> asyncio.subprocess.Process:
        options = ["--url", self.urls[site], "--file", str(self.ballots), "--process", str(number)]
        options += ["--history", str(self.folder / f"history-{number}.ndjson"), "--processes", str(len(SITES))]
        options += ["--tasks", str(self.arguments.tasks), "--ballots-max", str(self.arguments.ballots_max)]
        if self.arguments.ballots_limit is not None:
            options += ["--ballots-limit", str(self.arguments.ballots_limit)]
        return await self.at(site, "examples.votes.counter", *options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtt-ms", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--ballots-max", type=int, default=50, help="ballots of one batch")
    parser.add_argument("--ballots-limit", type=int, help="count only about so many ballots")
    arguments = parser.parse_args()
    arguments.processes = len(SITES)
    path = fetch(CACHE).absolute()
    expected = totals(path)
    if arguments.ballots_limit is not None:
        expected = limited(expected, arguments)
    with tempfile.TemporaryDirectory() as scratch:
        drill = SiteDrill(arguments, Path(scratch), path)
        found = asyncio.run(drill.run(sum(expected.values())))
        return 0 if report(expected, found, drill) else 1


if __name__ == "__main__":
    sys.exit(main())
