"""Every transition: what it does, what it needs, and what it refuses."""

from typing import Any

import pytest
from msgspec.structs import replace

from polysite.core.lock_cell import NO_REQUEST, LockCell, departed_ticket, empty, is_holder, pack_change, role
from polysite.core.stamps import FLOOR_MAX, STAMP_BASE, WINDOW
from polysite.core.transitions import apply, pass_through
from polysite.core.wishes import (
    QUEUE_MAX,
    Cancel,
    CancelRequest,
    Compact,
    Done,
    Enqueued,
    Extend,
    Identity,
    Leave,
    Observed,
    Preempt,
    Preempted,
    Promote,
    Refusal,
    ReleaseClean,
    ReleaseDirty,
    Renew,
    Renewed,
    Withdraw,
)
from polysite.errors import CellExhausted, LockLost, Overloaded
from tests.unit.core.checks import make, take_over
from tests.unit.core.factories import NOW, enqueue, nonce, number, queue_of


def refused(cell: LockCell, wish: Any, code: str) -> None:
    """The wish is refused with `code` and the cell is the very same."""
    after, result = apply(cell, wish, NOW)
    assert isinstance(result, Refusal)
    assert result.code == code
    assert after is cell


def test_enqueue_on_an_empty_queue_holds_at_once() -> None:
    """Goal: ticket 1 and a window above the floor that follows the clock. Method: clocks ahead, behind and standing."""
    for now, floor in ((NOW, NOW), (STAMP_BASE - 7, STAMP_BASE + 1), (STAMP_BASE, STAMP_BASE + 1)):
        cell, result = apply(empty(), enqueue(1), now)
        assert result == Enqueued(1)
        assert (cell.issued, cell.floor, cell.fence) == (1, floor, 0)
        assert role(cell, 1, nonce(1)) == "exclusive"


def test_enqueue_behind_others_moves_no_window() -> None:
    """Goal: waiting entries leave floor and fence. Method: a second entry under a later clock."""
    cell = queue_of("exclusive")
    after, result = apply(cell, enqueue(2), NOW + 99)
    assert result == Enqueued(2)
    assert (after.floor, after.fence) == (cell.floor, cell.fence)
    assert not is_holder(after, 2, nonce(2))


def test_enqueue_again_gives_the_same_ticket() -> None:
    """Goal: a request is enqueued once. Method: asked again while queued (even by another session) and after it left."""
    cell = queue_of("exclusive", "exclusive")
    after, result = apply(cell, enqueue(9, request_id=number(1002)), NOW)
    assert result == Enqueued(2, repeated=True)
    assert after is cell
    left = make(cell, Cancel(2, nonce(2)))
    after, result = apply(left, enqueue(2), NOW)
    assert result == Enqueued(2, repeated=True, gone=True)
    assert after is left


def test_enqueues_without_a_request_id_are_each_their_own() -> None:
    """Goal: nobody can make them again, so each gets an entry, and none is told of another's. Method: two beside one with a request
    id, which is still enqueued once; then of a wrong length."""
    cell = make(queue_of("exclusive"), enqueue(2, request_id=NO_REQUEST))
    after, result = apply(cell, enqueue(3, request_id=NO_REQUEST), NOW)
    assert result == Enqueued(3)
    assert [entry.request_id for entry in after.queue] == [number(1001), NO_REQUEST, NO_REQUEST]
    assert apply(after, enqueue(4, request_id=number(1001)), NOW) == (after, Enqueued(1, repeated=True))
    with pytest.raises(AssertionError):
        apply(after, enqueue(4, request_id=b"short"), NOW)


def test_a_full_queue_refuses() -> None:
    """Goal: at most 256 entries, and of one site no more than its share. Method: fill, then one more; then one of another site."""
    cell = empty()
    for value in range(QUEUE_MAX):
        cell = make(cell, enqueue(value, site="s1" if value % 2 else "s2"))
    refused(cell, enqueue(999), "overloaded")
    shared = queue_of("exclusive", "exclusive")
    refused(shared, enqueue(9, site_limit=2), "overloaded")
    assert isinstance(apply(shared, enqueue(9, site="s2", site_limit=2), NOW)[1], Enqueued)
    refusal = apply(cell, enqueue(999), NOW)[1]
    assert isinstance(refusal, Refusal)
    assert isinstance(refusal.error(), Overloaded)


def test_release_clean_pops_above_the_last_stamp() -> None:
    """Goal: floor := max(floor, last + 1, now), the fence stays. Method: last above and below the clock, and none used."""
    cell = queue_of("exclusive", "exclusive")
    for last, now, floor in (
        (cell.floor + 5, NOW, cell.floor + 6),
        (cell.floor, NOW + 50, NOW + 50),
        (None, STAMP_BASE, cell.floor),
    ):
        after, result = apply(cell, ReleaseClean(1, nonce(1), last), now)
        assert result == Done()
        assert (after.floor, after.fence) == (floor, 0)
        assert [entry.ticket for entry in after.queue] == [2]
        assert departed_ticket(after, number(1001)) == 1


def test_release_dirty_raises_the_fence() -> None:
    """Goal: fence := floor. Method: as above."""
    cell = queue_of("exclusive", "exclusive")
    after = make(cell, ReleaseDirty(1, nonce(1), cell.floor + 5))
    assert after.floor == after.fence == cell.floor + 6


def test_release_of_a_stamp_past_the_window_is_no_release() -> None:
    """Goal: the invariant is asserted in production. Method: a last stamp that the window does not have."""
    cell = queue_of("exclusive")
    with pytest.raises(AssertionError):
        apply(cell, ReleaseClean(1, nonce(1), cell.floor + WINDOW), NOW)


@pytest.mark.parametrize("wish_type", [ReleaseClean, ReleaseDirty])
def test_release_needs_the_head(wish_type: Any) -> None:
    """Goal: only (ticket, nonce) of the head. Method: a waiting one, a wrong nonce, one that left, an empty queue."""
    cell = queue_of("exclusive", "exclusive")
    refused(cell, wish_type(2, nonce(2), None), "not_holder")
    refused(cell, wish_type(1, nonce(2), None), "lock_lost")
    refused(cell, wish_type(7, nonce(7), None), "lock_lost")
    refused(empty(), wish_type(1, nonce(1), None), "lock_lost")
    assert isinstance(Refusal("lock_lost", "x").error(), LockLost)


def test_leave_moves_nothing() -> None:
    """Goal: a shared holder that is not first goes without a trace on floor and fence. Method: one of three."""
    cell = queue_of("shared", "shared", "shared")
    after = make(cell, Leave(2, nonce(2)), now=NOW + 99)
    assert [entry.ticket for entry in after.queue] == [1, 3]
    assert (after.floor, after.fence) == (cell.floor, cell.fence)
    refused(cell, Leave(2, nonce(3)), "lock_lost")
    refused(queue_of("exclusive", "exclusive"), Leave(2, nonce(2)), "not_holder")


def test_leave_of_one_that_became_head_is_a_release_without_writes() -> None:
    """Goal: it has used no stamp, so the floor need not pass any. Method: the first left before."""
    cell = make(queue_of("shared", "shared"), ReleaseClean(1, nonce(1), None))
    after = make(cell, Leave(2, nonce(2)), now=STAMP_BASE)
    assert after.queue == ()
    assert (after.floor, after.fence) == (cell.floor, cell.fence)


def observed(cell: LockCell, *tickets: int) -> tuple[Observed, ...]:
    return tuple(Observed(e.ticket, e.nonce, e.beat) for e in cell.queue if e.ticket in tickets)


def test_preempt_drops_what_is_as_observed() -> None:
    """Goal: head and waiting ones, not those that beat since; the head's going moves floor by a window, and the fence. Method:
    three observed, one of them renewed."""
    cell = queue_of("exclusive", "exclusive", "exclusive", "exclusive")
    seen = observed(cell, 1, 2, 3)
    cell = make(cell, Renew((Identity(2, nonce(2)),)))
    after, result = apply(cell, Preempt(seen), STAMP_BASE)
    assert result == Preempted((1, 3))
    assert [entry.ticket for entry in after.queue] == [2, 4]
    assert after.floor == after.fence == cell.floor + WINDOW
    late = make(cell, Preempt(seen), now=cell.floor + 5 * WINDOW)
    assert late.floor == late.fence == cell.floor + 5 * WINDOW


def test_preempt_of_waiting_entries_moves_nothing() -> None:
    """Goal: only the head has stamps to fence. Method: drop one that waits."""
    cell = queue_of("exclusive", "exclusive")
    after = make(cell, Preempt(observed(cell, 2)))
    assert (after.floor, after.fence) == (cell.floor, 0)


def test_preempt_by_order_needs_no_observation() -> None:
    """Goal: the one (ticket, nonce) named, and who ordered is kept. Method: one that beat; then a wrong nonce."""
    cell = make(queue_of("exclusive", "exclusive"), Renew((Identity(1, nonce(1)),)))
    after, result = apply(cell, Preempt(forced=Identity(1, nonce(1)), ordered_by="ana"), NOW)
    assert result == Preempted((1,), "ana")
    assert after.fence == after.floor
    refused(cell, Preempt(forced=Identity(1, nonce(2)), ordered_by="ana"), "compare_failed")
    refused(cell, Preempt(observed(queue_of("exclusive"), 1)), "compare_failed")


def test_take_over_of_the_head_moves_window_and_fence() -> None:
    """Goal: new nonce, process, window; the old session's writes are fenced. Method: take over a head, then a waiting one."""
    cell = queue_of("exclusive", "exclusive")
    after = make(cell, take_over(cell, 1, 9))
    assert after.floor == after.fence == cell.floor + WINDOW
    assert (after.queue[0].nonce, after.queue[0].process, after.queue[0].incarnation) == (nonce(9), "p2", "i2")
    assert (after.queue[0].ticket, after.queue[0].secret) == (1, number(2001))
    waiting = make(cell, take_over(cell, 2, 9))
    assert (waiting.floor, waiting.fence) == (cell.floor, 0)


def test_take_over_needs_secret_and_session() -> None:
    """Goal: each of its conditions. Method: break one at a time."""
    cell = queue_of("exclusive")
    wish = take_over(cell, 1, 9)
    refused(cell, replace(wish, secret=number(0)), "forbidden")
    refused(cell, replace(wish, old_nonce=nonce(2)), "compare_failed")
    refused(cell, replace(wish, ground="observed", old_beat=1), "compare_failed")
    refused(cell, replace(wish, ticket=2), "lock_lost")
    with pytest.raises(AssertionError):
        apply(cell, replace(wish, nonce=nonce(1)), NOW)


def test_extend_moves_the_floor_by_a_window() -> None:
    """Goal: the next window is right behind. Method: the head; one that waits; until the cell is exhausted."""
    cell = queue_of("exclusive", "exclusive")
    after = make(cell, Extend(1, nonce(1)))
    assert (after.floor, after.fence) == (cell.floor + WINDOW, 0)
    refused(cell, Extend(2, nonce(2)), "not_holder")
    refused(cell, Extend(3, nonce(3)), "lock_lost")
    last = replace(cell, floor=FLOOR_MAX - WINDOW)
    assert make(last, Extend(1, nonce(1))).floor == FLOOR_MAX
    refused(replace(cell, floor=FLOOR_MAX - WINDOW + 1), Extend(1, nonce(1)), "cell_exhausted")


def test_renew_moves_beats_of_those_that_are_there() -> None:
    """Goal: one wish for all entries of a process. Method: three asked, one with a wrong nonce."""
    cell = queue_of("exclusive", "exclusive", "exclusive")
    wish = Renew((Identity(1, nonce(1)), Identity(2, nonce(9)), Identity(3, nonce(3))))
    after, result = apply(cell, wish, NOW)
    assert result == Renewed((1, 3))
    assert [entry.beat for entry in after.queue] == [1, 0, 1]
    assert (after.floor, after.fence) == (cell.floor, 0)
    refused(cell, Renew((Identity(9, nonce(9)),)), "lock_lost")


def test_cancel_of_waiting_and_of_holding_entries() -> None:
    """Goal: a waiting one goes; a holder that has written nothing lets go clean. Method: both, by ticket and by nonce; a
    nonce that nobody made, and one that a take-over has ended."""
    cell = queue_of("exclusive", "exclusive")
    assert make(cell, Cancel(2, nonce(2))).floor == cell.floor
    held = make(cell, Cancel(1, nonce(1)), now=NOW + 9)
    assert (held.floor, held.fence) == (NOW + 9, 0)
    refused(cell, Cancel(2, nonce(1)), "lock_lost")
    assert [e.ticket for e in make(cell, CancelRequest(nonce(2))).queue] == [1]
    assert make(cell, CancelRequest(nonce(1)), now=NOW + 9) == held
    refused(cell, CancelRequest(nonce(5)), "lock_lost")
    refused(make(cell, take_over(cell, 2, 9)), CancelRequest(nonce(2)), "lock_lost")


def test_promote_and_withdraw() -> None:
    """Goal: `upto` is the last ticket of the run, a second promotion is refused at once, withdrawing reopens it. Method: a run
    of three before an exclusive entry."""
    cell = queue_of("shared", "shared", "shared", "exclusive", "shared")
    promoting = make(cell, Promote(2, nonce(2)))
    assert (promoting.queue[1].kind, promoting.queue[1].upto) == ("promoting", 3)
    refused(promoting, Promote(3, nonce(3)), "compare_failed")
    assert apply(promoting, Promote(2, nonce(2)), NOW)[1] == Done()
    assert make(promoting, Promote(5, nonce(5))).queue[4].kind == "promoting"
    back = make(promoting, Withdraw(2, nonce(2)))
    assert (back.queue[1].kind, back.queue[1].upto) == ("shared", 0)
    refused(cell, Promote(4, nonce(4)), "bad_request")
    refused(cell, Promote(1, nonce(2)), "lock_lost")
    refused(cell, Withdraw(1, nonce(1)), "bad_request")
    refused(cell, Withdraw(9, nonce(1)), "lock_lost")


def test_compact_forgets_only_what_may_be_forgotten() -> None:
    """Goal: issued, floor and fence stay for ever. Method: a used, idle cell; one in use; one compacted before."""
    cell = make(queue_of("exclusive"), ReleaseDirty(1, nonce(1), None))
    idle = replace(cell, recent=pack_change(number(1), 3, ()))
    after = make(idle, Compact())
    assert (after.recent, after.departed) == (b"", b"")
    assert (after.issued, after.floor, after.fence) == (cell.issued, cell.floor, cell.fence)
    refused(queue_of("exclusive"), Compact(), "compare_failed")
    assert apply(after, Compact(), NOW)[0] is after


def test_pass_through_is_enqueue_and_release() -> None:
    """Goal: one step with the effect of two. Method: compare with the two transitions."""
    cell = make(queue_of("exclusive"), ReleaseDirty(1, nonce(1), None))
    two = make(cell, enqueue(5))
    two = make(two, ReleaseClean(2, nonce(5), two.floor + 2))
    one, ticket, first = pass_through(cell, number(1005), 3, NOW)
    assert (one, ticket) == (two, 2)
    assert one.floor == first + 3
    assert first > cell.floor
    with pytest.raises(AssertionError):
        pass_through(queue_of("exclusive"), number(1), 1, NOW)
    with pytest.raises(CellExhausted):
        pass_through(replace(cell, floor=FLOOR_MAX), number(1), 1, NOW)


def test_a_renew_may_set_the_lease() -> None:
    """Goal: the lease of the named entries, and of no other, is another one, and the beat moves, so that observers count anew. Method: one
    of two entries; a renew without a lease leaves it."""
    cell = queue_of("exclusive", "exclusive")
    after, result = apply(cell, Renew((Identity(2, nonce(2)),), 700), NOW)
    assert result == Renewed((2,))
    assert [(entry.lease_ms, entry.beat) for entry in after.queue] == [(10_000, 0), (700, 1)]
    again, _ = apply(after, Renew((Identity(1, nonce(1)), Identity(2, nonce(2)))), NOW)
    assert [(entry.lease_ms, entry.beat) for entry in again.queue] == [(10_000, 1), (700, 2)]
    assert (after.issued, after.floor, after.fence) == (cell.issued, cell.floor, cell.fence)


def test_a_renew_of_another_session_sets_no_lease() -> None:
    """Goal: a lease is its session's. Method: the entry was taken over; the old session renews with a lease."""
    cell = make(queue_of("exclusive"), take_over(queue_of("exclusive"), 1, 9))
    after, _ = apply(cell, Renew((Identity(1, nonce(1)),), 700), NOW)
    assert after.queue[0].lease_ms == 10_000
