"""How writes under a lock are made: puts, and the rewriting of rows that may not be trusted as they are.

A write covers its row when whatever is below its stamp no longer counts: every column is written, nulls as tombstones, and
the hidden `row_stamp` says so. Partial puts leave `row_stamp` as it is.
"""

from typing import NamedTuple

from msgspec.structs import replace

from polysite.values.keys import RowKey
from polysite.values.rows import Cell, DeleteRow, Put, StoredRow, Write

LIFE_MS_MIN = 1_000
"""A column with less life left than this is rewritten as null: engines count lives in seconds, and 0 means for ever."""


class Rewritten(NamedTuple):
    """Writes at consecutive stamps and the row as it is after them."""

    writes: tuple[Write, ...]
    row: StoredRow


def row_counts_from(row: StoredRow) -> int:
    """The stamp from which on writes to the row count: its own row_stamp, or that of its whole partition."""
    return max(row.row_stamp, row.part_stamp)


def is_there(row: StoredRow) -> bool:
    """Whether the row is to be shown."""
    return row.present and not row.absent


def expires(row: StoredRow) -> bool:
    """Whether the row or a part of it goes away by itself: such a row is not answered from a copy."""
    if row.marker_life_ms is not None:
        return True
    for cell in row.cells.values():  # noqa: SIM110 - asked of every row that is got or put, most of which have few cells
        if cell.life_ms is not None:
            return True
    return False


def needs_restamp(row: StoredRow, *, fence: int, mixed: bool, unsettled: bool = False) -> bool:
    """Whether a holder must rewrite the row before it may return it.

    Rows below the fence may still be changed by a session that was preempted, released dirty or taken over; rows of a `mixed`
    table without row_stamp by plain writes; unsettled ones by an own write without an answer.
    """
    counts_from = row_counts_from(row)
    return unsettled or counts_from < fence or (mixed and counts_from == 0)


def put_covers(columns: tuple[str, ...], cells: dict[str, bytes | None], *, known_absent: bool) -> bool:
    """Whether a put of `cells` covers its row."""
    return known_absent or len(cells) == len(columns)


def make_put(
    columns: tuple[str, ...],
    key: RowKey,
    cells: dict[str, bytes | None],
    stamp: int,
    *,
    covers: bool,
    life_ms: int | None = None,
) -> Put:
    """A put that writes the mark `absent` as null; if it covers, the columns not named as nulls and row_stamp, which gets
    the same life."""
    if covers and len(cells) < len(columns):
        cells = dict.fromkeys(columns) | cells
    return Put(key=key, cells=cells, stamp=stamp, row_stamp=stamp if covers else None, absent=False, life_ms=life_ms)


def row_after_put(before: StoredRow | None, put: Put) -> StoredRow | None:
    """The row as it is after `put`; None if that is not known because the row before is not and the put does not cover."""
    if put.row_stamp is not None:
        cells = {name: Cell(value, put.stamp, put.life_ms) for name, value in put.cells.items() if value is not None}
        part_stamp = 0 if before is None else before.part_stamp
        return StoredRow(put.key, cells, True, put.row_stamp, False, part_stamp, put.life_ms)
    if before is None:
        return None
    cells = dict(before.cells)
    for name, value in put.cells.items():
        if value is None:
            cells.pop(name, None)
        else:
            cells[name] = Cell(value, put.stamp, put.life_ms)
    return StoredRow(put.key, cells, True, before.row_stamp, False, before.part_stamp, put.life_ms)


def row_after_delete(key: RowKey, before: StoredRow | None) -> StoredRow:
    """The row after a deletion: not there, without row_stamp."""
    return StoredRow(key, {}, False, part_stamp=0 if before is None else before.part_stamp)


def restamp(columns: tuple[str, ...], row: StoredRow, first: int, *, absent_life_ms: int | None) -> Rewritten:
    """Rewrite a row whole, as it was read, from stamp `first` on."""
    if is_there(row):
        return restamp_present(columns, row, first)
    return restamp_absent(row, first, absent_life_ms=absent_life_ms)


def restamp_absent(row: StoredRow, first: int, *, absent_life_ms: int | None) -> Rewritten:
    """A row tombstone, and right above it row_stamp and the mark, without a row marker and both with the same life.

    The tombstone is needed beside the mark: it goes on hiding late writes when the mark has expired.
    """
    mark = Put(
        key=row.key,
        cells={},
        stamp=first + 1,
        marker=False,
        row_stamp=first + 1,
        absent=True,
        life_ms=absent_life_ms,
    )
    after = StoredRow(row.key, {}, False, row_stamp=first + 1, absent=True, part_stamp=row.part_stamp)
    return Rewritten((DeleteRow(key=row.key, stamp=first), mark), after)


def restamp_present(columns: tuple[str, ...], row: StoredRow, first: int) -> Rewritten:
    """ALL columns, nulls as tombstones, and row_stamp. A row with lives takes one statement per life at consecutive stamps.

    row_stamp then holds the lowest of these stamps and travels with the row marker in the statement of the longest life.
    """
    if not expires(row):
        values: dict[str, bytes | None] = {
            name: (row.cells[name].value if name in row.cells else None) for name in columns
        }
        put = Put(key=row.key, cells=values, stamp=first, row_stamp=first, absent=False)
        after = StoredRow(
            row.key,
            {name: Cell(cell.value, first) for name, cell in row.cells.items()},
            True,
            first,
            part_stamp=row.part_stamp,
        )
        return Rewritten((put,), after)
    return _restamp_with_lives(columns, row, first)


def _restamp_with_lives(columns: tuple[str, ...], row: StoredRow, first: int) -> Rewritten:
    marker_life_ms = None if row.marker_life_ms is None else max(row.marker_life_ms, LIFE_MS_MIN)
    by_life: dict[int | None, dict[str, bytes | None]] = {marker_life_ms: {}}
    nulls: dict[str, bytes | None] = {}
    for name in columns:
        cell = row.cells.get(name)
        if cell is None or (cell.life_ms is not None and cell.life_ms < LIFE_MS_MIN):
            nulls[name] = None
        else:
            by_life.setdefault(cell.life_ms, {})[name] = cell.value
    lives = sorted(by_life, key=lambda life_ms: (life_ms is None, life_ms or 0))
    by_life[lives[-1]].update(nulls)
    writes: list[Write] = []
    cells: dict[str, Cell] = {}
    for stamp, life_ms in enumerate(lives, first):
        longest = life_ms == lives[-1]
        writes.append(
            Put(
                key=row.key,
                cells=by_life[life_ms],
                stamp=stamp,
                marker=longest,
                row_stamp=first if longest else None,
                absent=False if longest else None,
                life_ms=life_ms,
            )
        )
        cells.update(
            (name, Cell(value, stamp, life_ms)) for name, value in by_life[life_ms].items() if value is not None
        )
    after = replace(row, cells=cells, row_stamp=first, marker_life_ms=lives[-1])
    return Rewritten(tuple(writes), after)


def size_bytes(row: StoredRow) -> int:
    """About how much memory and wire a row takes."""
    size = 64 + sum(map(len, row.key.partition)) + sum(map(len, row.key.clustering))
    for cell in row.cells.values():
        size += 48 + len(cell.value)
    return size
