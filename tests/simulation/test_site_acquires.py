"""Acquires that end otherwise than by holding: what they leave behind, of one key and of several."""

import asyncio
from typing import Any

import pytest

from polysite.api import LockAnswer, RowPut
from polysite.cells.embedded import EmbeddedCells
from polysite.core.combine import AskedWish
from polysite.core.lock_cell import NO_REQUEST, departed_ticket, find_wish, recent_changes
from polysite.core.wishes import Renew, Renewed
from polysite.errors import AcquireTimeout, IdempotencyMismatch, LockLost, Overloaded, Unavailable
from polysite.site import peers
from polysite.site.peers import WishMessage
from polysite.testing.loop import seeded
from polysite.values.keys import LockKey
from tests.support.sites import Process, World, until, world_of


async def nothing_left(process: Process, world: World, *keys: str, holders: int = 0) -> None:
    """No entry but those of `holders`, and no session for any other."""
    await asyncio.sleep(0.5)
    for key in keys:
        assert len((await process.coordinator.queue(world.row(key))).entries) == holders
    assert process.coordinator._sessions.count == holders * len(keys)


@seeded(seeds=3)
async def test_a_caller_may_go_at_any_moment(seed: int) -> None:
    """Goal: a caller that goes away leaves no entry, turn or session behind, whenever it goes. Method: cancel acquires and sections
    after each number of steps, with the key free and with it held."""
    for held in (False, True):
        async with world_of(seed, joint=seed % 2 == 0) as world:
            one = world.processes[0]
            site, row = one.coordinator, world.row("a")
            lock = await site.acquire([row], lease_ms=600_000) if held else None
            for steps in range(40):
                for call in (
                    site.acquire([row], read=True, wait_ms=1_000),
                    site.section(row, [RowPut(columns={"count": steps})], wait_ms=1_000),
                ):
                    task: asyncio.Future[Any] = asyncio.ensure_future(call)
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()
                    ended: Any = (await asyncio.gather(task, return_exceptions=True))[0]
                    if isinstance(ended, LockAnswer):
                        await site.release(ended.reference)
            await nothing_left(one, world, "a", holders=int(held))
            if lock is not None:
                assert (await site.release(lock.reference)).validated
            assert (await site.section(row, [RowPut(columns={"count": 1})], wait_ms=0)).fencing_token > 0


@seeded(seeds=5)
async def test_a_caller_that_goes_before_its_wish_is_sent_asks_for_nothing(seed: int) -> None:
    """Goal: an acquire given up before its change was sent is not sent. Method: one change is held back, the next waits behind it
    and is cancelled: no ticket is issued for it."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        await asyncio.sleep(0.1)
        changes = one.faults.calls.get("compare_and_set", 0)
        gate = one.faults.hold("compare_and_set")
        first = asyncio.ensure_future(site.acquire([row], lease_ms=60_000))
        await until(lambda: one.faults.calls.get("compare_and_set", 0) > changes)
        second = asyncio.ensure_future(site.acquire([row], lease_ms=60_000))
        await asyncio.sleep(0.1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set_result(None)
        assert (await first).held
        await asyncio.sleep(0.5)
        assert (await site.queue(row)).issued == 1


@seeded(seeds=5)
async def test_what_was_refused_leaves_no_entry(seed: int) -> None:
    """Goal: an acquire or section that is refused leaves no entry. Method: wait too briefly; have the row unreadable; ask for more
    references than a process serves."""
    async with world_of(seed, "one", "two", sessions_max=3) as world:
        one, two = world.processes
        row = world.row("a")
        other = await two.coordinator.acquire([row], lease_ms=600_000)
        with pytest.raises(AcquireTimeout):
            await one.coordinator.section(row, [RowPut(columns={"count": 1})], wait_ms=300, lease_ms=600_000)
        await asyncio.sleep(0.1)
        assert len((await two.coordinator.queue(row)).entries) == 1
        waiting = asyncio.ensure_future(one.coordinator.acquire([row], read=True, wait_ms=5_000, lease_ms=600_000))
        await asyncio.sleep(0.1)
        gate = one.faults.hold("read")
        await two.coordinator.release(other.reference)
        await asyncio.sleep(0.1)
        one.faults.down = True
        gate.set_result(None)
        with pytest.raises(Unavailable):
            await waiting
        one.faults.down = False
        await asyncio.sleep(1.0)
        await nothing_left(one, world, "a")
        locks = [await one.coordinator.acquire([world.row(key)]) for key in "abc"]
        with pytest.raises(Overloaded):
            await one.coordinator.acquire([world.row("d")])
        for lock in locks:
            await one.coordinator.release(lock.reference)
        assert (await one.coordinator.acquire([world.row("d")])).held


@seeded(seeds=3)
async def test_only_requests_with_a_key_are_remembered(seed: int) -> None:
    """Goal: what nobody can ask again leaves nothing in its cell but the changes, each of which goes by its wish's id; what has an
    idempotency key is remembered once its entry has left. Method: acquires and sections of both kinds on one cell."""
    async with world_of(seed, joint=False) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        for count in range(3):
            lock = await site.acquire([row])
            assert [entry.request_id for entry in (await world.cell("a")).queue] == [NO_REQUEST]
            await site.release(lock.reference)
            await site.section(row, [RowPut(columns={"count": count})])
            await asyncio.sleep(0.5)
        cell = await world.cell("a")
        assert (cell.queue, cell.issued, cell.departed) == ((), 6, b"")
        changes = recent_changes(cell)
        assert len(changes) == 12
        assert all([wish_id for wish_id, _ in change.results] == [change.change_id] for change in changes)
        lock = await site.acquire([row], idempotency_key="lock")
        (entry,) = (await world.cell("a")).queue
        await site.release(lock.reference)
        assert departed_ticket(await world.cell("a"), entry.request_id) == lock.fencing_token == 7
        await site.section(row, [RowPut(columns={"count": 9})], idempotency_key="section")
        await asyncio.sleep(0.5)
        assert len((await world.cell("a")).departed) == 2 * 24


@seeded(seeds=5)
async def test_an_acquire_with_a_key_waits_for_its_caller(seed: int) -> None:
    """Goal: an acquire that carries an idempotency key is still there for a caller that comes back; the same key for anything else
    is told. Method: cancel it while it waits, ask again; ask for another kind, lease, owner."""
    async with world_of(seed) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        holder = await site.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"idempotency_key": "k", "lease_ms": 5_000}
        first = asyncio.ensure_future(site.acquire([row], **options))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        for other in ({"kind": "shared"}, {"lease_ms": 6_000}, {"owner": "else"}, {"read": True}):
            with pytest.raises(IdempotencyMismatch):
                await site.acquire([row], **(options | other))
        with pytest.raises(IdempotencyMismatch):
            await site.acquire([world.row("b")], **options)
        again = asyncio.ensure_future(site.acquire([row], **options))
        await asyncio.sleep(0.1)
        await site.release(holder.reference)
        assert (await again).fencing_token == holder.fencing_token + 1
        assert (await site.queue(row)).issued == 2
        await site.release((await again).reference)


@seeded(seeds=5)
async def test_a_set_keeps_what_it_has_while_it_waits(seed: int) -> None:
    """Goal: the keys of a set that are held already stay held while the set waits for the others, and from then on the client has
    a whole lease. Method: wait for the second key for several leases; be silent for most of one; fall silent."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        rows = [world.row("a"), world.row("b")]
        for wait_s in (3.0, 3.3, 3.6):
            other = await two.coordinator.acquire([rows[1]], lease_ms=60_000)
            asked = asyncio.ensure_future(one.coordinator.acquire(rows, lease_ms=1_000, wait_ms=60_000))
            await asyncio.sleep(wait_s)
            await two.coordinator.release(other.reference)
            lock = await asked
            await asyncio.sleep(0.95)
            assert (await one.coordinator.renew(lock.reference)).held
            await asyncio.sleep(1.2)
            await nothing_left(one, world, "a", "b")


@seeded(seeds=5)
async def test_a_set_waits_no_longer_than_asked(seed: int) -> None:
    """Goal: `wait_ms` is that of the whole set. Method: both keys are held; one is let go shortly before the end."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        rows = [world.row("a"), world.row("b")]
        others = [await two.coordinator.acquire([row], lease_ms=60_000) for row in rows]
        started_s = asyncio.get_running_loop().time()
        asked = asyncio.ensure_future(one.coordinator.acquire(rows, wait_ms=1_000))
        await asyncio.sleep(0.8)
        await two.coordinator.release(others[0].reference)
        with pytest.raises(AcquireTimeout):
            await asked
        assert asyncio.get_running_loop().time() - started_s <= 1.05
        await two.coordinator.release(others[1].reference)
        await nothing_left(one, world, "a", "b")


@seeded(seeds=5)
async def test_a_set_that_lost_a_key_is_not_held(seed: int) -> None:
    """Goal: a set of which one key was lost is told, and the others are let go: while it waits, and when it is released. Method:
    preempt one key of it by order."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        rows = [world.row("a"), world.row("b")]
        other = await two.coordinator.acquire([rows[1]], lease_ms=60_000)
        asked = asyncio.ensure_future(one.coordinator.acquire(rows, lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(0.1)
        await one.coordinator.preempt(rows[0])
        await two.coordinator.release(other.reference)
        with pytest.raises(LockLost):
            await asked
        await nothing_left(one, world, "a", "b")
        for lost in range(2):
            for validate in (True, False):
                lock = await one.coordinator.acquire(rows, lease_ms=60_000)
                await one.coordinator.preempt(rows[lost])
                with pytest.raises(LockLost):
                    await one.coordinator.release(lock.reference, validate=validate)
                await nothing_left(one, world, "a", "b")


@seeded(seeds=5)
async def test_a_wish_may_go_by_another_process(seed: int) -> None:
    """Goal: a wish that another process carries is decided once, and its author finds the result in the cell. Method: send a
    renewal to another process, twice; the beat moves once."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        lock = await one.coordinator.acquire([world.row("a")], lease_ms=60_000)
        before = await world.cell("a")
        (entry,) = before.queue
        key = LockKey("ks", "votes", (b"a",)).encode()
        view = await EmbeddedCells(world.engine).read(key)
        asked = AskedWish(b"w" * 16, view.version, Renew((entry.identity,)))
        for _ in range(2):
            await two.coordinator.handle_peer_message("wish", peers.encode(WishMessage(key, (asked,), "")))
            await asyncio.sleep(0.1)
        after = await world.cell("a")
        assert after.queue[0].beat == entry.beat + 1
        assert find_wish(after, asked.wish_id) == Renewed((entry.ticket,))
        await one.coordinator.release(lock.reference)


@seeded(seeds=10)
async def test_an_enqueue_that_went_by_two_roads_is_made_once(seed: int) -> None:
    """Goal: an acquire without a key, which leaves no request id in the cell, is not made twice if another process was asked for the
    same wish. Method: hold the own change back, or lose its answer too; let the other process make it first."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        key = LockKey("ks", "votes", (b"a",)).encode()
        for round_number in range(1, 5):
            await one.coordinator.queue(world.row("a"))
            gate = one.faults.hold("compare_and_set")
            asked = asyncio.ensure_future(one.coordinator.acquire([world.row("a")], lease_ms=60_000))
            await asyncio.sleep(0.1)
            (pending,) = (
                wish for state in one.coordinator._keys.in_use() if state.encoded == key for wish in state.pending
            )
            message = peers.encode(WishMessage(key, (pending.asked,), ""))
            await two.coordinator.handle_peer_message("wish", message)
            await asyncio.sleep(0.1)
            if round_number % 2:
                one.faults.lose_next("compare_and_set", after_effect=False)
            gate.set_result(None)
            lock = await asked
            assert lock.held
            await two.coordinator.handle_peer_message("wish", message)
            await asyncio.sleep(0.1)
            cell = await world.cell("a")
            assert [entry.ticket for entry in cell.queue] == [lock.fencing_token] == [cell.issued] == [round_number]
            assert (await one.coordinator.release(lock.reference)).validated
