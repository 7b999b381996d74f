"""The embedded engine under the contract suites: in memory, in a file, and through the standard library's driver."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polysite.cells.contract import Cells
from polysite.cells.embedded import EmbeddedCells
from polysite.engines.sqlite import MEMORY, DriverName, SqliteEngine
from polysite.stores.contract import Store
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.cell_contract import CellContract
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract import StoreContract

KINDS: list[tuple[str, DriverName]] = [("memory", "apsw"), ("file", "apsw"), ("file", "sqlite3")]


class EmbeddedFixtures:
    """A new engine for each test, its store and its cells."""

    @pytest.fixture
    def clock(self) -> SteppedClock:
        return SteppedClock()

    @pytest.fixture(params=KINDS, ids=["memory", "file", "file-sqlite3"])
    def engine(self, request: pytest.FixtureRequest, tmp_path: Path, clock: SteppedClock) -> SqliteEngine:
        where, driver = request.param
        path = MEMORY if where == "memory" else tmp_path / "data" / "polysite.db"
        return SqliteEngine(path, clock=clock, driver=driver)

    @pytest.fixture
    async def store(self, engine: SqliteEngine) -> AsyncIterator[Store]:
        store = EmbeddedStore(engine)
        await store.start()
        yield store
        await store.close()

    @pytest.fixture
    async def cells(self, engine: SqliteEngine) -> AsyncIterator[Cells]:
        cells = EmbeddedCells(engine)
        await cells.start()
        yield cells
        await cells.close()


class TestEmbeddedStore(EmbeddedFixtures, StoreContract):
    """Rows."""


class TestEmbeddedCells(EmbeddedFixtures, CellContract):
    """Cells."""
