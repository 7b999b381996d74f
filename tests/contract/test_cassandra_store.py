"""The Cassandra store on a real Cassandra node under the contract suite, through both drivers."""

from collections.abc import AsyncIterator

import pytest

from polysite.clock import SystemClock
from polysite.engines.cassandra.opening import cassandra_port
from polysite.lab.engines import Engine
from polysite.stores.cassandra import CassandraStore
from polysite.stores.contract import Store
from polysite.testing.store_contract import StoreContract
from tests.support.cassandra import DRIVERS, settings_for


class TestCassandraStore(StoreContract):
    """Rows. The engine has a clock of its own."""

    @pytest.fixture
    def clock(self) -> None:
        return None

    @pytest.fixture(params=DRIVERS)
    async def store(self, request: pytest.FixtureRequest, cassandra_node: Engine) -> AsyncIterator[Store]:
        settings = settings_for(cassandra_node, driver=request.param, keyspace_prefix="rows_")
        store = CassandraStore(cassandra_port(settings), settings, clock=SystemClock())
        await store.start()
        yield store
        await store.close()
