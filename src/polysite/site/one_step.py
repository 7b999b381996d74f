"""A section as one atomic step of the engine: decided where the cell and the rows stand still, and durable when it is answered."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from polysite.core import combine, lock_cell
from polysite.core.combine import Change, Happened, NotMade, SendAgain
from polysite.core.lock_cell import LockCell
from polysite.core.one_shot import (
    Mismatch,
    OneShot,
    Repeated,
    SectionStep,
    TakeGeneralPath,
    needed_rows,
    plan_one_shot,
)
from polysite.errors import AcquireTimeout, CompareFailed, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site.combining import RESOLVE_ATTEMPTS_MAX, RESOLVE_PAUSE_S, RESOLVE_PAUSE_S_MAX
from polysite.site.context import SiteContext
from polysite.site.idempotency import Receipt, RequestRecorded
from polysite.site.keys import KeyTable
from polysite.site.rows import row_of
from polysite.site.sessions import Sessions
from polysite.stores.contract import CellChange, CellEffect, TableWrites
from polysite.values.keys import LockKey, RowKey
from polysite.values.rows import StoredRow, Write
from polysite.values.tables import TableSpec

ROUNDS_MAX = 4
"""Steps that turned out not to have been made before a section queues up like everybody else."""


class SectionDone(NamedTuple):
    """What a section gave: a row (or None) per step, its ticket, the highest stamp it used."""

    results: tuple[StoredRow | None, ...]
    ticket: int
    stamp: int
    validated: bool
    round_trips: float


class RepeatedRequest(Exception):
    """The section was carried out before, under this ticket: its record has the answer."""

    def __init__(self, ticket: int) -> None:
        super().__init__(ticket)
        self.ticket = ticket


class Beside(Protocol):
    """Makes the idempotency record of a section, which is stored beside the section's effect."""

    doubted: bool
    """An earlier attempt may have sent writes that may still come: a refusal of this one does not say that nothing happened."""

    joint: bool
    """The record goes into one commit with the effect, if it is the first of its request. Else it is made `before` the effect,
    under the lock: there whoever else is at this request finds it (`is_recorded`)."""

    @property
    def place(self) -> tuple[TableSpec, RowKey]:
        """Where the record is: if one is there, the request was carried out before, or is being carried out elsewhere."""
        ...

    async def is_recorded(self) -> bool:
        """Whether a record of the request is there. IdempotencyMismatch if it is of another request."""
        ...

    async def before(self, done: SectionDone, writes: Sequence[Write]) -> None:
        """Make the record of a batch that is sent next; `writes` as for a call."""
        ...

    def __call__(self, done: SectionDone, writes: Sequence[Write] | None) -> Receipt:
        """The record. `writes` None: the whole section is one step, inside which this is called, on whatever thread that is.
        Else the writes it goes with: none for a batch that others follow, since from then on something is stored and nothing
        tells of the rest. They prove nothing before the section is done."""
        ...


class OneStep:
    """Carries out sections as one step each. RequestRecorded: a record of the section's request is there, nothing was written."""

    def __init__(self, context: SiteContext, keys: KeyTable, sessions: Sessions) -> None:
        self._context = context
        self._keys = keys
        self._store = context.store
        self._sessions = sessions
        self._cells = context.cells

    async def run(
        self,
        spec: TableSpec,
        key: LockKey,
        steps: Sequence[SectionStep],
        request_id: bytes | None,
        beside: Beside | None,
        wait_s: float,
    ) -> SectionDone | None:
        """Carry out a section; None: take the general road, nothing was written.

        The sections and other changes of this process on one key go one after the other, so that neither keeps the other
        from ever winning the cell.
        """
        keys = self._keys
        encoded = key.encode()
        if keys.begin_step(encoded):
            try:
                return await self._make(encoded, spec, steps, request_id, beside)
            finally:
                keys.end_step(encoded)
        state = keys.take(key, encoded)
        try:
            if not state.enter_now() and not await state.enter(self._context.timers, wait_s):
                raise AcquireTimeout
            try:
                return None if state.cell.queue else await self._make(encoded, spec, steps, request_id, beside)
            finally:
                state.leave()
        finally:
            keys.drop(state)

    async def _make(
        self,
        encoded: bytes,
        spec: TableSpec,
        steps: Sequence[SectionStep],
        request_id: bytes | None,
        beside: Beside | None,
    ) -> SectionDone | None:
        trips = 0.0
        for _ in range(ROUNDS_MAX):
            step = _Step(self._context, spec, steps, request_id, beside)
            try:
                await self._store.joint_step(encoded, step.reads, step)
                trips += step.round_trips * self._cells.costs.compare_and_set
            except OutcomeUnknown:
                trips += step.round_trips * self._cells.costs.compare_and_set
                if step.is_recorded:
                    raise RequestRecorded from None
                if step.plan is None:
                    continue  # nothing was decided, so nothing is there
                made, cost = await self._find_out(encoded, step)
                trips += cost
                if not made:
                    continue
            plan = step.plan
            if step.is_recorded:
                raise RequestRecorded
            if type(plan) is OneShot:
                self._seen(encoded, plan.expected_version + 1, plan.cell)
                done = step.done
                assert done is not None
                return done._replace(round_trips=trips) if trips else done
            self._seen(encoded, step.version, step.cell)
            if isinstance(plan, Repeated):
                raise RepeatedRequest(plan.ticket)
            if isinstance(plan, Mismatch):
                raise mismatch_error(spec, plan)
            return None
        return None

    def _seen(self, encoded: bytes, version: int, cell: LockCell) -> None:
        """Whoever uses the key here learns of the cell."""
        state = self._keys.known(encoded)
        if state is not None and state.take_view(version, cell):
            self._sessions.seen(state)

    async def _find_out(self, encoded: bytes, step: "_Step") -> tuple[bool, float]:
        """Whether a step without an answer was made; it is sent again, the identical one, while it may be either."""
        plan = step.plan
        if not isinstance(plan, OneShot):
            return True, 0.0  # it was not to change anything
        change = CellChange(encoded, plan.expected_version, plan.content)
        trips = 0.0
        for attempt in range(RESOLVE_ATTEMPTS_MAX):
            made = await self._was_made(encoded, plan)
            trips += self._cells.costs.read
            if made is not None:
                return made, trips
            pause_s = min(RESOLVE_PAUSE_S_MAX, RESOLVE_PAUSE_S * 2**attempt)
            await self._context.clock.sleep_s(self._context.randomness.uniform(pause_s / 2, pause_s))
            trips += self._cells.costs.compare_and_set
            try:
                joint, _ = await self._store.joint(change, step.writes)
            except PolysiteError:
                continue
            if joint.applied:
                return True, trips
        raise OutcomeUnknown("the section was sent and not answered", steps_done=0)

    async def _was_made(self, encoded: bytes, plan: OneShot) -> bool | None:
        """Whether a step without an answer was made; None: it may still be, send it again."""
        try:
            view = await self._cells.read(encoded)
        except Unavailable:
            return None
        change = Change(
            change_id=plan.change_id,
            expected_version=plan.expected_version,
            content=plan.content,
            cell=plan.cell,
            results={},
            expired=(),
            effective=True,
            wishes=(),
        )
        resolution = combine.resolve_unknown(change, view.version, lock_cell.decode(view.content))
        if isinstance(resolution, Happened):
            return True
        if isinstance(resolution, SendAgain):
            return None
        if isinstance(resolution, NotMade):
            return False
        raise OutcomeUnknown("the section was sent and not answered", steps_done=0)


class _Step:
    """A section as the engine's step decides it (`stores.contract.Decide`). What it is made of is drawn beforehand."""

    __slots__ = (
        "_beside",
        "_context",
        "_drawn",
        "_needed",
        "_spec",
        "_steps",
        "attempts",
        "cell",
        "done",
        "is_recorded",
        "plan",
        "reads",
        "version",
        "writes",
    )

    def __init__(
        self,
        context: SiteContext,
        spec: TableSpec,
        steps: Sequence[SectionStep],
        request_id: bytes | None,
        beside: Beside | None,
    ) -> None:
        self._context = context
        self._spec = spec
        self._steps = steps
        self._beside = beside
        self._drawn = (request_id, context.new_id(), context.now_stamp())
        self._needed = needed_rows(steps)
        self.reads = [(spec, key) for key in self._needed]
        if beside is not None:
            self.reads.append(beside.place)
        self.plan: OneShot | Mismatch | TakeGeneralPath | Repeated | None = None
        """What was decided, None as long as nothing was."""
        self.done: SectionDone | None = None
        self.is_recorded = False
        """A record of the request was there: nothing was decided, and nothing written."""
        self.attempts = 0
        """How often it was decided: an engine of several sites decides on what is near, and again if that was not how things stood."""

    @property
    def round_trips(self) -> int:
        """The first decision is on what is near; each further one, and what is sent at the end, waited for one."""
        return self.attempts - (type(self.plan) is not OneShot and self.attempts > 1)

    def __call__(self, version: int, content: bytes, rows: list[StoredRow]) -> CellEffect | None:
        # Only the last call counts: the engine may have taken back what an earlier one was for.
        self.plan = self.done = None
        self.is_recorded = False
        self.attempts += 1
        self.version = version
        self.cell = cell = lock_cell.decode(content)
        if self._beside is not None and rows.pop().present:
            self.is_recorded = True
            return None
        request_id, change_id, now = self._drawn
        self.plan = plan = plan_one_shot(
            cell,
            version,
            dict(zip(self._needed, rows, strict=True)),
            self._steps,
            table=self._spec,
            request_id=request_id,
            change_id=change_id,
            author=self._context.author,
            now=now,
            absent_life_ms=self._context.session_settings.absent_life_ms,
        )
        if type(plan) is not OneShot:
            return None
        self.done = done = SectionDone(plan.results, plan.ticket, plan.stamp, True, 0.0)
        self.writes = writes = [TableWrites(self._spec, group) for group in plan.writes]
        if self._beside is not None:
            writes.append(self._beside(done, None).item)
        return CellEffect(plan.content, writes)


def mismatch_error(spec: TableSpec, mismatch: Mismatch) -> CompareFailed:
    """What the caller of a section is told whose expectation does not hold."""
    row: dict[str, Any] | None = row_of(spec, mismatch.row)
    return CompareFailed(step=mismatch.step, rows=[row])
