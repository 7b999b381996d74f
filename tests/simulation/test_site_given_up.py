"""Callers that give up in the middle, and sendings that fail after others went unanswered: nothing is stuck afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polysite.api import Condition, KeyName, PageAnswer
from polysite.errors import OutcomeUnknown, Unavailable
from polysite.testing.loop import seeded
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec
from tests.support.sites import Process, until, world_of


async def told(call: Awaitable[Any]) -> Any:
    """What the call answers, or the error it ends with."""
    return (await asyncio.gather(call, return_exceptions=True))[0]


def begun(process: Process, operation: str) -> Callable[[], bool]:
    """Whether the process has called that operation of its engine since now."""
    calls = process.faults.calls.get(operation, 0)
    return lambda: process.faults.calls.get(operation, 0) > calls


async def give_up(task: "asyncio.Task[Any] | asyncio.Future[Any]", gate: "asyncio.Future[None] | None" = None) -> None:
    """Cancel a call that had time to begin; then let go on what it waited for."""
    await asyncio.sleep(0.1)
    task.cancel()
    assert isinstance(await told(task), asyncio.CancelledError)
    if gate is not None:
        gate.set_result(None)


@seeded(seeds=5)
async def test_write_that_fails_at_its_second_sending(seed: int) -> None:
    """Goal: a write that was not answered once is unanswered, however its second sending ends: later gets settle the row, none
    waits for it for ever. Method: lose a put, and refuse or cancel what is sent after it."""
    for cancelled in (False, True):
        async with world_of(seed, joint=False) as world:
            one, row = world.processes[0], world.row("a")
            site = one.coordinator
            lock = await site.acquire([row], lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            one.faults.lose_next("write", after_effect=True)
            if cancelled:
                gate, sent = one.faults.hold("write"), begun(one, "write")
                put = asyncio.ensure_future(site.put(row, {"count": 1}, **options))
                await until(sent)
                second = one.faults.hold("write")
                gate.set_result(None)
                await give_up(put, second)
            else:
                for _ in range(2):
                    one.faults.refuse_next("write")
                with pytest.raises(OutcomeUnknown):
                    await site.put(row, {"count": 1}, **options)
            seen = (await asyncio.wait_for(site.get(row, **options), 30)).row
            assert seen == {"id": "a", "count": 1, "note": None}
            assert (await site.release(lock.reference)).validated


@seeded(seeds=5)
async def test_select_that_is_cancelled_while_it_settles(seed: int) -> None:
    """Goal: a partition whose settling was broken off is settled by the next range get, and gets and writes of its rows do not
    wait for what will never end. Method: preempt a writer, so that the fence stands above the partition; cancel the first
    select while its batch is on the way."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        site = one.coordinator
        columns = tuple(ColumnSpec(name, "text") for name in ("p", "c", "v"))
        await site.create_table(
            TableSpec(
                keyspace="ks",
                name="lists",
                columns=columns,
                partition_key=("p",),
                clustering_key=(ClusteringColumn("c"),),
            )
        )
        key, row = (KeyName(keyspace="ks", table="lists", key=key) for key in ({"p": "a"}, {"p": "a", "c": "1"}))
        lock = await site.acquire([key])
        await site.put(row, {"v": "1"}, level="critical", reference=lock.reference)
        await site.preempt(key)
        lock = await site.acquire([key], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}

        async def select() -> PageAnswer:
            where = [Condition(column="p", comparison="eq", value="a")]
            return await site.select("ks", "lists", where=where, **options)

        gate, sent = one.faults.hold("write"), begun(one, "write")
        asked = asyncio.ensure_future(select())
        await until(sent)
        waiting = asyncio.ensure_future(site.put(row, {"v": "2"}, **options))
        await give_up(asked, gate)
        await asyncio.wait_for(waiting, 30)
        assert (await asyncio.wait_for(select(), 30)).rows == [{"p": "a", "c": "1", "v": "2"}]
        assert (await site.get(row, **options)).row == {"p": "a", "c": "1", "v": "2"}
        assert (await site.release(lock.reference)).validated


@seeded(seeds=5)
async def test_validated_release_that_is_cancelled_and_fails(seed: int) -> None:
    """Goal: a release whose caller gave up is carried out all the same, also if its first change fails; no entry stays until a
    lease of ten minutes. Method: hold the change back, cancel the caller, refuse the change; and the same with a caller that
    waits."""
    for cancelled in (True, False):
        async with world_of(seed, joint=False) as world:
            one, row = world.processes[0], world.row("a")
            site = one.coordinator
            lock = await site.acquire([row], lease_ms=600_000)
            await asyncio.sleep(0.1)
            if cancelled:
                gate = one.faults.hold("compare_and_set")
                one.faults.refuse_next("compare_and_set")
                await give_up(asyncio.ensure_future(site.release(lock.reference)), gate)
            else:
                one.faults.refuse_next("compare_and_set")
                with pytest.raises(Unavailable):
                    await site.release(lock.reference)
            await asyncio.sleep(10.0)
            assert (await site.queue(row)).entries == []
            assert site._sessions.count == 0


@seeded(seeds=5)
async def test_promotion_that_is_given_up(seed: int) -> None:
    """Goal: a promotion nobody waits for any more is taken back, wherever its caller was, so that readers may join again.

    Method: cancel it while its change is held back, and later, while it waits for another reader; a second call that waits
    with it keeps it alive."""
    async with world_of(seed, joint=False) as world:
        one, row = world.processes[0], world.row("a")
        site = one.coordinator
        first, _second = [await site.acquire([row], kind="shared", lease_ms=600_000) for _ in range(2)]

        async def joins() -> bool:
            reader = await site.acquire([row], kind="shared", wait_ms=5_000)
            await site.release(reader.reference)
            return reader.held

        for gate in (one.faults.hold("compare_and_set"), None):
            await give_up(asyncio.ensure_future(site.promote(first.reference)), gate)
            assert await joins()
        asked = [asyncio.ensure_future(site.promote(first.reference, wait_ms=60_000)) for _ in range(2)]
        await give_up(asked[0])
        assert not await joins()
        await give_up(asked[1])
        assert await joins()
        assert (await site.renew(first.reference)).kind == "shared"


@seeded(seeds=5)
async def test_promotion_whose_withdrawal_fails(seed: int) -> None:
    """Goal: a withdrawal that fails is tried again; who asks for the promotion anew meanwhile gets it, and may write. Method:
    let it time out, refuse the withdrawal; then wait, or have the other reader leave and ask again."""
    for lost in (False, True):
        async with world_of(seed, joint=False) as world:
            one, row = world.processes[0], world.row("a")
            site = one.coordinator
            first, second = [await site.acquire([row], kind="shared", lease_ms=600_000) for _ in range(2)]
            for _ in range(2):
                asked = asyncio.ensure_future(site.promote(first.reference, wait_ms=1_000))
                await asyncio.sleep(0.5)
                one.faults.down = True
                if lost:
                    for _ in range(8):
                        one.faults.lose_next("compare_and_set", after_effect=False)
                assert isinstance(await told(asked), Unavailable | OutcomeUnknown)
                one.faults.down = False
                await asyncio.sleep(10.0)
                assert (await site.renew(first.reference)).kind == "shared"
            asked = asyncio.ensure_future(site.promote(first.reference, wait_ms=1_000))
            await asyncio.sleep(0.5)
            one.faults.refuse_next("compare_and_set")
            assert isinstance(await told(asked), Unavailable)
            await site.release(second.reference)
            assert (await site.promote(first.reference, wait_ms=1_000)).kind == "exclusive"
            await asyncio.sleep(10.0)
            await site.put(row, {"count": 1}, level="critical", reference=first.reference)
            assert (await site.release(first.reference)).validated


@seeded(seeds=5)
async def test_acquire_with_a_key_that_is_cancelled_stays(seed: int) -> None:
    """Goal: the entry of an acquire with an idempotency key waits for the caller to come back, wherever that gave up; without a
    return the caller's silence ends it. Method: cancel it while its change is held back; ask again, or not."""
    for returns in (True, False):
        async with world_of(seed) as world:
            one, row = world.processes[0], world.row("a")
            site = one.coordinator
            gate = one.faults.hold("compare_and_set")
            asked = asyncio.ensure_future(site.acquire([row], idempotency_key="k", lease_ms=2_000))
            await give_up(asked, gate)
            await asyncio.sleep(0.1)
            assert len((await site.queue(row)).entries) == 1
            if returns:
                again = await site.acquire([row], idempotency_key="k", lease_ms=2_000)
                assert (again.held, again.fencing_token) == (True, 1)
                await site.release(again.reference)
            await asyncio.sleep(3.0)
            assert (await site.queue(row)).entries == []


@seeded(seeds=5)
async def test_call_that_shares_a_session_and_is_cancelled(seed: int) -> None:
    """Goal: of two calls with one key the one that gives up takes nothing from the other. Method: two acquires of a key, then
    of a set, side by side behind a holder; cancel the second; the first is granted."""
    async with world_of(seed) as world:
        site = world.processes[0].coordinator
        for keys in ("a", "ab"):
            rows = [world.row(key) for key in keys]
            holder = await site.acquire([rows[-1]])
            asked = []
            for _ in range(2):
                asked.append(asyncio.ensure_future(site.acquire(rows, idempotency_key=keys)))
                await asyncio.sleep(0.1)
            await give_up(asked[1])
            await site.release(holder.reference)
            lock = await asked[0]
            assert lock.held
            assert (await site.renew(lock.reference)).held
            await site.release(lock.reference)
