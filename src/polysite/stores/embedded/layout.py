"""How a table lies in the file, and how keys become positions there.

Each table of ours is up to three tables of the file, named by a number that is never given twice, so that rows of a
dropped table cannot come back under its name:

| table | a row holds |
|---|---|
| `rows_N` | partition bytes `p`, clustering position `c`, serialised clustering components `k`, record `v`, an upper bound `m` of its stamps, and in `h` what the record holds beside plain columns |
| `ranges_N` | range tombstones: no two overlap; `lo` ≤ c < `hi`, null `hi` is the end |
| `statics_N` | the static part stamp of a partition and the stamp of the last deletion of all of it |

and one more for each index, `index_N_M`: (value, p, c) of every row whose record has that value.
"""

# ruff: noqa: S608, ISC004 - statements differ only in the numbers of their tables

from collections.abc import Callable
from functools import cached_property
from typing import TypeAlias

import msgspec

from polysite.engines.sqlite.records import COLUMNS_FROM
from polysite.errors import BadRequest, TooLarge
from polysite.values.keys import RowKey, join_parts
from polysite.values.rows import Bound, Slice
from polysite.values.tables import PRIMARY_KEY_BYTES_MAX, IndexSpec, TableSpec

Place: TypeAlias = tuple[bytes, bytes, bytes | None]
"""Partition, clustering position, serialised clustering components (None: there are none)."""


class Interval(msgspec.Struct, frozen=True):
    """Clustering positions from `low` up to, and without, `high`; None: to the end."""

    low: bytes = b""
    high: bytes | None = None

    @property
    def is_whole(self) -> bool:
        return self.low == b"" and self.high is None

    @property
    def is_empty(self) -> bool:
        return self.high is not None and self.low >= self.high

    def holds(self, position: bytes) -> bool:
        return self.low <= position and (self.high is None or position < self.high)


NOTHING = Interval(b"", b"")


class PhysicalIndex:
    """One index of a table in the file."""

    def __init__(self, number: int, made: int, spec: IndexSpec, table: TableSpec) -> None:
        name = f"index_{number}_{made}"
        self.spec = spec
        self.made = made
        self.clustering_at = (
            table.clustering_names.index(spec.column) if spec.column in table.clustering_names else None
        )
        """Which clustering component it is over; None for a regular column."""
        self.column = None if self.clustering_at is not None else _number_of(table, spec.column)
        self.create = f"create table {name} (value blob, p blob, c blob, primary key (value, p, c)) without rowid"
        self.drop = f"drop table {name}"
        self.add = f"insert or ignore into {name} values (?, ?, ?)"
        self.remove = f"delete from {name} where value = ? and p = ? and c = ?"
        self.page = (
            f"select i.p, i.c, r.k, r.v, s.deleted, s.stamp, s.value from {name} i"
            f" join rows_{number} r on r.p = i.p and r.c = i.c left join statics_{number} s on s.p = i.p"
            f" where i.value = ? and (i.p, i.c) > (?, ?) order by i.p, i.c"
        )


class PhysicalTable:
    """A table as it lies in the file, with every statement spelled out once."""

    def __init__(
        self, number: int, spec: TableSpec, *, ranged: bool, indexes: tuple[tuple[int, IndexSpec], ...]
    ) -> None:
        self.number = number
        self.spec = spec
        self.ranged = ranged
        """Whether there ever was a range tombstone: without one, writes need not look for any."""
        self.is_clustered = bool(spec.clustering_key)
        self.columns = {name: COLUMNS_FROM + at for at, name in enumerate(spec.regular_names)}
        self.names = {column: name for name, column in self.columns.items()}
        self.indexes = tuple(PhysicalIndex(number, made, index, spec) for made, index in indexes)
        self._positions: tuple[Callable[[bytes], bytes], ...] = tuple(
            spec.types[column.name].order_key_descending
            if column.direction == "desc"
            else spec.types[column.name].order_key
            for column in spec.clustering_key
        )
        self._partition_count = len(spec.partition_key)
        self._clustering_count = len(spec.clustering_key)
        self._last_placed: tuple[RowKey | None, Place] = (None, (b"", b"", None))
        rows, ranges, statics = f"rows_{number}", f"ranges_{number}", f"statics_{number}"
        self._spell_out_schema(rows, ranges, statics)
        self._spell_out_rows(rows, statics)
        self._spell_out_ranges(ranges)
        self._spell_out_statics(statics)

    def _spell_out_schema(self, rows: str, ranges: str, statics: str) -> None:
        self.create = (
            f"create table {rows} (p blob, c blob, k blob, v blob not null, m integer not null, h integer not null,"
            " primary key (p, c)) without rowid",
            f"create table {ranges} (p blob, lo blob, hi blob, stamp integer not null, made integer not null,"
            " primary key (p, lo)) without rowid",
            f"create table {statics} (p blob primary key, deleted integer not null, made integer not null,"
            " stamp integer not null, value integer not null) without rowid",
        )
        self.drop = (f"drop table {rows}", f"drop table {ranges}", f"drop table {statics}")

    def _spell_out_rows(self, rows: str, statics: str) -> None:
        self.read = f"select v from {rows} where p = ? and c = ?"
        self.read_clustered = (
            f"select (select v from {rows} where p = ?1 and c = ?2),"
            f" (select value from {statics} where p = ?1 and stamp > deleted)"
        )
        self.find = f"select k, v, m from {rows} where p = ? and c = ?"
        self.insert = f"insert into {rows} (p, c, k, v, m, h) values (?, ?, ?, ?, ?, ?)"
        self.replace = (
            f"{self.insert} on conflict (p, c) do update set k = max(k, excluded.k), v = excluded.v, m = excluded.m,"
            " h = excluded.h where excluded.m > m and h & ? = 0"
        )
        """The whole row anew, if it is new, or if nothing of what is there would outlive it."""
        self.update = f"update {rows} set k = ?, v = ?, m = ?, h = ? where p = ? and c = ?"
        self.delete = f"delete from {rows} where p = ? and c = ?"
        self.delete_below = {
            False: f"delete from {rows} where p = ? and c >= ? and m <= ?",
            True: f"delete from {rows} where p = ? and c >= ? and c < ? and m <= ?",
        }
        self.above = {
            False: f"select c, k, v, m from {rows} where p = ? and c >= ? and m > ?",
            True: f"select c, k, v, m from {rows} where p = ? and c >= ? and c < ? and m > ?",
        }
        self.page = {
            (bounded, reverse): f"select c, k, v from {rows} where p = ? and c >= ?{' and c < ?' if bounded else ''}"
            f" order by c{' desc' if reverse else ''}"
            for bounded in (False, True)
            for reverse in (False, True)
        }
        self.scan = (
            f"select r.p, r.c, r.k, r.v, s.deleted, s.stamp, s.value from {rows} r left join {statics} s on s.p = r.p"
            " where (r.p, r.c) > (?, ?) order by r.p, r.c"
        )
        self.every_row = f"select p, c, k, v, m from {rows} where (p, c) > (?, ?) order by p, c limit ?"

    def _spell_out_ranges(self, ranges: str) -> None:
        self.range_at = f"select lo, hi, stamp, made from {ranges} where p = ? and lo <= ? order by lo desc limit 1"
        self.ranges_after = f"select lo, hi, stamp, made from {ranges} where p = ? and lo > ? order by lo"
        self.add_range = f"insert or replace into {ranges} values (?, ?, ?, ?, ?)"
        self.remove_range = f"delete from {ranges} where p = ? and lo = ?"
        self.collect_ranges = f"delete from {ranges} where made < ?"

    def _spell_out_statics(self, statics: str) -> None:
        self.read_static = f"select value from {statics} where p = ? and stamp > deleted"
        self.delete_static = (
            f"insert into {statics} values (?, ?, ?, 0, 0) on conflict (p) do update"
            " set deleted = excluded.deleted, made = excluded.made where excluded.deleted >= deleted"
        )
        self.set_static = (
            f"insert into {statics} values (?, 0, 0, ?, ?) on conflict (p) do update"
            " set stamp = excluded.stamp, value = excluded.value"
            " where (excluded.stamp, excluded.value) > (stamp, value)"
        )
        self.collect_statics = f"delete from {statics} where stamp <= deleted and made < ?"
        self.age_statics = f"update {statics} set deleted = 0, made = 0 where deleted > 0 and made < ?"

    @cached_property
    def columns_hash(self) -> bytes:
        return self.spec.columns_hash

    def partition(self, components: tuple[bytes, ...]) -> bytes:
        """The bytes of a partition; BadRequest or TooLarge if `components` are none of this table."""
        if len(components) != self._partition_count:
            raise BadRequest(f"the partition key has {self._partition_count} columns")
        if self._partition_count == 1:
            (component,) = components
            size = len(component)
            if size <= PRIMARY_KEY_BYTES_MAX:
                return size.to_bytes(2, "big") + component  # as `join_parts` has it, in fewer steps
        elif sum(map(len, components)) <= PRIMARY_KEY_BYTES_MAX:
            return join_parts(components)
        raise _key_too_large()

    def place(self, key: RowKey) -> Place:
        """Where the row `key` lies: partition, clustering position, serialised clustering components."""
        last_key, last_place = self._last_placed
        if key == last_key:  # a section reads the row that it writes
            return last_place
        place = self._place(key)
        self._last_placed = (key, place)
        return place

    def _place(self, key: RowKey) -> Place:
        partition = self.partition(key.partition)
        clustering = key.clustering
        if len(clustering) != self._clustering_count:
            raise BadRequest(f"the key has {self._clustering_count} clustering columns")
        if not clustering:
            return partition, b"", None
        if sum(map(len, key.partition)) + sum(map(len, clustering)) > PRIMARY_KEY_BYTES_MAX:
            raise _key_too_large()
        return partition, self.position(clustering), join_parts(clustering)

    def position(self, components: tuple[bytes, ...]) -> bytes:
        """Bytes that sort as the rows whose leading clustering components these are."""
        if len(components) == 1:
            return self._positions[0](components[0])
        return b"".join([place(data) for place, data in zip(self._positions, components, strict=False)])

    def interval(self, part: Slice) -> Interval:
        """The positions of a slice; BadRequest if a bound has more components than there are clustering columns."""
        low = b"" if part.lower is None else self._end(part.lower, after=not part.lower.inclusive)
        high = None if part.upper is None else self._end(part.upper, after=part.upper.inclusive)
        return NOTHING if low is None else Interval(low, high)

    def _end(self, bound: Bound, *, after: bool) -> bytes | None:
        if len(bound.prefix) > self._clustering_count:
            raise BadRequest(f"a bound has at most {self._clustering_count} components")
        if sum(map(len, bound.prefix)) > PRIMARY_KEY_BYTES_MAX:
            raise _key_too_large()
        position = self.position(bound.prefix)
        return _above(position) if after else position


def _key_too_large() -> TooLarge:
    return TooLarge(f"a serialised primary key is at most {PRIMARY_KEY_BYTES_MAX} bytes")


def _above(prefix: bytes) -> bytes | None:
    """The lowest bytes above everything that starts with `prefix`; None if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def _number_of(spec: TableSpec, column: str) -> int:
    return COLUMNS_FROM + spec.regular_names.index(column)
