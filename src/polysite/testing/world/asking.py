"""What further clients of a simulated world have in common: chance of their own, values that nobody else writes, any process of their site."""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from polysite.errors import PolysiteError, Unavailable
from polysite.site import SiteCoordinator
from polysite.testing.history import OpenCall, Recorder
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.clients import CALL_S, SETTLED_S
from polysite.testing.world.processes import Process
from polysite.testing.world.world import World

T = TypeVar("T")

WAIT_MS = 8_000
"""How long they wait for a lock."""

PAUSE_S = 2.0
"""The longest pause between two things that they do."""


class Asker(ABC):
    """A client of a site by name. What it does is for `run`, and after all faults for `settle`."""

    def __init__(self, world: World, site: str, name: str, recorder: Recorder) -> None:
        self._world = world
        self._site = site
        self._recorder = recorder
        self.name = f"{site}-{name}"
        self.chance = SeededRandomness(f"{world.seed}/client {self.name}")
        self._values = itertools.count(1)
        self.ended = False
        """Set from outside: begin nothing more."""

    @abstractmethod
    async def run(self) -> None:
        """Work until it is told to end."""

    @abstractmethod
    async def settle(self) -> None:
        """After the faults: everything must be had again, and what is read then is the last word."""

    # chance

    def value(self) -> str:
        """One that nobody else writes."""
        return f"{self.name}/{next(self._values)}"

    def happens(self, share: float) -> bool:
        return bool(share) and self.chance.uniform(0.0, 1.0) < share

    def pick(self, of: tuple[T, ...]) -> T:
        return of[self.chance.below(len(of))]

    async def pause(self, most_s: float) -> None:
        await asyncio.sleep(self.chance.uniform(0.0, most_s))

    async def until(self, moment_s: float) -> None:
        await asyncio.sleep(max(0.0, moment_s - self._world.now_s()))

    def now_s(self) -> float:
        return self._world.now_s()

    # asking

    def begin(self, verb: str, key: object, argument: object = None, reference: str | None = None) -> OpenCall:
        return self._recorder.begin(client=self.name, verb=verb, key=key, argument=argument, reference=reference)

    def process(self) -> Process | None:
        """The newest of the site, or now and then another; None: it has none."""
        living = self._world.living(self._site)
        if not living:
            return None
        return self.pick(tuple(living)) if len(living) > 1 and self.happens(0.3) else living[-1]

    async def ask(
        self,
        work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]],
        *,
        of: Process | None = None,
        limit_s: float = CALL_S,
    ) -> T:
        """The answer of that process, or of any of the site."""
        process = of or self.process()
        if process is None:
            await self.pause(0.2)
            raise Unavailable("no process of the site runs")
        return await process.call(work, limit_s=limit_s)

    async def surely(self, work: Callable[[], Awaitable[object]], told: str) -> None:
        """Have it done once all faults have ended. AssertionError: it is not, within `SETTLED_S`."""
        until_s = self.now_s() + SETTLED_S
        while True:
            try:
                await work()
                return
            except PolysiteError as error:
                if self.now_s() > until_s:
                    raise AssertionError(
                        f"{self.name}: {told}: {error.code} {SETTLED_S:g} s after the last fault"
                    ) from error
            await self.pause(0.5)


def name_of(process: Process | None) -> str:
    return "" if process is None else process.name
