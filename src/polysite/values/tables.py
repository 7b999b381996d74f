"""Keyspaces, tables and indexes as values, and how primary keys become bytes.

A table's primary key is its partition columns followed by its clustering columns. Locks are taken on the partition,
or on fewer of its leading columns where the table says so (`lock_columns`); such a lock covers several partitions.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import msgspec

from polysite.errors import BadRequest, TooLarge, UnknownKey
from polysite.values.keys import LockKey, RowKey
from polysite.values.types import CqlType, parse_type

Writes = Literal["sections", "mixed", "eventual", "conditional", "transactional"]
Direction = Literal["asc", "desc"]

PRIMARY_KEY_BYTES_MAX = 4096
"""Bound of a serialised primary key; lock keys and references carry it, so it stays small."""

HIDDEN_PREFIX = "polysite_"
"""Columns whose name starts so belong to polysite and are never shown."""

RESERVED_KEYSPACE = "polysite"
"""Holds polysite's own control rows (processes, idempotency records); users cannot create or change tables in it."""

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")


def check_name(name: str, what: str) -> str:
    """Return `name` if it can name a keyspace, table, column or index on every engine; else BadRequest.

    48 characters is Cassandra's own bound; quoting keeps case, so names are case-sensitive here.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise BadRequest(f"{what} names are a letter followed by up to 47 letters, digits or underscores")
    return name


class KeyspaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A keyspace; `replicas` says how many copies each site keeps (None: one at every site)."""

    name: str
    replicas: dict[str, int] | None = None


class ColumnSpec(msgspec.Struct, frozen=True):
    """A column's name and CQL type in its canonical spelling, for example `map<text, int>`."""

    name: str
    type: str


class ClusteringColumn(msgspec.Struct, frozen=True):
    """A clustering column and the direction its rows are kept in."""

    name: str
    direction: Direction = "asc"


class IndexSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A secondary index over one regular or clustering column, for equality."""

    name: str
    column: str


class TableSpec(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a table is made of; equal specs mean equal tables.

    `lock_columns` empty means: all partition columns. `writes` says how rows may be written (architecture: rows, levels, tables).
    """

    keyspace: str
    name: str
    columns: tuple[ColumnSpec, ...]
    partition_key: tuple[str, ...]
    clustering_key: tuple[ClusteringColumn, ...] = ()
    lock_columns: tuple[str, ...] = ()
    writes: Writes = "sections"
    indexes: tuple[IndexSpec, ...] = ()

    @cached_property
    def making(self) -> int:
        """Which making of the table the engine means: another number after it was dropped and made again, 0 where the engine
        does not tell. No part of what makes specs equal."""
        return 0

    def of_making(self, number: int) -> "TableSpec":
        """The same table, said to be of that making."""
        told = msgspec.structs.replace(self)
        told.__dict__["making"] = number
        return told

    @cached_property
    def types(self) -> dict[str, CqlType]:
        """Column name to type, in declaration order."""
        return {column.name: parse_type(column.type) for column in self.columns}

    @cached_property
    def clustering_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.clustering_key)

    @cached_property
    def _decimal_clustering_names(self) -> frozenset[str]:
        return frozenset(name for name in self.clustering_names if self.types[name].holds_decimals)

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """The primary key's columns in order: partition, then clustering."""
        return self.partition_key + self.clustering_names

    @cached_property
    def _key_name_set(self) -> frozenset[str]:
        return frozenset(self.key_names)

    @cached_property
    def _locked_name_set(self) -> frozenset[str]:
        return frozenset(self.locked_names)

    @cached_property
    def _locks_partition(self) -> bool:
        """Whether a lock covers exactly one partition."""
        return self.locked_names == self.partition_key

    @cached_property
    def regular_names(self) -> tuple[str, ...]:
        """The columns that are not part of the primary key, in declaration order."""
        keys = set(self.key_names)
        return tuple(column.name for column in self.columns if column.name not in keys)

    @cached_property
    def locked_names(self) -> tuple[str, ...]:
        """The columns whose values make the lock key."""
        return self.lock_columns or self.partition_key

    @cached_property
    def shown_columns(self) -> tuple[tuple[str, CqlType, int | None], ...]:
        """Every column in declaration order: name, type, and its place in the primary key (None: a regular column)."""
        places = {name: place for place, name in enumerate(self.key_names)}
        return tuple((name, cql_type, places.get(name)) for name, cql_type in self.types.items())

    @cached_property
    def columns_hash(self) -> bytes:
        """Eight bytes that stand for the set of regular columns a row stamp covers."""
        text = "\x00".join(f"{name}:{self.types[name]}" for name in sorted(self.regular_names))
        return hashlib.blake2b(text.encode(), digest_size=8).digest()

    @cached_property
    def index_by_column(self) -> dict[str, IndexSpec]:
        return {index.column: index for index in self.indexes}

    def type_of(self, column: str) -> CqlType:
        """The column's type; UnknownKey if the table has no such column."""
        found = self.types.get(column)
        if found is None:
            raise UnknownKey(f"table {self.keyspace}.{self.name} has no such column; it has {', '.join(self.types)}")
        return found

    @cached_property
    def _lone_key(self) -> tuple[str, CqlType] | None:
        """Name and type of the primary key's column, if it is only one: most tables' keys are made in fewer steps so."""
        return (self.key_names[0], self.types[self.key_names[0]]) if len(self.key_names) == 1 else None

    def row_key(self, values: Mapping[str, object]) -> RowKey:
        """The row key of `values`, which must name every primary key column and nothing else.

        BadRequest names the missing or surplus column; TooLarge if the serialised key passes `PRIMARY_KEY_BYTES_MAX`.
        """
        if self._lone_key is not None and len(values) == 1:
            name, cql_type = self._lone_key
            value = values.get(name)
            data = None if value is None else cql_type.serialise(value)
            if data is not None and len(data) <= PRIMARY_KEY_BYTES_MAX:
                return RowKey((data,))
        if values.keys() != self._key_name_set:
            missing = [name for name in self.key_names if name not in values]
            detail = f"{', '.join(missing)} is missing" if missing else "it names other columns too"
            raise BadRequest(
                f"the primary key of {self.keyspace}.{self.name} is ({', '.join(self.key_names)}): {detail}"
            )
        return self.row_key_from_bytes([self._key_bytes(name, values[name]) for name in self.key_names])

    def row_key_from_bytes(self, components: Sequence[bytes]) -> RowKey:
        """The row key of already serialised components, in the order of `key_names`."""
        if sum(map(len, components)) > PRIMARY_KEY_BYTES_MAX:
            raise TooLarge(f"a serialised primary key is at most {PRIMARY_KEY_BYTES_MAX} bytes")
        split = len(self.partition_key)
        return RowKey(tuple(components[:split]), tuple(components[split:]))

    def key_values(self, key: RowKey) -> dict[str, object]:
        """The primary key's columns as Python values."""
        components = key.partition + key.clustering
        return {name: self.types[name].deserialise(data) for name, data in zip(self.key_names, components, strict=True)}

    def lock_key(self, values: Mapping[str, object]) -> LockKey:
        """The lock key of `values`, which must name at least the lock columns; others of the primary key are ignored."""
        if values.keys() != self._locked_name_set:
            missing = [name for name in self.locked_names if name not in values]
            if missing:
                raise BadRequest(
                    f"locks of {self.keyspace}.{self.name} are on ({', '.join(self.locked_names)}): "
                    f"{', '.join(missing)} is missing"
                )
            if not values.keys() <= self.types.keys():
                raise BadRequest(f"table {self.keyspace}.{self.name} has the columns {', '.join(self.types)} only")
        columns = tuple([self._key_bytes(name, values[name]) for name in self.locked_names])
        if sum(map(len, columns)) > PRIMARY_KEY_BYTES_MAX:
            raise TooLarge(f"a serialised primary key is at most {PRIMARY_KEY_BYTES_MAX} bytes")
        return LockKey(self.keyspace, self.name, columns)

    def lock_key_of(self, key: RowKey) -> LockKey:
        """The lock key that protects the row `key`."""
        return self.lock_key_of_partition(key.partition)

    def lock_key_of_partition(self, partition: tuple[bytes, ...]) -> LockKey:
        """The lock key that protects a partition's rows."""
        if self._locks_partition and len(partition) == len(self.partition_key):
            return LockKey(self.keyspace, self.name, partition)
        by_name = dict(zip(self.partition_key, partition, strict=True))
        return LockKey(self.keyspace, self.name, tuple(by_name[name] for name in self.locked_names))

    def keys_of(self, values: Mapping[str, object]) -> tuple[LockKey, RowKey | None]:
        """The lock key of `values` as `lock_key` has it, and the row key if they name a whole primary key."""
        if values.keys() != self._key_name_set:
            return self.lock_key(values), None
        row = self.row_key(values)
        return self.lock_key_of(row), row

    def _key_bytes(self, name: str, value: object) -> bytes:
        if value is None:
            raise BadRequest(f"key column {name} of {self.keyspace}.{self.name} cannot be null")
        cql_type = self.types[name]
        data = cql_type.serialise(value)
        # 1.0 and 1.00 are one row to every engine, so they must be one key to sessions and answers as well.
        return cql_type.clustering_bytes(data) if name in self._decimal_clustering_names else data


def check_table(spec: TableSpec) -> TableSpec:
    """Return `spec` with canonical types if it can be made; else BadRequest that says what would be right."""
    check_name(spec.keyspace, "keyspace")
    check_name(spec.name, "table")
    names = [column.name for column in spec.columns]
    for name in names:
        check_name(name, "column")
        if name.startswith(HIDDEN_PREFIX):
            raise BadRequest(f"column names do not start with {HIDDEN_PREFIX}: those are polysite's own")
    if len(set(names)) != len(names):
        raise BadRequest("a column is named twice")
    if not spec.partition_key:
        raise BadRequest("a table needs at least one partition column")
    key_names = spec.partition_key + tuple(column.name for column in spec.clustering_key)
    if len(set(key_names)) != len(key_names) or not set(key_names) <= set(names):
        raise BadRequest("the primary key names columns of the table, each once")
    if spec.lock_columns and spec.lock_columns != spec.partition_key[: len(spec.lock_columns)]:
        raise BadRequest("lock_columns are the first columns of the partition key, or empty for all of them")
    indexed = [index.column for index in spec.indexes]
    if len(set(indexed)) != len(indexed) or len({index.name for index in spec.indexes}) != len(indexed):
        raise BadRequest("each index has its own name and its own column")
    for index in spec.indexes:
        check_index(spec, index)
    for name in key_names:
        _refuse_unorderable(spec, name, "the primary key")
    canonical = tuple(ColumnSpec(column.name, str(parse_type(column.type))) for column in spec.columns)
    return msgspec.structs.replace(spec, columns=canonical)


def check_index(spec: TableSpec, index: IndexSpec) -> IndexSpec:
    """Return `index` if it can stand on `spec`; else BadRequest or UnknownKey."""
    check_name(index.name, "index")
    names = {column.name for column in spec.columns}
    if index.column not in names:
        raise UnknownKey(f"table {spec.keyspace}.{spec.name} has no such column to index")
    if index.column in spec.partition_key:
        raise BadRequest("partition columns need no index")
    _refuse_unorderable(spec, index.column, "an index")
    return index


def _refuse_unorderable(spec: TableSpec, name: str, place: str) -> None:
    column = next(column for column in spec.columns if column.name == name)
    if not parse_type(column.type).is_orderable:
        raise BadRequest(
            f"column {name} cannot stand in {place}: its type {column.type} holds durations, which have no order"
        )
