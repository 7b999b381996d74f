"""Keys, conditions and durations as people write them.

Method: plain calls on specs of one, two and three key columns.
"""

import pytest

from polysite.api import Condition
from polysite.client import table_spec
from polysite.client.naming import conditions, key_by_name, milliseconds, write_level
from polysite.errors import BadRequest

ONE = table_spec("k", "one", {"a": "text", "v": "int"}, partition_key="a")
THREE = table_spec(
    "k", "three", {"a": "text", "b": "int", "c": "int", "v": "int"}, partition_key=["a", "b"], clustering_key=["c"]
)


@pytest.mark.parametrize(
    ("spec", "key", "named"),
    [
        (ONE, "x", {"a": "x"}),
        (ONE, ("x",), {"a": "x"}),
        (ONE, {"a": "x"}, {"a": "x"}),
        (THREE, ("x", 1), {"a": "x", "b": 1}),
        (THREE, ("x", 1, 2), {"a": "x", "b": 1, "c": 2}),
        (THREE, {"b": 1}, {"b": 1}),
    ],
)
def test_keys_by_position_and_name(spec, key, named) -> None:  # type: ignore[no-untyped-def]
    """Positions are those of the primary key and may stop early; whether that is enough, the verb says."""
    assert key_by_name(spec, key) == named


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (2, {"a": "x", "b": 1, "c": 2}),
        ((2,), {"a": "x", "b": 1, "c": 2}),
        (("y", 5, 2), {"a": "y", "b": 5, "c": 2}),
        ({"c": 2}, {"a": "x", "b": 1, "c": 2}),
        ({"a": "y", "c": 2}, {"a": "y", "b": 1, "c": 2}),
    ],
)
def test_keys_within_a_section(key, named) -> None:  # type: ignore[no-untyped-def]
    """Inside a section the columns of its key may be left out."""
    assert key_by_name(THREE, key, within={"a": "x", "b": 1}) == named


def test_too_many_positions() -> None:
    """The refusal names the key's columns."""
    with pytest.raises(BadRequest, match=r"\(a\)"):
        key_by_name(ONE, ("x", "y"))


def test_conditions() -> None:
    """A mapping means equality; triples name their comparison, which must be one."""
    assert conditions(None) == []
    assert conditions({"a": 1}) == [Condition(column="a", comparison="eq", value=1)]
    assert conditions([("a", "in", [1, 2]), Condition(column="b", comparison="lt", value=3)]) == [
        Condition(column="a", comparison="in", value=[1, 2]),
        Condition(column="b", comparison="lt", value=3),
    ]
    with pytest.raises(BadRequest):
        conditions([("a", "like", 1)])  # type: ignore[list-item]


def test_durations() -> None:
    """Seconds become whole milliseconds; a short one never becomes none, a negative or endless one is refused."""
    assert [milliseconds(value) for value in (0, 0.0001, 0.0015, 10, 10.5)] == [0, 1, 2, 10_000, 10_500]
    for wrong in (-1, float("inf"), float("nan")):
        with pytest.raises(BadRequest):
            milliseconds(wrong)


@pytest.mark.parametrize(
    ("writes", "level"),
    [("sections", "atomic"), ("mixed", "eventual"), ("eventual", "eventual"), ("conditional", "eventual")],
)
def test_the_level_that_a_table_allows(writes, level) -> None:  # type: ignore[no-untyped-def]
    """Outside a section a write goes the way the table is written."""
    spec = table_spec("k", "t", {"a": "text"}, partition_key="a", writes=writes)
    assert write_level(spec) == level
