"""Several sites over the real channel: they find each other, tell that one is gone, and that it is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from polysite.api import Event
from polysite.cells.embedded import EmbeddedCells
from polysite.clock import Runtime
from polysite.core.distance import RTT_S_UNMEASURED
from polysite.engines.sqlite import SqliteEngine
from polysite.server.peer_listener import listen_for_peers
from polysite.server.peers import PeerCarrier
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.processes import MemorySlots

RUNTIME = Runtime()
SECRET = b"s" * 64
LIMIT_S = 30.0
SITES = ("ams", "bei", "irv")


@asynccontextmanager
async def running(engine: SqliteEngine, folder: Path, site: str) -> AsyncIterator[SiteCoordinator]:
    """A site on a socket of its own, which the others are given as its address; nothing of it is registered."""
    peers = {name: f"unix:{folder}/{name}.sock" for name in SITES}
    settings = SiteSettings(site=site, peers=peers, hello_s=0.1, close_wait_s=0.1)
    carrier = PeerCarrier(SECRET)
    coordinator = SiteCoordinator(
        EmbeddedStore(engine), EmbeddedCells(engine), RUNTIME, settings, slots=MemorySlots(), channel=carrier
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(carrier.close)
        await coordinator.start()
        stack.push_async_callback(coordinator.close)
        listener = await listen_for_peers(coordinator.handle_peer_message, SECRET, folder / f"{site}.sock", RUNTIME)
        assert listener is not None
        stack.push_async_callback(listener.close)
        yield coordinator


async def told_of_irvine(events: AsyncIterator[Event]) -> str | None:
    """What the next event of its health says."""
    async with asyncio.timeout(LIMIT_S):
        async for event in events:
            if event.kind == "health" and "irv" in str(event.detail):
                return event.detail
    return None


async def test_sites_find_each_other_and_miss_who_is_gone(tmp_path: Path) -> None:
    """Goal: over sockets and HTTP hellos are answered, ways are measured, and the absence of a site is told and ends. Method: two of
    three sites; the third starts, stops and starts again; each change is waited for as an event."""
    engine = SqliteEngine(":memory:", clock=RUNTIME.clock)
    await engine.start()
    try:
        async with running(engine, tmp_path, "ams") as ams, running(engine, tmp_path, "bei"):
            events = ams.events()
            assert await told_of_irvine(events) == "site irv does not answer"
            for _ in range(2):
                async with running(engine, tmp_path, "irv"):
                    assert await told_of_irvine(events) == "site irv answers again"
                    health = await ams.health()
                    assert health.ready
                    assert [(site.site, site.answers) for site in health.sites] == [("bei", True), ("irv", True)]
                    assert 0 < health.majority_rtt_ms < 1000 * RTT_S_UNMEASURED
                assert await told_of_irvine(events) == "site irv does not answer"
    finally:
        await engine.close()
