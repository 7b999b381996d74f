"""Lock cycles one after the other: on one key, on a new key each, and a yardstick, in turn, so that all see the same machine."""

import time

from benchmarks.wan.tables import KEYSPACE, LOCKED, PLAIN
from polysite.api import Coordinator, KeyName
from polysite.engines.cassandra import CassandraPort

from .engine import cell_length, cell_lengths
from .records import AllCells, CellBytes, Tenth, tell

ONE, EACH, WARM = "the-one-key", "each-key", "warm"
RESTING = "resting"
WARM_KEYS = 50
BESIDE = 4
"""The yardstick is laid beside each fourth cycle."""
TENTHS = 10
MS = 1_000


def named(key: str) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table=LOCKED, key={"k": key})


async def cycle(coordinator: Coordinator, key: KeyName) -> float:
    """Acquire, and release with the answer that it was the holder's; milliseconds."""
    began_s = time.perf_counter()
    lock = await coordinator.acquire([key])
    await coordinator.release(lock.reference, validate=True)
    return (time.perf_counter() - began_s) * MS


async def yardstick(coordinator: Coordinator) -> float:
    """A read at a majority of a row that nobody touches: what it takes shows how busy the machine is, and nothing else; milliseconds."""
    began_s = time.perf_counter()
    await coordinator.get(KeyName(keyspace=KEYSPACE, table=PLAIN, key={"k": RESTING}), level="quorum")
    return (time.perf_counter() - began_s) * MS


async def again_and_again(coordinator: Coordinator, port: CassandraPort, *, cycles: int, warm_up: int) -> None:
    """So many cycles on one key, and as many on a key each, after a warm-up of both kinds; each tenth is told when it is over."""
    await coordinator.put(KeyName(keyspace=KEYSPACE, table=PLAIN, key={"k": RESTING}), {"v": ONE}, level="quorum")
    for number in range(warm_up):
        await cycle(coordinator, named(f"{WARM}-{number % WARM_KEYS}"))
        await cycle(coordinator, named(f"{WARM}-new-{number}"))
        if number % BESIDE == 0:
            await yardstick(coordinator)
    await cycle(coordinator, named(ONE))
    ((cell, length),) = (await cell_lengths(port, ONE.encode())).items()
    tell([CellBytes(cycles=1, length=length)])
    for tenth in range(TENTHS):
        one, each, resting = [], [], []
        for number in range(tenth * cycles // TENTHS, (tenth + 1) * cycles // TENTHS):
            one.append(await cycle(coordinator, named(ONE)))
            each.append(await cycle(coordinator, named(f"{EACH}-{number}")))
            if number % BESIDE == 0:
                resting.append(await yardstick(coordinator))
        tell([Tenth(one_ms=one, each_ms=each, resting_ms=resting)])
        tell([CellBytes(cycles=1 + (tenth + 1) * cycles // TENTHS, length=await cell_length(port, cell))])
    lengths = (await cell_lengths(port, EACH.encode())).values()
    tell([AllCells(number=len(lengths), shortest=min(lengths), longest=max(lengths))])
