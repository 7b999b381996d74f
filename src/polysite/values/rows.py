"""Rows as the stores hold them, and the writes that change them.

Every write carries its own stamp; per cell the higher stamp wins, whoever sends it and whenever it arrives
(ties: a tombstone beats a value, else the larger bytes win, as Cassandra breaks them).
"""

from typing import NamedTuple, TypeAlias

import msgspec

from polysite.values.keys import RowKey

PLAIN_STAMP_MAX = 2**52 - 1
"""Highest stamp of an unlocked write; critical stamps start above it (locks.md 6.5, I2)."""


class Cell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One column's value: CQL serialisation, the stamp it was written with, and what is left of its life.

    `life_ms` None: it does not expire.
    """

    value: bytes
    stamp: int
    life_ms: int | None = None


class StoredRow(msgspec.Struct, frozen=True, gc=False):
    """What a store read of one row returned. A row that is not there is one with `present` false.

    `cells` holds regular columns that have a value, after rule I8: a cell stamped below `row_stamp` counts as null.
    `row_stamp` is 0 when missing or when it covered another set of columns (I7). `part_stamp` is 0 when missing or when
    the table has no clustering columns. `marker_life_ms` is the remaining life of the row marker, None when it does
    not expire or the row has none.
    """

    key: RowKey
    cells: dict[str, Cell]
    present: bool
    row_stamp: int = 0
    absent: bool = False
    part_stamp: int = 0
    marker_life_ms: int | None = None


class Bound(NamedTuple):
    """One end of a slice, in clustering order: leading clustering components and whether rows that start so are in."""

    prefix: tuple[bytes, ...]
    inclusive: bool


class Slice(NamedTuple):
    """A consecutive run of a partition's rows in clustering order; None: open on that side."""

    lower: Bound | None = None
    upper: Bound | None = None


WHOLE_PARTITION = Slice()


class Put(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Write the named cells (None: null, a cell tombstone) of one row at `stamp`.

    `marker` also writes the row marker, as INSERT does, so that the row exists even with every column null.
    `row_stamp` sets the hidden row stamp to that value (the adapter adds the hash of the table's columns); None leaves it.
    `absent` True marks the row absent, False writes the mark as null, None leaves the mark. `life_ms` None: for ever.
    """

    key: RowKey
    cells: dict[str, bytes | None]
    stamp: int
    marker: bool = True
    row_stamp: int | None = None
    absent: bool | None = None
    life_ms: int | None = None


class DeleteRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row tombstone: hides everything of the row stamped at or below `stamp`, hidden columns too."""

    key: RowKey
    stamp: int


class DeleteRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range tombstone over a slice of one partition. Over `WHOLE_PARTITION` it also hides the static part stamp."""

    partition: tuple[bytes, ...]
    slice: Slice
    stamp: int


def deleted_beside(partition: tuple[bytes, ...], part: Slice, stamp: int, row: tuple[bytes, ...]) -> list[DeleteRange]:
    """The tombstone over a slice in one batch with other writes of the partition, `row` being the clustering key of one of them; empty: it
    is alone.

    Of all of a partition it is two that meet at that row: engines have another tombstone for a whole partition, which comes along with
    every read of any part of it, and is then brought to replicas that missed the batch (read repair) without its other writes. What they
    had of those rows would be gone there.
    """
    if part != WHOLE_PARTITION or not row:
        return [DeleteRange(partition=partition, slice=part, stamp=stamp)]
    ends = Slice(None, Bound(row, inclusive=True)), Slice(Bound(row, inclusive=False), None)
    return [DeleteRange(partition=partition, slice=end, stamp=stamp) for end in ends]


class SetPartStamp(msgspec.Struct, frozen=True, kw_only=True):
    """Write the hidden static part stamp of a partition, with value `part_stamp`, at `stamp`."""

    partition: tuple[bytes, ...]
    part_stamp: int
    stamp: int


Write: TypeAlias = Put | DeleteRow | DeleteRange | SetPartStamp


def partition_of(write: Write) -> tuple[bytes, ...]:
    """The partition that `write` changes."""
    if isinstance(write, Put | DeleteRow):
        return write.key.partition
    return write.partition
