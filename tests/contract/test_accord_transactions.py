"""Joint steps over rows and lock cells on a real Cassandra node of version 6 with Accord: what is decided on what is near is carried out only if it stands."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from polysite.cells.accord import AccordCells
from polysite.cells.contract import Cells, CellView
from polysite.clock import SystemClock
from polysite.engines.cassandra.opening import cassandra_port
from polysite.errors import BadRequest
from polysite.lab.engines import Engine
from polysite.stores.cassandra import CassandraStore
from polysite.stores.contract import CellChange, CellEffect, Joint, TableWrites
from polysite.testing.store_contract.support import FLAT, WIDE, flat, made, number, put, shown, wide
from polysite.values.rows import DeleteRow, StoredRow, Write
from polysite.values.tables import TableSpec
from tests.support.cassandra import DRIVERS, settings_for

pytestmark = pytest.mark.anyio


def transactional(spec: TableSpec) -> TableSpec:
    return TableSpec(
        keyspace=spec.keyspace,
        name=f"{spec.name}_t",
        columns=spec.columns,
        partition_key=spec.partition_key,
        clustering_key=spec.clustering_key,
        writes="transactional",
    )


ROWS, WIDE_ROWS = transactional(FLAT), transactional(WIDE)
_numbers = itertools.count()


@pytest.fixture
def key() -> bytes:
    """Cells outlive a test here, so each test has a key of its own."""
    return b"joint/%d" % next(_numbers)


@pytest.fixture(params=DRIVERS)
async def engine(request: pytest.FixtureRequest, accord_node: Engine) -> AsyncIterator[tuple[CassandraStore, Cells]]:
    """Store and cells of one process, through one port."""
    settings = settings_for(accord_node, driver=request.param, keyspace_prefix="tx_")
    port = cassandra_port(settings)
    cells = AccordCells(port, settings, clock=SystemClock())
    store = CassandraStore(port, settings, clock=SystemClock(), accord=True)
    await cells.start()
    await store.start()
    yield store, cells
    await store.close()


async def test_a_cell_and_rows_change_together_or_not_at_all(engine: tuple[CassandraStore, Cells], key: bytes) -> None:
    """Over two tables and several partitions; a stale version changes nothing and is told the cell; rows are told as before."""
    store, cells = engine
    await made(store, ROWS)
    await made(store, WIDE_ROWS)
    writes = [
        TableWrites(ROWS, [put(flat("a"), 0, size=1, colour="red")]),
        TableWrites(WIDE_ROWS, [put(wide("a", 1), 0, size=3), put(wide("a", 2), 0, size=4)]),
    ]
    reads = [(ROWS, flat("a")), (WIDE_ROWS, wide("a", 2))]
    answer, before = await store.joint(CellChange(key, 0, b"one"), writes, reads)
    assert (answer, [row.present for row in before]) == (Joint(True, 1, b"one"), [False, False])
    stale = [TableWrites(ROWS, [put(flat("a"), 0, size=9)])]
    answer, before = await store.joint(CellChange(key, 0, b"two"), stale, reads)
    assert (answer, [shown(row) for row in before]) == (
        Joint(False, 1, b"one"),
        [{"colour": "red", "size": 1}, {"size": 4}],
    )
    assert await cells.read(key) == CellView(1, b"one")
    assert shown(await store.read(ROWS, flat("a"), "majority")) == {"colour": "red", "size": 1}


async def test_later_writes_of_a_step_win(engine: tuple[CassandraStore, Cells], key: bytes) -> None:
    """Accord gives all writes of a step one stamp: a put after a deletion counts, a deletion after a put too, nulls are nulls."""
    store, _ = engine
    await made(store, ROWS)
    both = put(flat("a"), 0, size=1, colour="red")
    await store.joint(
        CellChange(key, 0, b"1"), [TableWrites(ROWS, [both]), TableWrites(ROWS, [put(flat("b"), 0, size=2)])]
    )
    again: list[Write] = [DeleteRow(key=flat("a"), stamp=0), put(flat("a"), 0, size=3), put(flat("a"), 0, size=4)]
    gone: list[Write] = [put(flat("b"), 0, size=5), DeleteRow(key=flat("b"), stamp=0)]
    await store.joint(CellChange(key, 1, b"2"), [TableWrites(ROWS, again), TableWrites(ROWS, gone)])
    assert shown(await store.read(ROWS, flat("a"), "majority")) == {"size": 4}
    assert not (await store.read(ROWS, flat("b"), "majority")).present
    await store.joint(CellChange(key, 2, b"3"), [TableWrites(ROWS, [put(flat("a"), 0, size=None)])])
    row = await store.read(ROWS, flat("a"), "majority")
    assert row.present and not row.cells


async def test_steps_at_once_lose_nothing(engine: tuple[CassandraStore, Cells], key: bytes) -> None:
    """Method: tasks raise one counter, a row, each by steps that are decided on what they find; the cell counts the steps."""
    store, cells = engine
    await made(store, ROWS)
    decided = 0

    def add_one(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect:
        nonlocal decided
        decided += 1
        cell = rows[0].cells.get("size")
        size = 0 if cell is None else int.from_bytes(cell.value, "big")
        assert content == (b"" if version == 0 else str(version).encode())
        return CellEffect(str(version + 1).encode(), [TableWrites(ROWS, [put(flat("a"), 0, size=size + 1)])])

    async def task() -> None:
        for _ in range(5):
            assert await store.joint_step(key, [(ROWS, flat("a"))], add_one)

    await asyncio.gather(*(task() for _ in range(3)))
    assert await cells.read(key) == CellView(15, b"15")
    row = await store.read(ROWS, flat("a"), "majority")
    assert row.cells["size"].value == number(15)
    assert decided >= 15


async def test_a_row_that_moved_is_decided_on_again(
    engine: tuple[CassandraStore, Cells], key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell alone does not vouch for a row. Method: another key's step changes the row between what is near and the transaction."""
    store, _ = engine
    await made(store, ROWS)
    near = store._transactions._near  # the moment in between cannot be met from outside

    async def near_and_then_moved(*arguments: Any) -> Any:
        seen = await near(*arguments)
        await store.joint(CellChange(key + b"/other", 0, b"1"), [TableWrites(ROWS, [put(flat("a"), 0, size=7)])])
        return seen

    monkeypatch.setattr(store._transactions, "_near", near_and_then_moved)
    seen: list[dict[str, object]] = []

    def add_one(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect:
        seen.append(shown(rows[0]))
        size = int(str(seen[-1].get("size", 0)))
        return CellEffect(b"2", [TableWrites(ROWS, [put(flat("a"), 0, size=size + 1)])])

    assert await store.joint_step(key, [(ROWS, flat("a"))], add_one)
    assert seen == [{}, {"size": 7}]
    assert shown(await store.read(ROWS, flat("a"), "majority")) == {"size": 8}


async def test_a_cell_that_only_guards(engine: tuple[CassandraStore, Cells], key: bytes) -> None:
    """The cell stays as it is, and the rows are written only if it still is: decided on version 1, and again on 2."""
    store, cells = engine
    await made(store, ROWS)
    decided: list[int] = []
    for version, content in enumerate((b"mine", b"theirs")):
        await cells.compare_and_set(key, version, content)

        def if_mine(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect | None:
            decided.append(version)
            return (
                CellEffect(None, [TableWrites(ROWS, [put(flat("a"), 0, size=version)])]) if content == b"mine" else None
            )

        assert await store.joint_step(key, [(ROWS, flat("a"))], if_mine) == (content == b"mine")
        assert decided[-1] == version + 1
    assert await cells.read(key) == CellView(2, b"theirs")
    assert shown(await store.read(ROWS, flat("a"), "majority")) == {"size": 1}


async def test_nothing_to_do_is_said_of_how_things_stand(engine: tuple[CassandraStore, Cells], key: bytes) -> None:
    """Nothing is refused on what a replica nearby happens to have: it is decided again on a read of Accord's."""
    store, _ = engine
    await made(store, ROWS)
    calls: list[int] = []

    def nothing(version: int, content: bytes, rows: list[StoredRow]) -> None:
        calls.append(version)

    assert not await store.joint_step(key, [(ROWS, flat("a"))], nothing)
    assert calls == [0, 0]


async def test_what_is_refused(engine: tuple[CassandraStore, Cells], key: bytes) -> None:
    """Plain writes to such a table, joint steps on another, lives: nothing of it is written."""
    store, cells = engine
    await made(store, ROWS)
    await made(store, FLAT)
    with pytest.raises(BadRequest):
        await store.write(ROWS, [put(flat("a"), 5, size=1)], "majority")
    for writes in (
        [TableWrites(FLAT, [put(flat("a"), 5, size=1)])],
        [TableWrites(ROWS, [put(flat("a"), 5, life_ms=1_000, size=1)])],
    ):
        with pytest.raises(BadRequest):
            await store.joint(CellChange(key, 0, b"x"), writes)
    assert (await cells.read(key)).version == 0
