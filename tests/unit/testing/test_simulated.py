"""The simulated clock drifts, stands, steps and jumps as told, and its sleeps follow it; seeded chance is its seed's."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polysite.clock import Clock, Randomness
from polysite.testing.loop import (
    SeededRandomness,
    SimulatedClock,
    Stuck,
    current_loop,
    run,
    seeded,
    simulated_runtime,
)


@seeded
async def test_two_clocks_drift_apart() -> None:
    """A clock that gains 10 % sleeps shorter by the loop's time, and both show what their own rate makes of it."""
    true, fast = SimulatedClock(), SimulatedClock(rate=1.1, monotonic_start_s=50.0, wall_start_us=5_000_000)
    await fast.sleep_s(11)
    assert current_loop().time() == pytest.approx(10.0)
    assert fast.monotonic_s() == pytest.approx(61.0)
    assert fast.monotonic_s() >= 61.0
    assert fast.wall_us() == pytest.approx(16_000_000, abs=1)
    assert true.monotonic_s() == pytest.approx(1010.0)


@seeded
async def test_a_change_of_rate_moves_sleeps_under_way() -> None:
    """A sleep under way ends when its own clock says so, though the clock is stopped, started and sped up meanwhile."""
    clock = SimulatedClock()
    sleep = asyncio.ensure_future(clock.sleep_s(10))
    await asyncio.sleep(4)
    clock.set_rate(0.0)
    await asyncio.sleep(100)
    assert not sleep.done()
    assert clock.monotonic_s() == 1004.0
    clock.set_rate(2.0)
    await sleep
    assert current_loop().time() == pytest.approx(107.0)
    assert clock.wall_us() - SimulatedClock().wall_us() == pytest.approx(10_000_000, abs=1)


def test_a_clock_that_stands_never_wakes() -> None:
    """With nothing else to happen, a sleep on a standing clock is a deadlock and told as one."""

    async def main() -> None:
        await SimulatedClock(rate=0.0).sleep_s(1)

    with pytest.raises(Stuck, match="no timer is left"):
        run(main, seed=1)


@seeded
async def test_the_wall_steps_either_way_and_the_monotonic_clock_does_not_notice() -> None:
    """Setting the wall clock back moves neither the monotonic clock nor a sleep."""
    clock = SimulatedClock(wall_start_us=1_000_000)
    sleep = asyncio.ensure_future(clock.sleep_s(2))
    clock.step_wall_us(-600_000)
    assert clock.wall_us() == 400_000
    await sleep
    assert current_loop().time() == 2.0
    assert clock.wall_us() == 2_400_000
    assert clock.monotonic_s() == 1002.0


@seeded
async def test_the_monotonic_clock_jumps_forward_only() -> None:
    """A jump past the deadline ends a sleep at once, a shorter one shortens it, and a step back is refused."""
    clock = SimulatedClock()
    short, long = asyncio.ensure_future(clock.sleep_s(5)), asyncio.ensure_future(clock.sleep_s(50))
    await asyncio.sleep(1)
    clock.step_monotonic_s(30)
    await short
    assert current_loop().time() == 1.0
    await long
    assert current_loop().time() == 20.0
    for nonsense in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="does not go back"):
            clock.step_monotonic_s(nonsense)
    for nonsense in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate"):
            clock.set_rate(nonsense)


@seeded
async def test_a_cancelled_sleep_leaves_nothing() -> None:
    """A sleep that is cancelled, also while the clock's rate changes, neither wakes nor fails later."""
    clock = SimulatedClock()
    sleep = asyncio.ensure_future(clock.sleep_s(5))
    await asyncio.sleep(1)
    sleep.cancel()
    clock.set_rate(3.0)
    with pytest.raises(asyncio.CancelledError):
        await sleep
    assert not clock._sleepers
    await clock.sleep_s(0)
    await clock.sleep_s(-1)
    assert current_loop().time() == 1.0


@example(rate=1.1, start_s=1000.0, naps_s=[0.1] * 8)
@given(
    rate=st.floats(1e-3, 1e3),
    start_s=st.floats(0, 1e9),
    naps_s=st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=8),
)
def test_a_sleeper_that_sleeps_for_the_rest_gets_there(rate: float, start_s: float, naps_s: list[float]) -> None:
    """For any rate and length, a sleep ends with its deadline reached, so `while now < deadline: sleep the rest` never spins."""

    async def main() -> None:
        clock = SimulatedClock(rate=rate, monotonic_start_s=start_s)
        for nap_s in naps_s:
            deadline_s = clock.monotonic_s() + nap_s
            rounds = 0
            while clock.monotonic_s() < deadline_s:
                rest_s = deadline_s - clock.monotonic_s()
                wanted_s = clock.monotonic_s() + rest_s
                await clock.sleep_s(rest_s)
                assert clock.monotonic_s() >= wanted_s
                rounds += 1
            assert rounds <= 2

    run(main, seed=1, limit_s=1e8, limit_steps=200)


def test_chance_is_its_seeds() -> None:
    """One seed gives one stream; forks have their own by label, whatever was drawn from the parent before."""
    one, same, other = SeededRandomness(5), SeededRandomness(5), SeededRandomness(6)
    assert one.random_bytes(16) == same.random_bytes(16) != other.random_bytes(16)
    assert one.uniform(2, 3) == same.uniform(2, 3)
    assert {one.below(3) for _ in range(100)} == {0, 1, 2}
    assert one.fork("a").random_bytes(8) == same.fork("a").random_bytes(8) != same.fork("b").random_bytes(8)


@seeded
async def test_a_runtime_is_whole() -> None:
    """A simulated runtime serves the seams of production; two processes of one seed draw differently."""
    one, two = simulated_runtime(1, process="one"), simulated_runtime(1, process="two", rate=2.0)
    clock: Clock = two.clock
    randomness: Randomness = one.randomness
    assert randomness.random_bytes(8) != two.randomness.random_bytes(8)
    await one.spawner.spawn(clock.sleep_s(4), name="sleeper")
    assert current_loop().time() == 2.0
