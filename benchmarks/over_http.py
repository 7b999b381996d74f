"""`/v3` and REST v2 against base A: 64 connections of one client process, interleaved runs, median of the pairwise ratios."""

import asyncio
import itertools
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import aiohttp

from .figures import Figure, ratios, spread, told

CONNECTIONS = 64
RUNS = 5
RUN_S = 2.0
KEYS = 5_000
TEXT = "x" * 100
Job = Callable[[aiohttp.ClientSession, int], Awaitable[None]]


class Servers:
    """The base and polysite, both running, as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base_url = ""
        self.url = ""
        self.processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        base_port, port = free_port(), free_port()
        self.base_url, self.url = f"http://127.0.0.1:{base_port}", f"http://127.0.0.1:{port}"
        await self.start("-m", "benchmarks.base_app", str(base_port))
        await self.start("-m", "polysite.cli", "serve", "--port", str(port), "--data", str(self.folder / "site"))
        async with aiohttp.ClientSession() as session:
            await until_served(session, f"{self.base_url}/empty")
            await until_served(session, f"{self.url}/v3/health/ready")
        return self

    async def start(self, *arguments: str) -> None:
        with (self.folder / "server.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=log, stderr=log)
        self.processes.append(process)

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
            await process.wait()

    @property
    def memory_mib(self) -> float:
        """Resident memory of the polysite server now."""
        pages = int(Path(f"/proc/{self.processes[1].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def until_served(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status < 500:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def rate(session: aiohttp.ClientSession, job: Job) -> float:
    """How often per second `job` ends when 64 tasks repeat it for `RUN_S`."""
    numbers = itertools.count()
    ends = 0
    deadline = time.perf_counter() + RUN_S

    async def repeat() -> None:
        nonlocal ends
        while time.perf_counter() < deadline:
            await job(session, next(numbers))
            ends += 1

    began = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(CONNECTIONS)))
    return ends / (time.perf_counter() - began)


async def ask(session: aiohttp.ClientSession, method: str, url: str, body: object = None, **headers: str) -> object:
    """One request that must be answered with success; the decoded answer."""
    async with session.request(method, url, json=body, headers=headers) as answer:
        content = await answer.json()
        if answer.status >= 300:
            raise RuntimeError(f"{method} answered {answer.status}: {content}")
        return content


def jobs(servers: Servers) -> dict[str, tuple[Job, float]]:
    """What is measured, by name, with the ratio to base A that it must keep."""
    rows = f"{servers.url}/v3/keyspaces/bench/tables/plain/rows"
    locked = f"{servers.url}/v3/keyspaces/bench/tables/locked/rows"

    async def put(session: aiohttp.ClientSession, number: int) -> None:
        await ask(session, "PUT", f"{rows}/k{number % KEYS}", {"columns": {"value": TEXT}})

    async def get(session: aiohttp.ClientSession, number: int) -> None:
        await ask(session, "GET", f"{rows}/k{number % KEYS}")

    def named(number: int) -> dict[str, object]:
        return {"keyspace": "bench", "table": "locked", "key": {"name": f"k{number % KEYS}"}}

    async def section(session: aiohttp.ClientSession, number: int) -> None:
        steps = [{"op": "get"}, {"op": "put", "columns": {"value": TEXT}}]
        await ask(session, "POST", f"{servers.url}/v3/sections", {"key": named(number), "steps": steps})

    async def four_calls(session: aiohttp.ClientSession, number: int) -> None:
        body = {"keys": [named(number)]}
        lock = await ask(session, "POST", f"{servers.url}/v3/locks", body)
        reference = lock["reference"]  # type: ignore[index]
        row = f"{locked}/k{number % KEYS}"
        await ask(session, "GET", f"{row}?level=critical", **{"Polysite-Lock": reference})
        await ask(session, "PUT", f"{row}?level=critical", {"columns": {"value": TEXT}}, **{"Polysite-Lock": reference})
        await ask(session, "DELETE", f"{servers.url}/v3/locks/{reference}?wait=0")

    v2 = f"{servers.url}/MUSIC/rest/v2"
    v2_rows = f"{v2}/keyspaces/bench/tables/v2/rows"

    async def v2_insert(session: aiohttp.ClientSession, number: int) -> None:
        values = {"name": f"k{number % KEYS}", "value": TEXT}
        await ask(session, "POST", v2_rows, {"values": values, "consistencyInfo": {"type": "eventual"}})

    async def v2_cycle(session: aiohttp.ClientSession, number: int) -> None:
        key = f"c{number % KEYS}"
        created = await ask(session, "POST", f"{v2}/locks/create/bench.v2.{key}", {})
        lock_id = created["lock"]["lock"]  # type: ignore[index]
        await ask(session, "GET", f"{v2}/locks/acquire/{lock_id}")
        held = {"type": "critical", "lockId": lock_id}
        await ask(session, "PUT", f"{v2_rows}/criticalget?name={key}", {"consistencyInfo": held})
        await ask(session, "PUT", f"{v2_rows}?name={key}", {"values": {"value": TEXT}, "consistencyInfo": held})
        await ask(session, "DELETE", f"{v2}/locks/release/{lock_id}")

    return {
        "eventual put, durable": (put, 0.5),
        "eventual get": (get, 0.6),
        "one-shot section (lock, get, put, release), durable": (section, 0.25),
        "the same section in four calls": (four_calls, 0.08),
        "REST v2: eventual insert": (v2_insert, 0.4),
        "REST v2: create, acquire, critical get and put, release": (v2_cycle, 0.05),
    }


async def prepare(session: aiohttp.ClientSession, servers: Servers) -> None:
    schema = f"{servers.url}/v3/keyspaces/bench"
    await ask(session, "PUT", schema, {})
    for name, writes in (("plain", "eventual"), ("locked", "sections")):
        body = {"columns": {"name": "text", "value": "text"}, "partition_key": ["name"], "writes": writes}
        await ask(session, "PUT", f"{schema}/tables/{name}", body)
    fields = {"name": "text", "value": "text", "PRIMARY KEY": "(name)"}
    await ask(session, "POST", f"{servers.url}/MUSIC/rest/v2/keyspaces/bench/tables/v2", {"fields": fields})


async def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        async with Servers(Path(folder)) as servers:
            at_start = servers.memory_mib
            connector = aiohttp.TCPConnector(limit=CONNECTIONS)
            async with aiohttp.ClientSession(connector=connector) as session:
                await prepare(session, servers)

                async def base(session: aiohttp.ClientSession, _number: int) -> None:
                    await ask(session, "PUT", f"{servers.base_url}/empty", {"columns": {"value": TEXT}})

                figures = [Figure("server, memory at start", at_start, "MiB", at_most=80)]
                all_bases: list[float] = []
                for name, (job, at_least) in jobs(servers).items():
                    values, bases = [], []
                    await rate(session, job)
                    for _ in range(RUNS):
                        bases.append(await rate(session, base))
                        values.append(await rate(session, job))
                    all_bases += bases
                    detail = f"{spread(values)} per second"
                    figures.append(Figure(name, ratios(values, bases), "of A", at_least=at_least, detail=detail))
                figures.insert(
                    1, Figure("base A", statistics.median(all_bases), "per second", detail=spread(all_bases))
                )
                return figures


if __name__ == "__main__":
    print(told(asyncio.run(measure())))
