"""The Cassandra store of the tests that stand apart from the contract suite."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from polysite.clock import SystemClock
from polysite.engines.cassandra.opening import cassandra_port
from polysite.lab.engines import Engine
from polysite.stores.cassandra import CassandraStore
from tests.support.cassandra import settings_for

PREFIX = "apart_"
LIMIT_S = 20.0
POLL_S = 0.05


@asynccontextmanager
async def started_store(
    engine: Engine, driver: str = "cassandra-driver", *, prefix: str = PREFIX
) -> AsyncIterator[CassandraStore]:
    """A started store, as another process would have it; closed at the end of the block."""
    settings = settings_for(engine, driver=driver, keyspace_prefix=prefix)
    store = CassandraStore(cassandra_port(settings), settings, clock=SystemClock())
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def until(looked: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again; the test fails if it does not become so in time."""
    async with asyncio.timeout(LIMIT_S):
        while not await looked():  # noqa: ASYNC110 - what is looked at is on another machine and tells nobody
            await asyncio.sleep(POLL_S)
