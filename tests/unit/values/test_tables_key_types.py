"""Key columns of the types whose order is special: decimals have several forms of one value, durations no order."""

from decimal import Decimal
from typing import Any

import pytest

from polysite.errors import BadRequest
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, TableSpec, check_table

PRICES = TableSpec(
    keyspace="shop",
    name="prices",
    columns=(ColumnSpec("scale", "decimal"), ColumnSpec("price", "decimal"), ColumnSpec("tag", "text")),
    partition_key=("scale",),
    clustering_key=(ClusteringColumn("price"), ClusteringColumn("tag")),
)


def test_one_row_has_one_key() -> None:
    """Goal: a session that wrote 1.50 finds its write again under 1.5, because an engine holds them for one row.
    Method: clustering columns 1.5 and 1.50 give equal keys; as partition columns they give different keys and locks,
    as in Cassandra."""
    one = {"scale": Decimal("2.0"), "price": Decimal("1.50"), "tag": "a"}
    same = {**one, "price": Decimal("1.5")}
    assert PRICES.row_key(one) == PRICES.row_key(same)
    assert str(PRICES.key_values(PRICES.row_key(one))["price"]) == "1.5"
    other = {**one, "scale": Decimal("2.00")}
    assert PRICES.row_key(one) != PRICES.row_key(other)
    assert PRICES.lock_key(one) != PRICES.lock_key(other)


@pytest.mark.parametrize(
    "keys",
    [
        {"partition_key": ("wait",)},
        {"partition_key": ("name",), "clustering_key": (ClusteringColumn("wait"),)},
        {"partition_key": ("name",), "clustering_key": (ClusteringColumn("waits", "desc"),)},
        {"partition_key": ("name",), "indexes": (IndexSpec(name="by_wait", column="wait"),)},
    ],
)
def test_durations_are_refused_where_order_is_needed(keys: dict[str, Any]) -> None:
    """Goal: such a table is refused when it is made, not when its first row is written. Method: a duration as partition
    column, as clustering column, inside one, and indexed; as a plain column it is welcome."""
    columns = (ColumnSpec("name", "text"), ColumnSpec("wait", "duration"), ColumnSpec("waits", "list<duration>"))
    check_table(TableSpec(keyspace="k", name="t", columns=columns, partition_key=("name",)))
    with pytest.raises(BadRequest, match="holds durations"):
        check_table(TableSpec(keyspace="k", name="t", columns=columns, **keys))
