"""What an engine must be able to do to hold rows. The docstrings are the specification; `testing/` runs them as suites.

Rows are replicated; a write reaches some replicas now and the others later. Per cell the write with the higher stamp
wins, wherever and whenever it arrives; at equal stamps a tombstone beats a value and larger bytes beat smaller ones.
Tombstones (cell, row, range, partition) hide what is stamped at or below them and are kept at least `TOMBSTONE_LIFE_S`.

Hidden columns (`row_stamp`, the `absent` mark, the static `part_stamp`) travel in the fields that `values.rows` gives
them; the adapter stores them, and drops rows marked absent and rows that are only static before a limit, a cursor or a
filter applies. Nothing above an adapter sees a driver's types: errors are those of `polysite.errors`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Slice, StoredRow, Write
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

Level = Literal["local", "site", "majority"]
"""local: the nearest replica answers. site: a majority of this site's replicas does, for what only this site asks for again; it
waits for no other. majority: a majority of all replicas does, and a majority read writes back what it returns to the
replicas it asked (blocking read repair)."""

StoreCapability = Literal[
    "conditional_write",  # `write_if` is linearizable
    "expiry",  # writes may carry a life
    "cross_site_quorum",  # majority means more than one site
    "transactional",  # the same for tables whose `writes` is transactional, and only those
    "joint",  # the cell of a lock and rows change in one atomic step (`joint`)
    "durable",  # what was acknowledged survives a kill of every process
    "empty_partition",  # a partition key of one column may be empty (text, blob)
]

TOMBSTONE_LIFE_S = 864_000.0
PAGE_ROWS_MAX = 10_000
BATCH_WRITES_MAX = 1_000
VALUE_BYTES_MAX = 8 * 1024 * 1024


class StoreCosts(NamedTuple):
    """Wide-area round trips that each operation waits for."""

    read_local: float = 0
    read_majority: float = 0
    write_local: float = 0
    write_majority: float = 0
    conditional: float = 0
    conditional_refused: float = 0


class StoredPage(NamedTuple):
    """Rows in order, and the cursor of the next page; None when this was the last.

    `part_stamp` is that of the partition a `read_partition` read, 0 when missing, and is told even if no row is shown.
    """

    rows: list[StoredRow]
    cursor: bytes | None
    part_stamp: int = 0


class Predicate(msgspec.Struct, frozen=True, kw_only=True):
    """What a conditional write expects of one row.

    `exists` True or False asks for presence only; None asks that each column of `equals` has exactly that serialised
    value (None: null). A row that is not there has every column null.
    """

    key: RowKey
    exists: bool | None = None
    equals: dict[str, bytes | None] = {}


class Conditional(NamedTuple):
    """The answer of a conditional write: `rows` are the rows of its predicates as found when it did not apply.

    `found`: nothing was looked at or written, because the row that was to be made `once` was there already.
    """

    applied: bool
    rows: list[StoredRow]
    found: StoredRow | None = None


class CellChange(NamedTuple):
    """A compare-and-set as a store sees it: opaque key, the version that must still be current, the new content."""

    key: bytes
    expected_version: int
    content: bytes


class TableWrites(NamedTuple):
    """Writes to one partition of one table."""

    table: TableSpec
    writes: Sequence[Write]


class Joint(NamedTuple):
    """The answer of a joint step. Not applied: the cell as it is now, and nothing was written.

    `present`: it was not applied because a row that had to be absent is there, whatever the cell says.
    """

    applied: bool
    version: int
    content: bytes
    present: bool = False


class CellEffect(NamedTuple):
    """What a joint step is to do: the cell's new content, and row writes that go with it. `content` None: the cell stays as it is,
    and the writes are made only if it still is what was decided on."""

    content: bytes | None
    writes: Sequence[TableWrites]


Decide: TypeAlias = Callable[[int, bytes, list[StoredRow]], CellEffect | None]
"""Decides a joint step from the cell's version and content and the rows asked for; None: nothing is to be changed.

It is called inside the engine's atomic step, perhaps on another thread and perhaps more than once (only the last call
counts), so it does no I/O and waits for nothing. It is never called after the step was answered."""


class Store(ABC):
    """Rows of one engine, as one process uses them. Every method may raise `Unavailable` (nothing happened)."""

    name: str
    capabilities: frozenset[StoreCapability]
    costs: StoreCosts
    indexed_bytes_max: int = VALUE_BYTES_MAX
    """Longest value of a column with an index; a longer one is TooLarge."""

    @abstractmethod
    async def start(self) -> None:
        """Connect, check and prepare the engine; an error says what to mend."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. Writes under way are finished or answered `OutcomeUnknown` first."""

    @abstractmethod
    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        """True: made now. False: it was there and is equal. AlreadyExists: it is there and differs."""

    @abstractmethod
    async def drop_keyspace(self, name: str) -> bool:
        """Drop it with its tables. False: there was none."""

    @abstractmethod
    async def keyspaces(self) -> list[KeyspaceSpec]:
        """All keyspaces by name, as the engine knows them now."""

    @abstractmethod
    async def create_table(self, spec: TableSpec) -> bool:
        """True: made now. False: it was there and is equal. AlreadyExists: differs. UnknownKey: no such keyspace."""

    @abstractmethod
    async def drop_table(self, keyspace: str, name: str) -> bool:
        """Drop it with its rows; rows of a table made later under the same name start from nothing."""

    @abstractmethod
    async def tables(self, keyspace: str) -> list[TableSpec]:
        """All tables of the keyspace by name; UnknownKey: no such keyspace."""

    @abstractmethod
    async def table(self, keyspace: str, name: str) -> TableSpec:
        """The table as it is now, at most a second old, without a wide-area round trip; UnknownKey: no such table.

        An engine that can says which making of the table it is (`TableSpec.making`): what was remembered of a table under the
        same name before must not be taken for it.
        """

    def known_table(self, keyspace: str, name: str) -> TableSpec | None:  # noqa: ARG002
        """What `table` would answer, if that can be said at once; None: ask it."""
        return None

    @abstractmethod
    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        """Add a secondary index; rows already there are found through it when this returns. Answers as `create_table`."""

    @abstractmethod
    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        """Drop it. False: there was none."""

    @abstractmethod
    async def read(self, table: TableSpec, key: RowKey, level: Level) -> StoredRow:
        """All columns of one row, with stamps and hidden columns; one that is not there has `present` false."""

    @abstractmethod
    async def read_partition(
        self,
        table: TableSpec,
        partition: tuple[bytes, ...],
        level: Level,
        *,
        slice: Slice = WHOLE_PARTITION,
        limit: int,
        cursor: bytes | None = None,
        reverse: bool = False,
    ) -> StoredPage:
        """Rows of a slice in clustering order (or its reverse), at most `limit` (1 to PAGE_ROWS_MAX) shown ones."""

    @abstractmethod
    async def scan(
        self,
        table: TableSpec,
        level: Level,
        *,
        index: tuple[str, bytes] | None = None,
        limit: int,
        cursor: bytes | None = None,
    ) -> StoredPage:
        """Rows of the whole table in an order of the engine's own that pages keep; `index` (column, value): only rows where
        that indexed column has that value. A row written meanwhile may or may not be seen; none is seen twice."""

    @abstractmethod
    async def write(self, table: TableSpec, writes: Sequence[Write], level: Level) -> None:
        """Carry out writes to ONE partition as one atomic batch: whoever reads sees all of them or none.

        Returns when as many replicas as `level` says have it durably. `OutcomeUnknown` if it was sent and not answered;
        any other error: nothing was written. At most BATCH_WRITES_MAX writes.
        """

    @abstractmethod
    async def write_if(
        self,
        table: TableSpec,
        expect: Sequence[Predicate],
        writes: Sequence[Write],
        *,
        once: TableWrites | None = None,
    ) -> Conditional:
        """If every predicate holds then all writes, else none: linearizable per partition (tables `conditional`).

        All predicates and writes are of one partition. Stamps in the writes are ignored: the engine orders these.

        `once` (only with the capability `joint`): a write of one row of another table, with its own stamp, that is made in
        the same step if the others are. If that row is there already, nothing is done, and the answer has it as `found`.
        """

    async def joint(
        self,
        change: CellChange | None,
        writes: Sequence[TableWrites],
        reads: Sequence[tuple[TableSpec, RowKey]] = (),
        *,
        absent: Sequence[tuple[TableSpec, RowKey]] = (),
    ) -> tuple[Joint, list[StoredRow]]:
        """Compare-and-set the cell and carry out `writes` as one atomic step; the rows of `reads` are as before it.

        Only engines with the capability `joint` have it; they keep the cells of the same process in the same place.
        Several partitions and tables are allowed. Durable when it returns. `change` None: no cell takes part, and the
        writes alone are one atomic step, not applied only because of `absent`; the answer's version is 0 then.

        `absent`: rows of which none may be there, that is, have `present` true if they were read in this step (one that
        was deleted, has expired, or is marked absent is not there). If one is, neither the cell changes nor is anything
        written, and the answer says `present`. So of several steps that make one row and want it absent, at whatever
        processes, one applies; sending a step again that may have been made cannot make it twice.
        """
        raise NotImplementedError(f"{self.name} lacks the capability joint")

    async def joint_step(self, key: bytes, reads: Sequence[tuple[TableSpec, RowKey]], decide: Decide) -> bool:
        """Read the cell `key` and rows, ask `decide`, and carry out its answer, all as one atomic step; whether it did anything.

        As `joint` with a change that cannot lose a race: nothing comes between what `decide` saw and what it asked for.
        Durable when it returns. An error that `decide` raises is told here, and nothing was written. `OutcomeUnknown`: what
        `decide` last answered may have been carried out, or may still be; if it was not called, nothing was.
        """
        raise NotImplementedError(f"{self.name} lacks the capability joint")
