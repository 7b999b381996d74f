"""The clients at one site, until they are told to stop."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial

import polysite
from polysite.api import Coordinator, LockAnswer
from polysite.clock import Runtime
from polysite.errors import PolysiteError
from polysite.lab.traffic.plan import PLAIN_SLOT_S, TrafficPlan, plain_key
from polysite.testing.history import Recorder
from polysite.testing.recorded import UNLOCKED, RecordedClient


class Traffic:
    """The load of a plan. Calls that fail are written down like any other, and the client goes on."""

    def __init__(self, plan: TrafficPlan, recorder: Recorder, runtime: Runtime) -> None:
        self._plan = plan
        self._recorder = recorder
        self._runtime = runtime
        self._stopping = asyncio.Event()
        self._began_s = runtime.clock.monotonic_s()

    def stop(self) -> None:
        """Let every client finish its round."""
        self._stopping.set()

    async def run(self) -> None:
        """Return when every client has stopped."""
        # What is sent again must be so by the client that is watched here, not by a library underneath.
        async with polysite.connect(self._plan.url, retries=0, answer_s=self._plan.answer_s) as site:
            numbers = itertools.count()
            rounds = [
                *(
                    partial(self._tenure, self._client(site.coordinator, next(numbers)))
                    for _ in range(self._plan.clients)
                ),
                *(
                    partial(self._plain, self._client(site.coordinator, next(numbers)), number)
                    for number in range(self._plan.plain_clients)
                ),
            ]
            spawn = self._runtime.spawner.spawn
            watching = spawn(self._watch(site.coordinator), name="traffic: health")
            self._began_s = self._runtime.clock.monotonic_s()
            await asyncio.gather(*(spawn(self._again_and_again(one), name="traffic: client") for one in rounds))
            await watching

    def _client(self, coordinator: Coordinator, number: int) -> RecordedClient:
        return RecordedClient(self._recorder, coordinator, f"{self._plan.site}-{number}")

    async def _again_and_again(self, one_round: Callable[[], Awaitable[PolysiteError | None]]) -> None:
        while not self._stopping.is_set():
            failed = await one_round()
            await self._runtime.clock.sleep_s(self._plan.pause_s if failed is None else self._plan.again_s)

    async def _tenure(self, client: RecordedClient) -> PolysiteError | None:
        """Lock, read, write, release."""
        plan = self._plan
        name = self._draw()
        lock = await client.acquire(name, lease_ms=plan.lease_ms, wait_ms=plan.wait_ms, read=True)
        if not isinstance(lock, LockAnswer):
            return lock
        if plan.hold_s:
            await self._runtime.clock.sleep_s(plan.hold_s)
        failed = await client.put(name, lock.reference)
        # After a write whose outcome is not known the reference is still released, as a program's `finally` does.
        return await client.release(name, lock.reference) or failed

    def _draw(self) -> str:
        """A key: an own one or a shared one, by the plan's share."""
        draw = self._runtime.randomness.uniform
        keys = self._plan.own if draw(0, 1) < self._plan.own_share else self._plan.shared
        keys = keys or self._plan.own or self._plan.shared
        return keys[int(draw(0, len(keys))) % len(keys)]

    async def _plain(self, client: RecordedClient, number: int) -> PolysiteError | None:
        """Write and read without locks, in one table after the other."""
        slot = int((self._runtime.clock.monotonic_s() - self._began_s) / PLAIN_SLOT_S)
        name = plain_key(self._plan, self._plan.site, number, slot)
        failed = None
        for table in UNLOCKED:
            failed = await client.put(name, table=table) or await client.get(name, table=table) or failed
        return failed

    async def _watch(self, coordinator: Coordinator) -> None:
        """Ask the site how it is, again and again."""
        client = RecordedClient(self._recorder, coordinator, f"{self._plan.site}-health")
        while not self._stopping.is_set():
            await client.health()
            await self._runtime.clock.sleep_s(self._plan.health_s)
