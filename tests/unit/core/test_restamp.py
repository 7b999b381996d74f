"""Rows rewritten whole, with the lives that are left to them."""

from polysite.core.restamp import needs_restamp, restamp_present, row_after_put
from polysite.values.rows import Cell, Put, StoredRow
from tests.unit.core.checks import ABSENT, row
from tests.unit.core.factories import ROW

COLUMNS = ("a", "b", "c", "d")


def test_one_statement_per_life() -> None:
    """Goal: each column keeps what is left of its life, under a second is null, and row_stamp (the lowest of the stamps)
    travels with the marker in the statement of the longest life. Method: columns with lives of 5 s, 2 s, 0.9 s, and none set."""
    stored = StoredRow(
        ROW,
        {"a": Cell(b"1", 5, 5_000), "b": Cell(b"2", 5, 2_000), "c": Cell(b"3", 5, 900)},
        True,
        marker_life_ms=4_000,
    )
    made = restamp_present(COLUMNS, stored, 100)
    assert all(isinstance(write, Put) for write in made.writes)
    facts = [(w.stamp, w.life_ms, w.cells, w.marker, w.row_stamp, w.absent) for w in made.writes if isinstance(w, Put)]
    assert facts == [
        (100, 2_000, {"b": b"2"}, False, None, None),
        (101, 4_000, {}, False, None, None),
        (102, 5_000, {"a": b"1", "c": None, "d": None}, True, 100, False),
    ]
    assert made.row.row_stamp == 100
    assert made.row.cells == {"a": Cell(b"1", 102, 5_000), "b": Cell(b"2", 100, 2_000)}


def test_a_lasting_row_keeps_lasting() -> None:
    """Goal: never 0, which would be for ever, and never a life for what has none. Method: one expiring column of a lasting row,
    and a row whose marker is about to expire."""
    stored = StoredRow(ROW, {"a": Cell(b"1", 5), "b": Cell(b"2", 5, 3_000)}, True)
    short, lasting = restamp_present(COLUMNS, stored, 100).writes
    assert isinstance(short, Put)
    assert isinstance(lasting, Put)
    assert (short.life_ms, short.cells, lasting.life_ms, lasting.row_stamp) == (3_000, {"b": b"2"}, None, 100)
    assert lasting.cells == {"a": b"1", "c": None, "d": None}
    (only,) = restamp_present(COLUMNS, StoredRow(ROW, {}, True, marker_life_ms=10), 100).writes
    assert isinstance(only, Put)
    assert (only.life_ms, only.row_stamp) == (1_000, 100)


def test_when_a_row_is_rewritten() -> None:
    """Goal: below the fence, unsettled, or on `mixed` tables without row_stamp; a settled partition vouches for its rows.
    Method: each alone."""
    plain = row(10, a=b"1")
    assert not needs_restamp(plain, fence=0, mixed=False)
    assert needs_restamp(plain, fence=1, mixed=False)
    assert needs_restamp(plain, fence=0, mixed=True)
    assert needs_restamp(plain, fence=0, mixed=False, unsettled=True)
    assert needs_restamp(ABSENT, fence=1, mixed=False)
    assert not needs_restamp(ABSENT, fence=0, mixed=False)
    assert not needs_restamp(StoredRow(ROW, {}, False, row_stamp=7, absent=True), fence=7, mixed=True)
    assert not needs_restamp(StoredRow(ROW, {}, False, part_stamp=7), fence=7, mixed=True)
    assert needs_restamp(StoredRow(ROW, {}, False, part_stamp=6), fence=7, mixed=True)


def test_rows_after_puts() -> None:
    """Goal: what a session knows after its own put. Method: partial on known and on unknown rows."""
    partial = Put(key=ROW, cells={"a": None, "b": b"9"}, stamp=20, absent=False)
    after = row_after_put(row(10, row_stamp=10, a=b"1", c=b"3"), partial)
    assert after is not None
    assert after.cells == {"b": Cell(b"9", 20), "c": Cell(b"3", 10)}
    assert after.row_stamp == 10
    assert row_after_put(None, partial) is None
