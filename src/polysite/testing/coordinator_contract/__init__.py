"""The coordinator protocol as tests: the same cases over the coordinator in process and over HTTP.

    from polysite.testing.coordinator_contract import CoordinatorContract

    class TestMine(CoordinatorContract):
        @pytest.fixture
        async def coordinator(self):
            coordinator = …
            yield coordinator
            await coordinator.close()

Tests are coroutines for anyio's pytest plugin. Each works in a keyspace of its own, so one coordinator may serve many.
Nothing here depends on how long something takes: waits are for events, with a limit.
"""

from polysite.testing.coordinator_contract.locks import LockSuite
from polysite.testing.coordinator_contract.rows import RowSuite
from polysite.testing.coordinator_contract.schema import SchemaSuite
from polysite.testing.coordinator_contract.sections import SectionSuite
from polysite.testing.coordinator_contract.support import CoordinatorSuite, Place

__all__ = ["CoordinatorContract", "CoordinatorSuite", "LockSuite", "Place", "RowSuite", "SchemaSuite", "SectionSuite"]


class CoordinatorContract(SchemaSuite, LockSuite, SectionSuite, RowSuite):
    """Every sentence of `polysite.api`."""
