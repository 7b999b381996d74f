"""Lock cycles on one key: the last ten thousand take as long as the second ten thousand did."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import polysite
from polysite.api import KeyName

from .figures import Figure, told

CYCLES = 200_000
CYCLES_LONG = 1_000_000
STRETCH = 10_000


async def measure(cycles: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        site = await polysite.open(Path(folder) / "site.db")
        await site.create_keyspace("bench")
        await site.create_table("bench", "locked", columns={"name": "text", "value": "text"}, partition_key=["name"])
        key = KeyName(keyspace="bench", table="locked", key={"name": "one"})
        stretches = []
        for _ in range(cycles // STRETCH):
            began = time.process_time()
            for _ in range(STRETCH):
                lock = await site.coordinator.acquire([key])
                await site.coordinator.release(lock.reference, validate=True)
            stretches.append(time.process_time() - began)
        await site.close()
    ratio = stretches[-1] / stretches[1]
    detail = f"{stretches[1] / STRETCH * 1e6:.0f} then {stretches[-1] / STRETCH * 1e6:.0f} us CPU each"
    return [Figure(f"{cycles} lock cycles: last against second stretch", ratio, "times", at_most=1.15, detail=detail)]


if __name__ == "__main__":
    print(told(asyncio.run(measure(CYCLES_LONG if "--long" in sys.argv else CYCLES))))
