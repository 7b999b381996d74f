"""Acquires whose entry is dropped because its renewals come too late, while they still wait.

Goal: who was told of no lock has lost none: he waits on, at the end of the queue; what was taken from him on purpose he is told; and whoever waits for
a renewal is told of the loss when it is seen. Method: three sites of the simulated world, 50 ms apart; one holds, two wait with leases of 1.2 s, and
the process of one of them stands still for longer than that.
"""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from polysite.api import KeyName, LockAnswer
from polysite.errors import LockLost
from polysite.testing.loop import seeded
from polysite.testing.world import World, world
from polysite.testing.world.clients import TABLES
from polysite.testing.world.processes import Process
from polysite.testing.world.traffic import FLAT, KEYSPACE
from polysite.values.tables import KeyspaceSpec

LEASE_MS = 1_200
KEY = KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": "k"})


async def _three(made: World) -> tuple[Process, Process, Process]:
    ams, bei, irv = (made.process(site) for site in ("ams", "bei", "irv"))
    assert ams is not None and bei is not None and irv is not None
    await ams.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    for spec in TABLES:
        await ams.coordinator.create_table(spec)
    return ams, bei, irv


async def _acquire(process: Process, wait_ms: int, idempotency_key: str | None = None) -> LockAnswer:
    return await process.call(
        lambda site: site.acquire([KEY], lease_ms=LEASE_MS, wait_ms=wait_ms, idempotency_key=idempotency_key),
        limit_s=60,
    )


async def _waiting(process: Process, number: int) -> tuple[int, ...]:
    """The tickets in the queue, once there are so many."""
    while True:
        for state in process.coordinator._keys._used.values():
            if len(state.cell.queue) == number:
                return tuple(entry.ticket for entry in state.cell.queue)
        await asyncio.sleep(0.01)


async def _queue_of(process: Process) -> int:
    return len((await process.call(lambda site: site.queue(KEY), limit_s=30)).entries)


@pytest.mark.parametrize("idempotency_key", [None, "once"])
@seeded(seeds=3)
async def test_who_is_dropped_while_he_waits_waits_on(seed: int, idempotency_key: str | None) -> None:
    """With an idempotency key the request that is sent again, after its answer was lost, gets the same lock."""
    async with world(seed) as made:
        ams, bei, irv = await _three(made)
        first = await _acquire(ams, 0)
        alive = asyncio.create_task(_kept(ams, first))
        late = asyncio.create_task(_acquire(bei, 30_000, idempotency_key))
        await _waiting(bei, 2)
        other = asyncio.create_task(_acquire(irv, 30_000))
        tickets = await _waiting(irv, 3)
        bei.freeze()
        await asyncio.sleep(3 * LEASE_MS / 1000)
        assert await _waiting(irv, 2) == (tickets[0], tickets[2])
        bei.thaw()
        alive.cancel()
        await ams.call(lambda site: site.release(first.reference), limit_s=30)
        second = await other
        assert second.held and second.fencing_token == tickets[2]
        await irv.call(lambda site: site.release(second.reference), limit_s=30)
        third = await late
        assert third.held and third.fencing_token > tickets[2]
        if idempotency_key is not None:
            again = await _acquire(bei, 0, idempotency_key)
            assert again.held and again.reference == third.reference
        await bei.call(lambda site: site.release(third.reference, validate=True), limit_s=30)
        assert await _queue_of(bei) == 0


async def _kept(process: Process, lock: LockAnswer) -> None:
    while True:
        await asyncio.sleep(LEASE_MS / 4000)
        await process.call(lambda site: site.renew(lock.reference), limit_s=30)


async def _dropped_by(observer: Process, late: Process) -> "asyncio.Task[LockAnswer]":
    """Let one process, second in the queue, stand still until another one behind it has dropped its entry. The other one's acquire."""
    other = asyncio.create_task(_acquire(observer, 30_000))
    first, _, last = await _waiting(observer, 3)
    late.freeze()
    await asyncio.sleep(3 * LEASE_MS / 1000)
    assert await _waiting(observer, 2) == (first, last)
    late.thaw()
    return other


@seeded(seeds=3)
async def test_an_idempotency_key_has_one_answer(seed: int) -> None:
    """The same request, sent a second time without waiting, was told of the entry: who waits on would be told of another one (seed 3403)."""
    async with world(seed) as made:
        ams, bei, irv = await _three(made)
        alive = asyncio.create_task(_kept(ams, await _acquire(ams, 0)))
        late = asyncio.create_task(_acquire(bei, 30_000, "once"))
        await _waiting(bei, 2)
        assert not (await _acquire(bei, 0, "once")).held
        other = await _dropped_by(irv, bei)
        with pytest.raises(LockLost):
            await asyncio.wait_for(late, 5)
        alive.cancel()
        other.cancel()


@seeded(seeds=3)
async def test_whose_wait_is_over_is_told(seed: int) -> None:
    """No time is left to wait on."""
    async with world(seed) as made:
        ams, bei, irv = await _three(made)
        alive = asyncio.create_task(_kept(ams, await _acquire(ams, 0)))
        late = asyncio.create_task(_acquire(bei, 2_000))
        await _waiting(bei, 2)
        other = await _dropped_by(irv, bei)
        with contextlib.suppress(LockLost):
            assert not (await late).held
        assert await _queue_of(ams) == 2
        alive.cancel()
        other.cancel()


@seeded(seeds=3)
async def test_who_is_dropped_on_purpose_is_told(seed: int) -> None:
    """An operator takes a waiting entry out of the queue: it was renewed in time, so it does not come back by itself."""
    async with world(seed) as made:
        ams, bei, _ = await _three(made)
        alive = asyncio.create_task(_kept(ams, await _acquire(ams, 0)))
        waits = asyncio.create_task(_acquire(bei, 30_000))
        _, ticket = await _waiting(ams, 2)
        await asyncio.sleep(LEASE_MS / 2000)
        await ams.call(lambda site: site.preempt(KEY, fencing_token=ticket), limit_s=30)
        with pytest.raises(LockLost):
            await asyncio.wait_for(waits, 5)
        assert await _queue_of(ams) == 1
        alive.cancel()


@seeded(seeds=3)
async def test_a_renewal_ends_when_the_loss_is_seen(seed: int) -> None:
    """The renewal was handed to a steward that does not say what became of it; the cell without the entry tells."""
    async with world(seed) as made:
        ams, bei, _ = await _three(made)
        lock = await _acquire(bei, 0)
        sessions: Any = bei.coordinator._sessions
        live = sessions.by_text(lock.reference)
        sessions.combiner.submit = lambda *_args, **_more: SimpleNamespace(future=None)
        renewed = asyncio.create_task(bei.call(lambda _: sessions.renew_now(live), limit_s=60))
        await ams.call(lambda site: site.preempt(KEY, fencing_token=lock.fencing_token), limit_s=30)
        preempted_s = made.now_s()
        del sessions.combiner.submit
        await _acquire(ams, 0)
        await bei.call(lambda site: site.queue(KEY), limit_s=30)
        with pytest.raises(LockLost):
            await asyncio.wait_for(renewed, 5)
        assert made.now_s() - preempted_s < 1.0
