"""Rows and keys between JSON and Python by the types of the table."""

import decimal
import uuid

import pytest

from polysite.errors import BadRequest, UnknownKey
from polysite.server.convert import SAME_IN_JSON, Codec, Codecs, decode_segment, schema_digest
from polysite.server.problems import HttpRefusal
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec
from polysite.values.types import parse_type

SPEC = TableSpec(
    keyspace="k",
    name="t",
    columns=tuple(
        ColumnSpec(name, cql_type)
        for name, cql_type in {
            "city": "text", "day": "int", "seen": "double", "price": "decimal", "raw": "blob", "who": "uuid",
            "tags": "set<text>", "by_day": "map<int, text>",
        }.items()
    ),
    partition_key=("city",),
    clustering_key=(ClusteringColumn("day"),),
)  # fmt: skip
CODEC = Codec(SPEC)


def test_a_row_goes_out_as_json_and_comes_back() -> None:
    """One column of each kind that JSON cannot say by itself, a null, and those that it can."""
    row = {
        "city": "Köln", "day": 3, "seen": float("nan"), "price": decimal.Decimal("1.50"), "raw": b"\x00\xff",
        "who": uuid.UUID(int=7), "tags": frozenset({"b", "a"}), "by_day": None,
    }  # fmt: skip
    shown = CODEC.row_to_json(row)
    assert shown == {
        "city": "Köln", "day": 3, "seen": "NaN", "price": "1.50", "raw": "AP8=",
        "who": "00000000-0000-0000-0000-000000000007", "tags": ["a", "b"], "by_day": None,
    }  # fmt: skip
    again = CODEC.columns_from_json(shown)
    assert again.pop("seen") != again
    assert again == {name: value for name, value in row.items() if name != "seen"}
    assert row["raw"] == b"\x00\xff", "the row itself is left as it was"


def test_types_that_are_passed_through_are_the_same_in_json() -> None:
    """`to_json` of a sample of each type in the short cut gives the sample itself."""
    samples = {"boolean": True, "text": "é", "varchar": "é", "ascii": "e"}
    for name in SAME_IN_JSON:
        value = samples.get(name, 7)
        shown = parse_type(name).to_json(value)
        assert shown == value
        assert type(shown) is type(value)


def test_keys_come_out_of_paths() -> None:
    """Each segment by the type of its column, after percent-decoding."""
    assert CODEC.key_from_path([b"a%2Fb%20%F0%9F%98%80%25", b"-3"]) == {"city": "a/b 😀%", "day": -3}
    assert CODEC.key_from_path([b"", b"0"]) == {"city": "", "day": 0}
    with pytest.raises(BadRequest, match="1 of 2"):
        CODEC.key_from_path([b"a"])
    with pytest.raises(BadRequest, match="day: int takes") as refused:
        CODEC.key_from_path([b"a", b"secret"])
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("segment", [b"%", b"%4", b"%zz", b"%ff", b"%c0%80", b"%ed%a0%80", b"\xff"])
def test_broken_percent_encoding_is_refused(segment: bytes) -> None:
    """Also bytes that are no UTF-8, overlong forms and surrogates."""
    with pytest.raises(HttpRefusal) as refused:
        decode_segment(segment)
    assert refused.value.status == 400


def test_lock_keys_come_out_of_texts() -> None:
    """The lock columns, or the whole primary key."""
    assert CODEC.lock_key_from_texts(["a"]) == {"city": "a"}
    assert CODEC.lock_key_from_texts(["a", "5"]) == {"city": "a", "day": 5}
    for texts in ([], ["a", "5", "6"]):
        with pytest.raises(BadRequest):
            CODEC.lock_key_from_texts(texts)


def test_conditions_are_read_by_type() -> None:
    """`in` takes a list; null compares with nothing; unknown columns are told."""
    (one, several) = CODEC.conditions([("price", "gt", "1.5"), ("day", "in", [1, 2])])
    assert one.value == decimal.Decimal("1.5")
    assert several.value == [1, 2]
    for triple in [("day", "in", 1), ("day", "eq", None), ("day", "eq", "x"), ("day", "in", [None])]:
        with pytest.raises(BadRequest):
            CODEC.conditions([triple])  # type: ignore[list-item]
    with pytest.raises(BadRequest, match="compares with null"):
        CODEC.conditions([("day", "eq", None)])
    with pytest.raises(UnknownKey):
        CODEC.conditions([("nothing", "eq", 1)])


def test_an_unknown_column_is_named_unless_its_name_is_odd() -> None:
    """A name of 10,000 characters, or one that moves the cursor, is not repeated."""
    with pytest.raises(UnknownKey, match="colour"):
        CODEC.columns_from_json({"colour": 1})
    for name in ("x" * 10_000, "\x1b[2J"):
        with pytest.raises(UnknownKey) as refused:
            CODEC.columns_from_json({name: 1})
        assert name not in refused.value.message


def test_a_changed_table_has_another_codec_and_digest() -> None:
    """The same spec keeps its codec, an equal one too; a changed one replaces it. What is kept is bounded."""
    codecs = Codecs()
    first = codecs.of(SPEC)
    assert codecs.of(SPEC) is first
    assert codecs.of(TableSpec(**{name: getattr(SPEC, name) for name in SPEC.__struct_fields__})) is first
    changed = TableSpec(
        keyspace="k", name="t", columns=(*SPEC.columns, ColumnSpec("more", "int")), partition_key=("city",)
    )
    assert codecs.of(changed) is not first
    assert codecs.of(changed).digest == schema_digest(changed) != first.digest
    for number in range(3_000):
        codecs.of(TableSpec(keyspace="k", name=f"t{number}", columns=SPEC.columns, partition_key=("city",)))
    assert len(codecs._known) <= 1_024
