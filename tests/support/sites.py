"""Sites for the tests of the coordinator: processes of one or more sites on one engine in memory, on the seeded loop.

The engine is shared and quick whatever the sites; the peer channel between sites takes as long as they are apart.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from polysite.api import KeyName
from polysite.cells.contract import Cells
from polysite.cells.embedded import EmbeddedCells
from polysite.clock import Runtime
from polysite.core import lock_cell
from polysite.core.lock_cell import LockCell
from polysite.engines.sqlite import SqliteEngine
from polysite.errors import OutcomeUnknown
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.contract import Store
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.faults import Faults, FaultyCells, FaultyStore
from polysite.testing.loop import SimulatedClock, simulated_runtime
from polysite.testing.processes import MemoryChannel, MemorySlots
from polysite.values.keys import LockKey
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec, Writes


class Line:
    """The channel of the processes of one site: what goes to another site takes its time there and back."""

    def __init__(self, world: "World", site: str) -> None:
        self._world = world
        self._site = site

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:
        world = self._world
        rtt_s = world.rtt_s.get(frozenset({self._site, world.site_of.get(address, self._site)}), 0.0)
        if not rtt_s:
            return await world.channel.send(address, kind, body, answer_s=answer_s)
        try:
            async with asyncio.timeout(answer_s):
                await asyncio.sleep(rtt_s / 2)
                answer = await world.channel.send(address, kind, body, answer_s=answer_s)
                await asyncio.sleep(rtt_s / 2)
        except TimeoutError:
            raise OutcomeUnknown("a process of ours did not answer", reason="peer") from None
        return answer


class Process:
    """One process: its coordinator, its own clock and what goes wrong between it and its engine."""

    def __init__(
        self, world: "World", name: str, *, site: str = "local", address: str | None = None, **settings: Any
    ) -> None:
        self.world = world
        self.site = site
        self.runtime: Runtime = simulated_runtime(world.seed, process=name)
        self.address = address or f"memory:{name}"
        assert isinstance(self.runtime.clock, SimulatedClock)
        self.clock: SimulatedClock = self.runtime.clock
        self.faults = Faults(self.runtime)
        store: Store = FaultyStore(EmbeddedStore(world.engine), self.faults)
        cells: Cells = FaultyCells(EmbeddedCells(world.engine), self.faults)
        self.coordinator = SiteCoordinator(
            store,
            cells,
            self.runtime,
            SiteSettings(site=site, address=self.address, **settings),
            slots=world.slots.setdefault(site, MemorySlots()),
            channel=Line(world, site),
        )

    async def start(self) -> None:
        await self.coordinator.start()
        self.join()

    def join(self, address: str | None = None) -> None:
        """Be reached there from now on."""
        self.address = address or self.address
        self.world.site_of[self.address] = self.site
        self.world.channel.join(self.address, self.coordinator.handle_peer_message)

    async def kill(self) -> None:
        """End it as SIGKILL does."""
        self.world.channel.leave(self.address)
        await self.coordinator.abandon()

    async def close(self) -> None:
        await self.coordinator.close()
        self.world.channel.leave(self.address)


class World:
    """One engine in memory and the processes on it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.engine = SqliteEngine(":memory:", clock=simulated_runtime(seed, process="engine").clock)
        self.slots: dict[str, MemorySlots] = {}
        self.channel = MemoryChannel()
        self.rtt_s: dict[frozenset[str], float] = {}
        """Round trips on the channel between two sites; 0 if nothing is said."""
        self.site_of: dict[str, str] = {}
        """By address."""
        self.processes: list[Process] = []

    async def process(self, name: str, **settings: Any) -> Process:
        process = Process(self, name, **settings)
        await process.start()
        self.processes.append(process)
        return process

    def row(self, key: str, table: str = "votes") -> KeyName:
        return KeyName(keyspace="ks", table=table, key={"id": key})

    def apart(self, one: str, other: str, rtt_s: float) -> None:
        """Two sites are so far apart from now on."""
        self.rtt_s[frozenset({one, other})] = rtt_s

    async def cell(self, key: str, table: str = "votes") -> LockCell:
        """The cell of a key as it is now, read past every fault."""
        view = await EmbeddedCells(self.engine).read(LockKey("ks", table, (key.encode(),)).encode())
        return lock_cell.decode(view.content)


def table_of(name: str, writes: Writes) -> TableSpec:
    columns = (ColumnSpec("id", "text"), ColumnSpec("count", "int"), ColumnSpec("note", "text"))
    return TableSpec(keyspace="ks", name=name, columns=columns, partition_key=("id",), writes=writes)


@asynccontextmanager
async def world_of(seed: int, *names: str, **settings: Any) -> AsyncIterator[World]:
    """A world with these processes (one if none is named) and the tables votes and mixed; ended clean."""
    world = World(seed)
    # The engine outlives every process, as a file does.
    await world.engine.start()
    for name in names or ("one",):
        await world.process(name, **settings)
    first = world.processes[0].coordinator
    await first.create_keyspace(KeyspaceSpec(name="ks"))
    for name, writes in (("votes", "sections"), ("mixed", "mixed")):
        await first.create_table(table_of(name, writes))  # type: ignore[arg-type]
    yield world
    for process in world.processes:
        await process.close()
    # Effects that come late come now.
    await asyncio.sleep(5.0)
    await world.engine.close()


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Let time pass until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + limit_s
    while not condition():
        assert loop.time() < deadline_s, "it did not happen in time"
        await asyncio.sleep(0.01)
