"""What the Cassandra store says to Cassandra: texts from specs, slices as restrictions, writes as bound values. No engine."""

import itertools
from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.engines.cassandra import UNSET, Consistency
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.errors import BadRequest, TooLarge, UnknownKey
from polysite.stores.cassandra.catalogue import levels_of
from polysite.stores.cassandra.conditional import bind_changes
from polysite.stores.cassandra.layout import CassandraTable, create_index, create_table, index_name, table_id
from polysite.stores.cassandra.slices import Piece, Relation, after, as_range, one_row, pieces
from polysite.stores.cassandra.statements import Statements
from polysite.stores.cassandra.writing import INDEXED_BYTES_MAX, LIFE_S_MAX, bind_put, bind_writes, check_writes
from polysite.testing.store_contract.support import BY_COLOUR, CONDITIONAL, FLAT, WIDE, flat, number, put, text, wide
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, DeleteRow, Put, SetPartStamp, Slice, Write
from polysite.values.tables import ClusteringColumn, ColumnSpec, Direction, IndexSpec, KeyspaceSpec, TableSpec
from tests.support.cassandra_schema import LEVELS

STAMP = (7).to_bytes(8)


def table_of(spec: TableSpec) -> CassandraTable:
    return CassandraTable(spec, f"x_{spec.keyspace}", LEVELS)


def statements_of(spec: TableSpec) -> Statements:
    return Statements(table_of(spec))


def kept(*directions: Direction) -> TableSpec:
    """A table with as many int clustering columns, kept so."""
    names = [f"c{at}" for at in range(len(directions))]
    return TableSpec(
        keyspace="k",
        name="t",
        columns=(ColumnSpec("p", "text"), *(ColumnSpec(name, "int") for name in names), ColumnSpec("v", "text")),
        partition_key=("p",),
        clustering_key=tuple(ClusteringColumn(name, way) for name, way in zip(names, directions, strict=True)),
        writes="mixed",
    )


def test_a_table_at_cassandra() -> None:
    """Goal: one table of Cassandra with the columns as they are and the hidden ones. Method: the whole text for a table with every kind of column."""
    spec = TableSpec(
        keyspace="Shop",
        name="Orders",
        columns=(
            ColumnSpec("who", "text"),
            ColumnSpec("at", "timestamp"),
            ColumnSpec("lines", "list<tuple<text, set<int>>>"),
        ),
        partition_key=("who",),
        clustering_key=(ClusteringColumn("at", "desc"),),
    ).of_making(3)
    made = table_id("x_Shop", "Orders", 3)
    assert create_table(spec, "x_Shop", gc_grace_s=864_000) == (
        'CREATE TABLE IF NOT EXISTS "x_Shop"."Orders" ("who" text, "at" timestamp,'
        ' "lines" frozen<list<frozen<tuple<text, frozen<set<int>>>>>>,'
        ' "polysite_row_stamp" blob, "polysite_absent" boolean, "polysite_marker" boolean,'
        ' "polysite_part_stamp" bigint static, PRIMARY KEY (("who"), "at"))'
        f' WITH CLUSTERING ORDER BY ("at" DESC) AND id = {made} AND gc_grace_seconds = 864000'
        " AND speculative_retry = '300ms'"
    )
    assert made != table_id("x_Shop", "Orders", 4)


def test_an_index_at_cassandra() -> None:
    """Goal: names that are unique in a keyspace, and collections indexed whole. Method: indexes of one name over two tables and makings."""
    by_colour = create_index(WIDE.of_making(1), "x", BY_COLOUR)
    assert (
        by_colour == f'CREATE INDEX IF NOT EXISTS "{index_name(WIDE.of_making(1), BY_COLOUR)}" ON "x"."wide" ("colour")'
    )
    names = {
        index_name(spec.of_making(making), index)
        for spec in (WIDE, FLAT)
        for making in (1, 2)
        for index in (BY_COLOUR, IndexSpec(name="by_colour", column="size"))
    }
    assert len(names) == 8
    assert all(len(name) <= 48 for name in names)
    listed = msgspec.structs.replace(FLAT, columns=(*FLAT.columns, ColumnSpec("tags", "set<text>")))
    assert create_index(listed, "x", IndexSpec(name="by_tags", column="tags")).endswith('(FULL("tags"))')


def test_a_row_is_read_with_stamps_and_lives() -> None:
    """Goal: every column with its stamp and life, hidden columns beside them (I8 needs them at every read). Method: the text."""
    assert statements_of(FLAT).row.text == (
        'SELECT "colour", writetime("colour") AS polysite_w0, ttl("colour") AS polysite_l0,'
        ' "size", writetime("size") AS polysite_w1, ttl("size") AS polysite_l1,'
        ' "polysite_row_stamp", "polysite_absent", "polysite_marker", ttl("polysite_marker") AS polysite_lm'
        ' FROM "x_contract"."flat" WHERE "name" = ?'
    )
    assert statements_of(WIDE).static.text == (
        'SELECT DISTINCT "name", "polysite_part_stamp" FROM "x_contract"."wide" WHERE "name" = ?'
    )


@pytest.mark.parametrize("spec", [FLAT, WIDE, CONDITIONAL, kept("asc", "asc", "asc")])
def test_as_many_values_as_places(spec: TableSpec) -> None:
    """Goal: each statement says the type of each value it takes, in order. Method: count the places in every text."""
    statements = statements_of(spec)
    piece: Piece = pieces(statements.table, Slice())[0] if spec is FLAT else ()
    found = [
        statements.row,
        statements.same_token,
        statements.rows(3),
        statements.slice(piece, reverse=True),
        statements.scan(index=spec.regular_names[0], beyond=True),
        statements.if_true,
        statements.if_exists,
        statements.if_equal(spec.regular_names),
        *(statements.put(marker=marker, stamped=stamped) for marker in (True, False) for stamped in (True, False)),
        statements.delete_row,
        *(statements.delete_slice(piece, stamped=stamped) for stamped in (True, False)),
    ]
    if spec.clustering_key:
        found += [statements.static, statements.set_part_stamp]
    for statement in found:
        assert statement.text.count("?") == len(statement.takes), statement.text


def test_a_put_with_its_marker() -> None:
    """Goal: INSERT with the marker's column beside the marker, UNSET for what is not named, null as null. Method: texts and values."""
    statements = statements_of(FLAT)
    statement, values = bind_put(statements, put(flat("a"), 7, colour=None), STAMP)
    assert statement.text == (
        'INSERT INTO "x_contract"."flat" ("name", "colour", "size", "polysite_row_stamp", "polysite_absent", "polysite_marker")'
        " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    )
    assert list(values) == [text("a"), None, UNSET, UNSET, UNSET, b"\x01", STAMP, UNSET]


def test_a_put_without_marker_and_with_hidden_columns() -> None:
    """Goal: UPDATE, so that no marker is written; the row stamp with the hash of the columns it covers. Method: texts and values."""
    statements = statements_of(FLAT)
    write = Put(key=flat("a"), cells={"size": number(1)}, stamp=7, marker=False, row_stamp=5, absent=False, life_ms=1)
    statement, values = bind_put(statements, write, STAMP)
    assert statement.text == (
        'UPDATE "x_contract"."flat" USING TIMESTAMP ? AND TTL ? SET "colour" = ?, "size" = ?, "polysite_row_stamp" = ?,'
        ' "polysite_absent" = ?, "polysite_marker" = ? WHERE "name" = ?'
    )
    stamped = (5).to_bytes(8) + FLAT.columns_hash
    assert list(values) == [STAMP, (1).to_bytes(4), UNSET, number(1), stamped, None, UNSET, text("a")]


@pytest.mark.parametrize(
    ("life_ms", "life_s"), [(1, 1), (999, 1), (1_000, 1), (1_001, 2), (LIFE_S_MAX * 1000, LIFE_S_MAX)]
)
def test_lives_are_rounded_up(life_ms: int, life_s: int) -> None:
    """Goal: no life ends early, and none becomes 0, which at Cassandra is for ever. Method: ends of seconds."""
    write = put(flat("a"), 7, life_ms=life_ms)
    check_writes(table_of(FLAT), [write])
    _, values = bind_put(statements_of(FLAT), write, STAMP)
    assert values[-1] == life_s.to_bytes(4)


def test_deletions_carry_their_stamp() -> None:
    """Goal: tombstones of rows, ranges, partitions and the static stamp, each with its own stamp. Method: the texts of a batch."""
    bound = bind_writes(
        statements_of(WIDE),
        [
            DeleteRow(key=wide("a", 1), stamp=1),
            DeleteRange(partition=(text("a"),), slice=WHOLE_PARTITION, stamp=2),
            DeleteRange(partition=(text("a"),), slice=Slice(None, Bound((number(5),), False)), stamp=3),
            SetPartStamp(partition=(text("a"),), part_stamp=9, stamp=4),
        ],
    )
    place = 'FROM "x_contract"."wide" USING TIMESTAMP ? WHERE "name" = ?'
    assert [statement.text for statement, _ in bound] == [
        f'DELETE {place} AND "year" = ? AND "title" = ?',
        f"DELETE {place}",
        f'DELETE {place} AND "year" > ?',
        'UPDATE "x_contract"."wide" USING TIMESTAMP ? SET "polysite_part_stamp" = ? WHERE "name" = ?',
    ]
    assert [int.from_bytes(values[0] or b"") for _, values in bound if isinstance(values[0], bytes)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (put(wide("", 1), 5), BadRequest),
        (SetPartStamp(partition=(text("a"),), part_stamp=1, stamp=-1), BadRequest),
        (put(wide("a", 1), 5, life_ms=LIFE_S_MAX * 1000 + 1), BadRequest),
        (Put(key=wide("a", 1), cells={"polysite_marker": b"\x01"}, stamp=5), UnknownKey),
        (Put(key=wide("a", 1), cells={"colour": b"x" * (INDEXED_BYTES_MAX + 1)}, stamp=5), TooLarge),
    ],
)
def test_what_cassandra_cannot_take_is_refused_before_it_is_sent(
    write: Put | SetPartStamp, error: type[Exception]
) -> None:
    """Goal: its own bounds are told in our words. Method: one write beyond each; a long value only where there is an index."""
    table = table_of(msgspec.structs.replace(WIDE, indexes=(BY_COLOUR,)))
    with pytest.raises(error):
        check_writes(table, [write])
    if error is TooLarge:
        check_writes(table_of(WIDE), [write])


def test_a_batch_has_its_bound() -> None:
    """Goal: what no mutation of Cassandra could hold is refused whole. Method: two values of the largest size."""
    writes = [Put(key=wide("a", year), cells={"colour": b"x" * (8 * 1024 * 1024)}, stamp=5) for year in range(2)]
    check_writes(table_of(WIDE), writes[:1])
    with pytest.raises(TooLarge):
        check_writes(table_of(WIDE), writes)


def test_tables_without_locks_have_no_part_stamp() -> None:
    """Goal: where no section writes, no read pays for a part stamp, and none can be set. Method: the modes side by side."""
    write = SetPartStamp(partition=(text("a"),), part_stamp=1, stamp=5)
    modes: list[Literal["sections", "mixed", "eventual", "conditional"]] = [
        "sections",
        "mixed",
        "eventual",
        "conditional",
    ]
    for mode in modes:
        table = table_of(msgspec.structs.replace(WIDE, writes=mode))
        assert table.has_part_stamp is (mode in {"sections", "mixed"})
        if table.has_part_stamp:
            check_writes(table, [write])
        else:
            with pytest.raises(BadRequest):
                check_writes(table, [write])


VALUES = (0, 1, 2)


def does_hold(row: Sequence[int], piece: Piece) -> bool:
    """Whether a row obeys the restrictions as CQL means them: tuples by value, whatever order columns are kept in."""
    for relation in piece:
        wanted = tuple(int.from_bytes(value) for value in relation.values)
        found = tuple(row[relation.first : relation.first + len(wanted)])
        if not {
            "=": found == wanted,
            ">": found > wanted,
            ">=": found >= wanted,
            "<": found < wanted,
            "<=": found <= wanted,
        }[relation.operator]:
            return False
    return True


@st.composite
def slices_of(draw: st.DrawFn, columns: int) -> Slice:
    def bound() -> Bound | None:
        prefix = draw(st.lists(st.sampled_from(VALUES), max_size=columns))
        if draw(st.booleans()) and not prefix:
            return None
        return Bound(tuple(number(value) for value in prefix), draw(st.booleans()))

    return Slice(bound(), bound())


@pytest.mark.parametrize("directions", [*itertools.product(("asc", "desc"), repeat=3), ("asc",), ("desc", "asc")])
@given(data=st.data())
def test_pieces_are_the_slice(directions: tuple[Direction, ...], data: st.DataObject) -> None:
    """Goal: the pieces of a slice together hold exactly its rows, each once and in clustering order, whichever way columns are kept.
    Method: every row of a small cube against the interval of positions that the embedded engine reads; CQL's meaning told plainly."""
    table = table_of(kept(*directions))
    part = data.draw(slices_of(len(directions)))
    rows = sorted(
        itertools.product(VALUES, repeat=len(directions)),
        key=lambda row: table.position([number(value) for value in row]),
    )
    interval = table.interval(part)
    wanted = [row for row in rows if interval.holds(table.position([number(value) for value in row]))]
    found = pieces(table, part)
    assert [row for piece in found for row in rows if does_hold(row, piece)] == wanted
    if len(set(directions)) == 1:
        assert len(found) <= 1
    # A cursor goes on behind any row of it, either way.
    for at, row in enumerate(wanted):
        key = tuple(number(value) for value in row)
        behind = pieces(table, after(key, part, reverse=False))
        before = pieces(table, after(key, part, reverse=True))
        assert [each for piece in behind for each in rows if does_hold(each, piece)] == wanted[at + 1 :]
        assert [each for piece in before for each in rows if does_hold(each, piece)] == wanted[:at]


def test_whole_partitions_are_not_cut() -> None:
    """Goal: a slice that is everything has no restriction, so that Cassandra tells the part stamp with it. Method: every spelling of it."""
    for spec in (WIDE, kept("asc", "asc"), FLAT):
        for part in (WHOLE_PARTITION, Slice(Bound((), True), None), Slice(Bound((), True), Bound((), True))):
            assert pieces(table_of(spec), part) == [()]
        for part in (Slice(Bound((), False), None), Slice(None, Bound((), False))):
            assert pieces(table_of(spec), part) == []


@pytest.mark.parametrize("directions", [("asc",), ("asc", "asc"), ("desc", "asc"), ("asc", "desc", "asc")])
def test_conditional_writes_delete_a_row_as_a_range(directions: tuple[Direction, ...]) -> None:
    """Goal: in a conditional batch no row is named by equality on its whole key, since a put of that row would be lost; the range is that row alone.
    Method: a row, and a slice that is one row, of tables kept in each way."""
    table = table_of(kept(*directions))
    row = tuple(number(1) for _ in directions)
    exact = pieces(table, Slice(Bound(row, True), Bound(row, True)))
    for piece in (one_row(table, row), *(as_range(table, piece) for piece in exact)):
        assert {relation.operator for relation in piece} >= {">=", "<="}
        everywhere = itertools.product(VALUES, repeat=len(directions))
        assert [found for found in everywhere if does_hold(found, piece)] == [(1,) * len(directions)]
    statements = Statements(table)
    deleted: list[Write] = [
        DeleteRow(key=RowKey((text("a"),), row), stamp=0),
        DeleteRange(partition=(text("a"),), slice=Slice(Bound(row, True), Bound(row, True)), stamp=0),
    ]
    assert all(">=" in statement.text and "<=" in statement.text for statement, _ in bind_changes(statements, deleted))
    part: Piece = (Relation(0, "=", (number(1),)),)
    assert as_range(table_of(kept("asc", "desc")), part) == part


def test_levels_by_where_a_keyspace_is_kept() -> None:
    """Goal: a keyspace at this site alone waits for no other; one that is elsewhere is asked there. Method: the three kinds."""
    settings = cassandra_settings_from(
        {"contact_points": ["127.0.0.1"], "data_center": "ams", "replicas": {"ams": 1, "bei": 1, "irv": 1}}
    )
    everywhere = levels_of(KeyspaceSpec(name="k"), settings)
    assert everywhere == LEVELS
    here = levels_of(KeyspaceSpec(name="k", replicas={"ams": 3}), settings)
    near = Consistency.LOCAL_QUORUM
    assert here == (Consistency.LOCAL_ONE, near, near, Consistency.LOCAL_SERIAL, near)
    elsewhere = levels_of(KeyspaceSpec(name="k", replicas={"bei": 1, "irv": 1}), settings)
    most = Consistency.QUORUM
    assert elsewhere == (Consistency.ONE, most, most, Consistency.SERIAL, most)


def test_conditional_tables_are_read_serially() -> None:
    """Goal: a majority read of a conditional table sees what was committed at one site only. Method: the level of both tables."""
    assert table_of(CONDITIONAL).consistency("majority") is Consistency.SERIAL
    assert table_of(WIDE).consistency("majority") is Consistency.QUORUM
    assert table_of(CONDITIONAL).consistency("local") is table_of(WIDE).consistency("local") is Consistency.LOCAL_ONE
