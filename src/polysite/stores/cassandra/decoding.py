"""What Cassandra answered of a row, as a `StoredRow`: hidden columns taken out, rule I8 applied."""

from collections.abc import Sequence

from polysite.engines.cassandra import Row
from polysite.stores.cassandra.layout import MARKER, YES, CassandraTable, row_stamp_of
from polysite.values.keys import RowKey
from polysite.values.rows import Cell, StoredRow


def keyed_row(table: CassandraTable, values: Row, part_stamp: int | None = None) -> StoredRow | None:
    """A row that starts with its key; None if it stands for a partition that is only static.

    `part_stamp` None: as the row tells it.
    """
    spec = table.spec
    split, end = len(spec.partition_key), len(spec.key_names)
    clustering = values[split:end]
    if None in clustering:
        return None
    key = RowKey(tuple(map(_given, values[:split])), tuple(map(_given, clustering)))
    return stored_row(table, key, values, end, part_stamp)


def stored_row(
    table: CassandraTable, key: RowKey, values: Row, at: int = 0, part_stamp: int | None = None
) -> StoredRow:
    """The row whose selection starts at `at`: value, stamp and life of each column, then the hidden ones."""
    hidden = at + 3 * len(table.regular)
    row_stamp = row_stamp_of(values[hidden], table.spec.columns_hash)
    if part_stamp is None:
        part_stamp = part_stamp_of(values) if table.is_clustered else 0
    if values[hidden + 1] == YES:
        return StoredRow(key, {}, False, row_stamp, True, part_stamp)
    cells: dict[str, Cell] = {}
    for name in table.regular:
        value = values[at]
        if value is not None:
            stamp = _number(values[at + 1])
            if stamp >= row_stamp:
                cells[name] = Cell(value, stamp, _life_ms(values[at + 2]))
        at += 3
    marked = values[hidden + 2] is not None
    life_ms = _life_ms(values[hidden + 3]) if marked else None
    return StoredRow(key, cells, marked or bool(cells), row_stamp, False, part_stamp, life_ms)


def no_row(key: RowKey, part_stamp: int = 0) -> StoredRow:
    """A row that is not there."""
    return StoredRow(key, {}, False, part_stamp=part_stamp)


def part_stamp_of(values: Row) -> int:
    """The part stamp, which is the last column of whatever is selected with it; 0 when missing."""
    return _number(values[-1])


def refused_row(table: CassandraTable, names: Sequence[str], values: Row, asked: RowKey) -> StoredRow:
    """A row as a refused conditional write tells it, with all of its columns; `asked`: its key where that is not told.

    Cassandra tells no stamps and lives there: stamps are 0, and lives None.
    """
    told = dict(zip(names, values, strict=True))
    spec = table.spec
    key = asked
    if told.keys() >= set(spec.key_names):
        partition = tuple(_given(told[name]) for name in spec.partition_key)
        key = RowKey(partition, tuple(_given(told[name]) for name in spec.clustering_names))
    cells = {name: Cell(value, 0) for name in table.regular if (value := told[name]) is not None}
    return StoredRow(key, cells, told[MARKER] is not None or bool(cells))


def _given(value: bytes | None) -> bytes:
    assert value is not None, "Cassandra has no null in a key"
    return value


def _number(value: bytes | None) -> int:
    return 0 if value is None else int.from_bytes(value, signed=True)


def _life_ms(value: bytes | None) -> int | None:
    """What is left of a life, at least a millisecond while it lasts; Cassandra counts in seconds."""
    return None if value is None else max(1, _number(value) * 1000)
