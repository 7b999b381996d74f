"""Throwing away what nobody can miss: old tombstones and values whose life is over, a bounded step at a time."""

from typing import NamedTuple

from polysite.engines.sqlite.driver import Connection
from polysite.engines.sqlite.records import collect, decode
from polysite.stores.contract import TOMBSTONE_LIFE_S
from polysite.stores.embedded.changes import put_record
from polysite.stores.embedded.layout import PhysicalTable
from polysite.stores.embedded.schema import Schema

Place = tuple[int, bytes, bytes]
"""Where the next step goes on: a table's number, and the last row it looked at."""

START: Place = (0, b"", b"")


class Collected(NamedTuple):
    """What a step did. `is_whole`: it came to the end of the last table, and the next one starts from the beginning."""

    rows_examined: int
    rows_changed: int
    is_whole: bool


def collect_step(
    connection: Connection, schema: Schema, place: Place, now_us: int, rows_max: int
) -> tuple[Collected, Place]:
    """Look at up to `rows_max` rows from `place` on; inside one transaction of the writer."""
    before_us = now_us - int(TOMBSTONE_LIFE_S * 1_000_000)
    examined = changed = 0
    number, partition, position = place
    for table in sorted(schema.tables.values(), key=lambda table: table.number):
        if table.number < number:
            continue
        if table.number > number:
            partition = position = b""
        rows = connection.all(table.every_row, (partition, position, rows_max - examined))
        for row in rows:
            changed += _collect_row(connection, table, row, now_us, before_us)
        examined += len(rows)
        if examined >= rows_max:
            return Collected(examined, changed, False), (table.number, rows[-1][0], rows[-1][1])
        connection.change(table.collect_ranges, (before_us,))
        connection.change(table.collect_statics, (before_us,))
        connection.change(table.age_statics, (before_us,))
    return Collected(examined, changed, True), START


def _collect_row(
    connection: Connection,
    table: PhysicalTable,
    row: tuple[bytes, bytes, bytes | None, bytes, int],
    now_us: int,
    before_us: int,
) -> bool:
    partition, position, clustering, data, _ = row
    new = decode(data)
    if not collect(new, now_us, before_us):
        return False
    put_record(connection, table, (partition, position, clustering), decode(data), new)
    return True
