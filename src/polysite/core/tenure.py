"""The state of one lock reference against its cell: what it stands at, its stamps, its lease, its end.

A session learns of its cell by views (`observe`), of which only newer ones count. When it becomes first it takes window and
fence from the cell in which it did; from then on the fence cannot move under it, and only its own extends move its window.
"""

from typing import Literal, TypeAlias

import msgspec

from polysite.core.lease import answer_limit_s
from polysite.core.lock_cell import LockCell, entry_by_ticket, role
from polysite.core.restamp import needs_restamp
from polysite.core.rowstate import Ledger
from polysite.core.stamps import WINDOW, window_end
from polysite.core.wishes import Cancel, Extend, Leave, Promote, ReleaseClean, ReleaseDirty, Withdraw
from polysite.errors import BadRequest, LockLost, NotHolder
from polysite.values.rows import StoredRow
from polysite.values.tables import TableSpec

EndWish: TypeAlias = ReleaseClean | ReleaseDirty | Leave | Cancel
Standing: TypeAlias = Literal["waiting", "shared", "first", "exclusive", "lost"]
"""As `lock_cell.Role`; lost: a newer view shows that the entry has gone or has another session."""

EXTEND_BELOW = WINDOW // 2


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a session. `absent_life_ms`: life of the mark on an absent row, None where the engine has no expiry."""

    rows_max: int = 10_000
    copies_bytes_max: int = 8 * 1024 * 1024
    settle_rows_max: int = 10_000
    settle_bytes_max: int = 8 * 1024 * 1024
    batch_writes_max: int = 1_000
    absent_life_ms: int | None = None


DEFAULT_SETTINGS = SessionSettings()


class Tenure:
    """The part of a session that does not depend on rows. Public attributes are for reading only; `version` is that of the
    newest view, `first_version` that of the view in which the session became first (0 before), `last_stamp` the highest stamp
    used (None: none was)."""

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

        If the entry has left that cell already the session is lost from the start. A session after a take-over is a new one:
        nothing is carried over from the old.
        """
        entry = entry_by_ticket(cell, ticket)
        assert table.writes in {"sections", "mixed", "transactional"}, "only these tables have rows under locks"
        self.table = table
        self.ticket = ticket
        self.nonce = nonce
        self.settings = settings
        self._lease_s = 0.0 if entry is None else entry.lease_s
        self._leases_asked: list[float] = []
        self.version = version
        self.standing: Standing = "waiting"
        self.fence = cell.fence
        self.first_version = 0
        self._mixed = table.writes == "mixed"
        self._shared_kind = entry is not None and entry.kind != "exclusive"
        self._columns = table.regular_names
        self._ledger = Ledger(rows_max=settings.rows_max, copies_bytes_max=settings.copies_bytes_max)
        self._next_stamp = self._window_end = 0
        self.last_stamp: int | None = None
        self._lease_base_s: float | None = None
        self._acted_exclusively = False
        self._withdrawing = False
        self._release: EndWish | None = None
        self._take_in(cell)

    # views

    def observe(self, version: int, cell: LockCell) -> Standing:
        """Take in a view of the cell; older ones than the newest seen are ignored. LockLost is not raised: `standing` says."""
        if version > self.version:
            self.version = version
            self._take_in(cell)
        return self.standing

    def _take_in(self, cell: LockCell) -> None:
        if self.standing == "lost":
            return
        now_role = role(cell, self.ticket, self.nonce)
        if now_role is None:
            self.standing = "lost"
            return
        if now_role in {"first", "exclusive"}:
            if self.standing in {"first", "exclusive"}:
                assert cell.fence == self.fence, "the fence moved under the head of the queue"
                assert window_end(cell.floor) >= self._window_end, "the window went back under the head of the queue"
            else:
                # The window and the fence of the cell in which it became first, not of the one it enqueued on.
                self.first_version = self.version
            # After an extend the new window is used from its start: whatever a holder writes lies at or above its cell's floor.
            self._next_stamp = max(self._next_stamp, cell.floor)
            self._window_end = window_end(cell.floor)
        self.fence = cell.fence
        self.standing = now_role

    def lease_applied(self, sent_s: float) -> None:
        """An enqueue, take-over or renew of this entry applied that was sent at `sent_s` (own monotonic clock).

        Grants, extends, promotions and other processes' changes do not count.
        """
        if self._lease_base_s is None or sent_s > self._lease_base_s:
            self._lease_base_s = sent_s

    @property
    def lease_s(self) -> float:
        """The lease that answers are reckoned with: the shortest that the cell may say, since a change of it that was asked for
        may have been made."""
        return min(self._lease_s, *self._leases_asked) if self._leases_asked else self._lease_s

    def lease_asked(self, lease_s: float) -> None:
        """A renew that sets the lease is about to be sent. Only one at a time: their order in the cell must be known."""
        self._leases_asked.append(lease_s)

    def lease_answered(self, lease_s: float, sent_s: float, *, applied: bool) -> None:
        """It was applied, or it never will be. One whose fate is not known is not answered: it counts for ever."""
        self._leases_asked.remove(lease_s)
        if applied:
            self._lease_s = lease_s
            self.lease_applied(sent_s)

    def may_answer_done(self, now_s: float) -> bool:
        """Whether a write that a majority stored may be answered `done` now without asking the cell."""
        until_s = self.done_until_s
        return until_s is not None and now_s < until_s and self.standing != "lost"

    @property
    def done_until_s(self) -> float | None:
        """Until when (own monotonic clock) answers may be `done`; None before the first applied renewal."""
        return None if self._lease_base_s is None else self._lease_base_s + answer_limit_s(self.lease_s)

    @property
    def wants_extend(self) -> bool:
        """Half of the window is used: extend in the background, so that no write waits for it."""
        return self.standing in {"first", "exclusive"} and self._window_end - self._next_stamp < EXTEND_BELOW

    def _has_stamps(self, count: int) -> bool:
        return self._next_stamp + count <= self._window_end

    def _use_stamps(self, count: int) -> None:
        assert self._has_stamps(count), "a stamp past the window"
        self._next_stamp += count
        self.last_stamp = self._next_stamp - 1
        if self.standing == "exclusive":
            self._acted_exclusively = True

    def transacts(self, writes: int) -> int:
        """A transaction with so many writes is about to be sent (0: it reads), which looks itself whether the session holds; the first of
        as many stamps. LockLost or NotHolder if it is known here that it does not.

        The stamps are for engines that go by them: where the engine orders its transactions, a window may be used to its end.
        """
        if not writes:
            self._check_holds()
            return 0
        self._check_writes()
        self._acted_exclusively = True
        first = min(self._next_stamp, self._window_end - writes)
        self._next_stamp = first + writes
        self.last_stamp = max(self.last_stamp or 0, first + writes - 1)
        return first

    def _check_holds(self) -> None:
        if self.standing == "lost" or self._release is not None:
            raise LockLost
        if self.standing == "waiting":
            raise NotHolder

    def _check_writes(self) -> None:
        self._check_holds()
        if self.standing != "exclusive":
            raise NotHolder("the lock is held shared: promote it to write")
        if self._withdrawing:
            raise NotHolder("the promotion is being withdrawn")

    @property
    def _is_first(self) -> bool:
        return self.standing in {"first", "exclusive"}

    def _doubts(self, row: StoredRow, *, unsettled: bool = False) -> bool:
        return needs_restamp(row, fence=self.fence, mixed=self._mixed, unsettled=unsettled)

    # the end of a tenure

    def plan_release(self) -> EndWish:
        """The wish that ends this session, whatever it stands at; nothing more may be planned afterwards.

        Dirty if a write is under way or unanswered and uncovered. LockLost if the session is lost.
        """
        if self.standing == "lost":
            raise LockLost
        if self._release is None:
            self._release = self._end_wish()
        return self._release

    def _end_wish(self) -> EndWish:
        if self.standing == "waiting":
            return Cancel(self.ticket, self.nonce)
        if self.standing == "shared":
            return Leave(self.ticket, self.nonce)
        if self._ledger.clean():
            return ReleaseClean(self.ticket, self.nonce, self.last_stamp)
        return ReleaseDirty(self.ticket, self.nonce, self.last_stamp)

    def extend(self) -> Extend:
        """The wish for a further window."""
        return Extend(self.ticket, self.nonce)

    def promote(self) -> Promote:
        """The wish to become exclusive."""
        self._check_holds()
        self._withdrawing = False
        return Promote(self.ticket, self.nonce)

    def withdraw(self) -> Withdraw:
        """The wish to be shared again; BadRequest if the session has acted exclusively already. Until `promote` is asked
        again nothing is written, however the wish ends."""
        self._check_holds()
        if self._acted_exclusively:
            raise BadRequest("the promoted lock has been used to write: release it")
        self._withdrawing = True
        return Withdraw(self.ticket, self.nonce)
