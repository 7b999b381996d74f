"""The coordinator contract with locks in ZooKeeper and rows in the embedded store, as the coordinator would stand on two engines."""

import uuid
from collections.abc import AsyncIterator

import pytest

from polysite.cells.zookeeper import ZookeeperCells
from polysite.clock import Runtime
from polysite.engines.sqlite import SqliteEngine
from polysite.engines.zookeeper import ZookeeperSettings
from polysite.engines.zookeeper.session import ZookeeperSession
from polysite.lab.engines import Engine
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.coordinator_contract import CoordinatorContract


class TestZookeeperCells(CoordinatorContract):
    """Sections on the general road: the two engines have no step in common."""

    @pytest.fixture
    async def coordinator(self, zookeeper_server: Engine) -> AsyncIterator[SiteCoordinator]:
        runtime = Runtime()
        spec = zookeeper_server.spec
        settings = ZookeeperSettings(servers=(f"{spec.address}:{spec.port}",), folder=f"/contract/{uuid.uuid4().hex}")
        cells = ZookeeperCells(ZookeeperSession(settings, runtime))
        store = EmbeddedStore(SqliteEngine(":memory:", clock=runtime.clock))
        coordinator = SiteCoordinator(store, cells, runtime, SiteSettings())
        await coordinator.start()
        yield coordinator
        await coordinator.close()
