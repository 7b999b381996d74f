"""The simulated world under the contract suites of the real engines: one site, and three sites next to each other."""

from collections.abc import AsyncIterator

import pytest

from polysite.cells.contract import Cells
from polysite.stores.contract import Store
from polysite.testing.cell_contract import CellContract
from polysite.testing.simulated import SeededRandomness
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract import StoreContract
from polysite.testing.world.cells import Registers, WorldCells
from polysite.testing.world.network import Network
from polysite.testing.world.rows import Rows, WorldStore

SITES = [("ams",), ("ams", "bei", "irv")]


@pytest.fixture(params=SITES, ids=["one", "three"])
async def network(request: pytest.FixtureRequest) -> Network:
    return Network(request.param, SeededRandomness(1), 0.0)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


class TestWorldStore(StoreContract):
    """Rows."""

    @pytest.fixture
    async def store(self, network: Network, clock: SteppedClock) -> AsyncIterator[Store]:
        store = WorldStore(Rows(network, SeededRandomness(1), clock), "ams")
        await store.start()
        yield store
        await store.close()


class TestWorldCells(CellContract):
    """Cells."""

    @pytest.fixture
    async def cells(self, network: Network) -> AsyncIterator[Cells]:
        cells = WorldCells(Registers(network, SeededRandomness(1)), "ams")
        await cells.start()
        yield cells
        await cells.close()
