"""Writes and gets under a lock of which one went wrong: what the others are told, and how the lock may be let go."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from polysite.api import Condition, KeyName, RangeDelete, RowPut
from polysite.errors import OutcomeUnknown, Unavailable
from polysite.testing.loop import seeded
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec
from tests.support.sites import world_of


@seeded(seeds=5)
async def test_what_was_not_sent_leaves_the_lock_clean(seed: int) -> None:
    """Goal: a put that was refused before it was sent stands in nobody's way, and its lock is released clean. Method: refuse a put;
    refuse the record of one with an idempotency key; read, write and release after that; release
    right after another."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        for number, idempotency_key in enumerate((None, "k")):
            one.faults.refuse_next("write")
            with pytest.raises(Unavailable):
                await site.put(row, {"count": 9}, idempotency_key=idempotency_key, **options)
            assert (await site.get(row, **options)).row == ({"id": "a", "count": 0, "note": None} if number else None)
            await site.put(row, {"count": number}, idempotency_key=idempotency_key and "l", **options)
        await site.release(lock.reference)
        assert (await world.cell("a")).fence == 0
        lock = await site.acquire([row], lease_ms=60_000)
        one.faults.refuse_next("write")
        with pytest.raises(Unavailable):
            await site.put(row, {"count": 9}, level="critical", reference=lock.reference)
        await site.release(lock.reference)
        assert (await world.cell("a")).fence == 0


@seeded(seeds=5)
async def test_a_get_that_failed_stands_in_nobodys_way(seed: int) -> None:
    """Goal: after a get that was not answered, or whose caller went, the row can be written and got. Method: refuse one, cancel one,
    cancel one while it writes the row again (the fence is raised before, so that it must)."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        for trouble in ("refused", "cancelled", "cancelled later"):
            await site.acquire([row])
            await site.preempt(row)
            lock = await site.acquire([row], lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            if trouble == "refused":
                one.faults.refuse_next("read")
                with pytest.raises(Unavailable):
                    await site.get(row, **options)
            else:
                gate = one.faults.hold("read" if trouble == "cancelled" else "write")
                asked = asyncio.ensure_future(site.get(row, **options))
                waiting = asyncio.ensure_future(site.get(row, **options))
                await asyncio.sleep(0.1)
                asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked
                gate.set_result(None)
                await waiting
            await site.put(row, {"count": 1}, **options)
            assert (await site.get(row, **options)).row == {"id": "a", "count": 1, "note": None}
            await site.release(lock.reference)


@seeded(seeds=5)
async def test_a_put_whose_caller_went_is_settled(seed: int) -> None:
    """Goal: a put whose caller went away while it was under way may be stored: the session reads again and settles it, and a lock
    that is released before that is released dirty. Method: cancel puts that are held back at their first and at their second
    sending; get; cancel one more; release."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        await site.put(row, {"count": 0, "note": "n"}, **options)
        for sent_before, last in ((False, False), (True, False), (False, True)):
            gate = one.faults.hold("write")
            put = asyncio.ensure_future(site.put(row, {"count": 1}, **options))
            await asyncio.sleep(0.1)
            if sent_before:
                one.faults.lose_next("write", after_effect=False)
                gate.set_result(None)
                gate = one.faults.hold("write")
                await asyncio.sleep(0.1)
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            gate.set_result(None)
            if not last:
                assert (await site.get(row, **options)).row == {"id": "a", "count": 0, "note": "n"}
        await site.release(lock.reference)
        assert (await world.cell("a")).fence > 0
        after = await site.acquire([row], read=True)
        assert after.rows == [{"id": "a", "count": 0, "note": "n"}]
        await site.release(after.reference)


@seeded(seeds=5)
async def test_a_refusal_after_a_lost_answer_refuses_nothing(seed: int) -> None:
    """Goal: a put that was sent, not answered and could not be sent again is unknown, never refused, and stands in nobody's way.
    Method: lose its answer after its effect and take the engine away; bring it back; get and put under the same lock, or release
    it: the next holder finds the put."""
    for goes_on in (True, False):
        async with world_of(seed) as world:
            one = world.processes[0]
            site, row = one.coordinator, world.row("a")
            lock = await site.acquire([row], lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            one.faults.lose_next("write", after_effect=True)
            one.faults.down = True
            with pytest.raises(OutcomeUnknown):
                await site.put(row, {"count": 1}, **options)
            one.faults.down = False
            if goes_on:
                seen = await asyncio.wait_for(site.get(row, **options), 5.0)
                assert seen.row == {"id": "a", "count": 1, "note": None}
                await site.put(row, {"count": 2}, **options)
            await site.release(lock.reference)
            after = await site.acquire([row], read=True)
            assert after.rows == [{"id": "a", "count": 2 if goes_on else 1, "note": None}]
            await site.release(after.reference)
            assert ((await world.cell("a")).fence > 0) != goes_on


@seeded(seeds=5)
async def test_a_superseded_put_is_not_sent_again(seed: int) -> None:
    """Goal: a put without an answer is not sent again once a later one of its row was sent (I11). Method: send a second while the
    first is under way, lose the first before its effect, and count what is sent."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        gates = [one.faults.hold("write")]
        first = asyncio.ensure_future(site.put(row, {"count": 1}, **options))
        await asyncio.sleep(0.1)
        gates.append(one.faults.hold("write"))
        second = asyncio.ensure_future(site.put(row, {"note": "later"}, **options))
        await asyncio.sleep(0.1)
        writes = one.faults.calls["write"]
        one.faults.lose_next("write", after_effect=False)
        gates[0].set_result(None)
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(first, 5.0)
        assert one.faults.calls["write"] == writes
        gates[1].set_result(None)
        await second
        assert (await site.get(row, **options)).row == {"id": "a", "count": None, "note": "later"}
        await site.release(lock.reference)


@seeded(seeds=5)
async def test_a_partition_that_could_not_be_settled(seed: int) -> None:
    """Goal: a range get that could not settle its partition is refused, to be tried again, and stands in nobody's way (I13). Method:
    raise the fence of a partition with rows; refuse the read, then the write, that settling takes; lose one; cancel it there; select
    again."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site = one.coordinator
        columns = (ColumnSpec("id", "text"), ColumnSpec("n", "int"), ColumnSpec("count", "int"))
        await site.create_table(
            TableSpec(
                keyspace="ks",
                name="lines",
                columns=columns,
                partition_key=("id",),
                clustering_key=(ClusteringColumn("n"),),
            )
        )
        await asyncio.sleep(0.1)
        partition = KeyName(keyspace="ks", table="lines", key={"id": "a"})
        rows = [KeyName(keyspace="ks", table="lines", key={"id": "a", "n": number}) for number in range(3)]
        where = [Condition(column="id", comparison="eq", value="a")]
        for trouble in ("read", "write", "lost", "caller gone"):
            lock = await site.acquire([partition], lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            for row in rows:
                await site.put(row, {"count": 1}, **options)
            await site.preempt(partition)
            lock = await site.acquire([partition], lease_ms=60_000)
            options["reference"] = lock.reference
            if trouble == "read":
                one.faults.refuse_after("read", 1)
            elif trouble == "write":
                one.faults.refuse_next("write")
            elif trouble == "lost":
                one.faults.lose_next("write", after_effect=False)
            # What is read whole at once is not read again to be settled.
            limit = 2 if trouble == "read" else 1_000
            asked = asyncio.ensure_future(site.select("ks", "lines", where=where, limit=limit, **options))
            if trouble == "caller gone":
                gate = one.faults.hold("write")
                await asyncio.sleep(0.1)
                asked.cancel()
                gate.set_result(None)
                with pytest.raises(asyncio.CancelledError):
                    await asked
            else:
                with pytest.raises(Unavailable):
                    await asked
            page = await asyncio.wait_for(site.select("ks", "lines", where=where, **options), 5.0)
            assert [row["n"] for row in page.rows] == [0, 1, 2]
            await asyncio.wait_for(site.put(rows[0], {"count": 2}, **options), 5.0)
            await site.release(lock.reference)


@seeded(seeds=3, limit_steps=5_000_000)
async def test_a_call_may_be_given_up_at_any_moment(seed: int) -> None:
    """Goal: whatever call under a lock is given up, whenever, the lock can be used, and be let go. Method: cancel each kind of call
    after each number of steps, on rows and a partition that must be settled first; then get, put, select and release."""
    async with world_of(seed, joint=seed % 2 == 0) as world:
        site = world.processes[0].coordinator
        columns = (ColumnSpec("id", "text"), ColumnSpec("n", "int"), ColumnSpec("count", "int"))
        await site.create_table(
            TableSpec(
                keyspace="ks",
                name="lines",
                columns=columns,
                partition_key=("id",),
                clustering_key=(ClusteringColumn("n"),),
            )
        )
        partition = KeyName(keyspace="ks", table="lines", key={"id": "a"})
        row = KeyName(keyspace="ks", table="lines", key={"id": "a", "n": 1})
        where = [Condition(column="id", comparison="eq", value="a")]
        await asyncio.sleep(0.1)
        await site.section(partition, [RowPut(key=row.key, columns={"count": 0})])

        def call(number: int, steps: int, options: dict[str, Any]) -> Coroutine[Any, Any, Any]:
            kinds: list[Callable[[], Coroutine[Any, Any, Any]]] = [
                lambda: site.get(row, **options),
                lambda: site.select("ks", "lines", where=where, **options),
                lambda: site.put(row, {"count": 1}, **options),
                lambda: site.put(row, {"count": 1}, idempotency_key=f"k{steps}", **options),
                lambda: site.delete(row, **options),
                lambda: site.batch("ks", "lines", [RangeDelete(where=where)], **options),
                lambda: site.renew(options["reference"]),
            ]
            return kinds[number]()

        for steps in range(30):
            for number in range(7):
                await site.acquire([partition], lease_ms=60_000)
                await site.preempt(partition)
                lock = await site.acquire([partition], lease_ms=60_000)
                options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
                task = asyncio.ensure_future(call(number, steps, options))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await asyncio.wait_for(site.get(row, **options), 5.0)
                await asyncio.wait_for(site.put(row, {"count": steps}, **options), 5.0)
                page = await asyncio.wait_for(site.select("ks", "lines", where=where, **options), 5.0)
                assert [found["count"] for found in page.rows] == [steps]
                assert (await site.release(lock.reference)).validated
        await asyncio.sleep(0.5)
        assert site._sessions.count == 0
