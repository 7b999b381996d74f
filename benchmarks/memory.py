"""What 100,000 keys that were once locked and are idle now add: to the process, and to the time to start."""

import asyncio
import gc
import os
import tempfile
import time
from pathlib import Path

import polysite
from polysite.api import KeyName, RowPut

from .figures import Figure, told

KEYS = 100_000
AT_ONCE = 64


def resident_mib() -> float:
    """Resident memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def opened(path: Path) -> tuple[polysite.Site, float]:
    """An open site and how many seconds that took."""
    began = time.perf_counter()
    site = await polysite.open(path)
    await site.health()
    return site, time.perf_counter() - began


async def lock_once(site: polysite.Site, numbers: range) -> None:
    """One section on each key."""
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            key = KeyName(keyspace="bench", table="locked", key={"name": f"key-{number}"})
            lock = await site.coordinator.acquire([key])
            await site.coordinator.put(key, {"value": "x"}, level="critical", reference=lock.reference)
            await site.coordinator.release(lock.reference, validate=True)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.db"
        site, empty_s = await opened(path)
        await site.create_keyspace("bench")
        await site.create_table("bench", "locked", columns={"name": "text", "value": "text"}, partition_key=["name"])
        await lock_once(site, range(KEYS, KEYS + 2_000))  # caches of the process reach their size first
        before = resident_mib()
        await lock_once(site, range(KEYS))
        after = resident_mib()
        await site.close()
        starts = []
        for _ in range(3):
            site, start_s = await opened(path)
            starts.append(start_s)
            await site.coordinator.section(
                KeyName(keyspace="bench", table="locked", key={"name": "key-1"}), [RowPut(columns={"value": "y"})]
            )
            await site.close()
        return [
            Figure(f"memory that {KEYS} idle keys add", after - before, "MiB", at_most=40),
            Figure(
                "start with them, less start with none",
                min(starts) - empty_s,
                "s",
                at_most=0.05,
                detail=f"{min(starts):.3f} s against {empty_s:.3f} s (first one made the file)",
            ),
        ]


if __name__ == "__main__":
    print(told(asyncio.run(measure())))
