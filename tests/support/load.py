"""Clients that do everything at once and write it down, for drills that kill servers."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Self, TypeVar

from polysite.api import Coordinator, LockAnswer
from polysite.errors import PolysiteError
from polysite.testing.history import Recorder
from polysite.testing.recorded import PLAIN, RecordedClient

T = TypeVar("T")

LEASE_MS = 150
WAIT_MS = 10_000
WRITERS = 3
WRITER_KEYS = 4
HOLDERS = 5
ONE_SHOTS = 3
SHARED_KEYS = [f"shared-{number}" for number in range(4)]
SECTION_KEYS = [f"section-{number}" for number in range(3)]


class Load:
    """Tasks that write without locks, in held sections and in sections of one call, and look at what is there.

    `sites` are ways to the same site, dealt out to the tasks in turn. A call that fails is not made again: what it wrote
    has an unknown outcome or was refused, and the task goes on with something else.
    """

    def __init__(self, sites: Sequence[Coordinator], recorder: Recorder, chance: random.Random) -> None:
        self._sites = itertools.cycle(sites)
        self._recorder = recorder
        self._chance = chance
        self._numbers = itertools.count()
        self._moved = asyncio.Condition()
        self.done = 0
        """Calls that were answered done."""
        self.released = 0
        """Held sections that ended with a release that was answered done."""
        self.serving = asyncio.Event()
        """Set while a server is there; without one the tasks pause."""
        self._ending = False

    async def __aenter__(self) -> Self:
        work: list[Callable[[], Awaitable[None]]] = [
            *(partial(self._write, number) for number in range(WRITERS)),
            *[self._hold] * HOLDERS,
            *[self._one_shots] * ONE_SHOTS,
            self._look,
        ]
        self._tasks = [asyncio.ensure_future(each()) for each in work]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let every task finish its round; at once if something failed."""
        self._ending = True
        self.serving.set()
        if error[0] is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=error[0] is not None)

    async def until_done(self, more: int) -> None:
        """Return when so many more calls were done, or raise what a task failed with."""
        aim = self.done + more
        await self._until(lambda: self.done >= aim)

    async def until_released(self, more: int) -> None:
        """Return when so many more held sections were released, or raise what a task failed with."""
        aim = self.released + more
        await self._until(lambda: self.released >= aim)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: holds() or any(task.done() for task in self._tasks))
        for task in self._tasks:
            if task.done():
                task.result()

    def client(self) -> RecordedClient:
        return RecordedClient(self._recorder, next(self._sites), f"client-{next(self._numbers)}")

    async def _made(self, call: Awaitable[T]) -> T:
        """The call's answer, counted."""
        answer = await call
        if not isinstance(answer, PolysiteError):
            async with self._moved:
                self.done += 1
                self._moved.notify_all()
        return answer

    async def _write(self, number: int) -> None:
        client = self.client()
        names = writer_keys(number)
        while not self._ending:
            await self.serving.wait()
            name = self._chance.choice(names)
            await self._made(client.put(name))
            if self._chance.random() < 0.3:
                await self._made(client.get(name, table=PLAIN))

    async def _hold(self) -> None:
        client = self.client()
        while not self._ending:
            await self.serving.wait()
            name = self._chance.choice(SHARED_KEYS)
            lock = await self._made(client.acquire(name, lease_ms=LEASE_MS, wait_ms=WAIT_MS))
            if not isinstance(lock, LockAnswer):
                continue
            failed = await self._made(client.get(name, lock.reference))
            for _ in range(self._chance.randrange(1, 4)):
                # After a failure the reference is often used on: another process, or the next incarnation, takes it over.
                if failed is None or self._chance.random() < 0.7:
                    await self.serving.wait()
                    failed = await self._made(client.put(name, lock.reference))
            if failed is None or self._chance.random() < 0.7:
                await self.serving.wait()
                if await self._made(client.release(name, lock.reference)) is None:
                    async with self._moved:
                        self.released += 1
                        self._moved.notify_all()

    async def _one_shots(self) -> None:
        client = self.client()
        while not self._ending:
            await self.serving.wait()
            name = self._chance.choice([*SECTION_KEYS, *SHARED_KEYS[:1]])
            await self._made(client.section(name, lease_ms=LEASE_MS, wait_ms=WAIT_MS))

    async def _look(self) -> None:
        client = self.client()
        while not self._ending:
            await self.serving.wait()
            name = self._chance.choice([*SECTION_KEYS, *SHARED_KEYS])
            await self._made(client.get(name))
            await self._made(client.queue(name))


async def look_at_rows(client: RecordedClient) -> None:
    """Every row as anybody reads it."""
    for number in range(WRITERS):
        for name in writer_keys(number):
            await client.get(name, table=PLAIN)
    for name in [*SHARED_KEYS, *SECTION_KEYS]:
        await client.get(name)


async def look_at_all(client: RecordedClient) -> None:
    """The last word about every key: rows as anybody reads them, then a tenure on each locked key, then its queue."""
    await look_at_rows(client)
    for name in [*SHARED_KEYS, *SECTION_KEYS]:
        lock = await client.acquire(name, lease_ms=10_000, wait_ms=60_000)
        assert isinstance(lock, LockAnswer), lock
        assert await client.get(name, lock.reference) is None
        assert await client.release(name, lock.reference) is None
        assert await client.queue(name) is None


def writer_keys(number: int) -> list[str]:
    """The keys that one writer alone writes."""
    return [f"writer-{number}-{key}" for key in range(WRITER_KEYS)]
