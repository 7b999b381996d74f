"""Exact checks of single rules, as functions: unit tests call them, and `mutants` shows that they convict."""

from typing import Any

from msgspec.structs import replace

from polysite.core.combine import AskedWish, Happened, NotMade, Undecided, build_change, resolve_unknown
from polysite.core.lock_cell import (
    NO_REQUEST,
    LockCell,
    departed_ticket,
    entry_by_ticket,
    find_change,
    is_holder,
    pack_change,
    recent_changes,
    with_recent,
)
from polysite.core.one_shot import GetStep, OneShot, plan_one_shot
from polysite.core.plans import (
    Answer,
    AskFirst,
    ConfirmFence,
    DeleteIntent,
    NotSettled,
    Planned,
    PutIntent,
    RangeAnswer,
    ReadAgain,
    ReadRange,
    ReadRow,
    Restamp,
    Settle,
    Settled,
    SettleFirst,
    Wait,
)
from polysite.core.session import Session, SessionSettings
from polysite.core.transitions import apply
from polysite.core.wishes import (
    Cancel,
    CancelRequest,
    Enqueued,
    Extend,
    Identity,
    Leave,
    Observed,
    Preempt,
    Refusal,
    ReleaseClean,
    ReleaseDirty,
    Renew,
    TakeOver,
    Wish,
)
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Bound, Cell, DeleteRow, Put, SetPartStamp, Slice, StoredRow
from tests.unit.core.factories import (
    AUTHOR,
    MIXED,
    NOW,
    PARTITION,
    PLAIN,
    ROW,
    WIDE,
    enqueue,
    nonce,
    number,
    queue_of,
    wide_row,
)

ABSENT = StoredRow(ROW, {}, False)


def make(cell: LockCell, wish: Any, now: int = NOW) -> LockCell:
    """The cell after a wish that must not be refused."""
    after, result = apply(cell, wish, now)
    assert not isinstance(result, Refusal), result
    return after


def session_of(cell: LockCell, value: int = 1, *, version: int = 1, table: Any = PLAIN, **settings: Any) -> Session:
    """The session number `value` of the cell; its lease counts from 0."""
    ticket = next(entry.ticket for entry in cell.queue if entry.nonce == nonce(value))
    session = Session(
        table=table, ticket=ticket, nonce=nonce(value), version=version, cell=cell, settings=SessionSettings(**settings)
    )
    session.lease_applied(0.0)
    return session


def fenced(*kinds: str) -> LockCell:
    """A cell whose former head (session 1) was preempted; sessions 2, 3, … are left."""
    cell = queue_of("exclusive", *kinds)
    return make(cell, Preempt(forced=Identity(1, nonce(1)), ordered_by="admin"))


def row(stamp: int, *, row_stamp: int = 0, key: RowKey = ROW, **cells: bytes) -> StoredRow:
    return StoredRow(key, {name: Cell(value, stamp) for name, value in cells.items()}, True, row_stamp)


def read(session: Session, key: RowKey = ROW) -> ReadRow:
    plan = session.plan_get(key, 0.0)
    assert isinstance(plan, ReadRow), plan
    return plan


def read_range(session: Session) -> ReadRange:
    plan = session.plan_range(PARTITION, WHOLE_PARTITION)
    assert isinstance(plan, ReadRange), plan
    return plan


def put(session: Session, key: RowKey = ROW, **cells: bytes | None) -> Planned:
    plan = session.plan_put(key, dict(cells))
    assert isinstance(plan, Planned), plan
    return plan


# the cell


def take_over(cell: LockCell, value: int, new: int, *, beat: int = 0, ground: Any = "handed_over") -> TakeOver:
    ticket = next(entry.ticket for entry in cell.queue if entry.secret == number(2000 + value))
    return TakeOver(ticket, number(2000 + value), nonce(value), beat, ground, nonce(new), "s1", "p2", "i2")


def take_over_ends_the_old_session() -> None:
    """(ticket, nonce) is the identity: after a take-over the old session is lost, holding or waiting."""
    cell = queue_of("exclusive", "exclusive")
    for value in (1, 2):
        session = session_of(cell, value)
        after = make(cell, take_over(cell, value, 9))
        assert not is_holder(after, value, nonce(value))
        assert session.observe(2, after) == "lost"
        assert is_holder(after, value, nonce(9)) == (value == 1)


def take_over_once() -> None:
    """Of two processes that both saw the same session, one takes it over; one that beat meanwhile stays."""
    cell = queue_of("exclusive")
    wish = take_over(cell, 1, 8)
    after = make(cell, wish)
    _, result = apply(after, take_over(cell, 1, 9), NOW)
    assert isinstance(result, Refusal)
    beaten = make(cell, Renew((Identity(1, nonce(1)),)))
    _, result = apply(beaten, take_over(cell, 1, 8, beat=0, ground="observed"), NOW)
    assert isinstance(result, Refusal)


def only_head_releases() -> None:
    """A release of one who waits is refused and changes nothing."""
    cell = queue_of("exclusive", "exclusive")
    for wish in (ReleaseClean(2, nonce(2), None), ReleaseDirty(2, nonce(2), None), Extend(2, nonce(2))):
        after, result = apply(cell, wish, NOW)
        assert isinstance(result, Refusal)
        assert after is cell


def keyless_requests_are_never_the_same() -> None:
    """Enqueues that nobody can make again are different requests: each has its own entry, whoever waits and whoever has left."""
    cell = queue_of("exclusive")
    for ticket in (2, 3):
        cell, result = apply(cell, enqueue(ticket, request_id=NO_REQUEST), NOW)
        assert result == Enqueued(ticket)
    assert [entry.nonce for entry in cell.queue] == [nonce(1), nonce(2), nonce(3)]
    left = make(make(cell, Cancel(2, nonce(2))), Cancel(3, nonce(3)))
    assert apply(left, enqueue(4, request_id=NO_REQUEST), NOW)[1] == Enqueued(4)


def only_requests_with_a_key_are_remembered() -> None:
    """Whichever way entries go, `departed` gets those whose request could be made again and no others, and keeps what it had."""
    started = make(queue_of("exclusive"), ReleaseClean(1, nonce(1), None))
    for keyless in ((), (3,), (2, 4), (2, 3, 4)):
        cell = started
        for value in (2, 3, 4):
            request_id = NO_REQUEST if value in keyless else number(1000 + value)
            cell = make(cell, enqueue(value, kind="shared", request_id=request_id))
        for wish, gone in goings(cell):
            after = make(cell, wish)
            assert [entry.ticket for entry in cell.queue if entry_by_ticket(after, entry.ticket) is None] == list(gone)
            for ticket in gone:
                remembered = departed_ticket(after, number(1000 + ticket))
                assert remembered == (None if ticket in keyless else ticket)
            assert departed_ticket(after, number(1001)) == 1
            keyed = [ticket for ticket in gone if ticket not in keyless]
            assert len(after.departed) == len(cell.departed) + 24 * len(keyed)
            assert keyed or after.departed == cell.departed


def goings(cell: LockCell) -> list[tuple[Wish, tuple[int, ...]]]:
    """Every way in which the shared entries 2, 3 and 4 may go, and which of them go."""
    observed = tuple(Observed(entry.ticket, entry.nonce, entry.beat) for entry in cell.queue)
    return [
        (ReleaseClean(2, nonce(2), None), (2,)),
        (ReleaseDirty(2, nonce(2), cell.floor), (2,)),
        (Leave(2, nonce(2)), (2,)),
        (Leave(3, nonce(3)), (3,)),
        (Cancel(2, nonce(2)), (2,)),
        (Cancel(4, nonce(4)), (4,)),
        (CancelRequest(nonce(2)), (2,)),
        (CancelRequest(nonce(3)), (3,)),
        (Preempt(forced=Identity(3, nonce(3)), ordered_by="admin"), (3,)),
        (Preempt(observed[1:]), (3, 4)),
        (Preempt(observed), (2, 3, 4)),
    ]


# gets


def fence_to_the_stamp() -> None:
    """A row one below the fence is re-stamped, one at the fence is not."""
    for below in (0, 1):
        session = session_of(fenced("exclusive"), 2)
        got = session.got(read(session), row(10, row_stamp=session.fence - below, a=b"1"))
        assert isinstance(got, Restamp if below else Answer)


def partial_puts_do_not_vouch() -> None:
    """A row with one column above the fence and others below is re-stamped: only row_stamp vouches for the whole row."""
    session = session_of(fenced("exclusive"), 2)
    stored = StoredRow(ROW, {"a": Cell(b"1", session.fence + 5), "b": Cell(b"2", 10)}, True, 10)
    assert isinstance(session.got(read(session), stored), Restamp)


def restamp_is_whole() -> None:
    """A re-stamp names ALL columns, those without a value as nulls, and sets row_stamp and clears the mark."""
    session = session_of(fenced("exclusive"), 2)
    got = session.got(read(session), row(10, a=b"1"))
    assert isinstance(got, Restamp)
    (write,) = got.planned.writes
    assert isinstance(write, Put)
    assert write.cells == {"a": b"1", "b": None}
    assert (write.row_stamp, write.marker, write.absent) == (write.stamp, True, False)
    assert write.stamp >= session.fence


def absent_rows_are_buried_and_marked() -> None:
    """An absent row under the fence: a row tombstone, and right above it mark and row_stamp with one life, no marker."""
    session = session_of(fenced("exclusive"), 2, absent_life_ms=5_000)
    got = session.got(read(session), ABSENT)
    assert isinstance(got, Restamp)
    assert len(got.planned.writes) == 2
    tombstone, mark = got.planned.writes
    assert isinstance(tombstone, DeleteRow)
    assert isinstance(mark, Put)
    assert mark.stamp == tombstone.stamp + 1
    assert (mark.absent, mark.row_stamp, mark.marker, mark.cells, mark.life_ms) == (True, mark.stamp, False, {}, 5_000)


def absent_row_put_is_whole() -> None:
    """A put on a row known to be absent writes the other columns as nulls and sets row_stamp; a blind one does neither."""
    session = session_of(queue_of("exclusive"))
    assert isinstance(session.got(read(session), ABSENT), Answer)
    known = put(session, a=b"1").writes[0]
    assert isinstance(known, Put)
    assert known.cells == {"a": b"1", "b": None}
    assert (known.row_stamp, known.absent) == (known.stamp, False)
    blind = put(session, a=b"2").writes[0]
    assert isinstance(blind, Put)
    assert (blind.cells, blind.row_stamp, blind.absent) == ({"a": b"2"}, None, False)


def reader_gets_an_absent_row() -> None:
    """Liveness: once the first of the run has settled an absent row, the other readers get it."""
    cell = fenced("shared", "shared")
    first, reader = session_of(cell, 2), session_of(cell, 3)
    assert isinstance(reader.got(read(reader), ABSENT), AskFirst)
    got = first.got(read(first), ABSENT)
    assert isinstance(got, Restamp)
    mark = got.planned.writes[-1]
    stored = StoredRow(ROW, {}, False, row_stamp=getattr(mark, "row_stamp", None) or 0, absent=True)
    assert isinstance(reader.got(read(reader), stored), ConfirmFence)


def lost_restamp_is_forced_again() -> None:
    """A re-stamp without an answer is made anew, at a new stamp, even if the row read next carries its row_stamp."""
    session = session_of(fenced("exclusive"), 2)
    got = session.got(read(session), row(10, a=b"1"))
    assert isinstance(got, Restamp)
    session.unanswered(got.planned.op)
    again = session.got(read(session), row(got.planned.stamp, row_stamp=got.planned.stamp, a=b"1"))
    assert isinstance(again, Restamp)
    assert again.planned.stamp > got.planned.stamp


def first_of_a_run_resends_the_same() -> None:
    """The first of a shared run sends an unanswered re-stamp again as it was: another reader may have seen its values."""
    session = session_of(fenced("shared", "shared"), 2)
    got = session.got(read(session), row(10, a=b"1"))
    assert isinstance(got, Restamp)
    session.unanswered(got.planned.op)
    again = session.plan_get(ROW, 0.0)
    assert isinstance(again, Restamp)
    assert (again.planned, again.row) == (got.planned, got.row)
    session.not_sent(again.planned.op)
    assert session.plan_get(ROW, 0.0) == again
    session.answered(again.planned.op)
    assert session.plan_get(ROW, 0.0) == Answer(got.row)
    assert isinstance(session.plan_release(), ReleaseClean)


def lower_cover_does_not_settle() -> None:
    """A covering write settles only what was sent below it: a put lost above it may still appear."""
    session = session_of(queue_of("exclusive"))
    cover = put(session, a=b"1", b=b"1")
    lost = put(session, a=b"2")
    session.unanswered(lost.op)
    session.answered(cover.op)
    assert isinstance(session.got(read(session), row(cover.stamp, row_stamp=cover.stamp, a=b"1", b=b"1")), Restamp)


def speculation_obeys_the_fence() -> None:
    """The row read beside an enqueue on an empty queue is judged by the fence of the cell that granted; on `mixed` tables a
    row that must be re-stamped is read again."""
    idle = make(fenced("exclusive"), ReleaseClean(2, nonce(2), None))
    cell = make(idle, enqueue(3))
    assert isinstance(session_of(cell, 3).speculative(ROW, row(10, a=b"1"), 0), Restamp)
    assert isinstance(session_of(cell, 3).speculative(ROW, row(10, row_stamp=cell.fence, a=b"1"), 0), Answer)
    assert session_of(cell, 3, table=MIXED).speculative(ROW, row(10, a=b"1"), 0) is None


def speculation_is_for_who_was_first_at_once() -> None:
    """Two entries come with one change on an empty queue; the first writes and lets go before the second is looked after. What the
    second has read beside that change is from before the write."""
    idle = make(queue_of("exclusive"), ReleaseClean(1, nonce(1), None))
    both = make(make(idle, enqueue(2)), enqueue(3))
    first, second = session_of(both, 2, version=5), session_of(both, 3, version=5)
    assert isinstance(first.speculative(ROW, row(10, a=b"1"), 4), Answer)
    written = put(first, a=b"2", b=b"2")
    first.answered(written.op)
    end = first.plan_release()
    assert isinstance(end, ReleaseClean)
    second.observe(6, make(both, end))
    assert second.standing == "exclusive"
    assert second.speculative(ROW, row(10, a=b"1"), 4) is None


def lost_range_write_is_released_dirty() -> None:
    """An unanswered range delete makes the release dirty, until one over all of the partition is answered."""
    session = session_of(queue_of("exclusive"), table=WIDE)
    lost = session.plan_delete_range(PARTITION, Slice(Bound((b"a",), inclusive=True)))
    assert isinstance(lost, Planned)
    session.unanswered(lost.op)
    assert not session._ledger.clean()
    cover = session.plan_delete_range(PARTITION, WHOLE_PARTITION)
    assert isinstance(cover, Planned)
    session.answered(cover.op)
    assert isinstance(session.plan_release(), ReleaseClean)


def reader_confirms_the_fence() -> None:
    """What a reader read counts only if the cell looked at afterwards shows the same fence (I12)."""
    cell = queue_of("shared", "shared", "shared")
    reader = session_of(cell, 3)
    plan = read(reader)
    assert isinstance(reader.got(plan, row(10, a=b"1")), ConfirmFence)
    moved = make(cell, Preempt(forced=Identity(1, nonce(1))))
    assert isinstance(reader.confirm(plan, 2, moved), ReadAgain)
    plan = read(reader)
    assert isinstance(reader.got(plan, row(10, row_stamp=moved.fence, a=b"1")), ConfirmFence)
    assert isinstance(reader.confirm(plan, 2, moved), Answer)


def reader_that_becomes_first_uses_the_new_fence() -> None:
    """A shared holder that becomes first takes window and fence of that cell, keeps its copies, and may settle (I5)."""
    cell = queue_of("shared", "shared")
    reader = session_of(cell, 2)
    plan = read(reader)
    assert isinstance(reader.got(plan, row(10, a=b"1")), ConfirmFence)
    assert isinstance(reader.confirm(plan, 1, cell), Answer)
    moved = make(cell, Preempt(forced=Identity(1, nonce(1))))
    assert reader.observe(2, moved) == "first"
    assert isinstance(reader.plan_get(ROW, 0.0), Answer)
    again = reader.plan_get(ROW, 0.0, settle=True)
    assert isinstance(again, ReadRow)
    got = reader.got(again, row(10, a=b"1"))
    assert isinstance(got, Restamp)
    assert got.planned.stamp >= moved.floor


def stale_write_is_not_retried() -> None:
    """An unanswered write is sent again only as long as nothing later of the row was sent (I11)."""
    session = session_of(queue_of("exclusive"))
    lost = put(session, a=b"1")
    session.unanswered(lost.op)
    again = session.plan_retry(lost.op)
    assert again is lost
    session.unanswered(lost.op)
    later = put(session, b=b"2")
    assert session.plan_retry(lost.op) is None
    session.answered(later.op)
    assert session.plan_retry(lost.op) is None


def lease_counts_from_renewals() -> None:
    """Done answers count from the sending of applied renewals; grants and extends do not restart them (I15)."""
    cell = queue_of("exclusive", "exclusive")
    session = session_of(cell, 2)
    assert session.done_until_s == 8.95
    granted = make(cell, ReleaseClean(1, nonce(1), None))
    assert session.observe(2, granted) == "exclusive"
    session.observe(3, make(granted, Extend(2, nonce(2))))
    assert session.done_until_s == 8.95
    assert session.may_answer_done(8.9)
    assert not session.may_answer_done(8.96)
    session.lease_applied(4.0)
    session.lease_applied(3.0)
    assert session.done_until_s == 12.95


def making_room_keeps_the_operation() -> None:
    """What is begun is seen by what is asked next, however little room there is: partitions come and go, then a batch over as
    many rows as there is room for."""
    session = session_of(queue_of("exclusive"), table=WIDE, rows_max=2)
    for value in range(6):
        key = RowKey((bytes([value]),), (b"c",))
        plan = read(session, key)
        assert session.plan_put(key, {"a": b"1"}) == Wait(frozenset({plan.op}))
        session.give_up_read(plan)
        planned = put(session, key, a=b"1")
        assert session.plan_get(key, 0.0) == Wait(frozenset({planned.op}))
        session.answered(planned.op)
    batch = session.plan_batch([PutIntent(wide_row(1), {"a": b"1"}), DeleteIntent(wide_row(2))])
    assert isinstance(batch, Planned)
    for key in (wide_row(1), wide_row(2)):
        assert session.plan_get(key, 0.0) == Wait(frozenset({batch.op}))
    session.unanswered(batch.op)
    assert isinstance(session.plan_release(), ReleaseDirty)


# ranges


def settle_of(session: Session, rows: list[StoredRow]) -> Settle:
    got = session.got_range(read_range(session), 0)
    assert isinstance(got, SettleFirst)
    settle = session.got_partition(got, rows)
    assert isinstance(settle, Settle)
    return settle


def wide(count: int) -> list[StoredRow]:
    return [row(10, key=wide_row(value), a=b"1") for value in range(count)]


def part_stamp_known_before() -> None:
    """A session of a shared entry believes a part_stamp only if it knew it before the read began."""
    cell = fenced("shared", "shared")
    reader = session_of(cell, 3, table=WIDE)
    assert isinstance(reader.got_range(read_range(reader), cell.fence), ReadAgain)
    assert isinstance(reader.got_range(read_range(reader), cell.fence), ConfirmFence)


def part_stamp_comes_last() -> None:
    """With several batches the part_stamp, the first stamp of the attempt, is sent when all of them are answered."""
    session = session_of(fenced("exclusive"), 2, table=WIDE, batch_writes_max=5)
    settle = settle_of(session, wide(5))
    assert len(settle.batches) == 3
    for planned in settle.batches:
        assert not any(isinstance(write, SetPartStamp) for write in planned.writes)
        session.answered(planned.op)
    last = session.end_settle(settle)
    assert isinstance(last, Planned)
    (write,) = last.writes
    assert isinstance(write, SetPartStamp)
    assert write.part_stamp == settle.batches[0].writes[0].stamp
    assert write.stamp > settle.batches[-1].stamp
    session.answered(last.op)
    assert isinstance(session.end_settle(settle), Settled)
    assert isinstance(session.got_range(read_range(session), write.part_stamp), RangeAnswer)


def lost_batch_is_not_settled() -> None:
    """A batch without an answer leaves the partition unsettled: no part_stamp, and the next attempt uses new stamps."""
    session = session_of(fenced("exclusive"), 2, table=WIDE, batch_writes_max=5)
    settle = settle_of(session, wide(3))
    session.answered(settle.batches[0].op)
    session.unanswered(settle.batches[1].op)
    assert isinstance(session.end_settle(settle), NotSettled)
    again = session.plan_range(PARTITION, WHOLE_PARTITION)
    assert isinstance(again, SettleFirst)
    anew = session.got_partition(again, wide(3))
    assert isinstance(anew, Settle)
    assert anew.batches[0].writes[0].stamp > settle.batches[-1].stamp
    assert isinstance(session.plan_release(), ReleaseDirty)


def broken_off_settle_blocks_nothing() -> None:
    """A settle that is broken off leaves the partition unsettled and free for the next attempt."""
    for kind in ("exclusive", "shared"):
        session = session_of(fenced(kind), 2, table=WIDE, batch_writes_max=5)
        settle = settle_of(session, wide(5))
        session.answered(settle.batches[0].op)
        session.unanswered(settle.batches[1].op)
        session.give_up_settle(settle)
        session.give_up_settle(settle)
        again = session.plan_range(PARTITION, WHOLE_PARTITION)
        assert isinstance(again, SettleFirst if kind == "exclusive" else Settle)
        if isinstance(again, Settle):
            assert again.batches == settle.batches[1:]
            for planned in again.batches:
                session.answered(planned.op)
            assert isinstance(session.end_settle(again), Planned)


def retry_never_says_lock_lost() -> None:
    """A write without an answer may be stored: when the lock is lost meanwhile it is unknown, not refused."""
    session = session_of(queue_of("exclusive"))
    lost = put(session, a=b"1")
    session.unanswered(lost.op)
    session.observe(2, queue_of())
    assert session.plan_retry(lost.op) is None


def row_does_not_settle_its_partition() -> None:
    """A covering write of one row settles that row; a lost range write goes on unsettling the rest, and the release."""
    session = session_of(queue_of("exclusive"), table=WIDE)
    lost = session.plan_delete_range(PARTITION, WHOLE_PARTITION)
    assert isinstance(lost, Planned)
    session.unanswered(lost.op)
    got = session.got(read(session, wide_row(1)), StoredRow(wide_row(1), {}, False))
    assert isinstance(got, Restamp)
    session.answered(got.planned.op)
    assert isinstance(session.plan_get(wide_row(1), 0.0), Answer)
    assert isinstance(session.got(read(session, wide_row(2)), row(10, key=wide_row(2), a=b"1")), Restamp)
    session.answered(got.planned.op + 1)
    assert isinstance(session.plan_range(PARTITION, WHOLE_PARTITION), SettleFirst)
    assert isinstance(session.plan_release(), ReleaseDirty)


# unknown answers


def asked(value: int, wish: Any, seen: int = 0) -> AskedWish:
    return AskedWish(number(7000 + value), seen, wish)


def change_of(cell: LockCell, version: int, *wishes: AskedWish, change: int | None = 1) -> Any:
    """`change` None: a lone wish names its change."""
    change_id = None if change is None else number(9000 + change)
    return build_change(cell, version, wishes, change_id=change_id, author=AUTHOR, now=NOW)


def after_many_changes(cell: LockCell, version: int, count: int = 20) -> tuple[LockCell, int]:
    """The cell after so many changes of others that it remembers none of the earlier ones."""
    for index in range(count):
        other = change_of(cell, version, asked(100 + index, enqueue(100 + index), version), change=100 + index)
        cell, version = other.cell, version + 1
        gone = change_of(
            cell, version, asked(200 + index, Cancel(cell.issued, nonce(100 + index)), version), change=200 + index
        )
        cell, version = gone.cell, version + 1
    return cell, version


def absence_proves_no_release() -> None:
    """An entry that is not there any more may have been preempted: its unanswered release stays unknown (I18)."""
    cell = queue_of("exclusive", "exclusive")
    release = change_of(cell, 5, asked(1, ReleaseClean(1, nonce(1), None), 5))
    preempted = make(cell, Preempt(forced=Identity(1, nonce(1))))
    later, version = after_many_changes(preempted, 6)
    resolution = resolve_unknown(release, version, later)
    assert isinstance(resolution, Undecided)
    assert resolution.open == (number(7001),)


def request_ids_outlive_recent() -> None:
    """An enqueue asked again gets the same ticket, whether its entry waits, has left, or its change is long forgotten."""
    first = change_of(queue_of(), 0, asked(1, enqueue(1)))
    ticket = first.results[number(7001)].ticket
    cell = make(first.cell, ReleaseClean(ticket, nonce(1), None))
    cell, version = after_many_changes(cell, 2)
    again = change_of(cell, version, asked(2, enqueue(1), version), change=2)
    assert again.results[number(7002)] == Enqueued(ticket, repeated=True, gone=True)
    assert not again.effective
    assert isinstance(resolve_unknown(first, version, cell), Undecided)
    assert resolve_unknown(first, version, cell).decided == {number(7001): Enqueued(ticket, repeated=True, gone=True)}  # type: ignore[union-attr]


def recent_is_of_sixteen_versions() -> None:
    """The changes of the last 16 versions are remembered, and no others: a wish may be as old as that, and no older (I17)."""
    cell, version = after_many_changes(queue_of("exclusive"), 0)
    assert [change.version for change in recent_changes(cell)] == list(range(version - 15, version + 1))
    assert not change_of(cell, version, asked(1, enqueue(2), version - 16)).expired
    assert change_of(cell, version, asked(1, enqueue(2), version - 17)).expired


def lone_change_is_found_at_its_version() -> None:
    """Changes of the same lone wish have the same id: only the one that made the version in question is the one asked of. Another
    one, at another version, decided the wish all the same."""
    cell = queue_of("exclusive")
    change = change_of(cell, 5, asked(1, enqueue(2), 5), change=None)
    assert resolve_unknown(change, 6, change.cell) == Happened({number(7001): Enqueued(2)})
    other = change_of(cell, 5, asked(2, enqueue(3), 5), change=None)
    carried = change_of(other.cell, 6, asked(1, enqueue(2), 5), change=None)
    assert carried.change_id == change.change_id == number(7001)
    assert resolve_unknown(change, 7, carried.cell) == NotMade({number(7001): Enqueued(3)})


def record_says_how_a_wish_was_decided() -> None:
    """Two processes sent the same lone wish at the same version: whichever was made, its record has the result."""
    cell = queue_of("exclusive")
    change = change_of(cell, 5, asked(1, enqueue(2), 5), change=None)
    record = pack_change(number(7001), 6, ((number(7001), Enqueued(9)),))
    made = replace(change.cell, recent=with_recent(cell.recent, record))
    assert resolve_unknown(change, 6, made) == Happened({number(7001): Enqueued(9)})


def keyless_enqueue_is_traced_by_its_nonce() -> None:
    """When the cell does not reach back, an entry with the wish's nonce tells that the enqueue was made; another entry without a
    request id tells nothing, and once the entry has left nothing does."""
    cell = make(queue_of("exclusive"), enqueue(2, request_id=NO_REQUEST))
    change = change_of(cell, 5, asked(1, enqueue(3, request_id=NO_REQUEST), 5), change=None)
    made, version = after_many_changes(change.cell, 6)
    assert resolve_unknown(change, version, made) == Undecided({number(7001): Enqueued(3, repeated=True)}, ())
    for unknown in (cell, make(change.cell, Cancel(3, nonce(3)))):
        later, version = after_many_changes(unknown, 6)
        assert resolve_unknown(change, version, later) == Undecided({}, (number(7001),))


def one_shot_counts() -> None:
    """A section in one step advances issued, moves the floor over its stamps, obeys the fence, and leaves its id (6.8)."""
    cell = make(fenced("exclusive"), ReleaseClean(2, nonce(2), None), now=NOW)
    plan = plan_one_shot(
        cell,
        7,
        {ROW: row(10, a=b"1")},
        (GetStep(ROW), PutIntent(ROW, {"b": b"2"})),
        table=PLAIN,
        request_id=number(1),
        change_id=number(2),
        author=AUTHOR,
        now=NOW,
    )
    assert isinstance(plan, OneShot)
    assert len(plan.writes[0]) == 2
    restamp, write = plan.writes[0]
    assert isinstance(restamp, Put)
    assert restamp.row_stamp is not None
    assert restamp.row_stamp >= cell.fence
    assert cell.floor < restamp.stamp < write.stamp == plan.stamp < plan.cell.floor
    assert (plan.cell.issued, plan.ticket, plan.cell.fence) == (3, 3, cell.fence)
    assert find_change(plan.cell, number(2), 8) is not None
