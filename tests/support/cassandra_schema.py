"""A Cassandra that has only a schema and the registry's one row, and fails where it is told to."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from polysite.engines.cassandra import (
    NOTHING,
    Bound,
    CassandraPort,
    Conditional,
    Consistency,
    Page,
    ServerFacts,
    Statement,
    Value,
)
from polysite.errors import PolysiteError
from polysite.stores.cassandra.layout import Levels
from polysite.values.types import parse_type

OPTIONS = parse_type("map<text, text>")
REGISTRY_COLUMNS = [
    ("name", "partition_key", "text"),
    ("generation", "regular", "bigint"),
    ("registry", "regular", "blob"),
]
Fault = Callable[[], PolysiteError]
LEVELS = Levels(
    local=Consistency.LOCAL_ONE,
    site=Consistency.LOCAL_QUORUM,
    majority=Consistency.QUORUM,
    serial=Consistency.SERIAL,
    commit=Consistency.LOCAL_QUORUM,
)
"""Those of a keyspace that is kept at this site and others."""


class SchemaOnly:
    """What all processes share."""

    def __init__(self) -> None:
        self.keyspaces: dict[str, bytes] = {}
        self.tables: dict[tuple[str, str], bytes] = {}
        self.indexes: set[str] = set()
        self.registry: tuple[bytes, bytes] | None = None

    def define(self, text: str) -> None:
        names = re.findall(r'"([^"]+)"', text)
        if text.startswith("CREATE KEYSPACE"):
            copies = re.search(r"\{(.*)\}", text)
            assert copies is not None
            pairs = re.findall(r"'([^']+)': '([^']+)'", copies[1])
            self.keyspaces.setdefault(names[0], OPTIONS.serialise(dict(pairs)))
        elif text.startswith("DROP KEYSPACE"):
            self.keyspaces.pop(names[0], None)
            self.tables = {key: value for key, value in self.tables.items() if key[0] != names[0]}
        elif text.startswith("CREATE TABLE"):
            assert names[0] in self.keyspaces
            made = re.search(r"id = ([0-9a-f-]{36})", text)
            assert made is not None
            self.tables.setdefault((names[0], names[1]), bytes.fromhex(made[1].replace("-", "")))
        elif text.startswith("DROP TABLE"):
            self.tables.pop((names[0], names[1]), None)
        elif text.startswith("CREATE INDEX"):
            assert (names[1], names[2]) in self.tables
            self.indexes.add(names[0])
        else:
            assert text.startswith("DROP INDEX"), text
            self.indexes.discard(names[1])


class SchemaPort(CassandraPort):
    """One process's port to it. `faults`: number of a call that changes something → when it fails, and with what."""

    driver = "none"

    def __init__(self, shared: SchemaOnly) -> None:
        self.shared = shared
        self.faults: dict[int, tuple[str, Fault]] = {}
        self.changes = 0
        self.before_change: Callable[[], None] | None = None

    def _change(self, change: Callable[[], Any]) -> Any:
        """Carry it out, or fail before or after it."""
        if self.before_change is not None:
            self.before_change()
        when, fault = self.faults.get(self.changes, ("", None))
        self.changes += 1
        if when == "before" and fault is not None:
            raise fault()
        answer = change()
        if fault is not None:
            raise fault()
        return answer

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def read(
        self,
        statement: Statement,
        values: Sequence[Value] = (),
        *,
        consistency: Consistency,
        page_rows: int = 0,
        paging_state: bytes | None = None,
    ) -> Page:
        text, shared = statement.text, self.shared
        names = [value.decode() for value in values if isinstance(value, bytes)]
        rows: list[list[bytes | None]] = []
        if "store_schema" in text and "generation" in text:
            if shared.registry is not None:
                rows = [list(shared.registry[: text.split("FROM")[0].count(",") + 1])]
        elif "system_schema.keyspaces" in text:
            rows = [[shared.keyspaces[names[0]]]] if names[0] in shared.keyspaces else []
        elif "read_repair" in text:
            rows = [[table.encode(), b"BLOCKING"] for keyspace, table in shared.tables if keyspace == names[0]]
        elif "system_schema.tables" in text:
            found = shared.tables.get((names[0], names[1]))
            rows = [[found]] if found is not None else []
        elif "system_schema.columns" in text:
            if (names[0], names[1]) in shared.tables:
                rows = [[part.encode() for part in column] for column in REGISTRY_COLUMNS]
        elif text.endswith("LIMIT 1"):
            pass  # whether a table can be read
        else:
            assert "IndexInfo" in text, text
            rows = [[names[1].encode()]] if names[1] in shared.indexes else []
        return Page((), rows)

    async def write(self, statement: Statement, values: Sequence[Value] = (), *, consistency: Consistency) -> None:
        raise AssertionError("schemas are changed by conditional writes")

    async def write_batch(self, writes: Sequence[Bound], *, consistency: Consistency, logged: bool = False) -> None:
        raise AssertionError("schemas are changed by conditional writes")

    async def write_if(self, writes: Sequence[Bound], *, commit: Consistency, serial: Consistency) -> Conditional:
        ((_, (generation, registry, _, expected)),) = writes
        assert isinstance(generation, bytes)
        assert isinstance(registry, bytes)

        def change() -> Conditional:
            current = None if self.shared.registry is None else self.shared.registry[0]
            if current != expected:
                return Conditional(False, NOTHING)
            self.shared.registry = (generation, registry)
            return Conditional(True)

        answer: Conditional = self._change(change)
        return answer

    async def define(self, text: str) -> None:
        self._change(lambda: self.shared.define(text))

    async def schema_agreed(self) -> bool:
        return True

    async def server(self) -> ServerFacts:
        return ServerFacts("5.0.9", "test", "dc1", frozenset({"dc1"}))

    async def server_settings(self, names: Sequence[str]) -> dict[str, str | None]:
        return {}
