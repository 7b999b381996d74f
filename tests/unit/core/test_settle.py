"""Which of a partition's rows a slice of it holds."""

from itertools import product

import pytest

from polysite.core.settle import rows_in
from polysite.stores.embedded.layout import PhysicalTable
from polysite.values.keys import RowKey
from polysite.values.rows import Bound, Slice, StoredRow
from polysite.values.tables import ClusteringColumn, ColumnSpec, Direction, TableSpec
from polysite.values.types import parse_type

INT = parse_type("int")


@pytest.mark.parametrize("directions", list(product(("asc", "desc"), repeat=2)))
def test_rows_in_a_slice(directions: tuple[Direction, Direction]) -> None:
    """Goal: whatever directions the columns are kept in, a slice holds the rows that a store finds for it. Method: every slice of
    a small partition whose ends are rows or begin rows, by the embedded store's own intervals."""
    spec = TableSpec(
        keyspace="ks",
        name="parts",
        columns=tuple(ColumnSpec(name, "int") for name in "kcdv"),
        partition_key=("k",),
        clustering_key=tuple(ClusteringColumn(*column) for column in zip("cd", directions, strict=True)),
    )
    table = PhysicalTable(1, spec, ranged=True, indexes=())
    values = [INT.serialise(number) for number in (-2, -1, 0, 3)]
    keys = [RowKey((values[0],), pair) for pair in product(values, repeat=2)]
    rows = [StoredRow(key, {}, True) for key in sorted(keys, key=lambda key: table.position(key.clustering))]
    prefixes: list[tuple[bytes, ...]] = [(value,) for value in values] + list(product(values, repeat=2))
    ends = [None, *(Bound(prefix, inclusive) for prefix in prefixes for inclusive in (False, True))]
    for lower, upper in product(ends, repeat=2):
        part = Slice(lower, upper)
        interval = table.interval(part)
        assert rows_in(spec, rows, part) == [row for row in rows if interval.holds(table.position(row.key.clustering))]
