"""The processes of one site: who they are, where they are reached, and which of them are known to be dead.

Each process holds a slot: a name ("p1") and an incarnation that is higher at every start, guarded by an exclusive lock on
a file of the data folder, which the operating system frees when the process dies. Each also writes a row about itself
into the reserved keyspace. A refused connection proves nothing; a freed lock, a farewell or a newer incarnation does.

All that holds while a name is given by one folder only. Two machines with copies of one folder would call each other's processes dead; so
where names end with letters of a folder, each process looks whether somebody else writes its row (`naming`).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from polysite.clock import Clock
from polysite.errors import PolysiteError
from polysite.stores.contract import Store
from polysite.values.keys import RowKey
from polysite.values.rows import Put, StoredRow
from polysite.values.tables import RESERVED_KEYSPACE, ClusteringColumn, ColumnSpec, TableSpec

PROCESSES = TableSpec(
    keyspace=RESERVED_KEYSPACE,
    name="processes",
    columns=(
        ColumnSpec("site", "text"),
        ColumnSpec("process", "text"),
        ColumnSpec("incarnation", "bigint"),
        ColumnSpec("address", "text"),
        ColumnSpec("seen_us", "bigint"),
        ColumnSpec("farewell", "boolean"),
    ),
    partition_key=("site",),
    clustering_key=(ClusteringColumn("process"),),
    writes="eventual",
)
PROCESSES_MAX = 1_000


class ProcessSlot(Protocol):
    """A slot that this process holds until it lets go or dies."""

    @property
    def process(self) -> str: ...

    @property
    def incarnation(self) -> int: ...

    def release(self) -> None:
        """Let go; the next taker gets a higher incarnation."""
        ...


class ProcessSlots(Protocol):
    """The slots of one data folder."""

    @property
    def lettered(self) -> bool:
        """Whether names end with letters that were drawn for the folder, as where several machines serve a site."""
        ...

    def take(self) -> ProcessSlot:
        """Hold the first free slot under an incarnation that no process had before."""
        ...

    def is_dead(self, process: str, incarnation: int) -> bool:
        """True only if that incarnation cannot be running any more: its lock was free, or a newer one was made."""
        ...

    def rename(self) -> None:
        """Draw new letters (if `lettered`): what is taken from now on has a name that nobody had."""
        ...


class LoneSlot(NamedTuple):
    """The slot of a process that shares its engine with nobody (`:memory:`)."""

    process: str = "p1"
    incarnation: int = 1

    def release(self) -> None:
        """Nobody is waiting for it."""


class LoneSlots:
    """Slots of an engine that one process has to itself."""

    lettered = False

    def take(self) -> LoneSlot:
        return LoneSlot()

    def is_dead(self, process: str, incarnation: int) -> bool:  # noqa: ARG002
        return False

    def rename(self) -> None:
        """There are no letters."""


class ProcessRow(NamedTuple):
    """What a process says about itself."""

    site: str
    process: str
    incarnation: int
    address: str | None
    seen_us: int
    farewell: bool


class Registry:
    """Reads and writes the rows in which processes say who and where they are."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        site: str,
        slot: ProcessSlot,
        address: str | None,
        watched: bool = False,
    ) -> None:
        """`watched`: look at every beat whether somebody else has this process's name, too."""
        self.doubled = False
        """Whether somebody else does. Nothing is written any more then."""
        self.on_doubled: Callable[[], None] = lambda: None
        """Called once, when a beat finds it."""
        self._watched = watched
        self._store = store
        self._clock = clock
        self._site = site
        self._slot = slot
        self._address = address
        self._last_stamp = 0

    @property
    def address(self) -> str | None:
        """Where this process is reached, None if it is not known."""
        return self._address

    def moved_to(self, address: str) -> None:
        """Tell this address from the next beat on: the server knows its port only once it listens."""
        self._address = address

    async def beat(self, *, farewell: bool = False) -> None:
        """Write this process's row anew, unless it is found that somebody else has the name."""
        types = PROCESSES.types
        if self.doubled:
            return
        if self._watched or not self._last_stamp:
            stored = await self._store.read(PROCESSES, self._key(self._slot.process), "local")
            if self._is_of_another(stored):
                self.doubled = True
                self.on_doubled()
                return
        wall_us = self._clock.wall_us()
        self._last_stamp = stamp = max(wall_us, self._last_stamp + 1)
        cells: dict[str, bytes | None] = {
            "incarnation": types["incarnation"].serialise(self._slot.incarnation),
            "address": None if self._address is None else types["address"].serialise(self._address),
            "seen_us": types["seen_us"].serialise(wall_us),
            "farewell": types["farewell"].serialise(farewell),
        }
        await self._store.write(PROCESSES, [Put(key=self._key(self._slot.process), cells=cells, stamp=stamp)], "local")

    def _is_of_another(self, stored: StoredRow) -> bool:
        """Whether somebody else wrote the row last, with an incarnation that this folder did not make before this process's own.

        The process that had the slot before had a smaller one. Its clock may have been ahead of this one, and so may that of somebody
        who has the name as well: what is written next is newer than either, so that he sees it.
        """
        stamp, before = max((cell.stamp for cell in stored.cells.values()), default=0), self._last_stamp
        self._last_stamp = max(stamp, before)
        if not (self._watched and stored.present):
            return False
        written, own = _row(stored, self._site, self._slot.process).incarnation, self._slot.incarnation
        return written > own or (written == own and stamp > before)

    async def namesake(self) -> ProcessRow | None:
        """What a process with this one's name last said, None if it said farewell or nothing. Before the first beat that is the one
        that had the slot before, or somebody else."""
        row = await self.find(self._site, self._slot.process)
        return None if row is None or row.farewell else row

    async def find(self, site: str, process: str) -> ProcessRow | None:
        """What that process last said, None if it said nothing (or the engine cannot be asked)."""
        types = PROCESSES.types
        key = RowKey((types["site"].serialise(site),), (types["process"].serialise(process),))
        try:
            stored = await self._store.read(PROCESSES, key, "local")
        except PolysiteError:
            return None
        return _row(stored, site, process) if stored.present else None

    async def all_of(self, site: str) -> list[ProcessRow]:
        """Every process of a site that ever said something."""
        partition = (PROCESSES.types["site"].serialise(site),)
        page = await self._store.read_partition(PROCESSES, partition, "local", limit=PROCESSES_MAX)
        names = [PROCESSES.types["process"].deserialise(stored.key.clustering[0]) for stored in page.rows]
        return [_row(stored, site, str(name)) for stored, name in zip(page.rows, names, strict=True)]

    def _key(self, process: str) -> RowKey:
        types = PROCESSES.types
        return RowKey((types["site"].serialise(self._site),), (types["process"].serialise(process),))


def _row(stored: StoredRow, site: str, process: str) -> ProcessRow:
    values = {name: PROCESSES.types[name].deserialise(cell.value) for name, cell in stored.cells.items()}
    address = values.get("address")
    return ProcessRow(
        site,
        process,
        int(str(values.get("incarnation", 0))),
        None if address is None else str(address),
        int(str(values.get("seen_us", 0))),
        bool(values.get("farewell", False)),
    )
