"""What goes wrong in a simulated world, as data: named faults, when each begins and how long it lasts.

    schedule = swarm(SeededRandomness(17), sites=("ams", "bei", "irv"), lasts_s=30.0)
    await carry_out(world, schedule)

A fault is done to a world and undone again; where two of one kind overlap, the first that ends ends both. All that is still on at the end is undone by `mend`. `swarm` draws which faults a run
has at all, and then when: runs that leave most faults out find what runs with a little of everything do not (Groce and others,
Swarm Testing, 2012).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.cells import Doubt
from polysite.testing.world.link_faults import LINK_FAULTS
from polysite.testing.world.network import Weather
from polysite.testing.world.rows import Carelessness
from polysite.testing.world.world import World

SHARE_OF_NAMES = 0.35
"""How likely a run has a fault at all."""

SLOW_S_MAX = 1.0
"""How much longer a message takes over a slow link, at most."""

TIMES_MAX = 3
"""How often it has it, at most."""

DRIFT_MAX = 0.045
"""How much faster or slower than time a clock runs, at most. Of two clocks, one this fast and one this slow, a lease's margin of a tenth is more than
they differ (`locks.md` 6.5); what differs by more is outside of what is promised."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fault: `name` is one of NAMES, `site` and `other` whom it strikes, `amount` how much of it."""

    at_s: float
    lasts_s: float
    name: str
    site: str = ""
    other: str = ""
    amount: float = 0.0


async def _freeze(world: World, fault: Fault) -> None:
    process = world.process(fault.site)
    if process is not None:
        process.freeze()


async def _thaw(world: World, fault: Fault) -> None:
    for process in world.processes[fault.site]:
        process.thaw()


async def _kill(world: World, fault: Fault) -> None:
    await world.kill(fault.site)


async def _restart(world: World, fault: Fault) -> None:
    if world.process(fault.site) is None:
        await world.start_process_soon(fault.site)


async def _kill_engine(world: World, fault: Fault) -> None:
    world.network.stop_engine(fault.site)


async def _start_engine(world: World, fault: Fault) -> None:
    world.network.start_engine(fault.site)


async def _cut_off(world: World, fault: Fault) -> None:
    world.network.cut_off(fault.site)


async def _join(world: World, fault: Fault) -> None:
    for other in world.network.sites:
        world.network.heal(fault.site, other)
        world.network.heal(other, fault.site)


async def _cut(world: World, fault: Fault) -> None:
    world.network.cut(fault.site, fault.other)
    world.network.cut(fault.other, fault.site)


async def _uncut(world: World, fault: Fault) -> None:
    world.network.heal(fault.site, fault.other)
    world.network.heal(fault.other, fault.site)


async def _cut_one_way(world: World, fault: Fault) -> None:
    world.network.cut(fault.site, fault.other)


async def _slow(world: World, fault: Fault) -> None:
    world.network.slow_s[fault.site, fault.other] = fault.amount * SLOW_S_MAX


async def _quicken(world: World, fault: Fault) -> None:
    world.network.slow_s.pop((fault.site, fault.other), None)


async def _fill_disk(world: World, fault: Fault) -> None:
    world.rows.replicas[fault.site].full = True


async def _empty_disk(world: World, fault: Fault) -> None:
    world.rows.replicas[fault.site].full = False


async def _another_process(world: World, fault: Fault) -> None:
    if world.process(fault.site) is not None:
        await world.start_process_soon(fault.site)


async def _nothing(_world: World, _fault: Fault) -> None:
    return


async def _drift(world: World, fault: Fault) -> None:
    for process in world.processes[fault.site]:
        process.drift(1.0 + fault.amount * DRIFT_MAX)


async def _keep_time(world: World, fault: Fault) -> None:
    for process in world.processes[fault.site]:
        process.drift(1.0)


async def _step_clock(world: World, fault: Fault) -> None:
    for process in world.processes[fault.site]:
        process.clock.step_wall_us(round(fault.amount * 3600e6))


def _set(of: Callable[[World], Any], name: str, most: float) -> "tuple[_Act, _Act]":
    """A rate of the world that is `amount` of `most` while the fault lasts."""

    async def begin(world: World, fault: Fault) -> None:
        setattr(of(world), name, abs(fault.amount) * most)

    async def end(world: World, _fault: Fault) -> None:
        setattr(of(world), name, 0.0)

    return begin, end


def _turn_off(of: Callable[[World], Any], name: str) -> "tuple[_Act, _Act]":
    async def begin(world: World, _fault: Fault) -> None:
        setattr(of(world), name, False)

    async def end(world: World, _fault: Fault) -> None:
        setattr(of(world), name, True)

    return begin, end


_Act = Callable[[World, Fault], Awaitable[None]]


def _weather(world: World) -> Weather:
    return world.network.weather


def _doubt(world: World) -> Doubt:
    return world.registers.doubt


def _careless(world: World) -> Carelessness:
    return world.rows.carelessness


NO_READ_REPAIR = "no read repair"

NAMES: dict[str, tuple[_Act, _Act]] = {
    "site cut off": (_cut_off, _join),
    "link cut": (_cut, _uncut),
    "link cut one way": (_cut_one_way, _uncut),
    "engine down": (_kill_engine, _start_engine),
    "process frozen": (_freeze, _thaw),
    "process killed": (_kill, _restart),
    "another process": (_another_process, _nothing),
    "disk full": (_fill_disk, _empty_disk),
    "clock drifts": (_drift, _keep_time),
    "clock steps": (_step_clock, _nothing),
    "messages lost": _set(_weather, "loss", 0.2),
    "messages late": _set(_weather, "late", 0.3),
    "messages doubled": _set(_weather, "doubled", 0.5),
    "messages jitter": _set(_weather, "jitter_s", 0.1),
    "changes lost before": _set(_doubt, "lost_before", 0.2),
    "changes lost after": _set(_doubt, "lost_after", 0.2),
    "changes left": _set(_doubt, "left", 0.2),
    "commits missed": _set(_doubt, "missed", 0.5),
    "views stale": _set(_doubt, "stale", 0.5),
    "changes superseded": _set(_doubt, "superseded", 0.5),
    "writes missed": _set(_careless, "missed", 0.5),
    "no hints": _turn_off(_careless, "hints"),
    NO_READ_REPAIR: _turn_off(_careless, "read_repair"),
}
"""Name → how it begins and how it ends."""

EVERY: dict[str, tuple[_Act, _Act]] = {**NAMES, **LINK_FAULTS}
"""Also those of the links between clients and servers."""

ASKED_FOR: dict[str, tuple[_Act, _Act]] = {"link slow one way": (_slow, _quicken)}
"""No swarm draws these: they are for plans that name them."""


def swarm(
    randomness: SeededRandomness, *, sites: Sequence[str], lasts_s: float, names: Sequence[str] = ()
) -> list[Fault]:
    """Faults for a run of that length, in order of their beginning. `names`: only these; none: all."""
    chosen = [name for name in (names or NAMES) if randomness.uniform(0.0, 1.0) < SHARE_OF_NAMES]
    faults: list[Fault] = []
    for name in chosen:
        for _ in range(1 + randomness.below(TIMES_MAX)):
            site = sites[randomness.below(len(sites))]
            others = [other for other in sites if other != site]
            lasts = randomness.uniform(0.1, 1.0) ** 2 * lasts_s / 2
            faults.append(
                Fault(
                    at_s=randomness.uniform(0.0, lasts_s * 0.9),
                    lasts_s=lasts,
                    name=name,
                    site=site,
                    other=others[randomness.below(len(others))] if others else "",
                    amount=randomness.uniform(-1.0, 1.0),
                )
            )
    return sorted(faults, key=lambda fault: (fault.at_s, fault.name, fault.site))


async def carry_out(world: World, schedule: Sequence[Fault], lasts_s: float) -> None:
    """Let the faults happen, for so long, and mend what is left."""
    moments: list[tuple[float, int, _Act, Fault]] = []
    for number, fault in enumerate(schedule):
        begin, end = (EVERY | ASKED_FOR)[fault.name]
        moments.append((fault.at_s, 2 * number, begin, fault))
        moments.append((fault.at_s + fault.lasts_s, 2 * number + 1, end, fault))
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for at_s, _, act, fault in sorted(moments, key=lambda moment: moment[:2]):
        if at_s > lasts_s:
            break
        await asyncio.sleep(max(0.0, began_s + at_s - loop.time()))
        await act(world, fault)
    await asyncio.sleep(max(0.0, began_s + lasts_s - loop.time()))
    await mend(world)


async def mend(world: World) -> None:
    """Undo every fault, and start a process where there is none."""
    world.network.heal()
    world.links.heal()
    world.network.weather = Weather()
    world.registers.doubt = Doubt()
    world.rows.carelessness = Carelessness()
    for site in world.network.sites:
        world.network.start_engine(site)
        world.rows.replicas[site].full = False
        for process in world.processes[site]:
            process.thaw()
            process.drift(1.0)
    for site in world.network.sites:
        if world.process(site) is None:
            await world.start_process_soon(site)
