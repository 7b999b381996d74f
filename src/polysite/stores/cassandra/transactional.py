"""The joint step over tables whose `writes` is transactional: one Accord transaction that reads the cell and the rows, and writes both.

    BEGIN TRANSACTION
      LET c = (SELECT version, content FROM "polysite_cells".accord WHERE key = ?);
      LET r0 = (SELECT …, polysite_row_stamp FROM "shop".stock WHERE sku = ?);
      SELECT c.version, c.content, r0.…, r0.polysite_row_stamp;
      IF c.version = ? AND r0.polysite_row_stamp = ? THEN
        INSERT INTO "polysite_cells".accord …;
        INSERT INTO "shop".stock …;
      END IF
    COMMIT TRANSACTION

It is decided outside, on what the nearest replica has, and carried out only if the cell and the rows are still that: a row is known by
what the last write of it drew for the hidden column `polysite_row_stamp`, since conditions cannot compare all types. What the
SELECT tells is how things stood before, so it says whether the writes were made, and else what to decide on next.

There are no stamps of ours: Accord gives all writes of a transaction one of its own. So of each row one statement is left.
"""

# ruff: noqa: S608 - names come from checked specs

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from polysite.clock import Randomness
from polysite.engines.cassandra import CassandraPort, Consistency, Statement, Value
from polysite.engines.cassandra.accord import CELLS_KEYSPACE, CELLS_TABLE
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import BadRequest, OutcomeUnknown, Overloaded, TooLarge, Unavailable
from polysite.stores.cassandra.decoding import no_row
from polysite.stores.cassandra.layout import BIGINT, BLOB, BOOLEAN, MARKER, ROW_STAMP, YES, CassandraTable, quoted
from polysite.stores.cassandra.statements import Statements
from polysite.stores.cassandra.writing import check_writes
from polysite.stores.contract import BATCH_WRITES_MAX, CellChange, CellEffect, Decide, Joint, TableWrites
from polysite.values.keys import RowKey
from polysite.values.rows import Cell, DeleteRow, Put, StoredRow
from polysite.values.tables import TableSpec
from polysite.values.types import CqlType

TRIES_MAX = 8
"""Times that others may have changed the cell or a row between deciding and writing."""
WRITE_ID_BYTES = 8
"""Of another length than a row stamp, so that nobody takes it for one."""

Place = tuple[CassandraTable, RowKey]


class Seen(NamedTuple):
    """The cell and the rows at one moment; `write_ids` tell each row's last write, None where there is no row."""

    version: int
    content: bytes
    rows: list[StoredRow]
    write_ids: list[bytes | None]


class Part(NamedTuple):
    """A piece of a statement, and what its places take."""

    text: str
    takes: tuple[CqlType, ...] = ()
    values: tuple[Value, ...] = ()


class Transactions:
    """Joint steps through one port. `resolve` finds a table as Cassandra has it."""

    def __init__(
        self,
        port: CassandraPort,
        settings: CassandraSettings,
        resolve: Callable[[TableSpec], Awaitable[Statements]],
        randomness: Randomness,
    ) -> None:
        self._port = port
        self._randomness = randomness
        self._turns: weakref.WeakValueDictionary[bytes, asyncio.Lock] = weakref.WeakValueDictionary()
        self._resolve = resolve
        self._cells = f"{quoted(settings.keyspace(CELLS_KEYSPACE))}.{quoted(CELLS_TABLE)}"
        gives = {"version": BIGINT, "content": BLOB}
        self._cell = Statement(f"SELECT version, content FROM {self._cells} WHERE key = ?", (BLOB,), gives)

    async def joint_step(self, key: bytes, reads: Sequence[tuple[TableSpec, RowKey]], decide: Decide) -> bool:
        """As the contract says. Overloaded: others were quicker each time, nothing was written. Steps of this process over one cell
        take turns, so it does not outrun itself."""
        places = await self._places(reads)
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            return await self._step(key, places, decide)

    async def _step(self, key: bytes, places: Sequence[Place], decide: Decide) -> bool:
        seen, is_now = await self._near(key, places), False
        for _ in range(TRIES_MAX):
            effect = decide(seen.version, seen.content, seen.rows)
            if effect is None:
                if is_now:
                    return False
                seen, is_now = await self._look(key, places), True
                continue
            found = await self._transact(key, places, seen, effect)
            if (found.version, found.write_ids) == (seen.version, seen.write_ids):
                return True
            seen, is_now = found, True
        raise Overloaded("others changed the same rows each time; nothing was written")

    async def joint(
        self, change: CellChange, writes: Sequence[TableWrites], reads: Sequence[tuple[TableSpec, RowKey]]
    ) -> tuple[Joint, list[StoredRow]]:
        """As the contract says; the rows of `reads` are no condition."""
        places = await self._places(reads)
        expected = Seen(change.expected_version, b"", [], [])
        found = await self._transact(change.key, places, expected, CellEffect(change.content, writes))
        if found.version == change.expected_version:
            return Joint(True, change.expected_version + 1, change.content), found.rows
        return Joint(False, found.version, found.content), found.rows

    async def _places(self, reads: Sequence[tuple[TableSpec, RowKey]]) -> list[Place]:
        places = [((await self._resolve(spec)).table, key) for spec, key in reads]
        for table, key in places:
            _check_table(table)
            table.check_key(key)
        return places

    async def _near(self, key: bytes, places: Sequence[Place]) -> Seen:
        """As the nearest replica has it: the rows may be older or newer than the cell."""
        asked = [self._port.read(self._cell, [key], consistency=Consistency.LOCAL_ONE)]
        for table, row_key in places:
            text = f"SELECT {_columns(table)} FROM {table.name} WHERE {_where(table)}"
            statement = Statement(text, _key_types(table), _gives(table))
            asked.append(self._port.read(statement, _key_values(row_key), consistency=table.levels.local))
        cell, *found = await asyncio.gather(*asked)
        values: list[bytes | None] = [*cell.rows[0]] if cell.rows else [None, None]
        for (table, _), page in zip(places, found, strict=True):
            values += page.rows[0] if page.rows else [None] * (len(table.regular) + 2)
        return _seen(places, values)

    async def _look(self, key: bytes, places: Sequence[Place]) -> Seen:
        """As things stand. It writes nothing, so whatever it fails with, nothing happened."""
        try:
            return await self._transact(key, places, None, None)
        except OutcomeUnknown as error:
            raise Unavailable("the cell and the rows could not be read") from error

    async def _transact(
        self, key: bytes, places: Sequence[Place], expected: Seen | None, effect: CellEffect | None
    ) -> Seen:
        """Read, and write what `effect` says if all is as `expected`; how it was before."""
        parts = [Part(f"LET c = (SELECT version, content FROM {self._cells} WHERE key = ?);", (BLOB,), (key,))]
        told, gives = ["c.version", "c.content"], {"c.version": BIGINT, "c.content": BLOB}
        for place, (table, row_key) in enumerate(places):
            text = f"LET r{place} = (SELECT {_columns(table)} FROM {table.name} WHERE {_where(table)});"
            parts.append(Part(text, _key_types(table), _key_values(row_key)))
            for name, cql_type in _gives(table).items():
                told.append(f"r{place}.{quoted(name)}")
                gives[f"r{place}.{name}"] = cql_type
        parts.append(Part(f"SELECT {', '.join(told)};"))
        if effect is not None:
            assert expected is not None
            parts.append(_condition(expected))
            if effect.content is not None:
                new = ((expected.version + 1).to_bytes(8, "big"), effect.content)
                text = f"INSERT INTO {self._cells} (key, version, content) VALUES (?, ?, ?);"
                parts.append(Part(text, (BLOB, BIGINT, BLOB), (key, *new)))
            parts += await self._writes(effect.writes)
            parts.append(Part("END IF"))
        lines = ["BEGIN TRANSACTION", *(part.text for part in parts), "COMMIT TRANSACTION"]
        takes = tuple(each for part in parts for each in part.takes)
        page = await self._port.transact(
            Statement("\n".join(lines), takes, gives), [value for part in parts for value in part.values]
        )
        return _seen(places, page.rows[0])

    async def _writes(self, writes: Sequence[TableWrites]) -> list[Part]:
        """One statement for each row that is written, of all tables."""
        parts: list[Part] = []
        for item in writes:
            table = (await self._resolve(item.table)).table
            _check_table(table)
            check_writes(table, item.writes, stamped=False)
            for key, cells in _left(table, item.writes).items():
                parts.append(_write(table, key, cells, self._randomness.random_bytes(WRITE_ID_BYTES)))
        if len(parts) > BATCH_WRITES_MAX:
            raise TooLarge(f"a step has at most {BATCH_WRITES_MAX} writes")
        return parts


def _left(
    table: CassandraTable, writes: Sequence[Put | DeleteRow | object]
) -> dict[RowKey, dict[str, bytes | None] | None]:
    """What the writes, one after the other, leave of each row: the columns to write, None where it is deleted."""
    left: dict[RowKey, dict[str, bytes | None] | None] = {}
    for write in writes:
        if isinstance(write, DeleteRow):
            left[write.key] = None
        elif isinstance(write, Put):
            if write.life_ms is not None:
                raise BadRequest("rows of a transactional table have no life: Accord keeps none")
            before = left.get(write.key, {})
            # After a deletion in the same step all that is not named is null: a tombstone beside it would win at the same stamp.
            cells = dict.fromkeys(table.regular) if before is None else before
            left[write.key] = cells | write.cells
        else:
            raise BadRequest("a joint step on a transactional table puts and deletes rows, no ranges")
    return left


def _write(table: CassandraTable, key: RowKey, cells: dict[str, bytes | None] | None, write_id: bytes) -> Part:
    if cells is None:
        return Part(f"DELETE FROM {table.name} WHERE {_where(table)};", _key_types(table), _key_values(key))
    types = table.spec.types
    names = [*table.spec.key_names, *cells, MARKER, ROW_STAMP]
    places = ", ".join(["?"] * (len(names) - 2) + ["true", "?"])
    return Part(
        f"INSERT INTO {table.name} ({', '.join(map(quoted, names))}) VALUES ({places});",
        (*_key_types(table), *(types[name] for name in cells), BLOB),
        (*_key_values(key), *cells.values(), write_id),
    )


def _condition(expected: Seen) -> Part:
    texts, takes, values = [], [], []
    if expected.version:
        texts.append("c.version = ?")
        takes.append(BIGINT)
        values.append(expected.version.to_bytes(8, "big"))
    else:
        texts.append("c IS NULL")
    for place, write_id in enumerate(expected.write_ids):
        name = f"r{place}.{quoted(ROW_STAMP)}"
        if write_id is None:
            texts.append(f"{name} IS NULL")
        else:
            texts.append(f"{name} = ?")
            takes.append(BLOB)
            values.append(write_id)
    return Part(f"IF {' AND '.join(texts)} THEN", tuple(takes), tuple(values))


def _seen(places: Sequence[Place], values: Sequence[bytes | None]) -> Seen:
    """What the columns of the cell and of each row say, in the order they are asked for."""
    version, content = values[:2]
    rows: list[StoredRow] = []
    write_ids: list[bytes | None] = []
    at = 2
    for table, key in places:
        *columns, marker, write_id = values[at : at + len(table.regular) + 2]
        at += len(table.regular) + 2
        cells = {name: Cell(value, 0) for name, value in zip(table.regular, columns, strict=True) if value is not None}
        rows.append(StoredRow(key, cells, True) if marker == YES or cells else no_row(key))
        write_ids.append(write_id)
    return Seen(0 if version is None else int.from_bytes(version, "big"), content or b"", rows, write_ids)


def _check_table(table: CassandraTable) -> None:
    if not table.is_transactional:
        raise BadRequest("a joint step is for tables whose `writes` is transactional")


def _columns(table: CassandraTable) -> str:
    return ", ".join(map(quoted, _gives(table)))


def _gives(table: CassandraTable) -> dict[str, CqlType]:
    return {name: table.spec.types[name] for name in table.regular} | {MARKER: BOOLEAN, ROW_STAMP: BLOB}


def _where(table: CassandraTable) -> str:
    return " AND ".join(f"{quoted(name)} = ?" for name in table.spec.key_names)


def _key_types(table: CassandraTable) -> tuple[CqlType, ...]:
    return tuple(table.spec.types[name] for name in table.spec.key_names)


def _key_values(key: RowKey) -> tuple[bytes, ...]:
    return (*key.partition, *key.clustering)
