"""What verbs cost, what is told, and what a caller who gives up leaves behind."""

import asyncio
from typing import Any

import pytest

from polysite.api import Condition, KeyName, RowGet, RowPut, Step
from polysite.cells.contract import CellCosts
from polysite.client._async.site import table_spec
from polysite.errors import AcquireTimeout, BadRequest, Unavailable
from polysite.stores.contract import StoreCosts
from polysite.testing.loop import seeded
from tests.support.sites import until, world_of

PAXOS_CELLS = CellCosts(read_local=0, read=1, compare_and_set=2, compare_and_set_refused=1)
PAXOS_STORE = StoreCosts(read_majority=1, write_majority=1, conditional=2, conditional_refused=1)


@seeded
async def test_round_trips(seed: int) -> None:
    """Goal: answers tell the wide-area round trips that were waited for, parallel ones once. Method: an engine that declares
    what Paxos costs; the figures are those of the design: 2 to hold with the first get, 0 per further get, 1 per put, 0 for a
    release nobody waits for, 3 for a section."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        site._cells.costs = PAXOS_CELLS
        site._store.costs = PAXOS_STORE
        lock = await site.acquire([row], read=True)
        assert lock.round_trips == 2
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        assert (await site.get(row, **options)).round_trips == 0
        assert (await site.put(row, {"count": 1}, **options)).round_trips == 1
        assert (await site.release(lock.reference, validate=False)).round_trips == 0
        assert (await site.section(world.row("b"), [RowGet(), RowPut(columns={"count": 1})])).round_trips == 3
        validated = await site.section(world.row("c"), [RowGet(), RowPut(columns={"count": 1})], validate=True)
        assert validated.round_trips == 5
        assert (await site.get(row, level="quorum")).round_trips == 1
        assert (await site.get(row)).round_trips == 0


@seeded(seeds=3)
@pytest.mark.parametrize(
    ("count", "part", "settling"), [(3, False, 2), (1_100, False, 3), (3, True, 3), (1_100, True, 4)]
)
async def test_round_trips_of_a_range_get_that_settles(seed: int, count: int, part: bool, settling: int) -> None:
    """Goal: the first range get of a partition after a preemption adds one round trip where the partition is one interval, two
    where it is several side by side, and one more to read all of it where a part was asked for; what was read is rewritten, and
    answered. Method: rows, a preempted holder, and the next one reads: the same rows, and as many again for one round trip."""
    async with world_of(seed, joint=False) as world:
        site = world.processes[0].coordinator
        site._cells.costs = PAXOS_CELLS
        site._store.costs = PAXOS_STORE
        columns = {"k": "text", "c": "int", "v": "text"}
        await site.create_table(table_spec("ks", "parts", columns, partition_key="k", clustering_key=["c"]))
        lock_key = KeyName(keyspace="ks", table="parts", key={"k": "a"})
        lock = await site.acquire([lock_key])
        for at in range(0, count, 100):
            writes = [RowPut(columns={"v": "x"}, key={"k": "a", "c": c}) for c in range(at, min(count, at + 100))]
            await site.batch("ks", "parts", writes, level="critical", reference=lock.reference)
        await site.preempt(lock_key)
        lock = await site.acquire([lock_key])
        where = [Condition(column="k", comparison="eq", value="a")]
        if part:
            where += [
                Condition(column="c", comparison="gt", value=0),
                Condition(column="c", comparison="le", value=count),
            ]
        for trips in (settling, 1):
            page = await site.select(
                "ks", "parts", where=where, level="critical", reference=lock.reference, limit=2_000
            )
            assert page.round_trips == trips
            assert [row["c"] for row in page.rows] == list(range(int(part), count))
        await site.release(lock.reference)


@seeded(seeds=3)
async def test_pages_of_a_part_that_was_settled(seed: int) -> None:
    """Goal: a part with more rows than a page goes on where the page ended, whether it had to be settled first or not. Method: pages of
    two rows of a part whose partition must be settled."""
    async with world_of(seed) as world:
        site = world.processes[0].coordinator
        columns = {"k": "text", "c": "int", "v": "text"}
        await site.create_table(table_spec("ks", "parts", columns, partition_key="k", clustering_key=["c"]))
        lock_key = KeyName(keyspace="ks", table="parts", key={"k": "a"})
        lock = await site.acquire([lock_key])
        writes = [RowPut(columns={"v": "x"}, key={"k": "a", "c": c}) for c in range(6)]
        await site.batch("ks", "parts", writes, level="critical", reference=lock.reference)
        await site.preempt(lock_key)
        lock = await site.acquire([lock_key])
        where = [Condition(column="k", comparison="eq", value="a"), Condition(column="c", comparison="ge", value=1)]
        seen: list[list[Any]] = []
        cursor = None
        while cursor is not None or not seen:
            page = await site.select(
                "ks", "parts", where=where, level="critical", reference=lock.reference, limit=2, cursor=cursor
            )
            seen.append([row["c"] for row in page.rows])
            cursor = page.cursor
        assert seen == [[1, 2], [3, 4], [5]]
        await site.release(lock.reference)


@seeded(seeds=10)
async def test_abandoned_acquire(seed: int) -> None:
    """Goal: an entry whose caller gave up while it was being made does not stay until its lease. Method: hold the change
    back, cancel the caller, let the change happen."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        gate = one.faults.hold("compare_and_set")
        asked = asyncio.ensure_future(site.acquire([row], lease_ms=60_000))
        calls = one.faults.calls.get("compare_and_set", 0)
        await until(lambda: one.faults.calls.get("compare_and_set", 0) > calls)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.set_result(None)
        await asyncio.sleep(1.0)
        queue = await site.queue(row)
        assert queue.entries == []
        assert queue.issued == 1


@seeded(seeds=5)
async def test_section_waits_for_its_turn_no_longer_than_asked(seed: int) -> None:
    """Goal: sections of one process on one key go in the order of asking, each within its wait. Method: hold the first back."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        gate = one.faults.hold("joint")
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 1})]
        first = asyncio.ensure_future(site.section(row, steps))
        await asyncio.sleep(0.1)
        later = [asyncio.ensure_future(site.section(row, steps, wait_ms=60_000)) for _ in range(5)]
        with pytest.raises(AcquireTimeout):
            await site.section(row, steps, wait_ms=500)
        gate.set_result(None)
        answers = await asyncio.gather(first, *later)
        assert answers[0].fencing_token == 1
        assert sorted(answer.fencing_token for answer in answers) == [1, 2, 3, 4, 5, 6]


@seeded(seeds=5)
async def test_events_of_a_slow_reader(seed: int) -> None:
    """Goal: a listener that falls behind gets one gap in place of what it missed. Method: more events than are kept."""
    async with world_of(seed, events_max=4) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        events = site.events(keyspace="ks", table="votes")
        for _ in range(5):
            lock = await site.acquire([row])
            await site.release(lock.reference)
        seen = [(await anext(events)).kind for _ in range(5)]
        assert seen == ["granted", "released", "granted", "released", "gap"]
        lock = await site.acquire([row])
        assert (await anext(events)).fencing_token == lock.fencing_token
        await site.release(lock.reference)


@seeded(seeds=3)
async def test_clock_off(seed: int) -> None:
    """Goal: a process whose clock is far off its peers' refuses writes without a lock and says so; locks go on. Method: tell
    it so."""
    async with world_of(seed) as world:
        site = world.processes[0].coordinator
        site.note_clock_difference(900.0)
        with pytest.raises(Unavailable):
            await site.put(world.row("a", "mixed"), {"count": 1})
        assert not (await site.health()).ready
        await site.put(world.row("a", "mixed"), {"count": 1}, level="atomic")
        site.note_clock_difference(3.0)
        assert (await site.health()).ready


@seeded(seeds=3)
async def test_after_close(seed: int) -> None:
    """Goal: a closed process refuses calls, and ends what waits. Method: close with a waiter and a section under way."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        await site.acquire([row], lease_ms=60_000)
        waiting = asyncio.ensure_future(site.acquire([row], wait_ms=60_000))
        gate = one.faults.hold("joint")
        under_way = asyncio.ensure_future(site.section(world.row("b"), [RowPut(columns={"count": 1})]))
        await asyncio.sleep(0.1)
        closing = asyncio.ensure_future(one.close())
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await site.acquire([world.row("c")])
        gate.set_result(None)
        assert (await under_way).fencing_token == 1
        await closing
        results = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(results[0], Exception)


@seeded
async def test_transactional_tables(seed: int) -> None:
    """Goal: what this engine cannot do is refused with the reason. Method: ask for a transactional table."""
    from tests.support.sites import table_of

    async with world_of(seed) as world:
        with pytest.raises(BadRequest, match="transactions"):
            await world.processes[0].coordinator.create_table(table_of("t", "transactional"))
