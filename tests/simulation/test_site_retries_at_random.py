"""Requests with idempotency keys, sent again and again to whichever process, given up in the middle, over engines with faults."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from polysite.api import KeyName, LockAnswer, RowExpectation, RowGet, RowPut, Step
from polysite.errors import PolysiteError, Unavailable
from polysite.site import SiteCoordinator
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from polysite.testing.simulated import SeededRandomness
from tests.support.sites import World, table_of, world_of

ATTEMPTS = 4
ROADS = ("section", "put", "conditional")


class Request:
    """One more on a counter, under one idempotency key: what it is to write is decided once, before it is sent first.

    `said`: how each sending ended: done, refused (for good), later (refused for a passing reason) or unknown.
    """

    def __init__(self, road: str, row: KeyName, name: str) -> None:
        self.road = road
        self.row = row
        self.name = name
        self.said: list[str] = []
        self._lock: LockAnswer | None = None
        self._before: dict[str, Any] | None = None

    async def prepare(self, site: SiteCoordinator) -> bool:
        """Look at the counter; False: no lock was to be had."""
        if self.road != "put":
            self._before = (await site.get(self.row, level="quorum")).row
            return True
        self._lock = await site.acquire([self.row], lease_ms=1_500, wait_ms=4_000, read=True)
        if self._lock.rows is not None:
            self._before = self._lock.rows[0]
        return self._lock.held

    def send(self, site: SiteCoordinator) -> Awaitable[Any]:
        count = 0 if self._before is None else self._before["count"]
        columns = {"count": count + 1}
        expect = RowExpectation(key=self.row.key, exists=False)
        if self._before is not None:
            expect = RowExpectation(key=self.row.key, equals={"count": count})
        options: dict[str, Any] = {"idempotency_key": self.name}
        if self.road == "section":
            steps: list[Step] = [expect, RowPut(columns=columns)]
            return site.section(self.row, steps, wait_ms=4_000, lease_ms=1_500, **options)
        if self.road == "conditional":
            return site.batch("ks", "cond", [RowPut(key=self.row.key, columns=columns)], expect=[expect], **options)
        assert self._lock is not None
        return site.put(self.row, columns, level="critical", reference=self._lock.reference, **options)

    async def release(self, site: SiteCoordinator) -> None:
        if self._lock is not None:
            await asyncio.gather(site.release(self._lock.reference, validate=False), return_exceptions=True)


async def _ended(call: Awaitable[Any], limit_s: float | None) -> str:
    """How a sending ended, for a caller that waits so long (None: to the end)."""
    try:
        async with asyncio.timeout(limit_s):
            await call
    except TimeoutError:
        return "unknown"
    except PolysiteError as error:
        return "later" if isinstance(error, Unavailable) else error.outcome
    return "done"


def _together(said: Sequence[str]) -> str:
    """How a request ended that was sent to several processes at once: nobody knows which of them came first."""
    return next(answer for answer in ("done", "unknown", "later", "refused") if answer in said)


async def _client(world: World, chance: SeededRandomness, name: str, asked: list[Request]) -> None:
    """Make requests one after the other, and send each a few times."""

    def anybody() -> SiteCoordinator:
        return world.processes[chance.below(len(world.processes))].coordinator

    for number in range(8):
        road = ROADS[chance.below(len(ROADS))]
        row = world.row("abc"[chance.below(3)], "cond" if road == "conditional" else "votes")
        request = Request(road, row, f"{name} {number}")
        asked.append(request)
        (prepared,) = await asyncio.gather(request.prepare(anybody()), return_exceptions=True)
        if prepared is True:
            for _ in range(ATTEMPTS):
                limit_s = chance.uniform(0, 0.4) if chance.uniform(0, 1) < 0.2 else None
                sendings = [request.send(anybody()) for _ in range(1 + chance.below(2))]
                request.said.append(_together(await asyncio.gather(*(_ended(call, limit_s) for call in sendings))))
                await asyncio.sleep(chance.uniform(0, 0.3))
                if chance.uniform(0, 1) < 0.3:
                    break
        await request.release(anybody())


@seeded(seeds=20, limit_s=20_000, limit_steps=5_000_000)
async def test_counting_by_requests_that_are_sent_again(seed: int) -> None:
    """Goal: however often and wherever a request is sent, it counts once if any sending of it was answered `done`, at most once if
    one was unknown, and not at all if each was refused; once done it is never refused. Method: three processes, three roads, three
    counters each, lost answers, late effects, callers that give up; the counters at the end."""
    async with world_of(seed, "one", "two", "three", joint=seed % 2 == 0) as world:
        await world.processes[0].coordinator.create_table(table_of("cond", "conditional"))
        for process in world.processes:
            process.faults.rates = FaultRates(lost_after=0.04, lost_before=0.03, late=0.03, refused=0.03, delay_s=0.05)
        asked: list[Request] = []
        chances = [SeededRandomness(f"{seed} client {number}") for number in range(6)]
        await asyncio.gather(*(_client(world, chance, str(at), asked) for at, chance in enumerate(chances)))
        for process in world.processes:
            process.faults.rates = FaultRates()
        await asyncio.sleep(10.0)
        site = world.processes[0].coordinator
        for request in asked:
            if "done" in request.said:
                assert "refused" not in request.said[request.said.index("done") :], (
                    request.road,
                    request.name,
                    request.said,
                )
        for row in (world.row(key, table) for key in "abc" for table in ("votes", "cond")):
            if row.table == "cond":
                found = (await site.get(row, level="quorum")).row
            else:
                found = (await site.section(row, [RowGet()], wait_ms=60_000)).results[0]
            count = 0 if found is None else found["count"]
            said = [request.said for request in asked if request.row == row]
            done = sum("done" in answers for answers in said)
            unknown = sum("unknown" in answers and "done" not in answers for answers in said)
            assert done <= count <= done + unknown, (row, count, said)
