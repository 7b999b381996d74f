"""What a real Cassandra node does with our rows beyond the contract suite: its own clock, and every type."""

import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polysite.errors import BadRequest
from polysite.lab.engines import Engine
from polysite.stores.cassandra import CassandraStore
from polysite.stores.contract import Predicate
from polysite.testing.store_contract.support import BY_COLOUR, FLAT, KEYSPACE, flat, made, number, put, shown, text
from polysite.values.keys import RowKey
from polysite.values.rows import Bound, DeleteRow, Put, Slice, Write
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, KeyspaceSpec, TableSpec, check_table
from polysite.values.types import parse_type
from tests.support.cassandra import DRIVERS, connected
from tests.support.cassandra_store import started_store, until
from tests.support.cql_values import ORDERED_SCALARS, SCALARS, values

pytestmark = pytest.mark.engine("cassandra")

few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
_numbers = itertools.count(1)


@pytest.fixture(params=DRIVERS)
async def store(request: pytest.FixtureRequest, cassandra_node: Engine) -> AsyncIterator[CassandraStore]:
    async with started_store(cassandra_node, request.param) as store:
        yield store


async def test_a_table_whose_read_repair_is_off(cassandra_node: Engine) -> None:
    """Goal: nobody starts on a table with locks whose reads are not brought to a majority, and the words say what to do. Method: an operator turns it off
    for two tables, of which one has no locks, and does what the words say."""
    prefix = "unrepaired_"
    async with started_store(cassandra_node, prefix=prefix) as store:
        await made(store, FLAT)
        await made(store, msgspec.structs.replace(FLAT, name="free", writes="eventual"))
    async with connected(cassandra_node) as port:
        for name in (FLAT.name, "free"):
            await port.define(f"ALTER TABLE {prefix}{KEYSPACE}.{name} WITH read_repair = 'NONE'")
        with pytest.raises(BadRequest, match="ALTER TABLE") as refused:
            async with started_store(cassandra_node, prefix=prefix):
                pass
        await port.define(re.search(r"ALTER TABLE .*$", str(refused.value))[0])  # type: ignore[index]
    async with started_store(cassandra_node, prefix=prefix) as store:
        assert await store.tables(KEYSPACE)


# lives, which end by Cassandra's clock


async def test_lives_end_by_the_engines_clock(store: CassandraStore) -> None:
    """Goal: what the suite cannot look at without moving the clock: lives are told in seconds rounded up, end, and what they leave stays lost
    to lower stamps. Method: lives of a millisecond and of two seconds, looked at until they are over."""
    await made(store, FLAT)
    mark = Put(key=flat("mark"), cells={}, stamp=11, marker=False, row_stamp=11, absent=True, life_ms=1)
    await store.write(FLAT, [put(flat("whole"), 5, colour="red", life_ms=1_001)], "majority")
    await store.write(
        FLAT, [put(flat("part"), 5, colour="red"), put(flat("part"), 6, marker=False, size=1, life_ms=1)], "majority"
    )
    await store.write(
        FLAT, [put(flat("mark"), 5, colour="red"), DeleteRow(key=flat("mark"), stamp=10), mark], "majority"
    )
    row = await store.read(FLAT, flat("whole"), "majority")
    told = {row.cells["colour"].life_ms, row.marker_life_ms} if row.present else set()
    assert told <= {1_000, 2_000}
    part = await store.read(FLAT, flat("part"), "majority")
    assert part.marker_life_ms is None
    assert part.cells["colour"].life_ms is None

    async def over() -> bool:
        rows = [await store.read(FLAT, flat(name), "majority") for name in ("whole", "part", "mark")]
        return not rows[0].present and "size" not in rows[1].cells and not rows[2].absent

    await until(over)
    whole, part, mark_row = [await store.read(FLAT, flat(name), "majority") for name in ("whole", "part", "mark")]
    assert (whole.cells, whole.marker_life_ms) == ({}, None)
    assert shown(part) == {"colour": "red"}
    assert (mark_row.present, mark_row.row_stamp) == (False, 0)
    await store.write(FLAT, [put(flat("whole"), 4, colour="blue", marker=False)], "majority")
    assert not (await store.read(FLAT, flat("whole"), "majority")).present
    await store.write(FLAT, [put(flat("whole"), 6, colour="blue", marker=False)], "majority")
    assert shown(await store.read(FLAT, flat("whole"), "majority")) == {"colour": "blue"}
    assert [row.key for row in (await store.scan(FLAT, "majority", limit=10)).rows if row.key == flat("mark")] == []


async def test_a_value_that_expired_is_not_found_by_its_index(store: CassandraStore) -> None:
    """Goal: an index forgets with the value. Method: found while it lives, looked for until it is not."""
    await made(store, FLAT)
    await store.create_index(KEYSPACE, "flat", BY_COLOUR)
    table = await store.table(KEYSPACE, "flat")
    await store.write(table, [put(flat("a"), 5, colour="red", life_ms=1_500), put(flat("a"), 5, size=1)], "majority")

    async def found() -> list[RowKey]:
        return [row.key for row in (await store.scan(table, "majority", index=("colour", text("red")), limit=5)).rows]

    assert await found() == [flat("a")]

    async def over() -> bool:
        return not await found()

    await until(over)
    assert shown(await store.read(table, flat("a"), "majority")) == {"size": 1}


@pytest.mark.parametrize("swapped", [False, True])
async def test_ties_of_lives(store: CassandraStore, swapped: bool) -> None:
    """Goal: at one stamp a life beats none, and of two the longer one wins whatever the bytes; of the marker too. Method: pairs, in both orders."""
    await made(store, FLAT)
    pairs = {
        "null": [put(flat("null"), 5, colour="red", life_ms=900_000), put(flat("null"), 5, colour=None)],
        "ever": [put(flat("ever"), 5, colour="sable"), put(flat("ever"), 5, colour="red", life_ms=900_000)],
        "long": [
            put(flat("long"), 5, colour="sable", life_ms=600_000),
            put(flat("long"), 5, colour="red", life_ms=900_000),
        ],
    }
    for pair in pairs.values():
        for write in reversed(pair) if swapped else pair:
            await store.write(FLAT, [write], "majority")
    rows = {name: await store.read(FLAT, flat(name), "majority") for name in pairs}
    assert {name: shown(row) for name, row in rows.items()} == {
        "null": {},
        "ever": {"colour": "red"},
        "long": {"colour": "red"},
    }
    for row in rows.values():
        assert row.marker_life_ms is not None
        assert 600_000 < row.marker_life_ms <= 900_000


async def test_a_life_beyond_what_cassandra_can_say(store: CassandraStore) -> None:
    """Goal: a life that ends after 2038 is refused where the engine cannot keep it, never cut or for ever. Method: 19 years."""
    await made(store, FLAT)
    with pytest.raises(BadRequest):
        await store.write(FLAT, [put(flat("a"), 5, size=1, life_ms=19 * 365 * 86_400_000)], "majority")
    assert not (await store.read(FLAT, flat("a"), "majority")).present


# types


def spelled(name: str) -> str:
    return name.replace("<", "_").replace(">", "").replace(", ", "_")


COMPOUND = (
    "list<int>",
    "set<text>",
    "map<text, decimal>",
    "tuple<int, list<duration>>",
    "map<inet, frozen<tuple<uuid, set<varint>>>>",
)
_OF_TYPES = TableSpec(
    keyspace="types",
    name="of_types",
    columns=(ColumnSpec("k", "int"), *(ColumnSpec(f"v{at}", kind) for at, kind in enumerate((*SCALARS, *COMPOUND)))),
    partition_key=("k",),
    writes="eventual",
)


OF_TYPES = check_table(_OF_TYPES)


def rows_of_types() -> st.SearchStrategy[dict[str, bytes | None]]:
    types = {name: cql_type for name, cql_type in OF_TYPES.types.items() if name != "k"}
    return st.fixed_dictionaries({name: values(cql_type).map(cql_type.serialise) for name, cql_type in types.items()})


@given(cells=rows_of_types())
@few
async def test_every_type_comes_back_as_it_went(store: CassandraStore, cells: dict[str, bytes | None]) -> None:
    """Goal: Cassandra takes our bytes of every type for what they are and gives the same back. Method: random values of all of them in one row."""
    await store.create_keyspace(KeyspaceSpec(name="types"))
    await store.create_table(OF_TYPES)
    stamp = next(_numbers)
    key = RowKey((number(stamp),))
    await store.write(OF_TYPES, [Put(key=key, cells=cells, stamp=stamp)], "majority")
    row = await store.read(OF_TYPES, key, "majority")
    assert {name: cell.value for name, cell in row.cells.items()} == cells
    assert {cell.stamp for cell in row.cells.values()} == {stamp}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("inet", "::ffff:1.2.3.4"),
        ("tuple<inet, int>", ["::ffff:1.2.3.4", 1]),
        ("list<inet>", ["::ffff:1.2.3.4"]),
        ("set<inet>", ["::ffff:1.2.3.4"]),
        ("set<tuple<inet, int>>", [["::ffff:1.2.3.4", 1]]),
        ("map<inet, inet>", [["::ffff:1.2.3.4", "::ffff:1.2.3.5"]]),
        ("map<int, set<inet>>", [[1, ["::ffff:1.2.3.4"]]]),
    ],
)
async def test_an_ipv4_address_inside_an_ipv6_one(store: CassandraStore, kind: str, value: Any) -> None:
    """Goal: our bytes are what Cassandra keeps, which rewrites such an address where it is a member. Method: as a value, in a tuple, as members."""
    spec = TableSpec(
        keyspace="types",
        name=f"inet_{spelled(kind)}",
        columns=(ColumnSpec("k", "int"), ColumnSpec("v", kind)),
        partition_key=("k",),
        writes="eventual",
    )
    await store.create_keyspace(KeyspaceSpec(name="types"))
    await store.create_table(check_table(spec))
    key, data = RowKey((number(1),)), parse_type(kind).json_to_bytes(value)
    await store.write(spec, [Put(key=key, cells={"v": data}, stamp=next(_numbers))], "majority")
    assert (await store.read(spec, key, "majority")).cells["v"].value == data


@pytest.mark.parametrize("kind", [*ORDERED_SCALARS, "list<int>", "tuple<int, text>"])
async def test_every_type_in_a_key_and_under_an_index(store: CassandraStore, kind: str) -> None:
    """Goal: each type stands in partition and clustering keys in the order we take it to have, is found by its index, and compared in a condition.
    Method: some of its values in one table; bounds, a reversed read, an index over the column and over the clustering column."""
    cql_type = parse_type(kind)
    name = f"of_{spelled(kind)}"
    spec = TableSpec(
        keyspace="types",
        name=name,
        columns=(ColumnSpec("p", kind), ColumnSpec("c", kind), ColumnSpec("d", kind), ColumnSpec("v", kind)),
        partition_key=("p",),
        clustering_key=(ClusteringColumn("c"), ClusteringColumn("d", "desc")),
        indexes=(IndexSpec(name="by_v", column="v"), IndexSpec(name="by_c", column="c")),
        writes="conditional",
    )
    await store.create_keyspace(KeyspaceSpec(name="types"))
    await store.drop_table("types", name)
    await store.create_table(spec)
    found = sorted({cql_type.serialise(value) for value in samples(kind)}, key=cql_type.order_key)
    found = list({cql_type.order_key(data): cql_type.clustering_bytes(data) for data in found}.values())
    partition = (next(data for data in found if data),)
    keys = [RowKey(partition, (one, other)) for one in found for other in reversed(found)]
    writes: list[Write] = [Put(key=key, cells={"v": key.clustering[0]}, stamp=0) for key in keys]
    assert (await store.write_if(spec, [], writes)).applied
    page = await store.read_partition(spec, partition, "majority", limit=1_000)
    assert [row.key for row in page.rows] == keys
    middle = Slice(Bound(keys[1].clustering, False), Bound(keys[-2].clustering[:1], True))
    page = await store.read_partition(spec, partition, "majority", limit=1_000, slice=middle, reverse=True)
    assert [row.key for row in page.rows] == keys[2:][::-1]
    for value in found[:2]:
        for column in ("v", "c"):
            rows = (await store.scan(spec, "majority", index=(column, value), limit=1_000)).rows
            assert [row.key for row in rows] == [key for key in keys if key.clustering[0] == value]
    right = Predicate(key=keys[0], equals={"v": found[0]})
    wrong = Predicate(key=keys[0], equals={"v": found[1]})
    assert not (await store.write_if(spec, [right, wrong], [])).applied
    assert (await store.write_if(spec, [right], [])).applied


def samples(kind: str) -> list[Any]:
    """A few values of a type, the ends of its order among them where they are odd."""
    given_values: dict[str, list[Any]] = {
        "boolean": [False, True],
        "text": ["", "a", "ab", "\U0010ffff"],
        "ascii": ["", "a", "ab", "~"],
        "blob": [b"", b"\x00", b"\x00\x00", b"\xff"],
        "float": [float("-inf"), -0.0, 0.0, float("nan")],
        "double": [float("-inf"), -0.0, 0.0, float("nan")],
    }
    if kind in given_values:
        return given_values[kind]
    cql_type = parse_type(kind)
    texts = {
        "inet": ["0.0.0.0", "127.0.0.1", "::1", "ff::"],
        "uuid": [
            "00000000-0000-1000-8000-000000000000",
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
            "10000000-0000-1000-8000-000000000000",
        ],
        "timeuuid": [
            "00000000-0000-1000-8000-000000000000",
            "00000000-0000-1000-8000-0000000000ff",
            "ffffffff-0000-1000-8000-000000000000",
        ],
        "date": ["1969-12-31", "1970-01-01", "2400-02-29"],
        "time": ["00:00:00", "12:30:00.000000001", "23:59:59.999999999"],
        "timestamp": ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z", "2400-02-29T00:00:00.000Z"],
        "decimal": ["-1e9", "0.10", "1", "1.5"],
        "list<int>": ["[]", "[1]", "[1, 2]", "[2]"],
        "tuple<int, text>": ['[1, "a"]', "[1, null]", '[2, "a"]'],
    }
    return [cql_type.from_text(each) for each in texts.get(kind, ["-100", "-1", "0", "1", "100"])]
