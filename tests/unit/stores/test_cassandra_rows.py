"""What the Cassandra store makes of answers, and of conditional writes before they are sent. No engine."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polysite.engines.cassandra import Conditional as Answer
from polysite.engines.cassandra import Page
from polysite.errors import BadRequest
from polysite.stores.cassandra.conditional import Condition, conditions_of, holds, told_rows
from polysite.stores.cassandra.cursors import seal, unseal
from polysite.stores.cassandra.decoding import keyed_row, stored_row
from polysite.stores.cassandra.folding import folded
from polysite.stores.cassandra.layout import MARKER, CassandraTable, row_stamp_value
from polysite.stores.contract import Predicate
from polysite.testing.store_contract.support import CONDITIONAL, FLAT, WIDE, flat, number, put, shown, text, wide
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Bound, Cell, DeleteRange, DeleteRow, Put, Slice, StoredRow, Write
from polysite.values.tables import ColumnSpec, TableSpec
from tests.support.cassandra_schema import LEVELS

FLAT_TABLE, WIDE_TABLE, CONDITIONAL_TABLE = (CassandraTable(spec, "x", LEVELS) for spec in (FLAT, WIDE, CONDITIONAL))
YES = b"\x01"


def eight(value: int) -> bytes:
    return value.to_bytes(8, signed=True)


def four(value: int) -> bytes:
    return value.to_bytes(4, signed=True)


def test_a_row_with_everything() -> None:
    """Goal: values, stamps and lives as Cassandra tells them, seconds as milliseconds. Method: one row of bytes."""
    stamp = row_stamp_value(8, FLAT.columns_hash)
    values = [text("red"), eight(9), four(3), number(1), eight(8), None, stamp, None, YES, four(5)]
    row = stored_row(FLAT_TABLE, flat("a"), values)
    assert row.cells == {"colour": Cell(text("red"), 9, 3_000), "size": Cell(number(1), 8, None)}
    assert (row.present, row.row_stamp, row.absent, row.marker_life_ms) == (True, 8, False, 5_000)


def test_a_cell_below_the_row_stamp_is_null() -> None:
    """Goal: rule I8 where rows are decoded, so that no reader can forget it. Method: one cell below, one at the row stamp, no marker."""
    stamp = row_stamp_value(8, FLAT.columns_hash)
    values = [text("red"), eight(7), None, number(1), eight(8), None, stamp, None, None, None]
    assert shown(stored_row(FLAT_TABLE, flat("a"), values)) == {"size": 1}
    values[4] = eight(7)
    assert not stored_row(FLAT_TABLE, flat("a"), values).present


def test_a_row_stamp_over_other_columns_is_missing() -> None:
    """Goal: rule I7. Method: the same row stamp with the hash of another table's columns, and bytes that are no row stamp."""
    for stamp in (row_stamp_value(8, b"12345678"), b"short"):
        values = [text("red"), eight(7), None, None, None, None, stamp, None, None, None]
        row = stored_row(FLAT_TABLE, flat("a"), values)
        assert (row.row_stamp, shown(row)) == (0, {"colour": "red"})


def test_a_row_marked_absent_shows_nothing() -> None:
    """Goal: it is told and not shown, whatever else is there. Method: a mark beside a cell and a marker."""
    stamp = row_stamp_value(8, FLAT.columns_hash)
    values = [text("red"), eight(9), None, None, None, None, stamp, YES, YES, None]
    row = stored_row(FLAT_TABLE, flat("a"), values)
    assert (row.present, row.absent, row.row_stamp, row.cells) == (False, True, 8, {})


def test_a_partition_that_is_only_static_is_no_row() -> None:
    """Goal: Cassandra answers a partition without rows with one row of nulls; it is none of ours. Method: that, and a row beside it."""
    rest = [None] * 6
    static = [text("a"), None, None, *rest, None, None, None, None, eight(40)]
    assert keyed_row(WIDE_TABLE, static) is None
    there = [text("a"), number(1), text("t"), *rest, None, None, YES, None, eight(40)]
    row = keyed_row(WIDE_TABLE, there)
    assert row is not None
    assert (row.key, row.present, row.part_stamp) == (wide("a", 1), True, 40)


def test_cursors_are_of_their_selection() -> None:
    """Goal: a cursor goes on where it was made for, and nowhere else. Method: another selection, each byte changed, cut short."""
    key = wide("a", 1)
    cursor = seal(("partition", WHOLE_PARTITION, True), key)
    assert unseal(("partition", WHOLE_PARTITION, True), cursor) == key
    changed = [cursor[:at] + bytes((cursor[at] ^ 1,)) + cursor[at + 1 :] for at in range(len(cursor))]
    for wrong in (b"", cursor[:-1], cursor + b"x", *changed):
        with pytest.raises(BadRequest):
            unseal(("partition", WHOLE_PARTITION, True), wrong)
    with pytest.raises(BadRequest):
        unseal(("partition", WHOLE_PARTITION, False), cursor)


# conditional writes

KEYS = [wide("a", year) for year in (1, 2, 3)]
_lives = st.sampled_from([None, None, 5_000])
_cells = st.fixed_dictionaries(
    {}, optional={"colour": st.sampled_from([None, text("x"), text("y")]), "size": st.just(number(1))}
)
_bounds = st.one_of(
    st.none(), st.builds(lambda year, closed: Bound((number(year),), closed), st.sampled_from([1, 2, 3]), st.booleans())
)
_writes: st.SearchStrategy[Write] = st.one_of(
    st.builds(lambda key, cells, life_ms, marker: Put(key=key, cells=cells, stamp=0, life_ms=life_ms, marker=marker),
              st.sampled_from(KEYS), _cells, _lives, st.booleans()),
    st.builds(lambda key: DeleteRow(key=key, stamp=0), st.sampled_from(KEYS)),
    st.builds(lambda low, high: DeleteRange(partition=(text("a"),), slice=Slice(low, high), stamp=0), _bounds, _bounds),
)  # fmt: skip
Known = dict[RowKey, dict[str, tuple[bytes | None, int | None]]]


def one_after_the_other(writes: list[Write]) -> Known:
    """What is known of each row afterwards: value and life per column, the marker as one of them; a deletion is nothing."""
    rows: Known = {key: {"old": (b"there", None)} for key in KEYS}
    for write in writes:
        if isinstance(write, Put):
            rows[write.key] |= {name: (value, write.life_ms) for name, value in write.cells.items()}
            if write.marker:
                rows[write.key][MARKER] = (b"", write.life_ms)
        elif isinstance(write, DeleteRow):
            rows[write.key] = {}
        elif isinstance(write, DeleteRange):
            interval = WIDE_TABLE.interval(write.slice)
            rows |= {key: {} for key in KEYS if interval.holds(WIDE_TABLE.position(key.clustering))}
    return rows


@given(writes=st.lists(_writes, max_size=6))
def test_folded_writes_have_no_order(writes: list[Write]) -> None:
    """Goal: under one stamp for all, and one less for deletions, the later write still wins. Method: random writes; what is sent is carried
    out deletions first and no cell twice, and must leave what carrying them out in order leaves."""
    sent = folded(CONDITIONAL_TABLE, writes)
    puts = [write for write in sent if isinstance(write, Put)]
    assert sent[len(sent) - len(puts) :] == puts
    named = [(write.key, name) for write in puts for name in write.cells]
    assert len(named) == len(set(named))
    marked = [write.key for write in puts if write.marker]
    assert len(marked) == len(set(marked))
    assert one_after_the_other(sent) == one_after_the_other(writes)


ROW = wide("a", 1)


def rows_there() -> list[StoredRow]:
    """Every row there can be with two columns of two values: with and without a marker, and none."""
    found = [StoredRow(ROW, {}, False)]
    for colour, size, marked in itertools.product((None, text("x"), text("y")), (None, number(1)), (True, False)):
        cells = {name: Cell(value, 5) for name, value in (("colour", colour), ("size", size)) if value is not None}
        if marked or cells:
            found.append(StoredRow(ROW, cells, True))
    return found


def meant(condition: Condition, row: StoredRow, *, marked: bool) -> bool:
    """Whether a condition holds as Cassandra means it: a row that is not there has every column null."""
    if condition.equals is None:
        return row.present
    values = {name: cell.value for name, cell in row.cells.items()} | ({MARKER: YES} if marked else {})
    return all(values.get(name) == value for name, value in condition.equals.items())


_predicates = st.builds(
    lambda exists, equals: Predicate(key=ROW, exists=exists, equals=equals),
    st.sampled_from([None, None, True, False]),
    st.fixed_dictionaries(
        {},
        optional={
            "colour": st.sampled_from([None, text("x")]),
            "size": st.sampled_from([None, number(1)]),
            "year": st.sampled_from([None, number(1), number(2)]),
        },
    ),
)


def of_colour(*values: bytes | None) -> list[Predicate]:
    return [Predicate(key=ROW, equals={"colour": value}) for value in values]


@given(predicates=st.lists(_predicates, min_size=1, max_size=3))
@example(of_colour(None, text("x")))
@example(of_colour(text("x"), None))
@example(of_colour(text("x"), text("y")))
def test_one_condition_means_its_predicates(predicates: list[Predicate]) -> None:
    """Goal: what Cassandra is asked holds exactly when the predicates do. Method: random predicates of one row against every row there can be;
    where no condition says it, that is because none can: they contradict each other, or ask a row of certain nulls to be there."""
    conditions = conditions_of(CONDITIONAL_TABLE, predicates)
    for row in rows_there():
        wanted = all(holds(CONDITIONAL_TABLE, item, row) for item in predicates)
        if conditions is None:
            exists = any(item.exists or "year" in item.equals for item in predicates)
            contradict = not any(
                all(holds(CONDITIONAL_TABLE, item, other) for item in predicates) for other in rows_there()
            )
            assert exists or contradict
        else:
            for marked in (True, False) if row.cells else (row.present,):
                assert all(meant(condition, row, marked=marked) for condition in conditions) == wanted


def test_what_a_refusal_tells() -> None:
    """Goal: rows as found, in the order of the predicates; a row that is not told is not there. Method: an answer with all columns, one without."""
    names = ["name", "year", "title", "colour", "polysite_absent", "polysite_marker", "polysite_row_stamp", "size"]
    row = [text("a"), number(1), text("t"), text("red"), None, YES, None, number(7)]
    expect = [Predicate(key=wide("a", year), exists=True) for year in (2, 1)]
    asked = conditions_of(CONDITIONAL_TABLE, expect) or []
    told = told_rows(CONDITIONAL_TABLE, expect, asked, Answer(False, Page(names, [row])))
    assert told is not None
    assert [(each.key, each.present, shown(each)) for each in told] == [
        (wide("a", 2), False, {}),
        (wide("a", 1), True, {"colour": "red", "size": 7}),
    ]
    assert told_rows(CONDITIONAL_TABLE, expect, asked, Answer(False, Page(names[:4], [row[:4]]))) is None
    assert told_rows(CONDITIONAL_TABLE, expect, asked[:1], Answer(False, Page(names, [row]))) is None
    nothing = told_rows(CONDITIONAL_TABLE, expect, asked, Answer(False))
    assert nothing is not None
    assert [each.present for each in nothing] == [False, False]


def test_what_a_lone_refusal_tells() -> None:
    """Goal: of a lone statement Cassandra tells no key; it is the row asked. Method: an answer of a table without clustering columns."""
    answer = Answer(False, Page(["colour", "polysite_marker", "size"], [[None, YES, None]]))
    told = told_rows(FLAT_TABLE, [Predicate(key=flat("a"))], [Condition(flat("a"), {})], answer)
    assert told == [StoredRow(flat("a"), {}, True)]


def test_a_table_of_keys_alone() -> None:
    """Goal: a table without regular columns has rows too, by their markers. Method: its row as Cassandra tells it."""
    spec = TableSpec(keyspace="k", name="t", columns=(ColumnSpec("p", "text"),), partition_key=("p",))
    table = CassandraTable(spec, "x", LEVELS)
    assert stored_row(table, flat("a"), [None, None, YES, None]).present
    assert not stored_row(table, flat("a"), [None, None, None, None]).present
    assert conditions_of(table, [Predicate(key=flat("a"), exists=False)]) == [Condition(flat("a"), {MARKER: None})]


def test_puts_of_one_row_with_two_lives() -> None:
    """Goal: each cell keeps the life of the put that wrote it last; the marker goes with its own. Method: two puts of one row."""
    writes: list[Write] = [put(ROW, 0, life_ms=5_000, colour="x", size=1), put(ROW, 0, marker=False, size=2)]
    assert folded(CONDITIONAL_TABLE, writes) == [
        Put(key=ROW, cells={"colour": text("x")}, stamp=0, marker=True, life_ms=5_000),
        Put(key=ROW, cells={"size": number(2)}, stamp=0, marker=False),
    ]
