"""Sections in one step beside sections in several: what one judges is what the other has finished."""

import asyncio

import pytest

from polysite.api import RowExpectation, RowGet, RowPut, Step
from polysite.errors import AcquireTimeout, CompareFailed, LockLost, OutcomeUnknown
from polysite.testing.loop import seeded
from tests.support.sites import world_of


@seeded(seeds=5)
async def test_a_mismatch_is_judged_on_the_cell_as_it_is(seed: int) -> None:
    """Goal: a section does not fail its expectation on what another holder is in the middle of writing. Method: one process knows
    the key from before, when nobody held; another holds by now and has written the first of two values; a section of the first
    that expects the second must wait for it. One that expects what nobody writes is refused by its turn."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await one.coordinator.section(row, [RowPut(columns={"count": 0})])
        lock = await two.coordinator.acquire([row])
        await two.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        steps: list[Step] = [RowExpectation(equals={"count": 2}), RowPut(columns={"count": 3})]
        asked = asyncio.ensure_future(one.coordinator.section(row, steps))
        await asyncio.sleep(0.1)
        wrong = asyncio.ensure_future(one.coordinator.section(row, [RowExpectation(equals={"count": 9})]))
        await asyncio.sleep(0.5)
        assert not asked.done()
        assert not wrong.done()
        await two.coordinator.put(row, {"count": 2}, level="critical", reference=lock.reference)
        await two.coordinator.release(lock.reference)
        assert (await asked).fencing_token == lock.fencing_token + 1
        with pytest.raises(CompareFailed) as told:
            await wrong
        assert told.value.attributes["rows"] == [{"id": "a", "count": 3, "note": None}]
        assert (await one.coordinator.section(row, [RowGet()])).results == [{"id": "a", "count": 3, "note": None}]


@seeded(seeds=5)
async def test_a_section_that_cannot_be_proven(seed: int) -> None:
    """Goal: a section that is to be proven by its release, and loses the lock before, is unknown if it wrote and refused if it only
    read. Method: hold back the release, preempt, let it go on."""
    for writes in (True, False):
        async with world_of(seed, "one", "two", joint=False) as world:
            one, two = world.processes
            row = world.row("a")
            await asyncio.sleep(0.1)
            gates = [one.faults.hold("compare_and_set")]
            steps: list[Step] = [RowGet(), *([RowPut(columns={"count": 1})] if writes else [])]
            asked = asyncio.ensure_future(one.coordinator.section(row, steps, validate=True))
            await asyncio.sleep(0.1)
            gates.append(one.faults.hold("compare_and_set"))
            gates[0].set_result(None)
            await asyncio.sleep(0.1)
            await two.coordinator.preempt(row)
            gates[1].set_result(None)
            if writes:
                with pytest.raises(OutcomeUnknown) as told:
                    await asked
                assert (told.value.reason, told.value.steps_done) == ("lock_lost", 2)
            else:
                with pytest.raises(LockLost):
                    await asked


@seeded(seeds=5)
async def test_a_step_that_was_sent_twice_counts_once(seed: int) -> None:
    """Goal: a section in one step whose answer was lost, and which had to be sent again, is done once and says so. Method: lose its
    answer after the effect and refuse the look that would tell; then also refuse to send it again, or have others change the
    key meanwhile."""
    for trouble in ("sent again", "refused again", "others came"):
        async with world_of(seed, "one", "two") as world:
            one, two = world.processes
            row = world.row("a")
            await one.coordinator.queue(row)
            one.faults.lose_next("joint", after_effect=True)
            one.faults.refuse_next("read")
            if trouble == "refused again":
                one.faults.refuse_next("joint")
                one.faults.refuse_next("read")
            asked = asyncio.ensure_future(one.coordinator.section(row, [RowPut(columns={"count": 1})]))
            await asyncio.sleep(0.01)
            if trouble == "others came":
                await two.coordinator.section(row, [RowPut(columns={"note": "two"})])
            assert (await asked).fencing_token == 1
            assert (await world.cell("a")).issued == (2 if trouble == "others came" else 1)
            seen = (await two.coordinator.get(row, level="quorum")).row
            assert seen == {"id": "a", "count": 1, "note": "two" if trouble == "others came" else None}


@seeded(seeds=5)
async def test_a_section_waits_once_for_line_and_queue(seed: int) -> None:
    """Goal: the wait asked for bounds the turn in this process's line and the place in the queue together. Method: a section that
    is held back before its step while another process acquires; the next one gets its turn just before its time is up."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row, loop = world.row("a"), asyncio.get_running_loop()
        steps: list[Step] = [RowPut(columns={"count": 1})]
        for idempotency_key in (None, "k"):
            gate = one.faults.hold("joint")
            first = asyncio.ensure_future(one.coordinator.section(row, steps, wait_ms=60_000))
            await asyncio.sleep(0.1)
            lock = await two.coordinator.acquire([row])
            asked_s = loop.time()
            second = asyncio.ensure_future(
                one.coordinator.section(row, steps, wait_ms=2_000, idempotency_key=idempotency_key)
            )
            await asyncio.sleep(1.8)
            gate.set_result(None)
            with pytest.raises(AcquireTimeout):
                await second
            assert loop.time() - asked_s < 2.1
            await two.coordinator.release(lock.reference)
            await first
