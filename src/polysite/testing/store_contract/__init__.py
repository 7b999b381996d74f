"""The store contract as tests. An adapter's author runs them with one import and a fixture:

    from polysite.testing.store_contract import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self, clock):
            store = MyStore(…)
            await store.start()
            yield store
            await store.close()

`clock` is the clock that lives of writes are measured with; an engine with a clock of its own overrides that fixture to
return None, and what needs time to pass is skipped by that name. What an engine lacks is skipped by the name of the
capability. `cells` is needed only where the store has `joint`. Tests are coroutines and run under anyio's pytest plugin.
"""

from polysite.testing.store_contract.bounds import BoundsSuite
from polysite.testing.store_contract.conditional import ConditionalSuite
from polysite.testing.store_contract.convergence import ConvergenceSuite
from polysite.testing.store_contract.expiry import ExpirySuite
from polysite.testing.store_contract.hidden import HiddenSuite
from polysite.testing.store_contract.indexes import IndexSuite
from polysite.testing.store_contract.joint import JointSuite
from polysite.testing.store_contract.paging import PagingSuite
from polysite.testing.store_contract.ranges import RangeSuite
from polysite.testing.store_contract.rows import RowSuite
from polysite.testing.store_contract.schema import SchemaSuite
from polysite.testing.store_contract.support import StoreSuite

__all__ = [
    "BoundsSuite",
    "ConditionalSuite",
    "ConvergenceSuite",
    "ExpirySuite",
    "HiddenSuite",
    "IndexSuite",
    "JointSuite",
    "PagingSuite",
    "RangeSuite",
    "RowSuite",
    "SchemaSuite",
    "StoreContract",
    "StoreSuite",
]


class StoreContract(
    SchemaSuite,
    RowSuite,
    HiddenSuite,
    BoundsSuite,
    RangeSuite,
    ConvergenceSuite,
    PagingSuite,
    IndexSuite,
    ExpirySuite,
    ConditionalSuite,
    JointSuite,
):
    """Every sentence of `polysite.stores.contract`."""
