"""What may go wrong between a wish's author and its steward: nothing is lost, made twice, told wrongly or stopped by it (locks.md 6.6)."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec
import pytest

from polysite.core.combine import WISHES_MAX, AskedWish
from polysite.core.lease import answer_limit_s
from polysite.core.wishes import QUEUE_MAX, Cancel, Compact, Enqueue, Identity, Preempt, ReleaseClean, Wish
from polysite.errors import BadRequest, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site import SiteCoordinator, peers
from polysite.site.keys import KeyState, Parting
from polysite.site.peers import Noted, Push, WishMessage
from polysite.testing.loop import seeded
from polysite.values.keys import LockKey
from tests.support.sites import table_of, world_of
from tests.support.wide import wide_world

KEY = LockKey("ks", "votes", (b"a",)).encode()


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def say(site: SiteCoordinator, *wishes: AskedWish, answer_to: str = "", forwarded: bool = False) -> Noted:
    """A message to a steward, as its peers send it."""
    body = await site.handle_peer_message("wish", peers.encode(WishMessage(KEY, wishes, answer_to, forwarded)))
    return msgspec.msgpack.decode(body, type=Noted)


def stranger(number: int, seen_version: int, site: str = "bei") -> AskedWish:
    """An enqueue of a process that nobody knows."""
    mark = number.to_bytes(16, "big")
    wish = Enqueue(b"", mark, mark, "exclusive", site, "elsewhere", "1", lease_ms=60_000)
    return AskedWish(mark, seen_version, wish)


# what is pushed with a grant


@seeded(seeds=5)
async def test_rows_of_a_table_that_was_made_again_are_not_believed(seed: int) -> None:
    """Goal: a row that is gone with its table does not come back with a grant. Method: the table is dropped and made again while one
    site holds and the next, who knows the new table, waits; his first get finds no row."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row = world.row("a")
        lock = await ams.acquire([row], lease_ms=60_000)
        await ams.put(row, {"count": 7, "note": "old"}, level="critical", reference=lock.reference)
        await bei.drop_table("ks", "votes")
        await bei.create_table(table_of("votes", "sections"))
        waiting = asyncio.ensure_future(bei.acquire([row], wait_ms=60_000))
        await asyncio.sleep(1.0)
        await ams.release(lock.reference, validate=False)
        held = await waiting
        got = await bei.get(row, level="critical", reference=held.reference)
        assert got.row is None
        await bei.release(held.reference)


@seeded(seeds=5)
async def test_a_renewal_on_its_way_does_not_use_up_what_is_pushed(seed: int) -> None:
    """Goal: the value comes with the grant although the holder was just renewed. Method: release while a renewal is under way."""
    async with wide_world(seed) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        row = world.row("a")
        lock = await ams.acquire([row], lease_ms=60_000, read=True)
        await ams.put(row, {"count": 7}, level="critical", reference=lock.reference)
        waiting = asyncio.ensure_future(bei.acquire([row], wait_ms=60_000))
        await asyncio.sleep(1.0)
        (state,) = ams._keys.in_use()
        (live,) = state.sessions.values()
        ams._sessions._renew(state, [live])
        await asyncio.sleep(world.ocean.rtt_s / 2)
        await ams.release(lock.reference, validate=False)
        held = await waiting
        assert (await bei.get(row, level="critical", reference=held.reference)).round_trips == 0
        await bei.release(held.reference)


# the end of a process


@seeded(seeds=5)
async def test_a_process_that_ends_tells_who_waits_for_a_kept_wish(seed: int) -> None:
    """Goal: nobody waits for ever in a process that has ended. Method: end it while a wish of its own is kept back."""
    async with wide_world(seed) as world:
        ams, row = world.sites["ams"], world.row("a")
        await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        asked = asyncio.ensure_future(ams.acquire([row], wait_ms=60_000))
        await asyncio.sleep(world.ocean.rtt_s)
        (state,) = ams._keys.in_use()
        assert state.kept
        await ams.abandon()
        del world.sites["ams"]
        done, _ = await asyncio.wait([asked], timeout=5.0)
        assert done
        assert isinstance(asked.exception(), OutcomeUnknown)


@seeded(seeds=5)
async def test_a_process_that_has_ended_hands_nothing_over(seed: int) -> None:
    """Goal: a wish that comes when the process has ended is answered, and goes nowhere. Method: ask a combiner after its end, where
    another site holds, and where this one did."""
    for holder in ("ams", "bei"):
        async with wide_world(seed) as world:
            ams, row = world.sites["ams"], world.row("a")
            held = await world.sites[holder].acquire([row], lease_ms=60_000)
            await asyncio.sleep(1.0)
            await ams.queue(row)
            state = ams._keys.take(LockKey("ks", "votes", (b"a",)), KEY)
            await ams._sessions.combiner.look(state)
            await ams.abandon()
            del world.sites["ams"]
            before = len(world.ocean.messages)
            wish = stranger(1, 0).wish
            asked = asyncio.ensure_future(ams._sessions.combiner.ask(state, wish))
            done, _ = await asyncio.wait([asked], timeout=5.0)
            assert done
            assert isinstance(asked.exception(), OutcomeUnknown)
            assert not [kind for _, kind in world.ocean.messages[before:] if kind == "wish"]
            if holder == "bei":
                await world.sites["bei"].release(held.reference)


@seeded(seeds=5)
async def test_a_process_that_closes_leaves_no_entry_behind(seed: int) -> None:
    """Goal: who stops in good order lets go of what a steward is just getting for him, too. Method: close at every stage of a wish's
    way to the steward and back; the queue is empty long before a lease is over."""
    for step in range(10):
        async with wide_world(seed) as world:
            ams, bei = world.sites["ams"], world.sites["bei"]
            row, rtt_s = world.row("a"), world.ocean.rtt_s
            held = await ams.acquire([row], lease_ms=60_000)
            await asyncio.sleep(1.0)
            asked = asyncio.ensure_future(bei.acquire([row], lease_ms=60_000, wait_ms=60_000))
            await asyncio.sleep(step * rtt_s / 2)
            await bei.close()
            del world.sites["bei"]
            done, _ = await asyncio.wait([asked], timeout=5.0)
            assert done
            assert isinstance(asked.exception(), PolysiteError)
            await asyncio.sleep(2.0)
            assert [entry.ticket for entry in (await world.cell("a")).queue] == [held.keys[0].fencing_token], step
            await ams.release(held.reference)


# the way to the steward


@seeded(seeds=5)
async def test_a_steward_whose_address_cannot_be_found(seed: int) -> None:
    """Goal: a wish whose steward cannot even be looked up goes its own way. Method: the registry of processes cannot be read."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)

        async def unreadable(*_: object) -> None:
            raise Unavailable("the registry cannot be read")

        bei._registry.find = unreadable  # type: ignore[union-attr, method-assign]
        began_s = now_s()
        place = await asyncio.wait_for(bei.acquire([row], lease_ms=60_000, wait_ms=0), timeout=5.0)
        assert now_s() - began_s <= 6 * world.ocean.rtt_s + 0.1
        assert place.keys[0].ahead == 1
        vars(bei._registry).pop("find")
        await bei.release(place.reference)
        await ams.release(held.reference)


@seeded(seeds=5)
async def test_a_steward_whose_address_is_not_found_in_time(seed: int) -> None:
    """Goal: as above. Method: the look-up of the steward's address hangs; nobody waits for it."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)

        async def hangs(*_: object) -> None:
            await asyncio.sleep(30.0)

        bei._registry.find = hangs  # type: ignore[union-attr, method-assign]
        place = await asyncio.wait_for(bei.acquire([row], lease_ms=60_000, wait_ms=0), timeout=2.0)
        assert place.keys[0].ahead == 1
        vars(bei._registry).pop("find")
        await bei.release(place.reference)
        await ams.release(held.reference)
        await asyncio.sleep(40.0)


@seeded(seeds=5)
async def test_authors_hear_of_it_though_the_new_head_cannot_be_found(seed: int) -> None:
    """Goal: as above, for those whose wishes went along with a change of the head. Method: the holder cannot look up the next one's
    address; an enqueue kept back for his release is decided with it, and its author hears of it long before he would ask again."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        second = await bei.acquire([row], lease_ms=60_000, wait_ms=0)
        find = ams._registry.find  # type: ignore[union-attr]

        async def unreadable(site: str, process: str) -> object:
            if site == "bei":
                raise Unavailable("the registry cannot be read")
            return await find(site, process)

        ams._registry.find = unreadable  # type: ignore[union-attr, method-assign]
        began_s = now_s()
        asked = asyncio.ensure_future(irv.acquire([row], lease_ms=60_000, wait_ms=0))
        await asyncio.sleep(world.ocean.rtt_s)
        await ams.release(held.reference)
        third = await asked
        assert now_s() - began_s <= 6 * world.ocean.rtt_s
        assert (await bei.wait(second.reference, wait_ms=5_000)).held
        await bei.release(second.reference)
        assert (await irv.wait(third.reference, wait_ms=5_000)).held
        await irv.release(third.reference)


@seeded(seeds=5)
async def test_a_steward_that_answers_what_nobody_understands(seed: int) -> None:
    """Goal: as above. Method: the steward answers with a cell of a format that is not known."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)

        async def newer(_message: WishMessage) -> Noted:
            return Noted(False, 1_000, b"\x7fa later format")

        ams._sessions.combiner.stewards.note = newer  # type: ignore[method-assign, assignment]
        place = await asyncio.wait_for(bei.acquire([row], lease_ms=60_000, wait_ms=0), timeout=5.0)
        assert place.keys[0].ahead == 1
        await bei.release(place.reference)
        await ams.release(held.reference)


@seeded(seeds=5)
async def test_what_a_steward_may_still_carry_is_not_called_refused(seed: int) -> None:
    """Goal: who handed a wish over and then cannot reach the engine is not told that nothing happened, and lets go of what the
    steward makes of it. Method: the steward notes the wish and is slow; the author's own change is refused by its engine."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        stewards = ams._sessions.combiner.stewards
        carry = stewards._carry
        later: list[tuple[KeyState, Sequence[AskedWish], str]] = []

        def keep(state: KeyState, wishes: Sequence[AskedWish], answer_to: str) -> bool:
            later.append((state, wishes, answer_to))
            return True

        stewards._carry = keep  # type: ignore[method-assign]
        cells = bei._sessions.combiner._cells
        real = cells.compare_and_set

        async def down(*_: object) -> None:
            raise Unavailable("the engine is down")

        cells.compare_and_set = down  # type: ignore[method-assign, assignment]
        asked = asyncio.ensure_future(bei.acquire([row], lease_ms=60_000, wait_ms=0))
        done, _ = await asyncio.wait([asked], timeout=10.0)
        assert done
        assert isinstance(asked.exception(), OutcomeUnknown)
        cells.compare_and_set = real  # type: ignore[method-assign]
        stewards._carry = carry  # type: ignore[method-assign]
        # Others change the cell a little: that does not show that the steward has forgotten the wish.
        (live,) = ams._keys.in_use()[0].sessions.values()
        await ams._sessions.renew_now(live)
        await asyncio.sleep(2.0)
        carry(*later[0])
        await asyncio.sleep(1.0)
        assert (await world.cell("a")).issued == 2
        await asyncio.sleep(10.0)
        assert len((await world.cell("a")).queue) == 1
        await ams.release(held.reference)


@seeded(seeds=5)
async def test_a_promotion_taken_back_while_its_steward_is_silent(seed: int) -> None:
    """Goal: a promotion that was given up does not stand for ever, in whatever order the wishes are carried. Method: two readers at
    two sites; the second asks for a promotion of which its steward hears nothing, gives up, and the steward hears that."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        first = await ams.acquire([row], kind="shared", lease_ms=60_000)
        await asyncio.sleep(1.0)
        second = await bei.acquire([row], kind="shared", lease_ms=60_000)
        world.ocean.silent.add("ams")
        asked = asyncio.ensure_future(bei.promote(second.reference, wait_ms=60_000))
        await asyncio.sleep(world.ocean.rtt_s)
        world.ocean.silent.clear()
        asked.cancel()
        await asyncio.wait([asked])
        (live,) = ams._keys.in_use()[0].sessions.values()
        for _ in range(20):
            # What the steward changes of his own takes along what was handed to him.
            await ams._sessions.renew_now(live)
        await asyncio.sleep(5.0)
        assert [entry.kind for entry in (await world.cell("a")).queue] == ["shared", "shared"]
        third = await irv.acquire([row], kind="shared", lease_ms=60_000, wait_ms=2_000)
        assert third.held
        for site, lock in ((ams, first), (bei, second), (irv, third)):
            await site.release(lock.reference)


@seeded(seeds=5)
async def test_absence_does_not_say_that_an_end_was_not_made(seed: int) -> None:
    """Goal: I18 for wishes that a steward carried: an entry that is not there may have left as asked. Method: the steward carries the
    end of a waiting entry, its author hears of nothing, and the cell forgets; he is told that it is not known."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        place = await bei.acquire([row], lease_ms=60_000, wait_ms=0)
        (state,) = bei._keys.in_use()
        combiner, stewards = bei._sessions.combiner, bei._sessions.combiner.stewards
        combiner.take = lambda *_: None  # type: ignore[method-assign]
        stewards._go_alone = lambda *_: None  # type: ignore[method-assign]
        asked = asyncio.ensure_future(bei.release(place.reference))
        await asyncio.sleep(8 * world.ocean.rtt_s)
        (live,) = ams._keys.in_use()[0].sessions.values()
        for _ in range(20):
            await ams._sessions.renew_now(live)
        assert len((await world.cell("a")).queue) == 1
        for changed in (combiner, stewards):
            vars(changed).pop("take", None)
            vars(changed).pop("_go_alone", None)
        stewards.take = combiner.take
        (item,) = state.handed.values()
        stewards._go_alone(state, item)
        with pytest.raises(OutcomeUnknown):
            await asked
        await asyncio.sleep(5.0)
        assert not bei._keys.in_use()
        await ams.release(held.reference)


# mad and greedy peers


@seeded(seeds=3)
async def test_a_crowd_at_one_key(seed: int) -> None:
    """Goal: more wishes than a message or a change carries are served. Method: 80 clients at each of three sites ask at
    once for a key that one of them holds."""
    async with wide_world(seed) as world:
        ams, row = world.sites["ams"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        asked = [
            asyncio.ensure_future(site.acquire([row], lease_ms=60_000, wait_ms=0))
            for site in world.sites.values()
            for _ in range(80)
        ]
        await asyncio.sleep(2 * world.ocean.rtt_s)
        await ams.release(held.reference)
        places = await asyncio.wait_for(asyncio.gather(*asked), timeout=10.0)
        assert world.ocean.changes <= 12, world.ocean.changes
        assert sorted(place.keys[0].fencing_token for place in places) == list(range(2, 242))
        for place, site in zip(places, [site for site in world.sites.values() for _ in range(80)], strict=True):
            await site.release(place.reference, validate=False)


@seeded(seeds=3)
async def test_what_no_steward_carries(seed: int) -> None:
    """Goal: a message that no process of ours would send is refused, and disturbs nobody. Method: send wishes with ids of a wrong
    length, wishes that are never handed over, and too many at once, to the head's process; then somebody else asks."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        version = ams._keys.in_use()[0].version
        good = stranger(1, version)
        assert isinstance(good.wish, Enqueue)
        entry = held_identity(ams)
        bad: list[tuple[AskedWish, ...]] = [
            (AskedWish(b"short", version, good.wish),),
            (AskedWish(b"1" * 16, version, Enqueue(b"abc", *((b"1" * 16,) * 2), "exclusive", "x", "y", "1", 60_000)),),
            tuple(stranger(number, version) for number in range(2 * WISHES_MAX)),
        ]
        wishes: list[Wish] = [Preempt(forced=entry, ordered_by="nobody"), ReleaseClean(*entry, None), Compact()]
        bad += [(AskedWish(b"2" * 16, version, wish),) for wish in wishes]
        for message in bad:
            with pytest.raises(BadRequest):
                await say(ams, *message)
        place = await asyncio.wait_for(bei.acquire([row], wait_ms=0), timeout=2.0)
        assert place.keys[0].ahead == 1
        await bei.release(place.reference)
        await ams.release(held.reference)


def held_identity(site: SiteCoordinator) -> Identity:
    (live,) = site._keys.in_use()[0].sessions.values()
    return live.identity


@seeded(seeds=3)
async def test_a_flood_of_wishes(seed: int) -> None:
    """Goal: what a steward keeps in memory for others is bounded, and its own release goes out with the next change. Method: send
    many more wishes than a queue holds while it holds the lock, then release."""
    async with wide_world(seed) as world:
        ams, row = world.sites["ams"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        (state,) = ams._keys.in_use()
        version, noted = state.version, 0
        for start in range(0, 4_000, 40):
            message = [stranger(number, version) for number in range(start, start + 40)]
            noted += (await say(ams, *message)).noted
            assert len(state.pending) + len(state.kept) <= QUEUE_MAX + WISHES_MAX
        assert noted * 40 >= 2 * WISHES_MAX
        began_s = asyncio.get_running_loop().time()
        await ams.release(held.reference)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(2 * world.ocean.rtt_s)
        queue = (await world.cell("a")).queue
        assert held.keys[0].fencing_token not in [entry.ticket for entry in queue]
        names = [int.from_bytes(entry.nonce, "big") for entry in queue]
        assert names == list(range(WISHES_MAX - 1))
        # Their author is not there to be heard once it is the head: what was noted is carried all the same, as much as the queue holds.
        await asyncio.sleep(30.0)
        names = [int.from_bytes(entry.nonce, "big") for entry in (await world.cell("a")).queue]
        assert len(set(names)) == len(names) == min(noted * 40, QUEUE_MAX)


@seeded(seeds=10)
async def test_the_shortest_lease_outlives_keeping_back(seed: int) -> None:
    """Goal: a waiting entry of the shortest lease allowed is not dropped because its beats are kept back. Method: one site holds, two
    wait with the shortest lease for a long time, and clients of all sites come and go in between."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        uniform = world.ocean.runtime.randomness.uniform
        lease_ms = 10 * round(world.ocean.rtt_s * 1000) + 100
        held = await ams.acquire([row], lease_ms=60_000)
        waiting = []
        for site in (bei, irv):
            waiting.append(asyncio.ensure_future(site.acquire([row], lease_ms=lease_ms, wait_ms=60_000)))
            await asyncio.sleep(0.3)

        async def passer_by(site: SiteCoordinator) -> None:
            while not any(task.done() for task in waiting):
                await asyncio.sleep(uniform(0.0, 0.5))
                place = await site.acquire([row], lease_ms=60_000, wait_ms=0)
                await asyncio.sleep(uniform(0.0, 0.2))
                await site.release(place.reference)

        passing = [asyncio.ensure_future(passer_by(site)) for site in world.sites.values()]
        for _ in range(100):
            await asyncio.sleep(0.2)
            assert [entry.ticket for entry in (await world.cell("a")).queue[:3]] == [1, 2, 3]
        await ams.release(held.reference)
        for task, site in zip(waiting, (bei, irv), strict=True):
            await site.release((await task).reference)
        await asyncio.gather(*passing)


@seeded(seeds=5)
async def test_who_gives_up_while_a_change_is_put_off_is_not_in_it(seed: int) -> None:
    """Goal: an enqueue given up before it was sent is never sent. Method: give up while the change that it came along with waits
    out its jitter after refusals."""
    async with wide_world(seed) as world:
        ams, row = world.sites["ams"], world.row("a")
        state = ams._keys.take(LockKey("ks", "votes", (b"a",)), KEY)
        combiner = ams._sessions.combiner
        await combiner.look(state)
        await asyncio.sleep(2.0)
        slept = asyncio.Event()

        async def sleep_s(duration_s: float) -> None:
            slept.set()
            await asyncio.sleep(max(duration_s, 0.2))

        combiner._clock = StillClock(combiner._clock, sleep_s)  # type: ignore[assignment]
        real = combiner._cells.compare_and_set

        async def refused(key: bytes, _expected: int, content: bytes) -> object:
            return await real(key, 10_000, content)

        combiner._cells.compare_and_set = refused  # type: ignore[method-assign, assignment]
        first = asyncio.ensure_future(ams.acquire([row], wait_ms=60_000))
        await asyncio.sleep(3.5 * world.ocean.rtt_s)
        second = asyncio.ensure_future(ams.acquire([row], wait_ms=60_000))
        await slept.wait()
        combiner._cells.compare_and_set = real  # type: ignore[method-assign]
        second.cancel()
        await asyncio.wait([second])
        lock = await first
        assert [entry.ticket for entry in (await world.cell("a")).queue] == [lock.keys[0].fencing_token]
        await ams.release(lock.reference)
        ams._keys.drop(state)


class StillClock:
    """A clock whose sleeps somebody watches."""

    def __init__(self, clock: object, sleep_s: object) -> None:
        self._clock = clock
        self.sleep_s = sleep_s

    def __getattr__(self, name: str) -> object:
        return getattr(self._clock, name)


@seeded(seeds=3)
async def test_a_mistake_on_the_way_stops_nobody_for_ever(seed: int) -> None:
    """Goal: if it cannot be told where a wish goes, who waits for it is told so, and the next wish of the key is served. Method: fail
    there once, on engines that begin changes themselves and on those that do not."""
    async with wide_world(seed) as world, world_of(seed, majority_rtt_ms=50) as beginning:
        for site, row in (
            (world.sites["ams"], world.row("a")),
            (beginning.processes[0].coordinator, beginning.row("a")),
        ):
            held = await site.acquire([row], lease_ms=60_000)
            stewards = site._sessions.combiner.stewards

            def fails(_state: object, stewards: object = stewards) -> None:
                vars(stewards).pop("route")
                raise ZeroDivisionError

            stewards.route = fails  # type: ignore[method-assign, assignment]
            with pytest.raises(OutcomeUnknown):
                await asyncio.wait_for(site.acquire([row], wait_ms=0), timeout=5.0)
            place = await asyncio.wait_for(site.acquire([row], wait_ms=0), timeout=5.0)
            assert place.keys[0].ahead == 1
            await site.release(place.reference)
            await site.release(held.reference)


# what else nobody may change unnoticed


@seeded(seeds=3)
async def test_the_lease_counts_from_the_handing_over(seed: int) -> None:
    """Goal: I15 for wishes that a steward carries, an enqueue and a renewal. Method: both are kept back; until when answers may be
    `done` is counted from before they were handed over."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        clock, lease_s = bei._context.clock, 60.0
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        before_s, began_s = clock.monotonic_s(), now_s()
        place = await bei.acquire([row], lease_ms=60_000, wait_ms=0)
        assert now_s() - began_s >= 4 * world.ocean.rtt_s
        (live,) = bei._keys.in_use()[0].sessions.values()
        assert live.core.done_until_s == before_s + answer_limit_s(lease_s)
        await asyncio.sleep(1.0)
        before_s, began_s = clock.monotonic_s(), now_s()
        await bei._sessions.renew_now(live)
        assert now_s() - began_s >= 4 * world.ocean.rtt_s
        assert live.core.done_until_s == before_s + answer_limit_s(lease_s)
        await bei.release(place.reference)
        await ams.release(held.reference)


@seeded(seeds=3)
async def test_what_is_not_kept_back(seed: int) -> None:
    """Goal: the head's own renewal, and a reader that joins readers, wait for nothing. Method: how long they take: a change, and for
    the reader of another site the ways."""
    async with wide_world(seed) as world:
        ams, bei, row, rtt_s = world.sites["ams"], world.sites["bei"], world.row("a"), world.ocean.rtt_s
        held = await ams.acquire([row], kind="shared", lease_ms=60_000)
        await asyncio.sleep(1.0)
        (live,) = ams._keys.in_use()[0].sessions.values()
        began_s = now_s()
        await ams._sessions.renew_now(live)
        assert now_s() - began_s <= 2.1 * rtt_s
        await asyncio.sleep(1.0)
        began_s = now_s()
        joined = await bei.acquire([row], kind="shared", lease_ms=60_000)
        assert joined.held
        assert now_s() - began_s <= 3.1 * rtt_s
        for site, lock in ((bei, joined), (ams, held)):
            await site.release(lock.reference)


@seeded(seeds=3)
async def test_nothing_is_forwarded_twice(seed: int) -> None:
    """Goal: one hop. Method: who is no steward gets a wish that was forwarded before: it says so, and sends nothing. One that comes
    from its author goes on, and the author hears from who made the change."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        await bei.queue(row)
        version = held.keys[0].fencing_token
        sent = len(world.ocean.messages)
        noted = await say(bei, stranger(1, version), answer_to="memory:irv", forwarded=True)
        assert not noted.noted
        assert world.ocean.messages[sent:] == []
        noted = await say(bei, stranger(2, version), answer_to="memory:irv")
        assert noted.noted
        await asyncio.sleep(1.0)
        assert world.ocean.messages[sent:] == [("memory:ams", "wish"), ("memory:irv", "push")]
        assert len((await world.cell("a")).queue) == 2
        assert not irv._keys.in_use()
        await ams.release(held.reference)


@seeded(seeds=3)
async def test_kept_wishes_outlive_the_head_and_keep_their_author(seed: int) -> None:
    """Goal: what was kept by a head that is gone is decided at once by his successor's process, and its author hears of it. Method: the
    holder is preempted from another site while an enqueue of a third is kept back."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        second = await bei.acquire([row], lease_ms=60_000, wait_ms=0)
        await bei.queue(row)
        asked = asyncio.ensure_future(irv.acquire([row], lease_ms=60_000, wait_ms=0))
        await asyncio.sleep(world.ocean.rtt_s)
        sent = len(world.ocean.messages)
        await bei.preempt(row)
        third = await asked
        assert third.keys[0].ahead == 1
        assert ("memory:bei", "wish") in world.ocean.messages[sent:]
        assert ("memory:irv", "push") in world.ocean.messages[sent:]
        assert world.ocean.collisions == 0
        await bei.release(second.reference)
        assert (await irv.wait(third.reference, wait_ms=5_000)).held
        await irv.release(third.reference)
        await asyncio.sleep(30.0)
        assert not any(site._keys.in_use() for site in world.sites.values())


@seeded(seeds=3)
async def test_what_was_kept_comes_before_what_came_later(seed: int) -> None:
    """Goal: first come, first served. Method: one wish is kept back; a later one and the release end the keeping."""
    async with wide_world(seed) as world:
        ams, row = world.sites["ams"], world.row("a")
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        (state,) = ams._keys.in_use()
        await say(ams, stranger(1, state.version))
        await asyncio.sleep(world.ocean.rtt_s)
        assert state.kept
        ams._sessions.combiner.submit(state, stranger(2, 0).wish)
        await ams.release(held.reference)
        assert [entry.nonce[-1] for entry in (await world.cell("a")).queue] == [1, 2]


@seeded(seeds=3)
async def test_rows_of_an_earlier_tenure_are_not_pushed(seed: int) -> None:
    """Goal: what is pushed is what the head before left, no older one. Method: a session's rows are still at hand when the change that
    gives the key a new head ends another session, which did not hold in its own view."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        lock = await ams.acquire([row], lease_ms=60_000)
        await ams.put(row, {"count": 1, "note": "old"}, level="critical", reference=lock.reference)
        (state,) = ams._keys.in_use()
        (live,) = state.sessions.values()
        old = Parting(live.core.ticket, live.core.table.making, live.core.parting_rows())
        assert old.rows
        await ams.put(row, {"count": 2, "note": "new"}, level="critical", reference=lock.reference)
        await ams.release(lock.reference)
        middle = await ams.acquire([row], lease_ms=60_000)
        waiting = asyncio.ensure_future(bei.acquire([row], lease_ms=60_000, wait_ms=60_000))
        await asyncio.sleep(1.0)
        (state,) = ams._keys.in_use()
        (live,) = state.sessions.values()
        combiner = ams._sessions.combiner
        state.parting = old
        combiner.submit(state, Cancel(*live.identity))
        held = await waiting
        got = await bei.get(row, level="critical", reference=held.reference)
        assert got.row is not None
        assert got.row["count"] == 2
        await bei.release(held.reference)
        assert middle.held


@seeded(seeds=3)
async def test_a_wish_that_comes_back_to_its_author(seed: int) -> None:
    """Goal: who carries a wish of his own that others forwarded to him is answered by that change. Method: a wish is handed to a process
    that forgets it, and comes back from there as from one that saw another head."""
    async with wide_world(seed) as world:
        ams, bei, row = world.sites["ams"], world.sites["bei"], world.row("a")
        held = await bei.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)
        (state,) = bei._keys.in_use()
        ams._sessions.combiner.stewards._carry = lambda *_: True  # type: ignore[method-assign]
        stewards = bei._sessions.combiner.stewards
        stewards.elsewhere = lambda _state: ams._context.author  # type: ignore[method-assign, assignment]
        asked = asyncio.ensure_future(bei.acquire([row], lease_ms=60_000, wait_ms=0))
        await asyncio.sleep(world.ocean.rtt_s)
        vars(stewards).pop("elsewhere")
        (item,) = state.handed.values()
        assert (await say(bei, item.asked, answer_to="memory:bei", forwarded=True)).noted
        place = await asyncio.wait_for(asked, timeout=7 * world.ocean.rtt_s)
        assert place.keys[0].ahead == 1
        assert not state.handed
        await bei.release(place.reference)
        await bei.release(held.reference)
        assert (await world.cell("a")).issued == 2


@seeded(seeds=3)
async def test_a_wish_is_not_sent_from_one_to_the_next_for_ever(seed: int) -> None:
    """Goal: whoever is named, a few are asked and then the wish goes its own way. Method: two others each say that it is not them, and
    the author's view names them in turn."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        held = await ams.acquire([row], lease_ms=60_000)
        await asyncio.sleep(1.0)

        async def not_me(_message: WishMessage) -> Noted:
            return Noted(False, 0, b"")

        for site in (ams, irv):
            site._sessions.combiner.stewards.note = not_me  # type: ignore[method-assign, assignment]
        names = itertools.cycle([ams._context.author, irv._context.author])
        stewards = bei._sessions.combiner.stewards
        stewards.elsewhere = lambda _state: next(names)  # type: ignore[method-assign, assignment]
        sent = len(world.ocean.messages)
        place = await asyncio.wait_for(bei.acquire([row], lease_ms=60_000, wait_ms=0), timeout=5.0)
        assert [kind for _, kind in world.ocean.messages[sent:]].count("wish") <= 4
        vars(stewards).pop("elsewhere")
        for site in (ams, irv):
            vars(site._sessions.combiner.stewards).pop("note")
        await bei.release(place.reference)
        await ams.release(held.reference)


@seeded(seeds=3)
async def test_rows_go_to_the_next_holder_alone(seed: int) -> None:
    """Goal: rows are sent to who holds next, and not kept for keys that nobody uses. Method: listen to what is pushed to the next
    holder and to one whose wish went along with the release; then look at what is remembered."""
    async with wide_world(seed) as world:
        ams, bei, irv, row = (*world.sites.values(), world.row("a"))
        pushed: dict[str, int] = {"bei": 0, "irv": 0}
        for name, site in (("bei", bei), ("irv", irv)):
            take = site._take_push

            def listen(push: Push, name: str = name, take: Callable[[Push], None] = take) -> None:
                pushed[name] += len(push.rows)
                take(push)

            site._take_push = listen  # type: ignore[method-assign]
        held = await ams.acquire([row], lease_ms=60_000)
        await ams.put(row, {"count": 7, "note": "n"}, level="critical", reference=held.reference)
        second = await bei.acquire([row], lease_ms=60_000, wait_ms=0)
        asked = asyncio.ensure_future(irv.acquire([row], lease_ms=60_000, wait_ms=0))
        await asyncio.sleep(world.ocean.rtt_s)
        await ams.release(held.reference)
        third = await asked
        await asyncio.sleep(1.0)
        assert pushed == {"bei": 1, "irv": 0}
        state = ams._keys.take(LockKey("ks", "votes", (b"a",)), KEY)
        assert state.users == 1
        state.parting = Parting(1, 1, ())
        ams._keys.drop(state)
        assert [state.users, state.parting] == [0, None]
        for site, lock in ((irv, third), (bei, second)):
            await site.release(lock.reference)
