"""How things end: what is under way when a process stops, and what is left of an enqueue that nobody knows the end of."""

import asyncio
from typing import Any

import pytest

from polysite.api import RowPut
from polysite.errors import LockLost, OutcomeUnknown, Unavailable
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from tests.support.sites import world_of


@seeded(seeds=5)
async def test_close_waits_for_a_write_under_way(seed: int) -> None:
    """Goal: a write that is under way when its process stops is answered before the lock is let go, and leaves it clean.
    Method: hold a put back, close, let the put go on; it is done, and no fence was raised for it."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        gate = one.faults.hold("write")
        put = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference))
        await asyncio.sleep(0.1)
        closing = asyncio.ensure_future(one.close())
        await asyncio.sleep(0.5)
        assert [entry.ticket for entry in (await world.cell("a")).queue] == [1]
        gate.set_result(None)
        assert (await put).stamp is not None
        await closing
        cell = await world.cell("a")
        assert (cell.queue, cell.fence) == ((), 0)
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 1, "note": None}


@seeded(seeds=5)
async def test_close_does_not_wait_for_ever(seed: int) -> None:
    """Goal: a write that is not answered within `close_wait_s` does not hold up the end of its process; the lock is let go
    dirty. Method: hold a put back for good, close, look at the time and the fence."""
    async with world_of(seed, "one", "two", close_wait_s=3.0) as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        gate = one.faults.hold("write")
        put = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference))
        await asyncio.sleep(0.1)
        started_s = asyncio.get_running_loop().time()
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], wait_ms=60_000, read=True))
        closing = asyncio.ensure_future(one.close())
        assert (await waiting).rows == [None]
        assert 3.0 <= asyncio.get_running_loop().time() - started_s <= 3.5
        assert (await world.cell("a")).fence > 0
        gate.set_result(None)
        await closing
        with pytest.raises(OutcomeUnknown) as told:
            await put
        assert told.value.reason == "lock_lost"


@seeded(seeds=5)
async def test_close_lets_go_at_once_of_what_nobody_uses(seed: int) -> None:
    """Goal: a process that stops while a write is under way does not keep its other locks until that ends. Method: hold back a put;
    close; a lock without a call and a place in a queue are free at once, the lock of the put when it is answered."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        busy, idle, queued = (world.row(key) for key in "abc")
        lock = await one.coordinator.acquire([busy], lease_ms=60_000)
        await one.coordinator.acquire([idle], lease_ms=60_000)
        other = await two.coordinator.acquire([queued], lease_ms=60_000)
        waiting = asyncio.ensure_future(one.coordinator.acquire([queued], lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(0.1)
        gate = one.faults.hold("write")
        put = asyncio.ensure_future(one.coordinator.put(busy, {"count": 1}, level="critical", reference=lock.reference))
        await asyncio.sleep(0.1)
        closing = asyncio.ensure_future(one.close())
        await asyncio.sleep(0.1)
        assert len((await world.cell("a")).queue) == 1
        assert (await world.cell("b")).queue == ()
        assert [entry.ticket for entry in (await world.cell("c")).queue] == [other.fencing_token]
        with pytest.raises(LockLost):
            await waiting
        gate.set_result(None)
        await put
        await closing
        assert (await world.cell("a")).queue == ()
        await two.coordinator.release(other.reference)


@seeded(seeds=5)
async def test_nobody_waits_for_a_process_that_was_killed(seed: int) -> None:
    """Goal: callers inside a process that ends at once are told that the outcome is unknown. Method: hold back a change, with one
    more behind it; kill."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await asyncio.sleep(0.1)
        gate = one.faults.hold("compare_and_set")
        calls = [asyncio.ensure_future(one.coordinator.acquire([row], lease_ms=1_000))]
        await asyncio.sleep(0.1)
        calls.append(asyncio.ensure_future(one.coordinator.acquire([row], lease_ms=1_000)))
        await asyncio.sleep(0.1)
        await one.kill()
        for call in calls:
            with pytest.raises(OutcomeUnknown):
                await asyncio.wait_for(call, 5.0)
        gate.set_result(None)
        assert (await two.coordinator.acquire([row], wait_ms=10_000)).held


@seeded(seeds=80)
async def test_a_process_may_be_killed_at_any_step(seed: int) -> None:
    """Goal: no call inside a process that ends waits for ever, wherever its change was. Method: kill after a drawn number of steps of
    calls on keys that are new, known, and contended, with changes that a task carries and such that none does."""
    for begins in (True, False):
        async with world_of(seed, "one", "two") as world:
            one, two = world.processes
            one.coordinator._context.cells.begins = begins
            row, known = world.row("a"), world.row("known")
            await one.coordinator.release((await one.coordinator.acquire([known])).reference)
            calls: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(one.coordinator.acquire([name], lease_ms=1_000, wait_ms=0))
                for name in (row, known, row, known)
            ]
            calls.append(asyncio.ensure_future(one.coordinator.section(world.row("b"), [RowPut(columns={"count": 1})])))
            for _ in range(int(one.runtime.randomness.uniform(0.0, 12.0))):
                await asyncio.sleep(0)
            await one.kill()
            _, waiting = await asyncio.wait(calls, timeout=5.0)
            assert not waiting
            await asyncio.gather(*calls, return_exceptions=True)
            for name in (row, known):
                lock = await two.coordinator.acquire([name], wait_ms=20_000)
                assert lock.held
                await two.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_a_write_that_outlives_its_lock_is_unknown(seed: int) -> None:
    """Goal: a put is not answered `done` if its lock was released while it was under way: the next holder may have read before
    it came. Method: hold a put back, release, let another hold, read and go on; then let the put happen."""
    for validate in (True, False):
        async with world_of(seed) as world:
            one = world.processes[0]
            site, row = one.coordinator, world.row("a")
            lock = await site.acquire([row], lease_ms=60_000)
            gate = one.faults.hold("write")
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            put = asyncio.ensure_future(site.put(row, {"count": 1}, **options))
            await asyncio.sleep(0.1)
            await site.release(lock.reference, validate=validate)
            after = await site.acquire([row], lease_ms=60_000)
            one.faults.hold("write").set_result(None)
            assert (await site.get(row, level="critical", reference=after.reference)).row is None
            gate.set_result(None)
            with pytest.raises(OutcomeUnknown) as told:
                await put
            assert told.value.reason == "lock_lost"
            assert (await site.get(row, level="critical", reference=after.reference)).row is None
            await site.release(after.reference)
            assert (await site.get(row, level="quorum")).row is None


@seeded(seeds=10)
async def test_an_enqueue_without_an_answer_is_cancelled(seed: int) -> None:
    """Goal: an enqueue of which nobody learned what became of it leaves no entry that stands until its lease. Method: take the
    engine away right after the change was sent, which applied, or comes to apply much later; bring the engine back."""
    for late in (False, True):
        async with world_of(seed, "one", "two") as world:
            one, two = world.processes
            row = world.row("a")
            await asyncio.sleep(0.1)
            await one.coordinator.queue(row)
            if late:
                one.faults.rates = FaultRates(late=1.0, late_s=60.0)
            else:
                one.faults.lose_next("compare_and_set", after_effect=True)
            changes = one.faults.calls.get("compare_and_set", 0)
            gate = one.faults.hold("read")
            asked = asyncio.ensure_future(one.coordinator.acquire([row], lease_ms=600_000))
            await asyncio.sleep(0.01)
            assert one.faults.calls["compare_and_set"] == changes + 1
            gate.set_result(None)
            one.faults.rates = FaultRates()
            one.faults.down = True
            with pytest.raises(OutcomeUnknown):
                await asked
            await asyncio.sleep(5.0)
            one.faults.down = False
            await asyncio.sleep(70.0 if late else 6.0)
            cell = await world.cell("a")
            assert (cell.issued, cell.queue) == (1, ())
            assert (await two.coordinator.acquire([row], wait_ms=0)).held


@seeded(seeds=5)
async def test_a_release_without_an_answer_is_carried_out(seed: int) -> None:
    """Goal: a release that could not be carried out at once is carried out later, whoever was told what. Method: the engine is
    away; or so much happens on the key while the release is on its way that the cell no longer remembers; or the caller goes."""
    for trouble in ("away", "forgotten", "forgotten, done", "caller gone"):
        for validate in (True, False):
            async with world_of(seed, "one", "two") as world:
                one, two = world.processes
                row = world.row("a")
                lock = await one.coordinator.acquire([row], lease_ms=600_000)
                await asyncio.sleep(0.1)
                gate, changes = one.faults.hold("read"), one.faults.hold("compare_and_set")
                release = asyncio.ensure_future(one.coordinator.release(lock.reference, validate=validate))
                await asyncio.sleep(0.1)
                forgotten = trouble.startswith("forgotten")
                if forgotten:
                    one.faults.lose_next("compare_and_set", after_effect=trouble.endswith("done"))
                else:
                    one.faults.down = True
                if trouble == "caller gone":
                    release.cancel()
                changes.set_result(None)
                await asyncio.sleep(0.01)
                for _ in range(10 if forgotten else 0):
                    other = await two.coordinator.acquire([row], wait_ms=0)
                    await two.coordinator.release(other.reference)
                gate.set_result(None)
                (told,) = await asyncio.gather(release, return_exceptions=True)
                if validate and trouble != "caller gone":
                    assert isinstance(told, OutcomeUnknown if forgotten else Unavailable)
                one.faults.down = False
                await asyncio.sleep(6.0)
                assert (await world.cell("a")).queue == ()
                assert one.coordinator._sessions.count == 0


@seeded(seeds=5)
async def test_a_release_may_be_asked_for_again(seed: int) -> None:
    """Goal: who was told to try a release again is not told that the lock was lost when it does. Method: release while the engine
    is away, again while it still is, and again when it is back, here and by way of another process; then once more."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        for process in (one, two):
            lock = await one.coordinator.acquire([row], lease_ms=600_000)
            await one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
            one.faults.down = True
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await process.coordinator.release(lock.reference)
            with pytest.raises(LockLost):
                await process.coordinator.get(row, level="critical", reference=lock.reference)
            one.faults.down = False
            gate = one.faults.hold("compare_and_set")
            calls = [process.coordinator.release(lock.reference, validate=validate) for validate in (True, True, False)]
            asked = asyncio.gather(*calls)
            await asyncio.sleep(0.1)
            gate.set_result(None)
            answers = await asked
            assert [answer.validated for answer in answers] == [True, True, False]
            await asyncio.sleep(0.1)
            with pytest.raises(LockLost):
                await process.coordinator.release(lock.reference)
            assert ((await world.cell("a")).queue, (await world.cell("a")).fence) == ((), 0)
        assert one.coordinator._sessions.count == 0


@seeded(seeds=5)
async def test_a_release_after_the_end_for_silence_is_told_as_lost(seed: int) -> None:
    """Goal: a client whose lock was ended because it was silent, and was given to another, is not told that its release was done, though the answer
    about that end has not come yet. Method: let that answer be lost and the look for it wait; another holds; then release, here and
    by way of another process."""
    async with world_of(seed, "one", "two", "three") as world:
        one, two, three = (process.coordinator for process in world.processes)
        faults, row = world.processes[0].faults, world.row("a")
        lock = await one.acquire([row], lease_ms=2_000)
        waiting = asyncio.ensure_future(two.acquire([row], wait_ms=60_000))
        await asyncio.sleep(1.9)
        change = faults.hold("compare_and_set")
        await asyncio.sleep(0.2)
        look = faults.hold("read")
        faults.lose_next("compare_and_set", after_effect=True)
        change.set_result(None)
        other = await waiting
        for process in (one, three):
            with pytest.raises(LockLost):
                await asyncio.wait_for(process.release(lock.reference), 5.0)
        look.set_result(None)
        await asyncio.sleep(1.0)
        assert [entry.ticket for entry in (await world.cell("a")).queue] == [2]
        await two.release(other.reference)
        assert one._sessions.count == 0
