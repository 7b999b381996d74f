"""Sites for the tests of the coordinator: one or more processes on one engine in memory, on the seeded loop."""

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
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.contract import Store
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.faults import Faults, FaultyCells, FaultyStore
from polysite.testing.loop import SimulatedClock, simulated_runtime
from polysite.testing.processes import MemoryChannel, MemorySlots
from polysite.values.keys import LockKey
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec, Writes


class Process:
    """One process: its coordinator, its own clock and what goes wrong between it and its engine."""

    def __init__(self, world: "World", name: str, **settings: Any) -> None:
        self.world = world
        self.runtime: Runtime = simulated_runtime(world.seed, process=name)
        self.address = f"memory:{name}"
        assert isinstance(self.runtime.clock, SimulatedClock)
        self.clock: SimulatedClock = self.runtime.clock
        self.faults = Faults(self.runtime)
        store: Store = FaultyStore(EmbeddedStore(world.engine), self.faults)
        cells: Cells = FaultyCells(EmbeddedCells(world.engine), self.faults)
        self.coordinator = SiteCoordinator(
            store,
            cells,
            self.runtime,
            SiteSettings(address=self.address, **settings),
            slots=world.slots,
            channel=world.channel,
        )

    async def start(self) -> None:
        await self.coordinator.start()
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
        self.slots = MemorySlots()
        self.channel = MemoryChannel()
        self.processes: list[Process] = []

    async def process(self, name: str, **settings: Any) -> Process:
        process = Process(self, name, **settings)
        await process.start()
        self.processes.append(process)
        return process

    def row(self, key: str, table: str = "votes") -> KeyName:
        return KeyName(keyspace="ks", table=table, key={"id": key})

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
