"""Several sites with their replicas, cells and processes, on the running loop: what faults are done to and clients talk with."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from polysite.clock import Randomness
from polysite.errors import PolysiteError
from polysite.site import SiteSettings
from polysite.testing.processes import MemorySlots
from polysite.testing.simulated import SeededRandomness, SimulatedClock
from polysite.testing.world.cells import Registers, WorldCells
from polysite.testing.world.links import Links
from polysite.testing.world.network import Network
from polysite.testing.world.processes import Addresses, Process
from polysite.testing.world.rows import Rows, WorldStore

SITES = ("ams", "bei", "irv")


class World:
    """The sites, by name, with a process each to begin with. `randomness` decides what the world does by chance."""

    def __init__(
        self,
        seed: int | str,
        sites: tuple[str, ...] = SITES,
        rtt_s: Mapping[frozenset[str], float] | float = 0.05,
        *,
        introduced: bool = False,
    ) -> None:
        """`introduced`: processes know of the other sites, as they do in earnest, and ask them for the time; a new one starts with the
        time that its machine has, and not with the one that the run began with."""
        self.seed = seed
        self.introduced = introduced
        self.randomness: Randomness = SeededRandomness(f"{seed}/world")
        self.network = Network(sites, self.randomness, rtt_s)
        self.rows = Rows(self.network, self.randomness, SimulatedClock())
        self.registers = Registers(self.network, self.randomness)
        self.addresses = Addresses(self.network)
        self.processes: dict[str, list[Process]] = {site: [] for site in sites}
        self.links = Links(seed, self.processes)
        self._slots = {site: MemorySlots() for site in sites}
        self._numbers = 0
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Future[None]] = set()

    async def start_process(self, site: str, **settings: Any) -> Process:
        """Another process of that site. `settings` are those of `SiteSettings`."""
        self._numbers += 1
        if self.introduced:
            settings.setdefault("peers", {other: f"memory:{other}/1" for other in self.network.sites})
        before = self.process(site)
        process = Process(
            self.addresses,
            site,
            self._numbers,
            WorldStore(self.rows, site),
            WorldCells(self.registers, site),
            self._slots[site],
            seed=self.seed,
            settings=SiteSettings(
                site=site,
                address=f"memory:{site}/{self._numbers}",
                sites=len(self.network.sites),
                **{"majority_rtt_ms": round(self.network.majority_rtt_s(site) * 1000), **settings},
            ),
        )
        if self.introduced:
            machine = self.rows.clock if before is None or before.gate.is_frozen else before.clock
            process.clock.step_wall_us(machine.wall_us() - process.clock.wall_us())
        self.processes[site].append(process)
        await process.start()
        return process

    async def start_process_soon(self, site: str, **settings: Any) -> None:
        """Have another process of that site start, as soon as its engine lets it: who asks does not wait for it."""
        self._starting.add(asyncio.ensure_future(self._start(site, **settings)))

    async def _start(self, site: str, **settings: Any) -> None:
        try:
            await self.start_process(site, **settings)
        except PolysiteError:
            process = self.processes[site][-1]
            await process.kill()
            await asyncio.sleep(1.0)
            if self.process(site) is None:
                await self._start(site, **settings)

    def now_s(self) -> float:
        """The one true time."""
        return self._loop.time()

    def process(self, site: str) -> Process | None:
        """The newest living process of that site."""
        return next((process for process in reversed(self.processes[site]) if not process.gate.dead), None)

    def living(self, site: str) -> list[Process]:
        """Its processes that are not dead, the oldest first."""
        return [process for process in self.processes[site] if not process.gate.dead]

    async def kill(self, site: str) -> None:
        """All processes of the site, at this moment."""
        for process in self.processes[site]:
            if not process.gate.dead:
                await process.kill()

    async def close(self) -> None:
        """End all processes in order."""
        await asyncio.gather(*self._starting)
        for processes in self.processes.values():
            for process in processes:
                if not process.gate.dead:
                    process.thaw()
                    await process.close()


@asynccontextmanager
async def world(
    seed: int | str,
    sites: tuple[str, ...] = SITES,
    rtt_s: Mapping[frozenset[str], float] | float = 0.05,
    **settings: Any,
) -> AsyncIterator[World]:
    """A world with a running process at each site; ended clean."""
    made = World(seed, sites, rtt_s)
    await asyncio.gather(*(made.start_process(site, **settings) for site in sites))
    yield made
    await made.close()
