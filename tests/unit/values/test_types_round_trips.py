"""Every value of every type comes back from its bytes, its JSON and its text, and the short ways agree with the long."""

import json
import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.values.types import Duration, Time, parse_type
from tests.support.cql_values import SCALARS, spellings, values

VECTORS = json.loads((Path(__file__).parent / "data" / "cassandra_driver_vectors.json").read_text("utf-8"))["vectors"]


@given(data=st.data())
def test_bytes_json_and_text_round_trip(data: st.DataObject) -> None:
    """Goal: nothing is lost or changed on any of the three ways. Method: random types, random values; the canonical
    value is what the bytes give, and every way there and back must give the same bytes."""
    cql_type = parse_type(data.draw(spellings()))
    serialised = cql_type.serialise(data.draw(values(cql_type)))
    value = cql_type.deserialise(serialised)
    assert cql_type.serialise(value) == serialised
    json_form = cql_type.to_json(value)
    # Through real JSON, so that only what JSON can hold may appear.
    over_the_wire = msgspec.json.decode(msgspec.json.encode(json_form))
    assert cql_type.serialise(cql_type.from_json(over_the_wire)) == serialised
    assert cql_type.json_to_bytes(over_the_wire) == serialised
    assert repr(cql_type.bytes_to_json(serialised)) == repr(json_form)
    assert cql_type.serialise(cql_type.from_text(cql_type.to_text(value))) == serialised


@given(data=st.data())
def test_canonical_values_are_equal_to_what_was_given(data: st.DataObject) -> None:
    """Goal: a program reads the very value it wrote. Method: scalars only, whose values have one form; NaN apart."""
    cql_type = parse_type(data.draw(st.sampled_from(SCALARS)))
    value = data.draw(values(cql_type))
    back: Any = cql_type.deserialise(cql_type.serialise(value))
    assert back == value or back != back
    assert type(back) is type(value)
    if isinstance(value, Decimal):
        # 1.0 == 1.00 in Python; the scale is kept all the same.
        assert back.as_tuple() == value.as_tuple()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['type']} {vector['hex'][:24]}")
def test_same_bytes_as_cassandra_driver(vector: dict[str, Any]) -> None:
    """Goal: a Cassandra client reads what we write and the reverse. Method: fixed vectors made with cassandra-driver
    (data/make_cassandra_driver_vectors.py says how and with which version)."""
    cql_type = parse_type(vector["type"])
    data = bytes.fromhex(vector["hex"])
    assert cql_type.json_to_bytes(vector["json"]) == data
    assert cql_type.serialise(cql_type.from_json(vector["json"])) == data
    assert cql_type.json_to_bytes(cql_type.bytes_to_json(data)) == data
    if cql_type.name != "float":  # there the shortest digits differ from those of the table
        assert cql_type.bytes_to_json(data) == vector["json"]


TZ_2 = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("spelling", "given_value", "canonical"),
    [
        ("timestamp", datetime(2024, 2, 29, 14, tzinfo=TZ_2), datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("timestamp", 0, datetime(1970, 1, 1, tzinfo=UTC)),
        # The instant lies in the year 0 of UTC, for which there is no datetime.
        ("timestamp", datetime(1, 1, 1, tzinfo=TZ_2), -62_135_604_000_000),
        ("timestamp", datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=2))), 253_402_304_400_000),
        ("date", 0, date(1970, 1, 1)),
        ("time", time(1, 2, 3, 4), Time(3_723_000_004_000)),
        ("double", 3, 3.0),
        ("float", 0.1, 0.10000000149011612),
        ("decimal", 12, Decimal(12)),
        ("decimal", Decimal("-0.00"), Decimal("0.00")),
        ("blob", bytearray(b"ab"), b"ab"),
        ("list<int>", (1, 2), [1, 2]),
        ("set<int>", [2, 1, 2], frozenset({1, 2})),
        ("set<decimal>", [Decimal("1.0"), Decimal("1.00")], frozenset({Decimal("1.0")})),
        ("set<list<int>>", [[2], [1, 9]], [[1, 9], [2]]),
        ("set<map<text, int>>", [{"b": 1}, {"a": 1}], [{"a": 1}, {"b": 1}]),
        ("map<int, text>", [(2, "b"), [1, "a"]], {1: "a", 2: "b"}),
        ("map<list<int>, text>", [([2], "b"), ([1], "a")], [([1], "a"), ([2], "b")]),
        ("tuple<int, text>", [1, None], (1, None)),
    ],
)
def test_values_of_other_forms_become_canonical(spelling: str, given_value: Any, canonical: Any) -> None:
    """Goal: the forms that are taken beside the canonical one mean what the documentation says."""
    cql_type = parse_type(spelling)
    found = cql_type.deserialise(cql_type.serialise(given_value))
    assert found == canonical
    assert type(found) is type(canonical)
    assert str(found) == str(canonical) or isinstance(found, frozenset)


@pytest.mark.parametrize("spelling", ["set<double>", "map<double, int>"])
def test_elements_that_python_cannot_tell_apart_stay_two(spelling: str) -> None:
    """Goal: CQL knows 0.0 and -0.0 as two, Python as one; reading must not lose one. Method: both in a set and as keys."""
    cql_type = parse_type(spelling)
    given_value: list[Any] = [0.0, -0.0] if spelling.startswith("set") else [(0.0, 1), (-0.0, 2)]
    found = cql_type.deserialise(cql_type.serialise(given_value))
    assert repr(found) == repr(list(reversed(given_value)))


@pytest.mark.parametrize(
    ("spelling", "value", "json_form"),
    [
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("varint", -(10**30), "-1000000000000000000000000000000"),
        ("double", float("nan"), "NaN"),
        ("float", float("-inf"), "-Infinity"),
        ("float", 0.1, 0.1),
        ("float", 16_777_217.0, 16_777_216.0),
        ("float", struct.unpack(">f", bytes.fromhex("00000001"))[0], 1.40130e-45),
        ("decimal", Decimal("1.50"), "1.50"),
        ("decimal", Decimal("-0.00"), "0.00"),
        ("blob", b"\xfb\xff", "+/8="),
        ("date", date(5, 3, 1), "0005-03-01"),
        ("date", -719_163, "0000-12-31"),
        ("date", -719_529, "-0001-12-31"),
        ("date", 2_932_897, "+10000-01-01"),
        ("time", Time(1), "00:00:00.000000001"),
        ("timestamp", datetime(5, 1, 1, tzinfo=UTC), "0005-01-01T00:00:00.000Z"),
        ("timestamp", -1, "1969-12-31T23:59:59.999Z"),
        ("timestamp", 2**63 - 1, "+292278994-08-17T07:12:55.807Z"),
        ("duration", Duration(0, 0, 0), "0s"),
        ("duration", Duration(-12, 0, -60_000_000_000), "-1y1m"),
        ("map<text, int>", {"b": 1, "a": 2}, {"a": 2, "b": 1}),
        ("map<ascii, int>", {"a": 2}, {"a": 2}),
        ("map<boolean, int>", {True: 1, False: 0}, [[False, 0], [True, 1]]),
        ("set<uuid>", frozenset(), []),
        ("tuple<int, list<text>>", (None, []), [None, []]),
    ],
)
def test_json_forms(spelling: str, value: Any, json_form: Any) -> None:
    """Goal: the JSON forms are a contract with clients in every language; each is written out here once."""
    cql_type = parse_type(spelling)
    assert cql_type.to_json(value) == json_form
    assert type(cql_type.to_json(value)) is type(json_form)
    assert cql_type.json_to_bytes(json_form) == cql_type.serialise(value)


@pytest.mark.parametrize(
    ("spelling", "text", "value"),
    [
        ("int", "-007", -7),
        ("boolean", "TRUE", True),
        ("double", "1e3", 1000.0),
        ("double", ".5", 0.5),
        ("float", "-Infinity", float("-inf")),
        ("decimal", "+1.20e2", Decimal("1.20e2")),
        ("text", "", ""),
        ("text", ' "quoted" ', ' "quoted" '),
        ("timestamp", "2024-02-29t12:00:00z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("timestamp", "2024-02-29 12:00:00.5+02:00", datetime(2024, 2, 29, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("timestamp", "2024-02-29T12:00:00.123000-00:30", datetime(2024, 2, 29, 12, 30, 0, 123_000, tzinfo=UTC)),
        ("time", "00:00:01.5", Time(1_500_000_000)),
        ("duration", "2W1d", Duration(0, 15, 0)),
        ("duration", "1h30M", Duration(0, 0, 5_400_000_000_000)),
        ("duration", "-3mo5µs", Duration(-3, 0, -5000)),
        ("duration", "P1Y2M3W4DT5H6M7S", Duration(14, 25, 18_367_000_000_000)),
        ("uuid", "CC520882-9507-44FB-8FC9-B349ECDEE658", "cc520882-9507-44fb-8fc9-b349ecdee658"),
        ("list<int>", " [1, 2] ", [1, 2]),
        ("map<text, boolean>", '{"a": true}', {"a": True}),
    ],
)
def test_texts_that_are_read(spelling: str, text: str, value: Any) -> None:
    """Goal: CSV fields and path segments in the forms that people and other programs write."""
    found = parse_type(spelling).from_text(text)
    assert (str(found) if spelling == "uuid" else found) == value


def test_every_nan_is_written_alike() -> None:
    """Goal: equal values are equal bytes. Method: NaN of another sign and content, as arithmetic may leave it."""
    (strange,) = struct.unpack(">d", bytes.fromhex("fff8000000000001"))
    assert parse_type("double").serialise(strange) == bytes.fromhex("7ff8000000000000")
    assert parse_type("float").serialise(strange) == bytes.fromhex("7fc00000")


def test_bytes_that_other_programs_write() -> None:
    """Goal: what Cassandra and its drivers may have stored in a form that we never write is read all the same."""
    assert parse_type("varint").deserialise(b"\x00\x00\x05") == 5
    assert parse_type("boolean").deserialise(b"\x02") is True
    assert parse_type("tuple<int, text>").deserialise(bytes.fromhex("0000000400000007")) == (7, None)
    assert parse_type("set<int>").deserialise(bytes.fromhex("00000002 00000004 00000002 00000004 00000001")) == {1, 2}
    not_a_number = parse_type("double").deserialise(bytes.fromhex("fff8000000000001"))
    assert not_a_number != not_a_number


@pytest.mark.parametrize(
    ("kind", "given_value", "stored"),
    [
        ("inet", "::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("tuple<inet, int>", ["::ffff:1.2.3.4", 1], ["::ffff:1.2.3.4", 1]),
        ("list<inet>", ["::ffff:1.2.3.4"], ["1.2.3.4"]),
        ("set<inet>", ["::ffff:1.2.3.4", "1.2.3.4", "::1"], ["::1", "1.2.3.4"]),
        ("map<inet, int>", [["::ffff:1.2.3.4", 1]], [["1.2.3.4", 1]]),
        ("map<int, inet>", [[1, "::ffff:1.2.3.4"]], [[1, "1.2.3.4"]]),
        ("list<frozen<set<inet>>>", [["::ffff:1.2.3.4"]], [["1.2.3.4"]]),
    ],
)
def test_an_ipv4_address_inside_an_ipv6_one(kind: str, given_value: Any, stored: Any) -> None:
    """Goal: what is stored is what comes back. Method: the address as a value, in a tuple, and as a member, where Cassandra rewrites it
    (`tests/integration/test_cassandra_store` asks a real one)."""
    cql_type = parse_type(kind)
    assert cql_type.to_json(cql_type.deserialise(cql_type.json_to_bytes(given_value))) == stored
