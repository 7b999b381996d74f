"""A model of one partition so plain that it can be checked by reading: it keeps every write and works out each read.

It knows nothing of merging, intervals or files. The rules are those of `polysite.stores.contract`, with ties as
Cassandra breaks them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from polysite.testing.store_contract.bounds import within
from polysite.testing.store_contract.support import WIDE
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, DeleteRow, Put, SetPartStamp, Slice, Write
from polysite.values.types import parse_type

_COLUMNS = ("colour", "size")
_INT = parse_type("int")


class Candidate(NamedTuple):
    """One write of one cell, in the order in which ties are broken. `rank` 2: null, 1: with a life, 0: for ever."""

    stamp: int
    rank: int
    ends_us: int
    value: bytes

    def is_live(self, now_us: int) -> bool:
        return self.rank == 0 or (self.rank == 1 and self.ends_us > now_us)


class Seen(NamedTuple):
    """What a read of a row must tell."""

    cells: dict[str, tuple[bytes, int]]
    present: bool
    row_stamp: int
    absent: bool


class PartitionModel:
    """The writes that a partition of WIDE got, with the moment they were carried out."""

    def __init__(self, writes: Sequence[Write], at_us: int) -> None:
        self._writes = writes
        self._at_us = at_us

    def row(self, key: RowKey, now_us: int) -> Seen:
        """What a read of `key` tells at `now_us`."""
        hidden = self._hidden_up_to(key)
        puts = [write for write in self._writes if isinstance(write, Put) and write.key == key and write.stamp > hidden]
        row_stamp = self._winner([(put, _number_bytes(put.row_stamp)) for put in puts if put.row_stamp is not None])
        absent = self._winner([(put, b"\x01" if put.absent else None) for put in puts if put.absent is not None])
        marker = self._winner([(put, b"") for put in puts if put.marker])
        stamp = int.from_bytes(row_stamp.value) if row_stamp is not None and row_stamp.is_live(now_us) else 0
        if absent is not None and absent.is_live(now_us):
            return Seen({}, False, stamp, True)
        cells: dict[str, tuple[bytes, int]] = {}
        for column in _COLUMNS:
            winner = self._winner([(put, put.cells[column]) for put in puts if column in put.cells])
            if winner is not None and winner.is_live(now_us) and winner.stamp >= stamp:
                cells[column] = (winner.value, winner.stamp)
        is_marked = marker is not None and marker.is_live(now_us)
        return Seen(cells, is_marked or bool(cells), stamp, False)

    def part_stamp(self) -> int:
        """The static part stamp."""
        whole = [
            write.stamp for write in self._writes if isinstance(write, DeleteRange) and write.slice == WHOLE_PARTITION
        ]
        hidden = max(whole, default=0)
        stamps = [
            (write.stamp, write.part_stamp)
            for write in self._writes
            if isinstance(write, SetPartStamp) and write.stamp > hidden
        ]
        return max(stamps)[1] if stamps else 0

    def _hidden_up_to(self, key: RowKey) -> int:
        stamps = [0]
        for write in self._writes:
            covers = (isinstance(write, DeleteRow) and write.key == key) or (
                isinstance(write, DeleteRange) and _covers(write.slice, key)
            )
            if covers:
                stamps.append(write.stamp)
        return max(stamps)

    def _winner(self, writes: list[tuple[Put, bytes | None]]) -> Candidate | None:
        candidates = []
        for write, value in writes:
            if value is None:
                candidates.append(Candidate(write.stamp, 2, 0, b""))
            elif write.life_ms is not None:
                candidates.append(Candidate(write.stamp, 1, self._at_us + write.life_ms * 1000, value))
            else:
                candidates.append(Candidate(write.stamp, 0, 0, value))
        return max(candidates, default=None)


def _number_bytes(value: int) -> bytes:
    return value.to_bytes(8)


def _covers(part: Slice, key: RowKey) -> bool:
    types = WIDE.types
    row = (int(str(_INT.deserialise(key.clustering[0]))), str(types["title"].deserialise(key.clustering[1])))
    return within(row, _end(part.lower), _end(part.upper))


def _end(bound: Bound | None) -> tuple[int, str | None, bool] | None:
    if bound is None or not bound.prefix:
        return None
    title = str(WIDE.types["title"].deserialise(bound.prefix[1])) if len(bound.prefix) > 1 else None
    return int(str(_INT.deserialise(bound.prefix[0]))), title, bound.inclusive
