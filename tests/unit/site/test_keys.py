"""Keys in use: the turn to change a key goes on in the order of asking, whoever gives up meanwhile."""

import asyncio

import pytest
from msgspec.structs import replace

from polysite.core import lock_cell
from polysite.errors import Overloaded
from polysite.site.keys import LINE_MAX, UNSEEN, KeyState, KeyTable
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


@seeded
async def test_a_turn_passes_over_who_gave_up(seed: int) -> None:
    """Goal: a turn goes to the first in line who still waits. Method: the bound of the first wait passes in the very moment in which
    the turn is handed on."""
    timers = Timers(simulated_runtime(seed))
    state = KeyState(KEY, KEY.encode())
    assert state.enter_now()
    first = asyncio.ensure_future(state.enter(timers, 60.0))
    await asyncio.sleep(0.1)
    second = asyncio.ensure_future(state.enter(timers, 60.0))
    await asyncio.sleep(0.1)
    assert state.line is not None
    state.line[0].set_result(False)
    state.leave()
    assert [await first, await second] == [False, True]
    await timers.close()


def test_older_views_are_ignored() -> None:
    """Goal: a view never goes back, nor is one taken twice. Method: take views out of order."""
    state = KeyState(KEY, KEY.encode())
    newer, older = lock_cell.NEVER_USED, replace(lock_cell.NEVER_USED, issued=7)
    assert state.take_view(5, newer)
    for version in (4, 5):
        assert not state.take_view(version, older)
        assert (state.version, state.cell) == (5, newer)
    assert state.take_view(6, older)


def test_a_state_that_outlived_its_key() -> None:
    """Goal: a key has one state in use at a time, found by everybody; a call that comes back to an older state uses it beside that.
    Method: keep a state that is in use, idle, forgotten, or followed by another; drop what was taken, in both orders."""
    table = KeyTable(views_max=4)
    state = table.take(KEY, KEY.encode())
    state.version = 1
    table.keep(state)
    table.drop(state)
    assert table.find(KEY.encode()) is state
    table.drop(state)
    assert table.find(KEY.encode()) is None
    table.keep(state)
    assert table.find(KEY.encode()) is state
    assert table.take(KEY, KEY.encode()) is state
    table.drop(state)
    table.drop(state)
    table.forget_views()
    newer = table.take(KEY, KEY.encode())
    assert newer is not state
    for _ in range(2):
        table.keep(state)
        assert table.find(KEY.encode()) is newer
        table.drop(state)
        assert table.find(KEY.encode()) is newer
    newer.version = 2
    table.drop(newer)
    table.keep(state)
    assert table.find(KEY.encode()) is state
    table.drop(state)
    assert len(table) == 0


def test_views_are_bounded() -> None:
    """Goal: no more views of idle keys are kept than may be, the newest; none of a cell that was never looked at. Method: use more
    keys than that, one after the other."""
    table = KeyTable(views_max=2)
    keys = [LockKey("ks", "votes", (b"%d" % number,)) for number in range(4)]
    for version, key in enumerate(keys):
        state = table.take(key, key.encode())
        state.version = version if version != 2 else UNSEEN
        table.drop(state)
    kept = []
    for key in keys:
        state = table.take(key, key.encode())
        kept.append(state.version)
    assert kept == [UNSEEN, 1, UNSEEN, 3]
