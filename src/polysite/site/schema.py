"""Keyspaces, tables and indexes: checked here, made by the engine, one change at a time under a reserved lock."""

import contextlib
from collections.abc import AsyncIterator

from polysite.errors import BadRequest
from polysite.site.context import SiteContext
from polysite.site.locks import Locks
from polysite.site.sessions import Sessions
from polysite.values.keys import LockKey
from polysite.values.tables import (
    RESERVED_KEYSPACE,
    ColumnSpec,
    IndexSpec,
    KeyspaceSpec,
    TableSpec,
    check_index,
    check_name,
    check_table,
)

SCHEMA_LOCK = TableSpec(
    keyspace=RESERVED_KEYSPACE, name="schema", columns=(ColumnSpec("name", "text"),), partition_key=("name",)
)
SCHEMA_KEY = LockKey(RESERVED_KEYSPACE, "schema", (b"schema",))
SCHEMA_LEASE_MS = 10_000
SCHEMA_WAIT_S = 30.0


class Schema:
    """What tables there are."""

    def __init__(self, context: SiteContext, sessions: Sessions, locks: Locks) -> None:
        self._context = context
        self._store = context.store
        self._sessions = sessions
        self._locks = locks

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        _check_open(check_name(spec.name, "keyspace"))
        async with self._changing():
            return await self._store.create_keyspace(spec)

    async def drop_keyspace(self, keyspace: str) -> bool:
        _check_open(keyspace)
        async with self._changing():
            return await self._store.drop_keyspace(keyspace)

    async def keyspaces(self) -> list[KeyspaceSpec]:
        return [spec for spec in await self._store.keyspaces() if spec.name != RESERVED_KEYSPACE]

    async def create_table(self, spec: TableSpec) -> bool:
        spec = check_table(spec)
        _check_open(spec.keyspace)
        if spec.writes == "transactional" and "transactional" not in self._store.capabilities:
            raise BadRequest(
                "writes = transactional needs an engine whose transactions span cells and rows; this one's do not"
            )
        if spec.writes == "conditional" and "conditional_write" not in self._store.capabilities:
            raise BadRequest("writes = conditional needs an engine with conditional writes; this one has none")
        async with self._changing():
            return await self._store.create_table(spec)

    async def drop_table(self, keyspace: str, table: str) -> bool:
        _check_open(keyspace)
        async with self._changing():
            return await self._store.drop_table(keyspace, table)

    async def tables(self, keyspace: str) -> list[TableSpec]:
        return await self._store.tables(keyspace)

    async def table(self, keyspace: str, table: str) -> TableSpec:
        return await self._store.table(keyspace, table)

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        _check_open(keyspace)
        check_index(await self._store.table(keyspace, table), index)
        async with self._changing():
            return await self._store.create_index(keyspace, table, index)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        _check_open(keyspace)
        async with self._changing():
            return await self._store.drop_index(keyspace, table, index_name)

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """Hold the one lock under which schemas change: engines do not bear two changes at once."""
        acquired = await self._locks.hold(
            SCHEMA_LOCK, SCHEMA_KEY, wait_s=SCHEMA_WAIT_S, lease_ms=SCHEMA_LEASE_MS, owner="schema"
        )
        acquired.live.open_calls += 1
        try:
            yield
        finally:
            acquired.live.open_calls -= 1
            self._sessions.release_later(acquired.live)


def _check_open(keyspace: str) -> None:
    if keyspace == RESERVED_KEYSPACE:
        raise BadRequest(f"keyspace {RESERVED_KEYSPACE} is reserved")
