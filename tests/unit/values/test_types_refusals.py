"""What is not of a type is refused, with words that say what would be right and never with the value itself."""

import math
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import IntEnum
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.values.types import VARINT_BYTES_MAX, Duration, Time, parse_type
from tests.support.cql_values import SCALARS, spellings

NOT_PYTHON_VALUES: list[tuple[str, Any]] = [
    *[(spelling, None) for spelling in SCALARS],
    *[(spelling, object()) for spelling in SCALARS],
    ("text", b"bytes"),
    ("text", 5),
    ("text", "\ud800"),
    ("ascii", "é"),
    ("boolean", 1),
    ("boolean", "true"),
    ("tinyint", 128),
    ("tinyint", -129),
    ("smallint", 2**15),
    ("int", 2**31),
    ("int", True),
    ("int", 5.0),
    ("int", "5"),
    ("bigint", 2**63),
    ("bigint", -(2**63) - 1),
    ("bigint", Decimal(5)),
    ("varint", True),
    ("varint", 5.0),
    ("varint", 1 << (8 * VARINT_BYTES_MAX - 1)),
    ("float", 1e39),
    ("float", 16_777_217),
    ("double", 2**53 + 1),
    ("double", 10**400),
    ("double", True),
    ("double", "1.5"),
    ("double", Decimal("1.5")),
    ("decimal", 1.5),
    ("decimal", True),
    ("decimal", Decimal("NaN")),
    ("decimal", Decimal("sNaN")),
    ("decimal", Decimal("-Infinity")),
    ("decimal", Decimal("1E+2147483649")),
    ("decimal", Decimal("1E-2147483648")),
    ("decimal", 1 << (8 * VARINT_BYTES_MAX - 1)),
    ("decimal", Decimal(1 << (8 * VARINT_BYTES_MAX - 1))),
    ("decimal", Decimal((0, (9,) * 5000, 0))),
    ("blob", "text"),
    ("blob", [1]),
    ("uuid", "cc520882-9507-44fb-8fc9-b349ecdee658"),
    ("timeuuid", uuid.UUID("cc520882-9507-44fb-8fc9-b349ecdee658")),
    ("inet", "127.0.0.1"),
    ("inet", IPv6Address("fe80::1%eth0")),
    ("date", datetime(2024, 1, 1, tzinfo=UTC)),
    ("date", 2**31),
    ("date", True),
    ("time", 5),
    ("time", Time(86_400_000_000_000)),
    ("time", Time(-1)),
    ("time", Time(True)),
    ("time", time(1, tzinfo=UTC)),
    ("timestamp", datetime(2024, 1, 1)),  # noqa: DTZ001  # this is the point
    ("timestamp", datetime(2024, 1, 1, microsecond=1, tzinfo=UTC)),
    ("timestamp", date(2024, 1, 1)),
    ("timestamp", 2**63),
    ("timestamp", True),
    ("timestamp", 1.5),
    ("duration", Duration(1, -1, 0)),
    ("duration", Duration(2**31, 0, 0)),
    ("duration", Duration(0, -(2**31) - 1, 0)),
    ("duration", Duration(0, 0, 2**63)),
    ("duration", Duration(True, 0, 0)),
    ("list<int>", {1}),
    ("list<int>", "12"),
    ("list<int>", [1, None]),
    ("list<text>", "text"),
    ("set<int>", (1,)),
    ("set<int>", {1: 1}),
    ("set<int>", [None]),
    ("map<text, int>", [("a",)]),
    ("map<text, int>", ["ab"]),
    ("map<text, int>", {"a": None}),
    ("map<text, int>", {None: 1}),
    ("map<text, int>", [("a", 1), ("a", 1)]),
    ("map<decimal, int>", [(Decimal("1.0"), 1), (Decimal("1.00"), 2)]),
    ("map<text, int>", {1}),
    ("tuple<int, int>", (1,)),
    ("tuple<int, int>", (1, 2, 3)),
    ("tuple<int, int>", {1, 2}),
]

NOT_JSON_VALUES: list[tuple[str, Any]] = [
    *[(spelling, None) for spelling in SCALARS],
    *[(spelling, {}) for spelling in SCALARS],
    *[(spelling, []) for spelling in SCALARS],
    ("text", 5),
    ("text", "\ud800"),
    ("ascii", "é"),
    ("boolean", 0),
    ("boolean", "false"),
    ("int", 5.0),
    ("int", "5"),
    ("int", True),
    ("int", 2**31),
    ("bigint", 2**63),
    ("varint", 5.0),
    ("varint", True),
    ("varint", "5.0"),
    ("varint", "1" * 2600),
    ("varint", "1" * 100_000),
    ("varint", "0" * 2601),
    ("varint", "٣"),
    ("varint", "1_0"),
    ("double", "1.5"),
    ("double", "nan"),
    ("double", True),
    ("double", 2**53 + 1),
    ("float", 1e39),
    ("decimal", 1.5),
    ("decimal", True),
    ("decimal", "NaN"),
    ("decimal", "1_0"),
    ("decimal", " 1"),
    ("decimal", "."),
    ("decimal", "1E+99999999999"),
    ("decimal", "1E+9999999999"),
    ("blob", "AP8"),
    ("blob", "AP9="),  # bits after the last byte
    ("blob", "QR=="),
    ("blob", "QQ==QQ=="),
    ("blob", "AP8=\n"),
    ("blob", "-_8="),
    ("blob", "é"),
    ("uuid", "cc520882950744fb8fc9b349ecdee658"),
    ("uuid", "{cc520882-9507-44fb-8fc9-b349ecdee658}"),
    ("timeuuid", "cc520882-9507-44fb-8fc9-b349ecdee658"),
    ("inet", 1),
    ("inet", "010.0.0.1"),
    ("inet", "fe80::1%eth0"),
    ("inet", "1.2.3.4/8"),
    ("inet", "example.org"),
    ("inet", ":" * 100_000),
    ("date", 0),
    ("date", "2023-02-29"),
    ("date", "20240229"),
    ("date", "2024-W01-1"),
    ("date", "1900-02-29"),
    ("date", "+10100-02-29"),
    ("date", "2024-13-01"),
    ("date", "10000-01-01"),
    ("date", "+5881580-07-12"),
    ("time", "24:00:00"),
    ("time", "12:60:00"),
    ("time", "12:00:60"),
    ("time", "12:00"),
    ("time", "12:00:00.1234567890"),
    ("timestamp", 0),
    ("timestamp", "2024-02-29T12:00:00.000"),
    ("timestamp", "2024-02-29"),
    ("timestamp", "2023-02-29T12:00:00.000Z"),
    ("timestamp", "2024-02-29T24:00:00.000Z"),
    ("timestamp", "2024-02-29T12:00:60Z"),
    ("timestamp", "2024-02-29T12:00:00.0001Z"),
    ("timestamp", "2024-02-29T12:00:00+24:00"),
    ("timestamp", "2024-02-29T12:00:00+01:60"),
    ("timestamp", "+292278994-08-17T07:12:55.808Z"),
    ("duration", ""),
    ("duration", "-"),
    ("duration", "P"),
    ("duration", "PT"),
    ("duration", "P1DT"),
    ("duration", "1d1y"),
    ("duration", "1.5d"),
    ("duration", "2147483648d"),
    ("duration", "178956971y"),
    ("duration", "9" * 20 + "ns"),
    ("list<int>", {}),
    ("list<int>", "[1]"),
    ("list<int>", [1, None]),
    ("list<int>", [[1]]),
    ("set<int>", ["1"]),
    ("map<text, int>", [["a", 1]]),
    ("map<text, int>", {"a": None}),
    ("map<int, int>", {"1": 1}),
    ("map<int, int>", [[1, 1], [1, 1]]),
    ("map<int, int>", [[1, 1, 1]]),
    ("map<int, int>", [1]),
    ("tuple<int, int>", [1]),
    ("tuple<int, int>", {"0": 1}),
]

NOT_TEXTS: list[tuple[str, str]] = [
    *[(spelling, "") for spelling in SCALARS if spelling not in ("text", "ascii", "blob")],
    *[(spelling, "\0") for spelling in SCALARS if spelling not in ("text", "ascii")],
    ("ascii", "é"),
    ("text", "\udfff"),
    ("boolean", "yes"),
    ("boolean", "1"),
    ("int", "5.0"),
    ("int", " 5"),
    ("int", "+5"),
    ("int", "²"),
    ("int", "1_0"),
    ("int", "2147483648"),
    ("int", "1" * 1_000_000),
    ("double", "1e400"),
    ("double", "1" * 1_000_000),
    ("double", "inf"),
    ("double", "0x10"),
    ("float", "1e39"),
    ("list<int>", "1,2"),
    ("list<int>", "[1"),
    ("list<int>", "[" * 100_000),
    ("list<int>", "[NaN]"),
    ("list<text>", '["\ud800"]'),
    ("map<text, int>", '{"a": 1.5}'),
]

NOT_BYTES: list[tuple[str, str]] = [
    *[(spelling, "") for spelling in SCALARS if spelling not in ("text", "ascii", "blob")],
    *[(spelling, "00" * 17) for spelling in SCALARS if spelling not in ("text", "ascii", "blob", "varint", "decimal")],
    ("text", "ff"),
    ("text", "eda080"),  # a surrogate
    ("ascii", "80"),
    ("varint", "01" * (VARINT_BYTES_MAX + 1)),
    ("decimal", "00000000"),
    ("decimal", "00" * (VARINT_BYTES_MAX + 5)),
    ("timeuuid", "cc520882950744fb8fc9b349ecdee658"),
    ("inet", "0000000000"),
    ("time", "00004e94914f0000"),
    ("time", "ffffffffffffffff"),
    ("duration", "0202"),
    ("duration", "02020202"),
    ("duration", "0203 02"),
    ("duration", "0202f0"),
    ("list<int>", ""),
    ("list<int>", "000000"),
    ("list<int>", "00000001"),
    ("list<int>", "ffffffff"),
    ("list<int>", "00000000 00"),
    ("list<int>", "00000001 ffffffff"),
    ("list<int>", "00000000 ffffffff"),
    ("list<int>", "00000002 00000004 00000001"),
    ("list<int>", "00000001 00000005 00000001"),
    ("list<int>", "00000001 00000002 0001"),
    ("list<int>", "7fffffff 00000004 00000001"),
    ("set<int>", "00000001 ffffffff"),
    ("map<int, int>", "00000001 00000004 00000001"),
    ("tuple<int, int>", ""),
    ("tuple<int, int>", "00000004 00000001 00000004 00000001 00000004 00000001"),
    ("tuple<int, int>", "00000004 000000"),
]


def _ids(found: Any) -> str:
    if type(found) is object:  # its text holds an address, and the workers of a parallel run must agree on names
        return "object"
    return str(found)[:24].encode("ascii", "replace").decode()


@pytest.mark.parametrize(("spelling", "value"), NOT_PYTHON_VALUES, ids=_ids)
def test_python_values_that_are_not_of_the_type(spelling: str, value: Any) -> None:
    """Goal: nothing is converted by guessing. Method: a table, over every way that takes a Python value."""
    cql_type = parse_type(spelling)
    for way in (cql_type.serialise, cql_type.to_json, cql_type.to_text):
        with pytest.raises(BadRequest):
            way(value)


@pytest.mark.parametrize(("spelling", "value"), NOT_JSON_VALUES, ids=_ids)
def test_json_values_that_are_not_of_the_type(spelling: str, value: Any) -> None:
    """Goal: the long and the short way refuse the same, in words that fit JSON, not Python."""
    cql_type = parse_type(spelling)
    for way in (cql_type.from_json, cql_type.json_to_bytes):
        with pytest.raises(BadRequest) as refusal:
            way(value)
        assert not any(
            word in str(refusal.value) for word in ("uuid.", "Decimal", "datetime", "IPv4", "dict", "frozenset")
        )


@pytest.mark.parametrize(("spelling", "text"), NOT_TEXTS, ids=_ids)
def test_texts_that_are_not_of_the_type(spelling: str, text: str) -> None:
    """Goal: a CSV field or path segment that does not read is refused, also when it is very long or deep."""
    with pytest.raises(BadRequest):
        parse_type(spelling).from_text(text)


@pytest.mark.parametrize(("spelling", "data"), NOT_BYTES, ids=_ids)
def test_bytes_that_are_not_of_the_type(spelling: str, data: str) -> None:
    """Goal: damaged bytes are refused on every way that reads bytes, empty ones too where CQL has no empty value."""
    cql_type = parse_type(spelling)
    for way in (cql_type.deserialise, cql_type.bytes_to_json, cql_type.order_key):
        if way == cql_type.order_key and spelling in ("text", "ascii", "duration"):
            continue  # text keys take the bytes as they are; durations have none
        with pytest.raises(BadRequest):
            way(bytes.fromhex(data))


@given(spelling=spellings(), data=st.binary(max_size=40))
def test_no_bytes_raise_anything_else(spelling: str, data: bytes) -> None:
    """Goal: hostile bytes (a cursor, a file) never end in another error. Method: random bytes into every type."""
    cql_type = parse_type(spelling)
    for way in (cql_type.deserialise, cql_type.bytes_to_json, cql_type.order_key):
        try:
            way(data)
        except BadRequest:
            continue


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@given(spelling=spellings(), value=JSON_VALUES)
def test_no_json_raises_anything_else(spelling: str, value: Any) -> None:
    """Goal: no JSON body ends in another error, and the short way agrees with the long. Method: random JSON."""
    cql_type = parse_type(spelling)
    try:
        data = cql_type.json_to_bytes(value)
    except BadRequest:
        with pytest.raises(BadRequest):
            cql_type.from_json(value)
    else:
        assert cql_type.serialise(cql_type.from_json(value)) == data


@given(
    spelling=spellings(), text=st.one_of(st.text(max_size=20), st.text('0123456789-+.:TZPEe[]{}",ymdhs', max_size=20))
)
def test_no_text_raises_anything_else(spelling: str, text: str) -> None:
    """Goal: no text ends in another error; what is read can be written and read again."""
    cql_type = parse_type(spelling)
    try:
        value = cql_type.from_text(text)
    except BadRequest:
        return
    data = cql_type.serialise(value)
    assert cql_type.serialise(cql_type.from_text(cql_type.to_text(value))) == data


SECRET = "s3cr3t-v4lue"


@pytest.mark.parametrize(
    ("spelling", "value"),
    [
        *[(spelling, SECRET) for spelling in SCALARS if spelling not in ("text", "ascii")],
        ("ascii", SECRET + "é"),
        ("text", SECRET + "\ud800"),
        ("list<int>", [SECRET]),
        ("map<text, int>", {SECRET: SECRET}),
        ("map<int, int>", [[SECRET, 1]]),
        ("tuple<int, int>", [SECRET, SECRET]),
    ],
)
def test_messages_name_the_type_and_never_the_value(spelling: str, value: Any) -> None:
    """Goal: query values stay out of logs and answers. Method: one telling value through every way, the message, the
    attributes and the chained errors searched for it."""
    cql_type = parse_type(spelling)
    ways = [cql_type.serialise, cql_type.from_json, cql_type.json_to_bytes, cql_type.to_json, cql_type.to_text]
    if isinstance(value, str):
        ways.append(cql_type.from_text)  # type: ignore[arg-type]  # it is a str
    for way in ways:
        with pytest.raises(BadRequest) as refusal:
            way(value)
        error: BaseException = refusal.value
        assert any(str(part) in str(error) for part in (cql_type, *cql_type.parameters))
        assert SECRET not in f"{error} {refusal.value.attributes}"
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__


def test_integers_of_a_subclass_are_taken_as_integers() -> None:
    """Goal: an IntEnum is an int to Python and is stored as one; bool, also a subclass, is not."""

    class Colour(IntEnum):
        RED = 7

    for spelling in ("int", "bigint", "varint", "decimal"):
        cql_type = parse_type(spelling)
        assert cql_type.serialise(Colour.RED) == cql_type.serialise(7)
    assert not math.isnan(7)


@pytest.mark.parametrize(
    ("spelling", "value", "words"),
    [
        ("int", "5", "int takes an integer from -2147483648 to 2147483647, not a string"),
        ("int", 2**31, "int takes an integer from -2147483648 to 2147483647; the one given lies outside"),
        ("text", None, "text takes a string, not null"),
        (
            "uuid",
            "x",
            "uuid takes a UUID such as 2a92d750-d8dc-11e6-a2de-cf8ecd4cf053; the text given does not read as one",
        ),
        (
            "map<int, text>",
            {"1": "a"},
            "map<int, text> takes an array of [key, value] arrays without null, not an object",
        ),
        ("boolean", 1, "boolean takes a boolean, not an integer"),
        (
            "list<int>",
            [1.5],
            "int takes an integer from -2147483648 to 2147483647, not a number with a fraction or exponent",
        ),
    ],
)
def test_messages_say_what_would_be_right(spelling: str, value: Any, words: str) -> None:
    """Goal: who reads the message knows what to send instead; a few written out."""
    with pytest.raises(BadRequest) as refusal:
        parse_type(spelling).from_json(value)
    assert str(refusal.value) == words
