"""Settling a partition: rewriting all of it, so that nothing an earlier session still sends can show in a range get.

The rows as read are cut into consecutive intervals that together cover everything; each is ONE atomic batch: a range
tombstone over exactly that interval, then each row found in it, whole, at stamps of their own. The tombstone hides rows that
may still appear where none was found. When all batches are acknowledged the partition's `part_stamp` becomes the FIRST
stamp of the attempt; it is never set by settling less than the whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

from polysite.core.plans import Partition
from polysite.core.restamp import restamp_present, size_bytes
from polysite.errors import TooLarge
from polysite.values.rows import WHOLE_PARTITION, Bound, SetPartStamp, Slice, StoredRow, Write, deleted_beside
from polysite.values.tables import TableSpec


class Batch(NamedTuple):
    """One interval's writes, at consecutive stamps up to `stamp`."""

    writes: tuple[Write, ...]
    stamp: int


def check_bounds(rows: Sequence[StoredRow], *, rows_max: int, bytes_max: int) -> None:
    """TooLarge, before anything is written, if the partition is more than may be rewritten."""
    if len(rows) > rows_max:
        raise TooLarge(f"this partition must be settled first and has more than {rows_max} rows: read single rows")
    if sum(map(size_bytes, rows)) > bytes_max:
        raise TooLarge(f"this partition must be settled first and has more than {bytes_max} bytes: read single rows")


def cut_batches(
    partition: Partition, columns: tuple[str, ...], rows: Sequence[StoredRow], first: int, *, writes_max: int
) -> list[Batch]:
    """The batches that settle a partition whose rows, in clustering order, are `rows`; stamps from `first` on.

    With a single batch the part_stamp is set in it, at a stamp of its own.
    """
    batches: list[Batch] = []
    stamp = first
    lower: Bound | None = None
    position = 0
    while True:
        tombstone_stamp = stamp
        stamp += 1
        found: list[Write] = []
        # Room is left for the tombstone, or two, and the part_stamp.
        while position < len(rows):
            rewritten = restamp_present(columns, rows[position], stamp).writes
            if found and len(found) + len(rewritten) + 3 > writes_max:
                break
            found.extend(rewritten)
            stamp += len(rewritten)
            position += 1
        last = position == len(rows)
        upper = None if last else Bound(rows[position - 1].key.clustering, inclusive=True)
        beside = rows[position - 1].key.clustering if found else ()
        tombstones = deleted_beside(partition, Slice(lower, upper), tombstone_stamp, beside)
        writes: list[Write] = [*tombstones, *found]
        if last and not batches:
            writes.append(part_stamp_write(partition, first, stamp))
            stamp += 1
        batches.append(Batch(tuple(writes), stamp - 1))
        if last:
            return batches
        assert upper is not None
        lower = Bound(upper.prefix, inclusive=False)


def part_stamp_write(partition: Partition, first: int, stamp: int) -> SetPartStamp:
    """Say that everything of the partition counts from `first` on."""
    return SetPartStamp(partition=partition, part_stamp=first, stamp=stamp)


def rows_in(table: TableSpec, rows: Sequence[StoredRow], part: Slice) -> list[StoredRow]:
    """Those of a partition's rows that a slice of it holds."""
    if part == WHOLE_PARTITION:
        return list(rows)
    places = [
        table.types[column.name].order_key_descending
        if column.direction == "desc"
        else table.types[column.name].order_key
        for column in table.clustering_key
    ]

    def position(components: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple(place(data) for place, data in zip(places, components, strict=False))

    found = list(rows)
    if (lower := part.lower) is not None:
        first, at = position(lower.prefix), len(lower.prefix)
        found = [row for row in found if _beyond(first, position(row.key.clustering[:at]), lower.inclusive)]
    if (upper := part.upper) is not None:
        last, at = position(upper.prefix), len(upper.prefix)
        found = [row for row in found if _beyond(position(row.key.clustering[:at]), last, upper.inclusive)]
    return found


def _beyond(low: tuple[bytes, ...], high: tuple[bytes, ...], inclusive: bool) -> bool:
    return low < high or (inclusive and low == high)
