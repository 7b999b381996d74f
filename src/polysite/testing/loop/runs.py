"""Carrying coroutines and tests through a `SeededLoop`, and insisting on a clean end; use it from `polysite.testing.loop`."""

import contextlib
import functools
import gc
import inspect
import math
import os
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload

from polysite.testing.loop.event_loop import Leaked, SeededLoop, Stuck, Unretrieved

T = TypeVar("T")
P = ParamSpec("P")
Main = Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]]

_SETTLE_STEPS = 20_000


@dataclass(frozen=True)
class Run(Generic[T]):
    """What a run came to: `result` of its main coroutine, and the `trace_hash`, steps and virtual seconds it took."""

    result: T
    seed: int | str
    trace_hash: str
    steps: int
    elapsed_s: float


def run(main: Main[T], *, seed: int | str, limit_s: float = 3600.0, limit_steps: int = 1_000_000, **options: Any) -> T:
    """The result of `main` (a coroutine, or a function that makes one), carried out on a `SeededLoop` of its own.

    Raises what `main` raises; `Stuck` at once when nothing can happen any more, or past `limit_s` virtual seconds or
    `limit_steps` steps. When `main` has returned, what is ready still runs (no time passes); after that a task that is not
    done raises `Leaked`, and an error that nobody awaited raises `Unretrieved` (one left before `main` failed is a note on
    its error). `options` are those of `run_traced`.
    """
    return run_traced(main, seed=seed, limit_s=limit_s, limit_steps=limit_steps, **options).result


def run_traced(
    main: Main[T],
    *,
    seed: int | str,
    limit_s: float = 3600.0,
    limit_steps: int = 1_000_000,
    shuffle: bool = True,
    inline_threads: bool = False,
    trace: Callable[[str], None] | None = None,
) -> Run[T]:
    """As `run`, with the figures and the hash of the run beside its result; the options are those of `SeededLoop`."""
    with _steady_collection():
        loop = SeededLoop(
            seed,
            shuffle=shuffle,
            limit_s=limit_s,
            limit_steps=limit_steps,
            inline_threads=inline_threads,
            trace=trace,
        )
        threads = set(threading.enumerate())
        try:
            result = loop.run_until_complete(loop.create_task(main() if callable(main) else main, name="main"))
            # First, because abandoned generators that it finds close themselves by a task.
            gc.collect()
            loop.settle(steps=_SETTLE_STEPS)
        except BaseException as error:
            for line in _left_behind(loop, threads):
                # `Stuck` lists the pending tasks itself.
                if not isinstance(error, Stuck) or "pending" not in line:
                    error.add_note(line)
            error.add_note(_figures(loop))
            _tear_down(loop)
            raise
        done = Run(result, seed, loop.trace_hash, loop.steps, loop.time())
        left = _left_behind(loop, threads)
        figures = _figures(loop)
        _tear_down(loop)
        _raise_if_unclean(loop.failures, left, figures)
        return done


def _raise_if_unclean(failures: list[Exception], left: list[str], figures: str) -> None:
    leaks = [line for line in left if not line.startswith("unretrieved")]
    error: Exception
    if failures:
        error = Unretrieved("nobody awaited these errors", failures)
        for line in leaks:
            error.add_note(line)
    elif leaks:
        error = Leaked("the run left behind:\n  " + "\n  ".join(leaks))
    else:
        return
    error.add_note(figures)
    raise error


def _left_behind(loop: SeededLoop, threads: set[threading.Thread]) -> list[str]:
    """One line per pending task, error without an owner (also added to `loop.failures`) and new thread."""
    for task in loop.tasks():
        # The flag that asyncio itself goes by when it logs "exception was never retrieved", but only on collection of the
        # task; a task that something still refers to would keep its error to itself.
        if task.done() and not task.cancelled() and getattr(task, "_log_traceback", False):
            loop.call_exception_handler(
                {"message": "nobody awaited this task", "exception": task.exception(), "task": task}
            )
    left = [f"pending task {line}" for line in loop.pending()]
    left += [f"unretrieved error {error!r}" for error in loop.failures]
    left += [f"thread {thread.name}" for thread in threading.enumerate() if thread not in threads]
    return left


def _tear_down(loop: SeededLoop) -> None:
    """Cancel what is pending, let it unwind, close generators and the loop. Errors on the way are not reported."""
    loop.limit_s = math.inf
    kept = list(loop.failures)
    for _ in range(3):
        pending = [task for task in loop.tasks() if not task.done()]
        for task in pending:
            task.cancel()
        loop.settle(steps=_SETTLE_STEPS, until_s=loop.time() + 60.0)
    closing = loop.create_task(loop.shutdown_asyncgens(), name="close generators")
    loop.settle(steps=_SETTLE_STEPS, until_s=loop.time() + 60.0)
    for task in loop.tasks():
        if task.done() and not task.cancelled():
            task.exception()
    del closing
    loop.failures[:] = kept
    loop.close()


def _figures(loop: SeededLoop) -> str:
    return f"seed {loop.seed}, trace {loop.trace_hash}, {loop.steps} steps, {loop.time():.6f} virtual seconds"


@contextlib.contextmanager
def _steady_collection() -> Generator[None, None, None]:
    """Let garbage be collected only by the loop, every so many steps.

    Otherwise it happens at moments that depend on what the process did before, and finalisers (an abandoned asynchronous
    generator closes itself by a task) would put steps at places that no seed decides. What existed before is frozen, which
    also keeps the collections short.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


@overload
def seeded(function: Callable[P, Coroutine[Any, Any, None]], /) -> Callable[P, None]: ...


@overload
def seeded(
    *,
    seeds: int | Iterable[int] = 1,
    limit_s: float = 3600.0,
    limit_steps: int = 1_000_000,
    shuffle: bool = True,
    inline_threads: bool = False,
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]: ...


def seeded(function: Any = None, /, *, seeds: int | Iterable[int] = 1, **options: Any) -> Any:
    """Make a test of an `async def`: it runs on a `SeededLoop`, once per seed, and must end clean (see `run`).

        @seeded(seeds=20, limit_s=60)
        async def test_two_clients(tmp_path: Path) -> None: ...

    `seeds` is a count (seeds 0, 1, …) or the seeds themselves. Under pytest each seed is a case of its own, and a test that
    has a parameter `seed` is given it; called by hand without one, the function runs them all. Fixtures work as usual and are
    made outside the loop. A failure carries a note with the seed and the trace hash.

    The environment decides over `seeds`: POLYSITE_SEED=17 runs that seed alone (to see a failure again), POLYSITE_SEEDS=500
    that many (to search).
    """
    if function is None:
        return functools.partial(_seeded, seeds=seeds, options=options)
    return _seeded(function, seeds=seeds, options=options)


def _seeded(function: Callable[..., Coroutine[Any, Any, None]], seeds: int | Iterable[int], options: Any) -> Any:
    chosen = _chosen_seeds(seeds)
    signature = inspect.signature(function)
    wants_seed = "seed" in signature.parameters

    @functools.wraps(function)
    def test(*args: Any, seed: int | None = None, **arguments: Any) -> None:
        for each in chosen if seed is None else (seed,):
            given = {**arguments, "seed": each} if wants_seed else arguments
            try:
                run_traced(functools.partial(function, *args, **given), seed=each, **options)
            except BaseException as error:
                error.add_note(f"POLYSITE_SEED={each} runs this case again")
                raise

    if not wants_seed:
        parameter = inspect.Parameter("seed", inspect.Parameter.KEYWORD_ONLY)
        parameters = list(signature.parameters.values())
        has_rest = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
        parameters.insert(len(parameters) - has_rest, parameter)
        signature = signature.replace(parameters=parameters)
    test.__signature__ = signature  # type: ignore[attr-defined]
    return _as_cases(test, chosen)


def _as_cases(test: Callable[..., None], seeds: tuple[int, ...]) -> Callable[..., None]:
    try:
        import pytest  # only who tests has it; the loop itself does without
    except ImportError:
        return test
    cases: Callable[..., None] = pytest.mark.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])(test)
    return cases


def _chosen_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    alone = os.environ.get("POLYSITE_SEED")
    count = os.environ.get("POLYSITE_SEEDS")
    if alone:
        return (int(alone),)
    if count:
        return tuple(range(int(count)))
    return tuple(range(seeds) if isinstance(seeds, int) else seeds)
