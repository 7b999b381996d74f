"""The keys that are in use in this process: newest view of each cell, what is pending, and the sessions on it.

Nothing is kept of a key that nobody uses, except for a bounded number of views that save the next user a local read.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from polysite.core import lock_cell
from polysite.core.lease import Observation
from polysite.core.lock_cell import LockCell
from polysite.core.wishes import Observed
from polysite.errors import Overloaded
from polysite.site.timers import Timer, Timers
from polysite.values.keys import LockKey
from polysite.values.rows import StoredRow

if TYPE_CHECKING:
    from polysite.site.peers import Push
    from polysite.site.sessions import LiveSession
    from polysite.site.wishing import PendingWish

LINE_MAX = 1_024
"""One-shot sections of this process that may wait for one key."""

LONG_AGO = float("-inf")

UNSEEN = -1
"""The version of a key whose cell was not looked at yet."""


class Parting(msgspec.Struct, frozen=True):
    """What the session with this ticket, which let go cleanly, leaves to its successor: the rows as it knew them, of that making of
    the table."""

    ticket: int
    making: int
    rows: "tuple[StoredRow, ...]"


class KeyState(msgspec.Struct, eq=False):
    """One lock key in use.

    `version` and `cell` are the newest view; it never goes back. `busy` is held by whoever has a compare-and-set of this
    key under way, so that those of one process do not race each other; the next in line gets it in the order of asking.
    """

    key: LockKey
    encoded: bytes
    version: int = UNSEEN
    cell: LockCell = lock_cell.NEVER_USED
    users: int = 0
    busy: bool = False
    line: "deque[asyncio.Future[bool]] | None" = None
    """Who waits for `busy`; made for the first of them."""
    pending: "list[PendingWish]" = []
    driving: bool = False
    trips: float = 0.0
    """Round trips that changes of this key have cost so far: an author takes the difference."""
    sessions: "dict[int, LiveSession]" = {}
    beat_timer: Timer | None = None
    look_timer: Timer | None = None
    looking: bool = False
    observation: Observation | None = None
    preempting: bool = False
    """A wish to drop dead entries is under way."""
    watch_until_s: float = 0.0
    front: Observed | None = None
    """The head when somebody last gave up waiting behind it: it is watched on until it beats or goes, or `front_until_s`."""
    front_until_s: float = 0.0
    changed_s: float = LONG_AGO
    """When this view was made, as far as it is known here, on the own clock; only kept where there are several sites."""
    confirmed_s: float = LONG_AGO
    """When a replica last said that this view is its newest, or it was made or told; on the own clock, kept as `changed_s`."""
    handed: "dict[bytes, PendingWish]" = {}
    """Wishes that another process, the key's steward, carries; by their ids."""
    kept: "list[PendingWish]" = []
    """Wishes kept back for the release or renewal of the head, which is here."""
    kept_timer: Timer | None = None
    moved: "asyncio.Future[None] | None" = None
    """Done when a newer view is known; of who waits for the answer to a change on this one."""
    told: "Push | None" = None
    """What was told the head of this view, if a change of this process put it there."""
    parting: Parting | None = None
    """Of the last session that let go cleanly; nobody's once the key has another head."""

    def __repr__(self) -> str:
        # The cell has the secrets of all who are in the queue.
        return f"KeyState({self.key}, version={self.version})"

    def enter_now(self) -> bool:
        """Enter if no other change of this key is under way in this process; False: `enter` waits for that."""
        if self.busy:
            return False
        self.busy = True
        return True

    async def enter(self, timers: Timers | None = None, wait_s: float = 0.0) -> bool:
        """Wait until no other change of this key is under way in this process. False: not within `wait_s` (only with `timers`).

        Overloaded: more wait here than a queue may hold.
        """
        if self.enter_now():
            return True
        if timers is None:
            return await self._turn()
        if wait_s <= 0:
            return False
        if self.line and len(self.line) >= LINE_MAX:
            raise Overloaded("too many sections wait for this key in this process")
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        timer = timers.after(wait_s, lambda: None if turn.done() else turn.set_result(False))
        try:
            return await self._turn(turn)
        finally:
            timer.cancel()

    async def _turn(self, turn: "asyncio.Future[bool] | None" = None) -> bool:
        if turn is None:
            turn = asyncio.get_running_loop().create_future()
        if self.line is None:
            self.line = deque()
        self.line.append(turn)
        got_it = False
        try:
            got_it = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()
            raise
        finally:
            if not got_it and turn in self.line:
                self.line.remove(turn)
        return got_it

    def leave(self) -> None:
        """Let the next in line have its turn."""
        while self.line:
            turn = self.line.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self.busy = False

    def take_view(self, version: int, cell: LockCell) -> bool:
        """Remember a view if it is newer than what is known; True if it was. Does not tell the sessions: `Views.seen` does."""
        if version <= self.version:
            return False
        self.version = version
        self.cell = cell
        self.told = None
        return True


class KeyTable:
    """Keys in use, and the last few that were."""

    def __init__(self, views_max: int) -> None:
        self._views_max = views_max
        self._used: dict[bytes, KeyState] = {}
        self._idle: dict[bytes, KeyState] = {}
        self._stepping: dict[bytes, KeyState | None] = {}
        """Keys on which a one-step section is being carried out; the state, once somebody else uses the key meanwhile."""

    def __len__(self) -> int:
        return len(self._used)

    def find(self, encoded: bytes) -> KeyState | None:
        """The key's state if it is in use."""
        return self._used.get(encoded)

    def known(self, encoded: bytes) -> KeyState | None:
        """The key's state if it is in use, or was lately."""
        return self._used.get(encoded) or self._idle.get(encoded)

    def calls_under_way(self) -> bool:
        """Whether a change is being made, here or by a steward, or a call is carried out on a session that holds."""
        return bool(self._stepping) or any(
            state.busy
            or state.handed
            or state.kept
            or any(live.holds and live.open_calls for live in state.sessions.values())
            for state in self._used.values()
        )

    def begin_step(self, encoded: bytes) -> bool:
        """Carry out a one-step section on a key that nobody uses: whoever takes it before `end_step` finds it busy. False: it
        is in use, take it and enter in the ordinary way."""
        if encoded in self._used or encoded in self._stepping:
            return False
        self._stepping[encoded] = None
        return True

    def end_step(self, encoded: bytes) -> None:
        """Let the next in line have its turn."""
        state = self._stepping.pop(encoded)
        if state is not None:
            state.leave()

    def _hold_back(self, state: KeyState) -> None:
        """A state that was used by nobody comes into use: a step under way on its key goes first."""
        if self._stepping.get(state.encoded, state) is not state:
            state.busy = True
            self._stepping[state.encoded] = state

    def in_use(self) -> list[KeyState]:
        return list(self._used.values())

    def take(self, key: LockKey, encoded: bytes) -> KeyState:
        """Use a key: its state stays until `drop` was called as often as `take`."""
        state = self._used.get(encoded)
        if state is None:
            state = self._idle.pop(encoded, None) or KeyState(key, encoded)
            self._used[encoded] = state
            if self._stepping:
                self._hold_back(state)
        state.users += 1
        return state

    def keep(self, state: KeyState) -> None:
        """Use a state that is at hand, and perhaps in use by nobody any more: a call that outlived its session asks for
        a change. If the key is used by a newer state meanwhile, this one goes on beside it: the cell arbitrates."""
        if not state.users:
            if self._idle.get(state.encoded) is state:
                del self._idle[state.encoded]
            self._used.setdefault(state.encoded, state)
            self._hold_back(state)
        state.users += 1

    def drop(self, state: KeyState) -> None:
        """Use it no more."""
        state.users -= 1
        if state.users or self._used.get(state.encoded) is not state:
            return
        del self._used[state.encoded]
        state.parting = None
        if state.version < 0 or not self._views_max:
            return
        self._idle[state.encoded] = state
        if len(self._idle) > self._views_max:
            del self._idle[next(iter(self._idle))]

    def forget_views(self) -> None:
        """Drop the views of idle keys: each next user reads its cell again."""
        self._idle.clear()
