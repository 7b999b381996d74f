"""One sleeping task for everything that is to happen later in this process: beats, bounds of waits, looks at cells."""

import asyncio
import heapq
import logging
from collections.abc import Callable

import msgspec

from polysite.clock import Runtime

_log = logging.getLogger(__name__)


class Timer(msgspec.Struct, eq=False):
    """Something that is to be called once; `cancel` if it is not to be."""

    due_s: float
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        """Do not call. The entry stays in the heap until its time, or until half the heap is cancelled."""
        self.callback = None


class Timers:
    """Calls at moments of the process's monotonic clock; a callback does not wait, it may spawn."""

    def __init__(self, runtime: Runtime) -> None:
        self._clock = runtime.clock
        self._spawner = runtime.spawner
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0
        self._compact_at = 1_024
        self._task: asyncio.Task[None] | None = None
        self._sleeper: asyncio.Task[None] | None = None
        self._asleep_until_s = float("inf")
        self._closed = False

    def at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once the clock has reached `due_s`."""
        self._serial += 1
        timer = Timer(due_s, callback)
        heapq.heappush(self._heap, (due_s, self._serial, timer))
        if len(self._heap) > self._compact_at:
            self._compact()
        if self._task is None:
            if not self._closed:
                self._task = self._spawner.spawn(self._run(), name="site-timers")
        elif due_s < self._asleep_until_s and self._sleeper is not None:
            self._sleeper.cancel()
        return timer

    def after(self, duration_s: float, callback: Callable[[], None]) -> Timer:
        return self.at(self._clock.monotonic_s() + duration_s, callback)

    async def close(self) -> None:
        """Call nothing any more."""
        self._closed = True
        self._heap.clear()
        for task in (self._sleeper, self._task):
            if task is not None:
                task.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._task = None

    def _compact(self) -> None:
        self._heap = [item for item in self._heap if item[2].callback is not None]
        heapq.heapify(self._heap)
        self._compact_at = max(1_024, 2 * len(self._heap))

    async def _run(self) -> None:
        try:
            while self._heap and not self._closed:
                self._call_due()
                if not self._heap:
                    break
                self._asleep_until_s = self._heap[0][0]
                pause_s = max(0.0, self._asleep_until_s - self._clock.monotonic_s())
                self._sleeper = self._spawner.spawn(self._clock.sleep_s(pause_s), name="site-timers-sleep")
                await asyncio.wait([self._sleeper])
                self._asleep_until_s = float("inf")
        finally:
            self._sleeper = None
            self._task = None

    def _call_due(self) -> None:
        heap = self._heap
        now_s = self._clock.monotonic_s()
        while heap and (heap[0][2].callback is None or heap[0][0] <= now_s):
            callback = heapq.heappop(heap)[2].callback
            if callback is None:
                continue
            try:
                callback()
            except Exception:  # noqa: BLE001
                # One callback's mistake must not stop the beats of every session.
                _log.exception("a timer's callback failed")
            if self._heap is not heap:
                heap = self._heap
