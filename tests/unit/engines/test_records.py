"""A record is a join: in whatever order and grouping versions of a row are merged, one record remains."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from polysite.engines.sqlite.records import (
    Record,
    RecordCell,
    collect,
    decode,
    encode,
    hide,
    highest_stamp,
    holds,
    live,
    merge,
)

stamps = st.integers(1, 5)
moments = st.integers(1, 4)
cells: st.SearchStrategy[RecordCell] = st.one_of(
    st.tuples(stamps, moments, st.none()),
    st.tuples(stamps, st.just(0), st.sampled_from([b"", b"a", b"b"])),
    st.tuples(stamps, moments, st.sampled_from([b"", b"a", b"b"])),
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A record as writes leave it: nothing in it is at or below its row tombstone."""
    deleted = draw(st.integers(0, 4))
    found = draw(st.dictionaries(st.integers(0, 3), cells, max_size=4))
    kept = {number: cell for number, cell in found.items() if cell[0] > deleted}
    marker = draw(st.integers(0, 5))
    marker = marker if marker > deleted else 0
    marker_when = draw(st.integers(0, 4)) if marker else 0
    return Record(kept, marker, marker_when, deleted, draw(moments) if deleted else 0)


def joined(*parts: Record) -> Record:
    result = Record({})
    for part in parts:
        merge(result, decode(encode(part)))
    return result


@given(records(), records(), records())
def test_merging_is_a_join(one: Record, two: Record, three: Record) -> None:
    """Commutative, associative, idempotent, with the empty record as its neutral one."""
    assert joined(one, two) == joined(two, one)
    assert joined(joined(one, two), three) == joined(one, joined(two, three))
    assert joined(one, one) == one
    assert joined(one, Record({})) == one


@given(records(), records(), st.integers(0, 6))
def test_hiding_may_come_before_or_after_merging(one: Record, two: Record, stamp: int) -> None:
    """A range tombstone over both gives the same as over each."""
    after = joined(one, two)
    hide(after, stamp)
    hide(one, stamp)
    hide(two, stamp)
    before = joined(one, two)
    hide(before, stamp)
    assert before == after


@given(records(), st.integers(0, 6))
def test_collecting_changes_nothing_that_is_shown(record: Record, now_us: int) -> None:
    """What is live before is live afterwards, with the same bytes; a second time there is nothing to collect."""
    before = live(record, now_us)
    collect(record, now_us, now_us - 2)
    assert live(record, now_us) == before
    assert not collect(record, now_us, now_us - 2)


@given(records(), records(), st.integers(0, 6))
def test_what_expired_loses_and_wins_as_before(one: Record, two: Record, now_us: int) -> None:
    """Throwing away the bytes of expired values before a merge shows the same afterwards."""
    shown = live(joined(one, two), now_us)
    collect(one, now_us, 0)
    assert live(joined(one, two), now_us) == shown


def test_an_expired_value_without_its_bytes_is_no_null() -> None:
    """The same write again with a longer life still wins over what is left of the first one, as it did before."""
    first = Record({2: (5, 3, b"a")})
    assert collect(first, 4, 0)
    assert first.cells == {2: (5, 3, b"")}
    assert live(joined(first, Record({2: (5, 9, b"a")})), 4).cells == {2: (5, 9, b"a")}


@given(records())
def test_the_file_form_is_faithful(record: Record) -> None:
    """A record comes back from its bytes, and the bounds kept beside it are right."""
    again: Any = decode(encode(record))
    assert again == record
    assert highest_stamp(record) >= max([record.deleted, record.marker, *(cell[0] for cell in record.cells.values())])
    assert bool(holds(record) & 4) is bool(record.deleted)
