"""One-shot sections: lock, steps, release in one call.

Where the engine can change a cell and rows in one atomic step and nobody holds or waits, the whole section is that step
(`one_step`); otherwise it takes the general road: enqueue beside the first read, one batch of writes, and a release
that nobody waits for.
"""

from collections.abc import Callable, Sequence

from polysite.core.one_shot import ExpectStep, GetStep, Mismatch, SectionStep, needed_rows
from polysite.core.plans import DeleteIntent, Planned, PutIntent
from polysite.core.steps import judge_steps
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.idempotency import Receipt
from polysite.site.keys import KeyTable
from polysite.site.locks import Locks
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
        if self._context.joint:
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
            kind="exclusive",
            lease_ms=lease_ms,
            owner=owner,
            request_id=request_id,
            read=needed[0] if needed else None,
        )
        live, trips = acquired.live, acquired.round_trips
        if beside is not None and acquired.repeated:
            # An earlier attempt made the entry, and may have sent its writes under it.
            beside.doubted = True
        writing = False
        live.open_calls += 1
        try:
            await self._locks.until_held(live, wait_s)
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
                raise mismatch_error(spec, results)
            writing = True
            stamp, cost = await self._write(live, steps, results, beside)
            trips += cost
        except BaseException as error:
            self._sessions.release_later(live)
            if request_id is not None and not acquired.repeated:
                sent = writing and not (isinstance(error, PolysiteError) and error.outcome == "refused")
                self._note(live, sent=sent)
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

    def _note(self, live: LiveSession, *, sent: bool) -> None:
        """Remember of a section that ended early that it sent nothing: sent again, it may be refused with a good conscience."""
        if not sent:
            self._wrote_nothing[live.state.encoded, live.reference.ticket] = None
            if len(self._wrote_nothing) > WROTE_NOTHING_MAX:
                del self._wrote_nothing[next(iter(self._wrote_nothing))]

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

        def receipt(*, ends: bool, first: bool) -> Callable[[Planned], Receipt] | None:
            if beside is None or not (ends or first):
                return None

            def made(planned: Planned) -> Receipt:
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


__all__ = ["ExpectStep", "GetStep", "RepeatedRequest", "SectionDone", "Sections"]
