"""Several sites with distance between them, on the seeded loop: what Paxos does to changes that meet, in a few lines.

Rows and cells lie in one engine in memory; what takes a wide-area round trip takes its time on the way there and back. A
local read shows what the site's replica has been told by now. Two changes of one cell under way at once, from different
sites, disturb each other as on Cassandra: the later one is told `OutcomeUnknown`, made or not (engines.md section 4).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from polysite.api import KeyName
from polysite.cells.contract import CellAnswer, CellCosts, Cells, CellView
from polysite.cells.embedded import EmbeddedCells
from polysite.core import lock_cell
from polysite.core.lock_cell import LockCell
from polysite.engines.sqlite import SqliteEngine
from polysite.errors import OutcomeUnknown, SiteUnreachable
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.contract import Level, StoreCosts
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.loop import simulated_runtime
from polysite.testing.processes import MemorySlots
from polysite.values.keys import LockKey, RowKey
from polysite.values.rows import StoredRow, Write
from polysite.values.tables import KeyspaceSpec, TableSpec
from tests.support.sites import table_of

AGREE_S = 3.0


class Ocean:
    """What lies between the sites. `cut` sites reach nobody and nobody reaches them, at the engine and on the channel."""

    def __init__(self, seed: int, rtt_s: float) -> None:
        self.rtt_s = rtt_s
        self.runtime = simulated_runtime(seed, process="ocean")
        self.cut: set[str] = set()
        self.silent: set[str] = set()
        """Sites whose processes answer no message, though their engine works."""
        self.under_way: dict[bytes, list[str]] = {}
        self.history: dict[bytes, list[tuple[float, str, CellView]]] = {}
        self.changes = 0
        self.collisions = 0
        self.messages: list[tuple[str, str]] = []
        self.late: dict[str, float] = {}
        """Round trips that messages of a kind are late, as where a connection must be made first."""
        self.handlers: dict[str, tuple[str, Callable[[str, bytes], Any]]] = {}
        self.dawdling_s = 0.0
        """Every message takes up to so much longer, as between busy machines."""
        self.superseding_s: float | None = None
        """Changes and linearizable reads that meet supersede each other, as Paxos has it, and who was superseded tries again after
        up to so long; None: they disturb each other as `WideCells` says."""
        self.promised: dict[bytes, float] = {}

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def trips(self, count: float) -> None:
        if count:
            await asyncio.sleep(count * self.rtt_s)

    async def dawdle(self) -> None:
        if self.dawdling_s:
            await asyncio.sleep(self.runtime.randomness.uniform(0.0, self.dawdling_s))


class WideCells(Cells):
    """The cells as one site sees them."""

    name = "wide"
    costs = CellCosts(read_local=0, read=1, compare_and_set=2, compare_and_set_refused=1)
    capabilities = frozenset({"local_view", "durable"})

    def __init__(self, cells: EmbeddedCells, site: str, ocean: Ocean) -> None:
        self._cells, self._site, self._ocean = cells, site, ocean

    async def start(self) -> None:
        await self._cells.start()

    async def close(self) -> None:
        await self._cells.close()

    async def read_local(self, key: bytes) -> CellView:
        now_s, late_s = self._ocean.now_s(), self._ocean.rtt_s / 2
        for made_s, site, view in reversed(self._ocean.history.get(key, [])):
            if site == self._site or made_s + late_s <= now_s:
                return view
        return CellView(0, b"")

    async def read(self, key: bytes) -> CellView:
        if self._ocean.superseding_s is not None:
            await self._promise(key)
        else:
            await self._ocean.trips(1)
        self._reach()
        return await self._cells.read(key)

    async def _promise(self, key: bytes) -> float:
        """Ask for the promise of a majority: from then on no older proposal is accepted."""
        ballot = self._ocean.now_s() + self._ocean.runtime.randomness.uniform(0.0, 1e-6)
        await self._ocean.trips(0.5)
        if self._site in self._ocean.cut:
            await asyncio.sleep(AGREE_S)
            raise OutcomeUnknown("no answer came")
        self._ocean.promised[key] = max(ballot, self._ocean.promised.get(key, 0.0))
        await self._ocean.trips(0.5)
        return ballot

    async def _agree(self, key: bytes, expected_version: int, content: bytes, superseding_s: float) -> CellAnswer:
        """Promise, then proposal. Of the superseded half are tried again here, and half told their author nothing (`Paxos.cas`)."""
        ocean, uniform = self._ocean, self._ocean.runtime.randomness.uniform
        until_s = ocean.now_s() + AGREE_S
        ocean.changes += 1
        while True:
            ballot = await self._promise(key)
            await ocean.trips(0.5)
            self._reach()
            if ocean.promised[key] <= ballot:
                answer = await self._cells.compare_and_set(key, expected_version, content)
                if answer.applied:
                    ocean.history.setdefault(key, []).append((ocean.now_s(), self._site, answer.view))
                await ocean.trips(0.5)
                return answer
            ocean.collisions += 1
            await ocean.trips(0.5)
            pause_s = uniform(0.0, superseding_s)
            if uniform(0.0, 1.0) < 0.5 or ocean.now_s() + pause_s > until_s:
                raise OutcomeUnknown("superseded")
            await asyncio.sleep(pause_s)

    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        ocean = self._ocean
        if ocean.superseding_s is not None:
            return await self._agree(key, expected_version, content, ocean.superseding_s)
        under_way = ocean.under_way.setdefault(key, [])
        disturbed = any(site != self._site for site in under_way)
        under_way.append(self._site)
        ocean.changes += 1
        try:
            await ocean.trips(1)
            self._reach()
            if disturbed:
                ocean.collisions += 1
            made = not disturbed or ocean.runtime.randomness.uniform(0.0, 1.0) < 0.3
            answer = await self._cells.compare_and_set(key, expected_version, content) if made else None
            if answer is not None and answer.applied:
                ocean.history.setdefault(key, []).append((ocean.now_s(), self._site, answer.view))
            if disturbed:
                raise OutcomeUnknown("superseded")
            assert answer is not None
            await ocean.trips(1 if answer.applied else 0)
            return answer
        finally:
            under_way.remove(self._site)

    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        return await self._cells.keys(after, limit)

    def _reach(self) -> None:
        if self._site in self._ocean.cut:
            raise OutcomeUnknown("no answer came")


class WideStore(EmbeddedStore):
    """The rows as one site sees them: every read and write is a majority's, whatever level was asked for."""

    costs = StoreCosts(read_majority=1, write_majority=1)

    def __init__(self, engine: SqliteEngine, site: str, ocean: Ocean) -> None:
        super().__init__(engine)
        self.capabilities = self.capabilities - {"joint"}
        self._site, self._ocean = site, ocean

    async def read(self, table: TableSpec, key: RowKey, level: Level) -> StoredRow:
        if level == "majority":
            await self._ocean.trips(1)
        return await super().read(table, key, level)

    async def write(self, table: TableSpec, writes: Sequence[Write], level: Level) -> None:
        if level == "majority":
            await self._ocean.trips(0.5)
            if self._site in self._ocean.cut:
                raise OutcomeUnknown("no answer came")
        await super().write(table, writes, level)
        if level == "majority":
            await self._ocean.trips(0.5)


class WideChannel:
    """The peer channel of one site's process: a message takes half a round trip each way."""

    def __init__(self, site: str, ocean: Ocean) -> None:
        self._site, self._ocean = site, ocean

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:
        ocean = self._ocean
        ocean.messages.append((address, kind))
        site, handler = ocean.handlers.get(address, ("", None))
        try:
            async with asyncio.timeout(answer_s):
                await ocean.trips(0.5 + ocean.late.get(kind, 0))
                await ocean.dawdle()
                if handler is None:
                    raise SiteUnreachable("a process of ours cannot be reached")
                if {site, self._site} & ocean.cut or site in ocean.silent:
                    await asyncio.sleep(3600.0)
                answer: bytes = await handler(kind, body)
                await ocean.trips(0.5)
                await ocean.dawdle()
                return answer
        except TimeoutError:
            raise OutcomeUnknown("a process of ours did not answer", reason="peer") from None


class WideWorld:
    """The sites, by name, with one process each."""

    def __init__(self, seed: int, rtt_s: float) -> None:
        self.seed = seed
        self.ocean = Ocean(seed, rtt_s)
        self.engine = SqliteEngine(":memory:", clock=simulated_runtime(seed, process="engine").clock)
        self.sites: dict[str, SiteCoordinator] = {}

    async def site(self, name: str, **settings: Any) -> SiteCoordinator:
        runtime = simulated_runtime(self.seed, process=name)
        address = f"memory:{name}"
        coordinator = SiteCoordinator(
            WideStore(self.engine, name, self.ocean),
            WideCells(EmbeddedCells(self.engine), name, self.ocean),
            runtime,
            SiteSettings(
                site=name, address=address, majority_rtt_ms=round(self.ocean.rtt_s * 1000), sites=3, **settings
            ),
            slots=MemorySlots(),
            channel=WideChannel(name, self.ocean),
        )
        await coordinator.start()
        self.ocean.handlers[address] = (name, coordinator.handle_peer_message)
        self.sites[name] = coordinator
        return coordinator

    def row(self, key: str) -> KeyName:
        return KeyName(keyspace="ks", table="votes", key={"id": key})

    async def cell(self, key: str) -> LockCell:
        """The cell of a key as it is now."""
        view = await EmbeddedCells(self.engine).read(LockKey("ks", "votes", (key.encode(),)).encode())
        return lock_cell.decode(view.content)


@asynccontextmanager
async def wide_world(seed: int, *names: str, rtt_s: float = 0.05, **settings: Any) -> AsyncIterator[WideWorld]:
    """Three sites (or those named) and the table votes; ended clean."""
    world = WideWorld(seed, rtt_s)
    await world.engine.start()
    for name in names or ("ams", "bei", "irv"):
        await world.site(name, **settings)
    first = next(iter(world.sites.values()))
    await first.create_keyspace(KeyspaceSpec(name="ks"))
    await first.create_table(table_of("votes", "sections"))
    await asyncio.sleep(2.0)
    yield world
    for coordinator in world.sites.values():
        await coordinator.close()
    await world.engine.close()
