"""Schema statements, each of which may be repeated, and what Cassandra says of its schema."""

from polysite.clock import Clock
from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.checks import create_keyspace_text, define, replication_of, until_usable
from polysite.errors import AlreadyExists, OutcomeUnknown, Unavailable
from polysite.stores.cassandra.layout import (
    TEXT,
    create_index,
    create_table,
    index_name,
    quoted,
    table_id,
)
from polysite.values.tables import IndexSpec, TableSpec
from polysite.values.types import parse_type

INDEX_S_MAX = 600.0
_POLL_S = 0.05
_TRIES_MAX = 4

_TABLE_ID = Statement(
    "SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?",
    (TEXT, TEXT),
    {"id": parse_type("uuid")},
)
_BUILT = Statement(
    'SELECT index_name FROM system."IndexInfo" WHERE table_name = ? AND index_name = ?',
    (TEXT, TEXT),
    {"index_name": TEXT},
)


class Definer:
    """Makes and drops what holds rows at Cassandra. One schema change at a time: callers hold a lock or make the same."""

    def __init__(self, port: CassandraPort, clock: Clock, *, gc_grace_s: int) -> None:
        self._port = port
        self._clock = clock
        self._gc_grace_s = gc_grace_s

    async def has_keyspace(self, keyspace: str) -> bool:
        """Whether Cassandra has a keyspace of that name, whoever made it."""
        return await replication_of(self._port, keyspace) is not None

    async def make_keyspace(self, keyspace: str, replication: dict[str, int]) -> None:
        await self._define(create_keyspace_text(keyspace, replication))

    async def drop_keyspace(self, keyspace: str) -> None:
        await self._define(f"DROP KEYSPACE IF EXISTS {quoted(keyspace)}")

    async def make_table(self, spec: TableSpec, keyspace: str) -> None:
        """The table of `spec.making`. What is left of an earlier making, made late by a process that is gone, is dropped.

        AlreadyExists: Cassandra has a table of that name that is none of ours.
        """
        wanted = table_id(keyspace, spec.name, spec.making).bytes
        for _ in range(_TRIES_MAX):
            found = await self.table_id(keyspace, spec.name)
            if found == wanted:
                key = ", ".join(map(quoted, spec.partition_key))
                text = f"SELECT {key} FROM {quoted(keyspace)}.{quoted(spec.name)} LIMIT 1"  # noqa: S608
                gives = {name: spec.types[name] for name in spec.partition_key}
                return await until_usable(self._port, self._clock, Statement(text, gives=gives))
            if found is None:
                await self._define(create_table(spec, keyspace, gc_grace_s=self._gc_grace_s))
            elif any(found == table_id(keyspace, spec.name, making).bytes for making in range(spec.making)):
                await self.drop_table(keyspace, spec.name)
            else:
                raise AlreadyExists(
                    "Cassandra has a table of that name that polysite did not make", keyspace=keyspace, table=spec.name
                )
        raise Unavailable("Cassandra does not show the table that it was told to make")

    async def drop_table(self, keyspace: str, name: str) -> None:
        await self._define(f"DROP TABLE IF EXISTS {quoted(keyspace)}.{quoted(name)}")

    async def table_id(self, keyspace: str, name: str) -> bytes | None:
        """The id of the table that Cassandra has under that name."""
        page = await self._port.read(_TABLE_ID, [keyspace.encode(), name.encode()], consistency=Consistency.ONE)
        return page.rows[0][0] if page.rows else None

    async def make_index(self, spec: TableSpec, keyspace: str, index: IndexSpec) -> None:
        """The index, built at the Cassandra node asked. Others may still build theirs: then reads through it are `Unavailable`."""
        await self._define(create_index(spec, keyspace, index))
        name = index_name(spec, index).encode()
        give_up_s = self._clock.monotonic_s() + INDEX_S_MAX
        while not (await self._port.read(_BUILT, [keyspace.encode(), name], consistency=Consistency.ONE)).rows:
            if self._clock.monotonic_s() > give_up_s:
                raise Unavailable("Cassandra is still building the index; ask again to go on waiting")
            await self._clock.sleep_s(_POLL_S)

    async def drop_index(self, spec: TableSpec, keyspace: str, index: IndexSpec) -> None:
        await self._define(f"DROP INDEX IF EXISTS {quoted(keyspace)}.{quoted(index_name(spec, index))}")

    async def _define(self, text: str) -> None:
        """Carry out a statement that may be repeated, and wait until all Cassandra nodes that answer have it."""
        for _ in range(_TRIES_MAX - 1):
            try:
                return await define(self._port, self._clock, text)
            except OutcomeUnknown:
                await self._clock.sleep_s(_POLL_S)
        return await define(self._port, self._clock, text)
