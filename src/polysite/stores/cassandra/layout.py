"""How a table of ours lies in Cassandra: one table of the same name and columns, and a few hidden ones.

| hidden column | type | holds |
|---|---|---|
| `polysite_row_stamp` | blob | the row stamp and the hash of the columns it covers (locks.md 6.5, I7) |
| `polysite_absent` | boolean | true: the row is marked absent |
| `polysite_marker` | boolean | written with every row marker, at its stamp and with its life: Cassandra keeps a marker but never shows one |
| `polysite_part_stamp` | bigint static | the part stamp; only where there are clustering columns |

Collections and tuples are frozen, so that they are replaced whole and have one stamp. Cassandra orders clustering values as
`order_key` does, which is what bounds and cursors are compared with here.
"""

import struct
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

from polysite.engines.cassandra import Consistency
from polysite.engines.cassandra.accord import OPTIONS
from polysite.errors import BadRequest, TooLarge
from polysite.stores.contract import Level
from polysite.values.keys import RowKey, join_parts
from polysite.values.rows import Bound, Slice
from polysite.values.tables import HIDDEN_PREFIX, PRIMARY_KEY_BYTES_MAX, IndexSpec, TableSpec
from polysite.values.types import CqlType, parse_type

ROW_STAMP = f"{HIDDEN_PREFIX}row_stamp"
ABSENT = f"{HIDDEN_PREFIX}absent"
MARKER = f"{HIDDEN_PREFIX}marker"
PART_STAMP = f"{HIDDEN_PREFIX}part_stamp"

BIGINT, BLOB, BOOLEAN, INT, TEXT = (parse_type(name) for name in ("bigint", "blob", "boolean", "int", "text"))
HIDDEN_TYPES: dict[str, CqlType] = {ROW_STAMP: BLOB, ABSENT: BOOLEAN, MARKER: BOOLEAN}

LOCKED = frozenset({"sections", "mixed"})
"""The `writes` of tables whose rows are written under locks, and stamped by them."""

YES = b"\x01"
_ROW_STAMP = struct.Struct(">q8s")
_TABLE_IDS = uuid.UUID("6b0f3a52-5d39-4c0e-9a64-0a6a3a1f9d11")


class Levels(NamedTuple):
    """What the levels of the contract are for the tables of a keyspace, and the scope of its conditional writes."""

    local: Consistency
    site: Consistency
    majority: Consistency
    serial: Consistency
    commit: Consistency

    def of(self, level: Level) -> Consistency:
        """A level of the contract as Cassandra calls it."""
        return self.majority if level == "majority" else self.local if level == "local" else self.site


class Interval(NamedTuple):
    """Clustering positions from `low` up to, and without, `high`; None: to the end."""

    low: bytes = b""
    high: bytes | None = None

    @property
    def is_empty(self) -> bool:
        return self.high is not None and self.low >= self.high

    def holds(self, position: bytes) -> bool:
        return self.low <= position and (self.high is None or position < self.high)


NOTHING = Interval(b"", b"")
EVERYTHING = Interval()


class CassandraTable:
    """A table with its names at Cassandra; `statements` spells out what is asked of it."""

    def __init__(self, spec: TableSpec, keyspace: str, levels: Levels) -> None:
        self.spec = spec
        self.keyspace = keyspace
        """As Cassandra calls it."""
        self.name = f"{quoted(keyspace)}.{quoted(spec.name)}"
        self.levels = levels
        self.is_clustered = bool(spec.clustering_key)
        self.is_conditional = spec.writes == "conditional"
        self.is_transactional = spec.writes == "transactional"
        self.has_part_stamp = self.is_clustered and spec.writes in LOCKED
        """Whether a part stamp may be there: only sections write one."""
        self.regular = spec.regular_names
        self.places = {name: place for place, name in enumerate(self.regular)}
        self.directions = tuple(column.direction for column in spec.clustering_key)
        self.indexes = {index.column: index for index in spec.indexes}
        self._positions: tuple[Callable[[bytes], bytes], ...] = tuple(
            spec.types[column.name].order_key_descending
            if column.direction == "desc"
            else spec.types[column.name].order_key
            for column in spec.clustering_key
        )

    def consistency(self, level: Level) -> Consistency:
        """The level of a read of one partition. Conditional writes are committed at one site, so their tables are read serially."""
        if level == "majority":
            if self.is_conditional:
                return self.levels.serial
            if self.is_transactional:
                return Consistency.SERIAL  # Accord knows no other scope
        return self.levels.of(level)

    def check_partition(self, components: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """`components` if they are a partition of this table; BadRequest or TooLarge."""
        count = len(self.spec.partition_key)
        if len(components) != count:
            raise BadRequest(f"the partition key has {count} columns")
        if sum(map(len, components)) > PRIMARY_KEY_BYTES_MAX:
            raise _key_too_large()
        if count == 1 and not components[0]:
            raise BadRequest("Cassandra takes no empty value as the only column of a partition key")
        return components

    def check_key(self, key: RowKey) -> RowKey:
        """`key` if it is the key of a row of this table; BadRequest or TooLarge."""
        self.check_partition(key.partition)
        if len(key.clustering) != len(self.directions):
            raise BadRequest(f"the key has {len(self.directions)} clustering columns")
        if sum(map(len, key.partition)) + sum(map(len, key.clustering)) > PRIMARY_KEY_BYTES_MAX:
            raise _key_too_large()
        return key

    def position(self, components: Sequence[bytes]) -> bytes:
        """Bytes that sort as the rows whose leading clustering components these are."""
        return b"".join([place(data) for place, data in zip(self._positions, components, strict=False)])

    def interval(self, part: Slice) -> Interval:
        """The positions of a slice; BadRequest if a bound has more components than there are clustering columns."""
        low = b"" if part.lower is None else self._end(part.lower, after=not part.lower.inclusive)
        high = None if part.upper is None else self._end(part.upper, after=part.upper.inclusive)
        return NOTHING if low is None else Interval(low, high)

    def _end(self, bound: Bound, *, after: bool) -> bytes | None:
        if len(bound.prefix) > len(self.directions):
            raise BadRequest(f"a bound has at most {len(self.directions)} components")
        if sum(map(len, bound.prefix)) > PRIMARY_KEY_BYTES_MAX:
            raise _key_too_large()
        position = self.position(bound.prefix)
        return _above(position) if after else position


def row_stamp_value(row_stamp: int, columns_hash: bytes) -> bytes:
    """The value of the hidden column `row_stamp`: it counts only for the set of columns it covered."""
    return _ROW_STAMP.pack(row_stamp, columns_hash)


def row_stamp_of(value: bytes | None, columns_hash: bytes) -> int:
    """The row stamp; 0 if there is none or it covered another set of columns."""
    if value is None or len(value) != _ROW_STAMP.size:
        return 0
    row_stamp, covered = _ROW_STAMP.unpack(value)
    return int(row_stamp) if covered == columns_hash else 0


def quoted(name: str) -> str:
    """A name as CQL takes it with its case kept. Names are letters, digits and underscores (`check_name`)."""
    return f'"{name}"'


def cql_of(cql_type: CqlType) -> str:
    """The type as CQL takes it: what holds others is frozen."""
    if not cql_type.parameters:
        return cql_type.name
    return f"frozen<{cql_type.name}<{', '.join(map(cql_of, cql_type.parameters))}>>"


def table_id(keyspace: str, name: str, making: int) -> uuid.UUID:
    """The id of a making of a table, the same for whoever makes it, so that two who make it at once make one."""
    return uuid.uuid5(_TABLE_IDS, f"{keyspace}.{name}.{making}")


SPECULATIVE_RETRY_MS = 300
"""After so long a majority read asks a further replica. The one that was asked may be of a site that has just died, which Cassandra
notices only after some seconds (its default, the 99th percentile of what it measured, may be as long). Reads only: no write is
ever sent twice."""


def create_table(spec: TableSpec, keyspace: str, *, gc_grace_s: int) -> str:
    """The statement that makes the table of `spec.making`."""
    columns = [f"{quoted(name)} {cql_of(cql_type)}" for name, cql_type in spec.types.items()]
    columns += [f"{quoted(name)} {cql_of(cql_type)}" for name, cql_type in HIDDEN_TYPES.items()]
    if spec.clustering_key:
        columns.append(f"{quoted(PART_STAMP)} bigint static")
    partition = ", ".join(map(quoted, spec.partition_key))
    key = ", ".join([f"({partition})", *map(quoted, spec.clustering_names)])
    options = [
        f"id = {table_id(keyspace, spec.name, spec.making)}",
        f"gc_grace_seconds = {gc_grace_s}",
        f"speculative_retry = '{SPECULATIVE_RETRY_MS}ms'",
    ]
    if spec.writes == "transactional":
        options.append(OPTIONS)
    if spec.clustering_key:
        order = ", ".join(f"{quoted(column.name)} {column.direction.upper()}" for column in spec.clustering_key)
        options.insert(0, f"CLUSTERING ORDER BY ({order})")
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(keyspace)}.{quoted(spec.name)}"
        f" ({', '.join(columns)}, PRIMARY KEY ({key})) WITH {' AND '.join(options)}"
    )


def index_name(spec: TableSpec, index: IndexSpec) -> str:
    """What an index is called at Cassandra, where such names are unique in a keyspace."""
    parts = (spec.keyspace, spec.name, index.name, index.column)
    return (
        f"polysite_{uuid.uuid5(_TABLE_IDS, f'{join_parts(part.encode() for part in parts).hex()}.{spec.making}').hex}"
    )


def create_index(spec: TableSpec, keyspace: str, index: IndexSpec) -> str:
    """The statement that makes an index over one column."""
    holder = spec.types[index.column]
    column = f"FULL({quoted(index.column)})" if holder.is_collection else quoted(index.column)
    name = quoted(index_name(spec, index))
    return f"CREATE INDEX IF NOT EXISTS {name} ON {quoted(keyspace)}.{quoted(spec.name)} ({column})"


def _key_too_large() -> TooLarge:
    return TooLarge(f"a serialised primary key is at most {PRIMARY_KEY_BYTES_MAX} bytes")


def _above(prefix: bytes) -> bytes | None:
    """The lowest bytes above everything that starts with `prefix`; None if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None
