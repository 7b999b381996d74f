"""Contention between sites: wishes go to the key's steward, and nobody depends on him (locks.md 6.6)."""

import asyncio
import contextlib

import pytest

from polysite.api import RowGet, RowPut
from polysite.core.wishes import Observed, Preempt
from polysite.errors import PolysiteError
from polysite.site import SiteCoordinator
from polysite.testing.loop import seeded
from polysite.values.keys import LockKey
from tests.support.wide import WideWorld, wide_world


async def count_up(
    world: WideWorld,
    site: SiteCoordinator,
    times: int,
    wait_ms: int = 60_000,
    pause_s: float = 0.0,
    lease_ms: int = 10_000,
) -> list[float]:
    """So many tenures of one client: lock, get, put one more, unlock, with pauses between. How long each took, in seconds."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    for _ in range(times):
        began_s = loop.time()
        lock = await site.acquire([world.row("a")], lease_ms=lease_ms, wait_ms=wait_ms, read=True)
        assert lock.held
        row = await site.get(world.row("a"), level="critical", reference=lock.reference)
        count = 0 if row.row is None else row.row["count"]
        await site.put(world.row("a"), {"count": count + 1}, level="critical", reference=lock.reference)
        await site.release(lock.reference, validate=False)
        took.append(loop.time() - began_s)
        await asyncio.sleep(pause_s)
    return took


async def counted(site: SiteCoordinator, world: WideWorld) -> int:
    lock = await site.acquire([world.row("a")], wait_ms=60_000, read=True)
    assert lock.rows is not None
    row = lock.rows[0]
    await site.release(lock.reference)
    assert row is not None
    return int(row["count"])


@seeded(seeds=5)
async def test_one_key_from_three_sites(seed: int) -> None:
    """Goal: a key contended from three sites is served without changes that disturb each other, four tenures a second and more at
    W = 50 ms. Method: one client per site counts up 20 times; nothing is lost, and hardly any changes collide."""
    async with wide_world(seed) as world:
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(count_up(world, site, 20) for site in world.sites.values()))
        took_s = asyncio.get_running_loop().time() - began_s
        assert await counted(world.sites["ams"], world) == 60
        assert 60 / took_s >= 4, f"{60 / took_s:.2f} tenures a second"
        assert world.ocean.collisions <= 3, world.ocean.collisions


@seeded(seeds=5)
async def test_a_wish_that_overtakes_the_push(seed: int) -> None:
    """Goal: who lets go and asks again at once does not send the new head a wish that it sends back, because it does not know yet that
    it is the head: three sites then changed the cell side by side. Method: every push is a round trip late, as where a connection must
    be made for it, and who asks again does so when its release is under way already. The next holder knows cell and row from the wish; tenures are as quick as ever, and changes hardly collide."""
    async with wide_world(seed) as world:
        world.ocean.late["push"] = 1.0
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(count_up(world, site, 20, pause_s=0.01) for site in world.sites.values()))
        took_s = asyncio.get_running_loop().time() - began_s
        assert await counted(world.sites["ams"], world) == 60
        assert 60 / took_s >= 4, f"{60 / took_s:.2f} tenures a second"
        assert world.ocean.collisions <= 3, world.ocean.collisions


@seeded(seeds=5)
async def test_many_clients_of_each_site(seed: int) -> None:
    """Goal: everybody is served within his wait, however many want one key. Method: eight clients per site count up three times;
    what they wish meanwhile is kept back for releases, so there is hardly more than one change per tenure."""
    async with wide_world(seed) as world:
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(count_up(world, site, 3) for site in world.sites.values() for _ in range(8)))
        took_s = asyncio.get_running_loop().time() - began_s
        assert world.ocean.changes < 1.5 * 72, world.ocean.changes
        assert 72 / took_s >= 4, f"{72 / took_s:.2f} tenures a second"
        assert await counted(world.sites["bei"], world) == 72


async def crowd(world: WideWorld) -> float:
    """Four clients at each of three sites count up one key five times, with leases of 3 s; how many tenures a second that were."""
    began_s = asyncio.get_running_loop().time()
    clients = [count_up(world, site, 5, lease_ms=3_000) for site in world.sites.values() for _ in range(4)]
    await asyncio.gather(*clients)
    took_s = asyncio.get_running_loop().time() - began_s
    assert await counted(world.sites["ams"], world) == 60
    return 60 / took_s


@seeded(seeds=4)
async def test_a_crowd_far_apart(seed: int) -> None:
    """Goal: who waits in a long queue keeps its place, and changes hardly meet. Method: three sites 180 ms apart, where changes that
    meet supersede each other; nobody's lock is lost."""
    async with wide_world(seed, rtt_s=0.18) as world:
        world.ocean.superseding_s = 0.1
        assert await crowd(world) >= 1.2
        assert world.ocean.collisions <= 6, world.ocean.collisions


@seeded(seeds=5)
async def test_a_look_shows_the_change_before_its_answer(seed: int) -> None:
    """Goal: the new head is told of it all the same: it would else be sent wishes as a steward that does not know that it is one.
    Method: the releasing process looks at the nearest replica all the time, as it does now and then while somebody waits there;
    the waiter is at another site, and looks once a second."""
    async with wide_world(seed, "ams", "bei", rtt_s=0.18) as world:
        world.ocean.superseding_s = 0.1
        ams, bei = world.sites["ams"], world.sites["bei"]
        lock = await ams.acquire([world.row("a")], lease_ms=60_000)
        waiting = asyncio.create_task(bei.acquire([world.row("a")], lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(3.0)
        world.ocean.messages.clear()
        releasing = asyncio.create_task(ams.release(lock.reference, validate=True))
        (state,) = ams._keys.in_use()
        while not releasing.done():
            await ams._sessions.combiner.look(state)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert ("memory:bei", "push") in world.ocean.messages
        held = await waiting
        await bei.release(held.reference)


@seeded(seeds=5)
async def test_a_head_that_does_not_know_it_yet(seed: int) -> None:
    """Goal: who is asked to carry a wish before it knows that it is the head is told so, and carries it. Method: the push is slow, a
    third site sees the new head at its replica and asks it at once; it makes no change of its own."""
    async with wide_world(seed, rtt_s=0.18) as world:
        ams, bei, irv = (world.sites[name] for name in ("ams", "bei", "irv"))
        lock = await ams.acquire([world.row("a")], lease_ms=60_000)
        waiting = asyncio.create_task(irv.acquire([world.row("a")], lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(3.0)
        world.ocean.late["push"] = 20.0
        await ams.release(lock.reference, validate=True)
        # The replica at bei shows it by now.
        third = await bei.acquire([world.row("a")], lease_ms=60_000, wait_ms=0)
        assert not third.held
        made = [site for _, site, _ in world.ocean.history[LockKey("ks", "votes", (b"a",)).encode()]]
        assert "bei" not in made, made
        await bei.release(third.reference)
        await irv.release((await waiting).reference)


@seeded
async def test_nobody_drops_his_own_entry(seed: int) -> None:
    """Goal: a process whose renewals take longer than the lease drops who is dead in front, and not the entry of its own client that waits.
    Method: it has seen the whole queue unchanged for too long; what it wishes then."""
    async with wide_world(seed, "ams", "bei") as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        lock = await ams.acquire([world.row("a")], lease_ms=60_000)
        mine = await bei.acquire([world.row("a")], lease_ms=60_000, wait_ms=0)
        waiting, (state,) = bei._locks.waiting, bei._keys.in_use()
        wished: list[Preempt] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(waiting._combiner, "submit", lambda _state, wish, **_more: wished.append(wish))
            patch.setattr(
                type(state.observation), "dead",
                lambda *_, **__: tuple(Observed(one.ticket, one.nonce, one.beat) for one in state.cell.queue),
            )  # fmt: skip
            waiting._judge(state)
        state.preempting = False
        assert [[one.ticket for one in wish.observed] for wish in wished] == [[1]]
        await bei.release(mine.reference)
        await ams.release(lock.reference)


@seeded(seeds=4)
async def test_a_crowd_between_busy_machines(seed: int) -> None:
    """Goal: answers that come late are waited for, for whoever goes his own way meets the steward's changes, and in the end nobody's is
    made. Method: as before, every message up to 800 ms late each way: nobody's lock is lost, and it goes on nearly as fast."""
    async with wide_world(seed, rtt_s=0.18) as world:
        world.ocean.superseding_s = 0.1
        world.ocean.dawdling_s = 0.8
        assert await crowd(world) >= 1.0
        assert world.ocean.collisions <= 40, world.ocean.collisions


@seeded(seeds=5)
async def test_the_value_comes_with_the_grant(seed: int) -> None:
    """Goal: the next holder's first get costs nothing: the row comes with the cell (3.5 W a tenure). Method: one site puts and lets
    go while another waits; its get waits for no round trip, and what it got is what was put. After a dirty release, and after a
    preemption, nothing is pushed and the get reads."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row = world.row("a")
        lock = await ams.acquire([row], read=True)
        await ams.put(row, {"count": 7}, level="critical", reference=lock.reference)
        waiting = asyncio.ensure_future(bei.acquire([row], wait_ms=60_000))
        await asyncio.sleep(1.0)
        await ams.release(lock.reference, validate=False)
        lock = await waiting
        got = await bei.get(row, level="critical", reference=lock.reference)
        assert (got.row, got.round_trips) == ({"id": "a", "count": 7, "note": None}, 0)
        waiting = asyncio.ensure_future(ams.acquire([row], wait_ms=60_000))
        await asyncio.sleep(1.0)
        await bei.preempt(row)
        lock = await waiting
        got = await ams.get(row, level="critical", reference=lock.reference)
        assert got.round_trips >= 1
        assert got.row is not None
        assert got.row["count"] == 7
        await ams.release(lock.reference)


@seeded(seeds=5)
async def test_a_wish_is_kept_back_for_a_while_only(seed: int) -> None:
    """Goal: a holder that keeps its lock does not keep others from their place in the queue: 4 W at most, and the ways. Method: acquire
    without waiting, at another site and at the holder's own; the answers say who is ahead."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row = world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(2.0)
        began_s = asyncio.get_running_loop().time()
        places = await asyncio.gather(*(site.acquire([row], lease_ms=60_000, wait_ms=0) for site in (ams, bei)))
        assert asyncio.get_running_loop().time() - began_s <= 9 * world.ocean.rtt_s
        assert sorted(place.keys[0].ahead for place in places) == [1, 2]
        assert not any(place.held for place in places)
        for place, site in zip(places, (ams, bei), strict=True):
            await site.release(place.reference)
        await ams.release(held.reference)
        assert not (await world.cell("a")).queue


@seeded(seeds=5)
async def test_a_steward_that_says_nothing(seed: int) -> None:
    """Goal: a silent steward costs time only: who hears no `noted` changes the cell himself. Method: the holder's process answers no
    message while another site acquires, and again while it notes the wish and forgets it."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row, rtt_s = world.row("a"), world.ocean.rtt_s
        for forgets in (False, True):
            held = await ams.acquire([row], lease_ms=60_000)
            await asyncio.sleep(1.0)
            stewards = ams._sessions.combiner.stewards
            if forgets:
                stewards._carry = lambda *_: True  # type: ignore[method-assign]
            else:
                world.ocean.silent.add("ams")
            began_s = asyncio.get_running_loop().time()
            place = await bei.acquire([row], lease_ms=60_000, wait_ms=0)
            took_s = asyncio.get_running_loop().time() - began_s
            assert place.keys[0].ahead == 1
            assert took_s <= (14 * rtt_s + 0.2 if forgets else 9 * rtt_s + 0.1), took_s
            world.ocean.silent.clear()
            vars(stewards).pop("_carry", None)
            await ams.release(held.reference)
            assert (await bei.wait(place.reference, wait_ms=5_000)).held
            await bei.release(place.reference)
            await asyncio.sleep(2.0)


@seeded(seeds=5)
async def test_the_steward_dies(seed: int) -> None:
    """Goal: a process that dies as steward, with wishes noted and kept back, leaves nobody behind. Method: kill it a moment after it
    noted; the waiter is granted once the lease of the dead is over."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row = world.row("a")
        await ams.acquire([row], lease_ms=2_000)
        await asyncio.sleep(1.0)
        waiting = asyncio.ensure_future(bei.acquire([row], wait_ms=60_000, read=True))
        await asyncio.sleep(2 * world.ocean.rtt_s)
        del world.ocean.handlers["memory:ams"]
        await ams.abandon()
        del world.sites["ams"]
        lock = await waiting
        assert lock.held
        assert lock.keys[0].fencing_token == 2
        await bei.release(lock.reference)


@seeded(seeds=5)
async def test_a_late_wish_is_handed_on_once(seed: int) -> None:
    """Goal: who is steward no more hands a wish on, and the wish is decided once. Method: the asker's view is of a tenure ago."""
    async with wide_world(seed) as world:
        ams, bei, irv = (world.sites[name] for name in ("ams", "bei", "irv"))
        row = world.row("a")
        first = await ams.acquire([row])
        looking = await irv.queue(row)
        await asyncio.sleep(1.0)
        assert (await irv.queue(row)).entries
        assert not looking.entries or looking.entries[0].site == "ams"
        second = asyncio.ensure_future(bei.acquire([row], wait_ms=60_000))
        await asyncio.sleep(1.0)
        await ams.release(first.reference)
        held = await second
        # The view of irv is still that of the first tenure.
        before = len(world.ocean.messages)
        third = await irv.acquire([row], wait_ms=0)
        wishes = [address for address, kind in world.ocean.messages[before:] if kind == "wish"]
        assert wishes[0] in {"memory:ams", "memory:bei"}
        assert len(wishes) <= 2
        assert third.keys[0].ahead == 1
        await bei.release(held.reference)
        assert (await irv.wait(third.reference, wait_ms=10_000)).held
        await irv.release(third.reference)
        assert (await world.cell("a")).issued == 3


@seeded(seeds=5)
async def test_a_caller_that_gives_up_while_its_wish_is_handed(seed: int) -> None:
    """Goal: no orphan in the queue. Method: cancel an acquire at every stage of its wish's way to the steward and back."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row, rtt_s = world.row("a"), world.ocean.rtt_s
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        for step in range(16):
            asked = asyncio.ensure_future(bei.acquire([row], lease_ms=60_000, wait_ms=60_000))
            await asyncio.sleep(step * rtt_s / 2)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        await asyncio.sleep(5.0)
        assert [entry.ticket for entry in (await world.cell("a")).queue] == [held.keys[0].fencing_token]
        await ams.release(held.reference)
        # The holder that was waited for is watched until it shows life or is gone, which the next look shows.
        await asyncio.sleep(1.5)
        assert not bei._keys.in_use()


@seeded(seeds=5)
async def test_who_waits_long_stays_in_the_queue(seed: int) -> None:
    """Goal: beats of waiting entries go by the steward, too. Method: wait for three leases behind a holder that works."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row = world.row("a")
        held = await ams.acquire([row], lease_ms=2_000)
        waiting = asyncio.ensure_future(bei.acquire([row], lease_ms=2_000, wait_ms=60_000))
        for _ in range(12):
            await asyncio.sleep(0.5)
            await ams.renew(held.reference)
        assert not waiting.done()
        await ams.release(held.reference, validate=False)
        lock = await waiting
        assert lock.keys[0].fencing_token == 2
        await bei.release(lock.reference)


@seeded(seeds=20)
async def test_silence_and_cuts_lose_nothing(seed: int) -> None:
    """Goal: whatever site is silent or cut off and for how long, no acknowledged count is lost, nobody waits for ever and the queue
    is empty in the end. Method: three clients per site count up one key while one site after the other falls silent or is cut off."""
    async with wide_world(seed) as world:
        ocean, loop = world.ocean, asyncio.get_running_loop()
        acknowledged, unknown = 0, 0
        until_s = loop.time() + 60.0

        async def client(site: SiteCoordinator) -> None:
            nonlocal acknowledged, unknown
            while loop.time() < until_s:
                try:
                    lock = await site.acquire([world.row("a")], lease_ms=3_000, wait_ms=20_000, read=True)
                except PolysiteError:
                    await asyncio.sleep(0.1)
                    continue
                try:
                    got = await site.get(world.row("a"), level="critical", reference=lock.reference)
                    count = 0 if got.row is None else got.row["count"]
                    await site.put(world.row("a"), {"count": count + 1}, level="critical", reference=lock.reference)
                    acknowledged += 1
                except PolysiteError as error:
                    unknown += error.outcome == "unknown"
                with contextlib.suppress(PolysiteError):
                    await site.release(lock.reference, validate=ocean.runtime.randomness.uniform(0, 1) < 0.5)

        async def trouble() -> None:
            uniform = ocean.runtime.randomness.uniform
            while loop.time() < until_s - 15.0:
                await asyncio.sleep(uniform(0.5, 3.0))
                place = ocean.silent if uniform(0, 1) < 0.5 else ocean.cut
                place.add(list(world.sites)[int(uniform(0, 3))])
                await asyncio.sleep(uniform(0.2, 5.0))
                place.clear()

        await asyncio.gather(trouble(), *(client(site) for site in world.sites.values() for _ in range(3)))
        await asyncio.sleep(10.0)
        assert acknowledged >= 60, acknowledged
        section = await world.sites["ams"].section(world.row("a"), [RowGet(), RowPut(columns={"note": "end"})])
        assert section.results[0] is not None
        assert acknowledged <= section.results[0]["count"] <= acknowledged + unknown
        await asyncio.sleep(5.0)
        assert not (await world.cell("a")).queue


@seeded(seeds=5)
async def test_what_a_quiet_key_costs(seed: int) -> None:
    """Goal: lock and first get of a quiet key wait for one change of the cell, 2 W on Paxos, whoever used the key last and whether
    or not the request can be sent again; a put for 1, further gets and a release in the background for none. Method: sites take
    turns, each turn later than what a steward is asked for; the clock and the claims agree."""
    async with wide_world(seed) as world:
        row, rtt_s, loop = world.row("a"), world.ocean.rtt_s, asyncio.get_running_loop()
        for turn, name in enumerate(("ams", "bei", "irv", "ams", "ams")):
            site = world.sites[name]
            began_s = loop.time()
            lock = await site.acquire([row], read=True, idempotency_key=f"turn-{turn}" if turn % 2 else None)
            assert (lock.round_trips, round((loop.time() - began_s) / rtt_s, 2)) == (2, 2), name
            began_s = loop.time()
            put = await site.put(row, {"count": turn}, level="critical", reference=lock.reference)
            got = await site.get(row, level="critical", reference=lock.reference)
            await site.release(lock.reference, validate=False)
            assert (put.round_trips, got.round_trips, round((loop.time() - began_s) / rtt_s, 2)) == (1, 0, 1)
            await asyncio.sleep(12 * rtt_s)
        lock = await world.sites["bei"].acquire([row])
        began_s = loop.time()
        released = await world.sites["bei"].release(lock.reference)
        assert (released.round_trips, round((loop.time() - began_s) / rtt_s, 2)) == (2, 2)
