"""Lock cells as rows of one Cassandra 6 table, changed through Accord: one wide-area round trip each. Experimental: Cassandra 6.0 is
an alpha release (decision 10 says what it does when it is killed).

    "polysite_cells".accord (key blob PRIMARY KEY, version bigint, content blob) WITH transactional_mode = 'mixed_reads'

Conditional writes and reads at SERIAL of such a table are Accord's; in this mode reads at LOCAL_ONE ask the nearest replica alone.
Nothing ever reads it at QUORUM: what such a read repairs, a killed Cassandra node cannot replay.
"""

from typing import ClassVar

from polysite.cells.cassandra import CassandraCells
from polysite.cells.contract import CellCosts
from polysite.clock import Clock
from polysite.engines.cassandra import CassandraPort, Consistency
from polysite.engines.cassandra.accord import CELLS_TABLE
from polysite.engines.cassandra.checks import ServerChecked, check_accord
from polysite.engines.cassandra.settings import CassandraSettings

SEVERAL_SITES = CellCosts(read_local=0, read=1, compare_and_set=1, compare_and_set_refused=1)
"""Measured on three sites, 50 and 100 ms apart, quiet key (`python -m benchmarks.accord latency`)."""


class AccordCells(CassandraCells):
    """The cells of one Cassandra 6 cluster, through its Cassandra nodes at this site."""

    name = "accord"
    table: ClassVar[str] = CELLS_TABLE
    accord: ClassVar[bool] = True
    several_sites: ClassVar[CellCosts] = SEVERAL_SITES

    def __init__(self, port: CassandraPort, settings: CassandraSettings, *, clock: Clock) -> None:
        super().__init__(port, settings, clock=clock)
        # The agreement is over all copies, and its answer is sent when it can be carried out; nobody's commit is waited for.
        self._serial, self._commit = Consistency.SERIAL, Consistency.ANY
        self.capabilities |= {"joint"}

    async def _check(self) -> ServerChecked:
        return await check_accord(self._port, self._settings)
