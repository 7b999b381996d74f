"""The second table: what some paths add to a first get, each provoked on keys that were prepared for it and left to rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from polysite.api import Condition, Coordinator, KeyName, RowPut

from .bounds import groups
from .judging import Measured, measured
from .keys import GRACE_S, QUIET_W, RELEASE_W
from .operations import Watch
from .samples import Sample
from .tables import KEYSPACE, LOCKED, MIXED, MIXED_PARTS, PARTS, PREPARED_AT_ONCE, TEXT

FEW_ROWS, MANY_ROWS, ROWS_AT_ONCE = 3, 1_100, 100
"""More writes than go into one batch are several intervals."""

LIMIT = 2_000
RANGE_GET = 1


class Path(NamedTuple):
    """`adds` to the lock with its first get, or (`is_range`) to a range get in a held section, which is one round trip."""

    operation: str
    table: str
    adds: float
    is_range: bool = False
    rows: int = 0
    written: str = "section"
    """How the rows were written before anybody measures: in a section, without a lock, or not at all."""
    preempted: bool = False
    """Whether a holder was preempted after that, which raises the fence."""
    is_part: bool = False
    """All rows but the first are asked for, not the whole partition: where it must be settled, all of it is read once more."""


PATHS = (
    Path("first get: absent row, fence above 0", LOCKED, 1, written="nothing", preempted=True),
    Path("first get: row below the fence", LOCKED, 1, rows=1, preempted=True),
    Path("first get, mixed: row_stamp at the fence", MIXED, 0, rows=1),
    Path("first get, mixed: row written without a lock", MIXED, 2, rows=1, written="plain"),
    Path("first get, mixed: absent row", MIXED, 2, written="nothing"),
    Path("first range get: part_stamp good", PARTS, 0, is_range=True, rows=FEW_ROWS),
    Path("first range get: settles one interval", PARTS, 1, is_range=True, rows=FEW_ROWS, preempted=True),
    Path(
        "first range get: settles several intervals",
        PARTS,
        2,
        is_range=True,
        rows=MANY_ROWS,
        preempted=True,
    ),
    Path(
        "first range get of a part: settles one interval",
        PARTS,
        2,
        is_range=True,
        rows=FEW_ROWS,
        preempted=True,
        is_part=True,
    ),
    Path("first range get, mixed: settles one interval", MIXED_PARTS, 2, is_range=True, rows=FEW_ROWS, written="plain"),
)

NOT_MEASURED = {"one-step section on Accord": "python -m benchmarks.accord.sections measures it"}


def table(samples: Sequence[Sample], base: Sequence[Measured], leads: str | None) -> list[tuple[float, Measured]]:
    """Every path that has samples, with its bound: what it adds, and what it adds to. `base`: locks with first get, by group."""
    locks = {one.group: one.claimed for one in base}
    found = []
    for path in PATHS:
        for group, members in groups(samples, leads).items():
            of_path = [sample for sample in members if sample.operation == path.operation]
            if of_path:
                bound = path.adds + (RANGE_GET if path.is_range else locks[group])
                found.append((bound, measured(path.operation, group, of_path)))
    return found


async def measure(coordinator: Coordinator, watch: Watch, prefix: str, repeats: int, *, begins: int) -> None:
    """So many samples of every path; keys begin with `prefix`, which nobody used before. `begins`: the path that comes first. Those of
    many rows keep the machine busy, and sites that measure side by side should not come to them at the same moment."""
    ways = [
        (path, [_key(path, f"{prefix}-{at}-{number}") for number in range(repeats)]) for at, path in enumerate(PATHS)
    ]
    ways = ways[begins:] + ways[:begins]
    await _at_once([partial(_prepare, coordinator, path, key) for path, keys in ways for key in keys])
    await asyncio.sleep(QUIET_W * watch.rtt_ms / 1000 + GRACE_S)
    for number in range(repeats):
        for path, keys in ways:
            if number < len(keys):
                await _one(coordinator, watch, path, keys[number])
                await asyncio.sleep(RELEASE_W * watch.rtt_ms / 1000)


def _key(path: Path, name: str) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table=path.table, key={"k": name})


async def _at_once(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    enough = asyncio.Semaphore(PREPARED_AT_ONCE)

    async def one(call: Callable[[], Awaitable[None]]) -> None:
        async with enough:
            await call()

    await asyncio.gather(*map(one, calls))


async def _prepare(coordinator: Coordinator, path: Path, key: KeyName) -> None:
    """The rows as the path needs them, then the fence."""
    if path.is_range:
        # Short values: what goes beyond the first window of a connection takes further round trips, of TCP.
        writes = [RowPut(columns={"v": "x"}, key={**key.key, "c": number}) for number in range(path.rows)]
    else:
        writes = [RowPut(columns={"v": TEXT, "n": 0}, key=key.key)]
    if path.written == "plain":
        await coordinator.batch(key.keyspace, key.table, writes)
    elif path.written == "section":
        lock = await coordinator.acquire([key])
        for at in range(0, len(writes), ROWS_AT_ONCE):
            some = writes[at : at + ROWS_AT_ONCE]
            await coordinator.batch(key.keyspace, key.table, some, level="critical", reference=lock.reference)
        await coordinator.release(lock.reference)
    if path.preempted:
        await coordinator.acquire([key])
        await coordinator.preempt(key)


async def _one(coordinator: Coordinator, watch: Watch, path: Path, key: KeyName) -> None:
    began_s = time.monotonic()
    lock = await coordinator.acquire([key], read=not path.is_range)
    claimed = lock.round_trips
    if path.is_range:
        began_s = time.monotonic()
        where = [Condition(column="k", comparison="eq", value=key.key["k"])]
        if path.is_part:
            where.append(Condition(column="c", comparison="gt", value=0))
        page = await coordinator.select(
            key.keyspace, key.table, where=where, level="critical", reference=lock.reference, limit=LIMIT
        )
        assert len(page.rows) == path.rows - path.is_part
        claimed = page.round_trips
    watch.told(path.operation, began_s, claimed)
    await coordinator.release(lock.reference, validate=False)
