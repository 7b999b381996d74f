"""Cells on a real Cassandra node of version 6 with Accord under the contract suite, through both drivers."""

import itertools
from collections.abc import AsyncIterator

import pytest

from polysite.cells.accord import AccordCells
from polysite.cells.contract import Cells
from polysite.clock import SystemClock
from polysite.engines.cassandra.opening import cassandra_port
from polysite.lab.engines import Engine
from polysite.testing.cell_contract import CellContract
from tests.support.cassandra import DRIVERS, settings_for

_numbers = itertools.count()


class TestAccordCells(CellContract):
    """Cells outlive a test here, so each test has keys of its own."""

    @pytest.fixture
    def prefix(self) -> bytes:
        return b"contract/%d/" % next(_numbers)

    @pytest.fixture(params=DRIVERS)
    async def cells(self, request: pytest.FixtureRequest, accord_node: Engine) -> AsyncIterator[Cells]:
        settings = settings_for(accord_node, driver=request.param)
        cells = AccordCells(cassandra_port(settings), settings, clock=SystemClock())
        await cells.start()
        yield cells
        await cells.close()
