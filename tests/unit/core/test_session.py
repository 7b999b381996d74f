"""Sessions: standing, order of operations, bounds, one-shot variants."""

import pytest

from polysite.core.lock_cell import departed_ticket, empty, find_change
from polysite.core.one_shot import (
    ExpectStep,
    GetStep,
    Mismatch,
    OneShot,
    Repeated,
    TakeGeneralPath,
    needed_rows,
    plan_one_shot,
)
from polysite.core.plans import (
    Answer,
    DeleteIntent,
    Intent,
    NeedExtend,
    Planned,
    PutIntent,
    RangeIntent,
    ReadAgain,
    ReadRow,
    RenewFirst,
    Restamp,
    SettleFirst,
    Wait,
)
from polysite.core.session import Session
from polysite.core.stamps import WINDOW
from polysite.core.wishes import Cancel, Extend, Leave, Promote, ReleaseClean, ReleaseDirty, Withdraw
from polysite.errors import BadRequest, LockLost, NotHolder, Overloaded, TooLarge
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Bound, Cell, DeleteRange, DeleteRow, Put, Slice, StoredRow
from tests.unit.core.checks import ABSENT, fenced, make, put, read, read_range, row, session_of, take_over, wide
from tests.unit.core.factories import AUTHOR, MIXED, NOW, PARTITION, PLAIN, ROW, WIDE, nonce, number, queue_of, wide_row


def test_who_may_do_what() -> None:
    """Goal: waiting sessions do nothing, shared ones read, exclusive ones write, ended ones nothing. Method: ask each."""
    cell = queue_of("shared", "shared", "exclusive")
    first, reader, waiting = (session_of(cell, value) for value in (1, 2, 3))
    assert (first.standing, reader.standing, waiting.standing) == ("first", "shared", "waiting")
    with pytest.raises(NotHolder):
        waiting.plan_get(ROW, 0.0)
    for session in (first, reader):
        assert isinstance(session.plan_get(ROW, 0.0), ReadRow)
        with pytest.raises(NotHolder):
            session.plan_put(ROW, {"a": b"1"})
    assert waiting.plan_release() == Cancel(3, nonce(3))
    assert reader.plan_release() == Leave(2, nonce(2))
    assert first.plan_release() == ReleaseClean(1, nonce(1), None)
    with pytest.raises(LockLost):
        first.plan_get(ROW, 0.0)
    holder = session_of(queue_of("exclusive"))
    assert holder.observe(2, empty()) == "lost"
    with pytest.raises(LockLost):
        holder.plan_put(ROW, {"a": b"1"})
    with pytest.raises(LockLost):
        holder.plan_release()
    assert not holder.may_answer_done(0.0)


def test_an_entry_that_left_at_once_makes_a_lost_session() -> None:
    """Goal: the newest cell may be later than the one that granted. Method: a cell without the entry, and with another nonce."""
    for cell in (empty(), make(queue_of("exclusive"), take_over(queue_of("exclusive"), 1, 9))):
        session = Session(table=PLAIN, ticket=1, nonce=nonce(1), version=3, cell=cell)
        assert session.standing == "lost"
        with pytest.raises(LockLost):
            session.plan_get(ROW, 0.0)


def test_older_views_are_ignored() -> None:
    """Goal: never lost, never back, by an old view (I19). Method: a view before the session's own change."""
    cell = queue_of("exclusive")
    session = session_of(cell, version=5)
    assert session.observe(4, empty()) == "exclusive"
    assert session.observe(5, empty()) == "exclusive"


def test_promotion_and_withdrawal() -> None:
    """Goal: exclusive when alone; withdrawn only before it wrote, and no write after the wish. Method: two readers."""
    cell = queue_of("shared", "shared")
    session = session_of(cell, 2)
    promoting = make(cell, session.promote())
    assert session.observe(2, promoting) == "shared"
    alone = make(promoting, Cancel(1, nonce(1)))
    assert session.observe(3, alone) == "exclusive"
    assert session.withdraw() == Withdraw(2, nonce(2))
    with pytest.raises(NotHolder):
        session.plan_put(ROW, {"a": b"1"})
    assert session.promote() == Promote(2, nonce(2))
    assert isinstance(session.plan_put(ROW, {"a": b"1"}), Planned)
    with pytest.raises(BadRequest):
        session.withdraw()


def test_puts_and_gets_wait_for_each_other() -> None:
    """Goal: the order inside a session, per row (I10). Method: gets against writes, gets against gets, writes against writes."""
    session = session_of(queue_of("exclusive"))
    plan = read(session)
    assert session.plan_put(ROW, {"a": b"1"}) == Wait(frozenset({plan.op}))
    assert session.plan_get(ROW, 0.0) == Wait(frozenset({plan.op}))
    session.give_up_read(plan)
    one, two = put(session, a=b"1"), put(session, b=b"2")
    assert session.plan_get(ROW, 0.0) == Wait(frozenset({one.op, two.op}))
    session.answered(one.op)
    session.not_sent(two.op)
    again = read(session)
    restamped = session_of(fenced("exclusive"), 2)
    got = restamped.got(read(restamped), row(10, a=b"1"))
    assert isinstance(got, Restamp)
    assert restamped.plan_put(ROW, {"a": b"1"}) == Wait(frozenset({got.planned.op}))
    restamped.answered(got.planned.op)
    assert isinstance(restamped.plan_put(ROW, {"a": b"1"}), Planned)
    assert isinstance(session.got(again, row(10, a=b"1")), Answer)


def test_copies() -> None:
    """Goal: gets after the first cost nothing, see own puts, stop at the lease limit, and never outlive an unanswered write or
    an expiring column. Method: one row through all of it."""
    session = session_of(queue_of("exclusive"))
    assert isinstance(session.got(read(session), row(10, a=b"1")), Answer)
    planned = put(session, b=b"2")
    session.answered(planned.op)
    plan = session.plan_get(ROW, 8.0)
    assert isinstance(plan, Answer)
    assert plan.row.cells == {"a": Cell(b"1", 10), "b": Cell(b"2", planned.stamp)}
    assert session.plan_get(ROW, 9.0) == RenewFirst()
    session.unanswered(put(session, a=b"3").op)
    assert isinstance(session.plan_get(ROW, 0.0), ReadRow)
    brief = session_of(queue_of("exclusive"))
    stored = StoredRow(ROW, {"a": Cell(b"1", 10, 5_000)}, True)
    assert brief.got(read(brief), stored) == Answer(stored)
    assert isinstance(brief.plan_get(ROW, 0.0), ReadRow)


def test_known_absent_by_own_delete() -> None:
    """Goal: an answered delete makes a partial put whole, unless something was sent after it. Method: both."""
    session = session_of(queue_of("exclusive"))
    delete = session.plan_delete(ROW)
    assert isinstance(delete, Planned)
    session.answered(delete.op)
    whole = put(session, a=b"1").writes[0]
    assert isinstance(whole, Put)
    assert whole.row_stamp == whole.stamp
    other = session_of(queue_of("exclusive"))
    delete = other.plan_delete(ROW)
    assert isinstance(delete, Planned)
    meanwhile = put(other, a=b"1")
    other.answered(meanwhile.op)
    other.answered(delete.op)
    partial = put(other, b=b"1").writes[0]
    assert isinstance(partial, Put)
    assert partial.row_stamp is None


def test_releases() -> None:
    """Goal: clean when everything is answered or covered, dirty otherwise; `last` is the highest stamp used. Method: each."""
    session = session_of(queue_of("exclusive"))
    lost = put(session, a=b"1")
    session.unanswered(lost.op)
    cover = put(session, a=b"2", b=b"2")
    session.answered(cover.op)
    assert session.plan_release() == ReleaseClean(1, nonce(1), cover.stamp)
    assert session.plan_release() == ReleaseClean(1, nonce(1), cover.stamp)
    flying = session_of(queue_of("exclusive"))
    planned = put(flying, a=b"1")
    assert flying.plan_release() == ReleaseDirty(1, nonce(1), planned.stamp)
    partial = session_of(queue_of("exclusive"))
    partial.unanswered(put(partial, a=b"1").op)
    partial.answered(put(partial, b=b"1").op)
    assert isinstance(partial.plan_release(), ReleaseDirty)
    late = session_of(queue_of("exclusive"))
    planned = put(late, a=b"1")
    late.unanswered(planned.op)
    late.answered(planned.op)
    assert isinstance(late.plan_release(), ReleaseClean)


def test_windows() -> None:
    """Goal: no stamp past the window; after an extend the new one is used. Method: a batch larger than what is left."""
    cell = queue_of("exclusive")
    session = session_of(cell)
    wanted = [session.wants_extend]
    session._next_stamp = cell.floor + WINDOW - 1
    wanted.append(session.wants_extend)
    assert wanted == [False, True]
    batch: list[Intent] = [PutIntent(ROW, {"a": b"1"}), DeleteIntent(ROW)]
    assert session.plan_batch(batch) == NeedExtend()
    extended = make(cell, session.extend())
    assert session.extend() == Extend(1, nonce(1))
    session.observe(2, extended)
    planned = session.plan_batch(batch)
    assert isinstance(planned, Planned)
    assert [write.stamp for write in planned.writes] == [extended.floor, extended.floor + 1]


def test_batches_are_one_operation() -> None:
    """Goal: consecutive stamps, later writes of a row above earlier ones, all unanswered together. Method: three writes."""
    session = session_of(queue_of("exclusive"), table=WIDE)
    planned = session.plan_batch(
        [
            RangeIntent(PARTITION, WHOLE_PARTITION),
            PutIntent(wide_row(1), {"a": b"1"}),
            DeleteIntent(wide_row(2)),
        ]
    )
    assert isinstance(planned, Planned)
    first = planned.writes[0].stamp
    # What deletes all of a partition beside other writes is two tombstones, which touch no row both.
    assert [write.stamp for write in planned.writes] == [first, first, first + 1, first + 2]
    ends = [write.slice for write in planned.writes if isinstance(write, DeleteRange)]
    at = wide_row(1).clustering
    assert ends == [Slice(None, Bound(at, inclusive=True)), Slice(Bound(at, inclusive=False), None)]
    session.unanswered(planned.op)
    assert isinstance(session.plan_range(PARTITION, WHOLE_PARTITION), SettleFirst)


def test_pushed_values() -> None:
    """Goal: only with the view in which the session became first, and only for rows it has not touched (I14). Method: an early
    label, a late one, a touched row, one below the fence."""
    cell = queue_of("exclusive", "exclusive")
    granted = make(cell, ReleaseClean(1, nonce(1), None))
    session = session_of(cell, 2, version=4)
    assert not session.pushed(ROW, row(10, a=b"1"), 4)
    session.observe(5, granted)
    assert not session.pushed(ROW, row(10, a=b"1"), 4)
    assert session.pushed(ROW, row(10, a=b"1"), 5)
    assert isinstance(session.plan_get(ROW, 0.0), Answer)
    other = RowKey((b"q",))
    session.answered(put(session, other, a=b"1").op)
    assert not session.pushed(other, row(10, key=other, a=b"2"), 5)
    dirty = session_of(fenced("exclusive"), 2, version=5)
    assert dirty.first_version == 5
    assert not dirty.pushed(ROW, row(10, a=b"1"), 5)


def test_reads_across_a_change_of_standing_do_not_count() -> None:
    """Goal: a row read as a reader is not re-stamped as the first. Method: the first leaves during the read."""
    cell = queue_of("shared", "shared")
    session = session_of(cell, 2)
    plan = read(session)
    session.observe(2, make(cell, ReleaseClean(1, nonce(1), None)))
    assert session.got(plan, row(10, a=b"1")) == ReadAgain()
    assert isinstance(session.plan_get(ROW, 0.0), ReadRow)


def test_memory_is_bounded() -> None:
    """Goal: idle rows are forgotten, copies first by bytes; rows that must be remembered are not, and then it refuses. Method:
    small bounds."""
    session = session_of(queue_of("exclusive"), table=WIDE, rows_max=8, copies_bytes_max=400)
    for value in range(100):
        planned = put(session, wide_row(value), a=b"x" * 20, b=b"y")
        session.answered(planned.op)
    ledger = session._ledger
    assert sum(len(part.rows) for part in ledger.parts.values()) <= 8
    assert sum(row_state.copy is not None for part in ledger.parts.values() for row_state in part.rows.values()) <= 2
    stuck = session_of(queue_of("exclusive"), table=WIDE, rows_max=8)
    for value in range(8):
        stuck.unanswered(put(stuck, wide_row(value), a=b"x").op)
    with pytest.raises(Overloaded):
        stuck.plan_put(wide_row(8), {"a": b"x"})
    assert isinstance(stuck.plan_release(), ReleaseDirty)


def test_too_large_partitions_are_refused_before_anything_is_written() -> None:
    """Goal: the bounds of settling. Method: one row too many; bytes too many; then single rows still work."""
    for bounds in ({"settle_rows_max": 2}, {"settle_bytes_max": 200}):
        session = session_of(fenced("exclusive"), 2, table=WIDE, **bounds)
        got = session.got_range(read_range(session), 0)
        assert isinstance(got, SettleFirst)
        with pytest.raises(TooLarge):
            session.got_partition(got, wide(3))
        assert session.last_stamp is None
        assert isinstance(session.plan_get(wide_row(1), 0.0), ReadRow)


def one_shot(
    cell: object, rows: object, *steps: object, table: object = PLAIN, request: int | None = 1, version: int = 7
) -> object:
    return plan_one_shot(
        cell,  # type: ignore[arg-type]
        version,
        rows,  # type: ignore[arg-type]
        steps,  # type: ignore[arg-type]
        table=table,  # type: ignore[arg-type]
        request_id=None if request is None else number(request),
        change_id=number(2),
        author=AUTHOR,
        now=NOW,
    )


def test_one_shot_steps_see_each_other() -> None:
    """Goal: get, expect, put, delete in order, each on what the steps before left. Method: all of them on one absent row."""
    plan = one_shot(
        empty(),
        {ROW: ABSENT},
        GetStep(ROW),
        ExpectStep(ROW, exists=False),
        PutIntent(ROW, {"a": b"1"}),
        ExpectStep(ROW, equals={"a": b"1", "b": None}),
        GetStep(ROW),
        DeleteIntent(ROW),
        PutIntent(ROW, {"b": b"2"}),
        GetStep(ROW),
    )
    assert isinstance(plan, OneShot)
    whole, delete, last = plan.writes[0]
    assert isinstance(whole, Put)
    assert (whole.cells, whole.row_stamp) == ({"a": b"1", "b": None}, whole.stamp)
    assert isinstance(delete, DeleteRow)
    assert isinstance(last, Put)
    assert [whole.stamp, delete.stamp, last.stamp] == [plan.stamp - 2, plan.stamp - 1, plan.stamp]
    gets = [result for result in plan.results if result is not None]
    assert [row.present for row in gets] == [False, True, True]
    assert {name: cell.value for name, cell in gets[2].cells.items()} == {"b": b"2"}
    assert departed_ticket(plan.cell, number(1)) == 1
    assert needed_rows([GetStep(ROW), PutIntent(RowKey((b"z",)), {}), GetStep(ROW)]) == (ROW,)


def test_one_shot_that_nobody_can_send_again() -> None:
    """Goal: a section without a request id leaves only its change behind, and counts as any other. Method: one after one that
    has a request id."""
    keyed = one_shot(empty(), {}, PutIntent(ROW, {"a": b"1"}))
    assert isinstance(keyed, OneShot)
    plan = one_shot(keyed.cell, {}, PutIntent(ROW, {"a": b"2"}), request=None, version=8)
    assert isinstance(plan, OneShot)
    assert (plan.ticket, plan.cell.issued) == (2, 2)
    assert plan.cell.floor > plan.stamp > keyed.stamp
    assert plan.cell.departed == keyed.cell.departed
    change = find_change(plan.cell, number(2), 9)
    assert change is not None
    assert change.results == ()


def test_one_shot_refusals() -> None:
    """Goal: mismatch, busy queue, repetition, mixed tables, re-stamps that would be lost. Method: one each."""
    stored = row(10, a=b"1")
    mismatch = one_shot(empty(), {ROW: stored}, ExpectStep(ROW, equals={"a": b"2"}))
    assert mismatch == Mismatch(0, stored)
    assert isinstance(one_shot(queue_of("exclusive"), {}, PutIntent(ROW, {"a": b"1"})), TakeGeneralPath)
    done = one_shot(empty(), {}, PutIntent(ROW, {"a": b"1"}))
    assert isinstance(done, OneShot)
    assert one_shot(done.cell, {}, PutIntent(ROW, {"a": b"1"})) == Repeated(1)
    assert isinstance(one_shot(empty(), {ROW: stored}, GetStep(ROW), table=MIXED), TakeGeneralPath)
    assert isinstance(one_shot(empty(), {}, PutIntent(ROW, {"a": b"1"}), table=MIXED), OneShot)
    idle = make(fenced("exclusive"), ReleaseClean(2, nonce(2), None))
    assert isinstance(one_shot(idle, {ROW: stored}, ExpectStep(ROW, exists=False)), TakeGeneralPath)
    later = one_shot(idle, {ROW: stored}, PutIntent(ROW, {"b": b"2"}), GetStep(ROW))
    assert isinstance(later, OneShot)
    assert later.results[1] is not None
    assert {name: cell.value for name, cell in later.results[1].cells.items()} == {"a": b"1", "b": b"2"}
    assert len(later.writes[0]) == 2
