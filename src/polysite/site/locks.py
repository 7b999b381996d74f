"""Enqueue, wait, promote, release, preempt: the verbs of one lock key, on sessions of this process."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from polysite.core import lock_cell
from polysite.core.lock_cell import NO_REQUEST, Entry
from polysite.core.plans import Answer, Restamp
from polysite.core.wishes import (
    ID_BYTES,
    CancelRequest,
    Done,
    Enqueue,
    Enqueued,
    Identity,
    Observed,
    Preempt,
    Preempted,
    Refusal,
    TakeOver,
)
from polysite.errors import (
    AcquireTimeout,
    CompareFailed,
    Forbidden,
    LockLost,
    OutcomeUnknown,
    Overloaded,
    PolysiteError,
    SiteUnreachable,
)
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.keys import UNSEEN, KeyState, KeyTable
from polysite.site.sessions import LiveSession, Sessions
from polysite.site.waiting import Waiting
from polysite.site.wishing import PendingWish, WishAnswer
from polysite.values.keys import LockKey, Reference, RowKey
from polysite.values.rows import StoredRow
from polysite.values.tables import TableSpec


class Acquired(msgspec.Struct, frozen=True):
    """A session of an entry just made (or found, when the request was made before); `row` was read beside the enqueue and
    serves as the first get, None if it does not."""

    live: LiveSession
    round_trips: float
    row: Answer | Restamp | None
    repeated: bool = False
    """An earlier request with the same id made the entry."""
    shared: bool = False
    """And its session was here already: other calls may use it."""


class ServedElsewhere(SiteUnreachable):
    """Another process serves the lock that this request acquired before; ask it, or ask again after its lease."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference


class Elsewhere(NamedTuple):
    """The session of a reference lives in another process."""

    state: KeyState
    entry: Entry


class Locks:
    """What can be done with one lock key here."""

    def __init__(self, context: SiteContext, keys: KeyTable, sessions: Sessions, critical: Critical) -> None:
        self._context = context
        self._keys = keys
        self._store = context.store
        self._sessions = sessions
        self._combiner = sessions.combiner
        self._critical = critical
        self.waiting = Waiting(context, sessions)
        self.is_dead: Callable[[Entry], Awaitable[bool]] = _nobody_is_dead
        """Whether the process that an entry names is known to be dead."""

    async def enqueue(
        self,
        spec: TableSpec,
        key: LockKey,
        encoded: bytes,
        *,
        kind: str,
        lease_ms: int,
        owner: str | None,
        request_id: bytes | None = None,
        read: RowKey | None = None,
        stays: bool = False,
    ) -> Acquired:
        """Append an entry to the queue of a key (`encoded`: its bytes); `read`: read that row beside it. `stays`: also if the caller gives up, since it
        may come back with the same request; its silence ends the entry otherwise.

        Overloaded: too many wait. OutcomeUnknown: it may be in the queue; a cancellation was left behind.
        """
        context = self._context
        if self._sessions.count >= context.settings.sessions_max:
            raise Overloaded("this process serves as many lock references as it may")
        state = self._keys.take(key, encoded)
        asking = _Asking(self, state, spec, kind, lease_ms, owner, request_id or NO_REQUEST)
        try:
            trips = await self._combiner.look(state) if self._is_stale(state) else 0.0
            stood_on = state.version
            was_free = not state.cell.queue
            pending = asking.submit()
            row: StoredRow | None = None
            try:
                # A transaction reads what holds at its own moment: nothing is to be gained by reading beside.
                if read is not None and was_free and spec.writes != "transactional":
                    row = await self._read_beside(spec, read)
                answer = await asking.answer(pending)
            except asyncio.CancelledError:
                if not stays:
                    asking.abandon(pending)
                raise
            cost = max(answer.round_trips, self._store.costs.read_majority if row is not None else 0.0)
            live = asking.live
            assert live is not None
            self.waiting.watch_if_waiting(live)
            beside: Answer | Restamp | None = None
            if row is not None and live.holds and not asking.repeated:
                assert read is not None
                beside = self._critical.take_speculative(live, read, row, stood_on)
            return Acquired(live, trips + cost, beside, asking.repeated, asking.shared)
        finally:
            self._keys.drop(state)

    def _is_stale(self, state: KeyState) -> bool:
        """Whether to look at the cell first: it was never seen, or another site may have changed it since, of which nobody here
        was told as long as nobody here used the key. A change that stands on an old view costs a round trip; a look does not."""
        return state.version == UNSEEN or (self._context.is_wide and not state.sessions and not state.driving)

    async def _read_beside(self, spec: TableSpec, read: RowKey) -> StoredRow | None:
        try:
            return await self._store.read(spec, read, "majority")
        except PolysiteError:
            # The enqueue decides what the caller is told; the row can be got under the lock.
            return None

    async def hold(
        self,
        spec: TableSpec,
        key: LockKey,
        *,
        wait_s: float,
        lease_ms: int,
        owner: str | None,
        kind: str = "exclusive",
        request_id: bytes | None = None,
        read: RowKey | None = None,
    ) -> Acquired:
        """Enqueue and wait to hold; AcquireTimeout, and the entry is gone, if it does not within `wait_s`."""
        acquired = await self.enqueue(
            spec, key, key.encode(), kind=kind, lease_ms=lease_ms, owner=owner, request_id=request_id, read=read
        )
        try:
            await self.until_held(acquired.live, wait_s)
        except BaseException:
            self._sessions.release_later(acquired.live)
            raise
        return acquired

    async def until_held(self, live: LiveSession, wait_s: float) -> None:
        """Wait to hold; AcquireTimeout if that is not within `wait_s`."""
        if not live.holds and not await self.waiting.until_held(live, wait_s):
            raise AcquireTimeout

    # references

    def find(self, reference: Reference, *, ending: bool = False) -> LiveSession | None:
        """The session of a reference if it lives in this process; LockLost if it has ended, Forbidden if the secret is
        wrong. The call is a sign of life. `ending`: one whose end its client asked for, and is not known yet, does too. One that was ended
        without its asking does not: another may hold by then, and a release that is told as done says that none did."""
        state = self._keys.find(reference.key.encode())
        live = state.sessions.get(reference.ticket) if state is not None else None
        if live is None:
            return None
        if not hmac.compare_digest(live.reference.secret, reference.secret):
            raise Forbidden("this is no reference of that lock")
        if live.ended and (live.unasked or not ending):
            raise live.lost_error()
        live.life.sign(self._context.clock.monotonic_s())
        return live

    async def locate(self, reference: Reference, *, ending: bool = False) -> LiveSession | Elsewhere:
        """Where the session of a reference lives. LockLost if its entry is gone, Forbidden if the secret is wrong.

        For `Elsewhere` the caller drops the key's state when it is done. `ending` as for `find`.
        """
        live = self.find(reference, ending=ending)
        if live is not None:
            return live
        state = self._keys.take(reference.key, reference.key.encode())
        try:
            await self._combiner.look(state)
            entry = lock_cell.entry_by_ticket(state.cell, reference.ticket)
            if entry is None:
                # The local replica may not know of the entry yet; only the cell itself proves that it is gone.
                await self._combiner.look(state, linearizable=True)
                entry = lock_cell.entry_by_ticket(state.cell, reference.ticket)
            if entry is None:
                raise LockLost(fencing_token=reference.ticket)
            if not hmac.compare_digest(entry.secret, reference.secret):
                raise Forbidden("this is no reference of that lock")
            if self._is_own(entry):
                # This run has let go of it, or lost it; an older view would say the same of one that was taken over since.
                await self._combiner.look(state, linearizable=True)
                # Or the change that gave it to this run has no answer yet: its session is here once it has.
                await state.enter()
                state.leave()
                live = self.find(reference, ending=ending)
                if live is not None:
                    self._keys.drop(state)
                    return live
                entry = lock_cell.entry_by_ticket(state.cell, reference.ticket)
                if entry is None or self._is_own(entry):
                    raise LockLost(fencing_token=reference.ticket)
        except BaseException:
            self._keys.drop(state)
            raise
        return Elsewhere(state, entry)

    def _is_own(self, entry: Entry) -> bool:
        author = self._context.author
        return (entry.site, entry.process, entry.incarnation) == (author.site, author.process, author.incarnation)

    async def take_over(
        self, spec: TableSpec, reference: Reference, state: KeyState, entry: Entry, seen: Observed | None = None
    ) -> LiveSession:
        """Become the session of an entry whose process is gone; LockLost or CompareFailed if it is not to be had.

        `seen`: the entry as it was observed unchanged for its lease (I4); None: its incarnation is known to be dead.
        """
        nonce = self._context.new_secret()
        author = self._context.author
        found: list[LiveSession] = []

        def decided(answer: WishAnswer) -> None:
            if isinstance(answer.result, Done):
                found.append(
                    self._sessions.register(
                        state, answer, spec, reference, nonce=nonce, kind=entry.kind, lease_ms=entry.lease_ms
                    )
                )

        answer = await self._combiner.ask(
            state,
            TakeOver(
                ticket=entry.ticket,
                secret=reference.secret,
                old_nonce=entry.nonce if seen is None else seen.nonce,
                old_beat=entry.beat if seen is None else seen.beat,
                ground="incarnation_dead" if seen is None else "observed",
                nonce=nonce,
                site=author.site,
                process=author.process,
                incarnation=author.incarnation,
            ),
            decided=decided,
        )
        if isinstance(answer.result, Refusal):
            raise answer.result.error()
        self.waiting.watch_if_waiting(found[0])
        return found[0]

    async def adopt(self, spec: TableSpec, state: KeyState, entry: Entry) -> LiveSession:
        """Serve the entry of a request that was made before, by a process that is gone by now; ServedElsewhere if it is not."""
        reference = Reference(state.key, entry.ticket, entry.secret)
        if not await self.is_dead(entry):
            raise ServedElsewhere(reference)
        return await self.take_over(spec, reference, state, entry)

    # verbs on a session of this process

    async def promote(self, live: LiveSession, wait_s: float, *, stays: bool = False) -> float:
        """Become exclusive; AcquireTimeout if it was withdrawn after `wait_s`, CompareFailed if another is at it.

        `stays`: it is not withdrawn after `wait_s`; the session goes on being promoted, until a later call without `stays`."""
        live.promotion_stays = stays
        if live.stands_exclusive() and not live.withdrawing:
            live.kind = "exclusive"
            return 0.0
        live.promoters += 1
        try:
            trips = (
                0.0 if stays and live.kind == "promoting" and not live.withdrawing else await self._ask_promotion(live)
            )
            held = await self.waiting.until_held(live, wait_s, exclusive=True)
        except BaseException:
            live.promoters -= 1
            self._withdraw_unless_wanted(live)
            raise
        live.promoters -= 1
        if held:
            live.kind = "exclusive"
            return trips
        if stays:
            return trips
        withdrawal = self._withdraw_unless_wanted(live)
        if withdrawal is not None:
            withdrawal.future = asyncio.get_running_loop().create_future()
            withdrawn = (await withdrawal.future).result
            if isinstance(withdrawn, Refusal) and withdrawn.code != "bad_request":
                raise withdrawn.error()
        raise AcquireTimeout("the other holders did not leave within the wait; the promotion was withdrawn")

    async def _ask_promotion(self, live: LiveSession) -> float:
        trips = 0.0
        if live.withdrawing:
            # One that was not answered may still be carried out: behind another change of the cell it cannot.
            trips = (await self._sessions.renew_now(live)).round_trips
            live.withdrawing = False

        def decided(answer: WishAnswer) -> None:
            if isinstance(answer.result, Done):
                live.kind = "promoting"

        answer = await self._combiner.ask(live.state, live.core.promote(), decided=decided)
        if isinstance(answer.result, Refusal):
            raise answer.result.error()
        return trips + answer.round_trips

    def _withdraw_unless_wanted(self, live: LiveSession) -> PendingWish | None:
        """A call that asked for a promotion gives it up; None: others wait for it, or there is nothing to take back."""
        if live.promoters or live.promotion_stays or live.ended or live.kind == "exclusive":
            return None
        return self._withdraw(live, 0)

    def _withdraw(self, live: LiveSession, attempt: int) -> PendingWish | None:
        """Take a promotion back, again and again until it is known to be: as long as it stands, no reader may join."""
        context = self._context
        try:
            wish = live.core.withdraw()
        except PolysiteError:
            return None
        live.withdrawing = True

        def decided(_answer: WishAnswer) -> None:
            live.withdrawing = False
            if live.kind == "promoting":
                live.kind = "shared"

        def failed(_error: PolysiteError) -> None:
            pause_s = min(context.settings.release_retry_s_max, context.settings.release_retry_s * 2**attempt)
            context.timers.after(pause_s, again)

        def again() -> None:
            if live.withdrawing and not live.ended and not context.closing:
                self._withdraw(live, attempt + 1)

        return self._combiner.submit(live.state, wish, decided=decided, failed=failed)

    async def preempt(self, state: KeyState, *, ticket: int | None, ordered_by: str) -> tuple[tuple[int, ...], float]:
        """Drop the holder, or the entry with that ticket, by order. The tickets dropped (none if it was gone)."""
        trips = await self._combiner.look(state, linearizable=True)
        entry = lock_cell.head(state.cell) if ticket is None else lock_cell.entry_by_ticket(state.cell, ticket)
        if entry is None:
            if ticket is None:
                return (), trips
            raise CompareFailed("no entry of the queue has that fencing token")
        wish = Preempt(forced=Identity(entry.ticket, entry.nonce), ordered_by=ordered_by)
        answer = await self._combiner.ask(state, wish)
        if isinstance(answer.result, Refusal):
            raise answer.result.error()
        assert isinstance(answer.result, Preempted)
        return answer.result.dropped, trips + answer.round_trips

    def give_up_request(self, state: KeyState, nonce: bytes, asked_at: int | None = None, attempt: int = 0) -> None:
        """Keep a cancellation pending for an enqueue of which nothing is known, until it has been made or never will be.

        An own change is over once the cell has moved past the version at which it was given up. `asked_at`: the enqueue was
        handed to a steward, who may carry it as long as the cell remembers all that came after this version (I17).
        """
        context = self._context
        if context.closing or attempt > 16:
            return
        state.users += 1
        given_up_at = state.version if asked_at is None else asked_at

        def may_come(answer: WishAnswer) -> bool:
            if asked_at is None:
                return answer.version <= given_up_at
            return lock_cell.reaches_back(answer.cell, answer.version, asked_at)

        def decided(answer: WishAnswer) -> None:
            if isinstance(answer.result, Refusal) and may_come(answer):
                again()
            self._keys.drop(state)

        def failed(_error: PolysiteError) -> None:
            again()
            self._keys.drop(state)

        def again() -> None:
            state.users += 1

            def ask() -> None:
                self.give_up_request(state, nonce, asked_at, attempt + 1)
                self._keys.drop(state)

            pause_s = min(context.settings.release_retry_s_max, context.settings.release_retry_s * 2**attempt)
            context.timers.after(pause_s, ask)

        self._combiner.submit(state, CancelRequest(nonce), decided=decided, failed=failed)


async def _nobody_is_dead(_entry: Entry) -> bool:
    return False


class _Asking:
    """One enqueue under way: what becomes of its entry if the caller gives up in the middle."""

    def __init__(
        self,
        locks: Locks,
        state: KeyState,
        spec: TableSpec,
        kind: str,
        lease_ms: int,
        owner: str | None,
        request_id: bytes,
    ) -> None:
        self._locks = locks
        self._context = context = locks._context  # noqa: SLF001
        self._sessions = locks._sessions  # noqa: SLF001
        self._state = state
        self._spec = spec
        self.live: LiveSession | None = None
        self.repeated = False
        self.shared = False
        self._abandoned = False
        self._elsewhere: Entry | None = None
        self._pending: PendingWish | None = None
        author = context.author
        assert kind in {"exclusive", "shared"}
        drawn = context.randomness.random_bytes(2 * ID_BYTES)
        self._wish = Enqueue(
            request_id=request_id,
            secret=drawn[:ID_BYTES],
            nonce=drawn[ID_BYTES:],
            kind="shared" if kind == "shared" else "exclusive",
            site=author.site,
            process=author.process,
            incarnation=author.incarnation,
            lease_ms=lease_ms,
            owner=owner,
            site_limit=context.site_limit,
        )

    def submit(self) -> PendingWish:
        combiner = self._sessions.combiner
        self._pending = pending = combiner.submit(self._state, self._wish, decided=self._decided, failed=self._failed)
        pending.future = asyncio.get_running_loop().create_future()
        return pending

    async def answer(self, pending: PendingWish) -> WishAnswer:
        assert pending.future is not None
        answer = await pending.future
        result = answer.result
        if isinstance(result, Refusal):
            raise result.error()
        assert isinstance(result, Enqueued)
        if result.gone:
            raise LockLost(
                "the lock that this request acquired has been released or lost",
                fencing_token=result.ticket,
                repeated=True,
            )
        if self.live is None and self._elsewhere is not None:
            self.live = await self._locks.adopt(self._spec, self._state, self._elsewhere)
        if self.live is None:
            raise LockLost(fencing_token=result.ticket)
        return answer

    def abandon(self, pending: PendingWish) -> None:
        """The caller is gone: take the wish back, or let the entry go as soon as it is there."""
        self._abandoned = True
        if pending.sent_s is None and pending in self._state.pending:
            self._state.pending.remove(pending)
        elif self.live is not None and not self.shared:
            self._sessions.release_later(self.live)

    def _decided(self, answer: WishAnswer) -> None:
        result = answer.result
        if not isinstance(result, Enqueued) or result.gone:
            return
        nonce, secret, lease_ms, kind = self._wish.nonce, self._wish.secret, self._wish.lease_ms, self._wish.kind
        if result.repeated:
            self.repeated = True
            entry = lock_cell.entry_by_ticket(answer.cell, result.ticket)
            if entry is None:
                return
            if entry.nonce != nonce:
                # An earlier request with the same id made it; its session is here or elsewhere.
                self.live = self._state.sessions.get(result.ticket)
                self.shared = self.live is not None
                self._elsewhere = None if self.shared else entry
                return
        reference = Reference(self._state.key, result.ticket, secret)
        self.live = self._sessions.register(
            self._state, answer, self._spec, reference, nonce=nonce, kind=kind, lease_ms=lease_ms
        )
        if self._abandoned:
            self._sessions.release_later(self.live)

    def _failed(self, error: PolysiteError) -> None:
        if isinstance(error, OutcomeUnknown):
            pending = self._pending
            asked_at = pending.asked.seen_version if pending is not None and pending.was_handed else None
            self._locks.give_up_request(self._state, self._wish.nonce, asked_at)
