"""What a graceful stop waits for.

Method: the real coordinator on virtual time, references granted through the application, and the server's own stop, of which
nothing but the time until it ends is looked at.
"""

import asyncio

from polysite.api import KeyName, QueueAnswer
from polysite.client import HttpCoordinator, connect
from polysite.client.asgi_transport import AsgiTransport
from polysite.errors import Unavailable
from polysite.server.app import build_app
from polysite.server.run import StoppableServer, uvicorn_config
from polysite.server.settings import load_settings
from polysite.testing.loop import seeded
from tests.support.sites import Process, until, world_of

LEASE_MS = 60_000
STOP_S = 5.0


async def stopped_s(process: Process, *, lose: bool, keys: list[str]) -> float:
    """How long a stop takes with a lock on `keys` held; `lose`: its holder was preempted and has not been told."""
    settings = load_settings(flags={"server.stop_ms": round(STOP_S * 1000)}).settings
    app = build_app(process.coordinator, settings, runtime=process.runtime)
    async with connect("", transport=AsgiTransport(app)) as site:
        assert isinstance(site.coordinator, HttpCoordinator)
        rows = [process.world.row(key) for key in keys]
        lock = await site.coordinator.acquire(rows, lease_ms=LEASE_MS)
        if lose:
            for row in rows:
                await process.coordinator.preempt(row)
        assert app.service.tenures.count() == 1
        server = StoppableServer(app.service, uvicorn_config(app, settings))
        started_s = asyncio.get_running_loop().time()
        server.stop()
        await until(lambda: server.should_exit)
        ended_s = asyncio.get_running_loop().time()
        if not lose:
            await process.coordinator.release(lock.reference)
    return ended_s - started_s


@seeded(seeds=3)
async def test_a_stop_does_not_wait_for_what_is_lost(seed: int) -> None:
    """Goal: a holder that was preempted and does not ask again keeps no server from stopping; one that holds is waited for.

    Method: stop with one lock and with a set, lost and held.
    """
    async with world_of(seed) as world:
        (process,) = world.processes
        for keys in (["a"], ["b", "c"]):
            assert await stopped_s(process, lose=True, keys=keys) < 1
            assert await stopped_s(process, lose=False, keys=keys) >= STOP_S


@seeded
async def test_an_engine_that_does_not_answer_is_no_loss(seed: int) -> None:
    """Goal: what cannot be looked up counts as in use. Method: refuse every look at a queue with a lock held."""
    async with world_of(seed) as world:
        (process,) = world.processes

        async def queue(key: KeyName) -> QueueAnswer:
            raise Unavailable

        process.coordinator.queue = queue  # type: ignore[method-assign]
        assert await stopped_s(process, lose=False, keys=["a"]) >= STOP_S
