"""Sections in one step beside sections in several: what one judges is what the other has finished."""

import asyncio

import pytest

from polysite.api import RowExpectation, RowGet, RowPut, Step
from polysite.errors import CompareFailed
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
