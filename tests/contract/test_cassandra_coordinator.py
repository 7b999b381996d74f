"""The coordinator contract with rows in Cassandra, and lock cells there or in ZooKeeper, as sites run it."""

import uuid
from collections.abc import AsyncIterator

import pytest

from polysite.cells.cassandra import CassandraCells
from polysite.cells.contract import Cells
from polysite.cells.zookeeper import ZookeeperCells
from polysite.clock import Runtime
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.zookeeper import ZookeeperSettings
from polysite.engines.zookeeper.session import ZookeeperSession
from polysite.lab.engines import Engine
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.cassandra import CassandraStore
from polysite.testing.coordinator_contract import CoordinatorContract
from tests.support.cassandra import settings_for


class TestCassandra(CoordinatorContract):
    """Rows and cells through one port."""

    @pytest.fixture
    async def coordinator(self, cassandra_node: Engine) -> AsyncIterator[SiteCoordinator]:
        runtime, settings = Runtime(), settings_for(cassandra_node, keyspace_prefix="co_")
        port = cassandra_port(settings)
        cells: Cells = CassandraCells(port, settings, clock=runtime.clock)
        store = CassandraStore(port, settings, clock=runtime.clock)
        # A run of its own among those before it, whose rows and cells are still there.
        coordinator = SiteCoordinator(store, cells, runtime, SiteSettings(site=f"s{uuid.uuid4().hex[:8]}"))
        await coordinator.start()
        yield coordinator
        await coordinator.close()


class TestCassandraAndZookeeper(CoordinatorContract):
    """Locks in ZooKeeper and rows in Cassandra, as the original's architecture has it."""

    @pytest.fixture
    async def coordinator(self, cassandra_node: Engine, zookeeper_server: Engine) -> AsyncIterator[SiteCoordinator]:
        runtime, settings = Runtime(), settings_for(cassandra_node, keyspace_prefix="cz_")
        spec = zookeeper_server.spec
        zookeeper = ZookeeperSettings(servers=(f"{spec.address}:{spec.port}",), folder=f"/contract/{uuid.uuid4().hex}")
        store = CassandraStore(cassandra_port(settings), settings, clock=runtime.clock)
        cells = ZookeeperCells(ZookeeperSession(zookeeper, runtime))
        coordinator = SiteCoordinator(store, cells, runtime, SiteSettings(site=f"s{uuid.uuid4().hex[:8]}"))
        await coordinator.start()
        yield coordinator
        await coordinator.close()
