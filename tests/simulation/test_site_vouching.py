"""An entry that is not renewed, and whose process says that its client lives.

Goal: whoever is kept out of the cell does not lose his place for it; whoever is frozen, or cannot get at the engine, does.
Method: two sites of the simulated world, 50 ms apart; one holds with a lease of 1.2 s and never renews, the other waits. When it is
served, on virtual time, tells what it went by.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from polysite.api import KeyName
from polysite.core import lock_cell
from polysite.core.wishes import Identity
from polysite.site import peers
from polysite.site.keys import KeyState
from polysite.site.peers import Alive, AliveMessage, Push
from polysite.testing.loop import seeded
from polysite.testing.world import World, world
from polysite.testing.world.clients import TABLES
from polysite.testing.world.processes import Process
from polysite.testing.world.traffic import FLAT, KEYSPACE
from polysite.values.tables import KeyspaceSpec

LEASE_S = 1.2
KEY = KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": "k"})


@asynccontextmanager
async def _two_sites(seed: int) -> AsyncIterator[tuple[World, Process, Process]]:
    async with world(seed) as made:
        ams, bei = made.process("ams"), made.process("bei")
        assert ams is not None and bei is not None
        await ams.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        for spec in TABLES:
            await ams.coordinator.create_table(spec)
        yield made, ams, bei


async def _served_after_s(made: World, holder: Process, waiter: Process, spoil: Callable[[], None]) -> float:
    """How long the waiter waits for a holder that does not renew, counted from when it held; `spoil` is done once it does."""
    holder.coordinator._sessions._renew = lambda *_: None  # type: ignore[method-assign] # as if every change came too late
    lease_ms = round(LEASE_S * 1000)
    lock = await holder.call(lambda site: site.acquire([KEY], lease_ms=lease_ms, wait_ms=0), limit_s=30)
    began_s = made.now_s()
    for live in holder.coordinator._sessions._by_text.values():
        live.open_calls += 1  # a client with a call under way shows life all the time
    assert lock.held
    spoil()
    next_lock = await waiter.call(lambda site: site.acquire([KEY], lease_ms=10_000, wait_ms=20_000), limit_s=30)
    assert next_lock.held
    return made.now_s() - began_s


@seeded(seeds=3)
async def test_who_answers_keeps_his_place_for_one_lease_more(seed: int) -> None:
    """Goal: the drop waits for a second lease, and no longer: who can never renew must not hold for ever."""
    async with _two_sites(seed) as (made, ams, bei):
        assert 1.9 * LEASE_S < await _served_after_s(made, ams, bei, lambda: None) < 2 * LEASE_S + 0.7


@seeded(seeds=3)
async def test_who_could_not_ask_in_time_asks_before_he_drops(seed: int) -> None:
    """Goal: whoever was frozen himself while the lease ran out finds the entry dead at his first look, and asks all the same."""
    async with _two_sites(seed) as (made, ams, bei):

        async def sleep_through_the_end() -> None:
            await asyncio.sleep(LEASE_S / 2)
            bei.freeze()
            await asyncio.sleep(LEASE_S)
            bei.thaw()

        asleep: list[asyncio.Task[None]] = []
        served_s = await _served_after_s(
            made, ams, bei, lambda: asleep.append(asyncio.create_task(sleep_through_the_end()))
        )
        assert asleep[0].done()
        assert 1.9 * LEASE_S < served_s < 2 * LEASE_S + 0.7


@seeded(seeds=3)
async def test_who_is_frozen_does_not(seed: int) -> None:
    """Goal: after its lease, as without the question, the entry of a process that says nothing is dropped."""
    async with _two_sites(seed) as (made, ams, bei):
        assert await _served_after_s(made, ams, bei, ams.freeze) < LEASE_S + 0.7


@pytest.mark.parametrize("cut", ["ams to bei", "bei to ams"])
@seeded(seeds=2)
async def test_whose_answer_does_not_come_does_not(cut: str, seed: int) -> None:
    """Goal: a link that is cut one way holds nobody up."""
    async with _two_sites(seed) as (made, ams, bei):
        there, back = cut.split(" to ")
        assert await _served_after_s(made, ams, bei, lambda: made.network.cut(there, back)) < LEASE_S + 1.0


@seeded(seeds=2)
async def test_whose_engine_is_away_does_not(seed: int) -> None:
    """Goal: a process that cannot change the cell does not ask others to wait for it."""
    async with _two_sites(seed) as (made, ams, bei):

        def away() -> None:
            ams.coordinator._sessions.combiner.stewards.engine_is_away = True

        assert await _served_after_s(made, ams, bei, away) < LEASE_S + 0.7


@seeded(seeds=2)
async def test_who_has_not_heard_that_it_waits_vouches_for_what_it_asked(seed: int) -> None:
    """Goal: an entry whose making its process was not told yet is its process's, by the nonce; the cell comes along, and tells it."""
    async with _two_sites(seed) as (made, ams, bei):
        await ams.call(lambda site: site.acquire([KEY], lease_ms=10_000, wait_ms=0), limit_s=30)
        waits = asyncio.create_task(
            bei.call(lambda site: site.acquire([KEY], lease_ms=10_000, wait_ms=20_000), limit_s=30)
        )
        waiting = await _once(bei, lambda state: bool(state.handed))
        made.network.cut("ams", "bei")
        state = await _once(ams, lambda state: len(state.cell.queue) == 2)
        assert not waiting.sessions
        second = state.cell.queue[1]
        entry = Identity(second.ticket, second.nonce)
        push = Push(state.encoded, state.version, lock_cell.encode(state.cell))
        body = peers.encode(AliveMessage(push, (entry, Identity(second.ticket, b"another nonce"))))
        answer = msgspec.msgpack.decode(await bei.coordinator.handle_peer_message("alive", body), type=Alive)
        assert answer.entries == (entry,)
        assert waiting.version == state.version
        made.network.heal()
        waits.cancel()


async def _once(process: Process, fits: Callable[[KeyState], bool]) -> KeyState:
    """The key as the process knows it, once it is like that."""
    while True:
        for state in process.coordinator._keys._used.values():
            if fits(state):
                return state
        await asyncio.sleep(0.01)
