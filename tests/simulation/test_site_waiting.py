"""Waiting: whoever waits watches who is in front, and nobody else is disturbed by it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from polysite.api import RowPut
from polysite.core.combine import AskedWish
from polysite.core.wishes import Enqueue
from polysite.errors import CompareFailed, LockLost, Unavailable
from polysite.site import peers
from polysite.site.peers import WishMessage
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from tests.support.sites import until, world_of

LEASE_MS = 1_000


@seeded(seeds=10)
async def test_a_promotion_outwaits_a_dead_reader(seed: int) -> None:
    """Goal: a reader that waits to be promoted watches the others of its run: a dead one goes after its lease. Method: two
    processes read; one asks to be promoted, the other is killed. While it waits it says so."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        first = await one.coordinator.acquire([row], kind="shared", lease_ms=60_000)
        await two.coordinator.acquire([row], kind="shared", lease_ms=LEASE_MS)
        promoting = asyncio.ensure_future(one.coordinator.promote(first.reference, wait_ms=30_000))
        await asyncio.sleep(0.2)
        assert (await one.coordinator.renew(first.reference)).kind == "promoting"
        await two.kill()
        killed_s = asyncio.get_running_loop().time()
        assert (await promoting).kind == "exclusive"
        assert asyncio.get_running_loop().time() - killed_s <= 2.5
        await one.coordinator.put(row, {"count": 1}, level="critical", reference=first.reference)
        await one.coordinator.release(first.reference)


@seeded(seeds=10)
async def test_a_promotion_whose_caller_went_is_withdrawn(seed: int) -> None:
    """Goal: a promotion that nobody waits for any more keeps nobody out. Method: cancel it while another reads; a third reader
    comes; when the others have gone the lock is still a reader's, and may be promoted anew."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        first = await one.coordinator.acquire([row], kind="shared", lease_ms=60_000)
        second = await two.coordinator.acquire([row], kind="shared", lease_ms=60_000)
        promoting = asyncio.ensure_future(one.coordinator.promote(first.reference, wait_ms=30_000))
        await asyncio.sleep(0.2)
        assert not (await two.coordinator.acquire([row], kind="shared", wait_ms=0)).held
        promoting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await promoting
        third = await two.coordinator.acquire([row], kind="shared", lease_ms=60_000, wait_ms=5_000)
        assert third.held
        for lock in (second, third):
            await two.coordinator.release(lock.reference)


@seeded(seeds=10)
async def test_who_only_asks_now_and_then_watches_too(seed: int) -> None:
    """Goal: an entry whose client does not wait but comes back from time to time is not stuck behind a dead process. Method: kill
    the holder's process; ask every now and then, without ever waiting."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        lock = await two.coordinator.acquire([row], lease_ms=LEASE_MS, wait_ms=0)
        assert not lock.held
        await one.kill()
        for _ in range(10):
            await asyncio.sleep(0.3)
            lock = await two.coordinator.renew(lock.reference)
        assert lock.held
        await two.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_watches_come_and_go(seed: int) -> None:
    """Goal: however often a key is waited for and given up, its holder keeps its session, and afterwards nothing is kept. Method:
    short waits one after the other, each until its watch has ended; then release."""
    async with world_of(seed) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=600_000)
        for _ in range(5):
            waiting = await site.acquire([row], lease_ms=600_000, wait_ms=200)
            assert not waiting.held
            await site.release(waiting.reference)
            await asyncio.sleep(5.0)
            (state,) = site._keys.in_use()
            assert (state.observation, state.look_timer) == (None, None)
        await site.put(row, {"count": 1}, level="critical", reference=lock.reference)
        assert (await site.release(lock.reference)).validated
        await asyncio.sleep(0.1)
        assert len(site._keys) == 0


@seeded(seeds=5)
async def test_a_dead_holder_goes_though_nobody_waits_as_long_as_its_lease(seed: int) -> None:
    """Goal: clients that give up sooner than a dead holder's lease are over get the lock all the same, those that come after it. Method: kill the
    holder's process; wait a little and give up; ask again after the lease, without waiting."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        await one.kill()
        waiting = await two.coordinator.acquire([row], lease_ms=LEASE_MS, wait_ms=200)
        assert not waiting.held
        await two.coordinator.release(waiting.reference)
        await asyncio.sleep(LEASE_MS / 1000 + 0.3)
        lock = await two.coordinator.acquire([row], lease_ms=LEASE_MS, wait_ms=0)
        assert lock.held
        await two.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_a_living_holder_is_not_watched_on(seed: int) -> None:
    """Goal: a key that nobody waits for any more is not watched for longer than its holder needs to show life. Method: wait a
    little for a lock whose holder lives elsewhere and renews it, give up, and look after a third of the lease."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=6_000)
        waiting = await two.coordinator.acquire([row], lease_ms=6_000, wait_ms=200)
        await two.coordinator.release(waiting.reference)
        for _ in range(3):
            await asyncio.sleep(1.0)
            await one.coordinator.renew(lock.reference)
        assert not two.coordinator._keys.in_use()
        await one.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_an_order_drops_the_entry_it_names(seed: int) -> None:
    """Goal: an administrator's order drops the entry with the fencing token it names and no other, whatever the replica at hand
    shows; one that is gone is told. Method: three entries, the order given where only old views are to be had."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        locks = [await one.coordinator.acquire([row], lease_ms=60_000, wait_ms=0) for _ in range(4)]
        await two.coordinator.queue(row)
        two.coordinator._keys.forget_views()
        two.faults.rates = FaultRates(stale=1.0)
        left = await two.coordinator.preempt(row, fencing_token=locks[1].fencing_token)
        assert [entry.fencing_token for entry in left.entries] == [1, 3, 4]
        two.coordinator._keys.forget_views()
        left = await two.coordinator.preempt(row)
        assert [entry.fencing_token for entry in left.entries] == [3, 4]
        with pytest.raises(CompareFailed):
            await two.coordinator.preempt(row, fencing_token=locks[1].fencing_token)
        two.faults.rates = FaultRates()
        for lock in locks[:2]:
            with pytest.raises(LockLost):
                await one.coordinator.release(lock.reference)
        options: dict[str, Any] = {"level": "critical", "reference": locks[2].reference}
        await one.coordinator.put(row, {"count": 1}, **options)
        for lock in locks[2:]:
            await one.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_observers_are_staggered(seed: int) -> None:
    """Goal: of several who watch, the one in front drops the dead, two round trips before the next would. Method: sites far apart;
    kill the holder's process; look at the time and at how many changes were tried."""
    async with world_of(seed, "one", "two", "three", majority_rtt_ms=200) as world:
        one, two, three = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=2_100)
        second = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(0.1)
        third = asyncio.ensure_future(three.coordinator.acquire([row], lease_ms=60_000, wait_ms=60_000))
        assert lock.held
        # Their wishes are kept back by the holder's process, which is their steward, for 4 W.
        await until(lambda: len(one.coordinator._keys.in_use()[0].cell.queue) == 3)
        await asyncio.sleep(0.5)
        (cell,) = [state.cell for state in one.coordinator._keys.in_use()]
        tried = three.faults.calls.get("compare_and_set", 0)
        await one.kill()
        assert [entry.ticket for entry in cell.queue] == [1, 2, 3]
        killed_s = asyncio.get_running_loop().time()
        granted = await second
        # The last beat was at most a third of the lease ago.
        assert 2.1 * 2 / 3 - 0.1 <= asyncio.get_running_loop().time() - killed_s <= 2.1 + 0.4 + 0.1
        await asyncio.sleep(1.0)
        assert three.faults.calls.get("compare_and_set", 0) == tried
        await two.coordinator.release(granted.reference)
        await three.coordinator.release((await third).reference)


@seeded(seeds=5)
async def test_a_reader_outlives_the_first_of_its_run(seed: int) -> None:
    """Goal: a reader that needs the first of its run to settle a row is not stuck when that one's process is dead, though nobody
    waits for the lock. Method: raise the fence; read with two processes, kill that of the first; get, again and again."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await two.coordinator.acquire([row])
        await two.coordinator.preempt(row)
        await one.coordinator.acquire([row], kind="shared", lease_ms=LEASE_MS)
        second = await two.coordinator.acquire([row], kind="shared", lease_ms=60_000)
        assert second.held
        await one.kill()
        options: dict[str, Any] = {"level": "critical", "reference": second.reference}
        answer: Any = None
        for _ in range(3):
            (answer,) = await asyncio.gather(two.coordinator.get(row, **options), return_exceptions=True)
            if not isinstance(answer, Unavailable):
                break
        assert not isinstance(answer, BaseException), answer
        assert answer.row is None
        await two.coordinator.release(second.reference)


@seeded(seeds=3, limit_steps=5_000_000)
async def test_readers_may_be_given_up_at_any_moment(seed: int) -> None:
    """Goal: whatever call of a reader is given up, whenever, the readers of its run go on. Method: two readers in two processes under
    a raised fence; cancel gets and promotions of either after each number of steps; then both read, a third
    comes and goes, and one is promoted and writes."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await one.coordinator.section(row, [RowPut(columns={"count": 0})])
        for steps in range(0, 40, 2):
            for number in range(4):
                await one.coordinator.acquire([row], lease_ms=60_000)
                await one.coordinator.preempt(row)
                locks = [
                    await process.coordinator.acquire([row], kind="shared", lease_ms=60_000) for process in (one, two)
                ]
                which = number % 2
                site, reference = (one, two)[which].coordinator, locks[which].reference
                options: dict[str, Any] = {"level": "critical", "reference": reference}
                call: Coroutine[Any, Any, Any] = (
                    site.promote(reference, wait_ms=1_000) if number // 2 else site.get(row, **options)
                )
                task = asyncio.ensure_future(call)
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for process, lock in zip((one, two), locks, strict=True):
                    seen = await asyncio.wait_for(
                        process.coordinator.get(row, level="critical", reference=lock.reference), 5.0
                    )
                    assert seen.row is not None
                third = await two.coordinator.acquire([row], kind="shared", wait_ms=1_000)
                assert third.held
                await two.coordinator.release(third.reference)
                await (two, one)[which].coordinator.release(locks[1 - which].reference)
                assert (await site.promote(reference, wait_ms=5_000)).kind == "exclusive"
                await site.put(row, {"count": steps}, **options)
                await site.release(reference)
        await asyncio.sleep(0.5)
        assert one.coordinator._sessions.count == two.coordinator._sessions.count == 0


@seeded(seeds=5)
async def test_one_order_at_a_time_to_drop_the_dead(seed: int) -> None:
    """Goal: an engine that answers slowly is not asked again and again to drop the same dead entry. Method: kill the holder's
    process; hold the waiter's changes back for several of its leases, then let them go."""
    async with world_of(seed, "one", "two", joint=False) as world:
        one, two = world.processes
        row = world.row("a")
        await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        await one.kill()
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(0.5)
        gate = two.faults.hold("compare_and_set")
        await asyncio.sleep(6.0)
        (state,) = two.coordinator._keys.in_use()
        assert len(state.pending) <= 2
        gate.set_result(None)
        lock = await waiting
        assert lock.held
        await two.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_a_wish_of_another_process_that_is_too_old(seed: int) -> None:
    """Goal: a wish that another process sent is carried only if the cell still remembers everything since it was asked (I17): its
    author may have had it carried elsewhere. Method: more changes than a cell remembers; an enqueue asked before them, one
    asked now, and one of a version that this process has not seen."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        for _ in range(12):
            lock = await site.acquire([row])
            await site.release(lock.reference)
        held = await site.acquire([row], lease_ms=60_000)
        (state,) = site._keys.in_use()
        for number, seen_version in enumerate((1, state.version, state.version + 9)):
            mark = bytes([number]) * 16
            wish = Enqueue(mark, mark, mark, "exclusive", "local", "elsewhere", "1", lease_ms=60_000)
            body = peers.encode(WishMessage(state.encoded, (AskedWish(mark, seen_version, wish),), ""))
            await site.handle_peer_message("wish", body)
        await asyncio.sleep(1.0)
        assert [entry.request_id for entry in state.cell.queue[1:]] == [bytes([1]) * 16]
        assert not state.pending
        await site.preempt(row, fencing_token=state.cell.queue[1].ticket)
        await site.release(held.reference)
