"""Two machines whose data folders are copies of one: never do two processes go on under one name without a word."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from polysite.engines.sqlite import SqliteEngine
from polysite.errors import PolysiteError, Unavailable
from polysite.site.naming import NAME_IS_DOUBLED
from polysite.site.processes import LoneSlot, Registry
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.loop import seeded, simulated_runtime
from polysite.testing.processes import MemorySlots
from tests.support.sites import Process, World, world_of

BEAT_S = 5.0
LEASE_MS = 10_000


def copy_of_folder(world: World, *, starts: int = 0, drawn: str = "bb22") -> None:
    """Processes that are made from now on run on another machine, whose data folder has the letters of the first one; there it was
    started so often since."""
    slots = MemorySlots(letters=["aa11", drawn])
    for _ in range(starts):
        slots.take().release()
    world.slots["local"] = slots


def name(process: Process) -> str:
    return process.coordinator._context.author.process


async def one_on(world: World) -> Process:
    """A process on the first machine."""
    world.slots["local"] = MemorySlots(letters=["aa11", "cc33"])
    one = await world.process("one")
    assert name(one) == "p1-aa11"
    return one


async def works(process: Process, key: str) -> None:
    """A section, and nothing is told of its name. (A simulated clock begins anew with each process, so that clocks may be off.)"""
    await process.coordinator.put(process.world.row(key), {"count": 1}, level="atomic")
    assert NAME_IS_DOUBLED not in (await process.coordinator.health()).reasons


@seeded(seeds=3)
@pytest.mark.parametrize(("starts", "reached"), [(0, True), (0, False), (1, True), (5, True)])
async def test_a_copy_takes_another_name(seed: int, starts: int, reached: bool) -> None:
    """Goal: who starts on a copy while the original lives takes another name before it does anything, whatever incarnation it would
    have: an equal or smaller one shows in the registry, a larger one would be the end of the original, which answers a hello. Method: a
    copy that was started so often; the original holds a lock that the other must not take before its lease is over."""
    async with world_of(seed, "zero") as world:
        one = await one_on(world)
        lock = await one.coordinator.acquire([world.row("a")], lease_ms=LEASE_MS)
        copy_of_folder(world, starts=starts)
        if not reached:
            world.channel.cut.add(one.address)
        two = await world.process("two")
        assert (name(one), name(two)) == ("p1-aa11", "p1-bb22")
        waiting = await two.coordinator.acquire([world.row("a")], wait_ms=LEASE_MS // 2)
        assert not waiting.held
        await one.coordinator.put(world.row("a"), {"count": 1}, level="critical", reference=lock.reference)
        await asyncio.sleep(3 * BEAT_S)
        for process in (one, two):
            await works(process, name(process))
        assert one.coordinator._clocks is not None
        assert "" not in one.coordinator._clocks._peers


@seeded(seeds=3)
async def test_a_copy_that_cannot_reach_the_original(seed: int) -> None:
    """Goal: two that could not know of each other when the second started know it at the next beat: the older one, which is taken to be
    dead from then on, does no more and says why; started again it has a new name. Method: the address of the first cannot be reached."""
    async with world_of(seed, "zero") as world:
        one = await one_on(world)
        first = world.slots["local"]
        lock = await one.coordinator.acquire([world.row("a")], lease_ms=LEASE_MS)
        (entry,) = (await world.cell("a")).queue
        entry = msgspec.structs.replace(entry, incarnation="0")
        world.channel.cut.add(one.address)
        copy_of_folder(world, starts=1)
        two = await world.process("two")
        assert name(two) == "p1-aa11"
        events = one.coordinator.events()
        await asyncio.sleep(2 * BEAT_S)
        told = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                async for event in events:
                    told.append((event.kind, event.detail))
        assert ("health", NAME_IS_DOUBLED) in told
        assert ("released", NAME_IS_DOUBLED) in told
        health = await one.coordinator.health()
        assert (health.ready, health.reasons) == (False, [NAME_IS_DOUBLED])
        calls = (
            one.coordinator.put(world.row("a"), {"count": 1}, level="critical", reference=lock.reference),
            one.coordinator.acquire([world.row("b")]),
            one.coordinator.get(world.row("b")),
        )
        for call in calls:
            with pytest.raises(Unavailable, match="copy of its data folder"):
                await call
        await works(two, "b")
        # What it knows of names it knows of two folders.
        assert not await one.coordinator._tenures.is_dead(entry)
        await one.close()
        slot = first.take()
        assert slot.process == "p1-cc33"
        slot.release()
        world.slots["local"] = first
        three = await world.process("three")
        assert name(three) == "p1-cc33"
        await asyncio.sleep(2 * BEAT_S)
        for process in (two, three):
            await works(process, name(process))


class LateStore(EmbeddedStore):
    """A store whose writes wait until they may go on."""

    def __init__(self, engine: SqliteEngine) -> None:
        super().__init__(engine)
        self.may_write = asyncio.Event()

    async def write(self, *arguments: Any, **named: Any) -> Any:
        await self.may_write.wait()
        return await super().write(*arguments, **named)


@seeded(seeds=3)
async def test_clocks_do_not_hide_it(seed: int) -> None:
    """Goal: as above when the copy's clock is far behind, so that what it writes of itself would always be older than what the original
    writes. Method: an hour; and the original's beat is under way, past its look, while the copy's first one is made."""
    async with world_of(seed) as world:
        store, late = EmbeddedStore(world.engine), LateStore(world.engine)
        clocks = [world.processes[0].clock, simulated_runtime(seed, process="behind").clock]
        clocks[1].step_wall_us(-3_600_000_000)  # type: ignore[attr-defined]
        slots = (LoneSlot("p9-aa11", 1), LoneSlot("p9-aa11", 2))
        one, two = (
            Registry(stored, clock, site="local", slot=slot, address=None, watched=True)
            for stored, clock, slot in zip((late, store), clocks, slots, strict=True)
        )
        late.may_write.set()
        await one.beat()
        late.may_write.clear()
        await asyncio.sleep(BEAT_S)
        beat = asyncio.ensure_future(one.beat())
        await asyncio.sleep(0.1)
        await two.beat()
        late.may_write.set()
        await beat
        for registry in (two, one):
            await asyncio.sleep(BEAT_S)
            await registry.beat()
        assert [one.doubled, two.doubled] == [True, False]


@seeded(seeds=3)
async def test_a_start_after_a_crash_keeps_the_name(seed: int) -> None:
    """Goal: a name is not given up for nothing: locks of the incarnation before are taken over at once. Method: a kill, with the clock set
    back an hour, and with somebody else at the old address; a farewell."""
    async with world_of(seed, "zero") as world:
        one = await one_on(world)
        lock = await one.coordinator.acquire([world.row("a")], lease_ms=600_000)
        await one.kill()
        world.processes.remove(one)
        two = Process(world, "two", address="memory:elsewhere")
        two.clock.step_wall_us(-3_600_000_000)
        world.channel.join(one.address, world.processes[0].coordinator.handle_peer_message)
        await two.start()
        assert name(two) == "p1-aa11"
        await asyncio.sleep(2 * BEAT_S)
        await two.coordinator.put(world.row("a"), {"count": 1}, level="critical", reference=lock.reference)
        await two.close()
        three = await world.process("three")
        assert name(three) == "p1-aa11"
        await works(three, "b")


@seeded(seeds=3)
async def test_names_run_out(seed: int) -> None:
    """Goal: a start that finds every name taken ends with an error instead of going on. Method: letters that are drawn again and again."""
    async with world_of(seed, "zero") as world:
        await one_on(world)
        world.slots["local"] = MemorySlots(letters=["aa11"] * 9)
        two = Process(world, "two")
        with pytest.raises(PolysiteError, match="somebody else's"):
            await two.start()
        await two.close()
