"""One-shot sections: lock, steps, release in one call.

Where the engine can change a cell and rows in one atomic step and nobody holds or waits, the whole section is that step
(`core.one_shot`); otherwise it takes the general road: enqueue beside the first read, one batch of writes, and a release
that nobody waits for.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from polysite.core import combine, lock_cell
from polysite.core.combine import Change, Happened, NotMade, SendAgain
from polysite.core.lock_cell import LockCell
from polysite.core.one_shot import (
    ExpectStep,
    GetStep,
    Mismatch,
    OneShot,
    Repeated,
    SectionStep,
    TakeGeneralPath,
    needed_rows,
    plan_one_shot,
)
from polysite.core.plans import DeleteIntent, Planned, PutIntent
from polysite.core.steps import judge_steps
from polysite.errors import AcquireTimeout, CompareFailed, LockLost, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site.combining import RESOLVE_ATTEMPTS_MAX, RESOLVE_PAUSE_S, RESOLVE_PAUSE_S_MAX
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.keys import KeyState, KeyTable
from polysite.site.locks import Locks
from polysite.site.rows import row_of
from polysite.site.sessions import LiveSession, Sessions
from polysite.stores.contract import CellChange, CellEffect, TableWrites
from polysite.values.keys import LockKey, RowKey
from polysite.values.rows import StoredRow, Write
from polysite.values.tables import TableSpec

JOINT_ROUNDS_MAX = 4
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


Beside = Callable[[SectionDone, Sequence[Write] | None], TableWrites]
"""Makes the write that goes into the same commit as the section's effect: the idempotency record. The second argument is
None where the whole section is one step; else the writes it goes with: none for a batch that others follow, since from then on
something is stored and nothing tells of the rest. They prove nothing before the section is done."""


class Sections:
    """Carries out one-shot sections."""

    def __init__(
        self, context: SiteContext, keys: KeyTable, sessions: Sessions, critical: Critical, locks: Locks
    ) -> None:
        self._context = context
        self._keys = keys
        self._store = context.store
        self._sessions = sessions
        self._combiner = sessions.combiner
        self._critical = critical
        self._locks = locks

    async def run(
        self,
        spec: TableSpec,
        key: LockKey,
        steps: Sequence[SectionStep],
        *,
        wait_s: float,
        lease_ms: int,
        validate: bool = False,
        owner: str | None = None,
        request_id: bytes | None = None,
        beside: Beside | None = None,
    ) -> SectionDone:
        """Carry out a section. CompareFailed: nothing was written. AcquireTimeout: the lock was not held in time."""
        trips = 0.0
        if self._context.joint:
            state = self._keys.take(key, key.encode())
            before = state.trips
            try:
                done = await self._joint(state, spec, steps, request_id or self._context.new_id(), beside, wait_s)
                trips = state.trips - before
            finally:
                self._keys.drop(state)
            if done is not None:
                return SectionDone(done.results, done.ticket, done.stamp, done.validated, trips)
        done = await self._general(
            spec,
            key,
            steps,
            wait_s=wait_s,
            lease_ms=lease_ms,
            validate=validate,
            owner=owner,
            request_id=request_id,
            beside=beside,
        )
        return done._replace(round_trips=done.round_trips + trips)

    # one atomic step

    async def _joint(
        self,
        state: KeyState,
        spec: TableSpec,
        steps: Sequence[SectionStep],
        request_id: bytes,
        beside: Beside | None,
        wait_s: float,
    ) -> SectionDone | None:
        """The section as one atomic step; None: take the general road. Those of one process go one after the other."""
        if not state.enter_now() and not await state.enter(self._context.timers, wait_s):
            raise AcquireTimeout
        try:
            for _ in range(JOINT_ROUNDS_MAX):
                if state.cell.queue:
                    return None
                step = _JointStep(self._context, spec, steps, request_id, beside)
                if not await self._carry_out(state, step):
                    continue
                plan = step.plan
                if isinstance(plan, OneShot):
                    if state.take_view(plan.expected_version + 1, plan.cell):
                        self._sessions.seen(state)
                    return step.done
                if state.take_view(step.version, step.cell):
                    self._sessions.seen(state)
                if isinstance(plan, Repeated):
                    raise RepeatedRequest(plan.ticket)
                if isinstance(plan, Mismatch):
                    raise _mismatch(spec, plan)
                return None
            return None
        finally:
            state.leave()

    async def _carry_out(self, state: KeyState, step: "_JointStep") -> bool:
        """Have the step decided and carried out. False: it was not, and nothing was written; try anew."""
        state.trips += self._context.cells.costs.compare_and_set
        try:
            await self._store.joint_step(state.encoded, step.reads, step)
        except OutcomeUnknown:
            # What was decided may be there, or on its way; if nothing was decided, nothing is.
            return step.plan is not None and await self._find_out(state, step)
        return True

    async def _find_out(self, state: KeyState, step: "_JointStep") -> bool:
        """What became of a step without an answer; it is sent again, the identical one, while it may be either."""
        plan = step.plan
        if not isinstance(plan, OneShot):
            return True
        change = CellChange(state.encoded, plan.expected_version, plan.content)
        for attempt in range(RESOLVE_ATTEMPTS_MAX):
            made = await self._resolve(state, plan)
            if made is not None:
                return made
            pause_s = min(RESOLVE_PAUSE_S_MAX, RESOLVE_PAUSE_S * 2**attempt)
            await self._context.clock.sleep_s(self._context.randomness.uniform(pause_s / 2, pause_s))
            state.trips += self._context.cells.costs.compare_and_set
            try:
                joint, _ = await self._store.joint(change, step.writes)
            except PolysiteError:
                continue
            if joint.applied:
                return True
        raise OutcomeUnknown("the section was sent and not answered", steps_done=0)

    async def _resolve(self, state: KeyState, plan: OneShot) -> bool | None:
        """Whether a step without an answer was made; None: it may still be, send it again."""
        try:
            state.trips += await self._combiner.look(state, linearizable=True)
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
        resolution = combine.resolve_unknown(change, state.version, state.cell)
        if isinstance(resolution, Happened):
            return True
        if isinstance(resolution, SendAgain):
            return None
        if isinstance(resolution, NotMade):
            return False
        raise OutcomeUnknown("the section was sent and not answered", steps_done=0)

    # the general road

    async def _general(
        self,
        spec: TableSpec,
        key: LockKey,
        steps: Sequence[SectionStep],
        *,
        wait_s: float,
        lease_ms: int,
        validate: bool,
        owner: str | None,
        request_id: bytes | None,
        beside: Beside | None,
    ) -> SectionDone:
        needed = needed_rows(steps)
        acquired = await self._locks.hold(
            spec,
            key,
            wait_s=wait_s,
            lease_ms=lease_ms,
            owner=owner,
            request_id=request_id,
            read=needed[0] if needed else None,
        )
        live, trips = acquired.live, acquired.round_trips
        live.open_calls += 1
        try:
            rows: dict[RowKey, StoredRow] = {}
            if acquired.row is not None:
                rows[needed[0]], cost = await self._critical.finish_speculative(live, acquired.row)
                trips += cost
            for row_key in needed:
                if row_key not in rows:
                    rows[row_key], cost = await self._critical.get(live, row_key)
                    trips += cost
            results = judge_steps(spec, rows, steps)
            if isinstance(results, Mismatch):
                raise _mismatch(spec, results)
            stamp, cost = await self._write(live, steps, results, beside)
            trips += cost
        except BaseException:
            self._sessions.release_later(live)
            raise
        finally:
            live.open_calls -= 1
        if not validate:
            self._sessions.release_later(live)
            return SectionDone(results, live.reference.ticket, stamp, False, trips)
        try:
            released = await self._sessions.release(live)
        except LockLost as error:
            wrote = any(isinstance(step, PutIntent | DeleteIntent) for step in steps)
            if not wrote:
                raise
            raise OutcomeUnknown(
                "the lock was lost before the release could prove the section",
                reason="lock_lost",
                steps_done=len(steps),
            ) from error
        return SectionDone(results, live.reference.ticket, stamp, True, trips + released.round_trips)

    async def _write(
        self,
        live: LiveSession,
        steps: Sequence[SectionStep],
        results: tuple[StoredRow | None, ...],
        beside: Beside | None,
    ) -> tuple[int, float]:
        """The writes of a section, one batch per partition; the record goes with the last."""
        by_partition: dict[tuple[bytes, ...], list[PutIntent | DeleteIntent]] = {}
        for step in steps:
            if isinstance(step, PutIntent | DeleteIntent):
                by_partition.setdefault(step.key.partition, []).append(step)
        stamp, trips = 0, 0.0
        last = len(by_partition) - 1
        steps_done = 0

        def receipt(*, ends: bool, first: bool) -> Callable[[Planned], TableWrites] | None:
            if beside is None or not (ends or first):
                return None

            def made(planned: Planned) -> TableWrites:
                done = SectionDone(results, live.reference.ticket, planned.stamp, False, 0.0)
                return beside(done, planned.writes if ends else ())

            return made

        for index, intents in enumerate(by_partition.values()):
            try:
                stamp, cost = await self._critical.batch(live, intents, receipt(ends=index == last, first=index == 0))
            except PolysiteError as error:
                if steps_done and error.outcome == "refused":
                    # What other partitions were given stands: the section as a whole was not refused.
                    reason = "lock_lost" if isinstance(error, LockLost) else error.code
                    raise OutcomeUnknown(
                        "the section ended in the middle", reason=reason, steps_done=steps_done
                    ) from error
                error.attributes["steps_done"] = steps_done
                raise
            steps_done += len(intents)
            trips += cost
        return stamp, trips


class _JointStep:
    """A section as the engine's atomic step decides it (`stores.contract.Decide`): called where the cell and the rows stand
    still, so that no race is lost and what does not hold then does not hold. What it is made of is drawn beforehand."""

    __slots__ = (
        "_beside",
        "_drawn",
        "_needed",
        "_settings",
        "_spec",
        "_steps",
        "cell",
        "done",
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
        request_id: bytes,
        beside: Beside | None,
    ) -> None:
        self._spec = spec
        self._steps = steps
        self._beside = beside
        self._drawn = (request_id, context.new_id(), context.author, context.now_stamp())
        self._settings = context.session_settings
        self._needed = needed_rows(steps)
        self.reads = [(spec, key) for key in self._needed]
        self.plan: OneShot | Mismatch | TakeGeneralPath | Repeated | None = None
        """What was decided, None as long as nothing was."""
        self.version = 0
        self.cell: LockCell = lock_cell.NEVER_USED
        """The cell on which it was decided."""
        self.writes: list[TableWrites] = []
        self.done: SectionDone | None = None

    def __call__(self, version: int, content: bytes, rows: list[StoredRow]) -> CellEffect | None:
        self.version = version
        self.cell = cell = lock_cell.decode(content)
        request_id, change_id, author, now = self._drawn
        self.plan = plan = plan_one_shot(
            cell,
            version,
            dict(zip(self._needed, rows, strict=True)),
            self._steps,
            table=self._spec,
            request_id=request_id,
            change_id=change_id,
            author=author,
            now=now,
            absent_life_ms=self._settings.absent_life_ms,
        )
        if not isinstance(plan, OneShot):
            return None
        self.done = done = SectionDone(plan.results, plan.ticket, plan.stamp, True, 0.0)
        self.writes = [TableWrites(self._spec, group) for group in plan.writes]
        if self._beside is not None:
            self.writes.append(self._beside(done, None))
        return CellEffect(plan.content, self.writes)


def _mismatch(spec: TableSpec, mismatch: Mismatch) -> CompareFailed:
    row: dict[str, Any] | None = row_of(spec, mismatch.row)
    return CompareFailed(step=mismatch.step, rows=[row])


__all__ = ["ExpectStep", "GetStep", "RepeatedRequest", "SectionDone", "Sections"]
