"""Keyspaces, tables and indexes: the registry's cell, the schema statements around its changes, and what this process knows."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from polysite.clock import Clock
from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.checks import check_read_repair, ensure_keyspace, ensure_table
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import AlreadyExists, BadRequest, OutcomeUnknown, Overloaded, Refused, Unavailable
from polysite.stores.cassandra import registry as deciding
from polysite.stores.cassandra.catalogue import Catalogue, levels_of, replication_of
from polysite.stores.cassandra.defining import Definer
from polysite.stores.cassandra.layout import BIGINT, BLOB, LOCKED, TEXT, quoted
from polysite.stores.cassandra.registry import Decision, Registry, Step, TableEntry
from polysite.values.tables import (
    RESERVED_KEYSPACE,
    IndexSpec,
    KeyspaceSpec,
    TableSpec,
)

FRESH_S = 1.0
"""How old what this process knows may be when it answers `table`."""
TABLE = "store_schema"
COLUMNS = {"name": "text", "generation": "bigint", "registry": "blob"}
PAUSE_S = 0.1
PAUSE_S_MAX = 2.0
_ROW = b"schema"
_TRIES_MAX = 16

Carry = Callable[[Registry, Literal["make", "drop"]], Awaitable[Callable[[Registry], Registry]]]
"""Carries out a schema change that is noted; answers how to note that it is done."""


class SchemaKeeper:
    """What tables there are, changed and looked up."""

    def __init__(self, port: CassandraPort, settings: CassandraSettings, clock: Clock, definer: Definer) -> None:
        self._port = port
        self._settings = settings
        self._clock = clock
        self._definer = definer
        self._generation = 0
        self._registry = Registry()
        self._catalogue = Catalogue(self._registry, settings)
        self._seen_s = float("-inf")
        self._looking = asyncio.Lock()
        levels = levels_of(KeyspaceSpec(name=RESERVED_KEYSPACE), settings)
        self._levels = levels
        table = f"{quoted(settings.keyspace(RESERVED_KEYSPACE))}.{quoted(TABLE)}"
        gives = {"generation": BIGINT, "registry": BLOB, "name": TEXT}
        self._look = Statement(f"SELECT generation FROM {table} WHERE name = ?", (TEXT,), gives)  # noqa: S608
        self._read = Statement(f"SELECT generation, registry FROM {table} WHERE name = ?", (TEXT,), gives)  # noqa: S608
        self._change = Statement(
            f"UPDATE {table} SET generation = ?, registry = ? WHERE name = ? IF generation = ?",  # noqa: S608
            (BIGINT, BLOB, TEXT, BIGINT),
            gives,
        )

    async def start(self) -> None:
        """Make the registry if it is missing, check how it is replicated, and read it. BadRequest says what to mend."""
        keyspace, settings = self._settings.keyspace(RESERVED_KEYSPACE), self._settings
        await ensure_keyspace(self._port, settings, self._clock, keyspace, settings.replication)
        await ensure_table(self._port, settings, self._clock, keyspace, TABLE, COLUMNS)
        await self._load()
        entry = deciding.KeyspaceEntry(KeyspaceSpec(name=RESERVED_KEYSPACE), "ready")
        await self._note_change(partial(_with_reserved, entry))
        for name, tables in self._registry.tables.items():
            locked = [table.spec.name for table in tables.values() if table.spec.writes in LOCKED]
            if locked:
                await check_read_repair(self._port, settings.keyspace(name), locked)

    # looking

    @property
    def catalogue(self) -> Catalogue:
        """The tables as last seen."""
        return self._catalogue

    def is_fresh(self) -> bool:
        """Whether what was last seen is young enough to be told."""
        return self._clock.monotonic_s() - self._seen_s <= FRESH_S

    async def look(self, *, anew: bool = False) -> Catalogue:
        """The tables, at most a second old, from the nearest replica; `anew`: look in any case."""
        asked_s = self._clock.monotonic_s()
        if self.is_fresh() and not anew:
            return self._catalogue
        async with self._looking:
            if self._seen_s <= asked_s if anew else not self.is_fresh():
                began_s = self._clock.monotonic_s()
                page = await self._port.read(self._look, [_ROW], consistency=self._levels.local)
                generation = int.from_bytes(page.rows[0][0] or b"") if page.rows else 0
                if generation > self._generation:
                    await self._load(self._levels.local)
                self._seen_s = began_s
        return self._catalogue

    async def current(self) -> Registry:
        """The registry as it is now."""
        await self._load()
        return self._registry

    async def _load(self, consistency: Consistency | None = None) -> None:
        began_s = self._clock.monotonic_s()
        page = await self._port.read(self._read, [_ROW], consistency=consistency or self._levels.serial)
        generation, data = page.rows[0] if page.rows else (None, None)
        self._adopt(0 if generation is None else int.from_bytes(generation), deciding.decode(data), began_s)

    def _adopt(self, generation: int, registry: Registry, seen_s: float) -> None:
        """Know this from now on, unless something newer is known: a replica nearby may be behind."""
        if generation > self._generation:
            self._generation, self._registry = generation, registry
            self._catalogue = Catalogue(registry, self._settings, self._catalogue)
        if generation >= self._generation:
            self._seen_s = max(self._seen_s, seen_s)

    # changing

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        keyspace = self._settings.keyspace(spec.name)
        await self._load()
        if spec.name not in self._registry.keyspaces:
            self._check_replicas(spec)
            if await self._definer.has_keyspace(keyspace):
                raise AlreadyExists(
                    "Cassandra has a keyspace of that name that polysite did not make", keyspace=spec.name
                )

        async def carry(_: Registry, what: Literal["make", "drop"]) -> Callable[[Registry], Registry]:
            if what == "drop":
                return await self._drop_keyspace(spec.name)
            await self._definer.make_keyspace(keyspace, replication_of(spec, self._settings))
            return lambda found: deciding.made_keyspace(found, spec.name)

        return await self._carry(lambda found: deciding.make_keyspace(found, spec), "make", carry)

    async def drop_keyspace(self, name: str) -> bool:
        if name == RESERVED_KEYSPACE:
            raise BadRequest(f"keyspace {RESERVED_KEYSPACE} holds what polysite itself needs")
        await self._load()

        async def carry(_: Registry, __: Literal["make", "drop"]) -> Callable[[Registry], Registry]:
            return await self._drop_keyspace(name)

        return await self._carry(lambda found: deciding.drop_keyspace(found, name), "drop", carry)

    async def create_table(self, spec: TableSpec) -> bool:
        if (spec.keyspace, spec.name) == (RESERVED_KEYSPACE, TABLE):
            raise BadRequest("that table holds what polysite itself needs")
        await self._load()

        async def carry(found: Registry, what: Literal["make", "drop"]) -> Callable[[Registry], Registry]:
            entry = found.table(spec.keyspace, spec.name)
            assert entry is not None
            if what == "drop":
                return await self._drop_table(entry)
            keyspace = self._settings.keyspace(spec.keyspace)
            made = entry.spec.of_making(entry.making)
            await self._definer.make_table(made, keyspace)
            for index in entry.indexes:
                await self._definer.make_index(made, keyspace, index.spec)
            return lambda after: deciding.made_table(after, entry)

        return await self._carry(lambda found: deciding.make_table(found, spec), "make", carry)

    async def drop_table(self, keyspace: str, name: str) -> bool:
        await self._load()

        async def carry(found: Registry, _: Literal["make", "drop"]) -> Callable[[Registry], Registry]:
            entry = found.table(keyspace, name)
            assert entry is not None
            return await self._drop_table(entry)

        return await self._carry(lambda found: deciding.drop_table(found, keyspace, name), "drop", carry)

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        await self._load()

        async def carry(found: Registry, what: Literal["make", "drop"]) -> Callable[[Registry], Registry]:
            return await self._change_index(found, keyspace, table, index.name, what)

        return await self._carry(lambda found: deciding.make_index(found, keyspace, table, index), "make", carry)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        await self._load()

        async def carry(found: Registry, what: Literal["make", "drop"]) -> Callable[[Registry], Registry]:
            return await self._change_index(found, keyspace, table, index_name, what)

        return await self._carry(lambda found: deciding.drop_index(found, keyspace, table, index_name), "drop", carry)

    async def _drop_keyspace(self, name: str) -> Callable[[Registry], Registry]:
        await self._definer.drop_keyspace(self._settings.keyspace(name))
        return lambda found: deciding.dropped_keyspace(found, name)

    async def _drop_table(self, entry: TableEntry) -> Callable[[Registry], Registry]:
        await self._definer.drop_table(self._settings.keyspace(entry.spec.keyspace), entry.spec.name)
        return lambda found: deciding.dropped_table(found, entry)

    async def _change_index(
        self, found: Registry, keyspace: str, table: str, index_name: str, what: Literal["make", "drop"]
    ) -> Callable[[Registry], Registry]:
        entry = found.table(keyspace, table)
        index = None if entry is None else entry.index(index_name)
        assert entry is not None
        assert index is not None
        spec, at_cassandra = entry.spec.of_making(entry.making), self._settings.keyspace(keyspace)
        if what == "make":
            await self._definer.make_index(spec, at_cassandra, index.spec)
            return lambda after: deciding.made_index(after, entry, index_name)
        await self._definer.drop_index(spec, at_cassandra, index.spec)
        return lambda after: deciding.dropped_index(after, entry, index_name)

    async def _carry(
        self, decide: Callable[[Registry], Decision], wanted: Literal["make", "drop"], carry: Carry
    ) -> bool:
        """Do what `decide` says next until it has an answer, or what is wanted is carried out.

        OutcomeUnknown once something is noted: whoever asks the same, or comes across it, finishes it.
        """
        for tried in range(_TRIES_MAX):
            decision = decide(self._registry)
            if isinstance(decision, bool):
                return decision
            before = self._registry
            if not await self._note(decision.registry):
                await self._give_way(tried)
                continue
            try:
                await self._note_change(await carry(decision.registry, decision.then))
            except Unavailable as error:
                raise OutcomeUnknown(
                    "the change of the schema was begun: ask again to finish it", reason=error.code
                ) from error
            except Refused:
                if decision.then == "make":
                    await self._note_change(partial(_undone, decision, before))
                raise
            if decision.then == wanted:
                return True
        raise Overloaded("other processes changed the schema each time; nothing was done")

    async def _note_change(self, change: Callable[[Registry], Registry]) -> None:
        for tried in range(_TRIES_MAX):
            if await self._note(change(self._registry)):
                return
            await self._give_way(tried)
        raise Overloaded("other processes changed the schema each time; ask again to go on")

    async def _give_way(self, tried: int) -> None:
        """Wait a while that grows and is another at each site: sites that start together would supersede each other for long."""
        share = 0.5 + zlib.crc32(self._settings.data_center.encode()) % 64 / 64
        await self._clock.sleep_s(min(PAUSE_S * 2**tried, PAUSE_S_MAX) * share)
        await self._load()

    async def _note(self, registry: Registry) -> bool:
        """Make this the registry; False: somebody else changed it meanwhile."""
        if registry == self._registry:
            return True
        began_s = self._clock.monotonic_s()
        generation = self._generation + 1
        values = [
            generation.to_bytes(8),
            deciding.encode(registry),
            _ROW,
            self._generation.to_bytes(8) if self._generation else None,
        ]
        try:
            answer = await self._port.write_if(
                [(self._change, values)], commit=self._levels.commit, serial=self._levels.serial
            )
        except OutcomeUnknown as error:
            try:
                await self._load()  # a serial read settles whether it was agreed
            except Unavailable:
                raise error from None
            return self._generation == generation and self._registry == registry
        if answer.applied:
            self._adopt(generation, registry, began_s)
        return answer.applied

    def _check_replicas(self, spec: KeyspaceSpec) -> None:
        for site in spec.replicas or {}:
            if site not in self._settings.replication:
                known = ", ".join(sorted(self._settings.replication))
                raise BadRequest(f"replicas of a keyspace name data centers of store.replicas ({known}), not {site}")
        if spec.replicas is not None and (not spec.replicas or min(spec.replicas.values()) < 1):
            raise BadRequest("a keyspace has at least one copy at each site it names, and names at least one site")


def _with_reserved(entry: deciding.KeyspaceEntry, registry: Registry) -> Registry:
    return registry if RESERVED_KEYSPACE in registry.keyspaces else registry.with_keyspace(RESERVED_KEYSPACE, entry)


def _undone(step: Step, before: Registry, found: Registry) -> Registry:
    """Without what a refused schema statement was to make, if nothing else has changed since."""
    if found != step.registry:
        return found
    return Registry(makings=found.makings, keyspaces=before.keyspaces, tables=before.tables)
