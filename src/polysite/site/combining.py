"""Changes of cells: the wishes of this process for one key are gathered into one compare-and-set at a time.

What a change is, and what became of one that was not answered, is decided in `core.combine`; here it is carried out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from polysite.cells.contract import CONTENDED, CellAnswer, CellView
from polysite.core import combine, lock_cell
from polysite.core.combine import WISHES_MAX, AskedWish, Change, Happened, NotMade, SendAgain, Undecided
from polysite.core.wishes import Cancel, Enqueue, Leave, Refusal, Result, Wish, unknown
from polysite.errors import Expired, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site.context import SiteContext
from polysite.site.keys import LONG_AGO, UNSEEN, KeyState, KeyTable
from polysite.site.stewards import Stewards
from polysite.site.wishing import PendingWish, WishAnswer

_log = logging.getLogger(__name__)

RESOLVE_ATTEMPTS_MAX = 8
RESOLVE_PAUSE_S = 0.05
RESOLVE_PAUSE_S_MAX = 2.0
RESOLVE_S_MAX = 30.0
AWAY_PAUSE_S = 0.25
"""While the engine cannot be asked, a change without an answer is sent again so often, for up to `RESOLVE_S_MAX`."""
READ_ATTEMPTS_MAX = 5
READ_AGAIN_S = 5.0
"""A linearizable read that changes of others stood in the way of is made so often at most, the last time at most so long after the first."""
REFUSALS_BEFORE_JITTER = 4
STALE_TRIPS = 10
"""After so many W a view is looked at again, at the nearest replica, before a change of this process stands on it."""


Begun: TypeAlias = "tuple[list[PendingWish], Change, CellAnswer | BaseException]"
"""A change that was sent once: its wishes, itself, and what came of it."""


class Combiner:
    """Carries out changes. `seen` is told of every newer cell, after the wishes of the change were decided."""

    def __init__(self, context: SiteContext, seen: Callable[[KeyState], None], keys: KeyTable) -> None:
        self._context = context
        self._keys = keys
        self._cells = context.cells
        self._clock = context.clock
        self._seen = seen
        self.changed: Callable[[KeyState, int, list[str]], None] = lambda *_: None
        """Called when a change of this process gave a key another head: with the ticket of the head before (0: there was none),
        and with the addresses of those whose wishes it carried."""
        self.stewards = stewards = Stewards(context, keys)
        stewards.start, stewards.take, stewards.look = self._see_to, self.take, self.look
        stewards.decide = self._told
        self._driven: dict[KeyState, bool] = {}
        """Keys whose wishes are being seen to; True: a change of it is under way that no task carries (yet)."""

    def close(self) -> None:
        """Once the tasks have ended: whoever still waits for a change is told that its outcome is unknown. No task carried it, or
        its task was ended before it began. Answers that come later are for nobody."""
        for state in {**dict.fromkeys(self._keys.in_use()), **self._driven}:
            state.pending += self.stewards.close(state)
            self._fail(state, list(state.pending), OutcomeUnknown("the process is closing"))
        for state, entered in list(self._driven.items()):
            if entered:
                state.leave()
            self._ended(state)

    async def ask(
        self, state: KeyState, wish: Wish, *, decided: Callable[[WishAnswer], None] | None = None
    ) -> WishAnswer:
        """Have a wish decided. OutcomeUnknown if that could not be found out, Unavailable if it was not sent.

        Giving up the wait does not take the wish back: `decided` is called all the same.
        """
        pending = self.submit(state, wish, decided=decided)
        pending.future = asyncio.get_running_loop().create_future()
        return await pending.future

    def submit(
        self,
        state: KeyState,
        wish: Wish,
        *,
        decided: Callable[[WishAnswer], None] | None = None,
        failed: Callable[[PolysiteError], None] | None = None,
    ) -> PendingWish:
        """Put a wish into the next change of the key, without waiting."""
        pending = PendingWish(AskedWish(self._context.new_id(), state.version, wish), state.trips, decided, failed)
        state.pending.append(pending)
        if not state.driving:
            self._start(state)
        return pending

    def _see_to(self, state: KeyState) -> None:
        if not state.driving:
            self._start(state)

    def _start(self, state: KeyState) -> None:
        state.driving = True
        self._driven[state] = False
        self._keys.keep(state)
        if not self._context.closing and (state.version == UNSEEN or not self._cells.begins):
            self._context.background(self._drive(state), name="site-change")
        else:
            # Whoever asks in this round of the loop comes along.
            asyncio.get_running_loop().call_soon(self._begin, state)

    def _begin(self, state: KeyState) -> None:
        """Send the next change without a task to wait for it: most apply at once. What does not is for `_drive`."""
        if self._context.closing:
            self._fail(state, list(state.pending), OutcomeUnknown("the process is closing"))
            self._ended(state)
            return
        try:
            self.stewards.route(state)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._give_up(state, list(state.pending), error)
            return
        wishes = _next_of(state.pending)
        if not wishes:
            self._ended(state)
            return
        if not state.enter_now():
            self._context.background(self._drive(state), name="site-change")
            return
        try:
            self._refresh(state, wishes)
            change = self._build(state, wishes)
            if change.effective and not change.expired:
                self._driven[state] = True
                # Noted before it is sent: the process may be stopped in between, and leases count from the sending (I15).
                self._note_sent(wishes)
                answered = partial(self._answered, state, wishes, change)
                self._cells.begin(state.encoded, change.expected_version, change.content, answered)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self._driven[state] = False
            state.leave()
            self._give_up(state, wishes, error)
            return
        if not change.effective or change.expired:
            state.leave()
            self._context.background(self._drive(state), name="site-change")

    def _answered(
        self, state: KeyState, wishes: list[PendingWish], change: Change, answer: CellAnswer | BaseException
    ) -> None:
        if not self._driven.get(state):
            return  # the process has closed meanwhile
        if not isinstance(answer, CellAnswer) or not answer.applied:
            self._context.background(self._drive(state, (wishes, change, answer)), name="site-change")
            return
        self._driven[state] = False
        try:
            state.trips += self._cells.costs.compare_and_set
            self._applied(state, wishes, change)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            state.leave()
            self._give_up(state, wishes, error)
            return
        state.leave()
        if state.pending:
            self._begin(state)
        else:
            self._ended(state)

    def _give_up(self, state: KeyState, wishes: list[PendingWish], error: BaseException) -> None:
        """Nobody else drives this key: whoever waits must not wait for ever."""
        if isinstance(error, PolysiteError):
            self._fail(state, wishes, error)
            if state.pending:
                self._context.background(self._drive(state), name="site-change")
                return
        else:
            _log.error("a change failed", exc_info=error)
            self._fail(state, list(state.pending), OutcomeUnknown(f"the change failed: {type(error).__name__}"))
        self._ended(state)

    def _ended(self, state: KeyState) -> None:
        state.driving = False
        self._driven.pop(state, None)
        self._keys.drop(state)

    async def look(self, state: KeyState, *, linearizable: bool = False, just_changed: bool = False) -> float:
        """Take in the cell as the nearest replica has it, or as it is now; answers the round trips. `just_changed`: if it is newer
        than what was known here, it was changed a moment ago."""
        try:
            if linearizable:
                view, cost = await self._read(state)
            else:
                view = await self._cells.read_local(state.encoded)
                cost = self._cells.costs.read_local
        except Unavailable as error:
            self.stewards.engine_is_away = not _is_contended(error)
            raise
        self.stewards.engine_is_away = False
        if view.version == state.version:
            state.confirmed_s = self._clock.monotonic_s()
        self.take(state, view.version, view.content, just_changed=just_changed)
        return cost

    async def _read(self, state: KeyState) -> tuple[CellView, float]:
        """The cell as it is now, and the round trips. Whoever waits for it is not told that others stood in its way for a moment: it is
        read again, and not at once, for a read stands in the way of those who change the cell as much as they do in its."""
        trips, attempt, until_s = self._cells.costs.read, 1, self._clock.monotonic_s() + READ_AGAIN_S
        while True:
            try:
                return await self._cells.read(state.encoded), trips
            except Unavailable as error:
                pause_s = self._pause_s(attempt - 1)
                over = attempt == READ_ATTEMPTS_MAX or self._clock.monotonic_s() + pause_s > until_s
                if over or not _is_contended(error):
                    raise
            await self._clock.sleep_s(pause_s)
            trips, attempt = trips + self._cells.costs.read, attempt + 1

    def take(self, state: KeyState, version: int, content: bytes, *, just_changed: bool = True) -> None:
        """Take in a cell that came from anywhere; older ones than the newest known are ignored. `just_changed` False: it was
        looked at, and may have been like this for long."""
        if version > state.version and state.take_view(version, lock_cell.decode(content)):
            self._noticed(state, just_changed=just_changed)

    def _noticed(self, state: KeyState, *, just_changed: bool = True) -> None:
        """A newer cell is known, and own wishes of its change were told so."""
        if self._context.is_wide:
            if state.moved is not None and not state.moved.done():
                state.moved.set_result(None)
            state.confirmed_s = self._clock.monotonic_s()
            state.changed_s = self._clock.monotonic_s() if just_changed else LONG_AGO
            if state.handed:
                self.stewards.seen(state)
        self._seen(state)

    async def _drive(self, state: KeyState, begun: "Begun | None" = None) -> None:
        """Make changes until nothing is pending; the first was begun already, where there is one."""
        try:
            if begun is not None:
                self._driven[state] = False
                try:
                    await self._change(state, begun[0], begun)
                finally:
                    state.leave()
            while state.pending:
                if not await self._routed(state):
                    continue
                if not state.enter_now():
                    await state.enter()
                try:
                    await self._change(state, _next_of(state.pending))
                finally:
                    state.leave()
        except BaseException as error:
            # Nobody else drives this key: whoever waits must not wait for ever.
            told = OutcomeUnknown("the process is closing") if isinstance(error, asyncio.CancelledError) else None
            self._fail(state, list(state.pending), told or OutcomeUnknown(f"the change failed: {type(error).__name__}"))
            raise
        finally:
            self._ended(state)

    async def _routed(self, state: KeyState) -> bool:
        """Hand over what others carry; whether anything is left for an own change."""
        if self._context.is_wide:
            try:
                if state.version == UNSEEN:
                    state.trips += await self.look(state)
                elif self._clock.monotonic_s() - state.confirmed_s > STALE_TRIPS * self._context.rtt_s:
                    # A process that was stopped would change what is long past, in the way of those who did not wait for it.
                    with contextlib.suppress(Unavailable):
                        state.trips += await self.look(state)
            except PolysiteError as error:
                self._fail(state, list(state.pending), error)
            self.stewards.route(state)
        return bool(state.pending)

    async def _change(self, state: KeyState, wishes: list[PendingWish], begun: "Begun | None" = None) -> None:
        """Have these wishes decided by one change; those that another change must carry stay pending."""
        try:
            if state.version == UNSEEN:
                state.trips += await self.look(state)
                wishes = _next_of(state.pending)
            refusals = 0
            if begun is not None:
                if await self._send(state, wishes, begun[1], begun[2]):
                    return
                self.stewards.outrun(state)
                wishes = _next_of(state.pending)
                refusals = 1
            while wishes:
                self._refresh(state, wishes)
                change = self._build(state, wishes)
                if change.expired:
                    await self._ask_anew(state, wishes, change.expired)
                    wishes = _next_of(state.pending)
                    continue
                if not change.effective:
                    before = state.version
                    state.trips += await self.look(state, linearizable=True)
                    if state.version == before:
                        authors = self._decide(state, wishes, change.results)
                        self.stewards.tell(state, authors)
                        return
                    wishes = _next_of(state.pending)
                    continue
                if await self._send(state, wishes, change):
                    return
                self.stewards.outrun(state)
                refusals += 1
                if state.pending and refusals >= REFUSALS_BEFORE_JITTER:
                    # A steward's pause keeps back all whose wishes it noted: let it double, and each of them goes its own way meanwhile, and
                    # makes the next refusal.
                    doublings = 0 if self.stewards.elsewhere(state) is None else refusals
                    delay_s = combine.own_attempt_delay_s(
                        max(self._context.rtt_s, 0.001), doublings, self._context.randomness.uniform(0.0, 0.999)
                    )
                    await self._clock.sleep_s(delay_s)
                    self.stewards.route(state)
                # Whoever asked meanwhile comes along, and who gave up does not.
                wishes = _next_of(state.pending)
        except PolysiteError as error:
            self._fail(state, wishes, error)

    def _build(self, state: KeyState, wishes: list[PendingWish]) -> Change:
        return combine.build_change(
            state.cell,
            state.version,
            [pending.asked for pending in wishes],
            change_id=None if len(wishes) == 1 else self._context.new_id(),
            author=self._context.author,
            now=self._context.now_stamp(),
        )

    def _refresh(self, state: KeyState, wishes: list[PendingWish]) -> None:
        """A wish of this process that no change under way carries may count as asked now, unless the cell remembers it. One of
        another process, or one that was handed to a steward, may not: it may be under way on other roads (I17)."""
        version = state.version
        for pending in wishes:
            asked = pending.asked
            if asked.seen_version == version or not pending.own or pending.was_handed:
                continue
            if lock_cell.find_wish(state.cell, asked.wish_id) is None:
                pending.asked = AskedWish(asked.wish_id, version, asked.wish)

    async def _ask_anew(self, state: KeyState, wishes: list[PendingWish], expired: tuple[bytes, ...]) -> None:
        """Wishes that may not go into a change any more: those of others are their authors'. An own one was handed to a steward
        long ago: once a linearizable read shows no trace of it, it never will be made (I17), so it is asked again under another
        id. If it had been made all the same, what it made is gone: it is as if somebody had dropped the entry."""
        gone = set(expired)
        left = [pending for pending in wishes if pending.asked.wish_id in gone]
        told = Expired("the wish is older than what the cell remembers, or newer than it is known here")
        self._fail(state, [pending for pending in left if not pending.own], told)
        own = [pending for pending in left if pending.own]
        if not own:
            return
        cost = await self.look(state, linearizable=True)
        state.trips += cost
        for pending in own:
            asked = pending.asked
            result = lock_cell.find_wish(state.cell, asked.wish_id) or combine.trace(asked.wish, state.cell)
            if result is None and isinstance(asked.wish, Leave | Cancel):
                self._fail(state, [pending], unknown())  # the absence of an entry never proves how it left (I18)
            elif result is None or isinstance(result, Refusal):
                pending.asked = AskedWish(self._context.new_id(), state.version, asked.wish)
            else:
                self._decide(state, [pending], {asked.wish_id: result})
        self._seen(state)

    def _note_sent(self, wishes: list[PendingWish]) -> None:
        sent_s = self._clock.monotonic_s()
        for pending in wishes:
            if pending.sent_s is None:
                pending.sent_s = sent_s

    def _applied(self, state: KeyState, wishes: list[PendingWish], change: Change) -> None:
        state.take_view(change.expected_version + 1, change.cell)
        authors = self._decide(state, wishes, change.results)
        self._noticed(state)
        self._tell(state, change, authors)

    def _tell(self, state: KeyState, change: Change, authors: list[str]) -> None:
        """A change of this process was made: tell who else must know. What it changed is judged by the cell that it stands on: a look at
        the nearest replica may have shown what became of it before its answer came."""
        before, head = change.head_before, lock_cell.head(change.cell)
        if state.version != change.expected_version + 1:
            # Others have held and written since: the rows that a holder of this process left are not those of the version that is told.
            state.parting = None
        # A beat of the head makes no other head of it.
        if (None if head is None else head.identity) != (None if before is None else before.identity):
            self.changed(state, 0 if before is None else before.ticket, authors)
        elif authors:
            self.stewards.tell(state, authors)

    async def _send(
        self,
        state: KeyState,
        wishes: list[PendingWish],
        change: Change,
        first: CellAnswer | BaseException | None = None,
    ) -> bool:
        """Send a change until it is known what became of it. True: every wish of it is decided.

        `first`: what came of sending it the first time.
        """
        self._note_sent(wishes)
        costs = self._cells.costs
        attempt, until_s = 0, self._clock.monotonic_s() + RESOLVE_S_MAX
        while attempt < RESOLVE_ATTEMPTS_MAX and self._clock.monotonic_s() < until_s:
            pause_s = self._pause_s(attempt)
            try:
                if first is None:
                    answer = await self._compare_and_set(state, change)
                elif isinstance(first, CellAnswer):
                    answer, first = first, None
                else:
                    error, first = first, None
                    raise error
            except OutcomeUnknown:
                state.trips += costs.compare_and_set
                attempt += 1
            except Unavailable:
                self.stewards.engine_is_away = True
                if attempt == 0:
                    raise
                # Nobody was asked, so nobody is in anybody's way; and as soon as somebody can be, he is.
                pause_s = min(pause_s, AWAY_PAUSE_S)
            else:
                self.stewards.engine_is_away = False
                if answer.applied:
                    state.trips += costs.compare_and_set
                    self._applied(state, wishes, change)
                    return True
                state.trips += costs.compare_and_set_refused
                self.take(state, answer.view.version, answer.view.content)
                if attempt == 0:
                    return False
            # An earlier sending may have been carried out. What moved the version tells; who was told nothing asks by sending the same
            # again, for a read between would stand in the way of those who change the cell as much as a change does.
            if self._resolve(state, wishes, change):
                return not any(pending in state.pending for pending in wishes)
            await self._clock.sleep_s(pause_s)
            with contextlib.suppress(Unavailable):
                await self.look(state, just_changed=True)
            if self._resolve(state, wishes, change):
                return not any(pending in state.pending for pending in wishes)
        raise unknown()

    async def _compare_and_set(self, state: KeyState, change: Change) -> CellAnswer:
        """Send it once. OutcomeUnknown, between sites, also as soon as a newer cell is known than the one it stands on: what is past it tells
        what became of it, and the engine may take seconds to say that others were quicker."""
        sending = self._cells.compare_and_set(state.encoded, change.expected_version, change.content)
        if not self._context.is_wide:
            return await sending
        sent = self._context.spawner.spawn(sending, name="site-change-sent")
        state.moved = moved = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((sent, moved), return_when=asyncio.FIRST_COMPLETED)
            if not sent.done() and self.stewards.elsewhere(state) is None:
                # What is left is this process's to change again: not beside what it still sends.
                await asyncio.wait((sent,))
            if not sent.done():
                self._context.background(_disregarded(sent), name="site-change-outrun")
                raise unknown()
            return sent.result()
        except asyncio.CancelledError:
            sent.cancel()
            raise
        finally:
            state.moved = None

    def _pause_s(self, attempt: int) -> float:
        """Before a change is sent again: those who stand in each other's way between sites are told so only after round trips."""
        least_s = max(RESOLVE_PAUSE_S, self._context.rtt_s)
        pause_s = min(max(RESOLVE_PAUSE_S_MAX, 8 * least_s), least_s * 2**attempt)
        return self._context.randomness.uniform(pause_s / 2, pause_s)

    def _resolve(self, state: KeyState, wishes: list[PendingWish], change: Change) -> bool:
        """What became of a change without an answer, by the newest view. False: not known; send the identical change again.

        Any state of the register past the version the change stands on tells as much as the newest: the change is in it, or was never
        made.
        """
        if state.version <= change.expected_version:
            return False
        resolution = combine.resolve_unknown(change, state.version, state.cell)
        if isinstance(resolution, SendAgain):
            return False
        if isinstance(resolution, Happened):
            authors = self._decide(state, wishes, resolution.results)
        elif isinstance(resolution, NotMade):
            authors = self._decide(state, wishes, resolution.decided)
        else:
            assert isinstance(resolution, Undecided)
            authors = self._decide(state, wishes, resolution.decided)
            lost = set(resolution.open)
            self._fail(state, [pending for pending in wishes if pending.asked.wish_id in lost], unknown())
        # A session whose enqueue or take-over was just found is registered only now, so the view is told again.
        self._seen(state)
        if isinstance(resolution, Happened):
            self._tell(state, change, authors)
        elif authors:
            self.stewards.tell(state, authors)
        return True

    def _decide(self, state: KeyState, wishes: list[PendingWish], results: Mapping[bytes, Result]) -> list[str]:
        """Tell the authors of wishes how they were decided; answers the addresses of those that are other processes."""
        elsewhere: list[str] = []
        for pending in wishes:
            result = results.get(pending.asked.wish_id)
            if result is None or pending not in state.pending:
                continue
            state.pending.remove(pending)
            if pending.answer_to:
                elsewhere.append(pending.answer_to)
            self._told(state, pending, result, state.trips - pending.trips)
        return elsewhere

    def _told(self, state: KeyState, pending: PendingWish, result: Result, trips: float) -> None:
        sent_s = self._clock.monotonic_s() if pending.sent_s is None else pending.sent_s
        answer = WishAnswer(result, sent_s, state.version, state.cell, trips)
        decided = _let_go(pending)[0]
        if decided is not None:
            decided(answer)
        if pending.future is not None and not pending.future.done():
            pending.future.set_result(answer)

    def _fail(self, state: KeyState, wishes: list[PendingWish], error: PolysiteError) -> None:
        for pending in wishes:
            if pending not in state.pending:
                continue
            state.pending.remove(pending)
            told = error
            if pending.was_handed and error.outcome != "unknown":
                told = unknown("the wish was handed to a steward, who may still carry it")
            failed = _let_go(pending)[1]
            if failed is not None:
                failed(told)
            if pending.future is not None and not pending.future.done():
                pending.future.set_exception(told)
                # The author may be gone; that is no unretrieved error.
                pending.future.exception()


def _is_contended(error: Unavailable) -> bool:
    return error.attributes.get("reason") == CONTENDED


async def _disregarded(sent: "asyncio.Future[CellAnswer]") -> None:
    """Its answer tells nothing that is not known."""
    with contextlib.suppress(PolysiteError):
        await sent


def _next_of(pending: list[PendingWish]) -> list[PendingWish]:
    """What the next change carries, in the order of asking. Of more than it may carry, ends and renewals of this process's own
    sessions come along first: a release stands behind no crowd that waits for it."""
    if len(pending) <= WISHES_MAX:
        return pending[:]
    ours = [item for item in pending if item.own and not isinstance(item.asked.wish, Enqueue)][:WISHES_MAX]
    others = [item for item in pending if not item.own or isinstance(item.asked.wish, Enqueue)]
    return others[: WISHES_MAX - len(ours)] + ours


def _let_go(
    pending: PendingWish,
) -> tuple[Callable[[WishAnswer], None] | None, Callable[[PolysiteError], None] | None]:
    """Who is told how the wish ends, once: kept, its author and the wish would hold each other, and each section would leave a ring
    of objects to the garbage collector."""
    told = pending.decided, pending.failed
    pending.decided = pending.failed = None
    return told
