"""Keys in use: the turn to change a key goes on in the order of asking, whoever gives up meanwhile."""

import asyncio

import pytest

from polysite.errors import Overloaded
from polysite.site.keys import LINE_MAX, KeyState
from polysite.site.timers import Timers
from polysite.testing.loop import seeded, simulated_runtime
from polysite.values.keys import LockKey

KEY = LockKey("ks", "votes", (b"a",))


@seeded(seeds=5)
async def test_a_turn_that_comes_to_one_who_gives_up_goes_on(seed: int) -> None:
    """Goal: a wait that is cancelled in the very moment it gets its turn hands the turn on. Method: let the turn come, and
    cancel before the waiter runs: first with another in line, who must get it, then with nobody, when the key must be free."""
    timers = Timers(simulated_runtime(seed))
    for bounded in (False, True):
        state = KeyState(KEY, KEY.encode())

        def enter(state: KeyState = state, bounded: bool = bounded) -> "asyncio.Task[bool]":
            return asyncio.ensure_future(state.enter(timers, 60.0) if bounded else state.enter())

        assert state.enter_now()
        first = enter()
        await asyncio.sleep(0.1)
        second = enter()
        await asyncio.sleep(0.1)
        state.leave()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second
        third = enter()
        await asyncio.sleep(0.1)
        state.leave()
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        assert state.enter_now(), "nobody has the turn, and nobody can get it"
    await timers.close()


@seeded
async def test_who_gave_up_takes_no_place_in_the_line(seed: int) -> None:
    """Goal: the line is full of those who wait, not of those who no longer do. Method: more waits than the line holds end one
    after the other, by their bound and by being cancelled; the next may still wait; a full line refuses."""
    timers = Timers(simulated_runtime(seed))
    state = KeyState(KEY, KEY.encode())
    assert state.enter_now()
    for number in range(LINE_MAX + 1):
        waiting = asyncio.ensure_future(state.enter(timers, 0.001 if number % 2 else 60.0))
        await asyncio.sleep(0.01)
        waiting.cancel()
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)
        assert ended is False or isinstance(ended, asyncio.CancelledError)
    full = [asyncio.ensure_future(state.enter(timers, 60.0)) for _ in range(LINE_MAX)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await state.enter(timers, 60.0)
    for task in full:
        task.cancel()
    await asyncio.gather(*full, return_exceptions=True)
    await timers.close()
