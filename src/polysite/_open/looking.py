"""A look at the engines that settings name, without starting a site: whether they are reached, and set as they must be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from polysite._open.backends import Backends, cells_engine, is_embedded
from polysite.clock import Runtime
from polysite.errors import BadRequest, PolysiteError

if TYPE_CHECKING:
    from polysite.server.settings import Settings

LOOK_S = 20.0
FORGETS = (
    "its commit log is synced now and then (commitlog_sync: periodic), so a server that is killed forgets what it has just "
    "acknowledged; set commitlog_sync to batch or group in cassandra.yaml"
)


class Looked(NamedTuple):
    """One engine: `fine` None is that it could not be reached, False that something must be mended."""

    engine: str
    fine: bool | None
    finding: str


def look_at_engines(settings: "Settings", runtime: Runtime | None = None) -> list[Looked]:
    """Ask each engine that the settings name; none for the embedded one. Nothing is made or changed there."""
    try:
        if is_embedded(settings):
            return []
    except BadRequest as error:
        return [Looked("engines", False, error.message)]
    backends = Backends(settings, runtime or Runtime())
    looks = {"cassandra": _cassandra, "accord": _accord, "zookeeper": _zookeeper}
    named = dict.fromkeys((settings.store.engine, cells_engine(settings)))
    return [asyncio.run(_look(name, looks[name], backends)) for name in named]


async def _look(name: str, look: Callable[[Backends], Awaitable[str]], backends: Backends) -> Looked:
    try:
        async with asyncio.timeout(LOOK_S):
            return Looked(name, True, await look(backends))
    except TimeoutError:
        return Looked(name, None, f"did not answer within {LOOK_S:g} s")
    except PolysiteError as error:
        return Looked(name, None if error.retry else False, error.message)


async def _cassandra(backends: Backends) -> str:
    from polysite.engines.cassandra.checks import check_server

    port = backends.cassandra_port()
    await port.connect()
    try:
        checked = await check_server(port, backends.cassandra_settings())
    finally:
        await port.close()
    if not checked.is_durable:
        raise BadRequest(FORGETS)
    facts = checked.facts
    sites = ", ".join(sorted(facts.data_centers))
    return f"Cassandra {facts.release}, data center {facts.data_center} of {sites}; Paxos v2"


async def _accord(backends: Backends) -> str:
    from polysite.engines.cassandra.checks import check_accord

    port = backends.cassandra_port()
    await port.connect()
    try:
        facts = (await check_accord(port, backends.cassandra_settings())).facts
    finally:
        await port.close()
    sites = ", ".join(sorted(facts.data_centers))
    return f"Cassandra {facts.release}, data center {facts.data_center} of {sites}; Accord, experimental"


async def _zookeeper(backends: Backends) -> str:
    from polysite.engines.zookeeper.session import ZookeeperSession

    session = ZookeeperSession(backends.settings.zookeeper.checked(), backends.runtime)
    await session.start()
    try:
        standing = await session.standing_known()
    finally:
        await session.close()
    return f"a ZooKeeper server answers; it is {standing or 'silent about what it is'}"
