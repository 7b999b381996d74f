"""The cell contract over a ZooKeeper server."""

import uuid
from collections.abc import AsyncIterator

import pytest

from polysite.cells.contract import Cells
from polysite.cells.zookeeper import ZookeeperCells
from polysite.clock import Runtime
from polysite.engines.zookeeper import ZookeeperSettings
from polysite.engines.zookeeper.session import ZookeeperSession
from polysite.lab.engines import Engine
from polysite.testing.cell_contract import CellContract

pytestmark = pytest.mark.engine("zookeeper")


class TestZookeeperCells(CellContract):
    """Each test has a folder of its own."""

    @pytest.fixture
    async def cells(self, zookeeper_server: Engine) -> AsyncIterator[Cells]:
        settings = ZookeeperSettings(
            servers=(f"{zookeeper_server.spec.address}:{zookeeper_server.spec.port}",),
            folder=f"/contract/{uuid.uuid4().hex}",
        )
        cells = ZookeeperCells(ZookeeperSession(settings, Runtime()))
        await cells.start()
        yield cells
        await cells.close()
