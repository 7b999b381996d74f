"""Writes as statements: checked first, so that a batch with one bad write changes nothing, then bound."""

from collections.abc import Sequence

from polysite.engines.cassandra import UNSET, Bound, Value
from polysite.errors import BadRequest, TooLarge, UnknownKey
from polysite.stores.cassandra.layout import YES, CassandraTable, row_stamp_value
from polysite.stores.cassandra.slices import Piece, as_range, pieces
from polysite.stores.cassandra.statements import Statements
from polysite.stores.contract import BATCH_WRITES_MAX, VALUE_BYTES_MAX
from polysite.values.rows import DeleteRange, DeleteRow, Put, SetPartStamp, Write, partition_of

STAMP_MAX = 2**63 - 1
BATCH_BYTES_MAX = 15 * 1024 * 1024
"""Values of one batch, so that it fits into a mutation (half a segment of the commit log, 16 MiB by default in Cassandra 5.0)."""
INDEXED_BYTES_MAX = 65_534
"""Longest value of a column with an index: it is the partition key of the index's own table (Cassandra 5.0)."""
LIFE_S_MAX = 630_720_000
"""Twenty years, Cassandra's own bound."""


def check_writes(table: CassandraTable, writes: Sequence[Write], *, stamped: bool = True) -> None:
    """BadRequest, TooLarge or UnknownKey if they cannot be carried out together; `stamped` False: their stamps do not count."""
    if len(writes) > BATCH_WRITES_MAX:
        raise TooLarge(f"a batch has at most {BATCH_WRITES_MAX} writes")
    if len(writes) > 1:
        partition = partition_of(writes[0])
        if any(partition_of(write) != partition for write in writes):
            raise BadRequest("the writes of a batch are all of one partition")
    size = 0
    for write in writes:
        if stamped and not 0 < write.stamp <= STAMP_MAX:
            raise BadRequest("a stamp is from 1 to 2^63 - 1")
        if isinstance(write, Put):
            size += _check_put(table, write)
        elif isinstance(write, DeleteRow):
            table.check_key(write.key)
        elif isinstance(write, DeleteRange):
            table.check_partition(write.partition)
            table.interval(write.slice)
        elif not isinstance(write, SetPartStamp):
            raise BadRequest("a write is a Put, a DeleteRow, a DeleteRange or a SetPartStamp")
        else:
            table.check_partition(write.partition)
            if not table.has_part_stamp:
                raise BadRequest("only tables with clustering columns and locks have a part stamp")
    if size > BATCH_BYTES_MAX:
        raise TooLarge(f"the values written at once are at most {BATCH_BYTES_MAX} bytes on Cassandra")


def _check_put(table: CassandraTable, write: Put) -> int:
    """How many bytes its values have."""
    table.check_key(write.key)
    if write.life_ms is not None and not 0 < write.life_ms <= LIFE_S_MAX * 1000:
        raise BadRequest("a life is from one millisecond to 20 years (Cassandra's bound), or None for ever")
    size = 0
    for name, value in write.cells.items():
        if name not in table.places:
            if name in table.spec.types:
                raise BadRequest("a key column is no cell: it is part of the key")
            raise UnknownKey(f"the table has no such column; it has {', '.join(table.spec.types)}")
        if value is None:
            continue
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value is at most {VALUE_BYTES_MAX} bytes", column=name)
        if len(value) > INDEXED_BYTES_MAX and name in table.indexes:
            raise TooLarge(f"a value of a column with an index is at most {INDEXED_BYTES_MAX} bytes", column=name)
        size += len(value)
    return size


def bind_writes(statements: Statements, writes: Sequence[Write]) -> list[Bound]:
    """The statements of checked writes, each with its own stamp; an empty range makes none."""
    bound: list[Bound] = []
    for write in writes:
        stamp = _eight(write.stamp)
        if isinstance(write, Put):
            bound.append(bind_put(statements, write, stamp))
        elif isinstance(write, DeleteRow):
            bound.append((statements.delete_row, (stamp, *write.key.partition, *write.key.clustering)))
        elif isinstance(write, DeleteRange):
            bound += bind_range(statements, write, (stamp,))
        else:
            bound.append((statements.set_part_stamp, (stamp, _eight(write.part_stamp), *write.partition)))
    return bound


def bind_put(statements: Statements, write: Put, stamp: bytes | None) -> Bound:
    """A put; `stamp` None: of a conditional write, which the engine stamps."""
    table = statements.table
    columns: list[Value] = [write.cells.get(name, UNSET) for name in table.regular]
    columns.append(UNSET if write.row_stamp is None else row_stamp_value(write.row_stamp, table.spec.columns_hash))
    columns.append(UNSET if write.absent is None else YES if write.absent else None)
    columns.append(YES if write.marker else UNSET)
    key = (*write.key.partition, *write.key.clustering)
    life: Value = UNSET if write.life_ms is None else life_s(write.life_ms).to_bytes(4)
    using: tuple[Value, ...] = (life,) if stamp is None else (stamp, life)
    statement = statements.put(marker=write.marker, stamped=stamp is not None)
    return statement, ((*key, *columns, *using) if write.marker else (*using, *columns, *key))


def bind_range(statements: Statements, write: DeleteRange, stamp: tuple[bytes, ...]) -> list[Bound]:
    """A range tombstone, as one statement for each piece of its slice; without `stamp`: as part of a conditional write."""
    found = pieces(statements.table, write.slice)
    if not stamp:
        found = [as_range(statements.table, piece) for piece in found]
    return [bind_piece(statements, write.partition, piece, stamp) for piece in found]


def bind_piece(statements: Statements, partition: tuple[bytes, ...], piece: Piece, stamp: tuple[bytes, ...]) -> Bound:
    """The deletion of a piece of a partition."""
    values = [value for relation in piece for value in relation.values]
    return statements.delete_slice(piece, stamped=bool(stamp)), (*stamp, *partition, *values)


def life_s(life_ms: int) -> int:
    """A life in Cassandra's seconds: rounded up, so that nothing ends early and nothing lasts for ever by rounding."""
    return -(-life_ms // 1000)


def _eight(number: int) -> bytes:
    return number.to_bytes(8, signed=True)
