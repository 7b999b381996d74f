"""Reads and writes under a held reference: carries out what `core.session` plans, and says when a write is done."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from polysite.core.plans import (
    Answer,
    AskFirst,
    ConfirmFence,
    DeleteIntent,
    GotRow,
    Intent,
    NeedExtend,
    NotSettled,
    Partition,
    Planned,
    PutIntent,
    RangeAnswer,
    ReadAgain,
    ReadRange,
    ReadRow,
    RenewFirst,
    Restamp,
    Settle,
    Settled,
    SettleFirst,
    Wait,
)
from polysite.core.restamp import expires
from polysite.core.settle import rows_in
from polysite.core.wishes import Refusal
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site.context import SiteContext
from polysite.site.guarded import Guarded
from polysite.site.idempotency import Receipt, RequestRecorded
from polysite.site.keys import KeyState
from polysite.site.sessions import LiveSession, Sessions
from polysite.stores.contract import StoredPage, TableWrites
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Slice, StoredRow
from polysite.values.tables import TableSpec

T = TypeVar("T")

WRITE_ATTEMPTS_MAX = 3
READ_ROUNDS_MAX = 64
"""A get that has planned this often without an answer is told to try again: something else keeps moving the row."""
SETTLE_PAGE_ROWS = 4_000
"""Each page is a round trip; of more rows Cassandra makes two pages of its own."""
ASK_FIRST_PAUSE_S = 0.02
"""How long a reader that is not first leaves the first to settle a row before it looks again."""


class Critical:
    """Gets, writes and range gets of a session."""

    def __init__(self, context: SiteContext, sessions: Sessions) -> None:
        self._context = context
        self._store = context.store
        self._clock = context.clock
        self._sessions = sessions
        self._guarded = Guarded(context, sessions)
        self.ask_first: Callable[[LiveSession, RowKey | Partition], Awaitable[float]] = self._ask_first_here
        """Has the first of a shared run settle a row or a partition; replaced where it lives in another process."""

    # gets

    async def get(self, live: LiveSession, key: RowKey, *, settle: bool = False) -> tuple[StoredRow, float]:
        """The row as it counts under the lock, and the round trips waited for."""
        if live.core.table.writes == "transactional":
            return await self._guarded.get(live, key)
        core = live.core
        trips = 0.0
        for _ in range(READ_ROUNDS_MAX):
            plan = core.plan_get(key, self._clock.monotonic_s(), settle=settle)
            if isinstance(plan, Answer):
                return plan.row, trips
            if isinstance(plan, ReadRow):
                found, cost = await self._read(live, plan)
                trips += cost
                if found is not None:
                    return found, trips + await self._assure_held(live)
            elif isinstance(plan, Restamp):
                trips += await self._send(live, plan.planned)
                return plan.row, trips + await self._assure_held(live)
            elif isinstance(plan, Wait):
                await live.wait_ops(plan.ops)
            else:
                assert isinstance(plan, RenewFirst)
                trips += await self._sessions.reassure(live)
        raise Unavailable("the row could not be read: it kept changing under the session")

    async def _read(self, live: LiveSession, read: ReadRow) -> tuple[StoredRow | None, float]:
        """One planned read: the row, or None to plan again."""
        core = live.core
        trips = self._store.costs.read_majority
        asked_first = False
        try:
            try:
                row = await self._store.read(core.table, read.key, "majority")
            except BaseException:
                core.give_up_read(read)
                raise
            got: GotRow = core.got(read, row)
            while isinstance(got, NeedExtend):
                try:
                    trips += await self.extend(live)
                except BaseException:
                    core.give_up_read(read)
                    raise
                got = core.got(read, row)
            if isinstance(got, ConfirmFence):
                try:
                    trips += await self._sessions.combiner.look(live.state, linearizable=True)
                except BaseException:
                    core.give_up_read(read)
                    raise
                got = core.confirm(read, live.state.version, live.state.cell)
            if isinstance(got, Answer):
                return got.row, trips
            if isinstance(got, Restamp):
                trips += await self._send(live, got.planned)
                return got.row, trips
            asked_first = isinstance(got, AskFirst)
            assert asked_first or isinstance(got, ReadAgain)
        finally:
            live.op_ended(read.op)
        if asked_first:
            trips += await self.ask_first(live, read.key)
        return None, trips

    async def _assure_held(self, live: LiveSession) -> float:
        """What was read is the holder's to know inside its lease; later the entry is renewed first, as for writes (I15): else a
        holder that slept is told what its successor wrote, and not that it lost the lock. LockLost if it did."""
        if live.core.may_answer_done(self._clock.monotonic_s()):
            return 0.0
        return await self._sessions.reassure(live)

    def take_speculative(self, live: LiveSession, key: RowKey, row: StoredRow, version: int) -> Answer | Restamp | None:
        """Offer a row that was read beside the enqueue, after the view of `version` had shown an empty queue."""
        return live.core.speculative(key, row, version)

    async def finish_speculative(self, live: LiveSession, answer: Answer | Restamp) -> tuple[StoredRow, float]:
        """What is left to do before a row read beside the enqueue may be answered."""
        if isinstance(answer, Restamp):
            return answer.row, await self._send(live, answer.planned)
        return answer.row, 0.0

    # writes

    async def put(
        self, live: LiveSession, key: RowKey, cells: dict[str, bytes | None], life_ms: int | None = None
    ) -> tuple[int, float]:
        """Write columns of a row; the stamp, and the round trips waited for."""
        return await self.batch(live, (PutIntent(key, cells, life_ms),))

    async def delete(self, live: LiveSession, key: RowKey) -> tuple[int, float]:
        return await self.batch(live, (DeleteIntent(key),))

    async def batch(
        self,
        live: LiveSession,
        intents: Sequence[Intent],
        beside: Callable[[Planned], Receipt] | None = None,
        *,
        before: Callable[[Planned], Awaitable[None]] | None = None,
    ) -> tuple[int, float]:
        """Several writes of one partition as one atomic batch. `beside`: the record of the request, which goes into the same
        commit (engines with `joint` only); RequestRecorded if that finds another one there. `before`: what must be stored
        before the batch is sent."""
        if live.core.table.writes == "transactional":
            return await self._guarded.batch(live, intents)
        trips = 0.0
        while True:
            plan = live.core.plan_batch(intents)
            if isinstance(plan, Planned):
                break
            if isinstance(plan, Wait):
                await live.wait_ops(plan.ops)
            else:
                trips += await self.extend(live)
        if before is not None:
            try:
                await before(plan)
            except BaseException:
                live.core.not_sent(plan.op)
                live.op_ended(plan.op)
                raise
        trips += await self._send(live, plan, None if beside is None else beside(plan))
        if live.core.wants_extend and not live.extending:
            self._extend_later(live)
        # A lock that was let go while the write was under way is another's by now, who may have read before the write came.
        if live.ended or not live.core.may_answer_done(self._clock.monotonic_s()):
            trips += await self._assure_done(live, plan.stamp)
        return plan.stamp, trips

    async def _assure_done(self, live: LiveSession, stamp: int) -> float:
        """A stored write is done inside the lease; later the entry is renewed first, which proves it was still there (I15)."""
        try:
            return await self._sessions.reassure(live)
        except PolysiteError as error:
            raise OutcomeUnknown(
                "the write was stored, but the lock may have been lost before", reason="lock_lost", stamp=stamp
            ) from error

    async def _send(self, live: LiveSession, planned: Planned, beside: Receipt | None = None) -> float:
        """Send a planned write; sent again, identically, while that is allowed. Its outcome is told to the session."""
        core = live.core
        trips = 0.0
        sending = planned
        unanswered = False
        try:
            for attempt in range(WRITE_ATTEMPTS_MAX):
                trips += self._store.costs.write_majority
                try:
                    if beside is None:
                        await self._store.write(core.table, sending.writes, "majority")
                    else:
                        writes = [TableWrites(core.table, sending.writes), beside.item]
                        joint, found = await self._store.joint(None, writes, beside.absent, absent=beside.absent)
                        if not joint.applied and not beside.is_there(found):
                            if not unanswered:
                                core.not_sent(planned.op)
                            raise RequestRecorded
                except OutcomeUnknown:
                    core.unanswered(planned.op)
                    unanswered = True
                except PolysiteError:
                    if not unanswered:
                        core.not_sent(planned.op)
                        raise
                    # An earlier sending was not answered: the session must know that this one is over too.
                    core.unanswered(planned.op)
                else:
                    core.answered(planned.op)
                    return trips
                if attempt + 1 < WRITE_ATTEMPTS_MAX:
                    again = core.plan_retry(planned.op)
                    if again is None:
                        break
                    sending = again
            raise OutcomeUnknown("the write was sent and not answered", stamp=planned.stamp)
        except BaseException:
            # Whatever ended it: a write whose end was not told yet counts as sent.
            core.unanswered(planned.op)
            raise
        finally:
            live.op_ended(planned.op)

    def _extend_later(self, live: LiveSession) -> None:
        """Have a further window before the old one is used up, so that no write waits for it."""
        live.extending = True

        def ended(_: object) -> None:
            live.extending = False

        self._sessions.combiner.submit(live.state, live.core.extend(), decided=ended, failed=ended)

    async def extend(self, live: LiveSession) -> float:
        """Have a further window of stamps; answers the round trips."""
        answer = await self._sessions.combiner.ask(live.state, live.core.extend())
        if isinstance(answer.result, Refusal):
            raise answer.result.error()
        return answer.round_trips

    # ranges

    async def select(
        self, live: LiveSession, partition: Partition, slice_: Slice, *, limit: int, cursor: bytes | None
    ) -> tuple[StoredPage, float]:
        """A page of a slice of one partition, as it counts under the lock."""
        core = live.core
        trips = 0.0
        for _ in range(READ_ROUNDS_MAX):
            plan = core.plan_range(partition, slice_)
            if isinstance(plan, ReadRange):
                page, cost = await self._read_range(live, plan, limit, cursor)
                trips += cost
                if page is not None:
                    return page, trips + await self._assure_held(live)
            elif isinstance(plan, SettleFirst):
                rows, cost = await self._settle(live, plan)
                trips += cost
                if page := _page_of(core.table, rows, slice_, limit=limit, cursor=cursor):
                    return page, trips + await self._assure_held(live)
            elif isinstance(plan, Settle):
                trips += await self._send_settle(live, plan)
            else:
                assert isinstance(plan, Wait)
                await live.wait_ops(plan.ops)
        raise Unavailable("the partition could not be read: it kept changing under the session")

    async def _read_range(
        self, live: LiveSession, read: ReadRange, limit: int, cursor: bytes | None
    ) -> tuple[StoredPage | None, float]:
        core = live.core
        trips = self._store.costs.read_majority
        settle: SettleFirst | None = None
        asked_first = False
        try:
            try:
                page = await self._store.read_partition(
                    core.table, read.partition, "majority", slice=read.slice, limit=limit, cursor=cursor
                )
            except BaseException:
                core.give_up_read(read)
                raise
            got = core.got_range(read, page.part_stamp)
            if isinstance(got, ConfirmFence):
                try:
                    trips += await self._sessions.combiner.look(live.state, linearizable=True)
                except BaseException:
                    core.give_up_read(read)
                    raise
                confirmed = core.confirm(read, live.state.version, live.state.cell)
                return (page if isinstance(confirmed, Answer) else None), trips
            if isinstance(got, RangeAnswer):
                return page, trips
            if isinstance(got, SettleFirst):
                settle = got
            else:
                asked_first = isinstance(got, AskFirst)
        finally:
            live.op_ended(read.op)
        if settle is not None:
            whole = read.slice == WHOLE_PARTITION and cursor is None and page.cursor is None
            rows, cost = await self._settle(live, settle, page.rows if whole else None)
            return _page_of(core.table, rows, read.slice, limit=limit, cursor=cursor), trips + cost
        if asked_first:
            trips += await self.ask_first(live, read.partition)
        return None, trips

    async def _settle(
        self, live: LiveSession, plan: SettleFirst, read: list[StoredRow] | None = None
    ) -> tuple[list[StoredRow], float]:
        """Read the whole partition and rewrite it (I13); the rows. `read`: they were read under this plan already."""
        core = live.core
        trips = 0.0
        rows: list[StoredRow] = [] if read is None else read
        cursor: bytes | None = None
        try:
            while read is None and len(rows) <= plan.rows_max:
                page = await self._store.read_partition(
                    core.table,
                    plan.partition,
                    "majority",
                    slice=WHOLE_PARTITION,
                    limit=min(SETTLE_PAGE_ROWS, plan.rows_max + 1 - len(rows)),
                    cursor=cursor,
                )
                trips += self._store.costs.read_majority
                rows.extend(page.rows)
                cursor = page.cursor
                if cursor is None:
                    break
        except BaseException:
            core.give_up_read(plan)
            live.op_ended(plan.op)
            raise
        try:
            batches = core.got_partition(plan, rows)
            while isinstance(batches, NeedExtend):
                trips += await self.extend(live)
                batches = core.got_partition(plan, rows)
        except BaseException:
            core.give_up_read(plan)
            live.op_ended(plan.op)
            raise
        return rows, trips + await self._send_settle(live, batches)

    async def _send_settle(self, live: LiveSession, plan: Settle) -> float:
        trips = 0.0
        try:
            sent = await asyncio.gather(*(self._send(live, batch) for batch in plan.batches), return_exceptions=True)
            for error in sent:
                # Of one without an answer the session knows: the attempt ends unsettled and the next round makes another.
                if isinstance(error, BaseException) and not isinstance(error, (OutcomeUnknown, Unavailable)):
                    raise error
            trips += max((cost for cost in sent if not isinstance(cost, BaseException)), default=0.0)
            while True:
                ended = live.core.end_settle(plan)
                if isinstance(ended, Planned):
                    try:
                        trips += await self._send(live, ended)
                    except (OutcomeUnknown, Unavailable):
                        continue
                    continue
                break
        except BaseException:
            # Batches that were not sent yet will not be; whoever waits for them or for the partition plans again.
            live.core.give_up_settle(plan)
            for batch in plan.batches:
                live.op_ended(batch.op)
            raise
        finally:
            live.op_ended(plan.op)
        if isinstance(ended, NotSettled):
            raise Unavailable("the partition could not be settled under the lock: a write was not answered")
        assert isinstance(ended, Settled)
        return trips

    async def _ask_first_here(self, live: LiveSession, what: RowKey | Partition) -> float:
        """Have the first of the run, if this process serves it, settle a row or partition; then look at the cell again."""
        head = live.state.cell.queue[0] if live.state.cell.queue else None
        if head is None or not await self.settle_as_first(live.state, head.ticket, what):
            await self._clock.sleep_s(ASK_FIRST_PAUSE_S)
        return await self._sessions.combiner.look(live.state)

    async def settle_as_first(self, state: KeyState, ticket: int, what: RowKey | Partition) -> bool:
        """As the session with this ticket: read the row or partition, which settles it. False: it does not hold here."""
        first = state.sessions.get(ticket)
        if first is None or not first.holds or first.core.standing == "shared":
            return False
        try:
            if isinstance(what, RowKey):
                await self.get(first, what, settle=True)
            else:
                await self.select(first, what, WHOLE_PARTITION, limit=1, cursor=None)
        except LockLost:
            return False
        return True


def _page_of(
    table: TableSpec, rows: list[StoredRow], slice_: Slice, *, limit: int, cursor: bytes | None
) -> StoredPage | None:
    """The answer to a range get of a partition that was just settled, from the rows that were written; None: read them. A row that
    expires was written with what was left of its life, and may have lost values by that."""
    if cursor is not None:
        return None
    found = rows_in(table, rows, slice_)
    if len(found) > limit or any(map(expires, found)):
        return None
    return StoredPage(found, None)
