"""Stewards that do not answer, or cannot change anything: another one carries for all, and nobody's place is lost meanwhile."""

import asyncio
from typing import Any

import pytest

from polysite.cells.embedded import EmbeddedCells
from polysite.core.wishes import Renew, Renewed
from polysite.errors import LockLost, OutcomeUnknown, Unavailable
from polysite.site import SiteCoordinator
from polysite.site.wishing import PendingWish, WishAnswer
from polysite.testing.loop import seeded
from tests.simulation.test_site_stewards_attacked import say, stranger
from tests.support.wide import WideWorld, wide_world

LEASE_MS = 3_000


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def tenure(world: WideWorld, site: SiteCoordinator) -> float:
    """Take the lock, hold it a moment, let go; when it was held."""
    lock = await site.acquire([world.row("a")], lease_ms=LEASE_MS, wait_ms=60_000)
    assert lock.held
    held_s = now_s()
    await asyncio.sleep(0.2)
    await site.release(lock.reference, validate=False)
    return held_s


@seeded(seeds=10)
async def test_waiters_of_two_sites_when_the_holders_site_is_cut(seed: int) -> None:
    """Goal: nobody at the sites that hear each other loses his place, though every change between them that meets is superseded: they agree
    on who carries. Method: one site holds and is cut off; two clients at each of the others wait, with leases of 17 W."""
    async with wide_world(seed, rtt_s=0.18) as world:
        world.ocean.superseding_s = 0.1
        ams, bei, irv = world.sites.values()
        await irv.acquire([world.row("a")], lease_ms=LEASE_MS)
        waiting = [asyncio.ensure_future(tenure(world, site)) for site in (ams, bei, ams, bei)]
        await asyncio.sleep(2.0)
        before = world.ocean.collisions
        world.ocean.cut.add("irv")
        cut_s = now_s()
        held = await asyncio.gather(*waiting)
        assert world.ocean.collisions - before <= 8, world.ocean.collisions - before
        assert min(held) - cut_s <= LEASE_MS / 1000 + 10 * 0.18
        world.ocean.cut.clear()
        await asyncio.sleep(8.0)


@seeded(seeds=5)
async def test_a_steward_whose_engine_is_away_does_not_take_wishes(seed: int) -> None:
    """Goal: who asks it for a place is told so at once, and has his place from another one. Method: the holder's process cannot reach its
    engine, and knows."""
    async with wide_world(seed) as world:
        ams, bei, irv = world.sites.values()
        await ams.acquire([world.row("a")], lease_ms=60_000)
        behind = await irv.acquire([world.row("a")], lease_ms=60_000, wait_ms=0)
        await asyncio.sleep(1.0)
        cells: Any = ams._sessions.combiner._cells
        real = cells.compare_and_set, cells.read_local

        async def away(*_: object) -> None:
            raise Unavailable("the engine is away")

        cells.compare_and_set = cells.read_local = away
        (state,) = ams._keys.in_use()
        with pytest.raises(Unavailable):
            await ams._sessions.combiner.look(state)
        began_s = now_s()
        place = await bei.acquire([world.row("a")], lease_ms=60_000, wait_ms=0)
        assert place.keys[0].ahead == 2
        # Asked, refused, asked again, carried there (a change and the way back): 5 W; the way round by its silence takes 8 W and 200 ms more.
        assert now_s() - began_s <= 7 * 0.05
        cells.compare_and_set, cells.read_local = real
        for site, reference in ((bei, place.reference), (irv, behind.reference)):
            await site.release(reference)


@seeded(seeds=5)
async def test_a_steward_that_knows_less_than_who_asks_it(seed: int) -> None:
    """Goal: it does not note what it could not put into a change, and who asked tells it the cell. Method: a wish of somebody who has
    seen a later version."""
    async with wide_world(seed) as world:
        ams = world.sites["ams"]
        held = await ams.acquire([world.row("a")], lease_ms=60_000)
        (state,) = ams._keys.in_use()
        assert not (await say(ams, stranger(1, state.version + 1))).noted
        assert (await say(ams, stranger(2, state.version))).noted
        await ams.release(held.reference)


@seeded(seeds=5)
async def test_an_outrun_change_is_not_waited_for(seed: int) -> None:
    """Goal: who goes his own way and is outrun hands over as soon as he knows, however long the engine takes to say so. Method: the engine
    answers nothing for 5 s, while another site takes the lock."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        await asyncio.sleep(2.0)
        cells: Any = bei._sessions.combiner._cells
        real = cells.compare_and_set

        async def slow(*_: object) -> None:
            await asyncio.sleep(5.0)
            raise OutcomeUnknown("superseded")

        cells.compare_and_set = slow
        began_s = now_s()
        asked = asyncio.ensure_future(bei.acquire([world.row("a")], lease_ms=60_000, wait_ms=0))
        await asyncio.sleep(0.01)
        held = await ams.acquire([world.row("a")], lease_ms=60_000)
        # Its own look, as a waiting session of the process would have it.
        (state,) = bei._keys.in_use()
        await asyncio.sleep(0.1)
        await bei._sessions.combiner.look(state, just_changed=True)
        place = await asked
        assert place.keys[0].ahead == 1
        assert now_s() - began_s < 2.0
        cells.compare_and_set = real
        await bei.release(place.reference)
        await ams.release(held.reference)
        await asyncio.sleep(6.0)


@seeded(seeds=3)
async def test_any_renewal_that_is_decided_is_enough(seed: int) -> None:
    """Goal: who waits for the lease to be renewed does not wait for a renewal that a silent steward has, once a later one was made.
    Method: two renewals; only the second is answered."""
    async with wide_world(seed) as world:
        ams = world.sites["ams"]
        held = await ams.acquire([world.row("a")], lease_ms=60_000)
        sessions = ams._sessions
        (state,) = ams._keys.in_use()
        (live,) = state.sessions.values()
        submitted: list[Any] = []
        combiner: Any = sessions.combiner
        real = combiner.submit
        combiner.submit = lambda _state, wish, *, decided, failed: submitted.append((wish, decided, failed))
        sessions._renew(state, [live])
        sessions._renew(state, [live])
        combiner.submit = real
        assert isinstance(submitted[1][0], Renew)
        waiting = asyncio.ensure_future(sessions.reassure(live))
        await asyncio.sleep(0.01)
        answer = WishAnswer(Renewed((live.reference.ticket,)), now_s(), state.version, state.cell, 2.0)
        submitted[1][1](answer)
        assert await asyncio.wait_for(waiting, timeout=0.01) == 2.0
        submitted[0][2](Unavailable("the process is closing"))
        await ams.release(held.reference)


@seeded(seeds=5)
async def test_who_comes_back_looks_before_it_changes_anything(seed: int) -> None:
    """Goal: a process that was stopped does not send changes of what is long past, which would stand in the way of the others. Method: a
    site's sessions end after the cell was changed elsewhere and nothing of it was heard; its changes are counted."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        held = await ams.acquire([world.row("a")], lease_ms=60_000)
        await asyncio.sleep(1.0)
        # Nothing is heard: no push reaches it, and it does not look.
        world.ocean.silent.add("ams")
        await bei.preempt(world.row("a"))
        await asyncio.sleep(1.0)
        world.ocean.silent.clear()
        before = world.ocean.changes
        with pytest.raises(LockLost):
            await ams.release(held.reference)
        assert world.ocean.changes == before


@seeded(seeds=5)
async def test_what_is_handed_on_in_vain_is_carried_here(seed: int) -> None:
    """Goal: a wish that a process noted, and hands on to the steward of a newer cell, is not lost with him. Method: that one is not heard."""
    async with wide_world(seed) as world:
        ams, irv = world.sites["ams"], world.sites["irv"]
        held = await irv.acquire([world.row("a")], lease_ms=60_000)
        place = await ams.acquire([world.row("a")], lease_ms=60_000, wait_ms=0)
        await asyncio.sleep(1.0)
        (state,) = ams._keys.in_use()
        asked = stranger(1, state.version)
        world.ocean.silent.add("irv")
        state.pending.append(PendingWish(asked, 0.0, None, None, own=False, answer_to="memory:bei"))
        ams._sessions.combiner.stewards.route(state)
        assert not state.pending
        await asyncio.sleep(1.0)
        assert len((await world.cell("a")).queue) == 3
        world.ocean.silent.clear()
        for site, lock in ((ams, place), (irv, held)):
            await site.release(lock.reference)


@seeded(seeds=5)
async def test_a_steward_that_is_outrun_goes_on_at_once(seed: int) -> None:
    """Goal: a steward whose changes come too late makes no longer and longer pauses: those whose wishes it noted would each go their own way in
    them, and be in its way again. Method: the cell moves under each of its next dozen changes."""
    async with wide_world(seed) as world:
        ams = world.sites["ams"]
        held = await ams.acquire([world.row("a")], lease_ms=60_000)
        await asyncio.sleep(1.0)
        cells: Any = ams._sessions.combiner._cells
        real, beside = cells.compare_and_set, EmbeddedCells(world.engine)
        refused = 0

        async def outrun(key: bytes, version: int, content: bytes) -> Any:
            nonlocal refused
            if refused < 12:
                refused += 1
                view = await beside.read(key)
                await beside.compare_and_set(key, view.version, view.content)
            return await real(key, version, content)

        cells.compare_and_set = outrun
        began_s = now_s()
        place = await ams.acquire([world.row("a")], lease_ms=60_000, wait_ms=0)
        assert refused == 12
        assert now_s() - began_s < 12 * 4 * world.ocean.rtt_s
        for lock in (place, held):
            await ams.release(lock.reference)


@seeded(seeds=3)
async def test_who_was_stopped_does_not_take_others_for_silent(seed: int) -> None:
    """Goal: a process that went on after a stop waits a moment for what was answered meanwhile, before it changes the cell beside its steward.
    Method: a wish whose answers are on their way; its time is over, by far, when the process looks at it."""
    async with wide_world(seed, rtt_s=0.18) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        held = await ams.acquire([world.row("a")], lease_ms=60_000)
        await asyncio.sleep(2.0)
        asked = asyncio.ensure_future(bei.acquire([world.row("a")], lease_ms=60_000, wait_ms=0))
        await asyncio.sleep(0.1)
        stewards = bei._sessions.combiner.stewards
        (state,) = bei._keys.in_use()
        (item,) = state.handed.values()
        assert item.timer is not None
        item.timer.due_s -= 4.0
        stewards._go_alone(state, item)
        assert not item.alone
        assert list(state.handed.values()) == [item]
        before = world.ocean.collisions
        place = await asked
        assert world.ocean.collisions == before
        assert not stewards._silent
        await bei.release(place.reference)
        await ams.release(held.reference)
