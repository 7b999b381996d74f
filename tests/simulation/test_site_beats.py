"""Signs of life: what keeps an entry, of whom, and for how long."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from polysite.errors import LockLost
from polysite.testing.loop import seeded
from tests.support.sites import world_of

LEASE_MS = 1_000


@seeded(seeds=10)
async def test_a_beat_that_failed_is_sent_again(seed: int) -> None:
    """Goal: a live holder keeps its lock though its engine was away for most of its lease. Method: the engine is away from before
    the first beat until shortly before the lease has passed, while another process waits; it must not get the lock."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, wait_ms=3_000))
        for _ in range(2):
            await asyncio.sleep(0.1)
            one.faults.down = True
            await asyncio.sleep(0.75)
            one.faults.down = False
            await asyncio.sleep(0.15)
            assert (await one.coordinator.renew(lock.reference)).held
        assert not (await asyncio.gather(waiting))[0].held
        await one.coordinator.release(lock.reference)


@seeded(seeds=10)
async def test_beats_follow_the_shortest_lease(seed: int) -> None:
    """Goal: entries of one process with different leases are each renewed in time. Method: one process holds a key with a short
    lease and waits for it with long ones, enqueued before and after; another waits too and must not see the holder die."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        first = await one.coordinator.acquire([row], lease_ms=60_000)
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS, wait_ms=0)
        await one.coordinator.acquire([row], lease_ms=60_000, wait_ms=0)
        await one.coordinator.release(first.reference)
        other = await two.coordinator.acquire([row], lease_ms=60_000, wait_ms=0)
        watching = asyncio.ensure_future(two.coordinator.wait(other.reference, wait_ms=4_000))
        for _ in range(10):
            await asyncio.sleep(0.4)
            assert (await one.coordinator.renew(lock.reference)).held
        assert not (await watching).held
        await one.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_a_lease_starts_when_the_lock_is_granted(seed: int) -> None:
    """Goal: a client that was silent in the queue has its whole lease from the moment it holds. Method: grant when most of the
    lease has passed, call when it has passed altogether, fall silent."""
    async with world_of(seed) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        holder = await site.acquire([row], lease_ms=60_000)
        lock = await site.acquire([row], lease_ms=LEASE_MS, wait_ms=0)
        await asyncio.sleep(0.8)
        await site.release(holder.reference)
        await asyncio.sleep(0.8)
        assert (await site.renew(lock.reference)).held
        await asyncio.sleep(1.2)
        with pytest.raises(LockLost):
            await site.renew(lock.reference)


@seeded(seeds=5)
async def test_each_call_with_the_reference_is_a_sign_of_life(seed: int) -> None:
    """Goal: whoever only reads and writes keeps the lock; whoever falls silent loses it a lease after the last call. Method: for
    several leases one short call every six tenths of a lease, of each kind in turn; then none."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        site, row = one.coordinator, world.row("a")
        for asked in (one.coordinator, two.coordinator):
            lock = await site.acquire([row], lease_ms=LEASE_MS)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            for number in range(4):
                await asyncio.sleep(0.6)
                await asked.put(row, {"count": number}, **options)
                await asyncio.sleep(0.6)
                assert (await asked.get(row, **options)).row == {"id": "a", "count": number, "note": None}
                await asyncio.sleep(0.6)
                await asked.delete(row, **options)
            await asyncio.sleep(1.4)
            with pytest.raises(LockLost):
                await asked.put(row, {"count": 9}, **options)


@seeded(seeds=5)
async def test_a_wait_is_a_sign_of_life_until_it_ends(seed: int) -> None:
    """Goal: a client lives as long as it waits, and a whole lease longer, no more. Method: wait for longer than the lease, be
    silent for most of one, call; wait again, fall silent: as one that still waits and as one that came to hold meanwhile."""
    for granted in (False, True):
        async with world_of(seed) as world:
            site, row = world.processes[0].coordinator, world.row("a")
            holder = await site.acquire([row], lease_ms=60_000)
            lock = await site.acquire([row], lease_ms=LEASE_MS, wait_ms=0)
            for wait_ms in (1_650, 650, 2_300):
                assert not (await site.wait(lock.reference, wait_ms=wait_ms)).held
                await asyncio.sleep(0.95)
                assert not (await site.renew(lock.reference)).held
            waiting = asyncio.ensure_future(site.wait(lock.reference, wait_ms=1_500))
            await asyncio.sleep(1.0)
            if granted:
                await site.release(holder.reference)
            assert (await waiting).held == granted
            await asyncio.sleep(1.2)
            assert lock.fencing_token not in [entry.fencing_token for entry in (await site.queue(row)).entries]


@seeded(seeds=5)
async def test_a_call_is_a_sign_of_life_until_it_ends(seed: int) -> None:
    """Goal: a client lives as long as a call of it is under way, however long that takes, and no more than its lease after it.
    Method: hold back a put and a get for three leases each; then be silent for one."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=LEASE_MS)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        for operation in ("write", "read"):
            gate = one.faults.hold("write" if operation == "write" else "read")
            call: Awaitable[Any] = (
                site.put(row, {"count": 1}, **options) if operation == "write" else site.get(row, **options)
            )
            under_way = asyncio.ensure_future(call)
            await asyncio.sleep(3.0)
            assert not under_way.done()
            gate.set_result(None)
            await under_way
        assert (await site.renew(lock.reference)).held
        await asyncio.sleep(1.2)
        with pytest.raises(LockLost):
            await site.renew(lock.reference)


@seeded(seeds=5)
async def test_the_row_that_is_asked_with_the_lock_is_waited_for(seed: int) -> None:
    """Goal: who takes a lock together with its row lives until it has both, however long the row takes. Method: hold back the read for three
    leases; the lock is held after it, and is let go a lease after the last call."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        first = await site.acquire([row], lease_ms=LEASE_MS)
        waiting = asyncio.ensure_future(site.acquire([row], lease_ms=LEASE_MS, wait_ms=60_000, read=True))
        await asyncio.sleep(0.1)
        gate = one.faults.hold("read")
        await site.release(first.reference)
        await asyncio.sleep(3.0)
        assert not waiting.done()
        gate.set_result(None)
        lock = await waiting
        assert lock.held
        assert (await site.renew(lock.reference)).held
        await asyncio.sleep(1.2)
        with pytest.raises(LockLost):
            await site.renew(lock.reference)
