"""Clocks of several processes that differ: noticed by themselves, told, and forgotten when they agree again."""

import asyncio

import pytest

from polysite.errors import Unavailable
from polysite.site.clock_watch import ROUNDS_KEPT
from polysite.site.plain import CLOCK_AGREES, CLOCK_IS_OFF, CLOCK_WAS_AHEAD, CLOCK_WAS_SET
from polysite.testing import world as wide
from polysite.testing.loop import seeded
from polysite.testing.processes import MemoryChannel
from tests.support.sites import Process, World, world_of

HELLO_S = 30.0
"""The default, which these tests wait for."""
ROUND_S = HELLO_S + 1.0


class SlowChannel(MemoryChannel):
    """A channel whose messages and answers take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.there_s = 0.0
        self.back_s = 0.0

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:
        await asyncio.sleep(self.there_s)
        answer = await super().send(address, kind, body, answer_s=answer_s)
        await asyncio.sleep(self.back_s)
        return answer


def slow(world: World) -> SlowChannel:
    """Replace the channel of every process of the world."""
    channel = SlowChannel()
    for process in world.processes:
        channel.join(process.address, process.coordinator.handle_peer_message)
        process.coordinator.use_channel(channel)
    return channel


async def ready(process: Process) -> bool:
    """Whether it takes writes without a lock; its health says the same, and writes under a lock go on in any case."""
    site, row = process.coordinator, process.world.row("a", "mixed")
    await site.put(process.world.row("b"), {"count": 1}, level="atomic")
    found = (await site.health()).ready
    if found:
        await site.put(row, {"count": 1})
    else:
        with pytest.raises(Unavailable):
            await site.put(row, {"count": 1})
    return found


@seeded(seeds=3)
async def test_clocks_that_drift_apart_and_agree_again(seed: int) -> None:
    """Goal: two processes whose clocks differ by more than the bound say so within a round and refuse writes without a lock;
    the difference is cleared when they agree. Method: move one wall clock forward and back, more and less than the bound."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        for moved_ms, agree in ((0, True), (450, True), (100, False), (-1_200, False), (650, True)):
            two.clock.step_wall_us(moved_ms * 1000)
            await asyncio.sleep(ROUND_S)
            assert [await ready(one), await ready(two)] == [agree, agree], moved_ms


@seeded(seeds=3)
async def test_a_process_that_starts_with_a_clock_that_is_off(seed: int) -> None:
    """Goal: it knows as soon as it serves, and so do the others. Method: set its clock before it starts."""
    async with world_of(seed, "one") as world:
        (one,) = world.processes
        two = Process(world, "two")
        two.clock.step_wall_us(-700_000)
        await two.start()
        world.processes.append(two)
        await asyncio.sleep(0.01)
        assert not await ready(two)
        assert not await ready(one)


@seeded(seeds=3)
async def test_an_engine_that_does_not_answer_ends_no_acquaintance(seed: int) -> None:
    """Goal: processes go on to ask each other when their engine is back. Method: take it away while a process starts, and for
    a while later on; then let the clocks differ."""
    async with world_of(seed, "one") as world:
        (one,) = world.processes
        two = Process(world, "two")
        await two.start()
        world.processes.append(two)
        for down in ([two], [one, two]):
            for process in down:
                process.faults.down = True
            await asyncio.sleep(0.01 if down == [two] else ROUND_S)
            for process in down:
                process.faults.down = False
            two.clock.step_wall_us(700_000)
            await asyncio.sleep(ROUND_S)
            assert [await ready(one), await ready(two)] == [False, False]
            two.clock.step_wall_us(-700_000)
            await asyncio.sleep(ROUND_S)
            assert [await ready(one), await ready(two)] == [True, True]


@seeded(seeds=3)
async def test_the_way_is_taken_off(seed: int) -> None:
    """Goal: half of the round trip is no difference of clocks, and by the other half an answer may be wrong. Method: 80 ms of way, a
    bound of 100 ms, clocks that differ by less and by more than 140 ms, either way."""
    async with world_of(seed, "one", "two", skew_ms_max=100) as world:
        one, two = world.processes
        channel = slow(world)
        channel.there_s = channel.back_s = 0.04
        for moved_ms, agree in ((130, True), (-260, True), (-20, False), (300, False)):
            two.clock.step_wall_us(moved_ms * 1000)
            await asyncio.sleep(ROUND_S)
            assert [await ready(one), await ready(two)] == [agree, agree], moved_ms


@seeded(seeds=3)
async def test_a_channel_that_comes_later_is_used_at_once(seed: int) -> None:
    """Goal: a process that gets its channel after it started asks then, and not half a minute later. Method: move a clock, give
    both processes another channel, wait a moment."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        await asyncio.sleep(1.0)
        two.clock.step_wall_us(700_000)
        assert await ready(one)
        slow(world)
        await asyncio.sleep(0.1)
        assert [await ready(one), await ready(two)] == [False, False]


@seeded(seeds=3)
async def test_an_answer_that_took_long_says_nothing(seed: int) -> None:
    """Goal: a stall is not taken for a clock that is off. Method: answers that wait for 0.9 s on one way, which alone would
    make 450 ms of difference, with clocks that differ by 100 ms."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        channel = slow(world)
        two.clock.step_wall_us(100_000)
        for channel.there_s, channel.back_s in ((0.9, 0.0), (0.0, 0.9)):
            await asyncio.sleep(ROUND_S)
            assert await ready(one)
            assert await ready(two)


@seeded(seeds=3)
async def test_who_is_gone_is_forgotten(seed: int) -> None:
    """Goal: the difference to a process that died is dropped with the next round; that to one that merely does not answer
    stays for a few. Method: kill the one whose clock is off; in another run, cut it off."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        two.clock.step_wall_us(2_000_000)
        await asyncio.sleep(ROUND_S)
        assert not await ready(one)
        await two.kill()
        world.processes.remove(two)
        await asyncio.sleep(ROUND_S)
        assert await ready(one)
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        two.clock.step_wall_us(2_000_000)
        await asyncio.sleep(ROUND_S)
        assert not await ready(one)
        world.channel.cut.add(two.address)
        await asyncio.sleep(ROUND_S)
        assert not await ready(one)
        await asyncio.sleep(ROUNDS_KEPT * HELLO_S)
        assert await ready(one)


@seeded(seeds=3)
async def test_of_three_the_one_that_is_off_is_found(seed: int) -> None:
    """Goal: with two others a process knows whose clock is wrong: it alone refuses writes without a lock, whoever answers first.
    Method: three processes; one after the other is set wrong and right again."""
    async with world_of(seed, "one", "two", "three") as world:
        for process in world.processes:
            process.clock.step_wall_us(800_000)
            await asyncio.sleep(ROUND_S)
            assert [await ready(other) for other in world.processes] == [
                other is not process for other in world.processes
            ]
            process.clock.step_wall_us(-800_000)
            await asyncio.sleep(ROUND_S)
            assert all([await ready(other) for other in world.processes])
        assert {kind for _, kind in world.channel.sent} >= {"hello"}


@seeded(seeds=3)
async def test_a_clock_that_is_off_is_told_when_it_changes(seed: int) -> None:
    """Goal: listeners of the process whose clock is wrong hear so once, and once when it is right again; those of the others hear
    nothing. Method: three processes, one of which is set wrong for some rounds."""
    async with world_of(seed, "one", "two", "three") as world:
        streams = [process.coordinator.events() for process in world.processes]
        wrong = world.processes[1]
        for moved_ms in (-800, 800):
            wrong.clock.step_wall_us(moved_ms * 1000)
            await asyncio.sleep(3 * ROUND_S)
        for process in world.processes:
            await process.coordinator.close()
        told = [[(event.kind, event.detail) async for event in stream] for stream in streams]
        assert told[1] == [("health", CLOCK_IS_OFF), ("health", CLOCK_AGREES)]
        assert told[0] == told[2] == []


@seeded(seeds=3)
async def test_nobody_takes_itself_for_another(seed: int) -> None:
    """Goal: an answer of oneself, at an address where another process was, is no vote. Method: of three processes one is registered
    where another is; the third one's clock is off, which the two that hear of each other cannot tell from the reverse."""
    async with world_of(seed, "one", "two", "three") as world:
        one, two, three = world.processes
        two.coordinator.address_is(one.address)
        three.clock.step_wall_us(800_000)
        await asyncio.sleep((ROUNDS_KEPT + 1) * ROUND_S)
        assert not await ready(one)


@seeded(seeds=3)
async def test_a_clock_that_was_set_is_noticed_at_once(seed: int) -> None:
    """Goal: a process whose own clock is set asks the others then, and not with its next round; nobody is asked for less than half of
    the bound. Method: set a clock far off and back, look two seconds later; set it a little, count the hellos."""
    async with world_of(seed, "one", "two", "three") as world:
        two = world.processes[1]
        await asyncio.sleep(5.0)
        for moved_ms, fine in ((3_600_000, False), (-3_600_000, True), (-3_600_000, False), (3_600_000, True)):
            two.clock.step_wall_us(moved_ms * 1000)
            await asyncio.sleep(2.0)
            assert [await ready(process) for process in world.processes] == [True, fine, True]
        before = len(world.channel.sent)
        two.clock.step_wall_us(200_000)
        await asyncio.sleep(5.0)
        assert len(world.channel.sent) == before


@seeded(seeds=3)
async def test_who_was_set_gives_no_stamps_until_it_is_compared(seed: int) -> None:
    """Goal: no write is stamped an hour ahead in the moment before the others have been asked, so none is refused for an hour when the clock is right
    again. Method: a write at the moment the clock is set ahead, and at the one it is set back."""
    async with world_of(seed, "one", "two", "three") as world:
        two = world.processes[1]
        row = world.row("x", "mixed")
        await asyncio.sleep(5.0)
        two.clock.step_wall_us(3_600_000_000)
        with pytest.raises(Unavailable, match="was just set"):
            await two.coordinator.put(row, {"count": 1})
        assert (await two.coordinator.health()).reasons == [CLOCK_WAS_SET]
        await asyncio.sleep(2.0)
        assert (await two.coordinator.health()).reasons == [CLOCK_IS_OFF]
        two.clock.step_wall_us(-3_600_000_000)
        await asyncio.sleep(2.0)
        assert await ready(two)


@seeded(seeds=3)
async def test_who_was_ahead_writes_nothing_ahead_of_the_others(seed: int) -> None:
    """Goal: a process that wrote without a lock while nobody could tell it that its clock is twenty minutes ahead refuses to go on above that
    stamp when its clock is right again, says so, and writes once its clock has come so far; what another one writes is never hidden. Method: one
    write after the clock is set and nobody answers, then both write one row, over twenty minutes."""
    async with world_of(seed, "one", "two", "three") as world:
        one, two = (process.coordinator for process in world.processes[:2])
        row = world.row("y", "mixed")
        await asyncio.sleep(5.0)
        two.use_channel(MemoryChannel())
        world.processes[1].clock.step_wall_us(1_200_000_000)
        await asyncio.sleep(2.0)
        await two.put(world.row("x", "mixed"), {"count": 1})
        two.use_channel(world.channel)
        world.processes[1].clock.step_wall_us(-1_200_000_000)
        await asyncio.sleep(2.0)
        for count in (2, 3):
            with pytest.raises(Unavailable, match=r"was ahead .* 119\d s"):
                await two.put(row, {"count": -count})
            assert (await two.health()).reasons == [CLOCK_WAS_AHEAD]
            await one.put(row, {"count": count})
            answer = await two.get(row, level="quorum")
            assert answer.row is not None
            assert answer.row["count"] == count
        await asyncio.sleep(1_200.0)
        assert [await ready(process) for process in world.processes] == [True, True, True]


@seeded(seeds=3)
async def test_who_is_alone_goes_on_above_its_stamps(seed: int) -> None:
    """Goal: where nobody else writes nothing can be hidden, and a clock that was ahead stops nobody. Method: one process, whose clock is
    set ahead and back; a second one comes later, and then it stops."""
    async with world_of(seed, "one") as world:
        (one,) = world.processes
        row = world.row("x", "mixed")
        one.clock.step_wall_us(3_600_000_000)
        await one.coordinator.put(row, {"count": 1})
        one.clock.step_wall_us(-3_600_000_000)
        await one.coordinator.put(row, {"count": 2})
        answer = await one.coordinator.get(row)
        assert answer.row is not None
        assert answer.row["count"] == 2
        assert (await one.coordinator.health()).ready
        await world.process("two")
        await asyncio.sleep(ROUND_S)
        assert not await ready(one)


@seeded(seeds=3)
async def test_a_clock_that_was_set_back_a_little_stops_nobody(seed: int) -> None:
    """Goal: what a time daemon does is no reason to refuse, and later writes lie above earlier ones all the same. Method: a clock that is set
    back by less than the bound between two writes."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("x", "mixed")
        first = (await one.coordinator.put(row, {"count": 1})).stamp
        one.clock.step_wall_us(-450_000)
        second = (await one.coordinator.put(row, {"count": 2})).stamp
        assert first is not None
        assert second == first + 1
        assert await ready(one)
        assert await ready(two)


@seeded(seeds=3)
async def test_a_clock_that_is_set_while_the_sites_are_asked_is_compared_once_more(seed: int) -> None:
    """Goal: an answer to a question of before does not count as a comparison. Method: three sites 50 ms apart; a clock is set ahead while its process asks
    them, and at no moment from then on does it take a write without a lock."""
    world = wide.World(seed, ("ams", "bei", "irv"), 0.05, introduced=True)
    ams, _, _ = [await world.start_process(site) for site in ("ams", "bei", "irv")]
    await asyncio.sleep(5.0)
    clocks, plain = ams.coordinator._clocks, ams.coordinator._plain
    assert clocks is not None
    clocks.ask()
    await asyncio.sleep(0.02)
    ams.clock.step_wall_us(3_600_000_000)
    for _ in range(400):
        with pytest.raises(Unavailable):
            plain.next_stamp()
        await asyncio.sleep(0.005)
    assert plain.reasons == [CLOCK_IS_OFF]
    await world.close()


@seeded(seeds=3)
async def test_a_site_that_never_answers_keeps_nobody_from_comparing(seed: int) -> None:
    """Goal: it is asked all the time, and the others' answers count all the same. Method: one of three sites is cut off from another from the beginning;
    that one's clock is set ahead and back."""
    world = wide.World(seed, ("ams", "bei", "irv"), 0.05, introduced=True)
    world.network.cut("ams", "irv")
    world.network.cut("irv", "ams")
    ams, *_ = [await world.start_process(site) for site in ("ams", "bei", "irv")]
    await asyncio.sleep(5.0)
    plain = ams.coordinator._plain
    for step_us in (3_600_000_000, -3_600_000_000):
        ams.clock.step_wall_us(step_us)
        assert plain.reasons == [CLOCK_WAS_SET] or plain.skewed
        await asyncio.sleep(10.0)
        assert plain.skewed == (step_us > 0)
    plain.next_stamp()
    await world.close()
