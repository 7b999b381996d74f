"""Sections on distinct keys by many clients of one site at once: lock with get, put, unlock in the background, and again."""

import asyncio
import time

from benchmarks.wan.samples import Failure
from benchmarks.wan.tables import KEYSPACE, LOCKED
from polysite.api import Coordinator, KeyName
from polysite.errors import PolysiteError

from .records import Record, Sections

KEYS_PER_CLIENT = 4
"""In turn, so that no client waits for the release that its last section left under way."""
MS = 1_000


async def at_once(
    coordinator: Coordinator, *, site: str, clients: int, from_s: float, until_s: float, text: str
) -> list[Record]:
    """Sections that ended between the two moments of the machine's monotonic clock; clients begin at once, and warm up until then."""
    took_ms: list[float] = []
    failures: list[Record] = []
    spent_s = 0.0

    async def one_after_the_other(client: int) -> None:
        number = 0
        while (began_s := time.monotonic()) < until_s:
            name = f"{site}-{client}-{number % KEYS_PER_CLIENT}"
            number += 1
            try:
                await section(coordinator, KeyName(keyspace=KEYSPACE, table=LOCKED, key={"k": name}), text)
            except PolysiteError as error:
                who = f"{site}-{client}"
                failures.append(
                    Failure(site=site, client=who, outcome=error.outcome, code=error.code, message=str(error))
                )
            else:
                if from_s <= (ended_s := time.monotonic()) < until_s:
                    took_ms.append((ended_s - began_s) * MS)

    async def watch() -> None:
        nonlocal spent_s
        await asyncio.sleep(max(0.0, from_s - time.monotonic()))
        before_s = time.process_time()
        await asyncio.sleep(max(0.0, until_s - time.monotonic()))
        spent_s = time.process_time() - before_s

    await asyncio.gather(watch(), *(one_after_the_other(client) for client in range(clients)))
    return [Sections(site=site, took_ms=took_ms, client_cpu_s=spent_s), *failures]


async def section(coordinator: Coordinator, key: KeyName, text: str) -> None:
    lock = await coordinator.acquire([key], read=True)
    await coordinator.put(key, {"v": text}, level="critical", reference=lock.reference)
    await coordinator.release(lock.reference, validate=False)
