"""The store contract over the database file. One replica, so every level is the same."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from polysite.clock import Clock
from polysite.engines.sqlite import SqliteEngine
from polysite.engines.sqlite.cells import change_cell, read_cell
from polysite.engines.sqlite.driver import Connection
from polysite.engines.sqlite.failures import translated
from polysite.engines.sqlite.records import decode
from polysite.errors import AlreadyExists, BadRequest, UnknownKey
from polysite.stores.contract import (
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
from polysite.stores.embedded import schema as ddl
from polysite.stores.embedded.changes import Change, index_value, indexed_value, prepare
from polysite.stores.embedded.collecting import START, Collected, Place, collect_step
from polysite.stores.embedded.layout import PhysicalTable
from polysite.stores.embedded.reading import (
    PartitionPage,
    TablePage,
    TooManyExamined,
    check_limit,
    holds,
    read_placed,
    read_row,
)
from polysite.stores.embedded.schema import Schema, SchemaView, WriterSchema
from polysite.values.keys import RowKey
from polysite.values.rows import (
    WHOLE_PARTITION,
    DeleteRange,
    SetPartStamp,
    Slice,
    StoredRow,
    Write,
    partition_of,
)
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec, check_index, check_name, check_table

T = TypeVar("T")

_INLINE_LIMIT_MAX = 100
_INLINE_EXAMINED_MAX = 400
"""Pages up to this size are read on the loop, which is quicker than to send them to another thread."""

_NEXT_STAMP = "update meta set value = max(value + 1, ?1) + ?2 where name = 'conditional_stamp' returning value - ?2"


class EmbeddedStore(Store):
    """The rows of one file. Give it the engine object that the cells of this process were made over."""

    name = "embedded"
    costs = StoreCosts()

    def __init__(self, engine: SqliteEngine, *, clock: Clock | None = None) -> None:
        """`clock` None: the engine's."""
        self._engine = engine
        self._writer = engine.writer
        self._clock = clock or engine.clock
        self._schema = SchemaView()
        self._checked: Schema | None = None
        """The schema as it was looked at in this round of the loop: what is asked now was asked in this round."""
        self._collect_place: Place = START
        capabilities: set[StoreCapability] = {"conditional_write", "expiry", "joint", "empty_partition"}
        if engine.is_durable:
            capabilities.add("durable")
        self.capabilities = frozenset(capabilities)

    async def start(self) -> None:
        await self._engine.start()

    async def close(self) -> None:
        await self._engine.close()

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        check_name(spec.name, "keyspace")
        return await self._change_schema(ddl.create_keyspace, spec)

    async def drop_keyspace(self, name: str) -> bool:
        return await self._change_schema(ddl.drop_keyspace, name)

    async def keyspaces(self) -> list[KeyspaceSpec]:
        return list(self._latest().keyspaces.values())

    async def create_table(self, spec: TableSpec) -> bool:
        return await self._change_schema(ddl.create_table, check_table(spec))

    async def drop_table(self, keyspace: str, name: str) -> bool:
        return await self._change_schema(ddl.drop_table, keyspace, name)

    async def tables(self, keyspace: str) -> list[TableSpec]:
        schema = self._latest()
        if keyspace not in schema.keyspaces:
            raise UnknownKey("there is no such keyspace", keyspace=keyspace)
        return [table.spec for (of_keyspace, _), table in sorted(schema.tables.items()) if of_keyspace == keyspace]

    async def table(self, keyspace: str, name: str) -> TableSpec:
        try:
            return self._latest().table(keyspace, name).spec
        except UnknownKey:
            self._look_again()
            return self._latest().table(keyspace, name).spec

    def known_table(self, keyspace: str, name: str) -> TableSpec | None:
        found = self._latest().tables.get((keyspace, name))
        return None if found is None else found.spec

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        check_index(await self.table(keyspace, table), index)

        def job(connection: Connection) -> bool:
            physical = WriterSchema.of(connection).current(connection).table(keyspace, table)
            for there in physical.indexes:
                if there.spec == index:
                    return False
                if there.spec.name == index.name or there.spec.column == index.column:
                    raise AlreadyExists("there is another index of that name or over that column", index=index.name)
            made = ddl.add_index(connection, physical, index)
            WriterSchema.of(connection).change(connection)
            _fill_index(connection, WriterSchema.of(connection).current(connection).by_number[physical.number], made)
            return True

        return await self._changed(job)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        def job(connection: Connection) -> bool:
            physical = WriterSchema.of(connection).current(connection).table(keyspace, table)
            dropped = ddl.remove_index(connection, physical, index_name)
            if dropped:
                WriterSchema.of(connection).change(connection)
            return dropped

        return await self._changed(job)

    async def read(self, table: TableSpec, key: RowKey, level: Level) -> StoredRow:  # noqa: ARG002
        try:
            with translated:
                return read_row(self._engine.reader, self._resolve(table), key, self._clock.wall_us())
        except UnknownKey:
            self._forget()
        with translated:
            return read_row(self._engine.reader, self._resolve(table), key, self._clock.wall_us())

    async def read_partition(
        self,
        table: TableSpec,
        partition: tuple[bytes, ...],
        level: Level,  # noqa: ARG002
        *,
        slice: Slice = WHOLE_PARTITION,
        limit: int,
        cursor: bytes | None = None,
        reverse: bool = False,
    ) -> StoredPage:
        check_limit(limit)

        def ask() -> PartitionPage:
            physical = self._resolve(table)
            data = physical.partition(partition)
            interval = physical.interval(slice)
            return PartitionPage(physical, partition, data, interval, limit, reverse, cursor, self._clock.wall_us())

        return await self._page(ask, limit)

    async def scan(
        self,
        table: TableSpec,
        level: Level,  # noqa: ARG002
        *,
        index: tuple[str, bytes] | None = None,
        limit: int,
        cursor: bytes | None = None,
    ) -> StoredPage:
        check_limit(limit)

        def ask() -> TablePage:
            physical = self._resolve(table)
            now_us = self._clock.wall_us()
            if index is None:
                return TablePage(physical, None, b"", limit, cursor, now_us)
            column, value = index
            for there in physical.indexes:
                if there.spec.column == column:
                    return TablePage(physical, there, value, limit, cursor, now_us)
            raise UnknownKey("there is no index over that column", keyspace=table.keyspace, table=table.name)

        return await self._page(ask, limit)

    async def write(self, table: TableSpec, writes: Sequence[Write], level: Level) -> None:  # noqa: ARG002
        if not writes:
            return
        physical = self._resolve(table)
        changes = prepare(physical, writes, self._clock.wall_us())

        def job(connection: Connection) -> None:
            _apply(connection, table, changes)

        await self._writer.submit(job)

    async def write_if(
        self,
        table: TableSpec,
        expect: Sequence[Predicate],
        writes: Sequence[Write],
        *,
        once: TableWrites | None = None,
    ) -> Conditional:
        if table.writes != "conditional":
            raise BadRequest("conditional writes need a table whose `writes` is conditional")
        physical = self._resolve(table)
        now_us = self._clock.wall_us()
        if len({partition_of(write) for write in writes} | {item.key.partition for item in expect}) > 1:
            raise BadRequest("the predicates and writes of a conditional write are all of one partition")
        prepare(physical, writes, now_us, first_stamp=1)
        for item in expect:
            physical.place(item.key)
            for column in item.equals:
                physical.spec.type_of(column)
        receipt = [] if once is None else prepare(self._resolve(once.table), once.writes, now_us)

        def job(connection: Connection) -> Conditional:
            current = _current(connection, table)
            if once is not None:
                (made,) = once.writes
                assert not isinstance(made, DeleteRange | SetPartStamp), "what is made once is a row"
                found = read_row(connection, _current(connection, once.table), made.key, now_us)
                if found.present:
                    return Conditional(False, [], found)
            rows = [read_row(connection, current, item.key, now_us) for item in expect]
            if not all(holds(current, item, row) for item, row in zip(expect, rows, strict=True)):
                return Conditional(False, rows)
            if writes:
                stamp = connection.first(_NEXT_STAMP, (now_us, len(writes)))
                assert stamp is not None
                _apply(connection, table, prepare(current, writes, now_us, first_stamp=stamp[0]))
            if once is not None:
                _apply(connection, once.table, receipt)
            return Conditional(True, [])

        return await self._writer.submit(job)

    async def joint(
        self,
        change: CellChange | None,
        writes: Sequence[TableWrites],
        reads: Sequence[tuple[TableSpec, RowKey]] = (),
        *,
        absent: Sequence[tuple[TableSpec, RowKey]] = (),
    ) -> tuple[Joint, list[StoredRow]]:
        now_us = self._clock.wall_us()
        planned = [(item.table, prepare(self._resolve(item.table), item.writes, now_us)) for item in writes]
        placed = [(spec, key, self._resolve(spec).place(key)) for spec, key in reads]
        unwanted = [(spec, key, self._resolve(spec).place(key)) for spec, key in absent]

        def job(connection: Connection) -> tuple[Joint, list[StoredRow]]:
            resolve = WriterSchema.of(connection).current(connection).resolve
            for spec, _ in planned:
                resolve(spec)  # refused before anything changed, if one of them is gone
            rows = [read_placed(connection, resolve(spec), key, place, now_us) for spec, key, place in placed]
            if any(read_placed(connection, resolve(spec), key, place, now_us).present for spec, key, place in unwanted):
                found = None if change is None else read_cell(connection, change.key)
                return Joint(False, *(found or (0, b"")), present=True), rows
            answer = Joint(True, 0, b"")
            if change is not None:
                answer = Joint(*change_cell(connection, change.key, change.expected_version, change.content))
            if answer.applied:
                for spec, changes in planned:
                    _apply(connection, spec, changes)
            return answer, rows

        answer = await self._writer.submit(job)
        if change is not None and answer[0].applied:
            self._engine.tell(change.key)
        return answer

    async def joint_step(self, key: bytes, reads: Sequence[tuple[TableSpec, RowKey]], decide: Decide) -> bool:
        wall_us = self._clock.wall_us

        def job(connection: Connection) -> bool:
            resolve = WriterSchema.of(connection).current(connection).resolve
            now_us = wall_us()
            version, content = read_cell(connection, key) or (0, b"")
            rows = [read_row(connection, resolve(spec), row_key, now_us) for spec, row_key in reads]
            effect = decide(version, content, rows)
            if effect is None:
                return False
            # All is checked before anything changes, so that a step that is refused spoils nothing else.
            planned = [
                (item.table, table, prepare(table, item.writes, now_us))
                for item in effect.writes
                for table in [resolve(item.table)]
            ]
            if effect.content is not None:
                change_cell(connection, key, version, effect.content)
            for spec, table, changes in planned:
                _apply(connection, spec, changes, table)
            return True

        changed = await self._writer.submit(job)
        if changed:
            self._engine.tell(key)
        return changed

    async def collect_tombstones(self, *, rows_max: int = 1_000) -> Collected:
        """One step of the janitor: go on where the last one ended, look at up to `rows_max` rows, drop tombstones older than
        `TOMBSTONE_LIFE_S` and the bytes of values that expired. What reads show stays as it is."""
        place, now_us = self._collect_place, self._clock.wall_us()

        def job(connection: Connection) -> tuple[Collected, Place]:
            return collect_step(connection, WriterSchema.of(connection).current(connection), place, now_us, rows_max)

        collected, self._collect_place = await self._writer.submit(job)
        return collected

    async def _change_schema(self, change: Callable[..., bool], *arguments: object) -> bool:
        def job(connection: Connection) -> bool:
            return change(connection, *arguments)

        return await self._changed(job)

    async def _changed(self, job: Callable[[Connection], bool]) -> bool:
        """Have the schema changed; whoever asks from now on is told of it."""
        try:
            return await self._writer.submit(job)
        finally:
            self._look_again()

    def _latest(self) -> Schema:
        """The schema as of now. One look serves all who ask in one round of the loop: what another process does meanwhile is
        told to nobody here before the next."""
        if self._checked is None:
            with translated:
                self._checked = self._schema.latest(self._engine.reader)
            asyncio.get_running_loop().call_soon(self._look_again)
        return self._checked

    def _forget(self) -> None:
        self._schema.forget()
        self._look_again()

    def _look_again(self) -> None:
        self._checked = None

    def _resolve(self, spec: TableSpec) -> PhysicalTable:
        """The table in the file, as this process last saw it; looked up anew before it is said not to be there."""
        known = self._schema.known(self._engine.reader)
        try:
            return known.resolve(spec)
        except UnknownKey:
            self._look_again()
            return self._latest().resolve(spec)

    async def _page(self, ask: "Callable[[], PartitionPage | TablePage]", limit: int) -> StoredPage:
        try:
            return await self._read_page(ask(), limit)
        except UnknownKey:
            self._forget()
        return await self._read_page(ask(), limit)

    async def _read_page(self, page: "PartitionPage | TablePage", limit: int) -> StoredPage:
        if limit <= _INLINE_LIMIT_MAX:
            try:
                with translated:
                    return page.read(self._engine.reader, _INLINE_EXAMINED_MAX)
            except TooManyExamined:
                pass
        return await self._engine.in_pool(page.read)


def _apply(
    connection: Connection, spec: TableSpec, changes: Sequence[Change], table: PhysicalTable | None = None
) -> None:
    """Carry out changes of a table; `table` is it, if the transaction has looked it up already."""
    if table is None:
        table = _current(connection, spec)
    for change in changes:
        if change.apply(connection, table):
            ddl.mark_ranged(connection, table)
            table = _current(connection, spec)


def _current(connection: Connection, spec: TableSpec) -> PhysicalTable:
    """The table as the writer's transaction sees it; UnknownKey if it is gone.

    By what the caller means and not by what the loop found: the table may have been made anew since, with equal columns.
    """
    return WriterSchema.of(connection).current(connection).resolve(spec)


def _fill_index(connection: Connection, table: PhysicalTable, made: int) -> None:
    """Make the index's table and enter every row that is there."""
    (index,) = [index for index in table.indexes if index.made == made]
    connection.run(index.create)
    place: tuple[bytes, bytes] = (b"", b"")
    while rows := connection.all(table.every_row, (*place, 1_000)):
        for partition, position, clustering, data, _ in rows:
            value = indexed_value(index, clustering, decode(data))
            if value is not None:
                connection.change(index.add, (index_value(value), partition, position))
        place = rows[-1][:2]
