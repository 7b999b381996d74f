"""What is measured of a section, call by call, on quiet keys."""

import asyncio
import time

from polysite.api import Coordinator, KeyName, RowGet, RowPut, Step

from .keys import Quiet
from .samples import Sample, tell
from .tables import KEYSPACE, LOCKED, PLAIN, TEXT

SECTION = "lock + get + put, release in the background"
VALIDATED = "lock + get + put + validated release"
LOCK_GET = "lock with first get"
PUT = "put in a held section"
PIPELINED = "ten puts, pipelined"
BATCHED = "ten puts, one batch"
SECOND_GET = "second get in a section"
BACKGROUND = "release in the background"
EVENTUAL_GET, EVENTUAL_PUT = "eventual get", "eventual put"
ONE_REQUEST = "section in one request, release in the background"
ONE_REQUEST_VALIDATED = "section in one request, validated"
TEN = 10
WARM_UP = 2


class Watch:
    """Takes the time of calls and writes down what they claim; `muted`: only warms up."""

    def __init__(self, site: str, rtt_ms: float) -> None:
        self.site, self.rtt_ms = site, rtt_ms
        self.muted = False

    def told(self, operation: str, began_s: float, claimed: float) -> None:
        self.took(operation, (time.monotonic() - began_s) * 1000, claimed)

    def took(self, operation: str, took_ms: float, claimed: float) -> None:
        if not self.muted:
            tell(Sample(operation=operation, site=self.site, rtt_ms=self.rtt_ms, took_ms=took_ms, claimed=claimed))


class Sections:
    """The rounds of one client."""

    def __init__(self, coordinator: Coordinator, watch: Watch, keys: Quiet) -> None:
        self._site, self._watch, self._keys = coordinator, watch, keys

    async def measure(self, repeats: int) -> None:
        """So many samples of every operation, the operations in turn."""
        for number in range(WARM_UP + repeats):
            self._watch.muted = number < WARM_UP
            for one in (self._in_the_background, self._validated, self._inside, self._at_once, self._plain):
                await one()

    async def _in_the_background(self) -> None:
        key = await self._keys.take()
        began_s = time.monotonic()
        lock = await self._site.acquire([key], read=True)
        self._watch.told(LOCK_GET, began_s, lock.round_trips)
        put_s = time.monotonic()
        put = await self._site.put(key, {"v": TEXT, "n": 1}, level="critical", reference=lock.reference)
        self._watch.told(PUT, put_s, put.round_trips)
        release_s = time.monotonic()
        released = await self._site.release(lock.reference, validate=False)
        self._watch.told(BACKGROUND, release_s, released.round_trips)
        self._watch.told(SECTION, began_s, lock.round_trips + put.round_trips + released.round_trips)
        await self._keys.let_go()

    async def _validated(self) -> None:
        key = await self._keys.take()
        began_s = time.monotonic()
        lock = await self._site.acquire([key], read=True)
        put = await self._site.put(key, {"v": TEXT, "n": 1}, level="critical", reference=lock.reference)
        released = await self._site.release(lock.reference, validate=True)
        assert released.validated
        self._watch.told(VALIDATED, began_s, lock.round_trips + put.round_trips + released.round_trips)
        self._keys.used()

    async def _inside(self) -> None:
        """What a holder does: gets and puts, not counted with the lock."""
        key = await self._keys.take()
        lock = await self._site.acquire([key], read=True)
        began_s = time.monotonic()
        found = await self._site.get(key, level="critical", reference=lock.reference)
        self._watch.told(SECOND_GET, began_s, found.round_trips)
        began_s = time.monotonic()
        puts = [
            self._site.put(key, {"v": TEXT, "n": number}, level="critical", reference=lock.reference)
            for number in range(TEN)
        ]
        done = await asyncio.gather(*puts)
        self._watch.told(PIPELINED, began_s, max([put.round_trips for put in done]))
        began_s = time.monotonic()
        writes = [RowPut(columns={"v": TEXT, "n": number}, key=key.key) for number in range(TEN)]
        batch = await self._site.batch(KEYSPACE, LOCKED, writes, level="critical", reference=lock.reference)
        self._watch.told(BATCHED, began_s, batch.round_trips)
        await self._site.release(lock.reference, validate=False)
        await self._keys.let_go()

    async def _at_once(self) -> None:
        steps: list[Step] = [RowGet(), RowPut(columns={"v": TEXT, "n": 1})]
        for validate, name in ((False, ONE_REQUEST), (True, ONE_REQUEST_VALIDATED)):
            key = await self._keys.take()
            began_s = time.monotonic()
            done = await self._site.section(key, steps, validate=validate)
            self._watch.told(name, began_s, done.round_trips)
            await self._keys.let_go()

    async def _plain(self) -> None:
        key = KeyName(keyspace=KEYSPACE, table=PLAIN, key={"k": self._watch.site})
        began_s = time.monotonic()
        put = await self._site.put(key, {"v": TEXT})
        self._watch.told(EVENTUAL_PUT, began_s, put.round_trips)
        began_s = time.monotonic()
        got = await self._site.get(key)
        self._watch.told(EVENTUAL_GET, began_s, got.round_trips)
