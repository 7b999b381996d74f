"""Writes as the writer's thread carries them out: prepared on the loop, applied inside a transaction.

What is stored after a set of writes depends on the set alone, not on their order: records are joined (`merge`), and a
range tombstone is both applied to the rows that are there and kept for those that come later.
"""

from collections.abc import Sequence
from typing import TypeAlias

from polysite.engines.sqlite.driver import Connection
from polysite.engines.sqlite.records import (
    ABSENT,
    HAS_ABSENT,
    HAS_DELETION,
    HAS_ROW_STAMP,
    ROW_STAMP,
    YES,
    Record,
    RecordCell,
    decode,
    encode,
    hide,
    highest_stamp,
    holds,
    is_empty,
    merge,
    row_stamp_value,
)
from polysite.errors import BadRequest, TooLarge, UnknownKey
from polysite.stores.contract import BATCH_WRITES_MAX, VALUE_BYTES_MAX
from polysite.stores.embedded.layout import Interval, PhysicalIndex, PhysicalTable, Place
from polysite.values.keys import split_parts
from polysite.values.rows import DeleteRange, DeleteRow, Put, SetPartStamp, Write, partition_of

STAMP_MAX = 2**63 - 1
BATCH_BYTES_MAX = 64 * 1024 * 1024
_INDEXED_WHOLE_MAX = 256


class RowChange:
    """A version of one row to be merged with what is there.

    `outlives` says what of an older record would outlive this one, as HAS_… flags; None: its columns too.
    """

    __slots__ = ("clustering", "held", "outlives", "partition", "position", "record", "stamp")

    def __init__(self, place: Place, record: Record, stamp: int, outlives: int | None) -> None:
        self.partition, self.position, self.clustering = place
        self.record = record
        self.stamp = stamp
        self.outlives = outlives
        self.held = holds(record)

    def apply(self, connection: Connection, table: PhysicalTable) -> bool:
        """Carry it out; whether a range tombstone has to be noted with the table (never)."""
        record = self.record
        if table.ranged:
            covered = covering_stamp(connection, table, self.partition, self.position)
            if covered >= self.stamp:
                return False
        if self.outlives is not None and not table.indexes:
            values = (
                self.partition,
                self.position,
                self.clustering,
                encode(record),
                self.stamp,
                self.held,
                self.outlives,
            )
            if connection.change(table.replace, values):
                return False
        merge_row(connection, table, self.partition, self.position, self.clustering, record, self.stamp)
        return False


class RangeChange:
    """A range tombstone."""

    __slots__ = ("interval", "made_us", "partition", "stamp")

    def __init__(self, partition: bytes, interval: Interval, stamp: int, made_us: int) -> None:
        self.partition = partition
        self.interval = interval
        self.stamp = stamp
        self.made_us = made_us

    def apply(self, connection: Connection, table: PhysicalTable) -> bool:
        """Carry it out; True: the table has range tombstones from now on."""
        if self.interval.is_empty:
            return False
        _hide_rows(connection, table, self.partition, self.interval, self.stamp)
        _add_range(connection, table, self.partition, self.interval, self.stamp, self.made_us)
        if self.interval.is_whole and table.is_clustered:
            connection.change(table.delete_static, (self.partition, self.stamp, self.made_us))
        return not table.ranged


class StaticChange:
    """The static part stamp of a partition."""

    __slots__ = ("part_stamp", "partition", "stamp")

    def __init__(self, partition: bytes, part_stamp: int, stamp: int) -> None:
        self.partition = partition
        self.part_stamp = part_stamp
        self.stamp = stamp

    def apply(self, connection: Connection, table: PhysicalTable) -> bool:
        connection.change(table.set_static, (self.partition, self.stamp, self.part_stamp))
        return False


Change: TypeAlias = "RowChange | RangeChange | StaticChange"


def prepare(
    table: PhysicalTable, writes: Sequence[Write], now_us: int, *, first_stamp: int | None = None
) -> list[Change]:
    """The changes that `writes` to one partition ask for, checked; `first_stamp`: number them from there instead.

    BadRequest, TooLarge or UnknownKey: nothing was done.
    """
    if len(writes) > BATCH_WRITES_MAX:
        raise TooLarge(f"a batch has at most {BATCH_WRITES_MAX} writes")
    if len(writes) > 1:
        partition = partition_of(writes[0])
        if any(partition_of(write) != partition for write in writes):
            raise BadRequest("the writes of a batch are all of one partition")
    changes = [
        _prepare(table, write, now_us, write.stamp if first_stamp is None else first_stamp + at)
        for at, write in enumerate(writes)
    ]
    if len(changes) > 1:
        cells = (change.record.cells.values() for change in changes if isinstance(change, RowChange))
        if sum(len(value) for of_row in cells for _, _, value in of_row if value) > BATCH_BYTES_MAX:
            raise TooLarge(f"the values of a batch are at most {BATCH_BYTES_MAX} bytes")
    return changes


def _prepare(table: PhysicalTable, write: Write, now_us: int, stamp: int) -> Change:
    if not 0 < stamp <= STAMP_MAX:
        raise BadRequest("a stamp is from 1 to 2^63 - 1")
    if isinstance(write, Put):
        return _prepare_put(table, write, now_us, stamp)
    if isinstance(write, DeleteRow):
        record = Record({}, deleted=stamp, deleted_at=now_us)
        return RowChange(table.place(write.key), record, stamp, 0)
    if isinstance(write, DeleteRange):
        return RangeChange(table.partition(write.partition), table.interval(write.slice), stamp, now_us)
    if not isinstance(write, SetPartStamp):
        raise BadRequest("a write is a Put, a DeleteRow, a DeleteRange or a SetPartStamp")
    if not table.is_clustered:
        raise BadRequest("a table without clustering columns has no part stamp")
    return StaticChange(table.partition(write.partition), write.part_stamp, stamp)


def _prepare_put(table: PhysicalTable, write: Put, now_us: int, stamp: int) -> RowChange:
    place = table.place(write.key)
    when = 0
    if write.life_ms is not None:
        if write.life_ms <= 0:
            raise BadRequest("a life is at least one millisecond, or None for ever")
        when = now_us + write.life_ms * 1000
    columns = table.columns
    cells: dict[int, RecordCell] = {}
    for name, value in write.cells.items():
        number = columns.get(name)
        if number is None:
            raise _no_column(table, name)
        if value is None:
            cells[number] = (stamp, now_us, None)
            continue
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value is at most {VALUE_BYTES_MAX} bytes", column=name)
        cells[number] = (stamp, when, value)
    whole = write.marker and len(cells) == len(columns)
    outlives = HAS_ROW_STAMP | HAS_ABSENT | HAS_DELETION
    if write.row_stamp is not None:
        cells[ROW_STAMP] = (stamp, when, row_stamp_value(write.row_stamp, table.columns_hash))
        outlives &= ~HAS_ROW_STAMP
    if write.absent is not None:
        cells[ABSENT] = (stamp, when, YES) if write.absent else (stamp, now_us, None)
        outlives &= ~HAS_ABSENT
    if outlives == HAS_DELETION:
        outlives = 0  # every cell that the row tombstone keeps away loses against one of these
    record = Record(cells, marker=stamp, marker_when=when) if write.marker else Record(cells)
    return RowChange(place, record, stamp, outlives if whole else None)


def _no_column(table: PhysicalTable, name: str) -> Exception:
    if name in table.spec.types:
        return BadRequest("a key column is no cell: it is part of the key")
    return UnknownKey(f"the table has no such column; it has {', '.join(table.spec.types)}")


def merge_row(
    connection: Connection,
    table: PhysicalTable,
    partition: bytes,
    position: bytes,
    clustering: bytes | None,
    record: Record,
    stamp: int,
) -> None:
    """Merge `record`, which must not be changed and is stamped above any range tombstone over it, with what is there.

    What is there was hidden from when the range tombstone came.
    """
    found = connection.first(table.find, (partition, position))
    merged = Record({}) if found is None else decode(found[1])
    before = _indexed(table, clustering, merged, found is not None)
    merge(merged, record)
    if is_empty(merged):
        return
    if found is None:
        connection.change(table.insert, (partition, position, clustering, encode(merged), stamp, holds(merged)))
    else:
        kept = found[0]
        if clustering != kept:
            # Two spellings of one clustering value (1.0 and 1.00): whichever came first, the larger bytes are shown.
            kept = max(clustering or b"", kept or b"")
        values = (kept, encode(merged), max(found[2], stamp), holds(merged), partition, position)
        connection.change(table.update, values)
    if table.indexes:
        _reindex(connection, table, partition, position, before, _indexed(table, clustering, merged, True))


def put_record(
    connection: Connection,
    table: PhysicalTable,
    place: Place,
    old: Record,
    new: Record,
) -> None:
    """Write `new` in place of `old`, which is there; nothing is kept of an empty record."""
    partition, position, clustering = place
    before = _indexed(table, clustering, old, True)
    if is_empty(new):
        connection.change(table.delete, (partition, position))
        after: list[bytes | None] = [None] * len(before)
    else:
        values = (clustering, encode(new), highest_stamp(new), holds(new), partition, position)
        connection.change(table.update, values)
        after = _indexed(table, clustering, new, True)
    if table.indexes:
        _reindex(connection, table, partition, position, before, after)


def covering_stamp(connection: Connection, table: PhysicalTable, partition: bytes, position: bytes) -> int:
    """The stamp of the range tombstone over `position`; 0 if there is none."""
    found = connection.first(table.range_at, (partition, position))
    if found is None or (found[1] is not None and found[1] <= position):
        return 0
    return int(found[2])


def _hide_rows(connection: Connection, table: PhysicalTable, partition: bytes, interval: Interval, stamp: int) -> None:
    bounded = interval.high is not None
    ends = (partition, interval.low, interval.high) if bounded else (partition, interval.low)
    if not table.indexes:
        connection.change(table.delete_below[bounded], (*ends, stamp))
    # With indexes every row is looked at, since its index entries go with it.
    lowest = 0 if table.indexes else stamp
    for position, clustering, data, _ in connection.all(table.above[bounded], (*ends, lowest)):
        old, new = decode(data), decode(data)
        hide(new, stamp)
        if new != old:
            put_record(connection, table, (partition, position, clustering), old, new)


def _add_range(
    connection: Connection, table: PhysicalTable, partition: bytes, interval: Interval, stamp: int, made_us: int
) -> None:
    """Note a range tombstone so that again no two overlap and the higher stamp stands everywhere."""
    low, high = interval.low, interval.high
    touched = [row for row in connection.all(table.range_at, (partition, low)) if row[1] is None or row[1] > low]
    for row in connection.stream(table.ranges_after, (partition, low)):
        if high is not None and row[0] >= high:
            break
        touched.append(row)
    pieces: list[tuple[bytes, bytes | None, int, int]] = []
    at: bytes | None = low
    for old_low, old_high, old_stamp, old_made in touched:
        if old_low < low:
            pieces.append((old_low, low, old_stamp, old_made))
        start = max(old_low, low)
        if at is not None and at < start:
            pieces.append((at, start, stamp, made_us))
        end = _lower(old_high, high)
        wins = (old_stamp, old_made) >= (stamp, made_us)
        pieces.append((start, end, old_stamp, old_made) if wins else (start, end, stamp, made_us))
        if end != old_high and end is not None:
            pieces.append((end, old_high, old_stamp, old_made))
        at = end
    if at is not None and (high is None or at < high):
        pieces.append((at, high, stamp, made_us))
    for row in touched:
        connection.change(table.remove_range, (partition, row[0]))
    for piece_low, piece_high, piece_stamp, piece_made in _joined(pieces):
        connection.change(table.add_range, (partition, piece_low, piece_high, piece_stamp, piece_made))


def _joined(pieces: list[tuple[bytes, bytes | None, int, int]]) -> list[tuple[bytes, bytes | None, int, int]]:
    """Neighbours of one stamp as one piece, so that trimming a partition again and again leaves one tombstone."""
    joined: list[tuple[bytes, bytes | None, int, int]] = []
    for piece in sorted(pieces, key=lambda item: item[0]):
        if joined and joined[-1][1] == piece[0] and joined[-1][2] == piece[2]:
            low, _, stamp, made = joined.pop()
            joined.append((low, piece[1], stamp, max(made, piece[3])))
        else:
            joined.append(piece)
    return joined


def _lower(one: bytes | None, other: bytes | None) -> bytes | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def index_value(value: bytes) -> bytes:
    """What an index holds of a value: all of it, or enough that what is found must be looked at (it always is)."""
    return value[:_INDEXED_WHOLE_MAX]


def _indexed(table: PhysicalTable, clustering: bytes | None, record: Record, is_there: bool) -> list[bytes | None]:
    """The value that each index of the table has for the row, None: it has no entry."""
    if not table.indexes:
        return []
    return [indexed_value(index, clustering, record) if is_there else None for index in table.indexes]


def indexed_value(index: PhysicalIndex, clustering: bytes | None, record: Record) -> bytes | None:
    """The whole value of a row in the column of `index`; None for null."""
    if index.clustering_at is not None:
        return split_parts(clustering or b"")[index.clustering_at]
    assert index.column is not None
    cell = record.cells.get(index.column)
    return None if cell is None else cell[2]


def _reindex(
    connection: Connection,
    table: PhysicalTable,
    partition: bytes,
    position: bytes,
    before: list[bytes | None],
    after: list[bytes | None],
) -> None:
    for index, old, new in zip(table.indexes, before, after, strict=True):
        if old == new:
            continue
        if old is not None:
            connection.change(index.remove, (index_value(old), partition, position))
        if new is not None:
            connection.change(index.add, (index_value(new), partition, position))
