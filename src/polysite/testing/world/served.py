"""Clients that work through the production client and the server, over links that lose, delay and double what they carry.

    ServedClient(world, "ams", 0, …, recorder, keyed=True)

It does what every client does; each call goes through `HttpCoordinator`, so the client's own repetitions, idempotency keys and change
to another process of the site come into play, and its errors are the ones that are written down. Some of its tenures are sections of
`Site.table`, kept alive by the client and cancelled when it learns that the lock is lost.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from polysite.api import RowDelete, RowPut
from polysite.client._async.carrier import Carrier
from polysite.client._async.coordinator import HttpCoordinator
from polysite.client._async.section import Section
from polysite.client._async.site import Site
from polysite.client.pacing import AsyncPace
from polysite.clock import TaskSpawner
from polysite.errors import OutcomeUnknown
from polysite.testing.simulated import simulated_runtime
from polysite.testing.world.clients import CALL_S, COLUMNS, GRACE_S, Client, Work
from polysite.testing.world.traffic import KEYSPACE
from polysite.testing.world.world import World

T = TypeVar("T")

GUARDED = 0.5
"""Share of the tenures that are sections of the client."""

CANCELLED = 0.08
"""Share of the tenures that are cancelled while they begin: the client sees to it that nothing of them stays in the queue."""

LEASES_S = (0.7, 1.0, 2.0, 5.0)
STEPS = (0, 1, 2, 3, 4)
PATIENCE_S = (0.05, 0.2, 0.5, 2.0)
BUSY_LEASES = (0.1, 0.5, 1.0, 1.6)
"""For how much of its lease a client is busy with something else, when it is; its lock is kept meanwhile."""


class ServedClient(Client):
    """A client that asks over links. `keyed`: its writes carry idempotency keys, and are sent again by themselves."""

    def __init__(self, world: World, site: str, *arguments: Any, keyed: bool) -> None:
        super().__init__(world, site, *arguments)
        self.runtime = simulated_runtime(world.seed, process=f"client {self.name}/process")
        pace = AsyncPace(self.runtime)
        carrier = Carrier(world.links.transports(site), answer_s=self.traffic.answer_s, pace=pace)
        self.site = Site(HttpCoordinator(carrier, idempotent_writes=keyed), pace=pace)

    def process(self) -> None:
        """None: what was asked over a link and not answered may come after what is asked next, so nothing more may be asked."""
        return

    async def ask(self, work: Callable[[Any], Coroutine[Any, Any, T]], limit_s: float = CALL_S) -> T:
        """What the client's coordinator answers."""
        began_s = self._world.now_s()
        try:
            async with asyncio.timeout(limit_s):
                return await work(self.site.coordinator)
        except TimeoutError:
            if began_s >= self.quiet_s + GRACE_S and limit_s > self.traffic.wait_ms / 1000:
                self.overdue.append(
                    f"{self.name}: a call that began at {began_s:.3f} s did not end within {limit_s:g} s"
                )
            raise OutcomeUnknown("no answer within the limit", reason="limit") from None

    async def finish(self) -> None:
        """Return once nothing goes on behind its back."""
        spawner = self.runtime.spawner
        assert isinstance(spawner, TaskSpawner)
        while spawner.tasks:
            await asyncio.wait(spawner.tasks)

    async def _tenure(self, work: Work) -> None:
        if self.happens(CANCELLED):
            await Guarded.of(work).cancelled(self.site)
        elif self.happens(GUARDED):
            await Guarded.of(work).run(self.site)
        else:
            await super()._tenure(work)


class Guarded(Work):
    """A section of the client: a lock that it keeps alive by itself, some reads and writes, and an end by itself."""

    @classmethod
    def of(cls, work: Work) -> "Guarded":
        """For the key of that work."""
        return cls(work._client, work._table, work._key)  # noqa: SLF001

    async def run(self, site: Site) -> None:
        client = self._client
        lease_s = client.pick(LEASES_S)
        validate = client.happens(0.7)
        read = not self.is_wide and client.happens(0.3)
        section = site.table(KEYSPACE, self._table).section(
            self._key, lease_s=lease_s, wait_s=self._traffic.wait_ms / 1000, validate=validate, read=read
        )
        asked = {"kind": "exclusive", "lease_ms": round(lease_s * 1000)}
        async with AsyncExitStack() as stack:
            with client.begin("acquire", self._named, asked) as call:
                await stack.enter_async_context(section)
                # What was read with the lock is given out by the first read, which asks nobody; unless something was written before.
                told = {"read": _told(await section.get())} if read and client.happens(0.5) else None
                call.answer(told, reference=section.reference)
            if read and told is None:
                await self._write_in(section)
                await self._read_in(section)
            for _ in range(client.pick(STEPS)):
                if client.happens(0.2):
                    await asyncio.sleep(client.pick(BUSY_LEASES) * lease_s)
                await (self._read_in(section) if client.happens(0.45) else self._write_in(section))
            if validate:
                with client.begin("release", self._named, None, section.reference):
                    await stack.aclose()

    async def cancelled(self, site: Site) -> None:
        """Ask for a lock, and be cancelled meanwhile if it is not had at once."""
        client = self._client
        asked = {"kind": "exclusive", "lease_ms": 5_000}
        with client.begin("acquire", self._named, asked) as call:
            try:
                async with asyncio.timeout(client.pick(PATIENCE_S)):
                    answer = await site.coordinator.acquire(
                        [self._lock()], lease_ms=5_000, wait_ms=self._traffic.wait_ms, read=not self.is_wide
                    )
            except TimeoutError:
                raise OutcomeUnknown("it was cancelled", reason="cancelled") from None
            if not answer.held:
                call.end("refused", code="waiting")
            else:
                told = None if answer.rows is None else {"read": _told(answer.rows[0])}
                call.answer(told, reference=answer.reference)
        await site.coordinator.release(answer.reference)

    async def _read_in(self, section: Section) -> None:
        row = self.some_row()
        with self._client.begin("read", self._named, {"row": row}, section.reference) as call:
            call.answer(_told(await section.get(row or None)))

    async def _write_in(self, section: Section) -> None:
        write = self.one_write()
        asked = self._asked(write)
        with self._client.begin("write", self._named, {"writes": [write]}, section.reference):
            if isinstance(asked, RowPut):
                await section.put(asked.columns, key=write[1] or None)
            elif isinstance(asked, RowDelete):
                await section.delete(write[1] or None)
            else:
                await section.batch([asked])


def _told(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """The columns of a row that have a value."""
    return None if row is None else {name: row[name] for name in COLUMNS if row[name] is not None}
