"""Clients of a simulated world: what they ask, in what order, and what they write down of it.

Each client is one thread of control at one site. It takes locks, reads, writes values that nobody else writes, dawdles (now and then
longer than its lease), forgets to release, and goes on after every error. A process that dies is replaced by the next one of the site,
with the same reference.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from polysite.api import KeyName, LockAnswer, RowGet, RowPut
from polysite.errors import OutcomeUnknown, PolysiteError, Unavailable
from polysite.site import SiteCoordinator
from polysite.testing.history import OpenCall, Recorder
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.world import World

T = TypeVar("T")

KEYSPACE, TABLE = "ks", "votes"
CALL_S = 20.0
"""The longest a call may take; locks are waited for less."""

WAIT_MS = 8_000
LEASES_MS = (700, 1_000, 2_000, 5_000)


def key_name(key: str) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table=TABLE, key={"id": key})


class Client:
    """One client of a site. `keys`: what it works on."""

    def __init__(self, world: World, site: str, number: int, keys: tuple[str, ...], recorder: Recorder) -> None:
        self._world = world
        self._site = site
        self._keys = keys
        self._recorder = recorder
        self.name = f"{site}-{number}"
        self._chance = SeededRandomness(f"{world.seed}/client {self.name}")
        self._values = itertools.count(1)
        self.ended = False
        """Set from outside: begin nothing more."""

    async def run(self) -> None:
        """Work until it is told to end."""
        roads = [self._tenure, self._tenure, self._section, self._look]
        while not self.ended:
            try:
                await roads[self._chance.below(len(roads))](self._keys[self._chance.below(len(self._keys))])
            except PolysiteError:
                await self._pause(0.5)
            await self._pause(0.3)

    # what it does

    async def _tenure(self, key: str) -> None:
        """A lock, some gets and puts, and a release that may be forgotten."""
        lease_ms = LEASES_MS[self._chance.below(len(LEASES_MS))]
        reference = await self._acquired(key, lease_ms)
        if reference is None:
            return
        for _ in range(self._chance.below(4)):
            if self._happens(0.15):
                await asyncio.sleep(self._chance.uniform(0.0, 1.6 * lease_ms / 1000))
            if self._happens(0.5):
                await self.put(key, reference)
            else:
                await self.get(key, reference)
        if not self._happens(0.05):
            await self.release(key, reference, validate=self._happens(0.7))

    async def _acquired(self, key: str, lease_ms: int) -> str | None:
        """A reference that holds; None: it was given up, or lost."""
        with self._begin("acquire", key, {"lease_ms": lease_ms}) as call:
            answer = await self._ask(
                lambda site: site.acquire([key_name(key)], lease_ms=lease_ms, wait_ms=WAIT_MS), WAIT_MS / 1000 + 10
            )
            if answer.held:
                call.answer(reference=answer.reference)
                return answer.reference
            call.end("unknown", code="waiting")
        await self._ask(lambda site: site.release(answer.reference, validate=False), CALL_S)
        return None

    async def put(self, key: str, reference: str) -> None:
        value = self._value()
        with self._begin("put", key, {"value": value}, reference):
            await self._ask(
                lambda site: site.put(key_name(key), {"value": value}, level="critical", reference=reference), CALL_S
            )

    async def get(self, key: str, reference: str) -> None:
        with self._begin("get", key, None, reference) as call:
            answer = await self._ask(lambda site: site.get(key_name(key), level="critical", reference=reference), CALL_S)
            call.answer(_shown(answer.row))

    async def release(self, key: str, reference: str, *, validate: bool) -> None:
        if not validate:
            await self._ask(lambda site: site.release(reference, validate=False), CALL_S)
            return
        with self._begin("release", key, None, reference):
            await self._ask(lambda site: site.release(reference, validate=True), CALL_S)

    async def _section(self, key: str) -> None:
        value = self._value()
        with self._begin("section", key, {"value": value}) as call:
            answer = await self._ask(
                lambda site: site.section(
                    key_name(key), [RowGet(), RowPut(columns={"value": value})], wait_ms=WAIT_MS, lease_ms=2_000
                ),
                WAIT_MS / 1000 + 10,
            )
            call.answer({"read": _shown(answer.results[0]), "ticket": answer.fencing_token})

    async def _look(self, key: str) -> None:
        """What a majority has, without a lock."""
        with self._begin("get", key) as call:
            answer = await self._ask(lambda site: site.get(key_name(key), level="quorum"), CALL_S)
            call.answer(_shown(answer.row))

    async def settle(self, key: str) -> None:
        """After the faults: a lock must be had, and what is read then is the last word."""
        until_s = self._world.now_s() + 60.0
        while True:
            try:
                reference = await self._acquired(key, 5_000)
                if reference is not None:
                    await self.get(key, reference)
                    await self.release(key, reference, validate=True)
                    return
            except PolysiteError:
                if self._world.now_s() > until_s:
                    raise
            await self._pause(0.5)
            if self._world.now_s() > until_s:
                raise AssertionError(f"{self.name}: no lock of {key!r} within 60 s of the last fault")

    # how it asks

    async def _ask(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]], limit_s: float) -> T:
        process = self._world.process(self._site)
        if process is None:
            await self._pause(0.2)
            raise Unavailable("no process of the site runs")
        return await process.call(work, limit_s=limit_s)

    def _begin(self, verb: str, key: str, argument: object = None, reference: str | None = None) -> OpenCall:
        return self._recorder.begin(
            client=self.name, verb=verb, key=[TABLE, key], argument=argument, reference=reference
        )

    def _value(self) -> str:
        return f"{self.name}/{next(self._values)}"

    def _happens(self, share: float) -> bool:
        return self._chance.uniform(0.0, 1.0) < share

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, most_s))


def _shown(row: Any) -> Any:
    return None if row is None else row["value"]


__all__ = ["CALL_S", "KEYSPACE", "TABLE", "Client", "LockAnswer", "OutcomeUnknown", "key_name"]
