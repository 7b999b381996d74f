"""One-shot sections: lock, steps, release in one call.

Where the engine can change a cell and rows in one atomic step and nobody holds or waits, the whole section is that step
(`one_step`); otherwise it takes the general road: enqueue beside the first read, one batch of writes, and a release
that nobody waits for.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypedDict

from polysite.core.one_shot import ExpectStep, GetStep, Mismatch, SectionStep, needed_rows
from polysite.core.plans import DeleteIntent, Planned, PutIntent
from polysite.core.steps import judge_steps
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.idempotency import Receipt, RequestRecorded
from polysite.site.keys import KeyTable
from polysite.site.locks import Acquired, Locks
from polysite.site.one_step import Beside, OneStep, RepeatedRequest, SectionDone, mismatch_error
from polysite.site.sessions import LiveSession, Sessions
from polysite.values.keys import LockKey, RowKey
from polysite.values.rows import StoredRow
from polysite.values.tables import TableSpec

WROTE_NOTHING_MAX = 4_096
"""Sections with a request id that ended without a write and are remembered."""


class Sections:
    """Carries out one-shot sections."""

    def __init__(
        self, context: SiteContext, keys: KeyTable, sessions: Sessions, critical: Critical, locks: Locks
    ) -> None:
        self._context = context
        self._one_step = OneStep(context, keys, sessions)
        self._sessions = sessions
        self._critical = critical
        self._locks = locks
        self._wrote_nothing: dict[tuple[bytes, int], None] = {}

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
        """Carry out a section. CompareFailed: nothing was written. AcquireTimeout: the lock was not held in time.
        RequestRecorded: nothing was written, since `beside` found another record of its request there."""
        if self._context.joint or spec.writes == "transactional":
            asked_s = self._context.clock.monotonic_s()
            done = await self._one_step.run(spec, key, steps, request_id, beside, wait_s)
            if done is not None:
                return done
            # It may have waited in this process's line before it queues up.
            wait_s = max(0.0, wait_s - (self._context.clock.monotonic_s() - asked_s))
        return await self._general(
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

    def wrote_nothing(self, encoded: bytes, ticket: int) -> bool:
        """Whether this process knows that the section with a request id which had this ticket sent no write."""
        return (encoded, ticket) in self._wrote_nothing

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
        acquired = await self._locks.enqueue(
            spec,
            key,
            key.encode(),
            kind="exclusive",
            lease_ms=lease_ms,
            owner=owner,
            request_id=request_id,
            read=needed[0] if needed else None,
        )
        live = acquired.live
        if beside is not None and acquired.repeated:
            # An earlier attempt made the entry, and may have sent its writes under it.
            beside.doubted = True
        progress = _Progress(round_trips=acquired.round_trips)
        live.open_calls += 1
        try:
            await self._locks.until_held(live, wait_s)
            await self._carry_out(acquired, spec, steps, beside, progress)
        except BaseException as error:
            self._sessions.release_later(live)
            refused = isinstance(error, PolysiteError) and error.outcome == "refused"
            if request_id is not None and not acquired.repeated and (refused or not progress.writing):
                self._note_unwritten(live)
            raise
        finally:
            live.open_calls -= 1
        if not validate:
            self._sessions.release_later(live)
            return progress.done(live, validated=False)
        try:
            progress.round_trips += (await self._sessions.release(live)).round_trips
        except LockLost as error:
            if not progress.writing:
                raise
            raise OutcomeUnknown(
                "the lock was lost before the release could prove the section",
                reason="lock_lost",
                steps_done=len(steps),
            ) from error
        return progress.done(live, validated=True)

    async def _carry_out(
        self,
        acquired: Acquired,
        spec: TableSpec,
        steps: Sequence[SectionStep],
        beside: Beside | None,
        progress: "_Progress",
    ) -> None:
        """The steps, under the lock: read what they need, judge them, write."""
        live = acquired.live
        if beside is not None and not beside.joint and await beside.is_recorded():
            raise RequestRecorded
        needed = needed_rows(steps)
        rows: dict[RowKey, StoredRow] = {}
        if acquired.row is not None:
            rows[needed[0]], cost = await self._critical.finish_speculative(live, acquired.row)
            progress.round_trips += cost
        for row_key in needed:
            if row_key not in rows:
                rows[row_key], cost = await self._critical.get(live, row_key)
                progress.round_trips += cost
        results = judge_steps(spec, rows, steps)
        if isinstance(results, Mismatch):
            raise mismatch_error(spec, results)
        progress.results = results
        await self._write(live, steps, beside, progress)

    def _note_unwritten(self, live: LiveSession) -> None:
        """Remember of a section that ended early that it sent nothing: sent again, it may be refused with a good conscience."""
        self._wrote_nothing[live.state.encoded, live.reference.ticket] = None
        if len(self._wrote_nothing) > WROTE_NOTHING_MAX:
            del self._wrote_nothing[next(iter(self._wrote_nothing))]

    async def _write(
        self, live: LiveSession, steps: Sequence[SectionStep], beside: Beside | None, progress: "_Progress"
    ) -> None:
        """The writes of a section, one batch per partition; the record goes with the last."""
        by_partition: dict[tuple[bytes, ...], list[PutIntent | DeleteIntent]] = {}
        for step in steps:
            if isinstance(step, PutIntent | DeleteIntent):
                by_partition.setdefault(step.key.partition, []).append(step)
        last = len(by_partition) - 1
        steps_done = 0
        for index, intents in enumerate(by_partition.values()):
            progress.writing = True
            record: _Record = {}
            if beside is not None and index in {0, last}:
                record = _record_of(beside, live, progress.results, ends=index == last)
            try:
                progress.stamp, cost = await self._critical.batch(live, intents, **record)
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
            progress.round_trips += cost


class _Progress:
    """How far a section on the general road has come. `writing`: a write of it may have been sent."""

    __slots__ = ("results", "round_trips", "stamp", "writing")

    def __init__(self, *, round_trips: float) -> None:
        self.round_trips = round_trips
        self.results: tuple[StoredRow | None, ...] = ()
        self.stamp = 0
        self.writing = False

    def done(self, live: LiveSession, *, validated: bool) -> SectionDone:
        return SectionDone(self.results, live.reference.ticket, self.stamp, validated, self.round_trips)


class _Record(TypedDict, total=False):
    beside: Callable[[Planned], Receipt]
    before: Callable[[Planned], Awaitable[None]]


def _record_of(beside: Beside, live: LiveSession, results: tuple[StoredRow | None, ...], *, ends: bool) -> _Record:
    """How a batch is sent with the section's record; `ends`: it is the last."""

    def done_with(planned: Planned) -> SectionDone:
        return SectionDone(results, live.reference.ticket, planned.stamp, False, 0.0)

    if beside.joint:
        return {"beside": lambda planned: beside(done_with(planned), planned.writes if ends else ())}
    return {"before": lambda planned: beside.before(done_with(planned), planned.writes if ends else ())}


__all__ = ["ExpectStep", "GetStep", "RepeatedRequest", "SectionDone", "Sections"]
