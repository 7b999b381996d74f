"""Rows as they are read: what a record shows, and pages of them."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec

from polysite.engines.sqlite.driver import Connection
from polysite.engines.sqlite.records import Record, decode, live, row_stamp_of
from polysite.errors import BadRequest
from polysite.stores.contract import PAGE_ROWS_MAX, Predicate, StoredPage
from polysite.stores.embedded.changes import index_value
from polysite.stores.embedded.layout import Interval, PhysicalIndex, PhysicalTable, Place
from polysite.values.keys import RowKey, split_parts
from polysite.values.rows import Cell, StoredRow

PAGE_BYTES_MAX = 16 * 1024 * 1024
"""A page ends early, with a cursor, once its records have this many bytes."""

_CURSOR_FORMAT = b"\x01"
_DIGEST_BYTES = 12
NOT_A_CURSOR = "not a cursor of this selection: pass on what the last page answered, unchanged"

Spot = tuple[bytes, bytes]
_encode = msgspec.msgpack.Encoder().encode
_decode_place = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


class TooManyExamined(Exception):
    """More rows had to be looked at than the caller wanted to wait for."""


def stored_row(table: PhysicalTable, key: RowKey, data: bytes | None, part_stamp: int, now_us: int) -> StoredRow:
    """The row that a record shows at `now_us`; `data` None: there is no record."""
    if data is None:
        return StoredRow(key, {}, False, part_stamp=part_stamp)
    return shown_row(table, key, decode(data), part_stamp, now_us)


def shown_row(table: PhysicalTable, key: RowKey, record: Record, part_stamp: int, now_us: int) -> StoredRow:
    """The row that a record shows at `now_us`."""
    shown = live(record, now_us)
    row_stamp = row_stamp_of(shown.row_stamp, table.columns_hash)
    if shown.absent:
        return StoredRow(key, {}, False, row_stamp, True, part_stamp)
    names = table.names
    cells: dict[str, Cell] = {}
    for number, (stamp, when, value) in shown.cells.items():
        if stamp >= row_stamp and value is not None:
            cells[names[number]] = Cell(value, stamp, _life_ms(when, now_us))
    marker_life_ms = _life_ms(record.marker_when, now_us) if shown.marker else None
    return StoredRow(key, cells, shown.marker or bool(cells), row_stamp, False, part_stamp, marker_life_ms)


def _life_ms(when: int, now_us: int) -> int | None:
    """What is left of a life that ends at `when`, at least a millisecond while it lasts."""
    return max(1, (when - now_us) // 1000) if when else None


def read_row(connection: Connection, table: PhysicalTable, key: RowKey, now_us: int) -> StoredRow:
    """One row, in one statement and so in one snapshot."""
    return read_placed(connection, table, key, table.place(key), now_us)


def read_placed(connection: Connection, table: PhysicalTable, key: RowKey, place: Place, now_us: int) -> StoredRow:
    """One row whose place is known."""
    if not table.is_clustered:
        found = connection.first(table.read, place[:2])
        return stored_row(table, key, None if found is None else found[0], 0, now_us)
    found = connection.first(table.read_clustered, place[:2])
    assert found is not None
    return stored_row(table, key, found[0], found[1] or 0, now_us)


def column_value(table: PhysicalTable, row: StoredRow, column: str) -> bytes | None:
    """The serialised value of any column, None for null; a row that is not there has every column null."""
    cell = row.cells.get(column)
    if cell is not None or not row.present or column not in table.spec.key_names:
        return None if cell is None else cell.value
    return (row.key.partition + row.key.clustering)[table.spec.key_names.index(column)]


def holds(table: PhysicalTable, expected: Predicate, row: StoredRow) -> bool:
    """Whether a row is as a conditional write expects it."""
    if expected.exists is not None and expected.exists != row.present:
        return False
    return all(column_value(table, row, column) == wanted for column, wanted in expected.equals.items())


def check_limit(limit: int) -> None:
    """BadRequest for a limit outside 1 to PAGE_ROWS_MAX."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise BadRequest(f"a page has from 1 to {PAGE_ROWS_MAX} rows")


class PartitionPage(msgspec.Struct, frozen=True):
    """What `read_partition` was asked for, checked."""

    table: PhysicalTable
    components: tuple[bytes, ...]
    partition: bytes
    interval: Interval
    limit: int
    reverse: bool
    cursor: bytes | None
    now_us: int

    def read(self, connection: Connection, examined_max: int | None = None) -> StoredPage:
        """The page, in one snapshot. TooManyExamined: more than `examined_max` records had to be looked at."""
        table = self.table
        interval = self._rest()
        if not table.is_clustered or connection.in_transaction():
            return self._read(connection, interval, examined_max)
        connection.run("begin")
        try:
            return self._read(connection, interval, examined_max)
        finally:
            connection.run("commit")

    def _read(self, connection: Connection, interval: Interval, examined_max: int | None) -> StoredPage:
        table = self.table
        part_stamp = 0
        if table.is_clustered:
            static = connection.first(table.read_static, (self.partition,))
            part_stamp = 0 if static is None else static[0]
        if interval.is_empty:
            return StoredPage([], None, part_stamp)
        bounded = interval.high is not None
        values = (self.partition, interval.low, interval.high) if bounded else (self.partition, interval.low)
        with closing(connection.stream(table.page[bounded, self.reverse], values)) as found:
            shown = self._shown(found, part_stamp)
            rows, last = fill(shown, self.limit, examined_max)
        return StoredPage(rows, None if last is None else seal(self._selection(), last), part_stamp)

    def _shown(self, found: Iterator[tuple[Any, ...]], part_stamp: int) -> "Iterator[Found]":
        for position, clustering, data in found:
            key = RowKey(self.components, tuple(split_parts(clustering)) if clustering is not None else ())
            row = stored_row(self.table, key, data, part_stamp, self.now_us)
            yield (self.partition, position), row if row.present else None, len(data)

    def _rest(self) -> Interval:
        if self.cursor is None:
            return self.interval
        partition, position = opened(self._selection(), self.cursor)
        if partition != self.partition or not self.interval.holds(position):
            raise BadRequest(NOT_A_CURSOR)
        if self.reverse:
            return Interval(self.interval.low, position)
        return Interval(position + b"\x00", self.interval.high)

    def _selection(self) -> bytes:
        low, high = self.interval.low, self.interval.high
        return _encode(("partition", self.table.number, self.partition, low, high, self.reverse))


class TablePage(msgspec.Struct, frozen=True):
    """What `scan` was asked for, checked."""

    table: PhysicalTable
    index: PhysicalIndex | None
    value: bytes
    limit: int
    cursor: bytes | None
    now_us: int

    def read(self, connection: Connection, examined_max: int | None = None) -> StoredPage:
        """The page, in one snapshot. TooManyExamined as in `PartitionPage`."""
        start = (b"", b"") if self.cursor is None else opened(self._selection(), self.cursor)
        if self.index is None:
            found = connection.stream(self.table.scan, start)
        else:
            found = connection.stream(self.index.page, (index_value(self.value), *start))
        with closing(found):
            rows, last = fill(self._shown(found), self.limit, examined_max)
        return StoredPage(rows, None if last is None else seal(self._selection(), last))

    def _shown(self, found: Iterator[tuple[Any, ...]]) -> "Iterator[Found]":
        for partition, position, clustering, data, deleted, stamp, value in found:
            key = RowKey(
                tuple(split_parts(partition)), tuple(split_parts(clustering)) if clustering is not None else ()
            )
            part_stamp = value if stamp is not None and stamp > deleted else 0
            row = stored_row(self.table, key, data, part_stamp, self.now_us)
            yield (partition, position), row if row.present and self._matches(row) else None, len(data)

    def _matches(self, row: StoredRow) -> bool:
        """The index says where to look; the row says whether it is so."""
        index = self.index
        if index is None:
            return True
        if index.clustering_at is not None:
            return row.key.clustering[index.clustering_at] == self.value
        cell = row.cells.get(index.spec.column)
        return cell is not None and cell.value == self.value

    def _selection(self) -> bytes:
        return _encode(("table", self.table.number, self.index and self.index.made, self.value))


Found = tuple[Spot, StoredRow | None, int]


def fill(found: Iterator[Found], limit: int, examined_max: int | None) -> tuple[list[StoredRow], Spot | None]:
    """Up to `limit` shown rows, and the place of the last of them if another shown row follows."""
    rows: list[StoredRow] = []
    last: Spot | None = None
    size = examined = 0
    for place, row, length in found:
        examined += 1
        if examined_max is not None and examined > examined_max:
            raise TooManyExamined
        if row is None:
            continue
        if len(rows) == limit or (rows and size + length > PAGE_BYTES_MAX):
            return rows, last
        rows.append(row)
        last = place
        size += length
    return rows, None


def seal(selection: bytes, place: Spot) -> bytes:
    """A cursor: bound to its selection, and told from anything else by a digest. It hides nothing."""
    body = _encode(place)
    return _CURSOR_FORMAT + _digest(selection, body) + body


def opened(selection: bytes, cursor: bytes) -> Spot:
    """The place a cursor stands at; BadRequest if it is none, or one of another selection."""
    digest, body = cursor[1 : 1 + _DIGEST_BYTES], cursor[1 + _DIGEST_BYTES :]
    if cursor[:1] != _CURSOR_FORMAT or digest != _digest(selection, body):
        raise BadRequest(NOT_A_CURSOR)
    try:
        return _decode_place(body)
    except msgspec.DecodeError:
        raise BadRequest(NOT_A_CURSOR) from None


def _digest(selection: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(
        body, key=hashlib.blake2b(selection, digest_size=32).digest(), digest_size=_DIGEST_BYTES
    ).digest()
