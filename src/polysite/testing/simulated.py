"""A process's clock and chance, simulated: what `polysite.clock` asks for, driven by a loop's virtual time and a seed.

Every simulated process gets its own `SimulatedClock`, so that clocks drift, stand and jump against each other while the
loop's `time()` stays the one true time of the run. `simulated_runtime` puts the parts together.
"""

import asyncio
import math
import random
from dataclasses import dataclass

from polysite.clock import Runtime, TaskSpawner

_WALL_START_US = 1_700_000_000_000_000


@dataclass
class _Sleeper:
    """A sleep under way: it ends when the clock's monotonic time reaches `deadline_s`."""

    deadline_s: float
    woken: "asyncio.Future[None]"
    timer: asyncio.TimerHandle | None = None


class SimulatedClock:
    """One process's clocks over the loop's virtual time; a `polysite.clock.Clock`.

    `rate` is the seconds of this clock per second of virtual time: 1.0 keeps true time, 1.001 gains 1 ms per second, 0.0
    stands still. The monotonic clock reads `monotonic_start_s` at first, the wall clock `wall_start_us`. Both run at
    `rate`; only the wall clock can be set back.

    A sleep ends at the first virtual moment at which `monotonic_s()` has reached its deadline, whatever was done to the
    clock meanwhile; on a clock that stands it does not end (if nothing else is left to happen, the run is `Stuck`).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        rate: float = 1.0,
        monotonic_start_s: float = 1000.0,
        wall_start_us: int = _WALL_START_US,
    ) -> None:
        """Start the clock now. Without `loop` it is that of the running task."""
        self._loop = asyncio.get_running_loop() if loop is None else loop
        self._rate = _checked_rate(rate)
        self._base_s = self._loop.time()
        self._monotonic_s = monotonic_start_s
        self._wall_us = float(wall_start_us)
        self._wall_offset_us = 0
        self._sleepers: dict[int, _Sleeper] = {}
        self._sleeps = 0

    @property
    def rate(self) -> float:
        """Seconds of this clock per second of virtual time."""
        return self._rate

    def monotonic_s(self) -> float:
        return self._monotonic_at(self._loop.time())

    def wall_us(self) -> int:
        elapsed_s = (self._loop.time() - self._base_s) * self._rate
        return round(self._wall_us + elapsed_s * 1e6) + self._wall_offset_us

    async def sleep_s(self, duration_s: float) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        self._sleeps += 1
        number = self._sleeps
        sleeper = _Sleeper(self.monotonic_s() + duration_s, self._loop.create_future())
        self._sleepers[number] = sleeper
        self._arm(sleeper)
        try:
            await sleeper.woken
        finally:
            del self._sleepers[number]
            if sleeper.timer is not None:
                sleeper.timer.cancel()

    def set_rate(self, rate: float) -> None:
        """Run at `rate` from now on; sleeps under way end when this clock says so. 0.0 stops the clock."""
        rate = _checked_rate(rate)
        self._rebase()
        self._rate = rate
        self._arm_all()

    def step_wall_us(self, by_us: int) -> None:
        """Move the wall clock by `by_us` microseconds, forward or back, as an administrator or a time daemon would."""
        self._wall_offset_us += by_us

    def step_monotonic_s(self, by_s: float) -> None:
        """Move the monotonic clock forward by `by_s` seconds, as a machine does that was frozen; the wall clock stays.

        Sleeps whose deadline is passed by it end at once. Raises `ValueError` for a step back: a monotonic clock has none.
        """
        if not by_s >= 0:
            raise ValueError(f"a monotonic clock does not go back (asked for {by_s} s)")
        self._rebase()
        self._monotonic_s += by_s
        self._arm_all()

    def _monotonic_at(self, time_s: float) -> float:
        return self._monotonic_s + (time_s - self._base_s) * self._rate

    def _rebase(self) -> None:
        now_s = self._loop.time()
        elapsed_s = (now_s - self._base_s) * self._rate
        self._monotonic_s += elapsed_s
        self._wall_us += elapsed_s * 1e6
        self._base_s = now_s

    def _arm_all(self) -> None:
        for sleeper in self._sleepers.values():
            self._arm(sleeper)

    def _arm(self, sleeper: _Sleeper) -> None:
        if sleeper.timer is not None:
            sleeper.timer.cancel()
            sleeper.timer = None
        if sleeper.woken.done():
            return
        left_s = sleeper.deadline_s - self.monotonic_s()
        if left_s > 0 and self._rate == 0.0:
            return
        wake_s = self._loop.time()
        if left_s > 0:
            wake_s += left_s / self._rate
            # Division rounds: at `wake_s` the clock may still read a hair less than the deadline, and a caller who sleeps
            # for the rest would then spin without time moving. Go on to the first moment that has reached it.
            hair_s = math.ulp(wake_s)
            while self._monotonic_at(wake_s) < sleeper.deadline_s:
                wake_s += hair_s
                hair_s *= 2
        sleeper.timer = self._loop.call_at(wake_s, _wake, sleeper.woken)


class SeededRandomness:
    """Chance that its seed decides; a `polysite.clock.Randomness`. For tests and simulation only: its secrets are no secrets."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self._random = random.Random(seed)

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def below(self, bound: int) -> int:
        """A whole number from 0 up to, and without, `bound`."""
        return self._random.randrange(bound)

    def fork(self, label: str) -> "SeededRandomness":
        """An independent stream that this seed and `label` decide, whatever was drawn here so far.

        Give each process its own, so that a draw more in one does not change what the others draw.
        """
        return SeededRandomness(f"{self.seed}/{label}")


def simulated_runtime(
    seed: int | str, *, process: str = "process", loop: asyncio.AbstractEventLoop | None = None, rate: float = 1.0
) -> Runtime:
    """What one simulated process lives with: its own clock at `rate`, its own chance of `seed` and `process`.

    Without `loop` it is the running one.
    """
    return Runtime(
        clock=SimulatedClock(loop, rate=rate),
        randomness=SeededRandomness(f"{seed}/{process}"),
        spawner=TaskSpawner(),
    )


def _checked_rate(rate: float) -> float:
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"a clock's rate is 0 or more and finite, not {rate}")
    return rate


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
