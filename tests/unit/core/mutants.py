"""Rules of the protocol, each broken on purpose in one place, and the check that must notice.

A mutant is a patch of one rule. Its check is either the world (`simulate`, under options that make the case likely) or one of
the exact checks of `checks`. `test_mutants` shows that every check passes on the rules as they are and fails on the mutant.
What this layer cannot express stands in `NOT_EXPRESSIBLE`, with the room that must.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

from msgspec.structs import replace

from polysite.core import combine, lock_cell, one_shot, ranges, restamp, session, tenure, transitions
from polysite.core.lock_cell import LockCell, run_from
from polysite.core.plans import RangeAnswer
from polysite.core.ranges import RangeGets
from polysite.core.restamp import Rewritten, is_there, restamp_absent, restamp_present
from polysite.core.rowstate import Ledger, PartState, RowState
from polysite.core.session import Session
from polysite.core.settle import Batch, cut_batches
from polysite.core.tenure import Tenure
from polysite.core.transitions import DONE, LOST
from polysite.core.wishes import (
    ID_BYTES,
    Done,
    Enqueue,
    Enqueued,
    Extend,
    Preempt,
    ReleaseClean,
    ReleaseDirty,
    TakeOver,
)
from polysite.values.rows import Bound, DeleteRange, DeleteRow, Put, SetPartStamp, Slice
from tests.unit.core import checks, world
from tests.unit.core.factories import MIXED_WIDE

Patch = AbstractContextManager[Any]


class Convicted(AssertionError):
    """A run that broke a promise; `again` makes the same run."""

    def __init__(self, again: Callable[[], object]) -> None:
        self.again = again


class Mutant(NamedTuple):
    name: str
    patch: Callable[[], Patch]
    check: Callable[[], None]


def transition(wish_type: type, function: Callable[..., Any]) -> Callable[[], Patch]:
    return lambda: mock.patch.dict(transitions._TRANSITIONS, {wish_type: function})


def attribute(place: Any, name: str, value: Any) -> Callable[[], Patch]:
    return lambda: mock.patch.object(place, name, value)


def both(*patches: Callable[[], Patch]) -> Callable[[], Patch]:
    def enter() -> Patch:
        stack = ExitStack()
        for patch in patches:
            stack.enter_context(patch())
        return stack

    return enter


def simulate(seeds: int = 3_000, first: int = 0, **options: Any) -> Callable[[], None]:
    """Runs of the world until one breaks a promise."""

    def check() -> None:
        for seed in range(first, first + seeds):
            try:
                world.run(seed, **options)
            except AssertionError as error:
                raise Convicted(partial(world.run, seed, **options)) from error

    return check


SHARED: dict[str, Any] = {"kinds": ("exclusive", "shared", "shared", "shared"), "preempt": 0.03, "give_up": 0.1}
PROMOTING: dict[str, Any] = {"kinds": ("exclusive", "shared", "promoting", "promoting", "shared")}
RANGES: dict[str, Any] = {"ranges": 1.0, "give_up": 0.06, "preempt": 0.02}
SHARED_RANGES: dict[str, Any] = SHARED | {"ranges": 1.0}
ROUGH: dict[str, Any] = {"give_up": 0.12, "preempt": 0.02, "take_over": 0.05}
OVERLAP: dict[str, Any] = {"overlap": 0.9, "give_up": 0.1}
DIRTY: dict[str, Any] = {"give_up": 0.5, "preempt": 0.0, "deliver": 0.1, "repair": 0.0}

# the cell


def release_floor_last(cell: LockCell, last: int | None, now: int) -> int:
    return cell.floor if last is None else max(cell.floor, last)


def dirty_without_fence(cell: LockCell, wish: ReleaseDirty, now: int) -> Any:
    return transitions._release_clean(cell, ReleaseClean(wish.ticket, wish.nonce, wish.last), now)


def preempt_without_fence(cell: LockCell, wish: Preempt, now: int) -> Any:
    after, result = transitions._preempt(cell, wish, now)
    return (after, result) if after is cell else (replace(after, fence=cell.fence), result)


def preempt_floor_stays(cell: LockCell, wish: Preempt, now: int) -> Any:
    after, result = transitions._preempt(cell, wish, now)
    return (
        (after, result)
        if after is cell
        else (replace(after, floor=max(cell.floor, now), fence=min(after.fence, max(cell.floor, now))), result)
    )


def take_over_without_fence(cell: LockCell, wish: TakeOver, now: int) -> Any:
    after, result = transitions._take_over(cell, wish, now)
    return (after, result) if after is cell else (replace(after, fence=cell.fence), result)


def take_over_without_window(cell: LockCell, wish: TakeOver, now: int) -> Any:
    after, result = transitions._take_over(cell, wish, now)
    if after is cell or after.fence == cell.fence:
        return after, result
    return replace(after, floor=cell.floor, fence=cell.floor), result


def take_over_keeps_nonce(cell: LockCell, wish: TakeOver, now: int) -> Any:
    after, result = transitions._take_over(cell, wish, now)
    if after is cell:
        return after, result
    queue = tuple(replace(e, nonce=wish.old_nonce) if e.ticket == wish.ticket else e for e in after.queue)
    return replace(after, queue=queue), result


def take_over_unasked(cell: LockCell, wish: TakeOver, now: int) -> Any:
    found = lock_cell.entry_by_ticket(cell, wish.ticket)
    if found is not None:
        wish = replace(wish, old_nonce=found.nonce, old_beat=found.beat)
    return transitions._take_over(cell, wish, now)


def role_without_nonce(cell: LockCell, ticket: int, nonce: bytes) -> Any:
    found = lock_cell.entry_by_ticket(cell, ticket)
    return None if found is None else lock_cell.role(cell, ticket, found.nonce)


def extend_keeps_window(cell: LockCell, wish: Extend, now: int) -> Any:
    refusal = transitions._refuse_unless_head(cell, wish.ticket, wish.nonce)
    if refusal is not None:
        return cell, refusal
    return replace(cell, queue=(replace(cell.queue[0], beat=cell.queue[0].beat + 1), *cell.queue[1:])), DONE


def enqueue_floor_now(cell: LockCell, wish: Enqueue, now: int) -> Any:
    after, result = transitions._enqueue(cell, wish, now)
    return (after, result) if after is cell or cell.queue else (replace(after, floor=now), result)


def head_unchecked(cell: LockCell, ticket: int, nonce: bytes) -> Any:
    return LOST if transitions._own(cell, ticket, nonce) is None else None


def enqueue_matches_keyless(cell: LockCell, wish: Enqueue, now: int) -> Any:
    for found in cell.queue:
        if found.request_id == wish.request_id:
            return cell, Enqueued(found.ticket, repeated=True)
    return transitions._enqueue(cell, wish, now)


def clean_clears_fence(cell: LockCell, wish: ReleaseClean, now: int) -> Any:
    after, result = transitions._release_clean(cell, wish, now)
    return (after, result) if after is cell else (replace(after, fence=0), result)


def holders_without_upto(cell: LockCell) -> Any:
    if not cell.queue or cell.queue[0].kind == "exclusive":
        return cell.queue[:1]
    return run_from(cell.queue, 0)


def role_all_first(cell: LockCell, ticket: int, nonce: bytes) -> Any:
    found = lock_cell.role(cell, ticket, nonce)
    return "first" if found == "shared" else found


def role_shared_writes(cell: LockCell, ticket: int, nonce: bytes) -> Any:
    found = lock_cell.role(cell, ticket, nonce)
    return "exclusive" if found == "first" else found


# the session against its cell


def take_in_keeping_fence(standing: str) -> Callable[[Tenure, LockCell], None]:
    original = Tenure._take_in

    def take_in(self: Tenure, cell: LockCell) -> None:
        before, fence = self.standing, self.fence
        if (
            before == standing
            and self.last_stamp is None
            and self.version
            and fence != cell.fence
            and getattr(self, "_kept", True)
        ):
            original(self, cell)
            if self.standing in {"first", "exclusive"}:
                self.fence = fence
                self._mutant_fence = fence  # type: ignore[attr-defined]
            return
        kept = getattr(self, "_mutant_fence", None)
        if kept is not None:
            self.fence = cell.fence
        original(self, cell)
        if kept is not None:
            self.fence = kept

    return take_in


def lease_from_views(self: Tenure, version: int, cell: LockCell) -> Any:
    moved = version > self.version
    result = OBSERVE(self, version, cell)
    if moved:
        self.lease_applied(50.0)
    return result


OBSERVE = Tenure.observe
GOT = Session.got
PUSHED = Session.pushed
UNANSWERED = Session.unanswered
ANSWERED = Session.answered
BEGIN_WRITE = Session._begin_write
CONFIRM = Session.confirm
LEDGER_UNANSWERED = Ledger.unanswered
LEDGER_ANSWERED = Ledger.answered
KNOWN_ABSENT = Ledger.known_absent
NEEDS = restamp.needs_restamp
MAKE_PUT = restamp.make_put
BLOCKERS = Ledger.blockers_of_row
FINISH = world.Client.finish
END_SETTLE = RangeGets.end_settle


def no_fence_rule(row: Any, *, fence: int, mixed: bool, unsettled: bool = False) -> bool:
    return NEEDS(row, fence=0, mixed=mixed, unsettled=unsettled)


def fence_minus_one(row: Any, *, fence: int, mixed: bool, unsettled: bool = False) -> bool:
    return NEEDS(row, fence=fence - 1, mixed=mixed, unsettled=unsettled)


def absent_rows_pass(row: Any, *, fence: int, mixed: bool, unsettled: bool = False) -> bool:
    return is_there(row) and NEEDS(row, fence=fence, mixed=mixed, unsettled=unsettled)


def mixed_like_sections(row: Any, *, fence: int, mixed: bool, unsettled: bool = False) -> bool:
    return NEEDS(row, fence=fence, mixed=False, unsettled=unsettled)


def highest_cell_stamp(row: Any, *, fence: int, mixed: bool, unsettled: bool = False) -> bool:
    highest = max((cell.stamp for cell in row.cells.values()), default=row.row_stamp)
    return unsettled or highest < fence


def speculative_without_fence(self: Session, key: Any, row: Any, version: int) -> Any:
    fence, self.fence = self.fence, 0
    try:
        return SPECULATIVE(self, key, row, version)
    finally:
        self.fence = fence


def speculative_whenever_it_holds(self: Session, key: Any, row: Any, _version: int) -> Any:
    return SPECULATIVE(self, key, row, self.first_version - 1)


SPECULATIVE = Session.speculative


# rows


def restamp_present_columns_only(columns: Any, row: Any, first: int, *, absent_life_ms: int | None) -> Rewritten:
    if not is_there(row):
        return restamp_absent(row, first, absent_life_ms=absent_life_ms)
    return restamp_present(tuple(name for name in columns if name in row.cells), row, first)


def restamp_at_old_stamp(columns: Any, row: Any, first: int, *, absent_life_ms: int | None) -> Rewritten:
    made = session_restamp(columns, row, first, absent_life_ms=absent_life_ms)
    old = max([row.row_stamp, *(cell.stamp for cell in row.cells.values())])
    return Rewritten(tuple(replace(write, stamp=old) for write in made.writes), made.row)


session_restamp = restamp.restamp


def absent_without_tombstone(columns: Any, row: Any, first: int, *, absent_life_ms: int | None) -> Rewritten:
    made = session_restamp(columns, row, first, absent_life_ms=absent_life_ms)
    return made if is_there(row) else Rewritten(made.writes[1:], made.row)


def absent_without_mark(columns: Any, row: Any, first: int, *, absent_life_ms: int | None) -> Rewritten:
    made = session_restamp(columns, row, first, absent_life_ms=absent_life_ms)
    return made if is_there(row) else Rewritten(made.writes[:1], made.row)


def put_leaves_mark(*arguments: Any, **options: Any) -> Put:
    put = MAKE_PUT(*arguments, **options)
    return put if put.row_stamp is not None else replace(put, absent=None)


def partial_sets_row_stamp(
    columns: Any, key: Any, cells: Any, stamp: int, *, covers: bool, life_ms: int | None = None
) -> Put:
    return replace(MAKE_PUT(columns, key, cells, stamp, covers=covers, life_ms=life_ms), row_stamp=stamp)


def absent_put_without_nulls(
    columns: Any, key: Any, cells: Any, stamp: int, *, covers: bool, life_ms: int | None = None
) -> Put:
    return replace(MAKE_PUT(columns, key, cells, stamp, covers=covers, life_ms=life_ms), cells=cells)


def one_stamp_per_batch(self: Session, part: PartState, intents: Any) -> Any:
    planned = BEGIN_WRITE(self, part, intents)
    return replace(planned, writes=tuple(replace(write, stamp=planned.stamp) for write in planned.writes))


def restamp_stamps_reused(self: Session, op: int) -> None:
    operation = self._ledger.ops.get(op)
    UNANSWERED(self, op)
    if operation is not None and operation.kind == "restamp" and operation.planned is not None:
        self._next_stamp = operation.planned.writes[0].stamp


def restamp_not_remembered(self: Session, op: int) -> None:
    operation = self._ledger.ops.get(op)
    UNANSWERED(self, op)
    if operation is not None and operation.kind == "restamp":
        for effect in operation.effects:
            effect.row.unanswered.pop(op, None)


def restamp_never_resent(self: Session, op: int) -> None:
    operation = self._ledger.ops.get(op)
    UNANSWERED(self, op)
    if operation is not None and operation.kind == "restamp":
        operation.effects[0].row.resend = None


def not_awaited(kind: str) -> Callable[..., Any]:
    def finish(self: Any, session_: Session, planned: Any, user: Any, *, again: bool = False) -> Any:
        operation = session_._ledger.ops.get(planned.op)
        if operation is not None and operation.kind == kind:
            self.world.send(session_, planned, [] if again else user)
            session_.answered(planned.op)
            yield
            return True
        return (yield from FINISH(self, session_, planned, user, again=again))

    return finish


def confirm_unread(self: Session, read: Any, version: int, cell: LockCell) -> Any:
    operation = self._ledger.ops[read.op]
    self.observe(version, cell)
    operation.fence = self.fence
    return CONFIRM(self, read, version, cell)


def covered_by_anything(self: Ledger, part: PartState, row: Any) -> None:
    if row.covered:
        row.unanswered.clear()


def delete_remembered(self: Session, op: int) -> None:
    operation = self._ledger.ops.get(op)
    ANSWERED(self, op)
    if operation is not None and operation.planned is not None and operation.kind == "write":
        for write in operation.planned.writes:
            if isinstance(write, DeleteRow):
                row = operation.part.rows[write.key]
                self._ledger.set_copy(row, restamp.row_after_delete(write.key, None))


def absent_for_ever(self: Ledger, part: PartState, row: Any) -> bool:
    known = KNOWN_ABSENT(self, part, row)
    place = (id(self), row.key if row is not None else None)
    if known:
        _absent_once.add(place)
    return known or (place in _absent_once and self in _ledgers.setdefault(id(self), [self]))


_absent_once: set[Any] = set()
_ledgers: dict[int, list[Ledger]] = {}


def get_does_not_wait(self: Ledger, part: PartState, row: Any, *, for_get: bool) -> Any:
    return BLOCKERS(self, part, row, for_get=False)


def write_does_not_wait(self: Ledger, part: PartState, row: Any, *, for_get: bool) -> Any:
    return BLOCKERS(self, part, row, for_get=True) if for_get else frozenset()


def pushed_always(self: Session, key: Any, row: Any, version: int) -> bool:
    if not self._is_first or self._release is not None:
        return False
    state = self._ledger.row(self._ledger.part(key.partition), key)
    self._ledger.set_copy(state, row)
    return True


def rows_one_by_one(self: Ledger, part: PartState, keys: Any) -> Any:
    found = []
    for key in keys:
        if key not in part.rows and self._rows >= self._rows_max:
            self._forget_rows(PartState(()), frozenset(), 1)
        if key not in part.rows:
            part.rows[key] = RowState(key)
            self._rows += 1
        found.append(part.rows[key])
    return found


# ranges


def settle_span_only(*arguments: Any, **options: Any) -> list[Batch]:
    """Only the span of the rows found."""
    rows = arguments[2]
    batches = cut_batches(*arguments, **options)
    if not rows:
        return batches

    def narrow(write: Any) -> Any:
        if not isinstance(write, DeleteRange):
            return write
        low = write.slice.lower or Bound(rows[0].key.clustering, inclusive=True)
        high = write.slice.upper or Bound(rows[-1].key.clustering, inclusive=True)
        return replace(write, slice=Slice(low, high))

    return [Batch(tuple(map(narrow, batch.writes)), batch.stamp) for batch in batches]


def settle_without_tombstone(*arguments: Any, **options: Any) -> list[Batch]:
    return [
        Batch(tuple(write for write in batch.writes if not isinstance(write, DeleteRange)), batch.stamp)
        for batch in cut_batches(*arguments, **options)
    ]


def settle_rows_at_tombstone(*arguments: Any, **options: Any) -> list[Batch]:
    batches = []
    for batch in cut_batches(*arguments, **options):
        stamp = batch.writes[0].stamp
        batches.append(
            Batch(tuple(replace(w, stamp=stamp) if isinstance(w, Put) else w for w in batch.writes), batch.stamp)
        )
    return batches


def settle_ends_anyway(self: RangeGets, settle: Any) -> Any:
    operation = self._ledger.ops[settle.op]
    operation.pending.clear()
    return END_SETTLE(self, settle)


def part_stamp_first(*arguments: Any, **options: Any) -> list[Batch]:
    """Every batch sets the part_stamp."""
    batches = cut_batches(*arguments, **options)
    first = batches[0].writes[0].stamp
    stamp = batches[-1].stamp
    if len(batches) == 1:
        return batches
    extra = SetPartStamp(partition=arguments[0], part_stamp=first, stamp=stamp)
    return [Batch((*batches[0].writes, extra), batches[0].stamp), *batches[1:]]


def range_without_settling(self: RangeGets, read: Any, part_stamp: int) -> Any:
    self._end(self._reading(read.op))
    return RangeAnswer()


def restamp_settles_partition(self: Ledger, op: int) -> Any:
    operation = LEDGER_ANSWERED(self, op)
    if operation is not None and operation.kind == "restamp":
        operation.part.unanswered.clear()
    return operation


def clean_without_ranges(self: Ledger) -> bool:
    if any(operation.planned is not None and not operation.given_up for operation in self.ops.values()):
        return False
    return not any(
        max(row.unanswered.values(), default=0) > max(row.covered, part.covered)
        for part in self.parts.values()
        for row in part.rows.values()
    )


# answers of the cell


def absence_is_release(wish: Any, cell: LockCell) -> Any:
    return TRACE(wish, cell) or Done()


def change_at_any_version(cell: LockCell, change_id: bytes, _version: int) -> Any:
    return next((change for change in lock_cell.recent_changes(cell) if change.change_id == change_id), None)


def change_without_results(cell: LockCell, change_id: bytes, version: int) -> Any:
    found = lock_cell.find_change(cell, change_id, version)
    return None if found is None else replace(found, results=())


def request_matches_keyless(cell: LockCell, request_id: bytes) -> Any:
    return next((found for found in cell.queue if found.request_id == request_id), None)


def departed_with_keyless(packed: bytes, request_id: bytes, ticket: int) -> bytes:
    return WITH_DEPARTED(packed, request_id or bytes(ID_BYTES), ticket)


TRACE = combine._trace
WITH_DEPARTED = lock_cell.with_departed
PASS_THROUGH = transitions.pass_through


def pass_through_without_floor(cell: LockCell, request_id: bytes, used: int, now: int, **more: Any) -> Any:
    after, ticket, first = PASS_THROUGH(cell, request_id, used, now, **more)
    return replace(after, floor=cell.floor), ticket, first


def pass_through_without_ticket(cell: LockCell, request_id: bytes, used: int, now: int, **more: Any) -> Any:
    after, ticket, first = PASS_THROUGH(cell, request_id, used, now, **more)
    return replace(after, issued=cell.issued), ticket, first


MUTANTS: tuple[Mutant, ...] = (
    Mutant("release clean sets floor := last", attribute(transitions, "_floor_after", release_floor_last), simulate()),
    Mutant("dirty release treated as clean", attribute(Ledger, "clean", lambda self: True), simulate(**DIRTY)),
    Mutant("dirty release without fence", transition(ReleaseDirty, dirty_without_fence), simulate(**DIRTY)),
    Mutant("preempt without fence", transition(Preempt, preempt_without_fence), simulate(**ROUGH)),
    Mutant("preempt: floor := last seen", transition(Preempt, preempt_floor_stays), simulate(**ROUGH)),
    Mutant("take over without fence", transition(TakeOver, take_over_without_fence), simulate(take_over=0.3)),
    Mutant("take over without new window", transition(TakeOver, take_over_without_window), simulate(take_over=0.3)),
    Mutant(
        "take over without new nonce",
        transition(TakeOver, take_over_keeps_nonce),
        checks.take_over_ends_the_old_session,
    ),
    Mutant(
        "take over without looking at the old session (I4)",
        transition(TakeOver, take_over_unasked),
        checks.take_over_once,
    ),
    Mutant(
        "waiter's nonce unchecked", attribute(tenure, "role", role_without_nonce), checks.take_over_ends_the_old_session
    ),
    Mutant("write past the window", attribute(Tenure, "_has_stamps", lambda self, count: True), simulate(window=3)),
    Mutant(
        "extend keeps window",
        both(transition(Extend, extend_keeps_window), attribute(Tenure, "_has_stamps", lambda self, count: True)),
        simulate(window=3),
    ),
    Mutant("enqueue without max(floor)", transition(Enqueue, enqueue_floor_now), simulate()),
    Mutant(
        "release by one who is not head",
        attribute(transitions, "_refuse_unless_head", head_unchecked),
        checks.only_head_releases,
    ),
    Mutant("no fence rule", attribute(tenure, "needs_restamp", no_fence_rule), simulate(**ROUGH)),
    Mutant("fence cleared by a clean release", transition(ReleaseClean, clean_clears_fence), simulate(**ROUGH)),
    Mutant(
        "compare row_stamp with fence - 1",
        attribute(tenure, "needs_restamp", fence_minus_one),
        checks.fence_to_the_stamp,
    ),
    Mutant(
        "speculative read without version check",
        attribute(world, "may_speculate", lambda v, c, s, after: after.queue[0].ticket == after.issued),
        simulate(speculate=1.0, preempt=0.0, kinds=("exclusive",) * 5),
    ),
    Mutant(
        "speculative read: fence ignored",
        attribute(Session, "speculative", speculative_without_fence),
        checks.speculation_obeys_the_fence,
    ),
    Mutant(
        "speculative read of an entry that was not first at once",
        attribute(Session, "speculative", speculative_whenever_it_holds),
        checks.speculation_is_for_who_was_first_at_once,
    ),
    Mutant(
        "waiter uses the fence seen at enqueue (I6)",
        attribute(Tenure, "_take_in", take_in_keeping_fence("waiting")),
        simulate(**ROUGH),
    ),
    Mutant(
        "shared reader keeps its old fence (I5)",
        attribute(Tenure, "_take_in", take_in_keeping_fence("shared")),
        checks.reader_that_becomes_first_uses_the_new_fence,
    ),
    Mutant("acknowledge after one replica", attribute(world, "MAJORITY", 1), simulate()),
    Mutant(
        "re-stamp only the columns present",
        attribute(session, "restamp", restamp_present_columns_only),
        checks.restamp_is_whole,
    ),
    Mutant("re-stamp at the old stamp", attribute(session, "restamp", restamp_at_old_stamp), simulate(**ROUGH)),
    Mutant(
        "re-stamp not awaited",
        attribute(world.Client, "finish", not_awaited("restamp")),
        simulate(**ROUGH | {"repair": 0.0, "deliver": 0.15}),
    ),
    Mutant(
        "re-stamp retry with the same stamp", attribute(Session, "unanswered", restamp_stamps_reused), simulate(**ROUGH)
    ),
    Mutant(
        "re-stamp retry not forced",
        attribute(Session, "unanswered", restamp_not_remembered),
        checks.lost_restamp_is_forced_again,
    ),
    Mutant("absent rows not re-stamped", attribute(tenure, "needs_restamp", absent_rows_pass), simulate(**ROUGH)),
    Mutant("unsettled rule missing", attribute(PartState, "row_unsettled", lambda self, row: False), simulate(**ROUGH)),
    Mutant("row_stamp set by partial puts", attribute(session, "make_put", partial_sets_row_stamp), simulate(**ROUGH)),
    Mutant(
        "highest cell stamp used instead of row_stamp",
        attribute(tenure, "needs_restamp", highest_cell_stamp),
        checks.partial_puts_do_not_vouch,
    ),
    Mutant(
        "put on an absent row without nulls",
        attribute(session, "make_put", absent_put_without_nulls),
        checks.absent_row_put_is_whole,
    ),
    Mutant("shared: all re-stamp", attribute(tenure, "role", role_all_first), simulate(**SHARED)),
    Mutant(
        "shared: re-read on retry",
        attribute(Session, "unanswered", restamp_never_resent),
        checks.first_of_a_run_resends_the_same,
    ),
    Mutant("get overlaps own put (I10)", attribute(Ledger, "blockers_of_row", get_does_not_wait), simulate(**OVERLAP)),
    Mutant(
        "put overlaps own re-stamp (I10)",
        attribute(Ledger, "blockers_of_row", write_does_not_wait),
        simulate(**OVERLAP),
    ),
    Mutant(
        "known absent outlives a send (I9)", attribute(Ledger, "known_absent", absent_for_ever), simulate(**OVERLAP)
    ),
    Mutant(
        "own delete counted though a later put was answered",
        attribute(Session, "answered", delete_remembered),
        simulate(**OVERLAP),
    ),
    Mutant(
        "covering write with a lower stamp settles",
        attribute(Ledger, "_drop_covered", covered_by_anything),
        checks.lower_cover_does_not_settle,
    ),
    Mutant("one stamp for a whole batch (I3)", attribute(Session, "_begin_write", one_stamp_per_batch), simulate()),
    Mutant("late push accepted (I14)", attribute(Session, "pushed", pushed_always), simulate(push=1.0)),
    Mutant(
        "stale retry executed (I11)",
        attribute(Ledger, "may_retry", lambda self, operation: True),
        checks.stale_write_is_not_retried,
    ),
    Mutant("partial put leaves the absent mark", attribute(session, "make_put", put_leaves_mark), simulate(**ROUGH)),
    Mutant(
        "absent re-stamp without row tombstone",
        attribute(session, "restamp", absent_without_tombstone),
        checks.absent_rows_are_buried_and_marked,
    ),
    Mutant(
        "absent re-stamp without mark: a reader waits for ever (I12)",
        attribute(session, "restamp", absent_without_mark),
        checks.reader_gets_an_absent_row,
    ),
    Mutant(
        "shared: fence moved and not looked at again (I12)",
        attribute(Session, "confirm", confirm_unread),
        checks.reader_confirms_the_fence,
    ),
    Mutant("promotion without upto", attribute(lock_cell, "holders", holders_without_upto), simulate(**PROMOTING)),
    Mutant("first of a shared run writes", attribute(tenure, "role", role_shared_writes), simulate(**SHARED)),
    Mutant(
        "lease counted from a grant or an extend (I15)",
        attribute(Session, "observe", lease_from_views),
        checks.lease_counts_from_renewals,
    ),
    Mutant(
        "mixed: rows without row_stamp trusted",
        attribute(tenure, "needs_restamp", mixed_like_sections),
        simulate(table=MIXED_WIDE, plain=0.05),
    ),
    Mutant(
        "range get without settling (I13)",
        attribute(RangeGets, "got_range", range_without_settling),
        simulate(**RANGES),
    ),
    Mutant(
        "part_stamp not compared with fence",
        attribute(RangeGets, "_doubts_partition", lambda self, part_stamp: False),
        simulate(**RANGES),
    ),
    Mutant(
        "part_stamp after a sub-range (I13)",
        attribute(ranges, "cut_batches", settle_span_only),
        simulate(**RANGES | {"give_up": 0.15, "repair": 0.0, "range_writes": 0.3}),
    ),
    Mutant(
        "settle without range tombstone", attribute(ranges, "cut_batches", settle_without_tombstone), simulate(**RANGES)
    ),
    Mutant(
        "settle: rows at the tombstone's stamp",
        attribute(ranges, "cut_batches", settle_rows_at_tombstone),
        simulate(**RANGES),
    ),
    Mutant(
        "settle: batches not awaited",
        attribute(RangeGets, "end_settle", settle_ends_anyway),
        checks.lost_batch_is_not_settled,
    ),
    Mutant(
        "unsettled rows ignored by range gets",
        attribute(PartState, "unsettled", property(lambda self: self.range_unsettled)),
        simulate(**RANGES),
    ),
    Mutant(
        "one row's re-stamp settles the partition",
        attribute(Ledger, "answered", restamp_settles_partition),
        checks.row_does_not_settle_its_partition,
    ),
    Mutant(
        "unanswered range delete released clean",
        attribute(Ledger, "clean", clean_without_ranges),
        checks.lost_range_write_is_released_dirty,
    ),
    Mutant(
        "shared: part_stamp trusted at first sight",
        attribute(RangeGets, "_knew", lambda self, operation, part_stamp: True),
        checks.part_stamp_known_before,
    ),
    Mutant(
        "shared: part_stamp set before the rows",
        attribute(ranges, "cut_batches", part_stamp_first),
        checks.part_stamp_comes_last,
    ),
    Mutant(
        "one-step section leaves the floor alone (6.8)",
        attribute(one_shot, "pass_through", pass_through_without_floor),
        checks.one_shot_counts,
    ),
    Mutant(
        "one-step section leaves issued alone (6.8)",
        attribute(one_shot, "pass_through", pass_through_without_ticket),
        checks.one_shot_counts,
    ),
    Mutant(
        "one-step section ignores the fence (6.8)",
        attribute(one_shot, "needs_restamp", no_fence_rule),
        checks.one_shot_counts,
    ),
    Mutant(
        "late answer believed beside a get",
        attribute(Session, "_is_being_read", lambda self, operation: False),
        simulate(give_up=0.2, late=0.9),
    ),
    Mutant(
        "rows of the operation at hand forgotten",
        both(
            attribute(Ledger, "rows", rows_one_by_one),
            attribute(Ledger, "row", lambda self, part, key: rows_one_by_one(self, part, (key,))[0]),
        ),
        checks.making_room_keeps_the_operation,
    ),
    Mutant(
        "absence read as released (I18)",
        attribute(combine, "_trace", absence_is_release),
        checks.absence_proves_no_release,
    ),
    Mutant(
        "request id only in recent (I18)",
        attribute(transitions, "departed_ticket", lambda cell, request_id: None),
        checks.request_ids_outlive_recent,
    ),
    Mutant(
        "request id forgotten when its entry leaves (I18)",
        attribute(transitions, "with_departed", lambda packed, request_id, ticket: packed),
        checks.request_ids_outlive_recent,
    ),
    Mutant(
        "request that nobody can make again remembered when its entry leaves",
        attribute(transitions, "with_departed", departed_with_keyless),
        checks.only_requests_with_a_key_are_remembered,
    ),
    Mutant(
        "requests that nobody can make again taken for one",
        transition(Enqueue, enqueue_matches_keyless),
        checks.keyless_requests_are_never_the_same,
    ),
    Mutant(
        "enqueue without a request id traced by another one's entry (I18)",
        attribute(combine, "entry_by_request", request_matches_keyless),
        checks.keyless_enqueue_is_traced_by_its_nonce,
    ),
    Mutant(
        "enqueue traced by its request id alone",
        attribute(combine, "entry_by_nonce", lambda cell, nonce: None),
        checks.keyless_enqueue_is_traced_by_its_nonce,
    ),
    Mutant(
        "change of a lone wish found at any version",
        attribute(combine, "find_change", change_at_any_version),
        checks.lone_change_is_found_at_its_version,
    ),
    Mutant(
        "results of the own change believed, not the record's",
        attribute(combine, "find_change", change_without_results),
        checks.record_says_how_a_wish_was_decided,
    ),
    Mutant(
        "recent drops one change too many (I17)",
        attribute(lock_cell, "RECENT_MAX", 15),
        checks.recent_is_of_sixteen_versions,
    ),
    Mutant(
        "recent keeps one change too many (I17)",
        attribute(lock_cell, "RECENT_MAX", 17),
        checks.recent_is_of_sixteen_versions,
    ),
)

NOT_EXPRESSIBLE: dict[str, str] = {
    "shared: no write-back": "blocking read repair is the store's duty: the contract suite of stores",
    "restarted process resumes its nonce (I1)": "the process makes nonces in memory: site",
    "known dead by a refused connection (I4)": "what counts as dead is decided in site; the cell checks the session named",
    "`LockLost` told of a stored put (I15)": "the coordinator orders sending, renewing and answering: site",
    "one-step section leaves the version alone (6.8)": "the register adds 1 to the version: cells and engines",
    "change altered on retry (I16)": "a Change is frozen and `SendAgain` carries none: only site could send other bytes",
}
