"""Requests with an idempotency key, sent more than once: at the same time, elsewhere, after a refusal, a day later."""

import asyncio
from typing import Any

import pytest

from polysite.api import RowExpectation, RowGet, RowPut, Step
from polysite.errors import BadRequest, CompareFailed, LockLost, OutcomeUnknown, Unavailable
from polysite.testing.loop import seeded
from tests.support.sites import until, world_of


@seeded(seeds=5)
async def test_the_same_request_at_the_same_time(seed: int) -> None:
    """Goal: a request sent several times at once to one process is carried out once. Method: three writes without a lock side by
    side: one stamp; a key of no or too many bytes is refused."""
    for joint in (True, False):
        async with world_of(seed, joint=joint) as world:
            site, row = world.processes[0].coordinator, world.row("a", "mixed")
            puts = [site.put(row, {"count": 1}, idempotency_key="k") for _ in range(3)]
            assert len({answer.stamp for answer in await asyncio.gather(*puts)}) == 1
            for idempotency_key in ("", "k" * 257):
                with pytest.raises(BadRequest):
                    await site.put(row, {"count": 1}, idempotency_key=idempotency_key)


@seeded(seeds=5)
async def test_the_same_section_at_another_process(seed: int) -> None:
    """Goal: a section sent to a second process while the first carries it out has one effect and one answer. Method: stop the second
    between its look for a record and its look at the cell; let the first finish in between."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 1})]
        gates = [two.faults.hold("read")]
        reads = two.faults.calls.get("read", 0)
        second = asyncio.ensure_future(two.coordinator.section(row, steps, idempotency_key="s"))
        await until(lambda: two.faults.calls.get("read", 0) > reads)
        gates.append(two.faults.hold("read"))
        gates[0].set_result(None)
        await asyncio.sleep(0.1)
        first = await one.coordinator.section(row, steps, idempotency_key="s")
        gates[1].set_result(None)
        answer = await second
        assert (answer.fencing_token, answer.results) == (first.fencing_token, [None, None])
        assert (await world.cell("a")).issued == 1


@seeded(seeds=5)
async def test_a_refused_request_may_be_sent_again(seed: int) -> None:
    """Goal: a request that was refused is as if it had never been sent. Method: sections whose expectation does not hold, in one
    step and after a wait, sent again when it does; puts that could not be sent, with and without their record in one commit."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        steps: list[Step] = [RowExpectation(equals={"count": 1}), RowPut(columns={"count": 2})]
        for waits in (False, True):
            idempotency_key = f"s{waits}"
            lock = await two.coordinator.acquire([row]) if waits else None
            asked = asyncio.ensure_future(one.coordinator.section(row, steps, idempotency_key=idempotency_key))
            await asyncio.sleep(0.1)
            if lock is not None:
                await two.coordinator.release(lock.reference)
            with pytest.raises(CompareFailed):
                await asked
            await one.coordinator.section(row, [RowPut(columns={"count": 1})])
            done = await one.coordinator.section(row, steps, idempotency_key=idempotency_key)
            again = await one.coordinator.section(row, steps, idempotency_key=idempotency_key)
            assert again.fencing_token == done.fencing_token
            assert (await one.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}
    for joint in (True, False):
        async with world_of(seed, joint=joint) as world:
            one, row = world.processes[0], world.row("a")
            lock = await one.coordinator.acquire([row], lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "p"}
            one.faults.refuse_after("joint" if joint else "write", 0 if joint else 1)
            with pytest.raises(Unavailable):
                await one.coordinator.put(row, {"count": 1}, **options)
            first = await one.coordinator.put(row, {"count": 1}, **options)
            assert (await one.coordinator.put(row, {"count": 1}, **options)).stamp == first.stamp
            await one.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_a_record_outlives_a_clock_set_back(seed: int) -> None:
    """Goal: that a request is done replaces that it was sent, whatever the wall clock does in between. Method: set the clock back
    an hour while a put is under way; let others write; send it again."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        gates = [one.faults.hold("write")]
        put = asyncio.ensure_future(site.put(row, {"count": 1}, idempotency_key="p", **options))
        await asyncio.sleep(0.1)
        gates.append(one.faults.hold("write"))
        gates[0].set_result(None)
        await asyncio.sleep(0.1)
        one.clock.step_wall_us(-3_600_000_000)
        gates[1].set_result(None)
        first = await put
        await site.put(row, {"count": 2}, **options)
        assert (await site.put(row, {"count": 1}, idempotency_key="p", **options)).stamp == first.stamp
        assert (await site.get(row, **options)).row == {"id": "a", "count": 2, "note": None}
        await site.release(lock.reference)


@seeded(seeds=5)
async def test_a_put_that_never_came_is_not_done(seed: int) -> None:
    """Goal: a put of which only the record that it was sent is there is unknown, however the row looks otherwise. Method: lose every
    sending of the put, after its record was stored; the row has another value in that column."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        await site.put(row, {"count": 5}, **options)
        gates = [one.faults.hold("write")]
        put = asyncio.ensure_future(site.put(row, {"count": 1}, idempotency_key="p", **options))
        await asyncio.sleep(0.1)
        gates.append(one.faults.hold("write"))
        gates[0].set_result(None)
        await asyncio.sleep(0.1)
        for _ in range(3):
            one.faults.lose_next("write", after_effect=False)
        gates[1].set_result(None)
        with pytest.raises(OutcomeUnknown):
            await put
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await site.put(row, {"count": 1}, idempotency_key="p", **options)
        assert (await site.get(row, **options)).row == {"id": "a", "count": 5, "note": None}
        await site.release(lock.reference)


@seeded(seeds=5)
async def test_a_section_is_done_for_good(seed: int) -> None:
    """Goal: a section that was answered done is so for a retry, whatever happens to its lock and rows later. Method: a section that
    has to wait, on the general road; another holder is preempted, another writes; sent again."""
    for joint in (True, False):
        async with world_of(seed, "one", "two", joint=joint) as world:
            one, two = world.processes
            row = world.row("a")
            lock = await two.coordinator.acquire([row])
            steps: list[Step] = [RowGet(), RowPut(columns={"count": 1})]
            asked = asyncio.ensure_future(one.coordinator.section(row, steps, idempotency_key="s"))
            await asyncio.sleep(0.1)
            await two.coordinator.release(lock.reference)
            first = await asked
            await asyncio.sleep(0.1)
            await two.coordinator.acquire([row])
            await two.coordinator.preempt(row)
            await two.coordinator.section(row, [RowPut(columns={"count": 2})])
            for process in (one, two):
                again = await process.coordinator.section(row, steps, idempotency_key="s")
                assert (again.fencing_token, again.results) == (first.fencing_token, [None, None])
            assert (await one.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=3)
async def test_records_are_kept_for_their_time_only(seed: int) -> None:
    """Goal: a record answers for `idempotency_life_s` and is gone afterwards. Method: a life of a minute; send again within and
    after it."""
    async with world_of(seed, idempotency_life_s=60.0) as world:
        site, row = world.processes[0].coordinator, world.row("a", "mixed")
        first = await site.put(row, {"count": 1}, idempotency_key="k")
        await asyncio.sleep(50.0)
        assert (await site.put(row, {"count": 1}, idempotency_key="k")).stamp == first.stamp
        await asyncio.sleep(70.0)
        assert (await site.put(row, {"count": 1}, idempotency_key="k")).stamp != first.stamp


@seeded(seeds=5)
async def test_a_section_that_was_preempted_is_not_begun_again(seed: int) -> None:
    """Goal: a section whose entry was dropped by order says so, also with an idempotency key, and does not queue up a second time.
    Method: preempt it while it waits; let the holder go; look at what was issued and written."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await two.coordinator.acquire([row])
        asked = asyncio.ensure_future(
            one.coordinator.section(row, [RowPut(columns={"count": 1})], idempotency_key="s", wait_ms=60_000)
        )
        await asyncio.sleep(0.1)
        await two.coordinator.preempt(row, fencing_token=lock.fencing_token + 1)
        await two.coordinator.release(lock.reference)
        with pytest.raises(LockLost):
            await asked
        assert (await world.cell("a")).issued == 2
        assert (await two.coordinator.get(row, level="quorum")).row is None
