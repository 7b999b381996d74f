"""The seams through which time, chance and concurrency come in.

Production code never asks the operating system for any of these itself: it is handed a `Runtime`. Tests and the
simulation hand it another one, so that a run is decided by its seed alone.
"""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """One process's clocks. They may drift and step against those of other processes; nothing here relies on agreement."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment of this process; never goes back. Leases are measured with it."""
        ...

    def wall_us(self) -> int:
        """Microseconds since 1970 as this machine believes; may jump either way. Stamps follow it when they can."""
        ...

    async def sleep_s(self, duration_s: float) -> None:
        """Return after `duration_s` of this clock's monotonic time."""
        ...


class Randomness(Protocol):
    """A source of chance; secrets are made from it, so production uses the operating system's."""

    def random_bytes(self, count: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...


class Spawner(Protocol):
    """Starts concurrent work that somebody waits for or that logs its own failure."""

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> "asyncio.Task[T]": ...


class SystemClock:
    """The machine's clocks."""

    monotonic_s: "staticmethod[[], float]" = staticmethod(time.monotonic)

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    async def sleep_s(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


class SystemRandomness:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._jitter = random.Random(secrets.randbits(64))

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return self._jitter.uniform(low, high)


@dataclass
class TaskSpawner:
    """Spawns on the running loop and keeps a strong reference until the task ends."""

    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


@dataclass(frozen=True)
class Runtime:
    """What a process is given to live with."""

    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
    spawner: Spawner = field(default_factory=TaskSpawner)
