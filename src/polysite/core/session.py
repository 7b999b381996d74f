"""The state of one lock reference in the process that serves it: what it may write, what it must not trust.

A session is made when its entry's enqueue or take-over applied, lives in memory only, and ends with the entry. It hands out
stamps from its window, remembers which of its writes were not answered, decides whether a row just read may be believed,
and says how it may let go of the lock. It does no I/O: `plans` says what the caller performs.

    while True:
        plan = session.plan_get(key, now_s)
        match plan:
            case Answer(): return plan.row
            case Wait(): await the end of plan.ops
            case RenewFirst(): renew
            case Restamp(): send plan.planned, tell its outcome; answered: return plan.row
            case ReadRow(): row = read a majority; plan = session.got(plan, row) ... (see `plans`)

Every operation that was begun must be ended: writes by `answered`, `unanswered` or `not_sent`; reads end by themselves when
`got`, `confirm`, `got_range` answer Answer, RangeAnswer, ReadAgain or AskFirst, else by `give_up_read`.
"""

from collections.abc import Sequence

from polysite.core.lock_cell import LockCell
from polysite.core.plans import (
    Answer,
    AskFirst,
    ConfirmFence,
    DeleteIntent,
    GetPlan,
    GotRow,
    Intent,
    NeedExtend,
    Partition,
    Planned,
    PutIntent,
    RangeIntent,
    ReadAgain,
    ReadRange,
    ReadRow,
    RenewFirst,
    Restamp,
    SettleFirst,
    Wait,
    WritePlan,
)
from polysite.core.ranges import RangeGets
from polysite.core.restamp import Rewritten, make_put, put_covers, restamp, row_after_delete, row_after_put
from polysite.core.rowstate import Operation, PartState, RowEffect, RowState
from polysite.core.tenure import DEFAULT_SETTINGS, EndWish, SessionSettings, Standing
from polysite.errors import LockLost
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, DeleteRow, Slice, StoredRow, Write, deleted_beside

__all__ = ["DEFAULT_SETTINGS", "EndWish", "Session", "SessionSettings", "Standing"]

PARTING_BYTES_MAX = 64 * 1024
"""Rows of a tenure are pushed to the next holder up to this size; beyond it he reads them."""

UNREAD = StoredRow(RowKey(()), {}, False)


class Session(RangeGets):
    """One lock reference in the process that serves it: `tenure` has its standing, `ranges` its range gets."""

    # gets

    def plan_get(self, key: RowKey, now_s: float, *, settle: bool = False) -> GetPlan:
        """How to read a row. `settle`: for a reader of the run that was told `AskFirst`; a copy that the store would not bear
        out under the fence does not do then. NotHolder while waiting, LockLost when lost or ending."""
        self._check_holds()
        part = self._ledger.part(key.partition)
        row = self._ledger.row(part, key)
        blockers = self._ledger.blockers_of_row(part, row, for_get=True)
        if blockers:
            return Wait(blockers)
        if row.copy is not None and not (settle and self._doubts(row.copy)):
            return Answer(row.copy) if self.may_answer_done(now_s) else RenewFirst()
        if row.resend is not None and self.standing == "first":
            return self._resend(row)
        row.resend = None
        operation = self._begin_read(part, row)
        return ReadRow(operation.op, key)

    def _begin_read(self, part: PartState, row: RowState) -> Operation:
        operation = self._ledger.begin("read", part)
        operation.row = row
        operation.fence = self.fence
        operation.standing = self.standing
        row.reader = operation.op
        return operation

    def _resend(self, row: RowState) -> Restamp:
        """The first of a shared run sends an unanswered re-stamp again with the SAME values: another reader may have seen them."""
        operation = row.resend
        assert operation is not None
        assert operation.planned is not None
        assert operation.after is not None
        row.resend = None
        row.reader = operation.op
        self._ledger.ops[operation.op] = operation
        self._ledger.send_again(operation)
        return Restamp(operation.planned, operation.after)

    def got(self, read: ReadRow, row: StoredRow) -> GotRow:
        """The store answered `read` from a majority. After `NeedExtend` call it again with the same arguments."""
        operation = self._reading(read.op)
        state = operation.row
        assert state is not None
        if self.standing == "lost" or self._release is not None:
            self._end(operation)
            raise LockLost
        if operation.standing != self.standing or operation.fence != self.fence:
            self._end(operation)
            return ReadAgain()
        part = operation.part
        if self.standing == "shared":
            if self._doubts(row):
                self._end(operation)
                return AskFirst()
            operation.read_row = row
            return ConfirmFence(read.op)
        if not self._doubts(row, unsettled=part.row_unsettled(state)):
            self._end(operation)
            self._ledger.set_copy(state, row)
            return Answer(row)
        rewritten = restamp(self._columns, row, self._next_stamp, absent_life_ms=self.settings.absent_life_ms)
        if not self._has_stamps(len(rewritten.writes)):
            return NeedExtend()
        return self._begin_restamp(operation, state, rewritten)

    def _begin_restamp(self, operation: Operation, state: RowState, rewritten: Rewritten) -> Restamp:
        first = self._next_stamp
        self._use_stamps(len(rewritten.writes))
        last = self._next_stamp - 1
        operation.kind = "restamp"
        operation.after = rewritten.row
        operation.effects = [RowEffect(state, last, first)]
        operation.planned = Planned(operation.op, rewritten.writes, state.key.partition, last)
        self._ledger.set_copy(state, None)
        self._ledger.sent(operation)
        return Restamp(operation.planned, rewritten.row)

    def confirm(self, read: ReadRow | ReadRange, version: int, cell: LockCell) -> Answer | ReadAgain:
        """A view asked for after the read. Counts for row and range reads; for ranges the Answer's row is a placeholder."""
        operation = self._reading(read.op)
        self.observe(version, cell)
        self._end(operation)
        if self.standing == "lost" or self._release is not None:
            raise LockLost
        if self.version < version or self.fence != operation.fence:
            return ReadAgain()
        if operation.row is None:
            return Answer(UNREAD)
        assert operation.read_row is not None, "confirm comes after got"
        self._ledger.set_copy(operation.row, operation.read_row)
        return Answer(operation.read_row)

    def give_up_read(self, read: ReadRow | ReadRange | SettleFirst) -> None:
        """The read was not answered or is not wanted any more."""
        operation = self._ledger.ops.get(read.op)
        if operation is not None and operation.kind in {"read", "range", "settle"}:
            self._end(operation)

    def speculative(self, key: RowKey, row: StoredRow, version: int) -> Answer | Restamp | None:
        """The row that was read beside an enqueue, after the view of `version` had shown an empty queue.

        It serves only if the session became first in the very change that stood on that version: one of several entries
        of a change holds later, after others that wrote. To be offered before anything else is asked of the session. None:
        it does not serve, get in the ordinary way.
        """
        self._check_holds()
        part = self._ledger.part(key.partition)
        if (
            not self._is_first
            or self.first_version != version + 1
            or key in part.rows
            or part.last_sent
            or part.exclusive_op
        ):
            return None
        if self._doubts(row) and (self._mixed or not self._has_stamps(2 + len(self._columns))):
            # A plain write may have come between that read and the grant: on mixed tables it must be read again.
            return None
        operation = self._begin_read(part, self._ledger.row(part, key))
        got = self.got(ReadRow(operation.op, key), row)
        assert isinstance(got, Answer | Restamp)
        return got

    def parting_rows(self) -> tuple[StoredRow, ...]:
        """The rows as this session knows them, for its successor: what it released cleanly is what is stored. Empty if they are
        many or large."""
        return self._ledger.copies(PARTING_BYTES_MAX)

    def pushed(self, key: RowKey, row: StoredRow, version: int) -> bool:
        """A value that came with the grant, labelled with its cell's version. True: taken as the session's copy.

        It counts only if the session became first in the view of that version and has neither read nor written the row.
        """
        if not self._is_first or self._release is not None or version != self.first_version:
            return False
        part = self._ledger.part(key.partition)
        if key in part.rows or part.last_sent or part.exclusive_op or self._doubts(row):
            return False
        state = self._ledger.row(part, key)
        self._ledger.set_copy(state, row)
        return state.copy is not None

    # writes

    def plan_put(self, key: RowKey, cells: dict[str, bytes | None], life_ms: int | None = None) -> WritePlan:
        """Write the named regular columns. From `Planned` on the write counts as sent."""
        return self.plan_batch((PutIntent(key, cells, life_ms),))

    def plan_delete(self, key: RowKey) -> WritePlan:
        """Delete a row."""
        return self.plan_batch((DeleteIntent(key),))

    def plan_delete_range(self, partition: Partition, slice_: Slice) -> WritePlan:
        """Delete a slice of a partition."""
        return self.plan_batch((RangeIntent(partition, slice_),))

    def plan_batch(self, intents: Sequence[Intent]) -> WritePlan:
        """Several writes of one partition: one atomic batch, each at its own next stamp."""
        self._check_writes()
        assert intents, "a batch has at least one write"
        if len(intents) == 1:
            (intent,) = intents
            if not isinstance(intent, RangeIntent):
                return self._plan_row_write(intent)
        partition = _partition_of(intents[0])
        part = self._ledger.part(partition)
        blockers: frozenset[int] = frozenset()
        for intent in intents:
            if isinstance(intent, RangeIntent):
                assert intent.partition == partition, "a batch is of one partition"
                blockers |= part.readers | (frozenset((part.exclusive_op,)) if part.exclusive_op else frozenset())
            else:
                assert intent.key.partition == partition, "a batch is of one partition"
                blockers |= self._ledger.blockers_of_row(part, part.rows.get(intent.key), for_get=False)
        if blockers:
            return Wait(blockers)
        if not self._has_stamps(len(intents)):
            return NeedExtend()
        return self._begin_write(part, intents)

    def _plan_row_write(self, intent: PutIntent | DeleteIntent) -> WritePlan:
        """As `plan_batch` of one write of one row, which most writes are."""
        ledger, key = self._ledger, intent.key
        part = ledger.part(key.partition)
        blockers = ledger.blockers_of_row(part, part.rows.get(key), for_get=False)
        if blockers:
            return Wait(blockers)
        if not self._has_stamps(1):
            return NeedExtend()
        row = ledger.row(part, key)
        stamp = self._next_stamp
        self._use_stamps(1)
        operation = ledger.begin("write", part)
        write, covers = self._row_write(row, intent, stamp, known_absent=ledger.known_absent(part, row))
        operation.effects.append(RowEffect(row, stamp, stamp if covers else 0))
        operation.planned = planned = Planned(operation.op, (write,), part.partition, stamp)
        ledger.sent(operation)
        return planned

    def _begin_write(self, part: PartState, intents: Sequence[Intent]) -> Planned:
        rows = self._ledger.rows(part, [intent.key for intent in intents if not isinstance(intent, RangeIntent)])
        by_key = {row.key: row for row in rows}
        stamp = self._next_stamp
        self._use_stamps(len(intents))
        operation = self._ledger.begin("write", part)
        effects: dict[RowKey, RowEffect] = {}
        writes: list[Write] = []
        beside = next((intent.key.clustering for intent in intents if not isinstance(intent, RangeIntent)), ())
        for intent in intents:
            if isinstance(intent, RangeIntent):
                writes += deleted_beside(part.partition, intent.slice, stamp, beside)
                operation.range_stamp = stamp
                if intent.slice == WHOLE_PARTITION:
                    operation.range_covers = stamp
                self._ledger.void_copies(part)
            else:
                row = by_key[intent.key]
                known_absent = intent.key not in effects and self._ledger.known_absent(part, row)
                write, covers = self._row_write(row, intent, stamp, known_absent=known_absent)
                writes.append(write)
                effect = effects.setdefault(intent.key, RowEffect(row, stamp, 0))
                effect.stamp = stamp
                effect.covers = stamp if covers else effect.covers
            stamp += 1
        operation.effects = list(effects.values())
        operation.planned = Planned(operation.op, tuple(writes), part.partition, stamp - 1)
        self._ledger.sent(operation)
        return operation.planned

    def _row_write(
        self, row: RowState, intent: PutIntent | DeleteIntent, stamp: int, *, known_absent: bool
    ) -> tuple[Write, bool]:
        """The write and whether it covers the row; the copy becomes what the row is once everything sent is answered."""
        if isinstance(intent, DeleteIntent):
            self._ledger.set_copy(row, row_after_delete(row.key, row.copy))
            return DeleteRow(key=row.key, stamp=stamp), True
        covers = put_covers(self._columns, intent.cells, known_absent=known_absent)
        put = make_put(self._columns, row.key, intent.cells, stamp, covers=covers, life_ms=intent.life_ms)
        self._ledger.set_copy(row, row_after_put(row.copy, put))
        return put, covers

    def plan_retry(self, op: int) -> Planned | None:
        """The identical write again, if it was not answered and nothing of those rows was sent after it.

        None: it must not be sent again; its outcome is unknown, superseded. So it is when the lock was lost meanwhile: the
        write may be stored, and `LockLost` would say that nothing was sent.
        """
        if self.standing != "exclusive" or self._withdrawing or self._release is not None:
            return None
        operation = self._ledger.ops.get(op)
        if operation is None or operation.kind != "write" or not operation.given_up:
            return None
        if operation.part.exclusive_op or any(effect.row.reader for effect in operation.effects):
            return None
        if operation.range_stamp and operation.part.readers:
            return None
        if not self._ledger.may_retry(operation):
            return None
        self._ledger.send_again(operation)
        return operation.planned

    def answered(self, op: int) -> None:
        """A majority stored the write. It may also be told after `unanswered`, then it counts where it still can."""
        known = self._ledger.ops.get(op)
        late = known is not None and known.given_up
        if late and known is not None and self._is_being_read(known):
            # The get under way may have missed the write: believed settled, it would answer what changes later.
            return
        operation = self._ledger.answered(op)
        if operation is None:
            return
        self._end_write(operation)
        if operation.settle is not None:
            operation.settle.pending.pop(op, None)
        if operation.kind == "restamp":
            (effect,) = operation.effects
            effect.row.resend = None
            if not late:
                self._ledger.set_copy(effect.row, operation.after)

    def _is_being_read(self, operation: Operation) -> bool:
        part = operation.part
        if part.exclusive_op and (operation.settle is None or operation.settle.op != part.exclusive_op):
            return True
        if operation.range_stamp:
            return bool(part.readers)
        return any(effect.row.reader for effect in operation.effects)

    def unanswered(self, op: int) -> None:
        """The write was sent and given up without an answer."""
        operation = self._ledger.unanswered(op)
        if operation is None:
            return
        self._end_write(operation)
        if operation.kind == "restamp" and self._shared_kind:
            operation.effects[0].row.resend = operation

    def not_sent(self, op: int) -> None:
        """The write certainly reached no replica, this time: one that was sent before is without an answer again. Its stamps stay
        used."""
        if self._ledger.was_unanswered(op):
            self.unanswered(op)
            return
        operation = self._ledger.not_sent(op)
        if operation is not None:
            self._end_write(operation)

    def _end_write(self, operation: Operation) -> None:
        for effect in operation.effects:
            if effect.row.reader == operation.op:
                effect.row.reader = 0


def _partition_of(intent: Intent) -> Partition:
    return intent.partition if isinstance(intent, RangeIntent) else intent.key.partition
