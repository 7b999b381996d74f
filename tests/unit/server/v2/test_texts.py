"""Texts of JSON values as Java writes them, and what is made of texts and values for a column."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.server.v2.bodies import NESTED_MAX, Body, parse_body
from polysite.server.v2.columns import to_blob, to_column
from polysite.server.v2.java_text import java_text
from polysite.values.types import parse_type


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as is", "as is"), ("", ""), (None, "null"), (True, "true"), (False, "false"), (5, "5"), (-5, "-5"), (10**20, "1" + "0" * 20),
        (1.10, "1.1"), (1e3, "1000.0"), (0.0, "0.0"), (-0.0, "-0.0"), (1e7, "1.0E7"), (9999999.0, "9999999.0"), (1e-3, "0.001"),
        (9.99e-4, "9.99E-4"), (1.5e300, "1.5E300"), (5e-324, "5.0E-324"), (123456.789, "123456.789"),
        (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (100.0, "100.0"), (1e22, "1.0E22"),
        ({}, "{}"), ({"k": 1}, "{k=1}"), ({"k": "v", "l": None}, "{k=v, l=null}"), ([], "[]"), ([1, "a", [True]], "[1, a, [true]]"),
        ({"a": {"b": [1.0]}}, "{a={b=[1.0]}}"),
    ],
)  # fmt: skip
def test_java_text(value: Any, text: str) -> None:
    """The forms that were recorded, and the edges between plain numbers and those with an exponent."""
    assert java_text(value) == text


@given(value=st.floats(allow_nan=False))
@example(4.35)
@example(1e-5)
@example(2.0**53)
def test_the_text_of_a_double_is_the_double(value: float) -> None:
    """Whatever form it takes, it reads as the same number; plain between a thousandth and ten million."""
    text = java_text(value)
    assert float(text) == value
    assert ("E" in text) == (value not in (0.0, float("inf"), float("-inf")) and not 1e-3 <= abs(value) < 1e7)


@pytest.mark.parametrize(
    ("cql", "value", "stored"),
    [
        ("text", 5, "5"), ("text", {}, "{}"), ("text", True, "true"), ("ascii", 1.10, "1.1"), ("text", None, None),
        ("int", "7", 7), ("int", "+7", 7), ("int", "-7", -7), ("bigint", "9223372036854775807", 2**63 - 1), ("varint", "9" * 30, 10**30 - 1),
        ("boolean", "TRUE", True), ("boolean", "yes", False), ("boolean", 1, False), ("boolean", {}, False),
        ("double", " 1.5 ", 1.5), ("double", "1d", 1.0), ("float", "2.5F", 2.5), ("double", "Infinity", float("inf")), ("double", 3, 3.0),
        ("blob", "é", "é".encode()), ("blob", 5, b"5"), ("list<text>", [1, True], ["1", "true"]), ("map<text, text>", {"a": 1}, {"a": "1"}),
        ("int", None, None), ("uuid", None, None),
    ],
)  # fmt: skip
def test_values_that_convert(cql: str, value: Any, stored: Any) -> None:
    """The conversions that clients rely on."""
    assert to_column(parse_type(cql), value, "c") == stored


@pytest.mark.parametrize("short", ["1-1-1-1-1", "00000001-0001-1-0001-000000000001"])
def test_short_groups_of_a_uuid(short: str) -> None:
    """Groups may be shorter than they are written."""
    assert str(to_column(parse_type("uuid"), short, "c")) == "00000001-0001-0001-0001-000000000001"


@pytest.mark.parametrize(
    ("cql", "value"),
    [
        ("int", "5.0"), ("int", 5.0), ("int", " 5"), ("int", ""), ("int", "٣"), ("int", 2**31), ("int", True), ("int", "1_0"), ("bigint", 2**63),
        ("double", "x"), ("double", True), ("double", "0x1p3"), ("float", []), ("uuid", "1-1-1-1"), ("uuid", "1-1-1-1-1-1"), ("uuid", "g-1-1-1-1"),
        ("timestamp", "soon"), ("timestamp", 2**63), ("date", True), ("inet", "1.2.3"), ("inet", {}), ("list<int>", {}), ("list<int>", ["x"]),
        ("list<int>", [None]), ("map<text, int>", []), ("map<text, int>", {"a": "x"}), ("tuple<int, int>", [1]), ("tuple<int, int>", [1, 2, 3]),
        ("set<int>", "1"), ("ascii", "é"), ("tinyint", 200),
    ],
)  # fmt: skip
def test_values_that_do_not(cql: str, value: Any) -> None:
    """Each is refused by the column's name, without the value."""
    with pytest.raises(BadRequest, match=r"^c: ") as told:
        to_column(parse_type(cql), value, "c")
    assert told.value.attributes["column"] == "c"
    if isinstance(value, str) and len(value) > 3:
        assert value not in told.value.message


def test_object_maps() -> None:
    """Base64 for columns of type blob, and nothing else."""
    assert to_blob(parse_type("blob"), "AAEC", "c") == b"\x00\x01\x02"
    assert to_blob(parse_type("blob"), None, "c") is None
    for cql, value in (("text", "AAEC"), ("blob", 5), ("blob", "???"), ("blob", "A"), ("blob", "AA EC")):
        with pytest.raises(BadRequest, match=r"^c: "):
            to_blob(parse_type(cql), value, "c")


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5), ("5", 5), (" +5 ", 5), ("-5", -5), (5.9, 5), (-5.9, -5), (10**30, 10**30), (None, None)],
)
def test_whole_numbers(value: Any, number: int | None) -> None:
    """Texts of digits are taken, fractions are cut off."""
    assert Body({"n": value}).whole_number("n") == number


@pytest.mark.parametrize("value", ["+-5", "--5", "5.0", "", " ", "5 5", "٣", "1_0", "9" * 20, True, [], {}, 1e300])
def test_what_is_no_whole_number(value: Any) -> None:
    """A refusal that names the member."""
    with pytest.raises(BadRequest, match="n is a whole number"):
        Body({"n": value}).whole_number("n")


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"1",
        b'"x"',
        b"\xff",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"1" * 5_000 + b"}",
    ],
)
def test_bodies_that_are_none(raw: bytes) -> None:
    """What is no JSON object in UTF-8 is refused."""
    with pytest.raises(BadRequest):
        parse_body(raw)


@pytest.mark.parametrize("raw", [b"", b"  \n", b"null", b" null "])
def test_no_body(raw: bytes) -> None:
    """Nothing and null are no body."""
    assert parse_body(raw) is None


@pytest.mark.parametrize(("opens", "closes"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_nesting_is_bounded(opens: bytes, closes: bytes) -> None:
    """As deep as the bound is taken, one deeper is refused; brackets in texts, and beside one another, are not counted."""

    def body(depth: int) -> bytes:
        return b'{"v":' + opens * depth + b"1" + closes * depth + b"}"

    assert parse_body(body(NESTED_MAX - 1)) is not None
    for depth in (NESTED_MAX, 900, 100_000):
        with pytest.raises(BadRequest, match="nested too deeply"):
            parse_body(body(depth))
    assert parse_body(b'{"v": "' + opens.replace(b'"', b"'") * 1_000 + b'"}') is not None
    assert parse_body(b'{"v": [' + b"[1]," * 1_000 + b"[1]]}") is not None
