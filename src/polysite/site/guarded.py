"""Reads and writes under a held reference where rows and the lock's cell live in one engine's transactions (`writes = transactional`):
each is a transaction of its own that also looks whether the session still holds.

So there are no stamps, windows, re-stamps and copies, and no clock decides when a write is done: one that is made was the holder's. A
write also expects of each of its rows what was found there, so that one that was left unanswered and comes late finds another row,
once the same session has written it again.
"""

from collections.abc import Sequence

from polysite.core import lock_cell
from polysite.core.plans import DeleteIntent, Intent, PutIntent
from polysite.errors import BadRequest, LockLost
from polysite.site.context import SiteContext
from polysite.site.sessions import LiveSession, Sessions
from polysite.stores.contract import CellEffect, TableWrites
from polysite.values.keys import RowKey
from polysite.values.rows import DeleteRow, Put, StoredRow, Write


class Guarded:
    """Carries them out."""

    def __init__(self, context: SiteContext, sessions: Sessions) -> None:
        self._store = context.store
        self._cells = context.cells
        self._sessions = sessions

    async def get(self, live: LiveSession, key: RowKey) -> tuple[StoredRow, float]:
        """The row at a moment at which the session held. LockLost: it did not."""
        live.core.transacts(0)
        step = _Step(live, [key], None)
        trips = await self._carry_out(live, step)
        return step.rows[0], trips

    async def batch(self, live: LiveSession, intents: Sequence[Intent]) -> tuple[int, float]:
        """The writes, all at once, at a moment at which the session held alone; the last stamp, which the engine may not have gone by.

        LockLost: it did not, nothing was written. OutcomeUnknown: they may have been made, or may still be while it holds.
        """
        first = live.core.transacts(len(intents))
        writes: list[Write] = []
        for stamp, intent in enumerate(intents, first):
            if isinstance(intent, PutIntent):
                writes.append(Put(key=intent.key, cells=intent.cells, stamp=stamp, life_ms=intent.life_ms))
            elif isinstance(intent, DeleteIntent):
                writes.append(DeleteRow(key=intent.key, stamp=stamp))
            else:
                raise BadRequest("ranges of a transactional table are not deleted under a lock")
        keys = list(dict.fromkeys(intent.key for intent in intents if isinstance(intent, PutIntent | DeleteIntent)))
        return first + len(intents) - 1, await self._carry_out(live, _Step(live, keys, writes))

    async def _carry_out(self, live: LiveSession, step: "_Step") -> float:
        state = live.state
        await self._store.joint_step(state.encoded, step.reads, step)
        if state.take_view(step.version, step.cell):
            self._sessions.seen(state)
        if not step.allowed:
            raise LockLost
        return step.round_trips * self._cells.costs.read


class _Step:
    """One of them, as the engine's step decides it (`stores.contract.Decide`)."""

    def __init__(self, live: LiveSession, keys: Sequence[RowKey], writes: "list[Write] | None") -> None:
        """`writes` None: it only reads."""
        core = live.core
        self._ticket, self._nonce = core.ticket, core.nonce
        self._writes = writes
        self._table = core.table
        self.reads = [(core.table, key) for key in keys]
        self.attempts = 0
        self.allowed = False

    def __call__(self, version: int, content: bytes, rows: list[StoredRow]) -> CellEffect | None:
        self.attempts += 1
        self.version, self.cell, self.rows = version, lock_cell.decode(content), rows
        role = lock_cell.role(self.cell, self._ticket, self._nonce)
        self.allowed = role == "exclusive" if self._writes is not None else role not in {None, "waiting"}
        if self._writes is None or not self.allowed:
            return None
        return CellEffect(None, [TableWrites(self._table, self._writes)])

    @property
    def round_trips(self) -> int:
        """The first decision is on what is near; each further one, and what is sent at the end, waited for one."""
        return self.attempts - (self._writes is None or not self.allowed)
