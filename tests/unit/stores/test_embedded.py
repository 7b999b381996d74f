"""What the embedded store does beyond the contract: several users of one file, collecting, a loop of virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polysite.cells.embedded import EmbeddedCells
from polysite.engines.sqlite import MEMORY, Connection, SqliteEngine
from polysite.errors import UnknownKey
from polysite.stores.contract import TOMBSTONE_LIFE_S, CellChange, TableWrites
from polysite.stores.embedded import EmbeddedStore
from polysite.stores.embedded.schema import WriterSchema, create_table
from polysite.testing.loop import run_traced, seeded
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract.support import (
    BY_COLOUR,
    CONDITIONAL,
    FLAT,
    KEYSPACE,
    WIDE,
    flat,
    made,
    number,
    put,
    shown,
    text,
    wide,
    years,
)
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, DeleteRow, Put, SetPartStamp, Slice
from polysite.values.tables import KeyspaceSpec

PARTITION = (text("a"),)


async def test_what_watching_tells_of(tmp_path: Path) -> None:
    """Goal: a watch tells of the changes of its own process, joint steps too, and not of those of another one on the file, which
    reads show all the same. Method: two engines on one file, each cell watched on both; a change that is refused tells nothing."""
    stores = [EmbeddedStore(SqliteEngine(tmp_path / "polysite.db")) for _ in range(2)]
    both = [EmbeddedCells(store._engine) for store in stores]
    for store in stores:
        await store.start()
    await made(stores[0], FLAT)
    told: list[str] = []
    for name, cells in zip("ab", both, strict=True):
        cells.watch(b"cell", lambda name=name: told.append(name))  # type: ignore[misc]
    assert (await both[0].compare_and_set(b"cell", 0, b"1")).applied
    assert (await stores[1].joint(CellChange(b"cell", 1, b"2"), []))[0].applied
    assert not (await both[0].compare_and_set(b"cell", 0, b"3")).applied
    absent = [(FLAT, flat("a"))]
    await stores[0].write(FLAT, [put(flat("a"), 5, size=1)], "majority")
    assert not (await stores[0].joint(CellChange(b"cell", 2, b"3"), [], absent=absent))[0].applied
    await asyncio.sleep(0)
    assert told == ["a", "b"]
    assert [await cells.read_local(b"cell") for cells in both] == [(2, b"2")] * 2
    for store in stores:
        await store.close()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture(params=["two engines", "one engine"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[EmbeddedStore, EmbeddedStore]]:
    """Two stores on one file: as two processes have it, and as two simulated processes share an engine."""
    first = SqliteEngine(tmp_path / "polysite.db")
    second = SqliteEngine(tmp_path / "polysite.db") if request.param == "two engines" else first
    stores = EmbeddedStore(first), EmbeddedStore(second)
    for store in stores:
        await store.start()
    yield stores
    for store in stores:
        await store.close()


async def test_each_sees_the_schema_of_the_other(two: tuple[EmbeddedStore, EmbeddedStore]) -> None:
    """Tables made, dropped, made anew with other rows, by the one: the other reads and writes what is there now."""
    one, other = two
    await made(one, FLAT)
    assert await other.table(KEYSPACE, "flat") == FLAT
    await other.write(FLAT, [put(flat("a"), 5, size=1)], "majority")
    assert (await one.read(FLAT, flat("a"), "majority")).present
    await made(one, FLAT)
    assert not (await other.read(FLAT, flat("a"), "majority")).present
    await other.write(FLAT, [put(flat("a"), 2, size=2)], "majority")
    assert shown(await one.read(FLAT, flat("a"), "majority")) == {"size": 2}
    await one.drop_table(KEYSPACE, "flat")
    with pytest.raises(UnknownKey):
        await other.write(FLAT, [put(flat("a"), 5, size=1)], "majority")
    with pytest.raises(UnknownKey):
        await other.read(FLAT, flat("a"), "majority")


async def test_each_obeys_the_range_tombstones_of_the_other(two: tuple[EmbeddedStore, EmbeddedStore]) -> None:
    """The first range tombstone of a table, by the one, hides what the other writes below it afterwards."""
    one, other = two
    await made(one, WIDE)
    await other.write(WIDE, [put(wide("a", 1), 5, size=1)], "majority")
    whole = DeleteRange(partition=PARTITION, slice=WHOLE_PARTITION, stamp=50)
    together = [one.write(WIDE, [whole], "majority"), other.write(WIDE, [put(wide("a", 2), 6, size=1)], "majority")]
    await asyncio.gather(*together)
    await other.write(WIDE, [put(wide("a", 3), 50, size=1)], "majority")
    assert (await one.read_partition(WIDE, PARTITION, "majority", limit=9)).rows == []


async def test_each_keeps_the_indexes_of_the_other(two: tuple[EmbeddedStore, EmbeddedStore]) -> None:
    """An index made by the one is kept up by the other, which still holds the old spec."""
    one, other = two
    await made(one, WIDE)
    await other.write(WIDE, [put(wide("a", 1), 5, colour="red")], "majority")
    await one.create_index(KEYSPACE, "wide", BY_COLOUR)
    await other.write(WIDE, [put(wide("a", 1), 6, colour="blue"), put(wide("a", 2), 5, colour="red")], "majority")
    page = await one.scan(WIDE, "majority", index=("colour", text("red")), limit=9)
    assert years(page.rows) == [2]
    page = await other.scan(WIDE, "majority", index=("colour", text("blue")), limit=9)
    assert years(page.rows) == [1]


async def test_a_table_whose_making_was_rolled_back_is_forgotten(two: tuple[EmbeddedStore, EmbeddedStore]) -> None:
    """The one makes a table in a transaction that fails, the other makes another: the one knows that one and not its own."""
    one, other = two
    await made(one, WIDE)

    def make_and_fail(connection: Connection) -> None:
        create_table(connection, FLAT)
        assert WriterSchema.of(connection).current(connection).resolve(FLAT)
        raise RuntimeError("after the table was made")

    with pytest.raises(RuntimeError):
        await one._engine.writer.submit(make_and_fail)
    await made(other, CONDITIONAL)
    await one.write_if(CONDITIONAL, [], [put(wide("a", 1), 1, size=1)])
    with pytest.raises(UnknownKey):
        await one.write(FLAT, [put(flat("a"), 5, size=1)], "majority")
    assert (await other.read(CONDITIONAL, wide("a", 1), "majority")).present


async def test_conditional_stamps_never_go_back(two: tuple[EmbeddedStore, EmbeddedStore], clock: SteppedClock) -> None:
    """By turns of two processes, with clocks years apart: the later write wins."""
    one, other = two
    slow = EmbeddedStore(other._engine, clock=SteppedClock(1_000))
    await made(one, CONDITIONAL)
    for turn in range(10):
        await (one, slow)[turn % 2].write_if(CONDITIONAL, [], [put(wide("a", 1), 1, size=turn)])
        assert shown(await other.read(CONDITIONAL, wide("a", 1), "majority")) == {"size": turn}


async def files(store: EmbeddedStore) -> dict[str, int]:
    """Rows of each kind of table in the file."""

    def count(connection) -> dict[str, int]:  # type: ignore[no-untyped-def]
        names = [name for (name,) in connection.all("select name from sqlite_master where type = 'table'")]
        kinds = ("rows", "ranges", "statics", "index")
        return {
            kind: sum(
                connection.first(f"select count(*) from {name}")[0] for name in names if name.startswith(kind + "_")
            )
            for kind in kinds
        }

    return await store._engine.writer.submit(count)


async def collected(store: EmbeddedStore) -> int:
    """Collect in steps of seven rows until all was looked at; the number of rows changed."""
    changed = 0
    while True:
        step = await store.collect_tombstones(rows_max=7)
        assert step.rows_examined <= 7
        changed += step.rows_changed
        if step.is_whole:
            return changed


async def test_collecting(clock: SteppedClock) -> None:
    """Tombstones of every kind stay for their life and go after it; what is shown is the same before and after."""
    store = EmbeddedStore(SqliteEngine(MEMORY, clock=clock))
    await store.start()
    await made(store, WIDE)
    await store.create_index(KEYSPACE, "wide", BY_COLOUR)
    await store.write(WIDE, [put(wide("a", year), 5, colour="red") for year in range(20)], "majority")
    await store.write(WIDE, [DeleteRow(key=wide("a", year), stamp=6) for year in range(5)], "majority")
    await store.write(WIDE, [put(wide("a", 5), 6, colour=None)], "majority")
    part = Slice(Bound((number(19),), True), Bound((number(15),), True))
    await store.write(WIDE, [DeleteRange(partition=PARTITION, slice=part, stamp=6)], "majority")
    whole = DeleteRange(partition=(text("b"),), slice=WHOLE_PARTITION, stamp=6)
    await store.write(WIDE, [SetPartStamp(partition=(text("b"),), part_stamp=3, stamp=4), whole], "majority")
    await store.write(WIDE, [SetPartStamp(partition=(text("c"),), part_stamp=3, stamp=4)], "majority")
    assert await files(store) == {"rows": 15, "ranges": 2, "statics": 2, "index": 9}
    shown_before = await store.scan(WIDE, "majority", limit=100)
    clock.advance_s(TOMBSTONE_LIFE_S - 1)
    assert await collected(store) == 0
    clock.advance_s(2)
    assert await collected(store) == 6
    assert await files(store) == {"rows": 10, "ranges": 0, "statics": 1, "index": 9}
    assert await store.scan(WIDE, "majority", limit=100) == shown_before
    assert (await store.read_partition(WIDE, (text("c"),), "majority", limit=1)).part_stamp == 3
    assert await collected(store) == 0
    await store.close()


async def test_collecting_values_that_expired(clock: SteppedClock) -> None:
    """The bytes go at once, the index entry with them, the rest after a tombstone's life; until then it beats lower stamps."""
    store = EmbeddedStore(SqliteEngine(MEMORY, clock=clock))
    await store.start()
    await made(store, WIDE)
    await store.create_index(KEYSPACE, "wide", BY_COLOUR)
    await store.write(WIDE, [put(wide("a", 1), 5, colour="red", life_ms=1_000)], "majority")
    await store.write(WIDE, [put(wide("a", 2), 5, colour="red", life_ms=9_000)], "majority")
    clock.advance_s(1)
    assert await collected(store) == 1
    await store.write(WIDE, [put(wide("a", 1), 4, colour="blue")], "majority")
    assert years((await store.scan(WIDE, "majority", limit=9)).rows) == [2]
    clock.advance_s(TOMBSTONE_LIFE_S + 9)
    assert await collected(store) == 2
    assert (await files(store))["rows"] == 0
    assert (await files(store))["index"] == 0
    await store.close()


async def test_trimming_a_partition_leaves_one_tombstone(clock: SteppedClock) -> None:
    """As a log is trimmed: a hundred range tombstones with one open end become one."""
    store = EmbeddedStore(SqliteEngine(MEMORY, clock=clock))
    await store.start()
    await made(store, WIDE)
    for year in range(100):
        part = Slice(Bound((number(year),), True), None)
        await store.write(WIDE, [DeleteRange(partition=PARTITION, slice=part, stamp=100 + year)], "majority")
    assert (await files(store))["ranges"] == 1
    await store.close()


async def test_rows_with_many_kinds_of_writes_lie_in_one_place(clock: SteppedClock) -> None:
    """A whole put over an older row is one statement that replaces it; what it must not forget is kept."""
    store = EmbeddedStore(SqliteEngine(MEMORY, clock=clock))
    await store.start()
    await made(store, FLAT)
    full = Put(key=flat("a"), cells={"colour": text("x"), "size": number(1)}, stamp=9, row_stamp=9, absent=False)
    for write in (
        put(flat("a"), 5, size=1),
        DeleteRow(key=flat("a"), stamp=6),
        full,
        put(flat("a"), 10, colour="y", size=2),
    ):
        await store.write(FLAT, [write], "majority")
    row = await store.read(FLAT, flat("a"), "majority")
    assert (shown(row), row.row_stamp) == ({"colour": "y", "size": 2}, 9)
    await store.close()


async def simulated(order: list[str]) -> None:
    """Two stores and cells over one engine in memory, ten tasks that count in one cell."""
    engine = SqliteEngine(MEMORY, clock=SteppedClock())
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    await store.start()
    await cells.start()
    await made(store, FLAT)

    async def add(name: str) -> None:
        view = await cells.read(b"k")
        for at in range(5):
            while True:
                change = CellChange(b"k", view.version, b"x")
                rows = [TableWrites(FLAT, [put(flat(f"{name}{at}"), 5, size=at)])]
                answer, _ = await store.joint(change, rows)
                order.append(f"{name} {answer.applied}")
                view = await cells.read(b"k")
                if answer.applied:
                    break

    async with asyncio.TaskGroup() as group:
        for name in "abcdefghij":
            group.create_task(add(name))
    assert (await cells.read(b"k")).version == 50
    await store.close()
    await cells.close()


def test_a_seed_decides_the_run_in_memory() -> None:
    """On the loop of virtual time the engine needs no thread, and the same seed gives the same run."""
    orders: list[list[str]] = [[], [], []]
    runs = [
        run_traced(lambda order=order: simulated(order), seed=seed, limit_s=60)  # type: ignore[misc]
        for order, seed in zip(orders, (7, 7, 8), strict=True)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert runs[0].trace_hash == runs[1].trace_hash


@seeded(seeds=30)
async def test_whoever_changed_the_schema_sees_it(seed: int) -> None:
    """Goal: one look at the schema serves a round of the loop, but never hides from a caller what it has changed itself. Method: others
    look all the time while a table is made and dropped again and again, in a drawn order of steps."""
    engine = SqliteEngine(MEMORY)
    store = EmbeddedStore(engine)
    await store.start()
    await store.create_keyspace(KeyspaceSpec(name=FLAT.keyspace))
    ended = False

    async def look() -> None:
        while not ended:
            with contextlib.suppress(UnknownKey):
                await store.table(FLAT.keyspace, FLAT.name)
            await asyncio.sleep(0)

    lookers = [asyncio.ensure_future(look()) for _ in range(4)]
    for _ in range(10):
        assert await store.create_table(FLAT)
        assert (await store.table(FLAT.keyspace, FLAT.name)).name == FLAT.name
        assert await store.drop_table(FLAT.keyspace, FLAT.name)
        with pytest.raises(UnknownKey):
            await store.table(FLAT.keyspace, FLAT.name)
    ended = True
    await asyncio.gather(*lookers)
    await store.close()
