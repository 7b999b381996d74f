"""The writes of a conditional write as Cassandra must be told them so that the later one wins.

Cassandra gives all of a conditional batch one stamp, its tombstones of rows and ranges the one below (5.0,
`PartitionUpdate.Builder.updateAllTimestamp`). So of two puts of a cell the larger bytes would win and a deletion would lose to a
put before it. Hence the writes are carried out here in their order first: deletions stay, puts before them go, and what is left
of each row is put once, or once for each life.
"""

from collections.abc import Sequence

import msgspec

from polysite.stores.cassandra.layout import CassandraTable
from polysite.values.keys import RowKey
from polysite.values.rows import DeleteRange, DeleteRow, Put, SetPartStamp, Write

_Life = int | None


class _Row(msgspec.Struct):
    """What puts so far leave of a row: value and life of each cell, the life of the marker in a tuple of its own if there is one."""

    cells: dict[str, tuple[bytes | None, _Life]] = {}
    marker: tuple[_Life] | None = None


def folded(table: CassandraTable, writes: Sequence[Write]) -> list[Write]:
    """Writes that have the effect of `writes` one after the other, whatever their order: of no cell two, of no row two markers."""
    deletions: list[Write] = []
    rows: dict[RowKey, _Row] = {}
    for write in writes:
        if isinstance(write, Put):
            _put(rows.setdefault(write.key, _Row()), write)
            continue
        assert not isinstance(write, SetPartStamp), "checked: conditional tables have no part stamp"
        deletions.append(write)
        if isinstance(write, DeleteRow):
            rows.pop(write.key, None)
        else:
            _delete_range(table, rows, write)
    return [*deletions, *(put for key, row in rows.items() for put in _puts(key, row))]


def _put(row: _Row, write: Put) -> None:
    for name, value in write.cells.items():
        row.cells[name] = (value, write.life_ms)
    if write.marker:
        row.marker = (write.life_ms,)


def _delete_range(table: CassandraTable, rows: dict[RowKey, _Row], write: DeleteRange) -> None:
    interval = table.interval(write.slice)
    for key in [key for key in rows if interval.holds(table.position(key.clustering))]:
        del rows[key]


def _puts(key: RowKey, row: _Row) -> list[Put]:
    """One put for each life; the marker goes with its own."""
    of_life: dict[_Life, dict[str, bytes | None]] = {}
    if row.marker is not None:
        of_life[row.marker[0]] = {}
    for name, (value, life_ms) in row.cells.items():
        of_life.setdefault(life_ms, {})[name] = value
    return [
        Put(key=key, cells=cells, stamp=0, marker=row.marker == (life_ms,), life_ms=life_ms)
        for life_ms, cells in of_life.items()
    ]
