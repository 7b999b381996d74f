"""Lock cycles one after the other: on one key, and on a new key each, in turn, so that both see the same machine."""

import time

from benchmarks.wan.tables import KEYSPACE, LOCKED
from polysite.api import Coordinator, KeyName
from polysite.engines.cassandra import CassandraPort

from .engine import cell_length, cell_lengths
from .records import AllCells, CellBytes, Cycles, Record

ONE, EACH, WARM = "the-one-key", "each-key", "warm"
WARM_KEYS = 50
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


async def again_and_again(coordinator: Coordinator, port: CassandraPort, *, cycles: int, warm_up: int) -> list[Record]:
    """So many cycles on one key, and as many on a key each, after a warm-up of both kinds."""
    for number in range(warm_up):
        await cycle(coordinator, named(f"{WARM}-{number % WARM_KEYS}"))
        await cycle(coordinator, named(f"{WARM}-new-{number}"))
    one, each = [await cycle(coordinator, named(ONE))], [await cycle(coordinator, named(f"{EACH}-0"))]
    ((cell, length),) = (await cell_lengths(port, ONE.encode())).items()
    found: list[Record] = [CellBytes(cycles=1, length=length)]
    for number in range(1, cycles):
        one.append(await cycle(coordinator, named(ONE)))
        each.append(await cycle(coordinator, named(f"{EACH}-{number}")))
        if (number + 1) % (cycles // TENTHS) == 0:
            found.append(CellBytes(cycles=number + 1, length=await cell_length(port, cell)))
    lengths = (await cell_lengths(port, EACH.encode())).values()
    all_cells = AllCells(number=len(lengths), shortest=min(lengths), longest=max(lengths))
    return [Cycles(keys=1, took_ms=one), Cycles(keys=cycles, took_ms=each), *found, all_cells]
