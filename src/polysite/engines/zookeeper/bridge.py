"""From kazoo's connection thread onto the loop: one wake-up for all that arrived meanwhile, and no thread beside that one.

kazoo 2.11 runs callbacks of answers and watches on two threads of its own, and gives every call a lock. Here its handler is
told to hand both to the loop at once instead; a result is no more than a place for an answer.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from kazoo.handlers.threading import SequentialThreadingHandler

_log = logging.getLogger(__name__)


class Bridge:
    """Calls on the loop what other threads post, in the order they posted it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False
        self.wakes = 0
        """How often the loop was woken, for benches."""

    def post(self, call: Callable[..., object], *values: Any) -> None:
        """Have `call(*values)` called on the loop. From any thread."""
        self._arrived.append((call, values))
        if self._woken:
            return
        self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            # The loop is gone, and with it whoever waited.
            self._arrived.clear()

    def _run(self) -> None:
        self.wakes += 1
        # Before anything is taken out: what is posted from here on wakes the loop again, at worst for nothing.
        self._woken = False
        for _ in range(len(self._arrived)):
            call, values = self._arrived.popleft()
            try:
                call(*values)
            except Exception:  # noqa: BLE001
                # One callback's mistake must not leave the others without their answers.
                _log.exception("the callback of an answer failed")


class Result:
    """The answer of one call, as kazoo's own `IAsyncResult` but for waiting: whoever wants to know links a callback.

    It is set once, by the connection thread; callbacks are linked by the loop's. Whichever comes second makes the call:
    taking a callback out is atomic, so none is called twice.
    """

    __slots__ = ("_callbacks", "_error", "_is_set", "value")

    def __init__(self) -> None:
        self._callbacks: deque[Callable[[Result], object]] = deque()
        self._error: BaseException | None = None
        self._is_set = False
        self.value: Any = None

    @property
    def exception(self) -> BaseException | None:
        """The error it was set to, None if it has none (yet)."""
        return self._error

    def ready(self) -> bool:
        return self._is_set

    def set(self, value: Any = None) -> None:
        self.value = value
        self._finish()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._finish()

    def get(self) -> Any:
        """The answer of a call that has one; nothing here waits for it."""
        if not self._is_set:
            raise RuntimeError("this call has no answer yet")
        if self._error is not None:
            raise self._error
        return self.value

    def rawlink(self, callback: "Callable[[Result], object]") -> None:
        """Have `callback` called with this result, on the thread that sets it, or now if it is set."""
        self._callbacks.append(callback)
        if self._is_set:
            self._call()

    def _finish(self) -> None:
        self._is_set = True
        self._call()

    def _call(self) -> None:
        while True:
            try:
                callback = self._callbacks.popleft()
            except IndexError:
                return
            callback(self)


class LoopHandler(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo's handler without its two worker threads: results call back where they are set, watches call on the loop."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def start(self) -> None:
        self._running = True

    def stop(self) -> None:
        self._running = False

    def async_result(self) -> Result:
        return Result()

    def dispatch_callback(self, callback: Any) -> None:
        self._bridge.post(callback.func, *callback.args)
