"""Several sites: how far they are, whether they answer and where, and whose clock is off, found out by asking."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polysite.core.distance import ROUNDS_SILENT, RTT_S_UNMEASURED
from polysite.core.wishes import QUEUE_MAX
from polysite.errors import BadRequest
from polysite.site.site_watch import HELLOS
from polysite.testing.loop import seeded
from tests.support.sites import Process, World, until, world_of

HELLO_S = 30.0
"""The default, which these tests wait for."""
ROUND_S = HELLO_S + 5.0
AMS, BEI, IRV = "ams", "bei", "irv"
NAMES = {AMS: "one", BEI: "two", IRV: "three"}
PEERS = {site: f"memory:{name}" for site, name in NAMES.items()}
"""Every site is given the addresses of all."""


@asynccontextmanager
async def three_sites(seed: int, *started: str, **settings: Any) -> AsyncIterator[World]:
    """Amsterdam, Beijing and Irvine with about the distances they have, those that are named started."""
    async with world_of(seed, "engine", **settings) as world:
        # The world's own process is of a site by itself: it makes the tables, and nobody knows it.
        world.apart(AMS, BEI, 0.2)
        world.apart(AMS, IRV, 0.15)
        world.apart(BEI, IRV, 0.18)
        for site in started or (AMS, BEI, IRV):
            await world.process(NAMES[site], site=site, peers=PEERS, **settings)
        yield world


def at(world: World, site: str) -> Process:
    (found,) = [process for process in world.processes if process.site == site]
    return found


async def rtt_ms(process: Process) -> int:
    return (await process.coordinator.health()).majority_rtt_ms


async def reach(process: Process) -> dict[str, float | None]:
    health = await process.coordinator.health()
    assert health.ready, health.reasons
    assert all(site.answers == (site.rtt_ms is not None) for site in health.sites)
    return {site.site: site.rtt_ms for site in health.sites}


async def writes(process: Process) -> bool:
    """Whether it takes writes without a lock; writes under a lock go on in any case."""
    site, row = process.coordinator, process.world.row("a", "mixed")
    await site.put(process.world.row("b"), {"count": 1}, level="atomic")
    if (await site.health()).ready:
        await site.put(row, {"count": 1})
        return True
    return False


@seeded(seeds=3)
async def test_w_is_measured_at_every_site(seed: int) -> None:
    """Goal: W is the round trip to the nearer of two other sites, told by health beside the way to each of them, and leases are
    bounded by it. Method: three sites at known distances; a lease below and one of 10 W + 100 ms."""
    async with three_sites(seed) as world:
        await asyncio.sleep(2.0)
        assert await reach(at(world, AMS)) == {BEI: pytest.approx(200, abs=1), IRV: pytest.approx(150, abs=1)}
        for site, expected in ((AMS, 150), (BEI, 180), (IRV, 150)):
            process = at(world, site)
            assert expected <= await rtt_ms(process) <= expected + 10
            least = 10 * await rtt_ms(process) + 100
            with pytest.raises(BadRequest, match=f"lease_ms is from {least} to"):
                await process.coordinator.acquire([world.row(site)], lease_ms=least - 1)
            assert (await process.coordinator.acquire([world.row(site)], lease_ms=least)).held


@seeded(seeds=3)
async def test_w_that_is_set_stays(seed: int) -> None:
    """Goal: an operator's W is not measured away, that of a lone site is 0, and before anybody answered it is a careful one. Method:
    three sites with it; one site without others; one whose peers are not there."""
    async with three_sites(seed, majority_rtt_ms=70) as world:
        await asyncio.sleep(ROUND_S)
        assert [await rtt_ms(at(world, site)) for site in (AMS, BEI, IRV)] == [70, 70, 70]
    async with world_of(seed) as world:
        assert await rtt_ms(world.processes[0]) == 0
    async with three_sites(seed, AMS) as world:
        await asyncio.sleep(ROUND_S)
        assert await rtt_ms(at(world, AMS)) == 1000 * RTT_S_UNMEASURED
        assert await reach(at(world, AMS)) == {BEI: None, IRV: None}


@seeded(seeds=3)
async def test_w_follows_the_way(seed: int) -> None:
    """Goal: W changes while the process runs: with the distance, with a site that is gone, and with one that is back; waits and
    leases see it at once. Method: move Irvine, cut it off, let it come back."""
    async with three_sites(seed) as world:
        ams = at(world, AMS)
        await until(lambda: ams.coordinator._context.rtt_s == 0.15)
        world.apart(AMS, IRV, 0.1)
        await asyncio.sleep(ROUND_S)
        assert await rtt_ms(ams) == 100
        world.apart(AMS, IRV, 0.19)
        await asyncio.sleep(6 * ROUND_S)
        assert await rtt_ms(ams) == 190
        world.channel.cut.add(PEERS[IRV])
        await asyncio.sleep((ROUNDS_SILENT + 1) * HELLO_S)
        assert await rtt_ms(ams) == 200
        world.channel.cut.clear()
        await asyncio.sleep(ROUND_S)
        assert await rtt_ms(ams) == 190


@seeded(seeds=3)
async def test_a_site_that_starts_later_is_known_within_a_second(seed: int) -> None:
    """Goal: who waits for its peers asks each second, and asks less often once all answered. Method: start one site, a minute later
    the others, which do not know it; count the hellos."""
    async with three_sites(seed, AMS) as world:
        ams = at(world, AMS)
        await asyncio.sleep(60.0)
        for site in (BEI, IRV):
            late = Process(world, NAMES[site], site=site)
            late.clock.step_wall_us(60_000_000)  # a clock of the world begins when its process does
            await late.start()
            world.processes.append(late)
        await asyncio.sleep(2.0)
        assert await reach(ams) == {BEI: pytest.approx(200, abs=1), IRV: pytest.approx(150, abs=1)}
        await asyncio.sleep(ROUND_S)
        before = len(world.channel.sent)
        await asyncio.sleep(10 * HELLO_S)
        hellos = len(world.channel.sent) - before
        # It asks two others in ten rounds.
        assert 18 * HELLOS <= hellos <= 22 * HELLOS


@seeded(seeds=3)
async def test_a_hello_is_answered_with_one(seed: int) -> None:
    """Goal: a site that could not be reached is known as soon as it says hello, and not only with the next round. Method: one site
    does not ask each second any more; another one starts, and knows it."""
    async with three_sites(seed, AMS) as world:
        ams = at(world, AMS)
        world.channel.cut.update(PEERS[site] for site in (BEI, IRV))
        await asyncio.sleep((ROUNDS_SILENT + 0.5) * HELLO_S)
        ams.coordinator._clocks._knock = lambda: None  # type: ignore[method-assign, union-attr]
        await asyncio.sleep(2.0)
        world.channel.cut.clear()
        await world.process(NAMES[BEI], site=BEI, peers=PEERS)
        await asyncio.sleep(1.5)
        assert ams.coordinator._clocks.reach()[0].answers  # type: ignore[union-attr]


@seeded(seeds=3)
async def test_a_site_that_is_gone_is_told_and_so_is_its_return(seed: int) -> None:
    """Goal: a site that does not answer for three rounds is told once, makes nobody unready, and is told again when it answers, as
    soon as it says hello itself. Method: cut a site off for longer than that, and another one for less."""
    async with three_sites(seed) as world:
        ams = at(world, AMS)
        await asyncio.sleep(1.0)
        stream = ams.coordinator.events()
        world.channel.cut.update({PEERS[IRV], PEERS[BEI]})
        await asyncio.sleep((ROUNDS_SILENT - 1) * HELLO_S)
        world.channel.cut.discard(PEERS[BEI])
        await asyncio.sleep(ROUND_S)
        assert await reach(ams) == {BEI: pytest.approx(200, abs=1), IRV: None}
        await asyncio.sleep(5 * HELLO_S)
        world.channel.cut.clear()
        # Irvine asks as before; Amsterdam need not wait for its own round.
        await until(lambda: ams.coordinator._clocks.reach()[1].answers, limit_s=HELLO_S)  # type: ignore[union-attr]
        await ams.coordinator.close()
        told = [(event.kind, event.site, event.keyspace, event.detail) async for event in stream]
        assert told == [
            ("health", AMS, None, "site irv does not answer"),
            ("health", AMS, None, "site irv answers again"),
        ]


@seeded(seeds=3)
async def test_a_site_that_hangs_is_told_after_three_rounds(seed: int) -> None:
    """Goal: no answer at all is as good as a refusal, each second's attempts do not count as rounds, and who has no channel yet
    misses nobody. Method: one site that never answers, one that is not there; later the same without a channel."""
    async with three_sites(seed, BEI, IRV) as world:
        world.apart(AMS, IRV, 1_000.0)
        world.channel.cut.add(PEERS[BEI])
        ams = await world.process(NAMES[AMS], site=AMS, peers=PEERS)
        stream = ams.coordinator._context.events.listen(None, None)
        expected = {"site bei does not answer", "site irv does not answer"}
        for until_s, told in ((2 * HELLO_S - 5, set()), (2 * HELLO_S + 10, expected), (10 * HELLO_S, expected)):
            await asyncio.sleep(until_s - asyncio.get_running_loop().time())
            assert {event.detail for event in stream._events} == told
        assert len(stream._events) == 2
        world.channel.cut.clear()
        await stream.aclose()
    async with three_sites(seed, BEI, IRV) as world:
        ams = Process(world, NAMES[AMS], site=AMS, peers=PEERS)
        channel, ams.coordinator._tenures.channel = ams.coordinator._tenures.channel, None
        await ams.start()
        world.processes.append(ams)
        stream = ams.coordinator._context.events.listen(None, None)
        await asyncio.sleep(5 * HELLO_S)
        assert channel is not None
        ams.coordinator.use_channel(channel)
        await asyncio.sleep(1.0)
        assert ams.coordinator._context.rtt_s == 0.15
        assert not stream._events
        await stream.aclose()


@seeded(seeds=3)
async def test_a_process_that_said_farewell_is_forgotten(seed: int) -> None:
    """Goal: neither its clock nor its address count any more. Method: of two sites one, whose clock is off, stops in order."""
    async with three_sites(seed, AMS) as world:
        ams = at(world, AMS)
        bei = Process(world, NAMES[BEI], site=BEI, address="memory:elsewhere")
        bei.clock.step_wall_us(10_000_000)
        await bei.start()
        world.channel.join(PEERS[BEI], bei.coordinator.handle_peer_message)
        await asyncio.sleep(ROUND_S)
        assert not await writes(ams)
        await bei.close()
        world.channel.leave(PEERS[BEI])
        await asyncio.sleep(ROUND_S)
        assert await writes(ams)
        world.channel.sent.clear()
        await asyncio.sleep(ROUND_S)
        assert ("memory:elsewhere", "hello") not in world.channel.sent


@seeded(seeds=3)
async def test_an_engine_that_is_down_hides_no_site(seed: int) -> None:
    """Goal: a process whose own engine does not answer still asks the other sites where they were set, at once and in every round. Method:
    take the engine of one process away as soon as it has started."""
    async with three_sites(seed, BEI, IRV) as world:
        ams = await world.process(NAMES[AMS], site=AMS, peers=PEERS)
        ams.faults.down = True
        await asyncio.sleep(2.0)
        assert ams.coordinator._context.rtt_s == 0.15
        world.apart(AMS, IRV, 0.1)
        await asyncio.sleep(ROUND_S)
        assert ams.coordinator._context.rtt_s == 0.1
        ams.faults.down = False


@seeded(seeds=2)
async def test_queues_are_shared_by_all_sites(seed: int) -> None:
    """Goal: each of the sites that are set has its part of a key's queue. Method: by the limit of one of three."""
    async with three_sites(seed) as world:
        assert at(world, AMS).coordinator._context.site_limit == QUEUE_MAX // 3
        assert at(world, "local").coordinator._context.site_limit == QUEUE_MAX


@seeded(seeds=3)
async def test_an_address_that_changed_is_followed(seed: int) -> None:
    """Goal: where a process says it is counts more than what was set, and what was set still counts when nobody is where the registry
    says. Method: a site moves and says so; then it moves back to its first address and cannot say so."""
    async with three_sites(seed) as world:
        ams, irv = at(world, AMS), at(world, IRV)
        await asyncio.sleep(1.0)
        world.channel.leave(irv.address)
        irv.join("memory:elsewhere")
        irv.coordinator.address_is("memory:elsewhere")
        await asyncio.sleep((ROUNDS_SILENT + 1) * HELLO_S)
        assert (await reach(ams))[IRV] == pytest.approx(150, abs=1)
        assert ("memory:elsewhere", "hello") in world.channel.sent
        world.channel.leave(irv.address)
        irv.join(PEERS[IRV])
        await asyncio.sleep((ROUNDS_SILENT + 1) * HELLO_S)
        assert (await reach(ams))[IRV] == pytest.approx(150, abs=1)
        irv.join("memory:elsewhere")  # where `close` leaves it
        world.channel.leave(PEERS[IRV])


@seeded(seeds=3)
async def test_only_the_site_that_was_asked_counts(seed: int) -> None:
    """Goal: an address that belongs to another site by now says nothing of the one that was meant, neither its way nor its clock.
    Method: Irvine never starts, Beijing answers at its address with a clock that is off."""
    async with three_sites(seed, AMS, BEI) as world:
        bei = at(world, BEI)
        world.channel.join(PEERS[IRV], bei.coordinator.handle_peer_message)
        await asyncio.sleep(ROUND_S)
        assert (await reach(at(world, AMS)))[IRV] is None
        assert await rtt_ms(at(world, AMS)) == 200


@seeded(seeds=3)
async def test_of_three_sites_the_one_that_is_off_is_found(seed: int) -> None:
    """Goal: over wide-area distances the site whose clock is wrong refuses writes without a lock, and no other does. Method: set the
    clock of one site after the other off by an hour either way, or by less than the bound."""
    async with three_sites(seed) as world:
        sites = [at(world, site) for site in (AMS, BEI, IRV)]
        for process in sites:
            for moved_ms, fine in ((3_600_000, False), (-3_600_000, False), (450, True), (-700, False)):
                process.clock.step_wall_us(moved_ms * 1000)
                await asyncio.sleep(ROUND_S)
                expected = [fine or other is not process for other in sites]
                assert [await writes(other) for other in sites] == expected, moved_ms
                process.clock.step_wall_us(-moved_ms * 1000)
            await asyncio.sleep(ROUND_S)
            assert all([await writes(other) for other in sites])


@seeded(seeds=3)
async def test_processes_of_one_name_at_two_sites(seed: int) -> None:
    """Goal: every site has a process p1; that one of them died says nothing of the other. Method: kill the second process of a site
    whose namesake at another site lives, with a clock that is off."""
    async with three_sites(seed) as world:
        second = {}
        for site in (AMS, IRV):
            name = f"{NAMES[site]}-more"
            second[site] = await world.process(name, site=site, peers=PEERS)
        author = second[AMS].coordinator._context.author
        assert (author.site, author.process) == (AMS, second[IRV].coordinator._context.author.process) == (AMS, "p2")
        await second[AMS].kill()
        world.processes.remove(second[AMS])
        world.channel.leave(PEERS[IRV])
        await asyncio.sleep((ROUNDS_SILENT + 1) * HELLO_S)
        # Irvine is reached through its second process alone.
        ams = next(process for process in world.processes if process.site == AMS)
        assert (await reach(ams))[IRV] == pytest.approx(150, abs=1)
