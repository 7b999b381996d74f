"""Holders that are stopped past their lease, overtaken by successors, and wake: rounds of it, over any two coordinators.

One batch is a round on each of its keys at once: holders take the locks through the first process and write; that process
is stopped; successors, through the second process, get the locks once the leases have passed, and write; the first process
wakes, and the old holders write and release as if nothing had happened.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from polysite.api import Coordinator, LockAnswer
from polysite.testing.history import Call, History, Recorder
from polysite.testing.judging.judge import judge, tickets_granted
from polysite.testing.recorded import RecordedClient

LEASE_MS = (150, 300)
SUCCESSOR_LEASE_MS = 30_000
WAIT_MS = 60_000
HOLDER = "holder"


class Freezer(Protocol):
    """Stops and wakes the first process."""

    reaches_frozen: bool
    """Calls may be made to the process while it is stopped (they wait in a socket)."""

    async def freeze(self) -> None: ...

    async def wake(self) -> None: ...


@dataclass
class Drill:
    """Who takes part, and how much of it there is."""

    old: Coordinator
    new: Coordinator
    freezer: Freezer
    recorder: Recorder
    chance: random.Random
    keys: Sequence[str]
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(self, batches: int) -> None:
        for _ in range(batches):
            await Batch(self).run()

    def client(self, role: str, coordinator: Coordinator) -> RecordedClient:
        return RecordedClient(self.recorder, coordinator, f"{role}-{next(self._numbers)}")


class Batch:
    """One round on each key at once."""

    def __init__(self, drill: Drill) -> None:
        self.drill = drill
        self.frozen = asyncio.Event()
        self.woken = asyncio.Event()
        self.written = asyncio.Event()
        self.puts_left = drill.chance.randrange(1, 4 * len(drill.keys))
        self.held = self.resting = 0
        self.all_held = asyncio.Event()
        self.overtaken = 0
        self.all_overtaken = asyncio.Event()
        self.zombies = 0
        self.all_zombies = asyncio.Event()

    async def run(self) -> None:
        drill = self.drill
        async with asyncio.TaskGroup() as tasks:
            for key in drill.keys:
                tasks.create_task(self.hold(key), name=f"holder of {key}")
            await self.all_held.wait()
            for key in drill.keys:
                tasks.create_task(self.succeed(key), name=f"successor of {key}")
            await self.written.wait()
            await drill.freezer.freeze()
            self.frozen.set()
            await self.all_overtaken.wait()
            await drill.freezer.wake()
            self.woken.set()
        for key in drill.keys:
            await self.look_again(key)

    async def hold(self, key: str) -> None:
        """The old holder, from its acquire to its release; it does not know that it was overtaken."""
        drill = self.drill
        client = drill.client(HOLDER, drill.old)
        lock = await client.acquire(key, lease_ms=drill.chance.randint(*LEASE_MS), wait_ms=WAIT_MS)
        assert isinstance(lock, LockAnswer), lock
        self.held += 1
        if self.held == len(drill.keys):
            self.all_held.set()
        if drill.chance.random() < 0.7:
            await client.get(key, lock.reference)
        while not self.frozen.is_set():
            failed = await client.put(key, lock.reference)
            self.puts_left -= 1
            if self.puts_left <= 0:
                self.written.set()
            if failed is not None or drill.chance.random() < 0.3:
                self.resting += 1
                if self.resting == len(drill.keys):
                    self.written.set()
                await self.frozen.wait()
        if not drill.freezer.reaches_frozen or drill.chance.random() < 0.5:
            await self.woken.wait()
        else:
            await self.all_overtaken.wait()
        for _ in range(drill.chance.randrange(1, 3)):
            await client.put(key, lock.reference)
        if drill.chance.random() < 0.5:
            await client.get(key, lock.reference)
        await client.release(key, lock.reference)
        self.zombies += 1
        if self.zombies == len(drill.keys):
            self.all_zombies.set()

    async def succeed(self, key: str) -> None:
        """The successor: it holds until the old holder has let go of what it no longer has."""
        drill = self.drill
        client = drill.client("successor", drill.new)
        lock = await granted(client, key)
        if drill.chance.random() < 0.7:
            await client.get(key, lock.reference)
        writes = drill.chance.random() < 0.8
        if writes:
            await client.put(key, lock.reference)
        self.overtaken += 1
        if self.overtaken == len(drill.keys):
            self.all_overtaken.set()
        await self.woken.wait()
        if drill.chance.random() < 0.5:
            await client.get(key)
        if drill.chance.random() < 0.5:
            await client.put(key, lock.reference)
        await client.get(key, lock.reference)
        if drill.chance.random() < 0.8:
            await self.all_zombies.wait()
            await client.get(key, lock.reference)
        assert await client.release(key, lock.reference) is None

    async def look_again(self, key: str) -> None:
        """What anybody reads afterwards, through either process, without a lock and with one."""
        drill = self.drill
        for coordinator in (drill.old, drill.new):
            assert await drill.client("reader", coordinator).get(key) is None
        client = drill.client("next", drill.old)
        lock = await granted(client, key)
        await client.get(key, lock.reference)
        assert await client.release(key, lock.reference) is None


async def granted(client: RecordedClient, key: str) -> LockAnswer:
    """The lock; a refusal that passes (the file is busy while its other user is stopped) is asked again."""
    while True:
        lock = await client.acquire(key, lease_ms=SUCCESSOR_LEASE_MS, wait_ms=WAIT_MS)
        if isinstance(lock, LockAnswer):
            return lock
        assert lock.retry, lock


class Figures(NamedTuple):
    """What a drill of zombies came to; each `zombie_` counts calls that began after a higher ticket was granted."""

    rounds: int
    zombie_puts: int
    zombie_puts_unknown: int
    holder_puts_done: int
    holder_puts_unknown: int
    zombie_releases: int


def judged(history: History, rounds: int) -> Figures:
    """The figures of the drill; AssertionError tells what is wrong with it, or that it showed nothing."""
    findings = judge(history)
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings[:20])
    overtaken_s = {}
    for key in history.keys():  # noqa: SIM118 - not a mapping
        for ticket, call in tickets_granted(history.for_key(key)):
            overtaken_s[(tuple(key), ticket)] = call.end_s or 0.0
    puts = [call for call in history if call.verb == "write" and call.client.startswith(HOLDER)]
    releases = [call for call in history if call.verb == "release" and call.client.startswith(HOLDER)]
    late = [call for call in puts if call.start_s > _successor_s(call, overtaken_s)]
    assert len(releases) == rounds
    for call in releases:
        assert (call.outcome, call.code) == ("refused", "lock_lost"), call
    assert all(call.outcome != "done" for call in late)
    assert len({(tuple(call.key), call.references[0].ticket) for call in late}) == rounds, "every zombie wrote"
    return Figures(
        rounds=rounds,
        zombie_puts=len(late),
        zombie_puts_unknown=sum(call.outcome == "unknown" for call in late),
        holder_puts_done=sum(call.outcome == "done" for call in puts),
        holder_puts_unknown=sum(call.outcome == "unknown" for call in puts),
        zombie_releases=len(releases),
    )


def _successor_s(call: Call, granted_s: dict[tuple[tuple[str, ...], int], float]) -> float:
    """When the next ticket of the call's key was granted."""
    key, ticket = tuple(call.key), call.references[0].ticket
    later = [end_s for (other, number), end_s in granted_s.items() if other == key and number > ticket]
    return min(later, default=float("inf"))
