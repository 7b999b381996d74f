"""What keyspaces and tables there are, as one value: decisions without I/O.

The whole registry is one cell, changed by compare-and-set on its generation, so that any replica shows a past true state of it
and a table made by two processes at once is made once. What takes a schema statement is done in two changes around it: first
`making` (or `dropping`) is noted, then, when Cassandra has carried it out, `ready` (or the entry goes). Whoever finds one of the
two first notes carries it on, so that a process that died in between leaves nothing half made; the statements may be repeated.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec

from polysite.errors import AlreadyExists, BadRequest, UnknownKey
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

State = Literal["making", "ready", "dropping"]

REGISTRY_FORMAT = 1


class KeyspaceEntry(msgspec.Struct, frozen=True, array_like=True):
    spec: KeyspaceSpec
    state: State


class IndexEntry(msgspec.Struct, frozen=True, array_like=True):
    spec: IndexSpec
    state: State


class TableEntry(msgspec.Struct, frozen=True, array_like=True):
    """A table; its spec is without indexes."""

    spec: TableSpec
    making: int
    state: State
    indexes: tuple[IndexEntry, ...] = ()

    def shown(self) -> TableSpec:
        """The table as callers know it, with the indexes that can be asked."""
        ready = tuple(index.spec for index in self.indexes if index.state == "ready")
        return msgspec.structs.replace(self.spec, indexes=ready).of_making(self.making)

    def index(self, name: str) -> IndexEntry | None:
        return next((index for index in self.indexes if index.spec.name == name), None)

    def with_index(self, name: str, entry: IndexEntry | None) -> "TableEntry":
        """The table with another entry for the index of that name; None: without it."""
        rest = [index for index in self.indexes if index.spec.name != name]
        return msgspec.structs.replace(self, indexes=(*rest, *([] if entry is None else [entry])))


class Registry(msgspec.Struct, frozen=True, array_like=True):
    """Everything at one generation. `makings` tables were made so far: no making's number is given twice."""

    format: int = REGISTRY_FORMAT
    makings: int = 0
    keyspaces: dict[str, KeyspaceEntry] = {}
    tables: dict[str, dict[str, TableEntry]] = {}
    """By keyspace, then by name."""

    def table(self, keyspace: str, name: str) -> TableEntry | None:
        return self.tables.get(keyspace, {}).get(name)

    def with_keyspace(self, name: str, entry: KeyspaceEntry | None) -> "Registry":
        """With another entry for the keyspace; None: without it and its tables."""
        keyspaces = {key: value for key, value in self.keyspaces.items() if key != name}
        tables = self.tables
        if entry is None:
            tables = {key: value for key, value in tables.items() if key != name}
        else:
            keyspaces[name] = entry
        return msgspec.structs.replace(self, keyspaces=keyspaces, tables=tables)

    def with_table(self, keyspace: str, name: str, entry: TableEntry | None) -> "Registry":
        """With another entry for the table; None: without it."""
        of_keyspace = {key: value for key, value in self.tables.get(keyspace, {}).items() if key != name}
        if entry is not None:
            of_keyspace[name] = entry
        makings = self.makings if entry is None else max(self.makings, entry.making)
        return msgspec.structs.replace(self, tables=self.tables | {keyspace: of_keyspace}, makings=makings)


class Step(NamedTuple):
    """What is to be noted next; `then`: which schema change is to be carried out once it is noted (or is noted already)."""

    registry: Registry
    then: Literal["make", "drop"]


Decision = Step | bool
"""What to do next, or the answer: True (done by somebody for this call), False (there was nothing to do)."""

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Registry).decode


def decode(data: bytes | None) -> Registry:
    """The registry in `data` (None: an empty one); BadRequest for one of a newer version of polysite."""
    if data is None:
        return Registry()
    try:
        found = _decode(data)
    except msgspec.DecodeError as error:
        raise BadRequest("the registry of tables at Cassandra cannot be read by this version of polysite") from error
    if found.format != REGISTRY_FORMAT:
        raise BadRequest(
            f"the registry of tables at Cassandra has format {found.format}, which this version does not know"
        )
    return found


def make_keyspace(registry: Registry, spec: KeyspaceSpec) -> Decision:
    """Towards a keyspace; False: it was there. AlreadyExists: it differs."""
    there = registry.keyspaces.get(spec.name)
    if there is None:
        return Step(registry.with_keyspace(spec.name, KeyspaceEntry(spec, "making")), "make")
    if there.state == "dropping":
        return Step(registry, "drop")
    if there.spec != spec:
        raise AlreadyExists("the keyspace exists and differs", keyspace=spec.name)
    return False if there.state == "ready" else Step(registry, "make")


def drop_keyspace(registry: Registry, name: str) -> Decision:
    """Away from a keyspace; False: there was none."""
    there = registry.keyspaces.get(name)
    if there is None:
        return False
    entry = msgspec.structs.replace(there, state="dropping")
    return Step(registry.with_keyspace(name, entry), "drop")


def make_table(registry: Registry, spec: TableSpec) -> Decision:
    """Towards a table; False: it was there. AlreadyExists: it differs. UnknownKey: no such keyspace."""
    keyspace_ready(registry, spec.keyspace)
    there = registry.table(spec.keyspace, spec.name)
    if there is None:
        indexes = tuple(IndexEntry(index, "making") for index in spec.indexes)
        entry = TableEntry(without_indexes(spec), registry.makings + 1, "making", indexes)
        return Step(registry.with_table(spec.keyspace, spec.name, entry), "make")
    if there.state == "dropping":
        return Step(registry, "drop")
    indexes_there = {index.spec for index in there.indexes if index.state != "dropping"}
    if there.spec != without_indexes(spec) or indexes_there != set(spec.indexes):
        raise AlreadyExists("the table exists and differs", keyspace=spec.keyspace, table=spec.name)
    return False if there.state == "ready" else Step(registry, "make")


def drop_table(registry: Registry, keyspace: str, name: str) -> Decision:
    """Away from a table; False: there was none."""
    there = registry.table(keyspace, name)
    if there is None:
        return False
    entry = msgspec.structs.replace(there, state="dropping")
    return Step(registry.with_table(keyspace, name, entry), "drop")


def make_index(registry: Registry, keyspace: str, name: str, index: IndexSpec) -> Decision:
    """Towards an index; False: it was there. AlreadyExists: another of that name or over that column. UnknownKey: no table."""
    table = table_ready(registry, keyspace, name)
    for there in table.indexes:
        if there.state == "dropping" and there.spec.name == index.name:
            return Step(registry, "drop")
        if there.state == "dropping":
            continue
        if there.spec == index:
            return False if there.state == "ready" else Step(registry, "make")
        if there.spec.name == index.name or there.spec.column == index.column:
            raise AlreadyExists("there is another index of that name or over that column", index=index.name)
    changed = table.with_index(index.name, IndexEntry(index, "making"))
    return Step(registry.with_table(keyspace, name, changed), "make")


def drop_index(registry: Registry, keyspace: str, name: str, index_name: str) -> Decision:
    """Away from an index; False: there was none. UnknownKey: no table."""
    table = table_ready(registry, keyspace, name)
    there = table.index(index_name)
    if there is None:
        return False
    changed = table.with_index(index_name, msgspec.structs.replace(there, state="dropping"))
    return Step(registry.with_table(keyspace, name, changed), "drop")


def made_keyspace(registry: Registry, name: str) -> Registry:
    """The keyspace is ready, if it still is being made."""
    there = registry.keyspaces.get(name)
    if there is None or there.state != "making":
        return registry
    return registry.with_keyspace(name, msgspec.structs.replace(there, state="ready"))


def made_table(registry: Registry, entry: TableEntry) -> Registry:
    """The table of that making is ready with the indexes it was made with, if it still is being made."""
    keyspace, name = entry.spec.keyspace, entry.spec.name
    there = registry.table(keyspace, name)
    if there is None or there.making != entry.making or there.state != "making":
        return registry
    indexes = tuple(IndexEntry(index.spec, "ready") for index in there.indexes)
    return registry.with_table(keyspace, name, msgspec.structs.replace(there, state="ready", indexes=indexes))


def made_index(registry: Registry, entry: TableEntry, index_name: str) -> Registry:
    """The index of that making of the table is ready, if it still is being made."""
    return _index_changed(registry, entry, index_name, "making", lambda index: IndexEntry(index.spec, "ready"))


def dropped_keyspace(registry: Registry, name: str) -> Registry:
    """The keyspace is gone, if it still is being dropped."""
    there = registry.keyspaces.get(name)
    return registry.with_keyspace(name, None) if there is not None and there.state == "dropping" else registry


def dropped_table(registry: Registry, entry: TableEntry) -> Registry:
    """The table of that making is gone, if it still is being dropped."""
    there = registry.table(entry.spec.keyspace, entry.spec.name)
    if there is None or there.making != entry.making or there.state != "dropping":
        return registry
    return registry.with_table(entry.spec.keyspace, entry.spec.name, None)


def dropped_index(registry: Registry, entry: TableEntry, index_name: str) -> Registry:
    """The index of that making of the table is gone, if it still is being dropped."""
    return _index_changed(registry, entry, index_name, "dropping", lambda _: None)


def keyspace_ready(registry: Registry, name: str) -> KeyspaceEntry:
    """The keyspace; UnknownKey: there is none that can be used."""
    there = registry.keyspaces.get(name)
    if there is None or there.state != "ready":
        raise UnknownKey("there is no such keyspace", keyspace=name)
    return there


def table_ready(registry: Registry, keyspace: str, name: str) -> TableEntry:
    """The table; UnknownKey: there is none that can be used."""
    there = registry.table(keyspace, name)
    if there is None or there.state != "ready" or keyspace_ready(registry, keyspace) is None:
        raise UnknownKey("there is no such table", keyspace=keyspace, table=name)
    return there


def ready_tables(registry: Registry, keyspace: str) -> list[TableEntry]:
    """All tables of a keyspace that can be used, by name; UnknownKey: no such keyspace."""
    keyspace_ready(registry, keyspace)
    found: Iterable[tuple[str, TableEntry]] = sorted(registry.tables.get(keyspace, {}).items())
    return [entry for _, entry in found if entry.state == "ready"]


def without_indexes(spec: TableSpec) -> TableSpec:
    return msgspec.structs.replace(spec, indexes=()) if spec.indexes else spec


def _index_changed(
    registry: Registry,
    entry: TableEntry,
    index_name: str,
    state: State,
    change: Callable[[IndexEntry], IndexEntry | None],
) -> Registry:
    keyspace, name = entry.spec.keyspace, entry.spec.name
    there = registry.table(keyspace, name)
    index = None if there is None else there.index(index_name)
    if there is None or there.making != entry.making or index is None or index.state != state:
        return registry
    return registry.with_table(keyspace, name, there.with_index(index_name, change(index)))
