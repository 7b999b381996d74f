"""Keys of rows from values: what is refused, whichever number of columns the primary key has."""

from typing import Any

import pytest

from polysite.errors import BadRequest, TooLarge
from polysite.values.keys import RowKey
from polysite.values.tables import PRIMARY_KEY_BYTES_MAX, ClusteringColumn, ColumnSpec, TableSpec

COLUMNS = (ColumnSpec("name", "text"), ColumnSpec("line", "text"), ColumnSpec("note", "text"))
LONE = TableSpec(keyspace="k", name="lone", columns=COLUMNS, partition_key=("name",))
PAIR = TableSpec(
    keyspace="k", name="pair", columns=COLUMNS, partition_key=("name",), clustering_key=(ClusteringColumn("line"),)
)


@pytest.mark.parametrize(("spec", "rest"), [(LONE, {}), (PAIR, {"line": ""})], ids=["one", "two"])
def test_keys_that_cannot_be_are_refused(spec: TableSpec, rest: dict[str, Any]) -> None:
    """Goal: a key of one column is judged as every other. Method: the longest there may be, empty, and one too long, null, of
    another type; a column that is missing, and one too many."""
    for name in ("n" * PRIMARY_KEY_BYTES_MAX, ""):
        key = spec.row_key({"name": name, **rest})
        assert key == RowKey((name.encode(),), tuple(value.encode() for value in rest.values()))
        assert spec.key_values(key) == {"name": name, **rest}
    with pytest.raises(TooLarge):
        spec.row_key({"name": "n" * (PRIMARY_KEY_BYTES_MAX + 1), **rest})
    for values in ({"name": None}, {"name": 1}, {}, {"note": "a"}, {"name": "a", "note": "b"}):
        with pytest.raises(BadRequest):
            spec.row_key({**values, **rest})
