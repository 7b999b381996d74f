"""Selections: from conditions to reads, and cursors bound to them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.api import Condition
from polysite.errors import BadRequest
from polysite.site.selects import (
    PartitionRead,
    TableScan,
    decode_cursor,
    encode_cursor,
    plan_range,
    plan_select,
    selection_digest,
)
from polysite.values.rows import WHOLE_PARTITION, Bound, Slice
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, TableSpec

SPEC = TableSpec(
    keyspace="ks",
    name="t",
    columns=tuple(ColumnSpec(name, "int") for name in ("p", "q", "c", "d", "v")),
    partition_key=("p", "q"),
    clustering_key=(ClusteringColumn("c"), ClusteringColumn("d", "desc")),
    indexes=(IndexSpec(name="by_v", column="v"),),
)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


def where(*conditions: tuple[str, Any, Any]) -> list[Condition]:
    return [Condition(column=column, comparison=comparison, value=value) for column, comparison, value in conditions]


PARTITION = (("p", "eq", 1), ("q", "eq", 2))


def one(*conditions: tuple[str, Any, Any]) -> Slice:
    planned = plan_select(SPEC, where(*PARTITION, *conditions), ranges_max=10)
    assert isinstance(planned, list)
    ((partition, part),) = planned
    assert partition == (number(1), number(2))
    return part


def test_slices() -> None:
    """Goal: bounds stand in clustering order, a descending column swaps them. Method: one case per kind."""
    assert one() == WHOLE_PARTITION
    assert one(("c", "eq", 3)) == Slice(Bound((number(3),), True), Bound((number(3),), True))
    assert one(("c", "gt", 3)) == Slice(Bound((number(3),), False), None)
    assert one(("c", "ge", 3), ("c", "lt", 5)) == Slice(Bound((number(3),), True), Bound((number(5),), False))
    three = Bound((number(3),), True)
    assert one(("c", "eq", 3), ("d", "gt", 7)) == Slice(three, Bound((number(3), number(7)), False))
    assert one(("c", "eq", 3), ("d", "le", 7)) == Slice(Bound((number(3), number(7)), True), three)


def test_in_lists() -> None:
    """Goal: `in` makes one read per combination, in the order rows are kept. Method: on both kinds of columns."""
    planned = plan_select(
        SPEC, where(("p", "in", [2, 1, 2]), ("q", "eq", 0), ("c", "eq", 1), ("d", "in", [1, 2])), ranges_max=4
    )
    assert isinstance(planned, list)
    assert [(read.partition[0], read.slice.lower and read.slice.lower.prefix[1]) for read in planned] == [
        (number(1), number(2)),
        (number(1), number(1)),
        (number(2), number(2)),
        (number(2), number(1)),
    ]
    with pytest.raises(BadRequest):
        plan_select(SPEC, where(("p", "in", [1, 2, 3]), ("q", "in", [1, 2])), ranges_max=5)


def test_scans_and_refusals() -> None:
    """Goal: an index by eq or no condition scans; all else that would be filtered is refused. Method: one of each."""
    assert plan_select(SPEC, [], ranges_max=1) == TableScan(None)
    assert plan_select(SPEC, where(("v", "eq", 4)), ranges_max=1) == TableScan(("v", number(4)))
    for bad in (
        [("p", "eq", 1)],
        [("p", "eq", 1), ("q", "gt", 1)],
        [("v", "gt", 4)],
        [("v", "eq", 4), *PARTITION],
        [*PARTITION, ("d", "eq", 1)],
        [*PARTITION, ("c", "gt", 1), ("d", "eq", 1)],
        [*PARTITION, ("c", "gt", 1), ("c", "ge", 2)],
        [*PARTITION, ("c", "eq", None)],
        [*PARTITION, ("c", "in", 3)],
    ):
        with pytest.raises(BadRequest):
            plan_select(SPEC, where(*bad), ranges_max=10)


def test_range_deletions() -> None:
    """Goal: a range deletion names one slice of one partition. Method: good and bad ones."""
    assert plan_range(SPEC, where(*PARTITION)) == PartitionRead((number(1), number(2)), WHOLE_PARTITION)
    for bad in ([], [("v", "eq", 1)], [*PARTITION, ("c", "in", [1])]):
        with pytest.raises(BadRequest):
            plan_range(SPEC, where(*bad))


@given(st.integers(0, 9), st.binary(max_size=40))
def test_cursors(read: int, inner: bytes) -> None:
    """Goal: a cursor goes back to where it was made, and only in its own selection. Method: encode, decode, swap."""
    digest = selection_digest(SPEC, plan_select(SPEC, where(*PARTITION), ranges_max=1))
    other = selection_digest(SPEC, plan_select(SPEC, [], ranges_max=1))
    text = encode_cursor(digest, read, inner)
    assert decode_cursor(digest, text, 10) == (read, inner or None)
    for wrong in (other, digest[:-1] + b"x"):
        with pytest.raises(BadRequest):
            decode_cursor(wrong, text, 10)
    with pytest.raises(BadRequest):
        decode_cursor(digest, text, read)


@given(st.text(max_size=40))
def test_no_cursors(text: str) -> None:
    """Goal: any text is a cursor or refused. Method: decode what was never encoded."""
    with pytest.raises(BadRequest):
        decode_cursor(b"12345678", text, 10)
