"""The tables of one generation of the registry, with their statements, as a process uses them."""

from polysite.engines.cassandra import Consistency
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import UnknownKey
from polysite.stores.cassandra.layout import CassandraTable, Levels
from polysite.stores.cassandra.registry import Registry, TableEntry, without_indexes
from polysite.stores.cassandra.statements import Statements
from polysite.values.tables import KeyspaceSpec, TableSpec

_RESOLVED_MAX = 4_096


class Catalogue:
    """What the registry says, ready to be asked. Statements of tables that did not change are kept from `before`."""

    def __init__(self, registry: Registry, settings: CassandraSettings, before: "Catalogue | None" = None) -> None:
        self._tables: dict[tuple[str, str], tuple[TableEntry, Statements]] = {}
        self._resolved: dict[int, tuple[TableSpec, Statements]] = {}
        for keyspace, entry in registry.keyspaces.items():
            if entry.state != "ready":
                continue
            levels = levels_of(entry.spec, settings)
            for name, table in registry.tables.get(keyspace, {}).items():
                if table.state == "ready":
                    known = before._tables.get((keyspace, name)) if before is not None else None  # noqa: SLF001
                    if known is None or known[0] != table or known[1].table.levels != levels:
                        physical = CassandraTable(table.shown(), settings.keyspace(keyspace), levels)
                        known = (table, Statements(physical))
                    self._tables[keyspace, name] = known

    def find(self, keyspace: str, name: str) -> TableSpec | None:
        """The table; None if there is none."""
        found = self._tables.get((keyspace, name))
        return None if found is None else found[1].table.spec

    def resolve(self, spec: TableSpec) -> Statements:
        """The table that a caller means by `spec`; UnknownKey if it is gone or was made anew with other columns."""
        # By identity, since comparing whole specs costs more than a read; the spec is kept, so its id stays its own.
        known = self._resolved.get(id(spec))
        if known is not None:
            return known[1]
        found = self._tables.get((spec.keyspace, spec.name))
        if found is None:
            raise UnknownKey("there is no such table", keyspace=spec.keyspace, table=spec.name)
        if found[0].spec != without_indexes(spec):
            raise UnknownKey("the table was made anew with other columns", keyspace=spec.keyspace, table=spec.name)
        if len(self._resolved) >= _RESOLVED_MAX:
            self._resolved.clear()
        self._resolved[id(spec)] = (spec, found[1])
        return found[1]


def replication_of(spec: KeyspaceSpec, settings: CassandraSettings) -> dict[str, int]:
    """Data center to copies."""
    return settings.replication if spec.replicas is None else dict(spec.replicas)


def levels_of(spec: KeyspaceSpec, settings: CassandraSettings) -> Levels:
    """A keyspace with copies at this site alone waits for no other; one with none here asks where they are."""
    replication = replication_of(spec, settings)
    is_here = settings.data_center in replication
    is_only_here = set(replication) == {settings.data_center}
    return Levels(
        local=Consistency.LOCAL_ONE if is_here else Consistency.ONE,
        site=Consistency.LOCAL_QUORUM if is_here else Consistency.QUORUM,
        majority=Consistency.LOCAL_QUORUM if is_only_here else Consistency.QUORUM,
        serial=Consistency.LOCAL_SERIAL if is_only_here else Consistency.SERIAL,
        commit=settings.commit_level if is_here else Consistency.QUORUM,
    )
