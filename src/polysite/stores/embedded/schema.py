"""Keyspaces, tables and indexes in the file, and what each connection knows of them.

The row `generation` of the file grows with every change to any of them, so whoever looks at it knows whether what it
remembers still holds, whichever process made the change.
"""

import msgspec

from polysite.engines.sqlite.driver import Connection
from polysite.errors import AlreadyExists, UnknownKey
from polysite.stores.embedded.layout import PhysicalTable
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

_GENERATION = "select value from meta where name = 'generation'"
_CHANGED = "update meta set value = value + 1 where name = 'generation'"
_NUMBER = "update meta set value = value + 1 where name = 'tables_made' returning value"
_RESOLVED_MAX = 4_096


class _Index(msgspec.Struct, array_like=True):
    made: int
    name: str
    column: str


class _Stored(msgspec.Struct, array_like=True):
    """A table's spec without indexes, and the indexes with the numbers they were made under."""

    spec: TableSpec
    indexes: list[_Index]


_encode = msgspec.msgpack.Encoder().encode
_decode_table = msgspec.msgpack.Decoder(_Stored).decode
_decode_keyspace = msgspec.msgpack.Decoder(KeyspaceSpec).decode


class Schema:
    """Everything the file says about keyspaces and tables at one generation."""

    def __init__(
        self, generation: int, keyspaces: dict[str, KeyspaceSpec], tables: dict[tuple[str, str], PhysicalTable]
    ) -> None:
        self.generation = generation
        self.keyspaces = keyspaces
        self.tables = tables
        self.by_number = {table.number: table for table in tables.values()}
        self._resolved: dict[int, tuple[TableSpec, PhysicalTable]] = {}

    def table(self, keyspace: str, name: str) -> PhysicalTable:
        """The table; UnknownKey if there is none."""
        found = self.tables.get((keyspace, name))
        if found is None:
            raise UnknownKey("there is no such table", keyspace=keyspace, table=name)
        return found

    def resolve(self, spec: TableSpec) -> PhysicalTable:
        """The table that a caller means by `spec`; UnknownKey if it is gone or was made anew with other columns."""
        # By identity, since comparing whole specs costs more than the read; the spec is kept, so its id stays its own.
        known = self._resolved.get(id(spec))
        if known is not None:
            return known[1]
        found = self.table(spec.keyspace, spec.name)
        if not is_same(found.spec, spec):
            raise UnknownKey("the table was made anew with other columns", keyspace=spec.keyspace, table=spec.name)
        if len(self._resolved) >= _RESOLVED_MAX:
            self._resolved.clear()
        self._resolved[id(spec)] = (spec, found)
        return found


def is_same(one: TableSpec, other: TableSpec) -> bool:
    """Whether two specs mean the same rows: everything but the indexes is equal."""
    return one is other or _without_indexes(one) == _without_indexes(other)


def _without_indexes(spec: TableSpec) -> TableSpec:
    return msgspec.structs.replace(spec, indexes=()) if spec.indexes else spec


def generation(connection: Connection) -> int:
    """The generation of the schema as `connection` sees it now."""
    row = connection.first(_GENERATION)
    assert row is not None
    return int(row[0])


def load(connection: Connection) -> Schema:
    """Read the whole schema, in one snapshot if the connection is in a transaction."""
    current = generation(connection)
    keyspaces = {
        spec.name: spec
        for (data,) in connection.all("select spec from keyspaces order by name")
        for spec in [_decode_keyspace(data)]
    }
    tables: dict[tuple[str, str], PhysicalTable] = {}
    for number, data, ranged in connection.all("select number, spec, ranged from tables order by keyspace, name"):
        stored = _decode_table(data)
        indexes = tuple((index.made, IndexSpec(name=index.name, column=index.column)) for index in stored.indexes)
        spec = msgspec.structs.replace(stored.spec, indexes=tuple(index for _, index in indexes)).of_making(number)
        tables[spec.keyspace, spec.name] = PhysicalTable(number, spec, ranged=bool(ranged), indexes=indexes)
    return Schema(current, keyspaces, tables)


class SchemaView:
    """The schema as one connection sees it, read again when it changed."""

    def __init__(self) -> None:
        self._schema: Schema | None = None

    def latest(self, connection: Connection) -> Schema:
        """The schema as of now, for a connection that reads outside transactions."""
        schema = self._schema
        if schema is None or generation(connection) != schema.generation:
            connection.run("begin")
            try:
                schema = self._schema = load(connection)
            finally:
                connection.run("commit")
        return schema

    def known(self, connection: Connection) -> Schema:
        """The schema as last read; it may have changed since."""
        return self._schema or self.latest(connection)

    def forget(self) -> None:
        self._schema = None


class WriterSchema:
    """The schema inside the writer's transactions: exact, because it is compared in each one."""

    def __init__(self) -> None:
        self._schema: Schema | None = None
        self._transaction_number = -1
        self._is_changed = False

    @staticmethod
    def of(connection: Connection) -> "WriterSchema":
        """The one of this connection, whichever stores use it."""
        found = connection.remembered.get("schema")
        if found is None:
            found = connection.remembered["schema"] = WriterSchema()
        assert isinstance(found, WriterSchema)
        return found

    def current(self, connection: Connection) -> Schema:
        """The schema with every change made in this transaction so far."""
        schema = self._schema
        if connection.transaction_number != self._transaction_number:
            self._transaction_number = connection.transaction_number
            if self._is_changed:  # by a transaction that may have been rolled back
                schema, self._is_changed = None, False
            elif schema is not None and generation(connection) != schema.generation:
                schema = None
        if schema is None:
            schema = self._schema = load(connection)
        return schema

    def change(self, connection: Connection) -> None:
        """This transaction changed the schema."""
        connection.change(_CHANGED, ())
        self._schema = None
        self._is_changed = True
        self._transaction_number = connection.transaction_number


def create_keyspace(connection: Connection, spec: KeyspaceSpec) -> bool:
    there = WriterSchema.of(connection).current(connection).keyspaces.get(spec.name)
    if there is not None:
        if there != spec:
            raise AlreadyExists("the keyspace exists and differs", keyspace=spec.name)
        return False
    connection.change("insert into keyspaces values (?, ?)", (spec.name, _encode(spec)))
    WriterSchema.of(connection).change(connection)
    return True


def drop_keyspace(connection: Connection, name: str) -> bool:
    schema = WriterSchema.of(connection).current(connection)
    if name not in schema.keyspaces:
        return False
    for (keyspace, _), table in schema.tables.items():
        if keyspace == name:
            _drop(connection, table)
    connection.change("delete from keyspaces where name = ?", (name,))
    WriterSchema.of(connection).change(connection)
    return True


def create_table(connection: Connection, spec: TableSpec) -> bool:
    schema = WriterSchema.of(connection).current(connection)
    if spec.keyspace not in schema.keyspaces:
        raise UnknownKey("there is no such keyspace", keyspace=spec.keyspace)
    there = schema.tables.get((spec.keyspace, spec.name))
    if there is not None:
        if not is_same(there.spec, spec) or set(there.spec.indexes) != set(spec.indexes):
            raise AlreadyExists("the table exists and differs", keyspace=spec.keyspace, table=spec.name)
        return False
    row = connection.first(_NUMBER)
    assert row is not None
    stored = _Stored(
        _without_indexes(spec), [_Index(made, index.name, index.column) for made, index in enumerate(spec.indexes)]
    )
    table = PhysicalTable(row[0], spec, ranged=False, indexes=tuple(enumerate(spec.indexes)))
    for statement in (*table.create, *(index.create for index in table.indexes)):
        connection.run(statement)
    connection.change(
        "insert into tables (number, keyspace, name, spec, indexes_made) values (?, ?, ?, ?, ?)",
        (table.number, spec.keyspace, spec.name, _encode(stored), len(spec.indexes)),
    )
    WriterSchema.of(connection).change(connection)
    return True


def drop_table(connection: Connection, keyspace: str, name: str) -> bool:
    table = WriterSchema.of(connection).current(connection).tables.get((keyspace, name))
    if table is None:
        return False
    _drop(connection, table)
    WriterSchema.of(connection).change(connection)
    return True


def _drop(connection: Connection, table: PhysicalTable) -> None:
    connection.change("delete from tables where number = ?", (table.number,))
    for statement in (*table.drop, *(index.drop for index in table.indexes)):
        connection.run(statement)


def mark_ranged(connection: Connection, table: PhysicalTable) -> None:
    """From now on every write to the table looks for range tombstones."""
    connection.change("update tables set ranged = 1 where number = ?", (table.number,))
    WriterSchema.of(connection).change(connection)


def add_index(connection: Connection, table: PhysicalTable, index: IndexSpec) -> int:
    """Note the index with the table and make its table in the file; the number it was made under."""
    row = connection.first(
        "update tables set indexes_made = indexes_made + 1 where number = ? returning indexes_made - 1", (table.number,)
    )
    assert row is not None
    made = int(row[0])
    known = [(there.made, there.spec) for there in table.indexes]
    _store_indexes(connection, table, [*known, (made, index)])
    return made


def remove_index(connection: Connection, table: PhysicalTable, index_name: str) -> bool:
    """Drop the index; False if there is none of that name."""
    gone = [index for index in table.indexes if index.spec.name == index_name]
    if not gone:
        return False
    _store_indexes(connection, table, [(there.made, there.spec) for there in table.indexes if there not in gone])
    for index in gone:
        connection.run(index.drop)
    return True


def _store_indexes(connection: Connection, table: PhysicalTable, indexes: list[tuple[int, IndexSpec]]) -> None:
    stored = _Stored(_without_indexes(table.spec), [_Index(made, index.name, index.column) for made, index in indexes])
    connection.change("update tables set spec = ? where number = ?", (_encode(stored), table.number))
