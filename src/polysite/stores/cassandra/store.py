"""The store contract over Cassandra.

| contract | Cassandra |
|---|---|
| local; site | LOCAL_ONE; LOCAL_QUORUM |
| majority | QUORUM, or LOCAL_QUORUM where a keyspace is kept at this site alone |
| a batch | one unlogged batch of one partition, each statement with its own `USING TIMESTAMP`: atomic and isolated |
| `write_if`, and majority reads of `conditional` tables | SERIAL, or LOCAL_SERIAL where a keyspace is kept at this site alone |
| a life | `USING TTL`, in whole seconds rounded up; Cassandra's clock ends it |
| an index | a secondary index of Cassandra (`CREATE INDEX`), looked at again in every row it finds |

Cassandra's own index and not a storage-attached one (SAI): it takes every type of ours, also blobs, compares exact bytes, and takes
values of up to 65,534 bytes where SAI refuses terms above 8 KiB.
"""

from collections.abc import Sequence

from polysite.clock import Clock, Randomness, SystemRandomness
from polysite.engines.cassandra import CassandraPort
from polysite.engines.cassandra.checks import check_server
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import BadRequest, UnknownKey
from polysite.stores.cassandra import conditional
from polysite.stores.cassandra import registry as deciding
from polysite.stores.cassandra.defining import Definer
from polysite.stores.cassandra.reading import PartitionPage, TablePage, check_limit, read_row
from polysite.stores.cassandra.schema import SchemaKeeper
from polysite.stores.cassandra.statements import Statements
from polysite.stores.cassandra.transactional import Transactions
from polysite.stores.cassandra.writing import INDEXED_BYTES_MAX, bind_writes, check_writes
from polysite.stores.contract import (
    TOMBSTONE_LIFE_S,
    CellChange,
    Conditional,
    Decide,
    Joint,
    Level,
    Predicate,
    Store,
    StoreCapability,
    StoreCosts,
    StoredPage,
    TableWrites,
)
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Slice, StoredRow, Write
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec, check_index, check_name, check_table


class CassandraStore(Store):
    """The rows of a site's Cassandra. Give it the port that the cells of this process use; it opens it, and closes it."""

    name = "cassandra"
    indexed_bytes_max = INDEXED_BYTES_MAX

    def __init__(
        self,
        port: CassandraPort,
        settings: CassandraSettings,
        *,
        clock: Clock,
        gc_grace_s: int = round(TOMBSTONE_LIFE_S),
        accord: bool = False,
        randomness: Randomness | None = None,
    ) -> None:
        """`gc_grace_s`: how long tombstones of tables made from now on are kept. `accord`: this process's lock cells are kept in the same
        cluster through Accord. `randomness` None: the operating system's."""
        self._port = port
        self._settings = settings
        self._schema = SchemaKeeper(port, settings, clock, Definer(port, clock, gc_grace_s=gc_grace_s))
        is_alone = set(settings.replication) == {settings.data_center}
        self.costs = StoreCosts() if is_alone else StoreCosts(0, 1, 0, 1, 2, 1)
        capabilities: set[StoreCapability] = {"conditional_write", "expiry"}
        if not is_alone:
            capabilities.add("cross_site_quorum")
        if accord:
            capabilities.add("transactional")
        self._transactions = Transactions(port, settings, self._resolve, randomness or SystemRandomness())
        self.capabilities = frozenset(capabilities)

    async def start(self) -> None:
        await self._port.connect()
        checked = await check_server(self._port, self._settings)
        await self._schema.start()
        if checked.is_durable:
            self.capabilities |= {"durable"}

    async def close(self) -> None:
        await self._port.close()

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        check_name(spec.name, "keyspace")
        return await self._schema.create_keyspace(spec)

    async def drop_keyspace(self, name: str) -> bool:
        return await self._schema.drop_keyspace(name)

    async def keyspaces(self) -> list[KeyspaceSpec]:
        entries = sorted((await self._schema.current()).keyspaces.items())
        return [entry.spec for _, entry in entries if entry.state == "ready"]

    async def create_table(self, spec: TableSpec) -> bool:
        if spec.writes == "transactional" and "transactional" not in self.capabilities:
            raise BadRequest(
                "writes = transactional needs lock cells in the same cluster through Accord: cells.engine = accord"
            )
        return await self._schema.create_table(check_table(spec))

    async def drop_table(self, keyspace: str, name: str) -> bool:
        return await self._schema.drop_table(keyspace, name)

    async def tables(self, keyspace: str) -> list[TableSpec]:
        return [entry.shown() for entry in deciding.ready_tables(await self._schema.current(), keyspace)]

    async def table(self, keyspace: str, name: str) -> TableSpec:
        found = (await self._schema.look()).find(keyspace, name)
        if found is None:
            found = (await self._schema.look(anew=True)).find(keyspace, name)
        if found is None:
            raise UnknownKey("there is no such table", keyspace=keyspace, table=name)
        return found

    def known_table(self, keyspace: str, name: str) -> TableSpec | None:
        return self._schema.catalogue.find(keyspace, name) if self._schema.is_fresh() else None

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        check_index(await self.table(keyspace, table), index)
        return await self._schema.create_index(keyspace, table, index)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        return await self._schema.drop_index(keyspace, table, index_name)

    async def read(self, table: TableSpec, key: RowKey, level: Level) -> StoredRow:
        return await read_row(await self._resolve(table), self._port, key, level)

    async def read_partition(
        self,
        table: TableSpec,
        partition: tuple[bytes, ...],
        level: Level,
        *,
        slice: Slice = WHOLE_PARTITION,
        limit: int,
        cursor: bytes | None = None,
        reverse: bool = False,
    ) -> StoredPage:
        check_limit(limit)
        page = PartitionPage(await self._resolve(table), partition, slice, limit, reverse, cursor)
        return await page.read(self._port, level)

    async def scan(
        self,
        table: TableSpec,
        level: Level,
        *,
        index: tuple[str, bytes] | None = None,
        limit: int,
        cursor: bytes | None = None,
    ) -> StoredPage:
        check_limit(limit)
        statements = await self._resolve(table)
        if index is not None:
            if index[0] not in statements.table.indexes:
                statements = await self._resolve_anew(table)
            if index[0] not in statements.table.indexes:
                raise UnknownKey("there is no index over that column", keyspace=table.keyspace, table=table.name)
            if len(index[1]) > INDEXED_BYTES_MAX:
                return StoredPage([], None)  # no such value can have been written
        return await TablePage(statements, index, limit, cursor).read(self._port, level)

    async def write(self, table: TableSpec, writes: Sequence[Write], level: Level) -> None:
        if not writes:
            return
        statements = await self._resolve(table)
        if statements.table.is_conditional:
            raise BadRequest("a table whose `writes` is conditional takes conditional writes only")
        if statements.table.is_transactional:
            raise BadRequest("a table whose `writes` is transactional is written in joint steps only")
        check_writes(statements.table, writes)
        bound = bind_writes(statements, writes)
        levels = statements.table.levels
        consistency = levels.of(level)
        if len(bound) == 1:
            await self._port.write(*bound[0], consistency=consistency)
        elif bound:
            await self._port.write_batch(bound, consistency=consistency)

    async def write_if(
        self,
        table: TableSpec,
        expect: Sequence[Predicate],
        writes: Sequence[Write],
        *,
        once: TableWrites | None = None,
    ) -> Conditional:
        if once is not None:
            raise NotImplementedError(f"{self.name} lacks the capability joint")
        return await conditional.write_if(await self._resolve(table), self._port, expect, writes)

    async def joint(
        self,
        change: CellChange | None,
        writes: Sequence[TableWrites],
        reads: Sequence[tuple[TableSpec, RowKey]] = (),
        *,
        absent: Sequence[tuple[TableSpec, RowKey]] = (),
    ) -> tuple[Joint, list[StoredRow]]:
        """Over tables whose `writes` is transactional; there is always a cell, and no row that must be absent."""
        if change is None or absent or "transactional" not in self.capabilities:
            raise NotImplementedError(f"{self.name} lacks the capability joint")
        return await self._transactions.joint(change, writes, reads)

    async def joint_step(self, key: bytes, reads: Sequence[tuple[TableSpec, RowKey]], decide: Decide) -> bool:
        """Over tables whose `writes` is transactional. Decided on what the nearest replica has, and carried out if that is how things
        stand (one round trip); else decided again on how they stand."""
        if "transactional" not in self.capabilities:
            raise NotImplementedError(f"{self.name} lacks the capability joint")
        return await self._transactions.joint_step(key, reads, decide)

    async def _resolve(self, spec: TableSpec) -> Statements:
        """The table as this process last saw it; looked up anew before it is said not to be there."""
        try:
            return self._schema.catalogue.resolve(spec)
        except UnknownKey:
            return await self._resolve_anew(spec)

    async def _resolve_anew(self, spec: TableSpec) -> Statements:
        return (await self._schema.look(anew=True)).resolve(spec)
