"""Joint steps as transactions, over a port that takes notes: what is asked, and what is made of the answers.

Cassandra 6 itself runs the same in `tests/contract/test_accord_transactions.py`; here are the answers that it does not give on demand.
"""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from polysite.clock import SystemRandomness
from polysite.engines.cassandra import CassandraPort, Consistency, Page, Statement, Value
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.errors import OutcomeUnknown, Overloaded, Unavailable
from polysite.stores.cassandra.catalogue import levels_of
from polysite.stores.cassandra.layout import CassandraTable
from polysite.stores.cassandra.statements import Statements
from polysite.stores.cassandra.transactional import TRIES_MAX, Transactions
from polysite.stores.contract import CellEffect, TableWrites
from polysite.values.keys import RowKey
from polysite.values.rows import DeleteRow, Put, StoredRow
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec

pytestmark = pytest.mark.anyio

TABLE = TableSpec(
    keyspace="shop",
    name="stock",
    columns=(ColumnSpec("sku", "text"), ColumnSpec("Count", "int"), ColumnSpec("note", "text")),
    partition_key=("sku",),
    writes="transactional",
)
KEY = RowKey((b"a",))
ONE = (1).to_bytes(8, "big")
SETTINGS = cassandra_settings_from({"contact_points": ["10.0.0.1"], "data_center": "ams"})


class Notes:
    """The part of a port that transactions use: `near` answers reads (the cell, then each row), `found` transactions."""

    def __init__(self, near: Sequence[list[bytes | None]], found: Sequence[Any]) -> None:
        self._near, self._found = iter(near), iter(found)
        self.sent: list[tuple[Statement, list[Value]]] = []

    async def read(self, statement: Statement, values: Sequence[Value], *, consistency: Consistency) -> Page:
        assert consistency is Consistency.LOCAL_ONE
        return Page(list(statement.gives), [next(self._near)])

    async def transact(self, statement: Statement, values: Sequence[Value]) -> Page:
        assert statement.text.count("?") == len(statement.takes) == len(values)
        self.sent.append((statement, list(values)))
        answer = next(self._found)
        if isinstance(answer, Exception):
            raise answer
        return Page(list(statement.gives), [answer])


def transactions(notes: Notes) -> Transactions:
    async def resolve(spec: TableSpec) -> Statements:
        return Statements(CassandraTable(spec, spec.keyspace, levels_of(KeyspaceSpec(name=spec.keyspace), SETTINGS)))

    return Transactions(cast(CassandraPort, notes), SETTINGS, resolve, SystemRandomness())


def row(write_id: bytes | None, count: bytes | None = None) -> list[bytes | None]:
    """Columns, marker and write id, as they are asked for."""
    return [count, None, None if write_id is None else b"\x01", write_id]


def put(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect:
    return CellEffect(b"new", [TableWrites(TABLE, [Put(key=KEY, cells={"Count": b"0007"}, stamp=0)])])


async def test_what_is_asked() -> None:
    """Names keep their case; the writes stand behind the version and the row's token, and draw another token."""
    notes = Notes([[ONE, b"old"], row(b"token")], [[ONE, b"old", *row(b"token")]])
    assert await transactions(notes).joint_step(b"cell", [(TABLE, KEY)], put)
    (statement, values), *others = notes.sent
    assert not others
    assert statement.text.splitlines() == [
        "BEGIN TRANSACTION",
        'LET c = (SELECT version, content FROM "polysite_cells"."accord" WHERE key = ?);',
        'LET r0 = (SELECT "Count", "note", "polysite_marker", "polysite_row_stamp" FROM "shop"."stock" WHERE "sku" = ?);',
        'SELECT c.version, c.content, r0."Count", r0."note", r0."polysite_marker", r0."polysite_row_stamp";',
        'IF c.version = ? AND r0."polysite_row_stamp" = ? THEN',
        'INSERT INTO "polysite_cells"."accord" (key, version, content) VALUES (?, ?, ?);',
        'INSERT INTO "shop"."stock" ("sku", "Count", "polysite_marker", "polysite_row_stamp") VALUES (?, ?, true, ?);',
        "END IF",
        "COMMIT TRANSACTION",
    ]
    assert values[:-1] == [b"cell", b"a", ONE, b"token", b"cell", (2).to_bytes(8, "big"), b"new", b"a", b"0007"]
    assert values[-1] not in (b"token", None)


async def test_what_was_not_there() -> None:
    """A cell that was never written and a row that is not there are conditions too; a deletion is one."""
    notes = Notes([[None, None], row(None)], [[None, None, *row(None)]])

    def delete(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect:
        assert (version, content, rows[0].present) == (0, b"", False)
        return CellEffect(b"new", [TableWrites(TABLE, [DeleteRow(key=KEY, stamp=0)])])

    assert await transactions(notes).joint_step(b"cell", [(TABLE, KEY)], delete)
    text = notes.sent[0][0].text
    assert 'IF c IS NULL AND r0."polysite_row_stamp" IS NULL THEN' in text
    assert 'DELETE FROM "shop"."stock" WHERE "sku" = ?;' in text


async def test_others_were_quicker_each_time() -> None:
    """Each time it is decided on what was found; there is an end to it, and it says that nothing was written."""
    moving: list[list[bytes | None]] = [
        [(number + 2).to_bytes(8, "big"), b"theirs", *row(b"token")] for number in range(TRIES_MAX)
    ]
    notes = Notes([[ONE, b"old"], row(b"token")], moving)
    versions: list[int] = []

    def decide(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect:
        versions.append(version)
        return put(version, content, rows)

    with pytest.raises(Overloaded):
        await transactions(notes).joint_step(b"cell", [(TABLE, KEY)], decide)
    assert versions == list(range(1, TRIES_MAX + 1))


async def test_no_answer() -> None:
    """A transaction that was to write may have; one that only looks changed nothing, so that the step may be asked again."""
    notes = Notes([[ONE, b"old"], row(b"token")], [OutcomeUnknown("no answer")])
    with pytest.raises(OutcomeUnknown):
        await transactions(notes).joint_step(b"cell", [(TABLE, KEY)], put)
    notes = Notes([[ONE, b"old"], row(b"token")], [OutcomeUnknown("no answer")])
    with pytest.raises(Unavailable):
        await transactions(notes).joint_step(b"cell", [(TABLE, KEY)], lambda *_: None)
