"""Keys sort as Cassandra sorts, alone and one after the other, ascending and descending."""

import uuid
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.values.types import CqlType, parse_type
from tests.support.cql_values import ORDERED_SCALARS, compare, spellings, values


def _sign(left: Any, right: Any) -> int:
    return 1 if left > right else -1 if left < right else 0


def _key(cql_type: CqlType, value: Any, *, descending: bool = False) -> bytes:
    data = cql_type.serialise(value)
    return cql_type.order_key_descending(data) if descending else cql_type.order_key(data)


def _pairs(spelling: str) -> st.SearchStrategy[tuple[str, Any, Any]]:
    one = values(parse_type(spelling))
    return st.tuples(st.just(spelling), one, one)


@pytest.mark.parametrize("spelling", ORDERED_SCALARS)
def test_scalar_keys_sort_as_the_values(spelling: str) -> None:
    """Goal: memcmp of keys is Cassandra's order. Method: pairs of values against a comparison written separately."""

    @given(pair=_pairs(spelling))
    def check(pair: tuple[str, Any, Any]) -> None:
        _check_pair(*pair)

    check()


LADDERS: dict[str, list[Any]] = {
    # Around every length in bytes.
    "varint": [
        *[-(1 << (8 * length)) for length in range(1023, -1, -1)],
        0,
        *[(1 << (8 * length)) - 1 for length in range(1, 1024)],
    ],
    "decimal": [
        Decimal(text)
        for text in (
            "-1E+20",
            "-100",
            "-99.5",
            "-10",
            "-9.99",
            "-2",
            "-1.55",
            "-1.5",
            "-1.05",
            "-1",
            "-0.1",
            "-0.09",
            "-1E-20",
            "0",
            "1E-20",
            "0.09",
            "0.1",
            "0.101",
            "0.11",
            "1",
            "1.001",
            "1.05",
            "1.5",
            "1.55",
            "2",
            "9.99",
            "10",
            "10.1",
            "12.5",
            "99.5",
            "100",
            "101",
            "1E+20",
        )
    ],
    "uuid": [
        uuid.UUID(text)
        for text in (
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-0000-1000-0000-000000000000",  # version 1: its time is smaller than the next one's
            "00000000-0001-1000-0000-000000000000",
            "00000000-0000-1001-0000-000000000000",
            "00000000-0000-1001-8000-000000000000",
            "00000000-0000-4000-8000-000000000000",
            "00000001-0000-4000-8000-000000000000",
            "00000001-0000-4001-8000-000000000000",
        )
    ],
    "timeuuid": [
        uuid.UUID(text)
        for text in (
            "ffffffff-0000-1000-8000-000000000000",  # the last eight bytes compare as signed
            "ffffffff-0000-1000-ff00-000000000000",
            "ffffffff-0000-1000-0000-000000000000",
            "ffffffff-0000-1000-7f00-000000000000",
            "00000000-0001-1000-0000-000000000000",
            "00000000-0000-1001-0000-000000000000",
        )
    ],
    "text": ["", "\0", "\0\0", "\0a", "\x01", "a", "a\0", "a\0b", "aa", "é", "\uffff", "\U00010000"],
    "double": [float("-inf"), -1.5, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1.5, float("inf"), float("nan")],
    "date": [-(2**31), -1, 0, 1, 2**31 - 1],
    "timestamp": [-(2**63), -1, 0, 1, 2**63 - 1],
    "boolean": [False, True],
    "list<int>": [[], [-1], [0], [0, -5], [0, 0], [1]],
    "tuple<text, int>": [(None, 9), ("", None), ("", -1), ("", 0), ("\0", -1), ("a", None)],
    "map<int, text>": [[], [(1, "")], [(1, "a")], [(1, "a"), (2, "")], [(1, "b")], [(2, "")]],
}


@pytest.mark.parametrize("spelling", LADDERS)
def test_ladders(spelling: str) -> None:
    """Goal: the order written out once for a reader, at the places where encodings change. Method: each list is in
    Cassandra's order, so its keys must strictly rise, and strictly fall for a descending column."""
    cql_type = parse_type(spelling)
    for lower, higher in pairwise(LADDERS[spelling]):
        assert _key(cql_type, lower) < _key(cql_type, higher), (lower, higher)
        assert _key(cql_type, lower, descending=True) > _key(cql_type, higher, descending=True)


@given(pair=spellings(ORDERED_SCALARS).flatmap(_pairs))
@example(pair=("list<blob>", [b"", b"\xff"], [b"\x00"]))
@example(pair=("tuple<text, int>", ("", -1), ("\x00", 1)))
@example(pair=("list<text>", [""], []))
@example(pair=("tuple<text>", (None,), ("",)))
def test_compound_keys_sort_as_the_values(pair: tuple[str, Any, Any]) -> None:
    """Goal and method as for scalars, for lists, sets, maps and tuples of up to three levels."""
    _check_pair(*pair)


def _check_pair(spelling: str, left: Any, right: Any) -> None:
    cql_type = parse_type(spelling)
    left_key, right_key = _key(cql_type, left), _key(cql_type, right)
    expected = compare(cql_type, left, right)
    assert _sign(left_key, right_key) == expected
    assert _sign(_key(cql_type, left, descending=True), _key(cql_type, right, descending=True)) == -expected
    # No key is the beginning of another, so what follows it can never be taken for a part of it.
    assert left_key == right_key or not left_key.startswith(right_key)


@given(data=st.data())
def test_several_columns_sort_column_by_column(data: st.DataObject) -> None:
    """Goal: concatenated keys of a compound key, some columns descending, sort as the columns do one by one."""
    column_types = [parse_type(spelling) for spelling in data.draw(st.lists(spellings(ORDERED_SCALARS), max_size=3))]
    descending = [data.draw(st.booleans()) for _ in column_types]
    rows = [[data.draw(values(cql_type)) for cql_type in column_types] for _ in range(2)]
    rows[1] = [data.draw(st.sampled_from((own, other))) for own, other in zip(rows[1], rows[0], strict=True)]
    keys = [
        b"".join(
            _key(cql_type, value, descending=down)
            for cql_type, value, down in zip(column_types, row, descending, strict=True)
        )
        for row in rows
    ]
    expected = 0
    for cql_type, left, right, down in zip(column_types, *rows, descending, strict=True):
        expected = expected or compare(cql_type, left, right) * (-1 if down else 1)
    assert _sign(keys[0], keys[1]) == expected


@given(spelling=st.sampled_from(ORDERED_SCALARS), data=st.data())
def test_different_bytes_have_different_keys(spelling: str, data: st.DataObject) -> None:
    """Goal: no two rows fall together. Method: different serialised values, decimal apart, have different keys."""
    cql_type = parse_type(spelling)
    left, right = (cql_type.serialise(data.draw(values(cql_type))) for _ in range(2))
    if spelling != "decimal":
        assert (left == right) == (cql_type.order_key(left) == cql_type.order_key(right))


def test_decimals_of_another_scale_are_one_clustering_value() -> None:
    """Goal: 1.0 and 1.00 are one clustering value (as Cassandra compares), but not the same bytes, so not one
    partition. Method: the two, and far scales, where multiplying out would need gigabytes."""
    decimal = parse_type("decimal")
    one, also_one = decimal.serialise(Decimal("1.0")), decimal.serialise(Decimal("1.00"))
    assert one != also_one
    assert decimal.order_key(one) == decimal.order_key(also_one)
    assert _key(decimal, Decimal("0E+2147483648")) == _key(decimal, Decimal(0))
    assert _key(decimal, Decimal("1E-2147483647")) < _key(decimal, Decimal("1E+2147483648"))
    assert _key(decimal, Decimal("-1E+2147483648")) < _key(decimal, Decimal("-1E-2147483647"))


@given(pair=spellings((*ORDERED_SCALARS, *["decimal"] * 20)).flatmap(_pairs))
@example(pair=("decimal", Decimal("0E+9"), Decimal("0.00")))
@example(pair=("decimal", Decimal("10E+2147483647"), Decimal("1E+2147483648")))
@example(pair=("map<decimal, decimal>", [(Decimal("1.0"), Decimal("2.0"))], [(Decimal(1), Decimal("2.00"))]))
@example(pair=("tuple<decimal, int>", (Decimal("-1.0"), None), (Decimal(-1), None)))
@example(pair=("set<decimal>", [Decimal(-100)], [Decimal("-1E+2")]))
def test_one_form_for_each_clustering_value(pair: tuple[str, Any, Any]) -> None:
    """Goal: rows that a table counts as one can be counted as one by their bytes. Method: the clustering form keeps the
    order key, is its own clustering form, and is equal for two values exactly when their keys are."""
    cql_type = parse_type(pair[0])
    data = [cql_type.serialise(value) for value in pair[1:]]
    forms = [cql_type.clustering_bytes(one) for one in data]
    keys = [cql_type.order_key(one) for one in data]
    assert [cql_type.order_key(form) for form in forms] == keys
    assert [cql_type.clustering_bytes(form) for form in forms] == forms
    assert (forms[0] == forms[1]) == (keys[0] == keys[1])
    assert cql_type.holds_decimals or forms == data


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("1.00", "1"),
        ("100", "100"),
        ("1E+2", "100"),
        ("-0.50", "-0.5"),
        ("0E+9", "0"),
        ("2E+50", "2E+50"),
        ("20E+49", "2E+50"),
    ],
)
def test_clustering_decimals_read_well(given_text: str, kept: str) -> None:
    """Goal: the one form of a clustering decimal is the one a person would write."""
    decimal = parse_type("decimal")
    assert decimal.bytes_to_json(decimal.clustering_bytes(decimal.json_to_bytes(given_text))) == kept


def test_keys_of_bytes_that_serialise_never_writes() -> None:
    """Goal: a value stored by another program in another form sorts where the value belongs."""
    assert parse_type("varint").order_key(b"\x00\x05") == parse_type("varint").order_key(b"\x05")
    double = parse_type("double")
    assert double.order_key(bytes.fromhex("fff8000000000001")) == _key(double, float("nan"))
    assert double.order_key(bytes.fromhex("7ff0000000000001")) == _key(double, float("nan"))
    assert parse_type("boolean").order_key(b"\x07") == parse_type("boolean").order_key(b"\x01")
    assert parse_type("tuple<int, int>").order_key(bytes.fromhex("0000000400000007")) == _key(
        parse_type("tuple<int, int>"), (7, None)
    )


@pytest.mark.parametrize("spelling", ["duration", "list<duration>", "tuple<int, duration>", "map<int, duration>"])
def test_durations_have_no_order(spelling: str) -> None:
    """Goal: a type with a duration inside says that it cannot be sorted, and refuses when asked."""
    cql_type = parse_type(spelling)
    assert not cql_type.is_orderable
    from_json: dict[str, Any] = {"duration": "1d", "list<duration>": ["1d"], "map<int, duration>": [[1, "1d"]]}
    data = cql_type.json_to_bytes(from_json.get(spelling, [1, "1d"]))
    with pytest.raises(BadRequest, match="no order"):
        cql_type.order_key(data)
