"""Keyspaces and tables of a simulated world: one catalogue that every site sees at once."""

import msgspec

from polysite.errors import AlreadyExists, UnknownKey
from polysite.stores.embedded.layout import PhysicalTable
from polysite.stores.embedded.schema import is_same
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec


class Catalogue:
    """What is defined. Tables are numbered and no number is given twice."""

    def __init__(self) -> None:
        self.keyspaces: dict[str, KeyspaceSpec] = {}
        self.tables: dict[tuple[str, str], PhysicalTable] = {}
        self._numbers = 0

    def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        there = self.keyspaces.get(spec.name)
        if there is None:
            self.keyspaces[spec.name] = spec
            return True
        if there != spec:
            raise AlreadyExists("a keyspace of that name is there and differs", keyspace=spec.name)
        return False

    def drop_keyspace(self, name: str) -> bool:
        if self.keyspaces.pop(name, None) is None:
            return False
        for keyspace, table in [key for key in self.tables if key[0] == name]:
            del self.tables[keyspace, table]
        return True

    def create_table(self, spec: TableSpec) -> bool:
        self.keyspace(spec.keyspace)
        there = self.tables.get((spec.keyspace, spec.name))
        if there is not None:
            if is_same(there.spec, spec) and there.spec.indexes == spec.indexes:
                return False
            raise AlreadyExists("a table of that name is there and differs", table=spec.name)
        self._numbers += 1
        self._put(self._numbers, spec.of_making(self._numbers))
        return True

    def drop_table(self, keyspace: str, name: str) -> bool:
        self.keyspace(keyspace)
        return self.tables.pop((keyspace, name), None) is not None

    def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        physical = self.table(keyspace, table)
        for there in physical.spec.indexes:
            if there == index:
                return False
            if there.name == index.name or there.column == index.column:
                raise AlreadyExists("there is another index of that name or over that column", index=index.name)
        self._set_indexes(physical, (*physical.spec.indexes, index))
        return True

    def drop_index(self, keyspace: str, table: str, name: str) -> bool:
        physical = self.table(keyspace, table)
        left = tuple(index for index in physical.spec.indexes if index.name != name)
        self._set_indexes(physical, left)
        return len(left) < len(physical.indexes)

    def keyspace(self, name: str) -> KeyspaceSpec:
        """UnknownKey: there is none."""
        if name not in self.keyspaces:
            raise UnknownKey("there is no such keyspace", keyspace=name)
        return self.keyspaces[name]

    def table(self, keyspace: str, name: str) -> PhysicalTable:
        """UnknownKey: there is none."""
        self.keyspace(keyspace)
        if (keyspace, name) not in self.tables:
            raise UnknownKey("there is no such table", keyspace=keyspace, table=name)
        return self.tables[keyspace, name]

    def resolve(self, spec: TableSpec) -> PhysicalTable:
        """The table that the caller means; UnknownKey if it is gone or another one now."""
        found = self.table(spec.keyspace, spec.name)
        if not is_same(found.spec, spec):
            raise UnknownKey("the table was made anew with other columns", keyspace=spec.keyspace, table=spec.name)
        return found

    def _put(self, number: int, spec: TableSpec) -> None:
        indexes = tuple(enumerate(spec.indexes))
        self.tables[spec.keyspace, spec.name] = PhysicalTable(number, spec, ranged=True, indexes=indexes)

    def _set_indexes(self, physical: PhysicalTable, indexes: tuple[IndexSpec, ...]) -> None:
        self._put(physical.number, msgspec.structs.replace(physical.spec, indexes=indexes).of_making(physical.number))
