"""One scenario in a simulated world: sites go down and come back as it says, clients ask all the while, and what became of their requests is counted."""

import asyncio
from typing import NamedTuple

import msgspec

from polysite.testing.loop import run_traced
from polysite.testing.nines.requests import KEYSPACE, PER_SITE_S, TABLES, Door, Failure, Tally, Ways
from polysite.testing.nines.strata import Scenario, SiteChange
from polysite.testing.world.world import World
from polysite.values.tables import KeyspaceSpec

SITES = ("ams", "bei", "irv", "gru", "syd")
RTT_S = 0.05
"""Between any two sites: with distances that differ, a majority would change its length when a site goes down."""

JITTER_S = 0.002
LATE, LATE_S = 0.001, 0.3
"""The share of messages that are sent again on their way, and what that takes at most."""

WARM_S = 6.0
"""How long requests are made before anything is counted: leases of those that went down before are over, engines have noticed."""

LIMIT_S = 600.0
STEPS_MAX = 20_000_000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run. `expected`: how many requests begin on average in what was counted."""

    expected: float
    requests: int
    failures: list[Failure]
    slowest_s: float
    slow: int
    again: int
    trace_hash: str
    steps: int

    @property
    def failed(self) -> float:
        """The share that failed: of those expected, so that runs with many requests count as much as others."""
        return len(self.failures) / self.expected


def carried_out(scenario: Scenario, *, sites: int, seed: str) -> Outcome:
    """The run of a scenario: the same scenario and seed, the same outcome."""
    done = run_traced(lambda: _run(scenario, SITES[:sites], seed), seed=seed, limit_s=LIMIT_S, limit_steps=STEPS_MAX)
    tally = done.result
    return Outcome(
        expected=sites * PER_SITE_S * (scenario.to_s - scenario.from_s),
        requests=tally.requests,
        failures=tally.failures,
        slowest_s=tally.slowest_s,
        slow=tally.slow,
        again=tally.again,
        trace_hash=done.trace_hash,
        steps=done.steps,
    )


async def _run(scenario: Scenario, sites: tuple[str, ...], seed: str) -> Tally:
    world = World(seed, sites, RTT_S)
    first, *_ = await asyncio.gather(*(world.start_process(site) for site in sites))
    await first.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    for spec in TABLES:
        await first.coordinator.create_table(spec)
    world.network.weather.jitter_s = JITTER_S
    world.network.weather.late, world.network.weather.late_s = LATE, LATE_S
    places = Places(world, Ways(sites))
    for number, outage in scenario.down.items():
        await places.take_down(sites[number], outage)
    zero_s = world.now_s() + WARM_S + max(0.0, -scenario.from_s)
    tally = Tally()
    counted = _Counted(zero_s + scenario.from_s, zero_s + scenario.to_s)
    doors = [Door(world, places.ways, site, counted.has, tally) for site in sites]
    async with asyncio.TaskGroup() as group:
        for door in doors:
            group.create_task(door.serve(zero_s + scenario.to_s), name="door")
        for change in scenario.changes:
            await asyncio.sleep(zero_s + change.at_s - world.now_s())
            await places.change(sites[change.site], change)
    for site in sites:
        await world.kill(site)
    tally.failures = [msgspec.structs.replace(failure, began_s=failure.began_s - zero_s) for failure in tally.failures]
    return tally


class _Counted(NamedTuple):
    from_s: float
    to_s: float

    def has(self, began_s: float) -> bool:
        return self.from_s <= began_s < self.to_s


class Places:
    """Takes sites of a world down and brings them back."""

    def __init__(self, world: World, ways: Ways) -> None:
        self._world = world
        self.ways = ways

    async def change(self, site: str, change: SiteChange) -> None:
        if change.to == "down":
            await self.take_down(site, change.outage)
        else:
            await self.bring_back(site)

    async def take_down(self, site: str, outage: str) -> None:
        """At this moment: "stopped" and "dark" end engine and process, "dark" and "cut off" let nothing in or out any more."""
        self.ways.down[site] = outage
        if outage != "stopped":
            self._world.network.cut_off(site)
        if outage != "cut off":
            self._world.network.stop_engine(site)
            await self._world.kill(site)

    async def bring_back(self, site: str) -> None:
        """The engine is there at once, its process as soon as it has started."""
        self._note_majority()
        outage = self.ways.down.pop(site)
        for other in self._world.network.sites:
            if not self.ways.is_silent(other):
                self._world.network.heal(site, other)
                self._world.network.heal(other, site)
        self._world.network.start_engine(site)
        if outage != "cut off":
            await self._world.start_process_soon(site)

    def _note_majority(self) -> None:
        if not self.ways.has_majority:
            self.ways.lost_majority_s = self._world.now_s()
