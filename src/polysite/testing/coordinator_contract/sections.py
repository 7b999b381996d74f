"""Whole sections in one call."""

import asyncio

import pytest

from polysite.api import (
    Condition,
    Coordinator,
    KeyName,
    RowDelete,
    RowExpectation,
    RowGet,
    RowPut,
    Step,
)
from polysite.errors import (
    AcquireTimeout,
    BadRequest,
    CompareFailed,
)
from polysite.testing.coordinator_contract.support import (
    CoordinatorSuite,
    Place,
    within,
)


class SectionSuite(CoordinatorSuite):
    """Whole sections in one call."""

    async def test_counting(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: concurrent sections lose no update. Method: many read-check-write sections on few keys, retried on refusal."""

        async def add(key: str) -> None:
            while True:
                count = await place.count(key)
                steps: list[Step] = [
                    RowExpectation(exists=False) if count is None else RowExpectation(equals={"count": count}),
                    RowPut(columns={"count": (count or 0) + 1}),
                ]
                try:
                    await coordinator.section(place.row(key), steps)
                    return
                except CompareFailed:
                    continue

        await within(asyncio.gather(*(add(f"k{number % 3}") for number in range(30))), 60.0)
        assert [await place.count(f"k{number}", "quorum") for number in range(3)] == [10, 10, 10]

    async def test_steps_see_earlier_steps(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a step sees what earlier ones wrote. Method: get, put, get, expect, delete, get in one section."""
        answer = await coordinator.section(
            place.row("a"),
            [
                RowGet(),
                RowPut(columns={"count": 1}),
                RowGet(),
                RowExpectation(equals={"count": 1, "note": None}),
                RowDelete(),
                RowGet(),
            ],
            validate=True,
        )
        assert answer.validated
        assert answer.results == [None, None, {"id": "a", "count": 1, "note": None}, None, None, None]
        assert await place.count("a") is None

    async def test_expectation_fails(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a failed expectation writes nothing, wherever it stands. Method: put, then expect what does not hold."""
        with pytest.raises(CompareFailed):
            await coordinator.section(
                place.row("a"), [RowPut(columns={"count": 1}), RowExpectation(equals={"count": 2})]
            )
        assert await place.count("a", "quorum") is None

    async def test_waits_for_the_holder(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a section waits its turn, or gives up and leaves nothing. Method: hold the key, run two sections."""
        lock = await coordinator.acquire([place.row("a")])
        with pytest.raises(AcquireTimeout):
            await coordinator.section(place.row("a"), [RowPut(columns={"count": 1})], wait_ms=0)
        waiting = asyncio.ensure_future(
            coordinator.section(place.row("a"), [RowGet(), RowPut(columns={"count": 2})], wait_ms=15_000)
        )
        await coordinator.put(place.row("a"), {"count": 1}, level="critical", reference=lock.reference)
        await coordinator.release(lock.reference)
        answer = await within(waiting)
        assert answer.results[0] == {"id": "a", "count": 1, "note": None}
        assert answer.fencing_token > lock.fencing_token

    async def test_lines_of_a_partition(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: one lock covers all rows of its partition, and no other. Method: steps with keys."""
        key = KeyName(keyspace=place.keyspace, table="lines", key={"id": "a"})
        steps: list[Step] = [RowPut(key={"id": "a", "number": n}, columns={"text": f"line {n}"}) for n in range(4)]
        await coordinator.section(key, steps)
        page = await coordinator.select(
            place.keyspace, "lines", where=[Condition(column="id", comparison="eq", value="a")], level="quorum"
        )
        assert [row["number"] for row in page.rows] == [0, 1, 2, 3]
        with pytest.raises(BadRequest):
            await coordinator.section(key, [RowPut(key={"id": "b", "number": 1}, columns={"text": "x"})])
