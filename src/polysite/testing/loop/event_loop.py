"""The event loop of `polysite.testing.loop`, and what it raises; use it from there."""

import asyncio
import contextlib
import functools
import gc
import hashlib
import heapq
import math
import random
import re
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Context
from typing import Any, NoReturn, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_COLLECT_EVERY_STEPS = 5_000
_TAIL_STEPS = 12
_HASHED_LINES = 512


class Stuck(RuntimeError):
    """The run cannot go on: nothing is ready and no timer is left, or a limit is passed.

    `pending` has one line per task that is not done, in the order they were made: its name and where it waits.
    """

    def __init__(self, reason: str, pending: tuple[str, ...], tail: tuple[str, ...] = ()) -> None:
        self.reason = reason
        self.pending = pending
        waiting = "".join(f"\n  {line}" for line in pending) or " none"
        steps = "".join(f"\n  {line}" for line in tail) or " none"
        super().__init__(f"{reason}\npending tasks:{waiting}\nlast steps:{steps}")


class Leaked(AssertionError):
    """The run ended and left something behind: tasks that are not done, or threads."""


class Unretrieved(ExceptionGroup[Exception]):
    """Errors of tasks and callbacks that nobody awaited; each is one of the group, with its own traceback."""


class OutsideWorld(RuntimeError):
    """A seeded loop was asked for something whose timing no seed decides: a socket, a subprocess, a thread, a signal."""


class _SeededFuture(asyncio.Future[Any]):
    """A future that hashes by its number: see the module's last paragraph."""

    def __init__(self, serial: int, loop: asyncio.AbstractEventLoop) -> None:
        self._serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class _SeededTask(asyncio.Task[Any]):
    """A task that hashes by its number: see the module's last paragraph."""

    def __init__(self, serial: int, coroutine: Any, **options: Any) -> None:
        self._serial = serial
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._serial


class SeededLoop(asyncio.BaseEventLoop):
    """A single-threaded event loop with virtual time that draws the order of ready callbacks from `seed`.

    * `time()` starts at 0.0 and stands while anything is ready; when nothing is, it jumps to the next deadline. (So a task
      that yields until some time has come, and does not sleep, waits for ever: `limit_steps` ends it.)
    * `shuffle=True` runs any of the ready callbacks next; `False` runs them in the order they became ready, as asyncio does.
      Code that is only right in one order is what the shuffle is there to find.
    * One callback is one step. More than `limit_steps` steps, or a deadline past `limit_s` virtual seconds, or nothing left
      to happen while somebody waits, raises `Stuck`.
    * Sockets, pipes, subprocesses, signals and threads raise `OutsideWorld`; with `inline_threads=True` `run_in_executor`
      (and so `asyncio.to_thread`) runs the function on the loop, as a step of its own.
    * Everything is to be called from the thread that made the loop; from another thread it raises `OutsideWorld` there.
    * An error that reaches the loop's exception handler is kept in `failures` and not logged.
    * `trace`, if given, is called with one line per step and note: compare two runs to find where they part.
    """

    _is_over = False
    _running = False  # asked for while the base class sets itself up

    def __init__(
        self,
        seed: int | str,
        *,
        shuffle: bool = True,
        limit_s: float = math.inf,
        limit_steps: int | None = None,
        inline_threads: bool = False,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.steps = 0
        self.limit_s = limit_s
        self.limit_steps = limit_steps
        self.failures: list[Exception] = []
        self._shuffle = shuffle
        self._inline_threads = inline_threads
        self._trace = trace
        self._random = random.Random(seed)
        self._hash = hashlib.blake2b(digest_size=16)
        self._unhashed: list[str] = []
        self._tail: deque[tuple[float, str, str]] = deque(maxlen=_TAIL_STEPS)
        self._now_s = 0.0
        self._now_text = repr(self._now_s)
        self._thread = threading.get_ident()
        self._stop_asked = False
        self._serial = 0
        self._ready_now: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_cancelled = 0
        self._idle_waiters: list[asyncio.Future[Any]] = []
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._generators: weakref.WeakValueDictionary[int, AsyncGenerator[Any, Any]] = weakref.WeakValueDictionary()

    # -- time, steps and their trace ---------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    @property
    def trace_hash(self) -> str:
        """32 hex digits over every step so far (virtual time, task name, callback's qualified name) and every note."""
        self._hash_lines()
        return self._hash.hexdigest()

    def note(self, text: str) -> None:
        """Add `text` to the trace, so that runs that differ in it differ in `trace_hash`."""
        self._record("note", text)

    async def wait_idle(self) -> None:
        """Return when nothing else is ready at this virtual moment: everybody else waits for time or for each other.

        No time passes. It is what a test waits with where it would otherwise sleep "long enough".
        """
        waiter = self.create_future()
        self._idle_waiters.append(waiter)
        await waiter

    def _record(self, who: str, what: str) -> None:
        if "0x" in who:
            who = _ADDRESS.sub("0x…", who)
        if "0x" in what:
            what = _ADDRESS.sub("0x…", what)
        self._unhashed.append(f"{self._now_text}\0{who}\0{what}\n")
        if len(self._unhashed) >= _HASHED_LINES:
            self._hash_lines()
        self._tail.append((self._now_s, who, what))
        if self._trace is not None:
            self._trace(f"{self._now_text} {who} {what}")

    def _hash_lines(self) -> None:
        self._hash.update("".join(self._unhashed).encode(errors="surrogatepass"))
        self._unhashed.clear()

    def _step(self) -> None:
        """Run one callback, or let time jump to the next deadline."""
        if not self._ready_now:
            self._advance()
            return
        handle = self._draw()
        if handle.cancelled():
            return
        if self.limit_steps is not None and self.steps >= self.limit_steps:
            self._ready_now.append(handle)
            raise self.stuck(f"more than {self.limit_steps} steps")
        self.steps += 1
        self._record(*_names(handle))
        handle._run()  # noqa: SLF001 (what BaseEventLoop itself calls)
        if self.steps % _COLLECT_EVERY_STEPS == 0:
            gc.collect()

    def _draw(self) -> asyncio.Handle:
        ready = self._ready_now
        if self._shuffle and len(ready) > 1:
            chosen = int(self._random.random() * len(ready))
            ready[0], ready[chosen] = ready[chosen], ready[0]
        return ready.popleft()

    def _advance(self) -> None:
        if self._idle_waiters:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            return
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
            self._timers_cancelled -= 1
        if not self._timers:
            raise self.stuck("nothing is ready and no timer is left")
        when_s = self._timers[0][0]
        if when_s > self.limit_s:
            raise self.stuck(f"the next deadline ({when_s:.6f} s) is past the limit of {self.limit_s} virtual seconds")
        self._now_s = max(self._now_s, when_s)
        self._now_text = repr(self._now_s)
        while self._timers and self._timers[0][0] <= self._now_s:
            handle = heapq.heappop(self._timers)[2]
            if handle.cancelled():
                self._timers_cancelled -= 1
            else:
                self._ready_now.append(handle)

    def stuck(self, reason: str) -> Stuck:
        """The error that says `reason`, what is pending and what was done last."""
        tail = tuple(f"{time_s:.6f} {who} {what}" for time_s, who, what in self._tail)
        return Stuck(f"at {self._now_s:.6f} virtual seconds, step {self.steps}: {reason}", self.pending(), tail)

    def pending(self) -> tuple[str, ...]:
        """One line per task that is not done, in the order they were made: its name and where it waits."""
        return tuple(_describe(task) for task in self.tasks() if not task.done())

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks made on this loop that still exist, done or not, in the order they were made."""
        return sorted(self._tasks, key=hash)

    # -- what asyncio asks of a loop ---------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run steps until `stop()`, `Stuck`, or an interrupt."""
        self._check_usable()
        self._stop_asked = False
        with self._as_running_loop():
            while not self._stop_asked:
                self._step()

    def settle(self, *, steps: int, until_s: float | None = None) -> None:
        """Run what is ready, up to `steps` steps; with `until_s` also let time go on up to that virtual second.

        For the end of a run, when the main coroutine is done. No limit but these two applies, and whatever is left then is
        left without an error.
        """
        self._check_usable()
        last = self.steps + steps
        self.limit_steps, limit_steps = None, self.limit_steps
        try:
            with self._as_running_loop():
                while self.steps < last and (self._ready_now or self._due(until_s)):
                    self._step()
        finally:
            self.limit_steps = limit_steps

    def _due(self, until_s: float | None) -> bool:
        if until_s is None:
            return bool(self._idle_waiters)
        limit_s = min(until_s, self.limit_s)
        return bool(self._idle_waiters) or any(when_s <= limit_s and not h.cancelled() for when_s, _, h in self._timers)

    @contextlib.contextmanager
    def _as_running_loop(self) -> Generator[None, None, None]:
        if self._running:
            raise RuntimeError("this loop is running already")
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 (exported for loops)
            raise RuntimeError("another event loop runs in this thread")
        hooks = sys.get_asyncgen_hooks()
        self._running = True
        asyncio._set_running_loop(self)  # noqa: SLF001 (exported for loops)
        sys.set_asyncgen_hooks(firstiter=self._generator_started, finalizer=self._generator_dropped)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)  # noqa: SLF001
            self._running = False

    def stop(self) -> None:
        self._stop_asked = True

    def is_running(self) -> bool:
        return self._running

    def close(self) -> None:
        super().close()
        self._is_over = True
        self._ready_now.clear()
        self._timers.clear()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._check_usable()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready_now.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_usable()
        if math.isnan(when):
            raise ValueError("a deadline is a number of seconds, not NaN")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= self._now_s:
            # Due already. Left among the timers it would wait until nothing is ready, and one task that keeps yielding
            # (`while not stopped: await asyncio.sleep(0)`) could then never be told to stop by a deadline that has come.
            self._ready_now.append(handle)
            return handle
        heapq.heappush(self._timers, (when, self._next_serial(), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:  # noqa: ARG002
        # Called by TimerHandle.cancel, before it marks itself, also for a handle that ran already; an overcount only makes
        # the sweep earlier. Without a sweep, cancelled timers of a long run would pile up until their deadlines.
        self._timers_cancelled += 1
        if self._timers_cancelled > 100 and self._timers_cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0

    def create_future(self) -> asyncio.Future[Any]:
        return _SeededFuture(self._next_serial(), self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """A task on this loop; without `name` it is called `task-N`, N counting what this loop made.

        (asyncio's own `Task-N` counts per process and so differs from run to run.)
        """
        self._check_usable()
        serial = self._next_serial()
        if options.get("name") is None:
            options["name"] = f"task-{serial}"
        if self.get_task_factory() is None:
            task: asyncio.Task[Any] = _SeededTask(serial, coro, loop=self, **options)
        else:
            task = super().create_task(coro, **options)
        self._tasks.add(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the error for the end of the run, unless a handler was set."""
        if self.get_exception_handler() is not None:
            super().call_exception_handler(context)
            return
        error = context.get("exception")
        message = str(context.get("message", "an error reached the loop"))
        task = context.get("task") or context.get("future")
        if isinstance(task, asyncio.Task):
            message += f" ({_describe(task)})"
        if not isinstance(error, Exception):
            cause = error
            error = RuntimeError(message)
            error.__cause__ = cause
        else:
            error.add_note(message)
        self.failures.append(error)
        self._record("unretrieved", type(error).__qualname__)

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that are still open, oldest first."""
        for _, generator in sorted(self._generators.items()):
            try:
                await generator.aclose()
            except Exception as error:  # noqa: BLE001
                message = f"an error while closing {_qualified(generator)}"
                self.call_exception_handler({"message": message, "exception": error})

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Any,  # noqa: ARG002
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Refused as a thread; with `inline_threads` the result of `func(*args)`, called on the loop as one step."""
        if not self._inline_threads:
            _refuse("run_in_executor", "a thread")
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_call_into, future, func, args)
        return future

    def _check_usable(self) -> None:
        if threading.get_ident() != self._thread:
            raise OutsideWorld("a seeded loop was called from another thread; its order is no longer the seed's")
        if self._is_over:
            raise RuntimeError("this loop is closed")

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators[self._next_serial()] = generator

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self.is_closed():
            self.create_task(generator.aclose(), name=f"close {_qualified(generator)}")


def _refuse(method: str, what: str) -> NoReturn:
    raise OutsideWorld(
        f"loop.{method} needs {what}, whose timing no seed decides; hand the code an in-memory stand-in on the seeded loop"
    )


def _refusal(method: str, what: str) -> Callable[..., NoReturn]:
    def refuse(_self: SeededLoop, *_args: Any, **_options: Any) -> NoReturn:
        _refuse(method, what)

    return refuse


_OUTSIDE = {
    "a socket": "create_connection create_server create_datagram_endpoint create_unix_connection create_unix_server"
    " connect_accepted_socket start_tls sendfile add_reader remove_reader add_writer remove_writer getaddrinfo getnameinfo"
    " sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendto sock_connect sock_accept"
    " sock_sendfile",
    "a pipe": "connect_read_pipe connect_write_pipe",
    "a subprocess": "subprocess_shell subprocess_exec",
    "a signal": "add_signal_handler remove_signal_handler",
    "a thread": "set_default_executor",
}
for _what, _methods in _OUTSIDE.items():
    for _method in _methods.split():
        setattr(SeededLoop, _method, _refusal(_method, _what))


def current_loop() -> SeededLoop:
    """The seeded loop the caller runs on; raises `RuntimeError` on any other loop, or none."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SeededLoop):
        raise RuntimeError(  # noqa: TRY004
            f"this runs on a {type(loop).__qualname__}, not on a SeededLoop"
        )
    return loop


def _call_into(future: "asyncio.Future[T]", function: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        result = function(*args)
    except Exception as error:  # noqa: BLE001
        future.set_exception(error)
    else:
        future.set_result(result)


def _names(handle: asyncio.Handle) -> tuple[str, str]:
    """Whose step this is (a task's name, or nothing) and the qualified name of what runs."""
    callback: Any = getattr(handle, "_callback", None)
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return owner.get_name(), _qualified(owner.get_coro())
    return "", _qualified(callback)


def _qualified(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None)
    return name if isinstance(name, str) else type(thing).__qualname__


def _describe(task: "asyncio.Task[Any]") -> str:
    """The task's name and the chain of coroutines it waits in, outermost first."""
    chain: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None and len(chain) < 50:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            folder, _, file = frame.f_code.co_filename.rpartition("/")
            chain.append(f"{frame.f_code.co_qualname} ({folder.rpartition('/')[2]}/{file}:{frame.f_lineno})")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return f"{task.get_name()}: {' > '.join(chain) or 'ended'}"
