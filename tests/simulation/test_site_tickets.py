"""Locks found by their tickets, owners in rings over several sites, leases that change, stamps of one's own: what the interface of MUSIC
3.x asks of a site beside the protocol."""

import asyncio
from asyncio import sleep
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from polysite.api import KeyName, Kind, LockAnswer, RowDelete, RowPut
from polysite.cells.contract import CellView
from polysite.errors import BadRequest, LockLost, OutcomeUnknown
from polysite.site import SiteCoordinator
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from polysite.values.rows import PLAIN_STAMP_MAX
from tests.support.sites import table_of, world_of
from tests.support.wide import WideCells, wide_world

LEASE_MS = 1_000
KINDS: tuple[Kind, ...] = ("exclusive", "shared")


async def listed(site: SiteCoordinator, key: KeyName, owner: str) -> tuple[LockAnswer, bool]:
    """A wish with an owner that does not wait, and whether it closes a ring; one that does is given up."""
    lock = await site.acquire([key], wait_ms=0, owner=owner)
    rings, _ = await site.note_owner(key, lock.fencing_token, owner, waits=not lock.held)
    if rings:
        await site.release(lock.reference)
    return lock, rings


@seeded(seeds=5)
async def test_a_ticket_is_found_wherever_it_was_issued(seed: int) -> None:
    """Goal: another process of the site finds the reference with its kind, owner and lease, whatever old state its view has; a ticket that was
    not issued or has left is found nowhere. Method: two processes, one of which sees old states."""
    async with world_of(seed, "one", "two") as world:
        one, two = (process.coordinator for process in world.processes)
        world.processes[1].faults.rates = FaultRates(stale=1.0)
        key = world.row("a")
        lock: LockAnswer
        for kind in KINDS:
            lock = await one.acquire([key], wait_ms=0, kind=kind, owner="x", lease_ms=5_000)
            found = await two.ticket(key, lock.fencing_token)
            assert found is not None
            assert (found.reference, found.kind, found.owner, found.lease_ms) == (lock.reference, kind, "x", 5_000)
            assert (found.fencing_token, found.held) == (lock.fencing_token, lock.held)
            here = await one.ticket(key, lock.fencing_token)
            assert here is not None
            assert (here.reference, here.round_trips) == (lock.reference, 0)
        for number in (0, 3, 2**62, 10**30):
            assert await two.ticket(key, number) is None
        await one.release(lock.reference)
        world.processes[1].faults.rates = FaultRates()
        assert await two.ticket(key, 2) is None


@contextmanager
def never_told(*sites: str) -> Iterator[None]:
    """The nearest replica of these sites has heard of no change of any cell."""
    read_local = WideCells.read_local

    async def nothing_yet(self: WideCells, key: bytes) -> CellView:
        return CellView(0, b"") if self._site in sites else await read_local(self, key)

    with mock.patch.object(WideCells, "read_local", nothing_yet):
        yield


@seeded
async def test_a_ticket_of_another_site_is_found(seed: int) -> None:
    """Goal: right after it was issued, at a site that has not heard of it, at the cost of one read of the cell. Method: two sites far apart."""
    async with wide_world(seed, rtt_s=0.2) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        lock = await ams.acquire([world.row("a")], wait_ms=0)
        with never_told("bei"):
            found = await bei.ticket(world.row("a"), lock.fencing_token)
        assert found is not None
        assert (found.reference, found.round_trips) == (lock.reference, 1)
        await ams.release(lock.reference)


@seeded
async def test_a_dead_process_s_ticket_is_taken_over(seed: int) -> None:
    """Goal: the client of a process that died goes on at another one, under a new window, with what it had. Method: kill the holder's process; its
    client finds its reference by the ticket, and writes."""
    async with world_of(seed, "dies", "lives") as world:
        dies, lives = (process.coordinator for process in world.processes)
        key = world.row("a")
        lock = await dies.acquire([key], lease_ms=LEASE_MS)
        await dies.put(key, {"count": 1}, level="critical", reference=lock.reference)
        await world.processes[0].kill()
        found = await lives.ticket(key, lock.fencing_token)
        assert found is not None
        assert (await lives.wait(found.reference, wait_ms=5_000)).held
        assert (await lives.get(key, level="critical", reference=found.reference)).row == {
            "id": "a",
            "count": 1,
            "note": None,
        }
        await lives.put(key, {"count": 2}, level="critical", reference=found.reference)
        assert (await lives.release(found.reference)).validated


@seeded(seeds=5)
async def test_a_ring_over_two_processes_and_three_keys(seed: int) -> None:
    """Goal: whoever closes the ring is told, and nobody else; when its wish is given up the others go on. Method: x has a and wants b, y has b and
    wants c, z has c and wants a, at processes in turn."""
    async with world_of(seed, "one", "two") as world:
        one, two = (process.coordinator for process in world.processes)
        a, b, c = (world.row(name) for name in "abc")
        for site, key, owner in ((one, a, "x"), (two, b, "y"), (one, c, "z")):
            assert not (await listed(site, key, owner))[1]
        wanting, rings = await listed(two, b, "x")
        assert not rings
        assert not (await listed(one, c, "y"))[1]
        assert (await listed(two, a, "z"))[1]
        # Another owner that waits behind them is in no ring.
        assert not (await listed(two, a, "w"))[1]
        # The one that waits in no ring any more may close none.
        await two.release(wanting.reference)
        await two.forget_owner(b, wanting.fencing_token)
        assert not (await listed(two, a, "z"))[1]


@seeded
async def test_a_ring_over_keys_that_this_site_has_not_heard_of(seed: int) -> None:
    """Goal: who waits is read from the cells where this site's view is older than the list. Method: at ams x has a and waits for b, y has b and waits for
    c; at bei, which was told nothing, z has c and asks for a."""
    async with wide_world(seed, rtt_s=0.1) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        a, b, c = (world.row(name) for name in "abc")
        with never_told("bei"):
            for site, key, owner in ((ams, a, "x"), (ams, b, "y"), (bei, c, "z"), (ams, b, "x"), (ams, c, "y")):
                assert not (await listed(site, key, owner))[1]
            assert (await listed(bei, a, "z"))[1]


@seeded(seeds=5)
async def test_of_sites_that_close_a_ring_at_once_one_is_told(seed: int) -> None:
    """Goal: owners at sites far apart never wait for each other for ever. Method: each has a key and asks for the other's at the same time; neither
    site hears of changes by itself."""
    async with wide_world(seed, rtt_s=0.1) as world:
        ams, bei, _ = world.sites.values()
        a, b = world.row("a"), world.row("b")
        with never_told("ams", "bei"):
            assert not (await listed(ams, a, "x"))[1]
            assert not (await listed(bei, b, "y"))[1]
            world.ocean.silent |= {"ams", "bei"}
            told = await asyncio.gather(listed(ams, b, "x"), listed(bei, a, "y"))
            assert any(rings for _, rings in told)


@seeded
async def test_an_old_view_makes_no_ring(seed: int) -> None:
    """Goal: whoever has given up waits for nobody, though this site's view still shows him. Method: y has a, x has b and asked for a, which another
    process saw; he gives that up, and y asks for b there, where a is shown as it was."""
    async with world_of(seed, "one", "two") as world:
        one, two = (process.coordinator for process in world.processes)
        a, b = world.row("a"), world.row("b")
        for key, owner in ((a, "y"), (b, "x")):
            assert not (await listed(one, key, owner))[1]
        wanting, _ = await listed(one, a, "x")
        assert len((await two.queue(a)).entries) == 2
        await one.release(wanting.reference)
        faults = world.processes[1].faults
        faults.rates = FaultRates(stale=1.0)
        with mock.patch.object(faults, "pick", lambda count: min(1, count - 1)):
            assert not (await listed(two, b, "y"))[1]


@seeded
async def test_a_shorter_lease_is_observed_by_others(seed: int) -> None:
    """Goal: after a holder named a shorter lease, and went silent, the next one waits for that and no longer; after a longer one, for that. Method:
    leases of 60 s and 1 s, each changed into the other; the client and then the process is silent."""
    for lease_ms, changed_ms, waits_s in ((60_000, 1_000, (0.9, 3.0)), (1_000, 20_000, (19.0, 30.0))):
        async with world_of(seed, "old", "new") as world:
            old, new = (process.coordinator for process in world.processes)
            key = world.row("a")
            lock = await old.acquire([key], lease_ms=lease_ms)
            answer = await old.set_lease(lock.reference, changed_ms)
            assert answer.lease_ms == changed_ms
            assert (await old.renew(lock.reference)).lease_ms == changed_ms
            begun_s = asyncio.get_running_loop().time()
            successor = await new.acquire([key], wait_ms=100_000)
            assert successor.held
            passed_s = asyncio.get_running_loop().time() - begun_s
            assert waits_s[0] <= passed_s <= waits_s[1], passed_s
            with pytest.raises(LockLost):
                await old.put(key, {"count": 1}, level="critical", reference=lock.reference)


@seeded(seeds=10)
async def test_no_write_is_done_after_the_lease_that_may_be(seed: int) -> None:
    """Goal: while it is not known whether a shorter lease was set, writes are answered as under it. Method: the answer of the change is lost, made
    or not; the process is out of touch for longer than that, and a write of it is not told to be done once another one may hold."""
    for after_effect in (True, False):
        async with world_of(seed, "old", "new") as world:
            process, (old, new) = world.processes[0], [process.coordinator for process in world.processes]
            key = world.row("a")
            lock = await old.acquire([key], lease_ms=30_000)
            process.faults.lose_next("compare_and_set", after_effect=after_effect)
            gate = process.faults.hold("compare_and_set")
            setting = asyncio.ensure_future(old.set_lease(lock.reference, LEASE_MS))
            await sleep(2.0)
            late = asyncio.ensure_future(old.put(key, {"count": 9}, level="critical", reference=lock.reference))
            await sleep(0.1)
            assert not late.done(), "the write asks for proof first"
            gate.set_result(None)
            (told,) = await asyncio.gather(setting, return_exceptions=True)
            assert isinstance(told, LockAnswer | OutcomeUnknown | LockLost)
            await asyncio.gather(late, return_exceptions=True)
            successor = await new.acquire([key], wait_ms=60_000)
            assert successor.held


@seeded
async def test_a_lease_in_doubt_is_set_again(seed: int) -> None:
    """Goal: asked for the old lease while a change of it is under way, the entry has the old one for certain afterwards. Method: the change hangs, its
    caller gives up, the old lease is asked for; the cell says which it is."""
    async with world_of(seed) as world:
        process = world.processes[0]
        lock = await process.coordinator.acquire([world.row("a")], lease_ms=20_000)
        gate = process.faults.hold("compare_and_set")
        asked = asyncio.ensure_future(process.coordinator.set_lease(lock.reference, 2_000))
        await sleep(0.2)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        again = asyncio.ensure_future(process.coordinator.set_lease(lock.reference, 20_000))
        await sleep(0.2)
        gate.set_result(None)
        assert (await again).lease_ms == 20_000
        await sleep(0.2)
        assert (await world.cell("a")).queue[0].lease_ms == 20_000


@seeded
async def test_a_promotion_that_stays(seed: int) -> None:
    """Goal: it is not taken back after the wait, and is granted when the others have left; one asked for with `promote` is. Method: two readers."""
    async with world_of(seed) as world:
        site, key = world.processes[0].coordinator, world.row("a")
        one, other = [await site.acquire([key], kind="shared", wait_ms=0) for _ in range(2)]
        answer = await site.promote_until_held(one.reference, wait_ms=0)
        assert answer.kind == "promoting"
        await sleep(1)
        assert (await world.cell("a")).queue[0].kind == "promoting"
        await site.release(other.reference)
        assert (await site.promote_until_held(one.reference, wait_ms=1_000)).kind == "exclusive"
        await site.put(key, {"count": 1}, level="critical", reference=one.reference)


@seeded
async def test_a_stamp_of_one_s_own(seed: int) -> None:
    """Goal: writes without a lock are ordered by the stamps they name; those out of bounds, and those of a key that was locked before, are refused, and
    change nothing. Method: puts and a delete in another order than their stamps."""
    async with world_of(seed) as world:
        site, key = world.processes[0].coordinator, world.row("a", "mixed")
        await site.write_at(key, RowPut(columns={"count": 2}), 2_000)
        await site.write_at(key, RowPut(columns={"count": 1, "note": "x"}), 1_000)
        assert (await site.get(key)).row == {"id": "a", "count": 2, "note": "x"}
        await site.write_at(key, RowDelete(), 1_500, quorum=True)
        assert (await site.get(key)).row == {"id": "a", "count": 2, "note": None}
        for stamp in (-1, PLAIN_STAMP_MAX, 2**63):
            with pytest.raises(BadRequest):
                await site.write_at(key, RowPut(columns={"count": 3}), stamp)
        with pytest.raises(BadRequest):
            await site.write_at(world.row("a", "votes"), RowPut(columns={"count": 3}), 3_000)
        lock = await site.acquire([key])
        await site.release(lock.reference)
        with pytest.raises(BadRequest, match="locked before"):
            await site.write_at(key, RowPut(columns={"count": 3}), 3_000)
        assert (await site.get(key)).row == {"id": "a", "count": 2, "note": None}


@seeded
async def test_a_write_before_the_first_lock_was_known(seed: int) -> None:
    """Goal: the one exception of writes without a lock: made at a site whose view does not know the key's first lock yet, it is ordered before it, and
    is hidden by what the holder wrote; once the view knows, it waits and counts. Method: two sites far apart; the write follows the lock at once."""
    async with wide_world(seed, rtt_s=0.4) as world:
        ams, bei = world.sites["ams"], world.sites["bei"]
        await ams.create_table(table_of("mixed", "mixed"))
        key = KeyName(keyspace="ks", table="mixed", key={"id": "a"})
        lock = await ams.acquire([key])
        putting = asyncio.ensure_future(ams.put(key, {"count": 1}, level="critical", reference=lock.reference))
        with never_told("bei"):
            await bei.put(key, {"count": 2, "note": "before"})
        await putting
        read = await ams.get(key, level="critical", reference=lock.reference)
        assert read.row == {"id": "a", "count": 1, "note": "before"}
        await sleep(1)
        waiting = asyncio.ensure_future(bei.put(key, {"count": 3}))
        await sleep(2)
        assert not waiting.done()
        await ams.release(lock.reference)
        await waiting
        assert (await ams.get(key, level="quorum")).row == {"id": "a", "count": 3, "note": "before"}
