"""Processes of one site on a seeded loop, each of which can be stopped and woken like a process by a signal."""

import asyncio
import inspect
import random
from typing import Any, cast

from polysite.api import Coordinator
from polysite.cells.contract import Cells
from polysite.cells.embedded import EmbeddedCells
from polysite.clock import Runtime, TaskSpawner
from polysite.engines.sqlite import SqliteEngine
from polysite.site import SiteCoordinator
from polysite.site.processes import LoneSlot
from polysite.site.settings import SiteSettings
from polysite.stores.contract import Store
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.loop import SeededRandomness, SimulatedClock


class Gate:
    """What passes between a process and its engine: while it is shut, calls wait before they reach the engine, and
    answers wait on their way back."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._kept: list[Any] = []

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()
        kept, self._kept = self._kept, []
        for callback in kept:
            callback()

    async def through(self) -> None:
        await self._open.wait()

    def notice(self, callback: Any) -> None:
        """Call it now, or once the gate is open."""
        if self._open.is_set():
            callback()
        else:
            self._kept.append(callback)


class Gated:
    """A store or cells behind a gate."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "watch":
            return lambda key, changed: found(key, lambda: self._gate.notice(changed))
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **named: Any) -> Any:
            await self._gate.through()
            answer = await found(*args, **named)
            await self._gate.through()
            return answer

        return call


class Slots:
    """The slot of one of several processes; nobody is ever known to be dead, so that only leases end tenures."""

    lettered = False

    def __init__(self, process: str) -> None:
        self._slot = LoneSlot(process=process)

    def take(self) -> LoneSlot:
        return self._slot

    def is_dead(self, process: str, incarnation: int) -> bool:
        return False

    def rename(self) -> None:
        """There are no letters."""


class SimulatedProcess:
    """One process of a site on an engine that others may share, with a clock of its own."""

    reaches_frozen = False

    def __init__(self, engine: SqliteEngine, process: str, *, seed: int | str, rate: float = 1.0) -> None:
        self._loop = asyncio.get_running_loop()
        self.rate = rate
        self.clock = SimulatedClock(self._loop, rate=rate)
        self.gate = Gate()
        self.chance = random.Random(f"{seed}/{process}/wake")
        self._frozen_at_s = 0.0
        store = cast(Store, Gated(EmbeddedStore(engine), self.gate))
        cells = cast(Cells, Gated(EmbeddedCells(engine), self.gate))
        randomness = SeededRandomness(f"{seed}/{process}")
        runtime = Runtime(clock=self.clock, randomness=randomness, spawner=TaskSpawner())
        settings = SiteSettings(joint=False)
        self.coordinator: Coordinator = SiteCoordinator(store, cells, runtime, settings, slots=Slots(process))

    async def start(self) -> None:
        await self.coordinator.start()  # type: ignore[attr-defined]

    async def freeze(self) -> None:
        """Stop: no timer fires, nothing reaches the engine, no answer is heard."""
        self.gate.shut()
        self.clock.set_rate(0.0)
        self._frozen_at_s = self._loop.time()

    async def wake(self) -> None:
        """Go on. The monotonic clock has gone on meanwhile; the wall clock stands where it stood, or has gone on too."""
        slept_s = (self._loop.time() - self._frozen_at_s) * self.rate
        self.clock.set_rate(self.rate)
        self.clock.step_monotonic_s(slept_s)
        if self.chance.random() < 0.5:
            self.clock.step_wall_us(round(slept_s * 1e6))
        self.gate.open()
