"""Lock references as clients send them: whatever the text is, it is one or it is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.values.keys import LockKey, Reference, ReferenceSet, parse_reference

REFERENCE = Reference(LockKey("k", "t", (b"a",)), 7, b"s" * 16)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.", "2.", "1.æ", "1.\ud800", "1.=", "3.AAAA", "1.AAAA", "2.AAAA", "1.AA\nAA", str(REFERENCE) + "="],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """Other formats, other alphabets, cut short, another spelling of the same bytes."""
    with pytest.raises(BadRequest):
        parse_reference(text)


@given(st.text(max_size=40).map(lambda rest: "1." + rest) | st.text(max_size=40).map(lambda rest: "2." + rest))
def test_no_text_makes_it_fail(text: str) -> None:
    """Drawn texts with a known format in front."""
    with pytest.raises(BadRequest):
        parse_reference(text)


def test_references_come_back() -> None:
    """One, and a set."""
    assert parse_reference(str(REFERENCE)) == REFERENCE
    both = ReferenceSet((REFERENCE, REFERENCE._replace(ticket=8)))
    assert parse_reference(str(both)) == both
