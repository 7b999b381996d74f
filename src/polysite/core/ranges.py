"""Range gets in a section: when a partition's rows may be believed together, and how they are made believable."""

from collections.abc import Sequence

from polysite.core.plans import (
    AskFirst,
    ConfirmFence,
    GotRange,
    NeedExtend,
    NotSettled,
    Partition,
    Planned,
    RangeAnswer,
    RangePlan,
    ReadAgain,
    ReadRange,
    Settle,
    Settled,
    SettleFirst,
    Wait,
)
from polysite.core.rowstate import Operation
from polysite.core.settle import Batch, check_bounds, cut_batches, part_stamp_write
from polysite.core.tenure import Tenure
from polysite.errors import LockLost, TooLarge
from polysite.values.rows import Slice, StoredRow


class RangeGets(Tenure):
    """The part of a session that reads slices of partitions."""

    def plan_range(self, partition: Partition, slice_: Slice) -> RangePlan:
        """How to read a slice of a partition with clustering columns."""
        self._check_holds()
        assert self.table.clustering_key, "a range get needs clustering columns"
        part = self._ledger.part(partition)
        blockers = part.row_ops | frozenset(part.inflight)
        if part.exclusive_op:
            blockers |= {part.exclusive_op}
        if blockers:
            return Wait(blockers)
        if part.resend is not None and self.standing == "first":
            return self._resend_settle(part.resend)
        part.resend = None
        unsettled = self._is_first and part.unsettled
        operation = self._ledger.begin("settle" if unsettled else "range", part)
        operation.fence = self.fence
        operation.standing = self.standing
        operation.known_part_stamp = part.known_part_stamp
        part.exclusive_op = operation.op
        if unsettled:
            return SettleFirst(operation.op, partition, self.settings.settle_rows_max)
        return ReadRange(operation.op, partition, slice_)

    def got_range(self, read: ReadRange, part_stamp: int) -> GotRange:
        """The store answered the range read, with this part_stamp; the caller keeps the rows."""
        operation = self._reading(read.op)
        if self.standing == "lost" or self._release is not None:
            self._end(operation)
            raise LockLost
        if operation.standing != self.standing or operation.fence != self.fence:
            self._end(operation)
            return ReadAgain()
        part = operation.part
        if self._doubts_partition(part_stamp):
            if self.standing == "shared":
                self._end(operation)
                return AskFirst()
            operation.kind = "settle"
            return SettleFirst(operation.op, part.partition, self.settings.settle_rows_max)
        if not self._knew(operation, part_stamp):
            part.known_part_stamp = part_stamp
            self._end(operation)
            return ReadAgain()
        if self.standing == "shared":
            return ConfirmFence(read.op)
        self._end(operation)
        return RangeAnswer()

    def _knew(self, operation: Operation, part_stamp: int) -> bool:
        """Whether a session of a shared entry knew this part_stamp before the read began.

        The batches under it were all stored before it was written, but the read may have begun before that.
        """
        return not self._shared_kind or part_stamp == operation.known_part_stamp

    def _doubts_partition(self, part_stamp: int) -> bool:
        return part_stamp < self.fence or (self._mixed and part_stamp == 0)

    def got_partition(self, settle: SettleFirst, rows: Sequence[StoredRow]) -> Settle | NeedExtend:
        """All rows of the partition in clustering order. TooLarge above the bound: then nothing is written and the operation
        has ended. After `NeedExtend` call it again with the same arguments."""
        operation = self._ledger.ops[settle.op]
        assert operation.kind == "settle", "the settle has ended"
        assert not operation.pending, "the settle has begun"
        if not self._is_first or self._release is not None:
            self._end(operation)
            raise LockLost
        try:
            check_bounds(rows, rows_max=self.settings.settle_rows_max, bytes_max=self.settings.settle_bytes_max)
        except TooLarge:
            self._end(operation)
            raise
        part = operation.part
        first = self._next_stamp
        batches = cut_batches(part.partition, self._columns, rows, first, writes_max=self.settings.batch_writes_max)
        # The part_stamp of several batches is written when they are stored, at a stamp kept for it.
        finale_stamp = batches[-1].stamp + 1
        used = finale_stamp - first + (len(batches) > 1)
        if not self._has_stamps(used):
            return NeedExtend()
        self._use_stamps(used)
        if len(batches) > 1:
            write = part_stamp_write(part.partition, first, finale_stamp)
            operation.finale = Batch((write,), finale_stamp)
        self._ledger.void_copies(part)
        operation.range_covers = first
        planned = tuple(self._begin_batch(operation, batch) for batch in batches)
        return Settle(settle.op, part.partition, planned)

    def _begin_batch(self, settle: Operation, batch: Batch) -> Planned:
        operation = self._ledger.begin("batch", settle.part)
        operation.range_stamp = batch.stamp
        operation.settle = settle
        operation.planned = Planned(operation.op, batch.writes, settle.part.partition, batch.stamp)
        settle.pending[operation.op] = operation
        self._ledger.sent(operation)
        return operation.planned

    def end_settle(self, settle: Settle) -> Planned | Settled | NotSettled:
        """All batches have ended. Planned: send this one too (it sets the part_stamp), then ask again. LockLost if the session
        is lost or ending: then the operation has ended."""
        operation = self._ledger.ops[settle.op]
        part = operation.part
        assert not any(op in self._ledger.ops and not batch.given_up for op, batch in operation.pending.items()), (
            "a batch is still under way"
        )
        if not self._is_first or self._release is not None:
            self._end(operation)
            raise LockLost
        if operation.pending:
            if self._shared_kind:
                part.resend = operation
            self._end(operation)
            return NotSettled()
        if operation.finale is not None:
            finale = operation.finale
            operation.finale = None
            return self._begin_batch(operation, finale)
        self._ledger.cover_partition(part, operation.range_covers)
        part.known_part_stamp = operation.range_covers
        self._end(operation)
        return Settled()

    def give_up_settle(self, settle: Settle) -> None:
        """The attempt is broken off: batches whose outcome was not told were not sent. The partition stays unsettled."""
        operation = self._ledger.ops.get(settle.op)
        if operation is None:
            return
        for op in operation.pending:
            self._ledger.not_sent(op)
        if self._shared_kind:
            operation.part.resend = operation
        self._end(operation)

    def _resend_settle(self, operation: Operation) -> Settle:
        """The first of a shared run sends the SAME batches again: another reader may have seen some of them."""
        part = operation.part
        part.resend = None
        part.exclusive_op = operation.op
        self._ledger.ops[operation.op] = operation
        planned: list[Planned] = []
        for batch in operation.pending.values():
            assert batch.planned is not None
            self._ledger.send_again(batch)
            planned.append(batch.planned)
        return Settle(operation.op, part.partition, tuple(planned))

    def _reading(self, op: int) -> Operation:
        operation = self._ledger.ops.get(op)
        assert operation is not None, "the read has ended before"
        assert operation.kind in {"read", "range"}, "the read has become a write"
        return operation

    def _end(self, operation: Operation) -> None:
        """End a read, or a settle."""
        self._ledger.ops.pop(operation.op, None)
        if operation.row is not None and operation.row.reader == operation.op:
            operation.row.reader = 0
        if operation.part.exclusive_op == operation.op:
            operation.part.exclusive_op = 0
