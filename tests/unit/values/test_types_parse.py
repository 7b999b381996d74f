"""Spellings of types: what is read, how it is written back, and what is refused with which reason."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.values.types import DEPTH_MAX, SPELLING_MAX, parse_type
from tests.support.cql_values import spellings


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("INT", "int"),
        (" varchar ", "text"),
        ("Map < Text,INT >", "map<text, int>"),
        ("frozen<map<varchar, frozen<list<frozen<tuple<int,bigint>>>>>>", "map<text, list<tuple<int, bigint>>>"),
        ("set<\tinet\n>", "set<inet>"),
        ("list<duration>", "list<duration>"),
        ("map<int, duration>", "map<int, duration>"),
        ("FROZEN<FROZEN<LIST<INT>>>", "list<int>"),
        ("frozen<" * 400 + "list<int>" + ">" * 400, "list<int>"),
    ],
)
def test_spellings_become_canonical(text: str, canonical: str) -> None:
    """Goal: one spelling per type, whatever case, spacing and frozen<> it came with."""
    found = parse_type(text)
    assert str(found) == canonical
    assert found == parse_type(canonical)
    assert hash(found) == hash(parse_type(canonical))


@given(spelling=spellings())
def test_canonical_spelling_reads_back_as_itself(spelling: str) -> None:
    """Goal: `str` and `parse_type` are inverse; what is kept in a schema is read as the same type."""
    assert str(parse_type(spelling)) == spelling


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("counter", "counters are not supported"),
        ("map<text, counter>", "counters are not supported"),
        ("vector<float, 3>", "vectors are not supported"),
        ("address", "no type 'address', and user-defined types are not supported"),
        ("list<frozen<address>>", "no type 'address'"),
        ("'org.apache.cassandra.db.marshal.LongType'", "one of these should stand: ascii"),
        ("", "the end stands where one of these should stand"),
        ("list", "list needs the types of what it holds, such as list<int>"),
        ("frozen", "frozen needs the types of what it holds"),
        ("list<>", "'>' stands where one of these should stand"),
        ("list<int", "',' or '>' should stand where the end stands"),
        ("list<int>>", "the end of the type should stand where '>' stands"),
        ("int int", "the end of the type should stand where 'int' stands"),
        ("int<3>", "the end of the type should stand where '<' stands"),
        ("list<int, int>", "list takes 1 type, not 2"),
        ("map<int>", "map takes 2 types, not 1"),
        ("map<int, int, int>", "map takes 2 types, not 3"),
        ("frozen<int>", "around a collection or a tuple only, not around int"),
        ("frozen<list<int>, int>", "'>' should stand where ',' stands"),
        ("set<duration>", "duration cannot stand in a set"),
        ("map<tuple<int, duration>, int>", "cannot stand in a set or in the keys of a map"),
        ("list<" * (DEPTH_MAX + 1) + "int" + ">" * (DEPTH_MAX + 1), "at most 8 levels"),
        ("list<frozen<" * 200 + "int" + ">" * 400, "at most 8 levels"),
        ("x" * (SPELLING_MAX + 1), "at most 4096 characters"),
    ],
)
def test_spellings_that_are_refused(text: str, reason: str) -> None:
    """Goal: every refusal says why; hostile depth and length end in a refusal and not in a recursion error."""
    with pytest.raises(BadRequest) as refusal:
        parse_type(text)
    assert reason in str(refusal.value)


@given(text=st.text(alphabet="listmapfrozen<>, '\"é\0", max_size=30))
def test_no_spelling_raises_anything_else(text: str) -> None:
    """Goal: no text at all ends in another error. Method: random texts over the letters of real types."""
    try:
        parse_type(text)
    except BadRequest:
        return


def test_what_a_type_tells_of_itself() -> None:
    """Goal: the attributes that other rooms decide by."""
    found = parse_type("map<text, list<int>>")
    assert (found.name, found.is_collection, found.is_scalar, found.depth, found.is_orderable) == (
        "map",
        True,
        False,
        2,
        True,
    )
    assert [str(parameter) for parameter in found.parameters] == ["text", "list<int>"]
    part = parse_type("tuple<int, duration>")
    assert (part.name, part.is_collection, part.is_scalar, part.depth, part.is_orderable) == (
        "tuple",
        False,
        False,
        1,
        False,
    )
    assert parse_type("int").parameters == ()
    assert parse_type("list<" * DEPTH_MAX + "int" + ">" * DEPTH_MAX).depth == DEPTH_MAX
    assert parse_type("int") != parse_type("bigint")
    assert parse_type("int") != "int"


def test_types_do_not_change() -> None:
    """Goal: a type is a value: it can be shared, copied and sent to another process, but not altered."""
    found = parse_type("set<int>")
    with pytest.raises(AttributeError):
        found.name = "list"
    with pytest.raises(AttributeError):
        del found.name
    assert pickle.loads(pickle.dumps(found)) == found
    assert copy.deepcopy(found) is found or copy.deepcopy(found) == found
    assert repr(found) == "parse_type('set<int>')"
