"""What a session remembers of rows: writes under way, writes without an answer, copies.

A row is *unsettled* while a write of it was given up without an answer and no covering write with a higher stamp has been
acknowledged: the lost write may still appear. A covering write of one row settles that row only; a lost range write
unsettles every row of its partition, and the partition itself until all of it is covered. Copies are void meanwhile.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, TypeAlias

import msgspec

from polysite.core.plans import Partition, Planned
from polysite.core.restamp import expires, is_there, size_bytes
from polysite.core.settle import Batch
from polysite.errors import Overloaded
from polysite.values.keys import RowKey
from polysite.values.rows import StoredRow

GIVEN_UP_MAX = 1_000
"""Writes without an answer whose content is kept so that they may be sent again."""

NOTHING: frozenset[int] = frozenset()

Kind: TypeAlias = Literal["write", "restamp", "read", "range", "settle", "batch", "part_stamp"]


class RowState(msgspec.Struct, eq=False):
    """One row. Stamps are those that an operation's statements have on this row, the highest of them."""

    key: RowKey
    copy: StoredRow | None = None
    inflight: dict[int, int] = {}
    unanswered: dict[int, int] = {}
    covered: int = 0
    last_sent: int = 0
    reader: int = 0
    resend: "Operation | None" = None

    @property
    def idle(self) -> bool:
        """Nothing is lost by forgetting the row, except its copy."""
        return not (self.inflight or self.unanswered or self.reader or self.resend)


class PartState(msgspec.Struct, eq=False):
    """One partition: its rows, and the writes and reads that concern it as a whole. `exclusive_op`: a range get or settle."""

    partition: Partition
    rows: dict[RowKey, RowState] = {}
    inflight: dict[int, int] = {}
    unanswered: dict[int, int] = {}
    covered: int = 0
    last_sent: int = 0
    last_sent_range: int = 0
    exclusive_op: int = 0
    known_part_stamp: int = 0
    resend: "Operation | None" = None

    def row_unsettled(self, row: RowState) -> bool:
        """Whether an own write without an answer may still change the row."""
        if not row.unanswered and not self.unanswered:
            return False
        lost = max(max(row.unanswered.values(), default=0), max(self.unanswered.values(), default=0))
        return lost > max(row.covered, self.covered)

    @property
    def range_unsettled(self) -> bool:
        """Whether a range write is unanswered and not covered by one over the whole partition."""
        return bool(self.unanswered) and max(self.unanswered.values()) > self.covered

    @property
    def unsettled(self) -> bool:
        """Whether anything in the partition is unsettled, shown or not."""
        return self.range_unsettled or any(map(self.row_unsettled, self.rows.values()))

    @property
    def row_ops(self) -> frozenset[int]:
        """What is under way on single rows of the partition."""
        ops: set[int] = set()
        for row in self.rows.values():
            ops.update(row.inflight)
            if row.reader:
                ops.add(row.reader)
        return frozenset(ops)

    @property
    def readers(self) -> frozenset[int]:
        """The gets of single rows that are under way."""
        return frozenset(row.reader for row in self.rows.values() if row.reader)


class RowEffect(msgspec.Struct, eq=False):
    """What one write operation does to one row. `covers`: lowest stamp of its covering statements, 0 if it does not cover."""

    row: RowState
    stamp: int
    covers: int


class Operation(msgspec.Struct, eq=False):
    """Something begun and not ended, or a write that was given up."""

    op: int
    kind: Kind
    part: PartState
    planned: Planned | None = None
    effects: list[RowEffect] = []
    range_stamp: int = 0
    range_covers: int = 0
    given_up: bool = False
    row: RowState | None = None
    read_row: StoredRow | None = None
    after: StoredRow | None = None
    fence: int = 0
    known_part_stamp: int = 0
    standing: str = ""
    settle: "Operation | None" = None
    """The settle that a batch belongs to."""
    pending: dict[int, "Operation"] = {}
    """Of a settle: the batches that are not answered."""
    finale: Batch | None = None
    """Of a settle in several batches: the write of the part_stamp, still to be sent."""


class Ledger:
    """All rows of a session, within its bounds."""

    __slots__ = (
        "_copies",
        "_copies_bytes",
        "_copies_bytes_max",
        "_given_up",
        "_next_op",
        "_rows",
        "_rows_max",
        "ops",
        "parts",
    )

    def __init__(self, *, rows_max: int, copies_bytes_max: int) -> None:
        self.parts: dict[Partition, PartState] = {}
        self.ops: dict[int, Operation] = {}
        self._next_op = 0
        self._rows = 0
        self._rows_max = rows_max
        self._copies: dict[RowKey, tuple[RowState, int]] = {}
        self._copies_bytes = 0
        self._copies_bytes_max = copies_bytes_max
        self._given_up: dict[int, None] = {}

    def part(self, partition: Partition) -> PartState:
        """The state of a partition, made if it is not there."""
        found = self.parts.get(partition)
        if found is None:
            found = self.parts[partition] = PartState(partition)
        return found

    def row(self, part: PartState, key: RowKey) -> RowState:
        """The state of a row, made if it is not there. Overloaded if nothing can be forgotten to make room."""
        found = part.rows.get(key)
        if found is None:
            if self._rows >= self._rows_max:
                self._forget_rows(part, frozenset((key,)), 1)
            found = part.rows[key] = RowState(key)
            self._rows += 1
        return found

    def rows(self, part: PartState, keys: Sequence[RowKey]) -> list[RowState]:
        """As `row`, for all rows of one operation: none of them is forgotten for the sake of another."""
        missing = dict.fromkeys(key for key in keys if key not in part.rows)
        if missing and self._rows + len(missing) > self._rows_max:
            self._forget_rows(part, frozenset(keys), len(missing))
        for key in missing:
            part.rows[key] = RowState(key)
        self._rows += len(missing)
        return [part.rows[key] for key in keys]

    def begin(self, kind: Kind, part: PartState) -> Operation:
        """A new operation, under way from now on."""
        self._next_op += 1
        operation = Operation(self._next_op, kind, part)
        self.ops[operation.op] = operation
        return operation

    def sent(self, operation: Operation) -> None:
        """Enter a planned write into its rows and partition as sent."""
        op, part = operation.op, operation.part
        for effect in operation.effects:
            row = effect.row
            stamp = effect.stamp
            row.inflight[op] = stamp
            row.last_sent = max(row.last_sent, stamp)
            part.last_sent = max(part.last_sent, stamp)
        if operation.range_stamp:
            part.inflight[op] = operation.range_stamp
            part.last_sent = max(part.last_sent, operation.range_stamp)
            part.last_sent_range = max(part.last_sent_range, operation.range_stamp)

    def answered(self, op: int) -> Operation | None:
        """The write is on a majority. None if it is not known any more."""
        operation = self.ops.pop(op, None)
        if operation is None:
            return None
        part = operation.part
        self._given_up.pop(op, None)
        for effect in operation.effects:
            row = effect.row
            row.inflight.pop(op, None)
            row.unanswered.pop(op, None)
            row.covered = max(row.covered, effect.covers)
            self._drop_covered(part, row)
        if operation.range_stamp:
            part.inflight.pop(op, None)
            part.unanswered.pop(op, None)
            self.cover_partition(part, operation.range_covers)
        return operation

    def cover_partition(self, part: PartState, stamp: int) -> None:
        """Everything in the partition below `stamp` is covered (0: nothing new is)."""
        if stamp > part.covered:
            part.covered = stamp
            for op in [op for op, lost in part.unanswered.items() if lost < stamp]:
                del part.unanswered[op]
                self._forget_write(op)
            for row in part.rows.values():
                self._drop_covered(part, row)

    def unanswered(self, op: int) -> Operation | None:
        """The write is given up: it may be on some replicas, or arrive later."""
        operation = self.ops.get(op)
        if operation is None or operation.given_up:
            return None
        part = operation.part
        for effect in operation.effects:
            row = effect.row
            row.inflight.pop(op, None)
            row.unanswered[op] = effect.stamp
            self.set_copy(row, None)
            self._drop_covered(part, row)
        if operation.range_stamp:
            part.inflight.pop(op, None)
            if operation.range_stamp > part.covered:
                part.unanswered[op] = operation.range_stamp
            self.void_copies(part)
        operation.given_up = True
        self._given_up[op] = None
        while len(self._given_up) > GIVEN_UP_MAX:
            self.ops.pop(next(iter(self._given_up)), None)
            del self._given_up[next(iter(self._given_up))]
        return operation

    def was_unanswered(self, op: int) -> bool:
        """Whether an earlier sending of the write was given up and may still count."""
        operation = self.ops.get(op)
        return operation is not None and (
            op in operation.part.unanswered or any(op in effect.row.unanswered for effect in operation.effects)
        )

    def not_sent(self, op: int) -> Operation | None:
        """The write reached no replica."""
        operation = self.ops.get(op)
        if operation is None:
            return None
        if operation.given_up or operation.planned is None:
            return None
        del self.ops[op]
        for effect in operation.effects:
            effect.row.inflight.pop(op, None)
            self.set_copy(effect.row, None)
        if operation.range_stamp:
            operation.part.inflight.pop(op, None)
            self.void_copies(operation.part)
        return operation

    def may_retry(self, operation: Operation) -> bool:
        """Whether nothing later was sent to any of its rows, so that the identical write may be sent again."""
        part = operation.part
        if operation.range_stamp and part.last_sent > max(operation.range_stamp, _highest(operation)):
            return False
        return all(
            effect.row.last_sent == effect.stamp and part.last_sent_range <= max(effect.stamp, operation.range_stamp)
            for effect in operation.effects
        )

    def send_again(self, operation: Operation) -> None:
        """A given-up write is sent once more; until it is answered its rows stay unsettled."""
        operation.given_up = False
        self._given_up.pop(operation.op, None)
        self.ops[operation.op] = operation
        self.sent(operation)

    def clean(self) -> bool:
        """Nothing is under way, and nothing unanswered is uncovered."""
        for operation in self.ops.values():
            if operation.planned is not None and not operation.given_up:
                return False
        for part in self.parts.values():  # noqa: SIM110 - a release asks it of one part, for which a generator is dear
            if part.inflight or part.unsettled:
                return False
        return True

    def set_copy(self, row: RowState, stored: StoredRow | None) -> None:
        """Keep `stored` as the row's copy, if it does not expire and the bound allows it; None: keep none."""
        before = self._copies.pop(row.key, None)
        if before is not None:
            self._copies_bytes -= before[1]
        row.copy = None
        if stored is None or expires(stored):
            return
        size = size_bytes(stored)
        if size > self._copies_bytes_max:
            return
        row.copy = stored
        self._copies[row.key] = (row, size)
        self._copies_bytes += size
        while self._copies_bytes > self._copies_bytes_max:
            oldest, oldest_size = self._copies.pop(next(iter(self._copies)))
            oldest.copy = None
            self._copies_bytes -= oldest_size

    def copies(self, bytes_max: int) -> tuple[StoredRow, ...]:
        """Every copy, none if together they are larger than `bytes_max`."""
        if self._copies_bytes > bytes_max:
            return ()
        return tuple(row.copy for row, _ in self._copies.values() if row.copy is not None)

    def void_copies(self, part: PartState) -> None:
        """No copy of the partition's rows counts any more."""
        for row in part.rows.values():
            if row.copy is not None:
                self.set_copy(row, None)

    def known_absent(self, part: PartState, row: RowState | None) -> bool:
        """Whether the session knows that the row is not there: by a get under the fence rule in this tenure, or by an own
        acknowledged delete, with no own write of the row sent since and none that may still appear."""
        return (
            row is not None
            and row.copy is not None
            and not is_there(row.copy)
            and not row.inflight
            and not part.inflight
            and not part.row_unsettled(row)
        )

    def blockers_of_row(self, part: PartState, row: RowState | None, *, for_get: bool) -> frozenset[int]:
        """What must have ended before the row is read from the store, or written."""
        row_free = row is None or not (row.reader or (for_get and row.inflight))
        if row_free and not part.exclusive_op and not (for_get and part.inflight):
            return NOTHING
        ops: set[int] = set()
        if part.exclusive_op:
            ops.add(part.exclusive_op)
        if row is not None and row.reader:
            ops.add(row.reader)
        if for_get:
            ops.update(part.inflight)
            if row is not None:
                ops.update(row.inflight)
        return frozenset(ops)

    def _drop_covered(self, part: PartState, row: RowState) -> None:
        if row.unanswered:
            covered = max(row.covered, part.covered)
            for op in [op for op, lost in row.unanswered.items() if lost < covered]:
                del row.unanswered[op]
                self._forget_write(op)

    def _forget_write(self, op: int) -> None:
        """A covered write need not be sent again, unless other rows of its batch are still uncovered."""
        operation = self.ops.get(op)
        if operation is None or not operation.given_up:
            return
        if not any(op in effect.row.unanswered for effect in operation.effects) and op not in operation.part.unanswered:
            del self.ops[op]
            self._given_up.pop(op, None)

    def _forget_rows(self, current: PartState, keep: frozenset[RowKey], needed: int) -> None:
        """Make room: forget idle rows, those that were first touched longest ago first; not those of the operation at hand."""
        wanted = max(needed, self._rows_max // 4)
        idle = ((part, row) for part, row in self._idle_rows() if row.key not in keep)
        for part, row in list(islice(idle, wanted)):
            self.set_copy(row, None)
            del part.rows[row.key]
            self._rows -= 1
        for part in [part for part in self.parts.values() if part is not current and _forgettable(part)]:
            del self.parts[part.partition]
        if self._rows + needed > self._rows_max:
            raise Overloaded("this section has too many rows with writes under way or unanswered")

    def _idle_rows(self) -> Iterator[tuple[PartState, RowState]]:
        for part in self.parts.values():
            for row in part.rows.values():
                if row.idle:
                    yield part, row


def _forgettable(part: PartState) -> bool:
    return not (part.rows or part.inflight or part.unanswered or part.exclusive_op or part.resend)


def _highest(operation: Operation) -> int:
    return max((effect.stamp for effect in operation.effects), default=0)
