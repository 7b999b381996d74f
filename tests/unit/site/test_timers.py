"""Timers: called in order, once, at their time; cancelled ones never."""

import asyncio

from polysite.site.timers import Timers
from polysite.testing.loop import seeded, simulated_runtime


@seeded(seeds=10)
async def test_order(seed: int) -> None:
    """Goal: callbacks come in the order of their times, an earlier one added later included. Method: note when each came."""
    runtime = simulated_runtime(seed)
    timers, came = Timers(runtime), []
    start_s = runtime.clock.monotonic_s()

    def note(name: str) -> None:
        came.append((name, round(runtime.clock.monotonic_s() - start_s, 6)))

    timers.after(5.0, lambda: note("five"))
    dropped = timers.after(3.0, lambda: note("never"))
    await asyncio.sleep(1.0)
    timers.after(1.0, lambda: note("two"))
    dropped.cancel()
    timers.after(1.0, lambda: timers.after(1.0, lambda: note("three")))  # type: ignore[arg-type]
    await asyncio.sleep(10.0)
    assert came == [("two", 2.0), ("three", 3.0), ("five", 5.0)]
    timers.after(1.0, lambda: note("late"))
    await timers.close()
    await asyncio.sleep(2.0)
    assert len(came) == 3


@seeded
async def test_many_cancelled(seed: int) -> None:
    """Goal: cancelled timers do not pile up. Method: make and cancel many more than are kept."""
    timers = Timers(simulated_runtime(seed))
    for _ in range(20_000):
        timers.after(1_000.0, lambda: None).cancel()
    assert len(timers._heap) <= 2_048
    await timers.close()
