"""Keeping a lock alive while a body runs under it, in both colours.

A keeper sends a sign of life every third of the lease. It gives the lock up as lost when the site says so, and also
when no sign was answered for a whole lease: by then the site has let go of it, or will before it hears again.

`AsyncKeeper` cancels the body then; the cancellation leaves the section as `LockLost`, told apart from one that came
from outside the way `asyncio.timeout` does it. A thread cannot be cancelled, so `Keeper` tells the body at its next
call, through its `lost` event, and through a callback.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from polysite.client.pacing import AsyncPace, Pace
from polysite.errors import LockLost, PolysiteError, Refused

T = TypeVar("T")
SILENT = "no_answer"
BEATS_PER_LEASE = 3
ATTEMPTS_PER_LEASE = 12
"""After a sign of life without an answer the next one goes out this much sooner."""


class AsyncKeeper:
    """Keeps one reference alive for the task that entered its section."""

    def __init__(self, pace: AsyncPace, lost: Callable[[LockLost], None] | None = None) -> None:
        """`lost` is called once, on the loop, before the body is cancelled."""
        self._pace = pace
        self._tell = lost
        self._renew: Callable[[], Awaitable[object]] | None = None
        self._lease_s = 0.0
        self._alive_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None
        self._body: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._cancelled_body = False
        self.error: LockLost | None = None

    @property
    def is_lost(self) -> bool:
        return self.error is not None

    @property
    def is_silent(self) -> bool:
        """Whether it counts as lost only because the site did not answer."""
        return self.error is not None and self.error.attributes.get("reason") == SILENT

    def start(
        self, renew: Callable[[], Coroutine[Any, Any, object]], lease_s: float, sent_s: float | None = None
    ) -> None:
        """From now on, for the current task. `sent_s`: when the call was sent that the grant answered; None: just now."""
        now_s = self._pace.monotonic_s()
        self._renew = renew
        self._lease_s = lease_s
        self._alive_s = _alive_since_s(now_s, sent_s, lease_s)
        self._body = asyncio.current_task()
        self._cancelling = self._body.cancelling() if self._body is not None else 0
        self._arm(self._alive_s + lease_s / BEATS_PER_LEASE - now_s)

    def check(self) -> None:
        """Raise LockLost if the lock is known to be lost."""
        if self.error is not None:
            raise LockLost(self.error.message, **self.error.attributes)

    def lose(self, error: LockLost) -> None:
        """The lock is lost: the body ends here, at its next await."""
        if self.error is not None:
            return
        self.error = error
        self._disarm()
        if self._tell is not None:
            self._tell(error)
        if self._body is not None and self._body is not asyncio.current_task():
            self._cancelled_body = True
            self._body.cancel()

    def stop(self) -> None:
        """No sign of life is begun afterwards, and nothing is cancelled."""
        self._disarm()
        beat, self._beat = self._beat, None
        if beat is not None:
            beat.cancel()

    def verdict(self, error: BaseException | None) -> LockLost | None:
        """What leaves the section when its body ended with `error`: LockLost if the body ended because of the loss.

        Called after `stop`, by the task of the body.
        """
        if self.error is None:
            return None
        if self._cancelled_body:
            self._cancelled_body = False
            from_outside = self._body is not None and self._body.uncancel() > self._cancelling
            if isinstance(error, asyncio.CancelledError):
                return None if from_outside else self.error
        return self.error if error is None else None

    async def guard(
        self, call: Callable[[], Coroutine[Any, Any, T]], undo: Callable[[T], Coroutine[Any, Any, object]]
    ) -> T:
        """The result of `call`. If the caller is cancelled meanwhile, `call` goes on by itself and its result is undone:
        a wish that was sent must not stay in the queue because nobody waited for its reference."""
        task = self._pace.runtime.spawner.spawn(call(), name="polysite.acquire")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._undo(done, undo))
            raise

    async def finish(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `call`, which is carried out to its end even if the caller is cancelled meanwhile."""
        task = self._pace.runtime.spawner.spawn(call(), name="polysite.release")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Nobody is left who would take its failure.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def background(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Carry `call` out, and to its end even if the caller is cancelled meanwhile; its failure is nobody's."""
        task = self._pace.runtime.spawner.spawn(_quiet(call()), name="polysite.release")
        await asyncio.shield(task)

    def detached(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Carry `call` out without anybody waiting for it; its failure is nobody's."""
        self._pace.runtime.spawner.spawn(_quiet(call()), name="polysite.release")

    def _undo(self, done: "asyncio.Task[T]", undo: Callable[[T], Coroutine[Any, Any, object]]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._pace.runtime.spawner.spawn(_quiet(undo(done.result())), name="polysite.release")

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._beat = self._pace.runtime.spawner.spawn(self._beat_once(), name="polysite.keep_alive")

    async def _beat_once(self) -> None:
        """One sign of life; the next is timed by how it went."""
        assert self._renew is not None
        sent_s = self._pace.monotonic_s()
        left_s = self._alive_s + self._lease_s - sent_s
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                await self._renew()
        except Refused as error:
            self.lose(error if isinstance(error, LockLost) else LockLost(error.message, **error.attributes))
            return
        except (PolysiteError, TimeoutError):
            left_s = self._alive_s + self._lease_s - self._pace.monotonic_s()
            if left_s <= 0:
                self.lose(_silent(self._lease_s))
            else:
                self._arm(min(self._lease_s / ATTEMPTS_PER_LEASE, left_s))
            return
        self._alive_s = sent_s
        self._arm(self._lease_s / BEATS_PER_LEASE)


class Keeper:
    """As `AsyncKeeper`, from a thread of its own; `lost` is called on that thread. A thread in a call cannot be stopped, so each
    sign of life is sent on another one: the loss is told when the lease has passed, also while the call hangs."""

    def __init__(self, pace: Pace, lost: Callable[[LockLost], None] | None = None) -> None:
        self._pace = pace
        self._tell = lost
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lease_s = 0.0
        self._alive_s = 0.0
        self._guard = threading.Lock()
        self.lost = threading.Event()
        self.error: LockLost | None = None

    @property
    def is_lost(self) -> bool:
        return self.error is not None

    @property
    def is_silent(self) -> bool:
        """Whether it counts as lost only because the site did not answer."""
        return self.error is not None and self.error.attributes.get("reason") == SILENT

    def start(self, renew: Callable[[], object], lease_s: float, sent_s: float | None = None) -> None:
        self._lease_s = lease_s
        self._alive_s = _alive_since_s(self._pace.monotonic_s(), sent_s, lease_s)
        self._thread = threading.Thread(target=self._keep, args=(renew,), name="polysite.keep_alive", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LockLost if the lock is known to be lost, or nothing was heard for a lease while a sign is under way."""
        if self.error is None and self._thread is not None and self._left_s() <= 0:
            self.lose(_silent(self._lease_s))
        if self.error is not None:
            raise LockLost(self.error.message, **self.error.attributes)

    def lose(self, error: LockLost) -> None:
        with self._guard:
            if self.error is not None or self._stopped.is_set():
                return
            self.error = error
        self.lost.set()
        if self._tell is not None:
            self._tell(error)

    def stop(self) -> None:
        """No sign of life is begun afterwards. One that is under way is not waited for: its answer may take long."""
        with self._guard:
            self._stopped.set()

    def verdict(self, error: BaseException | None) -> LockLost | None:
        """LockLost if the lock was lost and the body has not failed by itself."""
        return self.error if error is None else None

    def guard(self, call: Callable[[], T], undo: Callable[[T], object]) -> T:
        """The result of `call`; nothing can come between."""
        del undo
        return call()

    def finish(self, call: Callable[[], T]) -> T:
        """The result of `call`, which nothing cancels."""
        return call()

    def background(self, call: Callable[[], object]) -> None:
        """Carry `call` out; its failure is nobody's."""
        with contextlib.suppress(PolysiteError):
            call()

    def detached(self, call: Callable[[], object]) -> None:
        """Carry `call` out on a thread that nobody waits for; its failure is nobody's."""
        threading.Thread(target=self.background, args=(call,), name="polysite.release", daemon=True).start()

    def _left_s(self) -> float:
        return self._alive_s + self._lease_s - self._pace.monotonic_s()

    def _keep(self, renew: Callable[[], object]) -> None:
        pause_s = self._left_s() - self._lease_s * (1 - 1 / BEATS_PER_LEASE)
        while not self._stopped.wait(max(0.0, pause_s)):
            sent_s = self._pace.monotonic_s()
            sign = _Sign(renew)
            while not sign.answered.wait(max(0.0, self._left_s())):
                if self._left_s() <= 0:
                    # It hangs. The loss is told now; an answer that comes later is nobody's.
                    self.lose(_silent(self._lease_s))
                    return
            error = sign.error
            if error is None:
                self._alive_s = sent_s
                pause_s = self._lease_s / BEATS_PER_LEASE
            elif isinstance(error, Refused):
                self.lose(error if isinstance(error, LockLost) else LockLost(error.message, **error.attributes))
                return
            elif not isinstance(error, PolysiteError):
                raise error
            elif self._left_s() <= 0:
                self.lose(_silent(self._lease_s))
                return
            else:
                pause_s = min(self._lease_s / ATTEMPTS_PER_LEASE, self._left_s())


class _Sign:
    """One sign of life on a thread of its own, so that whoever sent it can stop to wait for its answer."""

    def __init__(self, renew: Callable[[], object]) -> None:
        self._renew = renew
        self.answered = threading.Event()
        self.error: BaseException | None = None
        threading.Thread(target=self._send, name="polysite.sign_of_life", daemon=True).start()

    def _send(self) -> None:
        try:
            self._renew()
        except BaseException as error:  # noqa: BLE001 - the keeper tells it
            self.error = error
        self.answered.set()


async def _quiet(call: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(PolysiteError):
        await call


def _alive_since_s(now_s: float, sent_s: float | None, lease_s: float) -> float:
    """Since when the site has surely not heard from us again. It counts a call from when it got it, which may be as early as we
    sent it; a call that waited for the lock counts from its end there, which is less than one knows here. So at most a third
    of the lease is counted as gone, and the first sign of life then goes out at once."""
    return now_s if sent_s is None else max(min(sent_s, now_s), now_s - lease_s / BEATS_PER_LEASE)


def _silent(lease_s: float) -> LockLost:
    return LockLost(f"the site has not answered for the whole lease of {lease_s:g} s", reason=SILENT)
