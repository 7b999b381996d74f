"""The transitions of a lock cell: each is one compare-and-set on the version that was read.

    wish            needs                                         does
    enqueue         room; the request not seen before             append; empty queue: floor := max(floor + 1, now)
    release clean   head; nothing unanswered and uncovered        pop; floor := max(floor, last + 1, now)
    release dirty   head                                          pop; floor likewise; fence := floor
    leave           shared holder that is not first               remove
    preempt         entries exactly as observed, or an order      drop; head too: floor := max(floor + WINDOW, now), fence := floor
    take over       secret, and the old session is known gone     new nonce; head: floor := floor + WINDOW, fence := floor
    extend          head                                          floor := floor + WINDOW
    renew           entries of one process                        beats move
    cancel          an entry that has written nothing             remove
    promote         shared entry, no other promotion in its run   promoting, up to the last entry of the run
    withdraw        promoting entry                               shared
    compact         empty queue, long idle                        forget recent and departed

Nothing else changes a cell. issued, floor and fence never go back.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from polysite.core.lock_cell import (
    Author,
    Entry,
    LockCell,
    departed_ticket,
    entry_by_nonce,
    entry_by_request,
    entry_by_secret,
    entry_by_ticket,
    position,
    run_from,
    with_departed,
)
from polysite.core.stamps import FLOOR_MAX, WINDOW
from polysite.core.wishes import (
    ID_BYTES,
    QUEUE_MAX,
    Cancel,
    CancelRequest,
    Compact,
    Done,
    Enqueue,
    Enqueued,
    Extend,
    Leave,
    Preempt,
    Preempted,
    Promote,
    Refusal,
    ReleaseClean,
    ReleaseDirty,
    Renew,
    Renewed,
    Result,
    TakeOver,
    Wish,
    Withdraw,
)

TICKET_MAX = 2**62
DONE = Done()
LOST = Refusal("lock_lost", "the entry has left the queue or belongs to another session")
NOT_HEAD = Refusal("not_holder", "the entry is not the head of the queue")
EXHAUSTED = Refusal("cell_exhausted", "the lock cell has no stamps or tickets left")
FULL = Refusal("overloaded", "the lock's queue is full")
FULL_OF_SITE = Refusal("overloaded", "this site has as many entries in the lock's queue as it may")

Answer = tuple[LockCell, Result]


def apply(cell: LockCell, wish: Wish, now: int) -> Answer:
    """The cell after `wish`, and the wish's result; the same cell object if the wish is refused or changes nothing.

    `now` is a stamp (`stamps.now_stamp`). Does not touch `recent`: `combine.build_change` does.
    """
    after, result = _TRANSITIONS[type(wish)](cell, wish, now)
    if after is cell:
        return cell, result
    if after.floor > FLOOR_MAX or after.issued > TICKET_MAX:
        return cell, EXHAUSTED
    check_step(cell, after)
    return after, result


def check_step(before: LockCell, after: LockCell) -> None:
    """What no transition may ever break."""
    assert after.issued >= before.issued, "issued went back"
    assert after.floor >= before.floor, "floor went back"
    assert after.fence >= before.fence, "fence went back"
    assert after.fence <= after.floor, "fence above floor"
    assert len(after.queue) <= QUEUE_MAX, "queue over its bound"


def pass_through(
    cell: LockCell,
    request_id: bytes | None,
    used: int,
    now: int,
    *,
    recent: bytes | None = None,
    author: Author | None = None,
) -> tuple[LockCell, int, int]:
    """Enqueue and clean release in one step, for a one-shot section on a cell whose queue is empty.

    `request_id` None: nobody can send this request again, so the cell need not remember that its entry has left. `used`: how
    many stamps the section needs. Answers the cell after it, the ticket, and the first of the section's stamps.
    `recent` and `author` become the cell's; None: they stay. CellExhausted if there are no stamps or tickets left.
    """
    assert not cell.queue, "a one-shot section needs an empty queue"
    assert request_id is None or len(request_id) == ID_BYTES, "request ids have a fixed length"
    assert 0 <= used <= WINDOW, "a one-shot section stays inside one window"
    ticket = cell.issued + 1
    first = max(cell.floor + 1, now)
    floor = max(first + used, now)
    if floor > FLOOR_MAX or ticket > TICKET_MAX:
        raise EXHAUSTED.error()
    after = LockCell(
        ticket,
        floor,
        cell.fence,
        (),
        cell.recent if recent is None else recent,
        cell.departed if request_id is None else with_departed(cell.departed, request_id, ticket),
        author or cell.author,
    )
    check_step(cell, after)
    return after, ticket, first


def _enqueue(cell: LockCell, wish: Enqueue, now: int) -> Answer:
    if wish.request_id:
        assert len(wish.request_id) == ID_BYTES, "request ids have a fixed length"
        queued = entry_by_request(cell, wish.request_id)
        if queued is not None:
            return cell, Enqueued(queued.ticket, repeated=True)
        gone = departed_ticket(cell, wish.request_id)
        if gone is not None:
            return cell, Enqueued(gone, repeated=True, gone=True)
    if len(cell.queue) >= QUEUE_MAX:
        return cell, FULL
    if wish.site_limit < QUEUE_MAX and sum(entry.site == wish.site for entry in cell.queue) >= wish.site_limit:
        return cell, FULL_OF_SITE
    entry = Entry(
        ticket=cell.issued + 1,
        secret=wish.secret,
        nonce=wish.nonce,
        request_id=wish.request_id,
        kind=wish.kind,
        site=wish.site,
        process=wish.process,
        incarnation=wish.incarnation,
        lease_ms=wish.lease_ms,
        owner=wish.owner,
    )
    floor = cell.floor if cell.queue else max(cell.floor + 1, now)
    after = LockCell(entry.ticket, floor, cell.fence, (*cell.queue, entry), cell.recent, cell.departed, cell.author)
    return after, Enqueued(entry.ticket)


def _release_clean(cell: LockCell, wish: ReleaseClean, now: int) -> Answer:
    refusal = _refuse_unless_head(cell, wish.ticket, wish.nonce)
    if refusal is not None:
        return cell, refusal
    return _pop(cell, floor=_floor_after(cell, wish.last, now)), DONE


def _release_dirty(cell: LockCell, wish: ReleaseDirty, now: int) -> Answer:
    refusal = _refuse_unless_head(cell, wish.ticket, wish.nonce)
    if refusal is not None:
        return cell, refusal
    floor = _floor_after(cell, wish.last, now)
    return replace(_pop(cell, floor=floor), fence=floor), DONE


def _floor_after(cell: LockCell, last: int | None, now: int) -> int:
    """The floor once the head has gone that used no stamp above `last` (None: none at all)."""
    if last is None:
        return max(cell.floor, now)
    assert last < cell.floor + WINDOW, "a stamp past the window was used"
    return max(cell.floor, last + 1, now)


def _pop(cell: LockCell, *, floor: int) -> LockCell:
    gone = cell.queue[0]
    departed = with_departed(cell.departed, gone.request_id, gone.ticket)
    return LockCell(cell.issued, floor, cell.fence, cell.queue[1:], cell.recent, departed, cell.author)


def _leave(cell: LockCell, wish: Leave | Cancel, now: int) -> Answer:
    """Also a cancel: both are of entries that have used no stamp."""
    entry = _own(cell, wish.ticket, wish.nonce)
    if entry is None:
        return cell, LOST
    if entry is cell.queue[0]:
        return _pop(cell, floor=_floor_after(cell, None, now)), DONE
    if isinstance(wish, Leave) and entry.kind == "exclusive":
        return cell, NOT_HEAD
    return _without(cell, [entry]), DONE


def _without(cell: LockCell, entries: list[Entry]) -> LockCell:
    departed = cell.departed
    for entry in entries:
        departed = with_departed(departed, entry.request_id, entry.ticket)
    gone = {entry.ticket for entry in entries}
    return replace(cell, queue=tuple(entry for entry in cell.queue if entry.ticket not in gone), departed=departed)


def _preempt(cell: LockCell, wish: Preempt, now: int) -> Answer:
    observed = set(wish.observed)
    dead = [
        entry
        for entry in cell.queue
        if (entry.ticket, entry.nonce, entry.beat) in observed
        or (wish.forced is not None and (entry.ticket, entry.nonce) == wish.forced)
    ]
    if not dead:
        return cell, Refusal("compare_failed", "no entry is as it was observed")
    after = _without(cell, dead)
    if dead[0] is cell.queue[0]:
        floor = max(cell.floor + WINDOW, now)
        after = replace(after, floor=floor, fence=floor)
    ordered_by = (wish.ordered_by or "") if wish.forced is not None else None
    return after, Preempted(tuple(entry.ticket for entry in dead), ordered_by)


def _take_over(cell: LockCell, wish: TakeOver, _now: int) -> Answer:
    if entry_by_ticket(cell, wish.ticket) is None:
        return cell, LOST
    entry = entry_by_secret(cell, wish.ticket, wish.secret)
    if entry is None:
        return cell, Refusal("forbidden", "the reference's secret is wrong")
    if entry.nonce != wish.old_nonce or (wish.ground == "observed" and entry.beat != wish.old_beat):
        return cell, Refusal("compare_failed", "the entry's session has moved or lives")
    assert wish.nonce != entry.nonce, "a take-over needs a new nonce"
    taken = replace(
        entry,
        nonce=wish.nonce,
        site=wish.site,
        process=wish.process,
        incarnation=wish.incarnation,
        beat=entry.beat + 1,
    )
    after = _put_entry(cell, taken)
    if entry is cell.queue[0]:
        floor = cell.floor + WINDOW
        after = replace(after, floor=floor, fence=floor)
    return after, DONE


def _extend(cell: LockCell, wish: Extend, _now: int) -> Answer:
    refusal = _refuse_unless_head(cell, wish.ticket, wish.nonce)
    if refusal is not None:
        return cell, refusal
    return replace(cell, floor=cell.floor + WINDOW), DONE


def _renew(cell: LockCell, wish: Renew, _now: int) -> Answer:
    wanted = set(wish.entries)
    renewed = tuple(entry.ticket for entry in cell.queue if (entry.ticket, entry.nonce) in wanted)
    if not renewed:
        return cell, LOST
    queue = tuple(
        replace(entry, beat=entry.beat + 1, lease_ms=wish.lease_ms or entry.lease_ms)
        if (entry.ticket, entry.nonce) in wanted
        else entry
        for entry in cell.queue
    )
    return replace(cell, queue=queue), Renewed(renewed)


def _cancel_request(cell: LockCell, wish: CancelRequest, now: int) -> Answer:
    entry = entry_by_nonce(cell, wish.nonce)
    if entry is None:
        return cell, LOST
    return _leave(cell, Cancel(entry.ticket, entry.nonce), now)


def _promote(cell: LockCell, wish: Promote, _now: int) -> Answer:
    entry = _own(cell, wish.ticket, wish.nonce)
    if entry is None:
        return cell, LOST
    if entry.kind == "exclusive":
        return cell, Refusal("bad_request", "the lock is exclusive already")
    if entry.kind == "promoting":
        return cell, DONE
    start = position(cell, entry.ticket) or 0
    while start > 0 and cell.queue[start - 1].kind != "exclusive":
        start -= 1
    run = run_from(cell.queue, start)
    if any(member.kind == "promoting" for member in run):
        return cell, Refusal("compare_failed", "another promotion is under way among these holders")
    return _put_entry(cell, replace(entry, kind="promoting", upto=run[-1].ticket)), DONE


def _withdraw(cell: LockCell, wish: Withdraw, _now: int) -> Answer:
    entry = _own(cell, wish.ticket, wish.nonce)
    if entry is None:
        return cell, LOST
    if entry.kind != "promoting":
        return cell, Refusal("bad_request", "no promotion is under way")
    return _put_entry(cell, replace(entry, kind="shared", upto=0)), DONE


def _compact(cell: LockCell, _wish: Compact, _now: int) -> Answer:
    if cell.queue:
        return cell, Refusal("compare_failed", "the queue is not empty")
    if not cell.recent and not cell.departed:
        return cell, DONE
    return replace(cell, recent=b"", departed=b""), DONE


def _own(cell: LockCell, ticket: int, nonce: bytes) -> Entry | None:
    entry = entry_by_ticket(cell, ticket)
    return entry if entry is not None and entry.nonce == nonce else None


def _refuse_unless_head(cell: LockCell, ticket: int, nonce: bytes) -> Refusal | None:
    entry = _own(cell, ticket, nonce)
    if entry is None:
        return LOST
    return None if entry is cell.queue[0] else NOT_HEAD


def _put_entry(cell: LockCell, changed: Entry) -> LockCell:
    return replace(cell, queue=tuple(changed if entry.ticket == changed.ticket else entry for entry in cell.queue))


_TRANSITIONS: dict[type, Callable[[LockCell, Any, int], Answer]] = {
    Enqueue: _enqueue,
    ReleaseClean: _release_clean,
    ReleaseDirty: _release_dirty,
    Leave: _leave,
    Preempt: _preempt,
    TakeOver: _take_over,
    Extend: _extend,
    Renew: _renew,
    Cancel: _leave,
    CancelRequest: _cancel_request,
    Promote: _promote,
    Withdraw: _withdraw,
    Compact: _compact,
}
