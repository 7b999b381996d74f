"""What a real Cassandra node does with our rows beyond the contract suite: conditions of every kind, tokens, other processes."""

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polysite.engines.cassandra import Consistency, Statement
from polysite.errors import AlreadyExists, BadRequest, UnknownKey
from polysite.lab.engines import Engine
from polysite.stores.cassandra import CassandraStore
from polysite.stores.cassandra.layout import CassandraTable
from polysite.stores.contract import Predicate
from polysite.testing.store_contract.support import (
    BY_COLOUR,
    BY_TITLE,
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
)
from polysite.values.keys import RowKey
from polysite.values.rows import (
    WHOLE_PARTITION,
    Bound,
    DeleteRange,
    DeleteRow,
    Put,
    SetPartStamp,
    Slice,
    StoredRow,
    Write,
)
from polysite.values.tables import ClusteringColumn, ColumnSpec, KeyspaceSpec, TableSpec
from polysite.values.types import parse_type
from tests.support.cassandra import DRIVERS
from tests.support.cassandra_schema import LEVELS
from tests.support.cassandra_store import PREFIX, started_store, until

pytestmark = pytest.mark.engine("cassandra")

some = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
_partitions = itertools.count()


@pytest.fixture(params=DRIVERS)
async def store(request: pytest.FixtureRequest, cassandra_node: Engine) -> AsyncIterator[CassandraStore]:
    async with started_store(cassandra_node, request.param) as store:
        yield store


# conditions

FLAT_CONDITIONAL = msgspec.structs.replace(FLAT, name="flat_conditional", writes="conditional")

colours = st.sampled_from([None, text("x"), text("y")])
sizes = st.sampled_from([None, number(1)])


@st.composite
def changes(draw: st.DrawFn, keys: list[RowKey]) -> list[Write]:
    """Writes of a conditional write to one partition."""
    found: list[Write] = []
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(keys))
        kind = draw(st.sampled_from(["put", "put", "put", "row", "range"]))
        if kind == "put":
            cells = draw(st.fixed_dictionaries({}, optional={"colour": colours, "size": sizes}))
            found.append(Put(key=key, cells=cells, stamp=0, marker=draw(st.booleans())))
        elif kind == "row":
            found.append(DeleteRow(key=key, stamp=0))
        else:
            part = Slice(Bound(draw(st.sampled_from(keys)).clustering[:1], draw(st.booleans())), None)
            whole = not key.clustering or draw(st.booleans())
            found.append(DeleteRange(partition=key.partition, slice=WHOLE_PARTITION if whole else part, stamp=0))
    return found


@st.composite
def predicates(draw: st.DrawFn, keys: list[RowKey], key_column: str) -> list[Predicate]:
    """Predicates of every kind, of key columns too, that agree or not."""
    found = []
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(keys))
        own = (key.partition + key.clustering)[1 if key.clustering else 0]
        optional = {"colour": colours, "size": sizes, key_column: st.sampled_from([None, own, b"\x00\x00\x00\x63"])}
        equals = draw(st.fixed_dictionaries({}, optional=optional))
        if draw(st.integers(0, 3)):
            equals.pop(key_column, None)
        found.append(Predicate(key=key, exists=draw(st.sampled_from([None, None, True, False])), equals=equals))
    return found


class Asked(NamedTuple):
    """Conditional writes to a partition of their own, one after the other."""

    name: str
    keys: list[RowKey]
    asked: list[tuple[list[Predicate], list[Write]]]


@st.composite
def conversations(draw: st.DrawFn, spec: TableSpec) -> Asked:
    name = f"c{next(_partitions)}"
    keys = [wide(name, year) for year in (1, 2)] if spec.clustering_key else [flat(name)]
    column = "year" if spec.clustering_key else "name"
    return Asked(name, keys, [(draw(predicates(keys, column)), draw(changes(keys))) for _ in range(3)])


class Rows:
    """What one partition holds, worked out by carrying everything out in order."""

    def __init__(self, table: CassandraTable) -> None:
        self.table = table
        self.cells: dict[RowKey, dict[str, bytes | None]] = {}

    def change(self, writes: list[Write]) -> None:
        for write in writes:
            if isinstance(write, Put):
                row = self.cells.setdefault(write.key, {})
                row |= write.cells
                if write.marker:
                    row["marker"] = b""
            elif isinstance(write, DeleteRow):
                self.cells.pop(write.key, None)
            elif isinstance(write, DeleteRange):
                interval = self.table.interval(write.slice)
                for key in [key for key in self.cells if interval.holds(self.table.position(key.clustering))]:
                    del self.cells[key]

    def shown(self, key: RowKey) -> tuple[bool, dict[str, bytes]]:
        row = {name: value for name, value in self.cells.get(key, {}).items() if value is not None}
        return bool(row), {name: value for name, value in row.items() if name != "marker"}

    def hold(self, expect: list[Predicate]) -> bool:
        for item in expect:
            present, cells = self.shown(item.key)
            if item.exists not in (None, present):
                return False
            own = dict(zip(self.table.spec.key_names, item.key.partition + item.key.clustering, strict=True))
            found = (own if present else {}) | cells
            if any(found.get(name) != value for name, value in item.equals.items()):
                return False
        return True


def told(row: StoredRow) -> tuple[bool, dict[str, bytes]]:
    return row.present, {name: cell.value for name, cell in row.cells.items()}


async def converse(store: CassandraStore, spec: TableSpec, conversation: Asked) -> None:
    await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    await store.create_table(spec)
    model = Rows(CassandraTable(spec, "x", LEVELS))
    whole = DeleteRange(partition=(text(conversation.name),), slice=WHOLE_PARTITION, stamp=0)
    await store.write_if(spec, [], [whole])
    for expect, writes in conversation.asked:
        answer = await store.write_if(spec, expect, writes)
        assert answer.applied is model.hold(expect)
        if answer.applied:
            model.change(writes)
        else:
            assert [row.key for row in answer.rows] == [item.key for item in expect]
            assert [told(row) for row in answer.rows] == [model.shown(item.key) for item in expect]
        for key in conversation.keys:
            assert told(await store.read(spec, key, "majority")) == model.shown(key)


@given(conversation=conversations(CONDITIONAL))
@some
async def test_conditional_writes_against_a_plain_model(store: CassandraStore, conversation: Asked) -> None:
    """Goal: whatever predicates and writes are asked together, they apply exactly when they hold, with the effect of the writes in order, and a
    refusal tells the rows as they are. Method: random ones, some after each other in a partition, against values kept in plain dictionaries."""
    await converse(store, CONDITIONAL, conversation)


@given(conversation=conversations(FLAT_CONDITIONAL))
@some
async def test_the_same_where_a_partition_is_one_row(store: CassandraStore, conversation: Asked) -> None:
    """Goal and method as above, on a table without clustering columns, where Cassandra tells less of a refusal."""
    await converse(store, FLAT_CONDITIONAL, conversation)


@pytest.mark.parametrize("clustering", [("year",), ("year", "title")])
async def test_a_row_that_must_be_there_with_a_null(store: CassandraStore, clustering: tuple[str, ...]) -> None:
    """Goal: what no one condition can say is asked all the same, and a row deleted and put again in one write is there. Method: tables with one and
    two clustering columns kept in one direction; a row by its marker alone, by a cell alone, and none."""
    spec = msgspec.structs.replace(
        CONDITIONAL,
        name=f"conditional_{len(clustering)}",
        columns=tuple(column for column in CONDITIONAL.columns if column.name != "title" or column.name in clustering),
        clustering_key=tuple(ClusteringColumn(name) for name in clustering),
    )
    await made(store, spec)
    rest = (text("t"),) * (len(clustering) - 1)
    marked, bare, gone = (RowKey((text("a"),), (number(year), *rest)) for year in (1, 2, 3))
    first: list[Write] = [put(marked, 0), put(bare, 0, marker=False, size=1)]
    assert (await store.write_if(spec, [Predicate(key=gone, exists=False)], first)).applied
    for key, there in ((marked, True), (bare, True), (gone, False)):
        expect = [Predicate(key=key, exists=True, equals={"colour": None})]
        again: list[Write] = [DeleteRow(key=key, stamp=0), put(key, 0, marker=key == marked, size=2)]
        answer = await store.write_if(spec, expect, again)
        assert answer.applied is there
        assert there or [row.present for row in answer.rows] == [False]
        assert shown(await store.read(spec, key, "majority")) == ({"size": 2} if there else {})
    both = [Predicate(key=key, exists=True, equals={"colour": None}) for key in (bare, marked)]
    assert (await store.write_if(spec, both, [put(bare, 0, colour="x")])).applied
    answer = await store.write_if(spec, both, [put(bare, 0, colour="y")])
    assert [shown(row) for row in answer.rows] == [{"colour": "x", "size": 2}, {"size": 2}]
    assert answer.rows[0].cells["size"].stamp > 0, "read afterwards, with stamps"


async def test_conditional_tables_take_nothing_else(store: CassandraStore) -> None:
    """Goal: stamps of ours and of agreements never meet on a table. Method: plain writes, and hidden columns in a conditional one."""
    await made(store, CONDITIONAL)
    with pytest.raises(BadRequest):
        await store.write(CONDITIONAL, [put(wide("a", 1), 5)], "majority")
    with pytest.raises(BadRequest):
        await store.write_if(CONDITIONAL, [], [Put(key=wide("a", 1), cells={}, stamp=0, row_stamp=5)])
    with pytest.raises(BadRequest):
        await store.write_if(CONDITIONAL, [], [SetPartStamp(partition=(text("a"),), part_stamp=5, stamp=0)])
    assert (await store.scan(CONDITIONAL, "majority", limit=10)).rows == []


# tokens

C1, C2, MASK = 0x87C37B91114253D5, 0x4CF5AD432745937F, 2**64 - 1


def turned(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & MASK


def mixed(state: tuple[int, int], block: bytes) -> tuple[int, int]:
    """MurmurHash3 (x64, 128 bits) of one more block of 16 bytes."""
    one, two = state
    first, second = struct.unpack("<QQ", block)
    one ^= turned(first * C1 & MASK, 31) * C2 & MASK
    one = ((turned(one, 27) + two) * 5 + 0x52DCE729) & MASK
    two ^= turned(second * C2 & MASK, 33) * C1 & MASK
    two = ((turned(two, 31) + one) * 5 + 0x38495AB5) & MASK
    return one, two


def block_to(state: tuple[int, int], wanted: tuple[int, int]) -> bytes:
    """The block that leads from one state to another."""
    fifth = pow(5, -1, 2**64)
    first = turned(((wanted[0] - 0x52DCE729) * fifth - state[1]) & MASK, 37) ^ state[0]
    second = turned(((wanted[1] - 0x38495AB5) * fifth - wanted[0]) & MASK, 33) ^ state[1]
    first = turned(first * pow(C2, -1, 2**64) & MASK, 33) * pow(C1, -1, 2**64) & MASK
    second = turned(second * pow(C1, -1, 2**64) & MASK, 31) * pow(C2, -1, 2**64) & MASK
    return struct.pack("<QQ", first, second)


def keys_of_one_token(count: int, head: bytes = b"") -> list[bytes]:
    """Partition keys of two blocks with one and the same token, where Cassandra puts `head` in front of them."""
    wanted = mixed(mixed((0, 0), b"first of all...."), b"and then another")
    starts = [bytes([at]) * (16 - len(head)) for at in range(count)]
    return [start + block_to(mixed((0, 0), head + start), wanted) for start in starts]


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("clustered", [False, True])
async def test_partitions_of_one_token_are_all_seen(store: CassandraStore, columns: int, clustered: bool) -> None:
    """Goal: a page that ends between two partitions with one token goes on with the second. Method: keys made to collide, pages of every size."""
    spec = TableSpec(
        keyspace=KEYSPACE,
        name=f"twins_{columns}_{clustered}",
        columns=tuple(
            ColumnSpec(name, kind) for name, kind in (("a", "blob"), ("b", "blob"), ("c", "int"), ("v", "int"))
        ),
        partition_key=("a", "b")[:columns],
        clustering_key=(ClusteringColumn("c"),) if clustered else (),
        writes="eventual",
    )
    await made(store, spec)
    # In a key of two columns each has its length in front: 30 bytes, of which the last 16 make all of them collide.
    heads = keys_of_one_token(4, (30).to_bytes(2)) if columns == 2 else keys_of_one_token(4)
    partitions: list[tuple[bytes, ...]] = [(head, b"z")[:columns] for head in (*heads, b"x", b"y")]
    keys = [
        RowKey(partition, (number(at),) * clustered) for partition in partitions for at in range(3 if clustered else 1)
    ]
    for key in keys:
        await store.write(spec, [Put(key=key, cells={"v": number(1)}, stamp=5)], "majority")
    table, names = f'"{PREFIX}{KEYSPACE}"."{spec.name}"', ", ".join(spec.partition_key)
    asked = Statement(f"SELECT DISTINCT token({names}) AS t FROM {table}", (), {"t": parse_type("bigint")})
    tokens = [row[0] for row in (await store._port.read(asked, consistency=Consistency.ONE)).rows]
    assert (len(tokens), len(set(tokens))) == (6, 3)
    for limit in range(1, len(keys) + 1):
        found: list[RowKey] = []
        cursor = None
        while True:
            page = await store.scan(spec, "majority", limit=limit, cursor=cursor)
            found += [row.key for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(found) == sorted(keys), limit


async def test_an_index_over_a_clustering_column_in_pages(store: CassandraStore) -> None:
    """Goal: pages that end inside a partition go on in it, whichever column is indexed. Method: pages of one row over three partitions."""
    await made(store, WIDE)
    await store.create_index(KEYSPACE, "wide", BY_TITLE)
    await store.create_index(KEYSPACE, "wide", BY_COLOUR)
    table = await store.table(KEYSPACE, "wide")
    for name in "abc":
        rows = [put(wide(name, year, title), 5, colour=title) for year in range(4) for title in ("s", "t", "u")]
        await store.write(table, rows, "majority")
    for column in ("title", "colour"):
        found: list[RowKey] = []
        cursor = None
        while True:
            page = await store.scan(table, "majority", index=(column, text("t")), limit=1, cursor=cursor)
            found += [row.key for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert len(found) == 12
        assert set(found) == {wide(name, year, "t") for name in "abc" for year in range(4)}


# other processes


async def test_another_process_knows_within_a_second(store: CassandraStore, cassandra_node: Engine) -> None:
    """Goal: who made, changed or dropped a table elsewhere is known here when a second is over, and a table made anew is another one.
    Method: two stores on one Cassandra, the second asked again and again."""
    async with started_store(cassandra_node) as other:
        spec = await made(store, FLAT)
        assert await other.table(KEYSPACE, "flat") == spec
        first = await other.table(KEYSPACE, "flat")
        await store.create_index(KEYSPACE, "flat", BY_COLOUR)

        async def indexed() -> bool:
            return bool((await other.table(KEYSPACE, "flat")).indexes)

        await until(indexed)
        await store.write(spec, [put(flat("a"), 500, colour="red")], "majority")
        await made(store, FLAT)

        async def remade() -> bool:
            return (await other.table(KEYSPACE, "flat")).making != first.making

        await until(remade)
        assert not (await other.read(first, flat("a"), "majority")).present
        await store.drop_table(KEYSPACE, "flat")

        async def gone() -> bool:
            try:
                await other.table(KEYSPACE, "flat")
            except UnknownKey:
                return True
            return False

        await until(gone)
        with pytest.raises(UnknownKey):
            await other.read(first, flat("a"), "local")


async def test_many_make_the_same_at_once(cassandra_node: Engine) -> None:
    """Goal: processes that start together make the same keyspace and tables together; all can use them. Method: three stores at once, twice."""
    spec = TableSpec(
        keyspace="together",
        name="t",
        columns=(ColumnSpec("k", "int"), ColumnSpec("v", "int")),
        partition_key=("k",),
        writes="eventual",
    )
    key = RowKey((number(1),))

    async def process(at: int) -> None:
        async with started_store(cassandra_node, prefix="many_") as store:
            await store.create_keyspace(KeyspaceSpec(name="together"))
            await store.create_table(spec)
            await store.write(spec, [Put(key=key, cells={"v": number(at)}, stamp=at)], "majority")

    for start in (1, 4):
        await asyncio.gather(*(process(at) for at in range(start, start + 3)))
        async with started_store(cassandra_node, prefix="many_") as store:
            assert (await store.read(spec, key, "majority")).cells["v"].value == number(start + 2)


async def test_what_others_made_is_left_alone(store: CassandraStore) -> None:
    """Goal: a keyspace or table of somebody else's is neither taken over nor dropped. Method: Cassandra's own, and one made by hand."""
    await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    name = f"theirs_{store._port.driver.replace('-', '_')}"
    await store._port.define(f'CREATE TABLE "{PREFIX}{KEYSPACE}"."{name}" (k text PRIMARY KEY)')
    with pytest.raises(AlreadyExists):
        await store.create_table(msgspec.structs.replace(FLAT, name=name))
    with pytest.raises(UnknownKey):
        await store.table(KEYSPACE, name)
    await store._port.define(f'DROP TABLE "{PREFIX}{KEYSPACE}"."{name}"')
    assert await store.create_table(msgspec.structs.replace(FLAT, name=name))
    await store.drop_table(KEYSPACE, name)


async def test_a_store_says_what_it_is(store: CassandraStore) -> None:
    """Goal: what is declared of one site alone. Method: the store of the tests: one data center, one copy, a commit log written later."""
    assert store.capabilities == {"conditional_write", "durable", "expiry"}
    assert set(store.costs) == {0}
    with pytest.raises(BadRequest):
        await store.create_table(msgspec.structs.replace(FLAT, name="t", writes="transactional"))
    with pytest.raises(BadRequest):
        await store.drop_keyspace("polysite")
    assert shown(StoredRow(flat("a"), {}, False)) == {}
