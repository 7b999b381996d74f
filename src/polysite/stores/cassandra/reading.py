"""Pages: rows of a partition or of the whole table, without those that are not shown, and where to go on.

A page asks the server for one row more than is wanted, so that whether a next page has a row is known without asking again.
What the server returns and is not shown (rows marked absent, partitions that are only static, rows an index finds by a cell
that does not count) is passed over, and the server's own paging goes on until the page is full.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from polysite.engines.cassandra import CassandraPort, Consistency, Row, Statement, Value
from polysite.errors import BadRequest
from polysite.stores.cassandra.cursors import not_a_cursor, seal, unseal
from polysite.stores.cassandra.decoding import keyed_row, no_row, part_stamp_of, stored_row
from polysite.stores.cassandra.layout import CassandraTable
from polysite.stores.cassandra.slices import EVERY_ROW, Piece, after, pieces
from polysite.stores.cassandra.statements import Statements
from polysite.stores.contract import PAGE_ROWS_MAX, Level, StoredPage
from polysite.values.keys import RowKey, join_parts
from polysite.values.rows import WHOLE_PARTITION, Slice, StoredRow

PAGE_BYTES_MAX = 16 * 1024 * 1024
"""A page ends early, with a cursor, once its rows have this many bytes."""
FETCH_ROWS_MAX = 5_000
"""Rows asked of the server at once; what it answers at once is one moment of a partition."""

Ask = tuple[Statement, Sequence[Value]]


class Reader(NamedTuple):
    """Who is asked, and how many replicas must answer."""

    port: CassandraPort
    consistency: Consistency


class Gathered:
    """A page in the making."""

    def __init__(self, limit: int, shown: Callable[[Row], StoredRow | None]) -> None:
        self.limit = limit
        self._shown = shown
        self.rows: list[StoredRow] = []
        self.is_full = False
        """Whether a further row was there that the page had no room for."""
        self.part_stamp: int | None = None
        """That of the first row the server returned, shown or not."""
        self._bytes = 0

    async def add(self, reader: Reader, asks: Sequence[Ask]) -> None:
        """Ask one after the other until the page is full or there is no more."""
        for statement, values in asks:
            state = None
            while not self.is_full:
                wanted = min(self.limit - len(self.rows) + 1, FETCH_ROWS_MAX)
                page = await reader.port.read(
                    statement, values, consistency=reader.consistency, page_rows=wanted, paging_state=state
                )
                self.take(page.rows)
                state = page.paging_state
                if state is None:
                    break

    def take(self, found: Sequence[Row]) -> None:
        """Add what is shown of `found` until the page is full."""
        if found and self.part_stamp is None:
            self.part_stamp = part_stamp_of(found[0])
        for values in found:
            row = self._shown(values)
            if row is None or not row.present:
                continue
            size = sum(len(value) for value in values if value)
            if len(self.rows) == self.limit or (self.rows and self._bytes + size > PAGE_BYTES_MAX):
                self.is_full = True
                return
            self.rows.append(row)
            self._bytes += size

    def join(self, further: "Gathered") -> None:
        """Add the rows of another page that come behind these."""
        room = self.limit - len(self.rows)
        self.is_full = self.is_full or further.is_full or len(further.rows) > room
        self.rows += further.rows[:room]

    def page(self, selection: object, part_stamp: int = 0) -> StoredPage:
        """The page, with a cursor if a further row is there."""
        return StoredPage(self.rows, seal(selection, self.rows[-1].key) if self.is_full else None, part_stamp)


def check_limit(limit: int) -> None:
    """BadRequest for a limit outside 1 to PAGE_ROWS_MAX."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise BadRequest(f"a page has from 1 to {PAGE_ROWS_MAX} rows")


class PartitionPage(msgspec.Struct, frozen=True):
    """What `read_partition` was asked for."""

    statements: Statements
    partition: tuple[bytes, ...]
    slice: Slice
    limit: int
    reverse: bool
    cursor: bytes | None

    async def read(self, port: CassandraPort, level: Level) -> StoredPage:
        """The page. BadRequest or TooLarge if what is asked for cannot be."""
        table = self.statements.table
        table.check_partition(self.partition)
        table.interval(self.slice)
        reader = Reader(port, table.consistency(level))
        rest = pieces(table, self._rest())
        asks = [
            (self.statements.slice(piece, reverse=self.reverse), [*self.partition, *_values(piece)])
            for piece in (reversed(rest) if self.reverse else rest)
        ]
        gathered = Gathered(self.limit, lambda values: keyed_row(table, values))
        if not table.has_part_stamp:
            await gathered.add(reader, asks)
            return gathered.page(self._selection())
        # A slice does not show the part stamp of a partition without rows there; the row's own is of the row's moment.
        if rest == [EVERY_ROW]:
            await gathered.add(reader, asks)
            return gathered.page(self._selection(), gathered.part_stamp or 0)
        static, _ = await asyncio.gather(self._static(reader), gathered.add(reader, asks))
        return gathered.page(self._selection(), static if gathered.part_stamp is None else gathered.part_stamp)

    async def _static(self, reader: Reader) -> int:
        return await read_part_stamp(reader, self.statements, self.partition)

    def _rest(self) -> Slice:
        if self.cursor is None:
            return self.slice
        table = self.statements.table
        key = unseal(self._selection(), self.cursor)
        is_here = key.partition == self.partition and len(key.clustering) == len(table.directions)
        if not is_here or not table.interval(self.slice).holds(table.position(key.clustering)):
            raise not_a_cursor()
        return after(key.clustering, self.slice, reverse=self.reverse)

    def _selection(self) -> object:
        return ("partition", *_named(self.statements.table), self.partition, self.slice, self.reverse)


class TablePage(msgspec.Struct, frozen=True):
    """What `scan` was asked for. Rows come in the order of Cassandra's tokens, within a partition in clustering order.

    Conditional tables are scanned at a majority like others, since Cassandra reads no more than one partition serially: a
    conditional write that another site has just been answered may be missing.
    """

    statements: Statements
    index: tuple[str, bytes] | None
    limit: int
    cursor: bytes | None

    async def read(self, port: CassandraPort, level: Level) -> StoredPage:
        """The page. BadRequest if what is asked for cannot be."""
        table = self.statements.table
        consistency = table.levels.of(level)
        reader = Reader(port, consistency)
        gathered = Gathered(self.limit, self._shown)
        column, value = (None, ()) if self.index is None else (self.index[0], (self.index[1],))
        if self.cursor is None:
            await gathered.add(reader, [(self.statements.scan(index=column, beyond=False), value)])
            return gathered.page(self._selection())
        last = unseal(self._selection(), self.cursor)
        await gathered.add(reader, self._rest_of_partition(last))
        if not gathered.is_full:
            further = Gathered(self.limit - len(gathered.rows), self._shown)
            beyond = (self.statements.scan(index=column, beyond=True), (*value, *last.partition))
            twins, _ = await asyncio.gather(self._twins(reader, last.partition), further.add(reader, [beyond]))
            for partition in twins:
                await gathered.add(reader, [self._of_partition(partition)])
            gathered.join(further)
        return gathered.page(self._selection())

    def _shown(self, values: Row) -> StoredRow | None:
        """The index says where to look; the row says whether it is so."""
        row = keyed_row(self.statements.table, values)
        if row is None or self.index is None:
            return row
        column, value = self.index
        names = self.statements.table.spec.clustering_names
        if column in names:
            return row if row.key.clustering[names.index(column)] == value else None
        cell = row.cells.get(column)
        return row if cell is not None and cell.value == value else None

    def _rest_of_partition(self, last: RowKey) -> list[Ask]:
        """What stands behind the last row shown in its own partition."""
        table = self.statements.table
        if not table.is_clustered:
            return []
        # CQL bounds no column that it also compares for equality, so an index over a clustering column is not used here.
        column, value = (None, ()) if self.index is None else (self.index[0], (self.index[1],))
        if column in table.spec.clustering_names:
            column, value = None, ()
        return [
            (self.statements.slice(piece, index=column), (*last.partition, *_values(piece), *value))
            for piece in pieces(table, after(last.clustering, WHOLE_PARTITION, reverse=False))
        ]

    async def _twins(self, reader: Reader, partition: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
        """Partitions with the very token of `partition` that come behind it; Cassandra orders those by their keys' bytes."""
        page = await reader.port.read(
            self.statements.same_token, (*partition, *partition), consistency=reader.consistency
        )
        own = _order_in_token(partition)
        found = [tuple(component or b"" for component in row) for row in page.rows]
        return sorted((other for other in found if _order_in_token(other) > own), key=_order_in_token)

    def _of_partition(self, partition: tuple[bytes, ...]) -> Ask:
        return self.statements.slice(EVERY_ROW), partition

    def _selection(self) -> object:
        return ("table", *_named(self.statements.table), self.index)


async def read_row(statements: Statements, port: CassandraPort, key: RowKey, level: Level) -> StoredRow:
    """One row. BadRequest or TooLarge for a key that cannot be.

    A row that is there tells the part stamp itself, of the same moment; of one that is not, Cassandra answers nothing at all,
    so the part stamp is asked for beside it.
    """
    table = statements.table
    table.check_key(key)
    reader = Reader(port, table.consistency(level))
    asked = reader.port.read(statements.row, (*key.partition, *key.clustering), consistency=reader.consistency)
    if not table.has_part_stamp:
        page, part_stamp = await asked, 0
    else:
        page, part_stamp = await asyncio.gather(asked, read_part_stamp(reader, statements, key.partition))
    return stored_row(table, key, page.rows[0]) if page.rows else no_row(key, part_stamp)


async def read_part_stamp(reader: Reader, statements: Statements, partition: tuple[bytes, ...]) -> int:
    """The part stamp of a partition, 0 when missing."""
    page = await reader.port.read(statements.static, partition, consistency=reader.consistency)
    return part_stamp_of(page.rows[0]) if page.rows else 0


def _values(piece: Piece) -> list[bytes]:
    return [value for relation in piece for value in relation.values]


def _named(table: CassandraTable) -> tuple[str, str, int]:
    return table.spec.keyspace, table.spec.name, table.spec.making


def _order_in_token(partition: tuple[bytes, ...]) -> bytes:
    """A partition key as Cassandra serialises it (5.0, `CompositeType`)."""
    if len(partition) == 1:
        return partition[0]
    return b"".join(join_parts((component,)) + b"\x00" for component in partition)
