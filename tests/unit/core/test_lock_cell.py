"""The content of a lock cell: encoding, who holds, what is remembered."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polysite.core.lock_cell import (
    DEPARTED_MAX,
    FORMAT,
    NO_REQUEST,
    RECENT_MAX,
    ChangeRecord,
    decode,
    departed_ticket,
    empty,
    encode,
    entry_by_nonce,
    entry_by_request,
    entry_by_secret,
    entry_by_ticket,
    find_change,
    find_wish,
    head,
    holders,
    is_exclusive,
    is_head,
    is_holder,
    pack_change,
    position,
    reaches_back,
    recent_changes,
    role,
    with_departed,
    with_recent,
)
from polysite.core.stamps import FLOOR_MAX, STAMP_BASE, WINDOW, now_stamp, window_end
from polysite.core.wishes import Cancel, Done, Enqueued, Preempted, Promote, Refusal, Renewed, Result
from polysite.errors import UnknownCellFormat
from tests.unit.core.checks import make
from tests.unit.core.factories import AUTHOR, enqueue, nonce, number, queue_of


def test_stamps_follow_the_wall_clock_within_bounds() -> None:
    """Goal: critical stamps beat plain ones whatever the clock says. Method: clocks before 1970, now, and far beyond."""
    assert now_stamp(-5) == STAMP_BASE
    assert now_stamp(1_700_000_000_000_000) == STAMP_BASE + 1_700_000_000_000_000
    assert now_stamp(2**60) == 2 * STAMP_BASE < FLOOR_MAX
    assert window_end(STAMP_BASE) == STAMP_BASE + WINDOW


def test_content_survives_encoding() -> None:
    """Goal: what is written is read back. Method: a full cell, its bytes, and back; empty bytes are a cell never used."""
    cell = make(queue_of("shared", "exclusive", "shared"), Promote(1, nonce(1)))
    results = ((number(1), Enqueued(3)), (number(2), Preempted((1, 2), "admin")), (number(3), Renewed((1,))))
    cell = replace(
        cell,
        recent=with_recent(b"", pack_change(number(9), 4, results)),
        departed=with_departed(b"", number(5), 2),
        author=AUTHOR,
    )
    assert decode(encode(cell)) == cell
    assert encode(cell)[0] == FORMAT
    assert decode(b"") == empty()
    assert decode(encode(empty())) == empty()


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"\x01" + encode(empty())[1:],
        b"\x03abc",
        b"\x03" + encode(empty())[1:],
        b"\x02",
        b"\x02abc",
        b"\x02\x93\x01\x02",
        b"\x02\xc1",
        b"\xff" * 40,
    ],
)
def test_unknown_formats_are_told(content: bytes) -> None:
    """Goal: an older, newer or broken cell is never taken for an empty one. Method: bytes that `encode` never makes."""
    with pytest.raises(UnknownCellFormat):
        decode(content)


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_are_refused(content: bytes) -> None:
    """Goal: no other error than the dedicated one. Method: arbitrary bytes behind the format number."""
    with contextlib.suppress(UnknownCellFormat):
        decode(bytes([FORMAT]) + content)


def test_front_run_of_shared_entries_holds() -> None:
    """Goal: the head holds; shared entries at the front hold together. Method: queues of several kinds."""
    cell = queue_of("shared", "shared", "exclusive", "shared")
    assert [entry.ticket for entry in holders(cell)] == [1, 2]
    assert [role(cell, value, nonce(value)) for value in (1, 2, 3, 4)] == ["first", "shared", "waiting", "waiting"]
    alone = queue_of("exclusive", "shared")
    assert [entry.ticket for entry in holders(alone)] == [1]
    assert role(alone, 1, nonce(1)) == "exclusive"
    assert is_exclusive(alone, 1, nonce(1))
    assert is_head(alone, 1, nonce(1))
    assert not is_head(alone, 1, nonce(2))
    assert not is_head(empty(), 1, nonce(1))
    assert holders(empty()) == ()
    assert head(empty()) is None


def test_promotion_closes_the_run() -> None:
    """Goal: while one is promoting nobody joins, and it is exclusive once first and alone. Method: others leave, one comes."""
    cell = make(queue_of("shared", "shared"), Promote(2, nonce(2)))
    joined = make(cell, enqueue(7, kind="shared"))
    assert [entry.ticket for entry in holders(joined)] == [1, 2]
    assert role(joined, 3, nonce(7)) == "waiting"
    assert role(joined, 2, nonce(2)) == "shared"
    left = make(joined, Cancel(1, nonce(1)))
    assert role(left, 2, nonce(2)) == "exclusive"
    assert role(left, 3, nonce(7)) == "waiting"
    assert not is_holder(left, 3, nonce(7))


def test_entries_are_found() -> None:
    """Goal: by ticket, by reference, by request, by nonce; a wrong secret or nonce finds nothing. Method: each once right, once
    wrong."""
    cell = queue_of("exclusive", "exclusive")
    assert entry_by_ticket(cell, 2) is cell.queue[1]
    assert entry_by_ticket(cell, 3) is None
    assert entry_by_secret(cell, 2, number(2002)) is cell.queue[1]
    assert entry_by_secret(cell, 2, number(2001)) is None
    assert entry_by_secret(cell, 9, number(2001)) is None
    assert entry_by_request(cell, number(1002)) is cell.queue[1]
    assert entry_by_request(cell, number(5)) is None
    assert entry_by_nonce(cell, nonce(2)) is cell.queue[1]
    assert entry_by_nonce(cell, nonce(5)) is None
    assert (position(cell, 1), position(cell, 2), position(cell, 3)) == (0, 1, None)
    assert role(cell, 1, nonce(2)) is None


def test_no_request_is_nobodys() -> None:
    """Goal: entries whose request nobody can make again are found by their nonce, and never for one another. Method: two of them
    beside one with a request id, in the queue and gone."""
    cell = make(queue_of("exclusive"), enqueue(2, request_id=NO_REQUEST))
    cell = make(cell, enqueue(3, request_id=NO_REQUEST))
    assert entry_by_request(cell, NO_REQUEST) is None
    assert entry_by_request(cell, number(1001)) is cell.queue[0]
    assert [entry_by_nonce(cell, nonce(value)) for value in (1, 2, 3)] == list(cell.queue)
    assert decode(encode(cell)) == cell
    packed = with_departed(b"", number(1001), 1)
    assert with_departed(packed, NO_REQUEST, 2) == packed
    assert departed_ticket(replace(cell, departed=packed), NO_REQUEST) is None
    assert departed_ticket(replace(cell, departed=packed), number(1001)) == 1


def test_departed_entries_are_remembered_for_a_while() -> None:
    """Goal: the last 64, found only at their places. Method: 70 of them, ids that overlap across neighbours included."""
    packed = b""
    for value in range(1, 71):
        packed = with_departed(packed, number(value), value + 100)
    cell = replace(empty(), departed=packed)
    assert len(packed) == DEPARTED_MAX * 24
    assert departed_ticket(cell, number(70)) == 170
    assert departed_ticket(cell, number(7)) == 107
    assert departed_ticket(cell, number(6)) is None
    across = replace(empty(), departed=with_departed(b"", b"\x01" * 16, int.from_bytes(b"\x01" * 8, "big")))
    assert departed_ticket(across, b"\x01" * 16) == int.from_bytes(b"\x01" * 8, "big")
    shifted = replace(empty(), departed=with_departed(with_departed(b"", number(1), 2), number(3), 4))
    assert departed_ticket(shifted, shifted.departed[8:24]) is None


def test_recent_changes_are_remembered_for_a_while() -> None:
    """Goal: the last 16, found by their own id and by their wishes'. Method: 20 of them."""
    recent = b""
    for version in range(1, 21):
        result = Refusal("lock_lost", "gone") if version % 2 else Done()
        recent = with_recent(recent, pack_change(number(version), version, ((number(500 + version), result),)))
    cell = replace(empty(), recent=recent)
    assert [record.version for record in recent_changes(cell)] == list(range(5, 21))
    assert len(recent_changes(cell)) == RECENT_MAX
    found = find_change(cell, number(6), 6)
    assert found is not None
    assert found.results == ((number(506), Done()),)
    assert find_change(cell, number(4), 4) is None
    assert find_wish(cell, number(507)) == Refusal("lock_lost", "gone")
    assert find_wish(cell, number(504)) is None
    assert find_wish(cell, number(6)) is None
    assert reaches_back(cell, 20, 4)
    assert not reaches_back(cell, 20, 3)
    assert reaches_back(cell, 20, 20)
    assert reaches_back(empty(), 0, 0)
    assert not reaches_back(empty(), 1, 0)


RESULTS = st.one_of(
    st.just(Done()),
    st.builds(Enqueued, st.integers(1, 2**62), st.booleans(), st.booleans()),
    st.builds(Preempted, st.lists(st.integers(1, 2**62), max_size=3).map(tuple), st.none() | st.text(max_size=5)),
    st.builds(Renewed, st.lists(st.integers(1, 2**62), max_size=3).map(tuple)),
    st.builds(Refusal, st.text(max_size=5), st.text(max_size=20)),
)
IDS = st.integers(0, 20).map(number) | st.binary(min_size=16, max_size=16)


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, tuple[tuple[bytes, Result], ...]]:
    """A change's id and results: of no wish, of a lone one that names it or does not, of several."""
    change_id = draw(IDS)
    if draw(st.booleans()):
        return change_id, ((change_id, draw(RESULTS)),)
    return change_id, tuple(draw(st.lists(st.tuples(IDS, RESULTS), max_size=4)))


@given(st.lists(changes(), min_size=1, max_size=20), st.integers(1, 2**62))
def test_changes_survive_packing(made: list[tuple[bytes, tuple[tuple[bytes, Result], ...]]], first: int) -> None:
    """Goal: whatever a change carried is read back, and found by its id and version and by its wishes' ids. Method: up to 20
    changes in a row, many of them with the same ids."""
    recent = b""
    records = []
    for version, (change_id, results) in enumerate(made, first):
        recent = with_recent(recent, pack_change(change_id, version, results))
        records.append(ChangeRecord(change_id, version, results))
    records, forgotten = records[-16:], records[:-16]
    cell = replace(empty(), recent=recent)
    assert recent_changes(cell) == tuple(records)
    assert recent_changes(decode(encode(cell))) == tuple(records)
    for record in records:
        assert find_change(cell, record.change_id, record.version) == record
        for wish_id, _ in record.results:
            newest = next(found for found in reversed(records) if wish_id in dict(found.results))
            assert find_wish(cell, wish_id) == next(result for found, result in newest.results if found == wish_id)
    for record in forgotten:
        assert find_change(cell, record.change_id, record.version) is None


def test_a_lone_wish_names_its_change_once() -> None:
    """Goal: the id of a change that goes by its wish's is there once, and tells of both. Method: beside one with an id of its own,
    and one of no wish."""
    own = pack_change(number(1), 7, ((number(1), Done()),))
    other = pack_change(number(2), 7, ((number(1), Done()),))
    none = pack_change(number(1), 7, ())
    assert [packed.count(number(1)) for packed in (own, other, none)] == [1, 1, 1]
    assert len(none) < len(own) <= len(other) - 16
    assert find_wish(replace(empty(), recent=own), number(1)) == Done()
    assert find_wish(replace(empty(), recent=other), number(1)) == Done()
    assert find_wish(replace(empty(), recent=none), number(1)) is None


def test_recent_goes_by_versions() -> None:
    """Goal: what is kept is of the last 16 versions. Method: changes in a row; behind a compaction; where some left no record."""
    for versions, kept in (
        (range(1, 17), range(1, 17)),
        (range(1, 18), range(2, 18)),
        (range(2**62, 2**62 + 40), range(2**62 + 24, 2**62 + 40)),
        ((1, 2, 3, 5, 18), (3, 5, 18)),
        ((1, 2, 3, 19), (19,)),
        ((7,), (7,)),
    ):
        recent = b""
        for version in versions:
            recent = with_recent(recent, pack_change(number(version), version, ()))
        cell = replace(empty(), recent=recent)
        assert [record.version for record in recent_changes(cell)] == list(kept)
        assert reaches_back(cell, versions[-1], kept[0] - 1)
        assert not reaches_back(cell, versions[-1], kept[0] - 2)


def test_a_record_that_cannot_be_is_no_endless_one() -> None:
    """Goal: a broken cell is an error, not a loop that never ends. Method: records that say that they have no length."""
    cell = replace(empty(), recent=bytes(28))
    with pytest.raises(AssertionError):
        recent_changes(cell)
    with pytest.raises(AssertionError):
        with_recent(cell.recent, pack_change(number(1), 99, ()))


def test_a_change_is_found_by_id_and_version() -> None:
    """Goal: the same id at another version is another change. Method: a lone wish's id at two versions, and the id inside what
    another change carried."""
    recent = b""
    for version, change_id, result in (
        (4, number(1), Refusal("overloaded", "full")),
        (5, number(2), Done()),
        (6, number(1), Enqueued(3)),
    ):
        recent = with_recent(recent, pack_change(change_id, version, ((number(1), result),)))
    cell = replace(empty(), recent=recent)
    first, last = find_change(cell, number(1), 4), find_change(cell, number(1), 6)
    assert first == ChangeRecord(number(1), 4, ((number(1), Refusal("overloaded", "full")),))
    assert last == ChangeRecord(number(1), 6, ((number(1), Enqueued(3)),))
    assert [find_change(cell, number(1), version) for version in (3, 5, 7)] == [None] * 3
    assert find_change(cell, number(2), 5) is not None
    assert find_change(cell, number(2), 6) is None
    assert find_wish(cell, number(1)) == Enqueued(3)
