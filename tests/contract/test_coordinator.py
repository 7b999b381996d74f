"""The coordinator contract over the coordinator in this process, with and without sections in one atomic step."""

from collections.abc import AsyncIterator

import pytest

from polysite.cells.embedded import EmbeddedCells
from polysite.clock import Runtime
from polysite.engines.sqlite import SqliteEngine
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.coordinator_contract import CoordinatorContract


def make_coordinator(*, joint: bool) -> SiteCoordinator:
    runtime = Runtime()
    engine = SqliteEngine(":memory:", clock=runtime.clock)
    return SiteCoordinator(EmbeddedStore(engine), EmbeddedCells(engine), runtime, SiteSettings(joint=joint))


class TestJoint(CoordinatorContract):
    """Sections in one atomic step."""

    @pytest.fixture
    async def coordinator(self) -> AsyncIterator[SiteCoordinator]:
        coordinator = make_coordinator(joint=True)
        await coordinator.start()
        yield coordinator
        await coordinator.close()


class TestGeneral(CoordinatorContract):
    """Sections on the general road."""

    @pytest.fixture
    async def coordinator(self) -> AsyncIterator[SiteCoordinator]:
        coordinator = make_coordinator(joint=False)
        await coordinator.start()
        yield coordinator
        await coordinator.close()
