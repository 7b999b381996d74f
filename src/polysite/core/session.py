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
from typing import Literal, TypeAlias

import msgspec

from polysite.core.lock_cell import LockCell
from polysite.core.plans import (
    Answer,
    GetPlan,
    GotRange,
    GotRow,
    Intent,
    NotSettled,
    Partition,
    Planned,
    RangePlan,
    ReadAgain,
    ReadRange,
    ReadRow,
    Restamp,
    Settle,
    Settled,
    SettleFirst,
    WritePlan,
)
from polysite.core.wishes import Cancel, Extend, Leave, Promote, ReleaseClean, ReleaseDirty, Withdraw
from polysite.values.keys import RowKey
from polysite.values.rows import Slice, StoredRow
from polysite.values.tables import TableSpec

Standing: TypeAlias = Literal["waiting", "shared", "first", "exclusive", "lost"]
"""As `lock_cell.Role`; lost: a newer view shows that the entry has gone or has another session."""


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a session. `absent_life_ms`: life of the mark on an absent row, None where the engine has no expiry."""

    rows_max: int = 10_000
    copies_bytes_max: int = 8 * 1024 * 1024
    settle_rows_max: int = 10_000
    settle_bytes_max: int = 8 * 1024 * 1024
    batch_writes_max: int = 1_000
    absent_life_ms: int | None = None


DEFAULT_SETTINGS = SessionSettings()


class Session:
    """One lock reference. `standing`, `fence`, `version` (of the newest view) are for reading only."""

    ticket: int
    nonce: bytes
    table: TableSpec
    lease_s: float
    version: int
    fence: int
    standing: Standing

    def __init__(
        self,
        *,
        table: TableSpec,
        ticket: int,
        nonce: bytes,
        version: int,
        cell: LockCell,
        settings: SessionSettings = DEFAULT_SETTINGS,
    ) -> None:
        """The session of an entry of `cell`, whose nonce this incarnation of the process made; `version` is the cell's.

        A session after a take-over is a new one: nothing is carried over from the old.
        """
        raise NotImplementedError

    # views

    def observe(self, version: int, cell: LockCell) -> Standing:
        """Take in a view of the cell; older ones than the newest seen are ignored. LockLost is not raised: `standing` says."""
        raise NotImplementedError

    def lease_applied(self, sent_s: float) -> None:
        """An enqueue, take-over or renew of this entry applied that was sent at `sent_s` (own monotonic clock).

        Grants, extends, promotions and other processes' changes do not count.
        """
        raise NotImplementedError

    def may_answer_done(self, now_s: float) -> bool:
        """Whether a write that a majority stored may be answered `done` now without asking the cell."""
        raise NotImplementedError

    @property
    def done_until_s(self) -> float | None:
        """Until when (own monotonic clock) answers may be `done`; None before the first applied renewal."""
        raise NotImplementedError

    @property
    def wants_extend(self) -> bool:
        """Half of the window is used: extend in the background, so that no write waits for it."""
        raise NotImplementedError

    # gets

    def plan_get(self, key: RowKey, now_s: float, *, settle: bool = False) -> GetPlan:
        """How to read a row. `settle`: for a reader of the run that was told `AskFirst`; a copy that the store would not bear
        out under the fence does not do then. NotHolder while waiting, LockLost when lost or ending."""
        raise NotImplementedError

    def got(self, read: ReadRow, row: StoredRow) -> GotRow:
        """The store answered `read` from a majority. After `NeedExtend` call it again with the same arguments."""
        raise NotImplementedError

    def confirm(self, read: ReadRow | ReadRange, version: int, cell: LockCell) -> Answer | ReadAgain:
        """A view asked for after the read. Counts for row and range reads; for ranges the Answer's row is a placeholder."""
        raise NotImplementedError

    def give_up_read(self, read: ReadRow | ReadRange | SettleFirst) -> None:
        """The read was not answered or is not wanted any more."""
        raise NotImplementedError

    def speculative(self, key: RowKey, row: StoredRow) -> Answer | Restamp | None:
        """The row that was read beside an enqueue which applied on the version read before, on an empty queue.

        To be offered before anything else is asked of the session. None: it does not serve, get in the ordinary way.
        """
        raise NotImplementedError

    def pushed(self, key: RowKey, row: StoredRow, version: int) -> bool:
        """A value that came with the grant, labelled with its cell's version. True: taken as the session's copy.

        It counts only if the session became first in the view of that version and has neither read nor written the row.
        """
        raise NotImplementedError

    # writes

    def plan_put(self, key: RowKey, cells: dict[str, bytes | None], life_ms: int | None = None) -> WritePlan:
        """Write the named regular columns. From `Planned` on the write counts as sent."""
        raise NotImplementedError

    def plan_delete(self, key: RowKey) -> WritePlan:
        """Delete a row."""
        raise NotImplementedError

    def plan_delete_range(self, partition: Partition, slice_: Slice) -> WritePlan:
        """Delete a slice of a partition."""
        raise NotImplementedError

    def plan_batch(self, intents: Sequence[Intent]) -> WritePlan:
        """Several writes of one partition: one atomic batch, each at its own next stamp."""
        raise NotImplementedError

    def plan_retry(self, op: int) -> Planned | None:
        """The identical write again, if it was not answered and nothing of those rows was sent after it.

        None: it must not be sent again; its outcome is unknown, superseded.
        """
        raise NotImplementedError

    def answered(self, op: int) -> None:
        """A majority stored the write. (May also come after `unanswered`.)"""
        raise NotImplementedError

    def unanswered(self, op: int) -> None:
        """The write was sent and given up without an answer."""
        raise NotImplementedError

    def not_sent(self, op: int) -> None:
        """The write certainly reached no replica. Its stamps stay used."""
        raise NotImplementedError

    # ranges

    def plan_range(self, partition: Partition, slice_: Slice, now_s: float) -> RangePlan:
        """How to read a slice of a partition with clustering columns."""
        raise NotImplementedError

    def got_range(self, read: ReadRange, part_stamp: int) -> GotRange:
        """The store answered the range read, with this part_stamp; the caller keeps the rows."""
        raise NotImplementedError

    def got_partition(self, settle: SettleFirst, rows: Sequence[StoredRow]) -> Settle:
        """All rows of the partition in clustering order. TooLarge above the bound: then nothing is written and the operation
        has ended."""
        raise NotImplementedError

    def end_settle(self, settle: Settle) -> Planned | Settled | NotSettled:
        """All batches have ended. Planned: send this one too (it sets the part_stamp), then ask again."""
        raise NotImplementedError

    # the end of a tenure

    def plan_release(self) -> ReleaseClean | ReleaseDirty | Leave | Cancel:
        """The wish that ends this session, whatever it stands at; nothing more may be planned afterwards.

        Dirty if a write is under way or unanswered and uncovered. LockLost if the session is lost.
        """
        raise NotImplementedError

    def extend(self) -> Extend:
        """The wish for a further window."""
        raise NotImplementedError

    def promote(self) -> Promote:
        """The wish to become exclusive."""
        raise NotImplementedError

    def withdraw(self) -> Withdraw:
        """The wish to be shared again; BadRequest if the session has acted exclusively already."""
        raise NotImplementedError
