"""Hand-over of a contended lock over loopback HTTP, and 250 clients that wait on one key."""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp

from .figures import Figure, told
from .over_http import Servers, ask, prepare

HAND_OVERS = 200
WAITERS = 250
WATCHED_S = 5.0


def body(**more: object) -> dict[str, object]:
    return {"keys": [{"keyspace": "bench", "table": "locked", "key": {"name": "hot"}}], **more}


async def hand_overs(session: aiohttp.ClientSession, url: str) -> list[float]:
    """Milliseconds from the sending of a release until the waiting client's answer is in hand."""
    found = []
    holder = await ask(session, "POST", f"{url}/v3/locks", body())
    for _ in range(HAND_OVERS):
        waiter = await ask(session, "POST", f"{url}/v3/locks", body(wait_ms=0))
        waiting = asyncio.create_task(
            ask(session, "POST", f"{url}/v3/locks/{waiter['reference']}/wait", {"wait_ms": 10_000})  # type: ignore[index]
        )
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        releasing = asyncio.create_task(ask(session, "DELETE", f"{url}/v3/locks/{holder['reference']}?wait=0"))  # type: ignore[index]
        holder = await waiting
        found.append((time.perf_counter() - began) * 1000)
        await releasing
        assert holder["held"]  # type: ignore[index]
    await ask(session, "DELETE", f"{url}/v3/locks/{holder['reference']}")  # type: ignore[index]
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def waiting_crowd(session: aiohttp.ClientSession, servers: Servers) -> list[Figure]:
    """CPU of the server while nobody waits and while 250 do; and the answer to one more than the queue holds."""
    url, pid = servers.url, servers.processes[1].pid
    before = cpu_s(pid)
    await asyncio.sleep(WATCHED_S)
    idle = cpu_s(pid) - before
    holder = await ask(session, "POST", f"{url}/v3/locks", body(lease_ms=60_000))
    crowd = [
        asyncio.create_task(ask(session, "POST", f"{url}/v3/locks", body(lease_ms=60_000, wait_ms=60_000)))
        for _ in range(WAITERS)
    ]
    await asyncio.sleep(2)
    before = cpu_s(pid)
    await asyncio.sleep(WATCHED_S)
    waited = cpu_s(pid) - before
    overloaded, codes = 0, set()
    for _ in range(10):
        async with session.post(f"{url}/v3/locks", json=body(wait_ms=0)) as answer:
            content = await answer.json()
            if answer.status >= 400:
                overloaded += content["code"] == "overloaded" and content["retry"]
                codes.add(content["code"])
    order = []
    await ask(session, "DELETE", f"{url}/v3/locks/{holder['reference']}")  # type: ignore[index]
    for task in asyncio.as_completed(crowd):
        lock = await task
        order.append(lock["keys"][0]["fencing_token"])  # type: ignore[index]
        await ask(session, "DELETE", f"{url}/v3/locks/{lock['reference']}?wait=0")  # type: ignore[index]
    detail = f"idle {idle / WATCHED_S:.4f}, with {WAITERS} waiting {waited / WATCHED_S:.4f} CPU s per s"
    return [
        Figure("CPU that 250 waiters add", (waited - idle) / WATCHED_S, "CPU s/s", at_most=0.01, detail=detail),
        Figure("refused as overloaded beyond the bound", overloaded, "of 10", at_least=5, detail=f"codes {codes}"),
        Figure("the 250 were served in order of their tickets", float(order == sorted(order)), "", at_least=1),
    ]


async def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        connector = aiohttp.TCPConnector(limit=0)
        async with Servers(Path(folder)) as servers, aiohttp.ClientSession(connector=connector) as session:
            await prepare(session, servers)
            times = await hand_overs(session, servers.url)
            figures = [Figure("hand-over to a waiting client, median", statistics.median(times), "ms", at_most=3)]
            return figures + await waiting_crowd(session, servers)


if __name__ == "__main__":
    print(told(asyncio.run(measure())))
