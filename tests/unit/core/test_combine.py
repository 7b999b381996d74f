"""Wishes into changes, changes without an answer, and whom to ask."""

import pytest
from msgspec.structs import replace

from polysite.core.combine import (
    NOTED_S_MAX,
    Happened,
    NotMade,
    Patience,
    SendAgain,
    Undecided,
    build_change,
    combiner_of,
    decided_within_s,
    entries_of,
    keep_back_s,
    may_keep_back,
    noted_within_s,
    own_attempt_delay_s,
    resolve_unknown,
    search_own,
    steward_of,
)
from polysite.core.lock_cell import NO_REQUEST, Author, decode, empty, find_change, recent_changes
from polysite.core.wishes import (
    Cancel,
    Compact,
    Done,
    Enqueued,
    Identity,
    Promote,
    Refusal,
    ReleaseClean,
    Renew,
)
from tests.unit.core.checks import after_many_changes, asked, change_of, make, take_over
from tests.unit.core.factories import AUTHOR, NOW, enqueue, nonce, number, queue_of


def test_wishes_apply_in_order_on_intermediate_states() -> None:
    """Goal: one change, each wish with its own result. Method: enqueue, release by its nonce, enqueue, an illegal release."""
    change = change_of(
        empty(),
        0,
        asked(1, enqueue(1)),
        asked(2, ReleaseClean(1, nonce(1), None)),
        asked(3, enqueue(2)),
        asked(4, ReleaseClean(9, nonce(9), None)),
    )
    assert [change.results[number(7000 + value)] for value in (1, 2, 3)] == [Enqueued(1), Done(), Enqueued(2)]
    assert isinstance(change.results[number(7004)], Refusal)
    assert [entry.ticket for entry in change.cell.queue] == [2]
    assert change.effective
    assert decode(change.content) == change.cell
    assert change.cell.author == AUTHOR
    record = find_change(change.cell, change.change_id, 1)
    assert record is not None
    assert dict(record.results) == dict(change.results)


def test_a_wish_is_carried_out_once_by_whatever_road() -> None:
    """Goal: the same wish id, sent to a steward and put into an own change, has one effect. Method: build on the cell that
    carries it, and twice in one change."""
    first = change_of(queue_of("exclusive"), 1, asked(1, Renew((Identity(1, nonce(1)),)), 1))
    again = change_of(first.cell, 2, asked(1, Renew((Identity(1, nonce(1)),)), 1), change=2)
    assert again.results == first.results
    assert not again.effective
    assert again.cell.queue[0].beat == 1
    twice = change_of(queue_of("exclusive"), 1, *[asked(1, Renew((Identity(1, nonce(1)),)), 1)] * 2)
    assert twice.cell.queue[0].beat == 1
    assert search_own([number(7001), number(7002)], first.cell) == first.results


def test_wishes_the_cell_cannot_vouch_for_are_expired() -> None:
    """Goal: neither too old (I17) nor newer than the view. Method: 17 changes later, and a view that is behind."""
    cell, version = after_many_changes(queue_of("exclusive"), 3)
    old = asked(1, ReleaseClean(1, nonce(1), None), 3)
    change = change_of(cell, version, old, asked(2, enqueue(5), version))
    assert change.expired == (number(7001),)
    assert list(change.results) == [number(7002)]
    assert change_of(cell, version, asked(1, enqueue(6), version + 1)).expired == (number(7001),)
    edge = change_of(cell, version, asked(1, enqueue(6), version - 16))
    assert not edge.expired
    assert change_of(cell, version, asked(1, enqueue(6), version - 17)).expired


def test_compaction_needs_the_very_version() -> None:
    """Goal: a cell that moved is not idle. Method: seen at another version; behind another wish; alone."""
    cell, version = after_many_changes(empty(), 0)
    assert change_of(cell, version, asked(1, Compact(), version)).results[number(7001)] == Done()
    assert isinstance(change_of(cell, version, asked(1, Compact(), version - 1)).results[number(7001)], Refusal)
    behind = change_of(cell, version, asked(2, enqueue(9), version), asked(1, Compact(), version))
    assert isinstance(behind.results[number(7001)], Refusal)
    compacted = change_of(cell, version, asked(1, Compact(), version))
    assert len(recent_changes(compacted.cell)) == 1
    assert (compacted.cell.departed, compacted.cell.issued) == (b"", cell.issued)
    late = change_of(compacted.cell, version + 1, asked(3, enqueue(8), version - 1))
    assert late.expired


def test_unknown_answers_are_resolved() -> None:
    """Goal: happened, send again, not made. Method: the cell with it, the version unmoved, the version moved without it."""
    cell = queue_of("exclusive")
    change = change_of(cell, 5, asked(1, enqueue(2), 5))
    happened = resolve_unknown(change, 6, change.cell)
    assert happened == Happened({number(7001): Enqueued(2)})
    later = change_of(change.cell, 6, asked(2, enqueue(3), 6), change=2)
    assert isinstance(resolve_unknown(change, 7, later.cell), Happened)
    assert resolve_unknown(change, 5, cell) == SendAgain()
    other = change_of(cell, 5, asked(2, enqueue(3), 5), change=2)
    assert resolve_unknown(change, 6, other.cell) == NotMade({})
    carried = change_of(cell, 5, asked(1, enqueue(2), 5), change=2)
    assert resolve_unknown(change, 6, carried.cell) == NotMade({number(7001): Enqueued(2)})
    with pytest.raises(ValueError, match="linearizable"):
        resolve_unknown(change, 4, cell)


def test_a_lone_wish_names_its_change() -> None:
    """Goal: a change of one wish may go by the wish's id, one of several may not. Method: build them; the record of the lone one
    is found by either, and carrying the wish again does nothing."""
    wish = asked(1, enqueue(1))
    change = change_of(empty(), 0, wish, change=None)
    assert change.change_id == number(7001)
    record = find_change(change.cell, number(7001), 1)
    assert record is not None
    assert dict(record.results) == dict(change.results) == {number(7001): Enqueued(1)}
    assert change.cell.recent.count(number(7001)) == 1
    again = change_of(change.cell, 1, wish, change=None)
    assert (again.results, again.effective, again.cell.queue) == (change.results, False, change.cell.queue)
    late = change_of(empty(), 0, asked(1, enqueue(1), 3), change=None)
    assert (late.expired, late.results, late.effective) == ((number(7001),), {}, False)
    for wishes in ((), (asked(1, enqueue(1)), asked(2, enqueue(2)))):
        with pytest.raises(ValueError, match="unpack"):
            change_of(empty(), 0, *wishes, change=None)


def test_unknown_answers_of_lone_wishes_are_resolved() -> None:
    """Goal: happened, send again, not made, as for any change. Method: the cell with its record, also later and also if another
    process made it, the version unmoved, and the version moved by others, one of which carried the wish."""
    cell = queue_of("exclusive")
    wish = asked(1, enqueue(2, request_id=NO_REQUEST), 5)
    change = change_of(cell, 5, wish, change=None)
    assert resolve_unknown(change, 5, cell) == SendAgain()
    assert resolve_unknown(change, 6, change.cell) == Happened({number(7001): Enqueued(2)})
    elsewhere = build_change(cell, 5, [wish], change_id=None, author=Author("s1", "p2", "i2"), now=NOW + 9)
    assert elsewhere.content != change.content
    assert resolve_unknown(change, 6, elsewhere.cell) == Happened({number(7001): Enqueued(2)})
    later = change_of(elsewhere.cell, 6, asked(2, enqueue(3), 6), change=None)
    assert resolve_unknown(change, 7, later.cell) == Happened({number(7001): Enqueued(2)})
    other = change_of(cell, 5, asked(2, enqueue(3), 5), change=None)
    assert resolve_unknown(change, 6, other.cell) == NotMade({})
    for change_id in (None, 2):
        carried = change_of(other.cell, 6, wish, change=change_id)
        assert resolve_unknown(change, 7, carried.cell) == NotMade({number(7001): Enqueued(3)})
    beside = change_of(cell, 5, asked(2, enqueue(3), 5), wish, change=2)
    assert resolve_unknown(change, 6, beside.cell) == NotMade({number(7001): Enqueued(3)})
    with pytest.raises(ValueError, match="linearizable"):
        resolve_unknown(change, 4, cell)


def test_traces_of_enqueues() -> None:
    """Goal: where the cell has forgotten the change, the nonce or the request id tells of an enqueue, and of one without a request
    id only the nonce. Method: the entry waits, was taken over, has left."""
    cell = make(queue_of("exclusive"), enqueue(2, request_id=NO_REQUEST))
    for request_id in (NO_REQUEST, number(1003)):
        change = change_of(cell, 5, asked(1, enqueue(3, request_id=request_id), 5), change=None)
        waiting = Undecided({number(7001): Enqueued(3, repeated=True)}, ())
        gone = Undecided({number(7001): Enqueued(3, repeated=True, gone=True)}, ())
        nothing = Undecided({}, (number(7001),))
        for after, resolution in (
            (change.cell, waiting),
            (make(change.cell, take_over(change.cell, 3, 9)), waiting if request_id else nothing),
            (make(change.cell, Cancel(3, nonce(3))), gone if request_id else nothing),
            (cell, nothing),
        ):
            forgotten, version = after_many_changes(after, 6)
            assert resolve_unknown(change, version, forgotten) == resolution


def test_traces_decide_what_they_can() -> None:
    """Goal: entries tell of enqueues, take-overs, promotions and of releases that did not happen; of nothing else. Method: a
    change of each, and a cell that has forgotten everything."""
    cell = queue_of("shared", "shared", "exclusive")
    change = change_of(
        cell,
        5,
        asked(1, enqueue(4), 5),
        asked(2, take_over(cell, 3, 9), 5),
        asked(3, Promote(2, nonce(2)), 5),
        asked(4, Renew((Identity(1, nonce(1)),)), 5),
    )
    done, version = after_many_changes(change.cell, 6)
    resolution = resolve_unknown(change, version, done)
    assert isinstance(resolution, Undecided)
    assert resolution.decided == {
        number(7001): Enqueued(4, repeated=True),
        number(7002): Done(),
        number(7003): Done(),
    }
    assert resolution.open == (number(7004),)
    kept, version = after_many_changes(cell, 6)
    release = change_of(cell, 5, asked(5, Cancel(3, nonce(3)), 5), asked(6, enqueue(4), 5))
    resolution = resolve_unknown(release, version, kept)
    assert isinstance(resolution, Undecided)
    (decided,) = resolution.decided.values()
    assert isinstance(decided, Refusal)
    assert decided.code == "expired"
    assert resolution.open == (number(7006),)


def test_one_process_combines_for_a_key() -> None:
    """Goal: everybody names the same one, and one that leaves moves only its own keys. Method: 300 keys, four processes."""
    processes = ["p1", "p2", "p3", "p4"]
    before = {key: combiner_of(number(key), processes) for key in range(300)}
    assert set(before.values()) == set(processes)
    assert all(combiner_of(number(key), list(reversed(processes))) == owner for key, owner in before.items())
    after = {key: combiner_of(number(key), processes[:3]) for key in range(300)}
    assert all(after[key] == owner for key, owner in before.items() if owner != "p4")


def test_stewards() -> None:
    """Goal: the head's process; with an empty queue the last changer for 10 W; then nobody. Method: each."""
    cell = make(queue_of("exclusive"), enqueue(2, process="p2"))
    assert steward_of(cell, idle_s=9.0, rtt_s=0.0) == Author("s1", "p1", "i1")
    idle = replace(empty(), author=Author("s2", "p9", "i3"))
    assert steward_of(idle, idle_s=0.4, rtt_s=0.05) == Author("s2", "p9", "i3")
    assert steward_of(idle, idle_s=0.5, rtt_s=0.05) is None
    assert steward_of(empty(), idle_s=0.0, rtt_s=0.05) is None


def test_what_a_steward_may_keep_back() -> None:
    """Goal: only what does not change who holds. Method: waiting and holding enqueues, releases, renewals, cancels."""
    held = queue_of("exclusive", "exclusive")
    assert may_keep_back(held, enqueue(3))
    assert may_keep_back(held, Renew((Identity(2, nonce(2)),)))
    assert may_keep_back(held, Cancel(2, nonce(2)))
    assert not may_keep_back(held, ReleaseClean(1, nonce(1), None))
    assert not may_keep_back(empty(), enqueue(1))
    assert not may_keep_back(queue_of("shared"), enqueue(2, kind="shared"))
    assert not may_keep_back(held, take_over(held, 1, 9))


def test_waiting_times() -> None:
    """Goal: the figures of the protocol. Method: W of 50 ms."""
    assert keep_back_s(0.05) == pytest.approx(0.2)
    assert noted_within_s(0.03) == pytest.approx(0.13)
    assert decided_within_s(0.05) == pytest.approx(0.6)
    assert own_attempt_delay_s(0.05, 0, 0.5) == pytest.approx(0.025)
    assert own_attempt_delay_s(0.05, 3, 0.5) == pytest.approx(0.2)
    assert own_attempt_delay_s(0.05, 60, 0.5) == own_attempt_delay_s(0.05, 6, 0.5)


def test_patience_with_slow_answers() -> None:
    """Goal: where answers come late they are waited for, where they come in time as long as ever, and never for longer than they are
    listened for. Method: round trips of 50 ms; no answer yet, quick ones, slow ones, quick ones again, very slow ones."""
    patience = Patience()
    assert patience.beyond_s(0.05) == 0.0
    at_s = 0.0

    def answer(took_s: float) -> None:
        nonlocal at_s
        at_s += 1.0
        patience.answered(took_s, at_s)

    for _ in range(20):
        answer(0.055)
    assert patience.beyond_s(0.05) == 0.0
    for turn in range(20):
        answer(0.3 + 0.2 * (turn % 2))
    slow_s = patience.beyond_s(0.05)
    assert 0.5 <= noted_within_s(0.05) + slow_s <= 1.0
    assert decided_within_s(0.05, slow_s) == pytest.approx(decided_within_s(0.05) + 4 * slow_s)
    for _ in range(40):
        answer(0.055)
    assert patience.beyond_s(0.05) < 0.05
    for _ in range(20):
        answer(5.0)
    assert noted_within_s(0.05) + patience.beyond_s(0.05) == pytest.approx(NOTED_S_MAX)


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_patience_learns_nothing_of_a_standstill(order: int) -> None:
    """Goal: a process that was frozen is asked as if nothing had been. Method: it answers at once, stands for two seconds in which it is asked
    twenty times, and then answers them all within a tenth of a second, in either order; the same answers one by one are slowness."""
    patience = Patience()
    for at in range(20):
        patience.answered(0.05, float(at))
    asked = [100.0 + 0.1 * at for at in range(20)]
    for at, sent_s in enumerate(asked[::order]):
        now_s = 102.0 + 0.005 * at
        patience.answered(now_s - sent_s, now_s)
    assert patience.beyond_s(0.05) < 0.1
    for at in range(20):
        patience.answered(0.1 * at, 200.0 + at)
    assert patience.beyond_s(0.05) > 1.0


def test_entries_of_an_incarnation() -> None:
    """Goal: those whose session it is. Method: two processes, two incarnations."""
    cell = make(make(queue_of("exclusive"), enqueue(2, process="p2")), enqueue(3, incarnation="i0"))
    assert [entry.ticket for entry in entries_of(cell, "p1", "i1")] == [1]
