"""The sessions that this process serves: what it adds to `core.session` is waiting, beats, and the client's signs of life."""

import asyncio
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import msgspec

from polysite.core import lock_cell
from polysite.core.lease import ClientLife
from polysite.core.session import Session
from polysite.core.wishes import Cancel, Done, Identity, Leave, Refusal, ReleaseClean, ReleaseDirty, Renew, Renewed
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError
from polysite.site.combining import Combiner
from polysite.site.context import SiteContext
from polysite.site.keys import KeyState, KeyTable, Parting
from polysite.site.wishing import PendingWish, WishAnswer
from polysite.values.keys import Reference
from polysite.values.tables import TableSpec

T = TypeVar("T")

HOLDING = frozenset({"shared", "first", "exclusive"})
BEAT_RETRY = 1 / 12
"""After this part of the lease a beat that failed is sent again."""
BEAT_UNDER_WAY = 1 / 4
"""One that was handed to a steward is under way for this part of the lease before the next is sent."""


class LiveSession(msgspec.Struct, eq=False):
    """One lock reference, served here. `core` decides; this is who waits for it and how long it lives."""

    state: KeyState
    core: Session
    reference: Reference
    kind: str
    lease_ms: int
    life: ClientLife
    open_calls: int = 0
    """Calls under way, each of which shows that the client lives."""
    ended: bool = False
    """A release was planned: the session serves nobody any more."""
    unasked: bool = False
    """Its client had not asked for that end: whatever it asks from then on, it has lost the lock."""
    end_waiters: "list[asyncio.Future[WishAnswer]]" = []
    op_waiters: "dict[int, list[asyncio.Future[None]]]" = {}
    standing_waiters: "list[asyncio.Future[None]]" = []
    extending: bool = False
    renewed: "asyncio.Future[float] | None" = None
    """Done when one of the renewals that were sent by themselves and are not decided yet is, with its round trips."""
    promoters: int = 0
    """Calls that wait for the session to be promoted."""
    promotion_stays: bool = False
    """The promotion is not taken back when nobody waits for it: its client asks again."""
    withdrawing: bool = False
    """A promotion is being taken back, and it is not known yet that it was."""
    text: str = ""
    """The reference as it was handed out, once it was."""
    lease_turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """Changes of the lease are made one after the other."""

    def __repr__(self) -> str:
        # The text of the reference is as good as the lock.
        return f"LiveSession({self.state.key}, {self.reference!r})"

    @property
    def holds(self) -> bool:
        return not self.ended and self.core.standing in HOLDING

    @property
    def lost(self) -> bool:
        return self.core.standing == "lost"

    def stands_exclusive(self) -> bool:
        return self.core.standing == "exclusive"

    @property
    def identity(self) -> Identity:
        return Identity(self.core.ticket, self.core.nonce)

    def op_ended(self, op: int) -> None:
        """A read or write of the session is over: whoever waited for it plans again."""
        for waiter in self.op_waiters.pop(op, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait_ops(self, ops: Iterable[int]) -> None:
        """Wait until all of these reads and writes are over."""
        loop = asyncio.get_running_loop()
        waiters: list[asyncio.Future[None]] = []
        for op in ops:
            waiter = loop.create_future()
            self.op_waiters.setdefault(op, []).append(waiter)
            waiters.append(waiter)
        for waiter in waiters:
            await waiter

    def standing_changed(self) -> None:
        """The session became a holder, or was lost."""
        waiters = self.standing_waiters
        if not waiters:
            return
        self.standing_waiters = []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def lost_error(self) -> LockLost:
        return LockLost(fencing_token=self.core.ticket)


class Sessions:
    """All sessions of this process: registered when their entry is known, forgotten when it is gone."""

    def __init__(self, context: SiteContext, keys: KeyTable) -> None:
        self._context = context
        self._clock = context.clock
        self.keys = keys
        self.combiner = Combiner(context, self.seen, keys)
        self.count = 0
        self._by_text: dict[str, LiveSession] = {}
        """Sessions by the text of the reference that was handed out: a call with it need not be taken apart."""
        self.emptied: asyncio.Future[None] | None = None
        """Set when the last session is gone, for whoever waits for that."""

    def register(
        self,
        state: KeyState,
        answer: WishAnswer,
        table: TableSpec,
        reference: Reference,
        *,
        nonce: bytes,
        kind: str,
        lease_ms: int,
    ) -> LiveSession:
        """The session of an entry that this process just made or took over. Lease and beats count from the sending of the wish:
        others may have seen the entry since then."""
        now_s = self._clock.monotonic_s()
        core = Session(
            table=table,
            ticket=reference.ticket,
            nonce=nonce,
            version=answer.version,
            cell=answer.cell,
            settings=self._context.session_settings,
        )
        core.lease_applied(answer.sent_s)
        life = ClientLife(lease_ms / 1000, now_s, answer.sent_s)
        live = LiveSession(state, core, reference, kind, lease_ms, life)
        if core.standing == "lost":
            live.ended = True
            return live
        old = state.sessions.get(reference.ticket)
        if old is None:
            state.users += 1
            self.count += 1
        else:
            old.ended = True
            old.standing_changed()
        state.sessions[reference.ticket] = live
        self._arm_beat(state, now_s)
        if core.standing in HOLDING:
            self._granted(live)
        return live

    def hand_out(self, live: LiveSession) -> str:
        """The text of the session's reference."""
        if not live.text:
            live.text = live.reference.spell(live.state.encoded)
            if live.state.sessions.get(live.reference.ticket) is live:
                self._by_text[live.text] = live
        return live.text

    def by_text(self, text: str) -> LiveSession | None:
        """The session whose reference was handed out as `text`, as long as it lives here."""
        return self._by_text.get(text)

    def forget(self, live: LiveSession) -> None:
        """The entry is gone, or somebody else's."""
        state = live.state
        live.ended = True
        if live.text:
            self._by_text.pop(live.text, None)
        if state.sessions.get(live.reference.ticket) is not live:
            return
        del state.sessions[live.reference.ticket]
        self.count -= 1
        if not self.count and self.emptied is not None and not self.emptied.done():
            self.emptied.set_result(None)
        live.standing_changed()
        if not state.sessions and state.beat_timer is not None:
            state.beat_timer.cancel()
            state.beat_timer = None
        self.keys.drop(state)

    def seen(self, state: KeyState) -> None:
        """A newer cell is known: tell the sessions whose standing it may change. Waiters that only moved up are not asked."""
        sessions = state.sessions
        if not sessions:
            return
        cell, version = state.cell, state.version
        if len(sessions) == 1:
            (only,) = sessions.values()
            if only.core.version >= version:
                return  # it was made from this very cell
        concerned = [live for entry in lock_cell.holders(cell) if (live := sessions.get(entry.ticket)) is not None]
        present = {entry.ticket: entry.nonce for entry in cell.queue}
        if len(sessions) > len(concerned):
            for ticket, live in sessions.items():
                if present.get(ticket) != live.core.nonce or (
                    live.core.standing != "waiting" and live not in concerned
                ):
                    concerned.append(live)
        for live in concerned:
            before = live.core.standing
            after = live.core.observe(version, cell)
            if after == "lost":
                self._lost(live)
            elif before == "waiting" and after != "waiting":
                self._granted(live)
                live.standing_changed()
            elif before != after:
                live.standing_changed()

    def _granted(self, live: LiveSession) -> None:
        # The client may have been silent while it waited in the queue: its lease as a holder starts now.
        live.life.sign(self._clock.monotonic_s())
        if self._context.events.heard:
            self.tell("granted", live)

    def _lost(self, live: LiveSession) -> None:
        if not live.ended and self._context.events.heard:
            self.tell("lost", live)
        self.forget(live)

    def tell(
        self,
        kind: Literal["granted", "lost", "preempted", "released"],
        live: LiveSession,
        detail: str | None = None,
    ) -> None:
        """Tell an event of a session."""
        events = self._context.events
        if not events.heard:
            return
        table = live.core.table
        key = {
            name: table.types[name].deserialise(data)
            for name, data in zip(table.locked_names, live.state.key.columns, strict=True)
        }
        events.tell(
            events.make(
                kind,
                keyspace=table.keyspace,
                table=table.name,
                key=key,
                fencing_token=live.reference.ticket,
                detail=detail,
            )
        )

    # the end of a tenure

    async def release(self, live: LiveSession) -> WishAnswer:
        """End the tenure and wait for it, or for the end that was asked for before; LockLost if it was over already,
        OutcomeUnknown if that cannot be known. Whoever waits may give up: what becomes of the entry does not depend on that."""
        again = not live.ended
        wish = self._end(live) if again else live.core.plan_release()
        waiter: asyncio.Future[WishAnswer] = asyncio.get_running_loop().create_future()
        live.end_waiters.append(waiter)
        try:
            self._submit_release(live, wish, 0, again=again, waiter=waiter)
            answer = await waiter
        finally:
            live.end_waiters.remove(waiter)
        if isinstance(answer.result, Done):
            self.tell("released", live)
            return answer
        assert isinstance(answer.result, Refusal)
        if answer.result.code == "expired":
            raise OutcomeUnknown("whether the lock was released is not known yet")
        raise live.lost_error()

    def release_later(self, live: LiveSession, *, detail: str | None = None) -> None:
        """End the tenure in the background; retried until it is known to be over. `detail`: why, if its client did not ask for it."""
        if live.ended:
            return
        live.unasked = detail is not None
        try:
            wish = self._end(live)
        except LockLost:
            self.forget(live)
            return
        self.tell("released", live, detail)
        self._submit_release(live, wish, 0)

    def _end(self, live: LiveSession) -> ReleaseClean | ReleaseDirty | Leave | Cancel:
        if live.ended:
            raise live.lost_error()
        wish = live.core.plan_release()
        if self._context.is_wide and isinstance(wish, ReleaseClean):
            core = live.core
            live.state.parting = Parting(core.ticket, core.table.making, core.parting_rows())
        live.ended = True
        live.standing_changed()
        return wish

    def _submit_release(
        self,
        live: LiveSession,
        wish: Any,
        attempt: int,
        *,
        again: bool = True,
        waiter: "asyncio.Future[WishAnswer] | None" = None,
    ) -> None:
        """Ask for the end of a tenure; with `again` until it is known to be over, whether anybody waits for it or not. `waiter`
        is told what became of this wish; whoever else waits, when the tenure is over."""

        def decided(answer: WishAnswer) -> None:
            expired = isinstance(answer.result, Refusal) and answer.result.code == "expired"
            if expired and again:
                self._again_later(live, wish, attempt)
            elif not expired:
                self.forget(live)
            for told in live.end_waiters:
                if not told.done() and (told is waiter or not expired):
                    told.set_result(answer)

        def failed(error: PolysiteError) -> None:
            if again:
                self._again_later(live, wish, attempt)
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

        self.combiner.submit(live.state, wish, decided=decided, failed=failed)

    def _again_later(self, live: LiveSession, wish: Any, attempt: int) -> None:
        """Whether a release happened is not known: the entry's absence needs no further release, its presence does."""
        if self._context.closing:
            return
        settings = self._context.settings
        pause_s = min(settings.release_retry_s_max, settings.release_retry_s * 2**attempt)

        def again() -> None:
            if live.state.sessions.get(live.reference.ticket) is live:
                self._submit_release(live, wish, attempt + 1)

        self._context.timers.after(pause_s, again)

    # beats

    def _arm_beat(self, state: KeyState, now_s: float, *, at_least_s: float = 0.0) -> None:
        next_s = float("inf")
        for live in state.sessions.values():
            if not live.ended:
                next_s = min(next_s, live.life.next_event_s(now_s))
        if next_s == float("inf"):
            return
        due_s = now_s + max(next_s, at_least_s)
        timer = state.beat_timer
        if timer is not None and timer.callback is not None:
            if timer.due_s <= due_s:
                return
            timer.cancel()
        state.beat_timer = self._context.timers.at(due_s, lambda: self._beat(state))

    def _beat(self, state: KeyState) -> None:
        """Renew every entry of this process whose client lives, in one wish, and end those whose client does not."""
        state.beat_timer = None
        now_s = self._clock.monotonic_s()
        alive: list[LiveSession] = []
        due = False
        shortest_s = 3600.0
        for live in list(state.sessions.values()):
            if live.ended:
                continue
            if live.open_calls:
                live.life.sign(now_s)
            if live.life.is_dead(now_s):
                if self._context.events.heard:
                    self.tell("lost", live, "the client showed no sign of life for its lease")
                self.release_later(live, detail="the client showed no sign of life for its lease")
                continue
            alive.append(live)
            due = due or live.life.beat_due(now_s)
            shortest_s = min(shortest_s, live.life.lease_s)
        if due:
            self._renew(state, alive)
        self._arm_beat(state, now_s, at_least_s=shortest_s * BEAT_RETRY)

    def _renew(self, state: KeyState, alive: list[LiveSession]) -> None:
        identities = tuple(live.identity for live in alive)
        if any(_is_unsent_renewal(pending, identities) for pending in state.pending):
            return  # a change that is not answered holds all up; one renewal behind it is enough
        since_s = self._clock.monotonic_s() - min(live.life.lease_s for live in alive) * BEAT_UNDER_WAY
        if any(_is_renewal_since(since_s, handed, identities) for handed in state.handed.values()):
            return  # it goes its own way by itself if its steward is silent; a second one would be one more change
        renewed: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        for live in alive:
            if live.renewed is None or live.renewed.done():
                live.renewed = renewed

        def failed(_error: PolysiteError) -> None:
            _tell(renewed, 0.0)

        def decided(answer: WishAnswer) -> None:
            if isinstance(answer.result, Renewed):
                tickets = set(answer.result.tickets)
                for live in alive:
                    if live.reference.ticket in tickets:
                        live.core.lease_applied(answer.sent_s)
                        live.life.beat_sent(answer.sent_s)
                        if live.renewed is not None:
                            # An earlier one may still be on its way through a steward that is silent: nobody need wait for it.
                            _tell(live.renewed, answer.round_trips)
            _tell(renewed, answer.round_trips)

        self.combiner.submit(state, Renew(identities), decided=decided, failed=failed)

    async def set_lease(self, live: LiveSession, lease_ms: int) -> WishAnswer | None:
        """Give an entry another lease; None: it has it. LockLost if the entry is gone, OutcomeUnknown if it cannot be known: then
        the shorter of the two counts."""
        lease_s = lease_ms / 1000
        async with live.lease_turn:
            if live.lease_ms == lease_ms and live.core.lease_s == lease_s:
                return None
            live.core.lease_asked(lease_s)
            live.life.lease_s = live.core.lease_s
            self._arm_beat(live.state, self._clock.monotonic_s())

            def decided(answer: WishAnswer) -> None:
                result = answer.result
                applied = isinstance(result, Renewed) and live.reference.ticket in result.tickets
                live.core.lease_answered(lease_s, answer.sent_s, applied=applied)
                if applied:
                    live.lease_ms = lease_ms
                    live.life.beat_sent(answer.sent_s)
                live.life.lease_s = live.core.lease_s
                self._arm_beat(live.state, self._clock.monotonic_s())

            answer = await self.combiner.ask(live.state, Renew((live.identity,), lease_ms), decided=decided)
            if live.lease_ms != lease_ms:
                raise live.lost_error()
            return answer

    async def reassure(self, live: LiveSession) -> float:
        """Have the lease counted anew, for an answer that may be given inside it alone; the round trips. A renewal that is under way does
        that, since it counts from its sending: that of an entry that took longer than its lease to be made, or of a process that was stopped.
        Where it does not help, or there is none, as `renew_now`."""
        trips = 0.0
        if live.renewed is not None and not live.renewed.done():
            trips = await self._unless_lost(live, asyncio.shield(live.renewed))
            if not live.ended and live.core.may_answer_done(self._clock.monotonic_s()):
                return trips
        return trips + (await self.renew_now(live)).round_trips

    async def renew_now(self, live: LiveSession) -> WishAnswer:
        """Renew one entry and wait for it; LockLost if it is gone, OutcomeUnknown if that cannot be known."""
        pending = self.combiner.submit(live.state, Renew((live.identity,)))
        pending.future = asyncio.get_running_loop().create_future()
        answer = await self._unless_lost(live, pending.future)
        if isinstance(answer.result, Renewed) and live.reference.ticket in answer.result.tickets:
            live.core.lease_applied(answer.sent_s)
            live.life.beat_sent(answer.sent_s)
            return answer
        raise live.lost_error()

    async def _unless_lost(self, live: LiveSession, renewed: "asyncio.Future[T]") -> T:
        """What a renewal comes to; LockLost as soon as the entry is seen to be gone: the steward that carries the renewal changes nothing for
        it, and need not tell."""
        try:
            while not renewed.done():
                if live.lost:
                    raise live.lost_error()
                changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                live.standing_waiters.append(changed)
                try:
                    await asyncio.wait((renewed, changed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if changed in live.standing_waiters:
                        live.standing_waiters.remove(changed)
            return renewed.result()
        finally:
            renewed.cancel()


def _is_unsent_renewal(pending: PendingWish, identities: tuple[Identity, ...]) -> bool:
    """Whether it renews all of these, and its lease counts from when it will be sent."""
    wish = pending.asked.wish
    return pending.own and pending.sent_s is None and isinstance(wish, Renew) and set(identities) <= set(wish.entries)


def _tell(waited_for: "asyncio.Future[float]", trips: float) -> None:
    if not waited_for.done():
        waited_for.set_result(trips)


def _is_renewal_since(since_s: float, handed: PendingWish, identities: tuple[Identity, ...]) -> bool:
    """Whether it renews all of these with a lease that counts from later than that."""
    wish = handed.asked.wish
    return (
        isinstance(wish, Renew)
        and handed.sent_s is not None
        and handed.sent_s >= since_s
        and set(identities) <= set(wish.entries)
    )
