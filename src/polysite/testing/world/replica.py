"""The rows of one replica, in memory, and how what two replicas know becomes one.

Records and their merging are those of the embedded engine (`engines.sqlite.records`), so that a simulated replica breaks ties,
hides and lets expire as the real one does. Range tombstones are kept as they came.
"""

from collections.abc import Iterable, Sequence

from polysite.engines.sqlite.records import Record, hide, is_empty, merge
from polysite.stores.embedded.changes import Change, RangeChange, RowChange, StaticChange
from polysite.stores.embedded.layout import Interval

Row = tuple[bytes | None, Record]
"""Serialised clustering components, and the record."""


class Partition:
    """What a replica knows of one partition; only ever added to (`join`)."""

    __slots__ = ("deleted", "part_stamp", "ranges", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.ranges: list[tuple[Interval, int]] = []
        self.deleted = 0
        """Stamp of the last deletion of all of it, for the part stamp."""
        self.part_stamp = (0, 0)
        """Its stamp and its value."""

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in the changes of a write."""
        for change in changes:
            if isinstance(change, RowChange):
                self._join_row(change.position, change.clustering, change.record)
            elif isinstance(change, RangeChange):
                self._join_range(change.interval, change.stamp)
            elif isinstance(change, StaticChange):
                self.part_stamp = max(self.part_stamp, (change.stamp, change.part_stamp))

    def join(self, other: "Partition") -> None:
        """Know what `other` knows as well."""
        for interval, stamp in other.ranges:
            self._join_range(interval, stamp)
        for position, (clustering, record) in other.rows.items():
            self._join_row(position, clustering, record)
        self.deleted = max(self.deleted, other.deleted)
        self.part_stamp = max(self.part_stamp, other.part_stamp)

    def excerpt(self, interval: Interval) -> "Partition":
        """A copy of the rows of an interval with all tombstones over them, and the part stamp. As Cassandra answers a read: range tombstones end
        where the interval does, and the deletion of the whole partition comes along with any part of it."""
        copy = Partition()
        for position, (clustering, record) in self.rows.items():
            if interval.holds(position):
                copy.rows[position] = (clustering, copy_of(record))
        copy.ranges = [(_cut(held, interval), stamp) for held, stamp in self.ranges if _meet(held, interval)]
        copy.deleted, copy.part_stamp = self.deleted, self.part_stamp
        return copy

    def is_same(self, other: "Partition") -> bool:
        return (
            self.part_stamp == other.part_stamp
            and self.deleted == other.deleted
            and self.rows == other.rows
            and set(self.ranges) == set(other.ranges)
        )

    @property
    def shown_part_stamp(self) -> int:
        stamp, value = self.part_stamp
        return value if stamp > self.deleted else 0

    def _join_row(self, position: bytes, clustering: bytes | None, record: Record) -> None:
        found = self.rows.get(position)
        if found is not None:
            kept, joined = found
            clustering = clustering if clustering == kept else max(clustering or b"", kept or b"")
        else:
            joined = Record({})
        merge(joined, record)
        for interval, stamp in self.ranges:
            if interval.holds(position):
                hide(joined, stamp)
        if not is_empty(joined):
            self.rows[position] = (clustering, joined)
        else:
            self.rows.pop(position, None)

    def _join_range(self, interval: Interval, stamp: int) -> None:
        if interval.is_empty or (interval, stamp) in self.ranges:
            return
        self.ranges.append((interval, stamp))
        for position in [position for position in self.rows if interval.holds(position)]:
            _, record = self.rows[position]
            hide(record, stamp)
            if is_empty(record):
                del self.rows[position]
        if interval.is_whole:
            self.deleted = max(self.deleted, stamp)


class Replica:
    """The partitions of one site. `full`: its disk is, and it takes no writes."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[bytes, Partition]] = {}
        self.full = False

    def partition(self, table: int, partition: bytes) -> Partition:
        """That partition, made empty if it is not there."""
        partitions = self._tables.setdefault(table, {})
        found = partitions.get(partition)
        if found is None:
            found = partitions[partition] = Partition()
        return found

    def apply(self, table: int, partition: bytes, changes: Sequence[Change]) -> None:
        self.partition(table, partition).apply(changes)

    def partitions(self, table: int) -> list[bytes]:
        """The keys of the partitions it knows anything of, sorted."""
        return sorted(self._tables.get(table, ()))

    def drop(self, table: int) -> None:
        self._tables.pop(table, None)


def copy_of(record: Record) -> Record:
    return Record(dict(record.cells), record.marker, record.marker_when, record.deleted, record.deleted_at)


def _cut(held: Interval, asked: Interval) -> Interval:
    """What an answer about `asked` says of a tombstone over `held`."""
    if held.is_whole:
        return held
    ends = [high for high in (held.high, asked.high) if high is not None]
    return Interval(max(held.low, asked.low), min(ends, default=None))


def _meet(one: Interval, other: Interval) -> bool:
    return (one.high is None or other.low < one.high) and (other.high is None or one.low < other.high)
