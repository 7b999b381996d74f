"""The seeded loop: the whole of asyncio's waiting on virtual time, in an order that the seed decides."""

import asyncio
import contextlib
import contextvars
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from polysite.testing.loop import (
    Leaked,
    OutsideWorld,
    SeededLoop,
    Stuck,
    Unretrieved,
    current_loop,
    run,
    run_traced,
)
from tests.support import traced_program
from tests.support.source import ROOT

SEEDS = range(25)


async def _order_of(count: int) -> list[int]:
    order: list[int] = []

    async def arrive(number: int) -> None:
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(arrive(number))
    return order


async def _spin(pause_s: float = 0) -> None:
    while True:  # noqa: ASYNC110
        await asyncio.sleep(pause_s)


def _fail() -> None:
    raise IndexError


# -- time ------------------------------------------------------------------------------------------------------------


def test_time_is_virtual() -> None:
    """A day's sleep takes a day of the loop's time and no step more than needed; deadlines fire in their order."""
    fired: list[tuple[str, float]] = []

    async def main() -> None:
        loop = current_loop()
        for name, delay_s in (("late", 7200.0), ("early", 0.25), ("never", 1.0)):
            handle = loop.call_later(delay_s, lambda name=name: fired.append((name, loop.time())))  # type: ignore[misc]
            if name == "never":
                handle.cancel()
        await asyncio.sleep(86_400)

    done = run_traced(main, seed=1, limit_s=100_000)
    assert fired == [("early", 0.25), ("late", 7200.0)]
    assert done.elapsed_s == 86_400.0
    assert done.steps < 10


def test_time_stands_while_something_is_ready() -> None:
    """However many steps are taken at one moment, it stays that moment, so computing costs no virtual time."""

    async def main() -> float:
        asyncio.get_running_loop().call_later(0.001, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        return current_loop().time()

    assert run(main, seed=1) == 0.0


def test_a_deadline_that_has_come_is_not_starved() -> None:
    """A timer due now fires although another task never stops yielding: otherwise `asyncio.timeout(0)` could not end it."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await _spin()
        task = asyncio.create_task(_spin())
        asyncio.get_running_loop().call_later(0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main, seed=1, limit_steps=10_000)


def test_cancelled_timers_do_not_pile_up() -> None:
    """A long run that arms and cancels a far deadline per call holds a bounded number of them."""

    async def main() -> int:
        for _ in range(5000):
            async with asyncio.timeout(3000):
                await asyncio.sleep(0.001)
        return len(current_loop()._timers)

    assert run(main, seed=1) < 300


# -- order -----------------------------------------------------------------------------------------------------------


def test_shuffle_draws_the_order_and_fifo_keeps_it() -> None:
    """Seeds give different orders of ready tasks, one seed gives one, and without shuffle they go as in asyncio."""
    orders = {tuple(run(_order_of(6), seed=seed)) for seed in SEEDS}
    assert len(orders) > 15
    assert run(_order_of(6), seed=3) == run(_order_of(6), seed=3)
    assert run(_order_of(6), seed=3, shuffle=False) == list(range(6))


def test_every_order_of_three_is_drawn() -> None:
    """The draw is fair enough that a hundred seeds meet all six orders of three tasks: no order is beyond reach."""
    assert len({tuple(run(_order_of(3), seed=seed)) for seed in range(100)}) == 6


def test_a_race_is_found_by_some_seed() -> None:
    """The lost update of a read and a write with a yield between them shows under shuffle, and the seed shows it again."""

    async def main() -> int:
        total = 0

        async def add() -> None:
            nonlocal total
            await asyncio.sleep(0)
            read = total
            if read:
                await asyncio.sleep(0)
            total = read + 1

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(add())
        return total

    totals = [run(main, seed=seed) for seed in SEEDS]
    assert set(totals) == {2, 3}
    assert totals == [run(main, seed=seed) for seed in SEEDS]


# -- the trace -------------------------------------------------------------------------------------------------------


def test_same_seed_same_trace_in_fresh_processes() -> None:
    """Three processes with different hash seeds, allocators' states and collection thresholds agree on the trace hash.

    The program cancels a set of tasks, waits on sets, abandons a generator to the garbage collector and names a task by an
    address: everything whose order or name an address would decide.
    """
    hashes = {
        subprocess.run(
            [sys.executable, "-m", "tests.support.traced_program", "7", junk],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for hash_seed, junk in (("1", "0"), ("2", "1234"), ("random", "99"))
    }
    assert len(hashes) == 1
    assert run_traced(traced_program.main, seed=7).trace_hash in hashes
    assert run_traced(traced_program.main, seed=8).trace_hash not in hashes


def test_the_trace_tells_steps_times_and_notes() -> None:
    """The hash moves with a task's name, a callback's name, the virtual time and a note, and with nothing else."""

    def program(
        *, name: str = "a", delay_s: float = 1.0, note: str = "x", other: bool = False
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        async def first() -> None:
            await asyncio.sleep(delay_s)

        async def second() -> None:
            await asyncio.sleep(delay_s)

        async def main() -> None:
            await asyncio.create_task(second() if other else first(), name=name)
            current_loop().note(note)

        return main

    def hash_of(**difference: Any) -> str:
        return run_traced(program(**difference), seed=1).trace_hash

    differences: list[dict[str, Any]] = [{"name": "b"}, {"delay_s": 1.5}, {"note": "y"}, {"other": True}]
    hashes = {hash_of(), *(hash_of(**difference) for difference in differences)}
    assert len(hashes) == 5
    assert hash_of() == hash_of()
    assert hash_of(note="<at 0x7f00aa>") == hash_of(note="<at 0x7f00bb>"), "addresses are no part of the trace"


def test_the_trace_can_be_read() -> None:
    """`trace` is told each step in order, so that two runs can be compared to find where they part."""
    lines: list[str] = []

    async def main() -> None:
        await asyncio.create_task(asyncio.sleep(2.5), name="sleeper")
        current_loop().note("woke")

    run(main, seed=1, trace=lines.append)
    assert lines[0].startswith("0.0 main ")
    assert lines[1] == "0.0 sleeper sleep"
    assert "2.5 sleeper sleep" in lines
    assert "2.5 note woke" in lines


# -- being stuck -----------------------------------------------------------------------------------------------------


def test_a_deadlock_is_an_error_at_once() -> None:
    """Two tasks that wait for each other's lock raise `Stuck`, which lists both and the lines where they wait."""

    async def take(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await asyncio.sleep(1)
            async with second:
                pass

    async def main() -> None:
        one, two = asyncio.Lock(), asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            group.create_task(take(one, two), name="one-two")
            group.create_task(take(two, one), name="two-one")

    with pytest.raises(Stuck, match="no timer is left") as stuck:
        run(main, seed=1)
    assert [line.split(":")[0] for line in stuck.value.pending] == ["main", "one-two", "two-one"]
    assert "Lock.acquire" in stuck.value.pending[1]
    assert "test_loop.py" in stuck.value.pending[1]
    assert "virtual seconds" in "".join(stuck.value.__notes__)


def test_limits_end_a_run() -> None:
    """Virtual time and steps are bounded: a poller that never ends and a spinner that never sleeps are both told."""

    with pytest.raises(Stuck, match="past the limit of 60"):
        run(lambda: _spin(1), seed=1, limit_s=60)
    with pytest.raises(Stuck, match="more than 500 steps"):
        run(_spin, seed=1, limit_steps=500)
    run(asyncio.sleep(60), seed=1, limit_s=60)


def test_stuck_tells_the_error_that_caused_it() -> None:
    """When a task died unseen and another waits for it, the report names the error too."""

    async def main() -> None:
        event = asyncio.Event()

        async def dies() -> None:
            votes: dict[str, int] = {}
            votes["gone"] += 1
            event.set()

        task = asyncio.create_task(dies())
        await event.wait()
        await task

    with pytest.raises(Stuck) as stuck:
        run(main, seed=1)
    assert any("KeyError('gone')" in note for note in stuck.value.__notes__)


# -- a clean end -----------------------------------------------------------------------------------------------------


def test_a_task_left_behind_is_told_by_name() -> None:
    """A run whose main ends while a task still waits raises `Leaked` with the task's name; the task is cancelled."""
    unwound = []

    async def lingers() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            unwound.append(True)

    async def main() -> None:
        current_loop().lingering = asyncio.create_task(lingers(), name="lingerer")  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    with pytest.raises(Leaked, match=r"pending task lingerer: .*lingers") as leaked:
        run(main, seed=1)
    assert "seed 1" in "".join(leaked.value.__notes__)
    assert unwound


def test_what_needs_no_time_may_end_after_main() -> None:
    """A task cancelled or woken as main returns is no leak: it ends at the same moment."""

    async def main() -> None:
        event = asyncio.Event()
        loop = current_loop()
        loop.kept = [asyncio.create_task(event.wait()), asyncio.create_task(asyncio.sleep(9))]  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        event.set()
        loop.kept[1].cancel()  # type: ignore[attr-defined]

    run(main, seed=1)


@pytest.mark.parametrize("kept", [True, False], ids=["referred to", "collected"])
def test_an_error_nobody_awaited_fails_the_run(kept: bool) -> None:
    """The error of a task that nobody awaits is raised, with its type, whether or not something still refers to the task."""
    tasks: list[asyncio.Task[None]] = []

    async def fails() -> None:
        raise ValueError("unseen")

    async def main() -> None:
        task = asyncio.create_task(fails(), name="failing")
        if kept:
            tasks.append(task)
        await asyncio.sleep(1)

    with pytest.raises(Unretrieved) as unretrieved:
        run(main, seed=1)
    (error,) = unretrieved.value.exceptions
    assert isinstance(error, ValueError)
    assert "failing" in "".join(error.__notes__)


def test_an_error_in_a_callback_fails_the_run() -> None:
    """So is the error of a plain callback, which asyncio would only log; the other callbacks still run."""
    after: list[bool] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, _fail)
        asyncio.get_running_loop().call_later(2, after.append, True)
        await asyncio.sleep(3)

    with pytest.raises(Unretrieved) as unretrieved:
        run(main, seed=1)
    assert isinstance(unretrieved.value.exceptions[0], IndexError)
    assert after == [True]


def test_the_mains_own_error_comes_first() -> None:
    """What main raises is raised as it is; leaks and unseen errors are notes on it."""

    async def main() -> None:
        current_loop().lingering = asyncio.create_task(asyncio.sleep(9), name="lingerer")  # type: ignore[attr-defined]
        asyncio.get_running_loop().call_soon(_fail)
        await asyncio.sleep(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as error:
        run(main, seed=5)
    notes = "\n".join(error.value.__notes__)
    assert "pending task lingerer" in notes
    assert "IndexError" in notes
    assert "seed 5" in notes


def test_a_thread_left_behind_is_told() -> None:
    """A thread that the run started and did not end is a leak, named as such."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="stray")

    async def main() -> None:
        thread.start()

    try:
        with pytest.raises(Leaked, match="thread stray"):
            run(main, seed=1)
    finally:
        release.set()
        thread.join()


def test_an_abandoned_generator_is_closed() -> None:
    """An asynchronous generator left in the middle is closed before the run ends, and is no leak."""
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main() -> None:
        async for _ in numbers():
            break

    run(main, seed=1)
    assert closed == ["closed"]


def test_an_abandoned_generator_in_a_circle_is_closed() -> None:
    """What only the garbage collector finds is found too: at the end, at the end of what the end set off, and in a long run."""
    closed: list[str] = []

    async def numbers(name: str, then: str | None) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            if then:
                await _abandon_in_a_circle(numbers(then, None))
            closed.append(name)

    async def main() -> None:
        await _abandon_in_a_circle(numbers("middle", None))
        for _ in range(6_000):
            await asyncio.sleep(0)
        assert closed == ["middle"], "a long run collects as it goes"
        await _abandon_in_a_circle(numbers("end", "end of the end"))

    run(main, seed=1)
    assert closed == ["middle", "end", "end of the end"]


async def _abandon_in_a_circle(generator: AsyncIterator[int]) -> None:
    await anext(generator)
    circle: list[object] = [generator]
    circle.append(circle)


def test_a_stubborn_task_does_not_hang_the_end() -> None:
    """A task that swallows every cancellation and spins is reported, and the run ends."""

    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

    async def main() -> None:
        current_loop().kept = asyncio.create_task(stubborn(), name="stubborn")  # type: ignore[attr-defined]

    with pytest.raises(Leaked, match="stubborn"):
        run(main, seed=1)


# -- asyncio's own tools ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_asyncio_tools_work_in_any_order(seed: int) -> None:
    """Queue, Lock, Condition, Semaphore, Event, Barrier, shield, wait_for and groups keep their promises under every shuffle."""

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        condition, lock, semaphore = asyncio.Condition(), asyncio.Lock(), asyncio.Semaphore(2)
        barrier, event = asyncio.Barrier(4), asyncio.Event()
        inside = most = 0
        taken: list[int] = []

        async def produce() -> None:
            for number in range(20):
                await queue.put(number)

        async def consume() -> None:
            while len(taken) < 20:
                taken.append(await queue.get())
                async with condition:
                    condition.notify_all()

        async def limited() -> None:
            nonlocal inside, most
            await barrier.wait()
            async with semaphore:
                inside += 1
                most = max(most, inside)
                async with lock:
                    await asyncio.sleep(0.5)
                inside -= 1
            event.set()

        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
            for _ in range(4):
                group.create_task(limited())
            async with condition:
                await condition.wait_for(lambda: len(taken) == 20)
            await asyncio.wait_for(event.wait(), 10)
        assert taken == list(range(20))
        assert most == 2
        assert current_loop().time() == 2.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.sleep(0.5)), 0.25)
        await asyncio.sleep(1)

    run(main, seed=seed)


def test_a_group_gathers_errors() -> None:
    """A task group cancels the rest, waits for them and raises both errors as one group."""

    async def fails(error: Exception, after_s: float) -> None:
        try:
            await asyncio.sleep(after_s)
        except asyncio.CancelledError:
            raise error from None
        raise error

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(ValueError("first"), 1))
            group.create_task(fails(KeyError("second"), 2))

    with pytest.raises(ExceptionGroup) as errors:
        run(main, seed=1)
    assert sorted(type(error).__name__ for error in errors.value.exceptions) == ["KeyError", "ValueError"]


def test_context_is_kept() -> None:
    """Each task and callback runs in its own context, as on any loop."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="outer")
    seen: list[str] = []

    async def inner() -> None:
        name.set("inner")
        await asyncio.sleep(1)
        seen.append(name.get())

    async def main() -> None:
        task = asyncio.create_task(inner())
        await asyncio.sleep(2)
        asyncio.get_running_loop().call_soon(lambda: seen.append(name.get()))
        await task
        await asyncio.sleep(0.1)

    run(main, seed=1)
    assert seen == ["inner", "outer"]


def test_wait_idle_waits_for_everybody_but_not_for_time() -> None:
    """`wait_idle` returns when all others wait, however many steps that takes, and no virtual time passes."""
    done: list[str] = []

    async def hops() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        done.append("hops")
        await asyncio.sleep(1)
        done.append("slept")

    async def main() -> None:
        task = asyncio.create_task(hops())
        await current_loop().wait_idle()
        assert done == ["hops"]
        assert current_loop().time() == 0.0
        await task

    run(main, seed=1)


# -- the outside world -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reach",
    [
        lambda: asyncio.open_connection("127.0.0.1", 9),
        lambda: asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0),
        lambda: asyncio.open_unix_connection("/tmp/none"),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.create_subprocess_shell("true"),
        lambda: asyncio.to_thread(int),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
        lambda: asyncio.get_running_loop().run_in_executor(None, int),
    ],
)
def test_the_outside_world_is_refused(reach: Callable[[], Any]) -> None:
    """Whatever needs a socket, a subprocess or a thread is refused with the reason, before anything is opened."""

    async def main() -> None:
        with pytest.raises(OutsideWorld, match="no seed decides"):
            await reach()

    run(main, seed=1)


def test_signals_and_readers_are_refused() -> None:
    """So are signal handlers and watched file descriptors."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(OutsideWorld, match="a signal"):
            loop.add_signal_handler(15, lambda: None)
        with pytest.raises(OutsideWorld, match="a socket"):
            loop.add_reader(0, lambda: None)

    run(main, seed=1)


def test_threads_can_be_run_inline() -> None:
    """With `inline_threads` the function runs on the loop: its result, its error and its thread are what they must be."""

    async def main() -> None:
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run(main, seed=1, inline_threads=True)


def test_another_thread_may_not_call() -> None:
    """`call_soon_threadsafe` works from the loop's own thread and raises in any other, where it would bring in chance."""
    seen: list[BaseException | str] = []

    async def main() -> None:
        loop = current_loop()

        def intrude() -> None:
            try:
                loop.call_soon_threadsafe(seen.append, "intruded")
            except OutsideWorld as error:
                seen.append(error)

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(seen.append, "own")
        await asyncio.sleep(0.1)

    run(main, seed=1)
    assert isinstance(seen[0], OutsideWorld)
    assert seen[1:] == ["own"]


def test_current_loop_is_a_seeded_one() -> None:
    """`current_loop` refuses another kind of loop, so that a test never runs in real time unnoticed."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="not on a SeededLoop"):
            current_loop()

    asyncio.run(main())


def test_a_loop_ends_and_cannot_be_used_again() -> None:
    """A closed loop refuses new work, as asyncio's do."""
    loop = SeededLoop(1)
    assert loop.run_until_complete(asyncio.sleep(3, "result")) == "result"
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
