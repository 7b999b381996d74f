"""Waiting for a lock: woken by the cell that decides it, and now and then by an own look at the nearest replica.

However many wait for one key, one timer looks at its cell. The same looks watch the entries in front, so that those of
dead processes are dropped after their lease, on this process's own clock.
"""

import asyncio

from polysite.core import lock_cell
from polysite.core.lease import Observation
from polysite.core.wishes import Identity, Observed, Preempt, Preempted
from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.site.keys import KeyState
from polysite.site.sessions import LiveSession, Sessions
from polysite.site.vouching import Vouching
from polysite.site.wishing import WishAnswer

LOOK_S_LEAST = 0.005

FRONT_LEASES_MAX = 3
"""How long the entry in front is watched on when nobody waits any more, in its leases."""


class Waiting:
    """Waits of sessions, and the looks at cells that go with them."""

    def __init__(self, context: SiteContext, sessions: Sessions) -> None:
        self._context = context
        self._clock = context.clock
        self._sessions = sessions
        self._combiner = sessions.combiner
        self.vouching = Vouching(context, sessions.keys, sessions.combiner.stewards)

    async def until_held(self, live: LiveSession, wait_s: float, *, exclusive: bool = False) -> bool:
        """Wait until the session holds (`exclusive`: alone). False when `wait_s` have passed; LockLost when it is gone."""
        deadline_s = self._clock.monotonic_s() + wait_s
        while True:
            if live.core.standing == "lost" or live.ended:
                raise live.lost_error()
            if live.core.standing == "exclusive" or (not exclusive and live.holds):
                return True
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                self._given_up(live.state)
                return False
            waiter = asyncio.get_running_loop().create_future()
            live.standing_waiters.append(waiter)
            live.open_calls += 1
            timer = self._context.timers.after(left_s, lambda waiter=waiter: _wake(waiter))  # type: ignore[misc]
            self.watch(live.state)
            try:
                await waiter
            except asyncio.CancelledError:
                self._given_up(live.state)
                raise
            finally:
                timer.cancel()
                live.open_calls -= 1
                live.life.sign(self._clock.monotonic_s())
                if waiter in live.standing_waiters:
                    live.standing_waiters.remove(waiter)

    def watch_if_waiting(self, live: LiveSession) -> None:
        """Look at the cell as long as this session waits in it, whether or not its client does: else an entry whose client only
        comes back now and then would stay behind a dead one for ever."""
        if live.core.standing == "waiting" and not live.ended:
            self.watch(live.state)

    def watch_for_now(self, state: KeyState, lease_s: float) -> None:
        """Look at the cell for a few times this lease: long enough to see whether an entry with it shows life."""
        state.watch_until_s = max(state.watch_until_s, self._clock.monotonic_s() + 3 * lease_s)
        self.watch(state)

    def watch(self, state: KeyState) -> None:
        """Look at the cell from time to time as long as a session of this process waits in it, or `watch_until_s`."""
        if state.look_timer is not None or state.looking:
            return
        if state.observation is None:
            state.observation = Observation()
            state.users += 1
        now_s = self._clock.monotonic_s()
        state.observation.feed(state.cell.queue, now_s)
        self._arm(state, now_s)

    def _pause_s(self, state: KeyState) -> float:
        settings = self._context.settings
        pause_s = min((entry.lease_s for entry in state.cell.queue[:1]), default=1.0) / 20
        return min(settings.look_s_max, max(settings.look_s_min, pause_s))

    def _arm(self, state: KeyState, now_s: float) -> None:
        pause_s = self._pause_s(state)
        assert state.observation is not None
        next_s = state.observation.next_look_s(now_s, place=self._place(state, now_s), rtt_s=self._context.rtt_s)
        if next_s is not None:
            pause_s = max(LOOK_S_LEAST, min(pause_s, next_s))
        state.look_timer = self._context.timers.at(now_s + pause_s, lambda: self._look(state))

    def _place(self, state: KeyState, now_s: float) -> int:
        author = self._context.author
        assert state.observation is not None
        return state.observation.place(state.cell.queue, (author.site, author.process, author.incarnation), now_s)

    def _look(self, state: KeyState) -> None:
        state.look_timer = None
        now_s = self._clock.monotonic_s()
        waited_for = now_s < state.watch_until_s or any(
            live.core.standing == "waiting" or live.standing_waiters for live in state.sessions.values()
        )
        if self._context.closing or not (waited_for or self._is_front_unsettled(state, now_s)):
            state.observation = None
            self._sessions.keys.drop(state)
            return
        state.looking = True
        self._context.background(self._look_at(state), name="site-look")

    def _given_up(self, state: KeyState) -> None:
        """Somebody has waited long enough. Whoever is in front is watched on until it shows life or is dropped, also if nobody waits any more:
        else a dead one would stay for as long as nobody waits longer than its lease, each of whom would begin anew to watch it."""
        front = lock_cell.head(state.cell)
        if front is not None and front.ticket not in state.sessions:
            state.front = Observed(front.ticket, front.nonce, front.beat)
            state.front_until_s = self._clock.monotonic_s() + FRONT_LEASES_MAX * front.lease_s

    def _is_front_unsettled(self, state: KeyState, now_s: float) -> bool:
        front = lock_cell.head(state.cell)
        return (
            front is not None
            and state.front == Observed(front.ticket, front.nonce, front.beat)
            and now_s < state.front_until_s
        )

    async def _look_at(self, state: KeyState) -> None:
        try:
            try:
                await self._combiner.look(state)
            except PolysiteError:
                # The engine cannot be asked now: the entries have not been seen to change, nor not to.
                pass
            else:
                self._judge(state)
        finally:
            state.looking = False
            if state.observation is not None and not self._context.closing:
                self._arm(state, self._clock.monotonic_s())

    def _judge(self, state: KeyState) -> None:
        observation = state.observation
        if observation is None:
            return
        now_s = self._clock.monotonic_s()
        observation.feed(state.cell.queue, now_s)
        self.vouching.ask(state, look_s=self._pause_s(state))
        seen_dead = observation.dead(now_s, place=self._place(state, now_s), rtt_s=self._context.rtt_s)
        dead = tuple(one for one in seen_dead if not self._may_live(state, one))
        if not dead or state.preempting:
            return
        live = next(iter(state.sessions.values()), None)
        spec = None if live is None else live.core.table

        def decided(answer: WishAnswer) -> None:
            state.preempting = False
            if isinstance(answer.result, Preempted) and spec is not None:
                for ticket in answer.result.dropped:
                    self._context.events.tell_preempted(spec, state.key, ticket, "no sign of life for its lease")

        def failed(_error: PolysiteError) -> None:
            state.preempting = False

        state.preempting = True
        self._combiner.submit(state, Preempt(observed=dead), decided=decided, failed=failed)

    def _may_live(self, state: KeyState, seen: Observed) -> bool:
        """What lives here is not dead, however long its renewals take; nor is that about which its process has still to answer."""
        live = state.sessions.get(seen.ticket)
        return (live is not None and not live.ended) or self.vouching.is_asked(state, Identity(seen.ticket, seen.nonce))

    def silent(self, state: KeyState, ticket: int) -> Observed | None:
        """The entry as this process has seen it unchanged for its lease; None if it has not, or the entry is gone.

        By the newest view, not by the last look: who was stopped between two looks has missed the beats in between.
        """
        entry = lock_cell.entry_by_ticket(state.cell, ticket)
        if state.observation is None or entry is None:
            return None
        now_s = self._clock.monotonic_s()
        state.observation.feed(state.cell.queue, now_s)
        return state.observation.silent(entry, now_s)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
