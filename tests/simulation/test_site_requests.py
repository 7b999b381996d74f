"""Idempotency records of holders that lost their lock: what was never legitimate is never answered done."""

import asyncio
from typing import Any

import pytest

from polysite.api import KeyName, RowGet, RowPut, Step
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError
from polysite.testing.loop import seeded
from polysite.values.tables import ColumnSpec, TableSpec
from tests.support.sites import until, world_of


@seeded(seeds=5)
async def test_a_late_put_is_not_done_because_its_record_is_there(seed: int) -> None:
    """Goal: a put that reached the store after its holder was preempted is never answered done, not even to a retry with its
    idempotency key, although record and effect went into one commit.

    Method: hold back the commit of a holder's put; another process waits out the lease, reads, writes and releases; then the
    late commit goes through. The first answer and the retry at the other process must both not be done.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=500)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "late"}
        gate = one.faults.hold("joint")
        late = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, **options))
        await until(lambda: one.faults.calls.get("joint", 0) > 0)
        one.faults.down = True
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 2})]
        section = await two.coordinator.section(row, steps, wait_ms=60_000)
        assert section.fencing_token == lock.fencing_token + 1
        one.faults.down = False
        gate.set_result(None)
        (answer,) = await asyncio.gather(late, return_exceptions=True)
        assert isinstance(answer, PolysiteError), answer
        try:
            again: Any = await two.coordinator.put(row, {"count": 1}, **options)
        except PolysiteError as error:
            again = error
        assert isinstance(again, OutcomeUnknown), (
            "it is there, so it was not refused; nobody can read it, so it is not done"
        )
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_a_record_counts_while_the_fence_lies_below(seed: int) -> None:
    """Goal: a put that was stored in time counts as done for a retry, even if others have written since and the process died
    before its record said so. Method: kill right after the commit; end the tenure clean from another process; write; retry."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "p"}
        first = await one.coordinator.put(row, {"count": 1}, **options)
        await one.kill()
        again = await two.coordinator.put(row, {"count": 1}, **options)
        assert again.stamp == first.stamp
        await two.coordinator.put(row, {"count": 2}, level="critical", reference=lock.reference)
        assert (await two.coordinator.put(row, {"count": 1}, **options)).stamp == first.stamp
        await two.coordinator.release(lock.reference)
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_a_record_answers_when_the_lock_is_gone(seed: int) -> None:
    """Goal: a put that was stored in time is never answered "refused" to a retry, though its lock is gone and its record does
    not say yet that it was done. Method: let the record stay pending, release, let another write; retry here and elsewhere, and
    retry one that was never sent."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        one.faults.refuse_next("write")
        first = await one.coordinator.put(row, {"count": 1}, idempotency_key="p", **options)
        assert (await one.coordinator.release(lock.reference)).validated
        await two.coordinator.section(row, [RowPut(columns={"count": 2})])
        for process in (two, one):
            again = await process.coordinator.put(row, {"count": 1}, idempotency_key="p", **options)
            assert again.stamp == first.stamp
            with pytest.raises(LockLost):
                await process.coordinator.put(row, {"count": 1}, idempotency_key="never sent", **options)
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_acquire_again_at_another_process(seed: int) -> None:
    """Goal: an acquire sent again to another process is the same entry: answered by the process that serves it, or taken over
    once that one is dead. Method: acquire at one, again at two; kill one; again at two."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
        again = await two.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
        assert (again.reference, again.held) == (lock.reference, True)
        await one.kill()
        third = await two.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
        assert (third.reference, third.held) == (lock.reference, True)
        assert len((await two.coordinator.queue(row)).entries) == 1
        await two.coordinator.release(third.reference)


@seeded(seeds=3)
async def test_more_writes_than_a_window(seed: int) -> None:
    """Goal: a holder that used half of its window gets a further one once, in the background. Method: make the window small by
    using it up, and count the changes."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=600_000)
        await asyncio.sleep(0.1)
        (state,) = site._keys.in_use()
        (live,) = state.sessions.values()
        live.core._use_stamps(2**19)
        changes = one.faults.calls["compare_and_set"]
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        await asyncio.gather(*(site.put(row, {"count": number}, **options) for number in range(20)))
        await asyncio.sleep(0.1)
        assert one.faults.calls["compare_and_set"] == changes + 1
        before = await site.put(row, {"count": 1}, **options)
        for power in range(21, -1, -1):
            if live.core._has_stamps(2**power):
                live.core._use_stamps(2**power)
        after = await site.put(row, {"count": 2}, **options)
        assert before.stamp is not None
        assert after.stamp is not None
        assert after.stamp > before.stamp
        assert (await site.release(lock.reference)).validated


@seeded(seeds=5)
async def test_section_that_ends_in_the_middle(seed: int) -> None:
    """Goal: a section over several partitions that stored some of its writes is unknown, not refused, and is not carried out
    a second time. Method: a lock key with two partitions, held first so that the general road is taken; the second batch is
    refused; sent again."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site = one.coordinator
        columns = (ColumnSpec("a", "text"), ColumnSpec("b", "text"), ColumnSpec("count", "int"))
        await site.create_table(
            TableSpec(keyspace="ks", name="wide", columns=columns, partition_key=("a", "b"), lock_columns=("a",))
        )
        key = KeyName(keyspace="ks", table="wide", key={"a": "x"})
        lock = await site.acquire([key])
        rows = [{"a": "x", "b": "1"}, {"a": "x", "b": "2"}]
        steps: list[Step] = [RowPut(key=row, columns={"count": 1}) for row in rows]
        asked = asyncio.ensure_future(site.section(key, steps, idempotency_key="wide"))
        await asyncio.sleep(0.1)
        gate = one.faults.hold("joint")
        calls = one.faults.calls.get("joint", 0)
        await site.release(lock.reference)
        await until(lambda: one.faults.calls.get("joint", 0) == calls + 1)
        one.faults.refuse_after("joint", 1)
        gate.set_result(None)
        with pytest.raises(OutcomeUnknown) as told:
            await asked
        assert told.value.steps_done == 1
        with pytest.raises(OutcomeUnknown):
            await site.section(key, steps, idempotency_key="wide")
        found = [await site.get(KeyName(keyspace="ks", table="wide", key=row), level="quorum") for row in rows]
        assert [answer.row is None for answer in found] == [False, True]


@seeded(seeds=5)
async def test_a_late_put_is_not_done_because_its_row_shows_it(seed: int) -> None:
    """Goal: a put that came to the store after its holder was preempted is not answered done to a retry because the row happens to
    show it: the next holder has read the row before, and is about to write again what it read.

    Method: hold back the commit beyond the lease; let the next holder read, and hold back its re-stamp; let the late commit through;
    retry; let the re-stamp through.
    """
    for joint in (True, False):
        async with world_of(seed, "one", "two", "three", joint=joint) as world:
            one, two, three = world.processes
            row = world.row("a")
            await two.coordinator.section(row, [RowPut(columns={"count": 0})])
            lock = await one.coordinator.acquire([row], lease_ms=500)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "late"}
            gate = one.faults.hold("joint" if joint else "write")
            late = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, **options))
            await asyncio.sleep(0.1)
            if not joint:
                # The first write is that of the record.
                record, gate = gate, one.faults.hold("write")
                record.set_result(None)
                await asyncio.sleep(0.1)
            one.faults.down = True
            restamp = two.faults.hold("write")
            successor = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, read=True))
            writes = two.faults.calls["write"]
            await until(lambda calls=two.faults.calls, before=writes: calls["write"] > before)  # type: ignore[misc]
            one.faults.down = False
            gate.set_result(None)
            await asyncio.sleep(0.1)
            assert (await three.coordinator.get(row)).row == {"id": "a", "count": 1, "note": None}
            with pytest.raises(OutcomeUnknown):
                await three.coordinator.put(row, {"count": 1}, **options)
            restamp.set_result(None)
            assert (await successor).rows == [{"id": "a", "count": 0, "note": None}]
            with pytest.raises(OutcomeUnknown):
                await late
            assert (await three.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 0, "note": None}
            await two.coordinator.release((await successor).reference)
