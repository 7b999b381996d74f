"""Sections on tables whose `writes` is transactional: each one step, or under a lock each read and write one; decided on what is near, and again where that was old.

Method: the embedded engine's atomic step, in front of which each process first decides on what it saw last, as on Accord; answers get lost.
"""

import asyncio
from typing import Any

import pytest

from polysite.api import Condition, RowDelete, RowExpectation, RowGet, RowPut, Step
from polysite.cells.contract import CellCosts
from polysite.errors import BadRequest, CompareFailed, LockLost, OutcomeUnknown, PolysiteError, Unavailable
from polysite.stores.contract import CellEffect, Decide
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from polysite.values.rows import Put
from tests.support.sites import Process, World, table_of, world_of

ACCORD_CELLS = CellCosts(read_local=0, read=1, compare_and_set=1, compare_and_set_refused=1)
TABLE = "stock"


def through_accord(process: Process) -> None:
    """Have the process's engine decide on what the process saw last of the same cell and rows, and carry it out if that still is so."""
    site: Any = process.coordinator
    store: Any = site._store
    store.capabilities = store.capabilities | {"transactional"}
    site._cells.costs = ACCORD_CELLS
    at_once = store.joint_step
    last: dict[Any, tuple[int, bytes, list[Any]]] = {}

    async def joint_step(key: bytes, reads: Any, decide: Decide) -> bool:
        place = (key, tuple(row_key for _, row_key in reads))
        near = last.get(place, (0, b"", []))
        effect = decide(*near) if place in last else None

        def if_so(version: int, content: bytes, rows: list[Any]) -> CellEffect | None:
            last[place] = (version, content, list(rows))
            made = effect if effect is not None and near == last[place] else decide(version, content, list(rows))
            writes = [write for item in made.writes for write in item.writes] if made is not None else []
            assert not any(isinstance(write, Put) and write.absent for write in writes), "re-stamped"
            return made

        made: bool = await at_once(key, reads, if_so)
        return made

    plainly = store.write

    async def write(table: Any, writes: Any, level: Any) -> None:
        assert table.writes != "transactional", "written past the transactions"
        await plainly(table, writes, level)

    store.joint_step, store.write = joint_step, write


async def prepared(world: World) -> None:
    for process in world.processes:
        through_accord(process)
    await world.processes[0].coordinator.create_table(table_of(TABLE, "transactional"))


@seeded(seeds=10)
async def test_what_a_section_costs(seed: int) -> None:
    """Goal: one round trip where what is near is how things stand, and one more where it is not."""
    async with world_of(seed, "one", "two", joint=False) as world:
        await prepared(world)
        one, two = (process.coordinator for process in world.processes)
        row = world.row("a", TABLE)
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 1})]
        assert (await one.section(row, steps)).round_trips == 1
        assert (await two.section(row, steps)).round_trips == 1
        assert (await one.section(row, steps)).round_trips == 2, "the other process has moved the cell since"


@seeded(seeds=20)
async def test_a_counter_that_all_raise(seed: int) -> None:
    """Goal: nothing acknowledged is lost or made twice, however stale a decision was and whichever answer is lost."""
    async with world_of(seed, "one", "two", "three", joint=False) as world:
        await prepared(world)
        first, row = world.processes[0].coordinator, world.row("n", TABLE)
        await first.put(row, {"count": 0}, level="atomic")
        raised = unknown = 0

        async def work(process: Process) -> None:
            nonlocal raised, unknown
            site = process.coordinator
            for _ in range(8):
                try:
                    found = (await site.get(row, level="atomic")).row
                    assert found is not None
                    expected = RowExpectation(equals={"count": found["count"]})
                    await site.section(row, [expected, RowPut(columns={"count": found["count"] + 1})])
                    raised += 1
                except OutcomeUnknown:
                    unknown += 1
                except (CompareFailed, Unavailable):
                    pass

        for process in world.processes:
            process.faults.rates = FaultRates(lost_before=0.1, lost_after=0.1)
        await asyncio.gather(*(work(process) for process in world.processes))
        for process in world.processes:
            process.faults.rates = FaultRates()
        found = (await first.get(row, level="atomic")).row
        assert found is not None
        assert raised <= found["count"] <= raised + unknown
        assert raised >= 8


@seeded(seeds=5)
async def test_steps_see_each_other_and_nothing_is_restamped(seed: int) -> None:
    """Goal: a section is what its steps say, one after the other."""
    async with world_of(seed, joint=False) as world:
        await prepared(world)
        site, row = world.processes[0].coordinator, world.row("a", TABLE)
        answer = await site.section(
            row,
            [
                RowPut(columns={"count": 1, "note": "x"}),
                RowGet(),
                RowDelete(),
                RowGet(),
                RowPut(columns={"count": 2}),
                RowGet(),
            ],
        )
        assert [result and result["count"] for result in answer.results] == [None, 1, None, None, None, 2]
        assert (await site.get(row, level="atomic")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=10)
async def test_a_lock_that_is_held(seed: int) -> None:
    """Goal: gets and puts under a reference are transactions of one round trip each; whoever lost the lock reads and writes nothing, though
    he does not know yet that he lost it."""
    async with world_of(seed, "one", "two", joint=False) as world:
        await prepared(world)
        one, two = (process.coordinator for process in world.processes)
        row = world.row("a", TABLE)
        lock = await one.acquire([row], read=True)
        assert lock.rows == [None]
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        for count in (1, 2):
            assert (await one.put(row, {"count": count}, **options)).round_trips == 1
            got = await one.get(row, **options)
            assert (got.row, got.round_trips) == ({"id": "a", "count": count, "note": None}, 1)
        await two.preempt(row)
        with pytest.raises(LockLost):
            await one.put(row, {"count": 9}, **options)
        with pytest.raises(LockLost):
            await one.get(row, **options)
        after = await two.acquire([row], read=True)
        assert after.fencing_token > lock.fencing_token
        assert after.rows is not None and after.rows[0] is not None and after.rows[0]["count"] == 2
        await two.delete(row, level="critical", reference=after.reference)
        assert (await two.release(after.reference)).validated
        assert (await one.get(row, level="atomic")).row is None


@seeded(seeds=20)
async def test_a_counter_under_locks(seed: int) -> None:
    """Goal: every tenure finds what the one before it wrote, whichever answers are lost or come late. Method: processes raise a counter by turns
    of a held lock and of single sections; a put without an answer is made again with the same value."""
    async with world_of(seed, "one", "two", "three", joint=False) as world:
        await prepared(world)
        first, row = world.processes[0].coordinator, world.row("n", TABLE)
        await first.put(row, {"count": 0}, level="atomic")
        raised = unknown = 0

        async def work(process: Process) -> None:
            nonlocal raised, unknown
            site = process.coordinator
            for _ in range(5):
                began = False
                try:
                    lock = await site.acquire([row], wait_ms=30_000, lease_ms=10_000)
                    if not lock.held:
                        await site.release(lock.reference, validate=False)
                        continue
                    options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
                    found = (await site.get(row, **options)).row
                    assert found is not None
                    began = True
                    for _ in range(20):
                        try:
                            await site.put(row, {"count": found["count"] + 1}, **options)
                            raised += 1
                            break
                        except (OutcomeUnknown, Unavailable):
                            continue
                    else:
                        unknown += 1
                    assert (await site.get(row, **options)).row is not None
                    await site.release(lock.reference, validate=False)
                except PolysiteError:
                    unknown += began

        for process in world.processes:
            process.faults.rates = FaultRates(lost_before=0.05, lost_after=0.05, late=0.05)
        await asyncio.gather(*(work(process) for process in world.processes))
        for process in world.processes:
            process.faults.rates = FaultRates()
        lock = await first.acquire([row], wait_ms=60_000, read=True)
        assert lock.held and lock.rows is not None and lock.rows[0] is not None
        assert raised <= lock.rows[0]["count"] <= raised + unknown
        assert raised >= 5
        await first.release(lock.reference)


@seeded(seeds=2)
async def test_what_is_refused(seed: int) -> None:
    """Goal: what such a table cannot do is refused with the reason, before anything is written."""
    async with world_of(seed, joint=False) as world:
        await prepared(world)
        site, row = world.processes[0].coordinator, world.row("a", TABLE)
        for call, why in (
            (site.put(row, {"count": 1}), "critical sections only"),
            (site.section(row, [RowPut(columns={"count": 1})], idempotency_key="k"), "no idempotency key"),
            (site.put(row, {"count": 1}, level="atomic", idempotency_key="k"), "no idempotency key"),
            (
                site.select("ks", TABLE, where=[Condition(column="id", comparison="eq", value="a")], level="atomic"),
                "ranges",
            ),
        ):
            with pytest.raises(BadRequest, match=why):
                await call
        assert (await site.get(row, level="atomic")).row is None
