"""Three replicas of one partitioned table, cell-wise last write by stamp wins: a second, tiny reading of the store contract.

A write goes to every replica as a message of its own that may arrive at any time or never; a batch applies at once where it
arrives. It is on a majority when two replicas have it. A majority read asks two replicas, one after the other, and may write
what it returns back to both (blocking read repair).
"""

from copy import deepcopy
from typing import Any

from polysite.values.keys import RowKey
from polysite.values.rows import (
    WHOLE_PARTITION,
    Cell,
    DeleteRange,
    DeleteRow,
    Put,
    Slice,
    StoredRow,
    Write,
)

MARKER, ROW_STAMP, ABSENT, PART_STAMP = "@marker", "@row_stamp", "@absent", "@part_stamp"


def inside(slice_: Slice, clustering: tuple[bytes, ...]) -> bool:
    """Whether a row with these clustering components lies in the slice (one component here)."""
    low = (
        slice_.lower is None
        or clustering > slice_.lower.prefix
        or (slice_.lower.inclusive and clustering == slice_.lower.prefix)
    )
    high = (
        slice_.upper is None
        or clustering < slice_.upper.prefix
        or (slice_.upper.inclusive and clustering == slice_.upper.prefix)
    )
    return low and high


class Replica:
    """Cells by (row, column): (stamp, is tombstone, value); tombstones of rows and ranges beside them."""

    def __init__(self) -> None:
        self.cells: dict[tuple[Any, str], tuple[int, bool, Any]] = {}
        self.row_tombstones: dict[RowKey, int] = {}
        self.range_tombstones: dict[tuple[tuple[bytes, ...], Slice], int] = {}

    def set_cell(self, place: tuple[Any, str], stamp: int, value: Any) -> None:
        new = (stamp, value is None, value)
        old = self.cells.get(place)
        if old is None or new[:2] > old[:2] or (new[:2] == old[:2] and value is not None and value > old[2]):
            self.cells[place] = new

    def apply(self, writes: tuple[Write, ...]) -> None:
        for write in writes:
            if isinstance(write, Put):
                for name, value in write.cells.items():
                    self.set_cell((write.key, name), write.stamp, value)
                if write.marker:
                    self.set_cell((write.key, MARKER), write.stamp, 1)
                if write.row_stamp is not None:
                    self.set_cell((write.key, ROW_STAMP), write.stamp, write.row_stamp)
                if write.absent is not None:
                    self.set_cell((write.key, ABSENT), write.stamp, 1 if write.absent else None)
            elif isinstance(write, DeleteRow):
                self.row_tombstones[write.key] = max(self.row_tombstones.get(write.key, 0), write.stamp)
            elif isinstance(write, DeleteRange):
                place = (write.partition, write.slice)
                self.range_tombstones[place] = max(self.range_tombstones.get(place, 0), write.stamp)
            else:
                self.set_cell((write.partition, PART_STAMP), write.stamp, write.part_stamp)

    def merge(self, other: "Replica") -> None:
        for place, (stamp, _, value) in other.cells.items():
            self.set_cell(place, stamp, value)
        for key, stamp in other.row_tombstones.items():
            self.row_tombstones[key] = max(self.row_tombstones.get(key, 0), stamp)
        for span, stamp in other.range_tombstones.items():
            self.range_tombstones[span] = max(self.range_tombstones.get(span, 0), stamp)

    def hidden_below(self, key: RowKey) -> int:
        hidden = self.row_tombstones.get(key, 0)
        for (partition, slice_), stamp in self.range_tombstones.items():
            if partition == key.partition and inside(slice_, key.clustering):
                hidden = max(hidden, stamp)
        return hidden

    def part_stamp(self, partition: tuple[bytes, ...]) -> int:
        stamp, _, value = self.cells.get((partition, PART_STAMP), (0, True, None))
        return value if value is not None and stamp > self.range_tombstones.get((partition, WHOLE_PARTITION), 0) else 0

    def row(self, key: RowKey) -> StoredRow:
        hidden = self.hidden_below(key)
        seen = {
            name: (stamp, value)
            for (place, name), (stamp, dead, value) in self.cells.items()
            if place == key and stamp > hidden and not dead
        }
        row_stamp = seen.get(ROW_STAMP, (0, 0))[1]
        absent = ABSENT in seen
        cells = {
            name: Cell(value, stamp)
            for name, (stamp, value) in seen.items()
            if not name.startswith("@") and stamp >= row_stamp
        }
        present = not absent and (MARKER in seen or bool(cells))
        return StoredRow(key, cells if present else {}, present, row_stamp, absent, self.part_stamp(key.partition))

    def rows(self, partition: tuple[bytes, ...]) -> list[StoredRow]:
        keys = sorted({place for place, _ in self.cells if isinstance(place, RowKey) and place.partition == partition})
        return [row for row in map(self.row, keys) if row.present]

    def copy(self) -> "Replica":
        return deepcopy(self)
