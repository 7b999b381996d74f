"""Contention between sites is kept away from the register: wishes go to the process that changes the key's cell anyway.

    author                                        steward: the head's process, or the last changer of a cell that rests
      wish ─────────────────────────────────────►   notes it
      ◄──────────────────────────────── noted       (keeps it back for its next release, if it does not change who holds)
                                                    makes the change
      ◄────────────────────────── decided cell      pushes the cell to the author, and to the new head

The steward is advice, the register arbitrates: who hears nothing makes an own change, with the same wish id. (locks.md 6.6)
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from polysite.core import combine, lock_cell
from polysite.core.combine import WISHES_MAX, AskedWish, Patience
from polysite.core.lock_cell import Author
from polysite.core.wishes import (
    ID_BYTES,
    QUEUE_MAX,
    Cancel,
    CancelRequest,
    Enqueue,
    Identity,
    Leave,
    Refusal,
    Renew,
    Result,
)
from polysite.errors import BadRequest, PolysiteError
from polysite.site import peers
from polysite.site.context import SiteContext
from polysite.site.keys import UNSEEN, KeyState, KeyTable
from polysite.site.peers import Noted, PeerChannel, Push, WishMessage
from polysite.site.wishing import Handing, PendingWish
from polysite.values.keys import LockKey

_Wish = TypeVar("_Wish", PendingWish, AskedWish)

HANDED = (Enqueue, Leave, Cancel, CancelRequest, Renew)
"""Wishes that a steward carries for others. A preemption or take-over says that he is dead, and goes its own way. So do a
promotion and its withdrawal: in another order than they were asked they mean something else, and two roads keep no order."""

STEWARDS_MAX = 3
"""So many processes are asked in turn, each named by a newer cell, before a wish goes its own way."""

PUSH_ANSWER_S = 1.0

STALLED_S = 0.5
GRACE_S = 0.2
"""Whose timers are so late was stopped or is busy: what was answered meanwhile has so long to be taken in before anybody counts as silent."""

KNOWN_MAX = 256
"""Processes of which it is remembered when they answered, or that they did not; what is oldest is forgotten first."""


class Stewards:
    """Both ends of the steward rule. Without a channel, or with one site (W = 0), every process makes its own changes."""

    def __init__(self, context: SiteContext, keys: KeyTable) -> None:
        self._context = context
        self._clock = context.clock
        self._keys = keys
        self._patience: dict[str, Patience] = {}
        """By site."""
        self._silent: dict[Author, float] = {}
        """Who was asked to carry wishes lately and did not say that he does; until when nobody asks him again."""
        self._heard_s: dict[Author, float] = {}
        """When it answered last."""
        self.channel: Callable[[], PeerChannel | None] = lambda: None
        self.address_of: Callable[[Author], Awaitable[str | None]] = _nowhere
        self.own_address: Callable[[], str | None] = lambda: None
        self.start: Callable[[KeyState], None] = lambda _state: None
        """Has the pending wishes of a key seen to; the combiner's, as the next three are."""
        self.take: Callable[[KeyState, int, bytes], None] = lambda _state, _version, _content: None
        self.look: Callable[[KeyState], Awaitable[float]] = _no_look
        self.engine_is_away = False
        """The last time that the engine was asked for a cell, or to change one, it could not be."""
        self.decide: Callable[[KeyState, PendingWish, Result, float], None] = lambda *_: None

    # where a wish goes

    def elsewhere(self, state: KeyState) -> Author | None:
        """The other process that carries wishes for this key by the newest view; None: this one changes the cell itself."""
        steward = self._steward_of(state)
        return None if steward == self._context.author else steward

    def _steward_of(self, state: KeyState) -> Author | None:
        rtt_s = self._context.rtt_s
        if not rtt_s or self.channel() is None:
            return None
        idle_s = self._clock.monotonic_s() - state.changed_s
        return combine.steward_of(state.cell, idle_s=idle_s, rtt_s=rtt_s, is_silent=self._is_silent)

    def route(self, state: KeyState) -> None:
        """Sort the pending wishes of a key whose cell is known: what is left in `pending` goes into an own change now."""
        if not self._context.is_wide:
            return
        steward = self.elsewhere(state)
        if steward is None:
            self._keep_back(state)
            return
        self._gather(state)
        own = [item for item in state.pending if item.own and not item.alone and isinstance(item.asked.wish, HANDED)]
        if own:
            self._hand(state, steward, own)
        late = [item for item in state.pending if not item.own and not item.alone]
        if late:
            self._hand_on(state, steward, late)

    def _hand(self, state: KeyState, steward: Author, wishes: list[PendingWish]) -> None:
        """Hand over; whatever becomes of the message, each wish goes its own way unless it is noted in time."""
        now_s = self._clock.monotonic_s()
        noted_s = combine.noted_within_s(self._context.trip_s(steward.site)) + self.beyond_s(steward)
        for item in wishes:
            state.pending.remove(item)
            state.handed[item.asked.wish_id] = item
            item.stewards += 1
            # The lease counts from here: the steward's change comes later.
            item.sent_s = now_s if item.sent_s is None else item.sent_s
            item.was_handed = True
            self._alone_in(state, item, noted_s + self._jitter_s(item))
        state.users += len(wishes)
        for some in _in_messages(wishes):
            handing = Handing(steward, some, now_s)
            for item in some:
                item.handing = handing
            self._context.background(self._send(state, handing), name="site-wish")
            self._unheard_in(state, handing, noted_s)

    def outrun(self, state: KeyState) -> None:
        """An own change came too late, for another process had changed the cell: that one is awake, so what went its own way is handed
        over again. Each change of its own would stand in the other's way, who would stand in its."""
        for item in state.pending:
            if item.alone and item.stewards < STEWARDS_MAX:
                item.alone = False
        self.route(state)

    async def _send(self, state: KeyState, handing: Handing) -> None:
        steward = handing.steward
        asked = [item.asked for item in handing.wishes]
        noted = await self._ask_until_known(steward, state, asked, answer_to=self.own_address() or "", handing=handing)
        if noted is None:
            handing.heard = False
            self._unheard(state, handing)
            return
        handing.heard = True
        if noted.noted:
            for item in self._open(handing):
                self._alone_in(state, item, combine.decided_within_s(self._context.rtt_s, self.beyond_s(steward)))
            return
        with contextlib.suppress(PolysiteError):  # a cell that cannot be read here tells nothing
            self.take(state, noted.version, noted.content)
        if self.elsewhere(state) == steward:
            # By the newest cell it is the steward, and does not carry: its engine is away, or its queue is full.
            self._note_silence(steward)
        self._hand_over_again(state, handing)

    def _unheard_in(self, state: KeyState, handing: Handing, delay_s: float) -> None:
        due_s = self._clock.monotonic_s() + delay_s

        def over() -> None:
            if self._stalled(due_s):
                self._unheard_in(state, handing, GRACE_S)
            else:
                self._unheard(state, handing)

        self._context.timers.at(due_s, over)

    def _stalled(self, due_s: float) -> bool:
        return self._clock.monotonic_s() - due_s > STALLED_S

    def _unheard(self, state: KeyState, handing: Handing) -> None:
        """The steward did not say in time that it carries these: it counts as silent, and whoever is steward without it carries them."""
        if self._heard_s.get(handing.steward, -1.0) >= handing.sent_s:
            return  # it is slow, and answers others: what was asked goes its own way when its turn comes
        if not handing.heard and self._open(handing):
            self._note_silence(handing.steward)
            self._hand_over_again(state, handing)

    def _hand_over_again(self, state: KeyState, handing: Handing) -> None:
        """To whoever is steward now; where nobody is, or too many were asked, each goes its own way when its turn comes."""
        steward = self._steward_of(state)
        for item in self._open(handing):
            if steward == self._context.author or (
                steward not in {None, handing.steward} and item.stewards < STEWARDS_MAX
            ):
                self._take_back(state, item)
            else:
                self._alone_in(state, item, self._jitter_s(item))

    def _is_silent(self, process: Author) -> bool:
        until_s = self._silent.get(process)
        return until_s is not None and self._clock.monotonic_s() < until_s

    def _note_silence(self, process: Author) -> None:
        if process == self._context.author or self._is_silent(process):
            return
        self._silent.pop(process, None)
        self._silent[process] = self._clock.monotonic_s() + combine.silent_for_s(self._context.rtt_s)
        if len(self._silent) > KNOWN_MAX:
            del self._silent[next(iter(self._silent))]

    def beyond_s(self, steward: Author) -> float:
        """How much longer than the round trip that site's processes took to answer lately (`Patience`)."""
        patience = self._patience.get(steward.site)
        return 0.0 if patience is None else patience.beyond_s(self._context.trip_s(steward.site))

    def _alone_in(self, state: KeyState, item: PendingWish, delay_s: float) -> None:
        if item.timer is not None:
            item.timer.cancel()
        item.timer = self._context.timers.after(delay_s, partial(self._go_alone, state, item))

    def _jitter_s(self, item: PendingWish) -> float:
        fraction = self._context.randomness.uniform(0.0, 0.999)
        return combine.own_attempt_delay_s(self._context.rtt_s, item.stewards, fraction)

    async def _ask_until_known(
        self,
        steward: Author,
        state: KeyState,
        wishes: Sequence[AskedWish],
        *,
        answer_to: str,
        handing: Handing | None = None,
    ) -> Noted | None:
        """As `_ask`. Who does not know the cell yet that makes him the steward is told it, and asked again. `handing` None: the wishes are
        others', handed on."""
        forwarded = handing is None
        noted = await self._ask(steward, state, wishes, answer_to=answer_to, forwarded=forwarded)
        if noted is None or noted.noted or noted.version >= state.version or self.elsewhere(state) != steward:
            return noted
        if handing is not None:
            handing.heard = True
            noted_s = combine.noted_within_s(self._context.trip_s(steward.site)) + self.beyond_s(steward)
            for item in self._open(handing):
                self._alone_in(state, item, noted_s + self._jitter_s(item))
        push = state.told or Push(state.encoded, state.version, lock_cell.encode(state.cell))
        return await self._ask(steward, state, wishes, answer_to=answer_to, forwarded=forwarded, push=push)

    async def _ask(
        self,
        steward: Author,
        state: KeyState,
        wishes: Iterable[AskedWish],
        *,
        answer_to: str,
        forwarded: bool,
        push: Push | None = None,
    ) -> Noted | None:
        """The steward's answer, None if there was none in time."""
        first = lock_cell.head(state.cell)
        instead = first is not None and steward != Author(first.site, first.process, first.incarnation)
        message = WishMessage(state.encoded, tuple(wishes), answer_to, forwarded, push or state.told, instead)
        within_s = combine.noted_within_s(self._context.trip_s(steward.site)) + self.beyond_s(steward)
        if not forwarded:
            # Whoever goes on without the answer still hears how long it took. Of what is handed on somebody else waits for the answer.
            within_s = max(combine.NOTED_S_MAX, within_s)
        sent_s = self._clock.monotonic_s()
        try:
            channel, address = self.channel(), await self.address_of(steward)
            if channel is None or address is None:
                return None
            body = await channel.send(address, "wish", peers.encode(message), answer_s=within_s)
            noted = msgspec.msgpack.decode(body, type=Noted)
            self._silent.pop(steward, None)
            self._heard_s.pop(steward, None)
            self._heard_s[steward] = self._clock.monotonic_s()
            if len(self._heard_s) > KNOWN_MAX:
                del self._heard_s[next(iter(self._heard_s))]
            if not forwarded:
                now_s = self._clock.monotonic_s()
                self._patience.setdefault(steward.site, Patience()).answered(now_s - sent_s, now_s)
            return noted
        except (PolysiteError, msgspec.DecodeError):
            return None  # whether it was noted is for the cell to tell

    def _open(self, handing: Handing) -> list[PendingWish]:
        """Those that were not handed on, taken back or decided since."""
        return [item for item in handing.wishes if item.handing is handing]

    def _go_alone(self, state: KeyState, item: PendingWish) -> None:
        """The steward was silent for too long: an own change, with the same wish id."""
        if state.handed.get(item.asked.wish_id) is item:
            if item.timer is not None and self._stalled(item.timer.due_s):
                self._alone_in(state, item, GRACE_S)
                return
            item.alone = True
            if item.handing is not None:
                self._note_silence(item.handing.steward)
            self._take_back(state, item)

    def _take_back(self, state: KeyState, item: PendingWish) -> None:
        self._end(state, item)
        state.pending.append(item)
        self.start(state)
        self._keys.drop(state)

    def _end(self, state: KeyState, item: PendingWish) -> None:
        """No longer handed; whoever calls it drops the key afterwards."""
        del state.handed[item.asked.wish_id]
        item.handing = None
        if item.timer is not None:
            item.timer.cancel()
            item.timer = None

    def seen(self, state: KeyState) -> None:
        """A newer cell is known: those of the handed wishes that it says are decided are told so."""
        cell, version = state.cell, state.version
        for wish_id, item in list(state.handed.items()):
            result = lock_cell.find_wish(cell, wish_id)
            if result is None and not lock_cell.reaches_back(cell, version, item.asked.seen_version):
                traced = combine.trace(item.asked.wish, cell)
                result = None if isinstance(traced, Refusal) else traced
            if result is None:
                continue
            self._end(state, item)
            # The way there and back, and what the steward's change cost.
            self.decide(state, item, result, 1 + self._context.cells.costs.compare_and_set)
            self._keys.drop(state)

    def close(self, state: KeyState) -> list[PendingWish]:
        """The process ends: what was handed over and not decided, and what was kept back."""
        handed, kept = list(state.handed.values()), list(state.kept)
        for item in handed:
            self._end(state, item)
            self._keys.drop(state)
        if state.kept_timer is not None:
            state.kept_timer.cancel()
            state.kept_timer = None
            state.kept.clear()
            self._keys.drop(state)
        return handed + kept

    # the steward's end

    async def note(self, message: WishMessage) -> Noted:
        """Take wishes of another process in, if this one is their key's steward by its newest view; else they are handed on
        once, or its author is told the newest cell; so he is if more wait here than a queue may hold. BadRequest: no steward
        carries these."""
        _check(message)
        state = self._keys.take(LockKey.decode(message.key), message.key)
        try:
            if state.version == UNSEEN:
                await self.look(state)
            if message.push is not None and message.push.key == message.key:
                with contextlib.suppress(PolysiteError):  # a cell that cannot be read here tells nothing
                    self.take(state, message.push.version, message.push.content)
            if state.observation is not None:
                now_s = self._clock.monotonic_s()
                state.observation.feed(state.cell.queue, now_s)
                state.observation.heard(_renewed(message), now_s)
            steward = self.elsewhere(state)
            if self.engine_is_away or any(asked.seen_version > state.version for asked in message.wishes):
                pass  # somebody else can change the cell; or its author knows a newer one, and tells it when he hears that
            elif steward is None:
                if self._carry(state, message.wishes, message.answer_to):
                    return Noted(True, state.version, b"")
            elif message.instead and not message.forwarded:
                # Its author would not wait for the answer of one more.
                passed_on = self._pass_on(state, steward, message.wishes, message.answer_to)
                self._context.background(passed_on, name="site-wish-passed-on")
                return Noted(True, state.version, b"")
            elif not message.forwarded:
                noted = await self._ask(steward, state, message.wishes, answer_to=message.answer_to, forwarded=True)
                if noted is not None and noted.noted:
                    return noted
            return Noted(False, state.version, lock_cell.encode(state.cell))
        finally:
            self._keys.drop(state)

    async def _pass_on(self, state: KeyState, steward: Author, wishes: Sequence[AskedWish], answer_to: str) -> None:
        """Wishes of others that were noted here, to another who carries them: the head, which this process hears or has not asked lately, or
        the steward of a newer cell. If he is not heard, and this process is whom those ask who do not hear him, it carries them."""
        self._keys.keep(state)
        try:
            noted = await self._ask_until_known(steward, state, wishes, answer_to=answer_to)
            if noted is None or (not noted.noted and self.elsewhere(state) == steward):
                self._note_silence(steward)
                if self.elsewhere(state) is None:
                    self._carry(state, wishes, answer_to)
        finally:
            self._keys.drop(state)

    def _carry(self, state: KeyState, wishes: Sequence[AskedWish], answer_to: str) -> bool:
        """Take them in; False: more wait here than a queue may hold."""
        if len(state.pending) + len(state.kept) >= QUEUE_MAX:
            return False
        known = {item.asked.wish_id for item in (*state.pending, *state.kept)}
        decided = False
        for asked in wishes:
            if lock_cell.find_wish(state.cell, asked.wish_id) is not None:
                decided = True
            elif asked.wish_id not in known:
                state.pending.append(
                    PendingWish(asked, state.trips, None, None, own=False, answer_to=answer_to, stewards=1)
                )
        if decided:
            self.tell(state, [answer_to])
        if state.pending:
            self.start(state)
        return True

    def _hand_on(self, state: KeyState, steward: Author, wishes: list[PendingWish]) -> None:
        """Wishes of others that came too late, or were kept for too long: the new steward carries them, or who does not hear him."""
        by_author: dict[str, list[AskedWish]] = {}
        for item in wishes:
            state.pending.remove(item)
            by_author.setdefault(item.answer_to, []).append(item.asked)
        for answer_to, asked in by_author.items():
            for some in _in_messages(asked):
                self._context.background(self._pass_on(state, steward, some, answer_to), name="site-wish-handed-on")

    # keeping back

    def _keep_back(self, state: KeyState) -> None:
        """While a session of this process is at the head, wishes that do not change who holds wait for its release or renewal,
        4 W at most: each change of its own would stand in the release's way."""
        if state.pending and all(self._may_wait(state, item) for item in state.pending):
            state.kept += state.pending
            state.pending.clear()
            if state.kept_timer is None:
                state.users += 1
                rtt_s = self._context.rtt_s
                state.kept_timer = self._context.timers.after(combine.keep_back_s(rtt_s), partial(self._release, state))
        elif state.pending:
            self._gather(state)

    def _may_wait(self, state: KeyState, item: PendingWish) -> bool:
        head = lock_cell.head(state.cell)
        live = None if head is None else state.sessions.get(head.ticket)
        wish = item.asked.wish
        if live is None or live.ended or item.was_kept or (item.own and not isinstance(wish, Enqueue)):
            return False
        return isinstance(wish, HANDED) and combine.may_keep_back(state.cell, wish)

    def _release(self, state: KeyState) -> None:
        """They have waited long enough."""
        self._gather(state)
        if state.pending:
            self.start(state)

    def _gather(self, state: KeyState) -> None:
        """Put what was kept back in front of what is pending: it came earlier."""
        if state.kept_timer is None:
            return
        state.kept_timer.cancel()
        state.kept_timer = None
        for item in state.kept:
            item.was_kept = True
        state.pending[:0] = state.kept
        state.kept.clear()
        if state.pending and not state.driving:
            self.start(state)
        self._keys.drop(state)

    # telling

    def tell(self, state: KeyState, addresses: Sequence[str], push: Push | None = None) -> None:
        """Push the cell (None: as it is now) to these processes; a lost one costs time only."""
        if self.channel() is None or self._context.closing:
            return
        body = peers.encode(push or Push(state.encoded, state.version, lock_cell.encode(state.cell)))
        for address in dict.fromkeys(addresses):
            if address and address != self.own_address():
                self._context.background(self._push(address, body), name="site-push")

    async def _push(self, address: str, body: bytes) -> None:
        channel = self.channel()
        if channel is not None:
            try:
                await channel.send(address, "push", body, answer_s=PUSH_ANSWER_S)
            except PolysiteError:
                return  # it looks at its cell now and then


def _check(message: WishMessage) -> None:
    """BadRequest for what no process of ours sends: it must not come into a change beside the wishes of others."""
    if len(message.wishes) > WISHES_MAX:
        raise BadRequest(f"a message carries at most {WISHES_MAX} wishes")
    for asked in message.wishes:
        wish = asked.wish
        if not isinstance(wish, HANDED):
            raise BadRequest("no steward carries wishes of this kind")
        if len(asked.wish_id) != ID_BYTES or (isinstance(wish, Enqueue) and len(wish.request_id) not in {0, ID_BYTES}):
            raise BadRequest("ids of wishes and requests have a fixed length")


def _renewed(message: WishMessage) -> list[Identity]:
    """The entries of which a beat is asked for: they live."""
    return [entry for asked in message.wishes if isinstance(asked.wish, Renew) for entry in asked.wish.entries]


def _in_messages(wishes: list[_Wish]) -> list[list[_Wish]]:
    return [wishes[start : start + WISHES_MAX] for start in range(0, len(wishes), WISHES_MAX)]


async def _nowhere(_steward: Author) -> str | None:
    return None


async def _no_look(_state: KeyState) -> float:
    return 0.0
