"""Engines by the names that settings give them, loaded when they are asked for."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from polysite.cells.contract import Cells
from polysite.clock import Runtime
from polysite.errors import BadRequest
from polysite.stores.contract import Store

if TYPE_CHECKING:
    from polysite.engines.cassandra import CassandraPort
    from polysite.engines.cassandra.settings import CassandraSettings
    from polysite.server.settings import Settings

T = TypeVar("T")

EMBEDDED = "embedded"
ONE_SITE = "peers: the embedded engine holds one site; several need an engine that replicates"


def is_embedded(settings: "Settings") -> bool:
    """Whether rows and cells are both in one file. BadRequest: an engine that is not known, or two that do not go together."""
    store, cells = settings.store.engine, cells_engine(settings)
    for section, engine, known in (("store", store, STORES), ("cells", cells, CELLS)):
        if engine != EMBEDDED and engine not in known:
            names = ", ".join([EMBEDDED, *known])
            raise BadRequest(f"{section}.engine: there is no engine {engine!r} here; there is {names}")
    if (store == EMBEDDED) != (cells == EMBEDDED):
        raise BadRequest(
            "store.engine and cells.engine: the embedded engine holds one site's rows and cells together, in one file; "
            "rows at several sites (cassandra) go with cells at several sites (cassandra, accord, zookeeper)"
        )
    if store == EMBEDDED and settings.site.peers:
        raise BadRequest(f"site.{ONE_SITE}")
    return store == EMBEDDED


def cells_engine(settings: "Settings") -> str:
    """The name of the cells' engine; where none is set the rows' engine holds them."""
    return settings.cells.engine or settings.store.engine


class Backends:
    """Store and cells of one process, by its settings. What they share is made once: one port to Cassandra serves both."""

    def __init__(self, settings: "Settings", runtime: Runtime, environ: Mapping[str, str] | None = None) -> None:
        """`environ` holds the credentials that settings name; None: this process's environment."""
        self.settings = settings
        self.runtime = runtime
        self._environ = os.environ if environ is None else environ
        self._port: CassandraPort | None = None

    def store(self) -> Store:
        """The store that `store.engine` names, not started. BadRequest: its settings do not hold, or its library is missing."""
        return STORES[self.settings.store.engine](self)

    def cells(self) -> Cells:
        """The cells that `cells.engine` names, not started. BadRequest as for `store`."""
        return CELLS[cells_engine(self.settings)](self)

    def cassandra_settings(self) -> "CassandraSettings":
        """The section `[cassandra]`. BadRequest if it is missing or does not hold."""
        from polysite.engines.cassandra.settings import checked

        if self.settings.cassandra is None:
            raise BadRequest(
                "cassandra: the engine needs the section [cassandra], at least contact_points and data_center"
            )
        return checked(self.settings.cassandra)

    def cassandra_port(self) -> "CassandraPort":
        """The one port of this process, not connected."""
        if self._port is None:
            from polysite.engines.cassandra.opening import cassandra_port
            from polysite.engines.cassandra.settings import credentials_from

            settings = self.cassandra_settings()
            self._port = cassandra_port(settings, credentials=credentials_from(settings, self._environ))
        return self._port


def _cassandra_store(backends: Backends) -> Store:
    port, settings = backends.cassandra_port(), backends.cassandra_settings()
    from polysite.stores.cassandra import CassandraStore

    accord = cells_engine(backends.settings) == "accord"
    return CassandraStore(
        port, settings, clock=backends.runtime.clock, accord=accord, randomness=backends.runtime.randomness
    )


def _cassandra_cells(backends: Backends) -> Cells:
    from polysite.cells.cassandra import CassandraCells

    clock = backends.runtime.clock
    return CassandraCells(backends.cassandra_port(), backends.cassandra_settings(), clock=clock)


def _accord_cells(backends: Backends) -> Cells:
    from polysite.cells.accord import AccordCells

    clock = backends.runtime.clock
    return AccordCells(backends.cassandra_port(), backends.cassandra_settings(), clock=clock)


def _zookeeper_cells(backends: Backends) -> Cells:
    try:
        from polysite.engines.zookeeper.session import ZookeeperSession
    except ImportError as error:
        raise BadRequest("the library kazoo is not installed: install polysite with the extra [zookeeper]") from error
    from polysite.cells.zookeeper import ZookeeperCells

    return ZookeeperCells(ZookeeperSession(backends.settings.zookeeper.checked(), backends.runtime))


STORES: dict[str, Callable[[Backends], Store]] = {"cassandra": _cassandra_store}
CELLS: dict[str, Callable[[Backends], Cells]] = {
    "cassandra": _cassandra_cells,
    "accord": _accord_cells,
    "zookeeper": _zookeeper_cells,
}
"""By name; the embedded engine is put together elsewhere, since its two halves are one file."""
