"""Members that stand twice in a body, found by counting and by looking."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.server import members, wire
from polysite.server.members import check_members

put = msgspec.json.Decoder(wire.PutBody)

Pairs = list[tuple[str, Any]]
"""An object with its members in order, so that one can be there twice."""

NAMES = st.sampled_from(["a", "b", "a:b", "", "\u00e4", '"', "\\u003a", "columns"])
TEXTS = st.text(st.sampled_from('ab:"\\{}[],u03\u00e4 \n'), max_size=6)


class Twice:
    """An object with its members as they stand in the text."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=4).map(Twice),
    max_leaves=12,
)


def text_of(value: Any, escaped: bool) -> str:
    """JSON, its texts as they are or with every character escaped."""
    if isinstance(value, Twice):
        items = [f"{text_of(name, escaped)} : {text_of(inner, escaped)}" for name, inner in value.pairs]
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(text_of(inner, escaped) for inner in value) + "]"
    if isinstance(value, str) and escaped:
        return '"' + "".join(f"\\u{ord(character):04X}" for character in value) + '"'
    return json.dumps(value, ensure_ascii=False)


def twice_in(value: Any) -> set[str]:
    """The names that stand twice in some object of the value."""
    if isinstance(value, list):
        return set[str]().union(*(twice_in(inner) for inner in value))
    if not isinstance(value, Twice):
        return set()
    names = [name for name, _ in value.pairs]
    inner = set[str]().union(*(twice_in(member) for _, member in value.pairs))
    return inner | {name for name in names if names.count(name) > 1}


@given(VALUES, st.booleans())
@example(Twice([("a", 1), ("a", ":")]), True)
@example(Twice([("a", Twice([("b", 1), ("b", 2)])), ("a", 1)]), False)
def test_twice_is_found_and_nothing_else(value: Any, escaped: bool) -> None:
    """Goal: a text is refused exactly if an object in it has a member twice. Method: texts made of objects whose members
    are known, with colons and quotes in names and values, plain and escaped."""
    raw = text_of(value, escaped).encode()
    expected = twice_in(value)
    if not expected:
        check_members(raw, "the body")
        return
    with pytest.raises(BadRequest) as refused:
        check_members(raw, "the body")
    assert refused.value.attributes["member"] in expected


@pytest.mark.parametrize(
    "raw",
    [
        b'{"columns":{"count":1,"count":"hidden"}}',
        b'{"columns":{"c":"hidden"},"columns":{"count":1},"expires_ms":5}',
        b'{"columns":{"m":{"x":"hidden","x":2}},"expires_ms":null}',
        b'{"columns":{"note":"hidden: 12:30","count":1,"count":1}}',
    ],
)
def test_the_member_is_named_and_its_value_is_not(raw: bytes) -> None:
    """With the lower bound that a put gives: an object in an object, the body itself, a map among the values."""
    body = put.decode(raw)
    with pytest.raises(BadRequest, match=r"the body has the member (count|columns|x) twice") as refused:
        check_members(raw, "the body", at_least=body.members_min())
    assert "hidden" not in f"{refused.value} {refused.value.attributes}"


def test_most_bodies_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: what costs time is not done for an ordinary put. Method: let the decoder fail if it is asked a second time."""

    def not_again(raw: bytes) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr(members, "_decode", not_again)
    for raw in (
        b'{"columns":{"count":1,"note":"x"}}',
        b'{"columns":{},"expires_ms":5}',
        b'{ "columns" : { "c" : 1 } }',
    ):
        check_members(raw, "the body", at_least=put.decode(raw).members_min())
