"""The clients at one site, until they are told to stop."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial

import polysite
from polysite.api import Coordinator, LockAnswer
from polysite.clock import Runtime
from polysite.errors import PolysiteError
from polysite.lab.traffic.plan import TrafficPlan, plain_keys
from polysite.testing.history import Recorder
from polysite.testing.recorded import PLAIN, RecordedClient


class Traffic:
    """The load of a plan. Calls that fail are written down like any other, and the client goes on."""

    def __init__(self, plan: TrafficPlan, recorder: Recorder, runtime: Runtime) -> None:
        self._plan = plan
        self._recorder = recorder
        self._runtime = runtime
        self._stopping = asyncio.Event()

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
                    partial(
                        self._plain,
                        self._client(site.coordinator, next(numbers)),
                        plain_keys(self._plan, self._plan.site, number),
                    )
                    for number in range(self._plan.plain_clients)
                ),
            ]
            spawn = self._runtime.spawner.spawn
            await asyncio.gather(*(spawn(self._again_and_again(one), name="traffic: client") for one in rounds))

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
        lock = await client.acquire_and_get(name, lease_ms=plan.lease_ms, wait_ms=plan.wait_ms)
        if not isinstance(lock, LockAnswer):
            return lock
        failed = await client.put(name, lock.reference)
        # After a write whose outcome is not known the reference is still released, as a program's `finally` does.
        return await client.release(name, lock.reference) or failed

    def _draw(self) -> str:
        """A key: an own one or a shared one, by the plan's share."""
        draw = self._runtime.randomness.uniform
        keys = self._plan.own if draw(0, 1) < self._plan.own_share else self._plan.shared
        keys = keys or self._plan.own or self._plan.shared
        return keys[int(draw(0, len(keys))) % len(keys)]

    async def _plain(self, client: RecordedClient, keys: list[str]) -> PolysiteError | None:
        """Write and read without locks."""
        name = keys[int(self._runtime.randomness.uniform(0, len(keys))) % len(keys)]
        return await client.put(name) or await client.get(name, table=PLAIN)
