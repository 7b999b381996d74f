"""A row as the file holds it, and how two versions of it become one.

`merge` is a join: commutative, associative and idempotent. So whatever order writes arrive in, and however often, the
record that remains is the same. Ties at one stamp are broken as Cassandra breaks them (5.0, `db/rows/Cells.java`,
`resolveRegular`, and `db/LivenessInfo.java`, `supersedes`): a tombstone beats an expiring value, which beats one that
does not expire, however much time passes; of two expiring ones the longer life wins; else the larger bytes.
"""

import struct
from typing import NamedTuple, TypeAlias

import msgspec

ROW_STAMP = 0
ABSENT = 1
COLUMNS_FROM = 2
"""Numbers of a row's hidden columns, and of the first regular one (in declaration order)."""

HAS_ROW_STAMP, HAS_ABSENT, HAS_DELETION = 1, 2, 4
"""What a record may hold beside regular columns and the marker."""

YES = b"\x01"
_ROW_STAMP = struct.Struct(">q8s")

RecordCell: TypeAlias = "tuple[int, int, bytes | None]"
"""(stamp, when, value). Value None: a tombstone made at `when`. Else `when` is 0 for ever, or the moment it expires.
Moments are microseconds since 1970 of the engine's clock."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """Everything the file knows of one row. `marker` and `deleted` are stamps, 0 for none; what is stamped at or below
    `deleted` is gone and not in `cells`. `marker_when` is as `when` of a cell, `deleted_at` when the tombstone was made."""

    cells: dict[int, RecordCell]
    marker: int = 0
    marker_when: int = 0
    deleted: int = 0
    deleted_at: int = 0


class LiveRow(NamedTuple):
    """What a record shows at a moment: columns with a value, by number, before any rule about hidden columns."""

    cells: dict[int, RecordCell]
    marker: bool
    row_stamp: bytes | None
    absent: bool


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode = msgspec.msgpack.Decoder(Record).decode


def row_stamp_value(row_stamp: int, columns_hash: bytes) -> bytes:
    """The value of the hidden column `row_stamp`: it counts only for the set of columns it covered."""
    return _ROW_STAMP.pack(row_stamp, columns_hash)


def row_stamp_of(value: bytes | None, columns_hash: bytes) -> int:
    """The row stamp; 0 if there is none or it covered another set of columns."""
    if value is None:
        return 0
    row_stamp, covered = _ROW_STAMP.unpack(value)
    return int(row_stamp) if covered == columns_hash else 0


def merge(record: Record, other: Record) -> None:
    """Make `record` what remains of both."""
    if other.deleted > record.deleted:
        _hide(record, other.deleted)
        record.deleted, record.deleted_at = other.deleted, other.deleted_at
    elif other.deleted and other.deleted == record.deleted:
        record.deleted_at = max(record.deleted_at, other.deleted_at)
    deleted = record.deleted
    marker = other.marker
    if marker > deleted and _marker_rank(other) > _marker_rank(record):
        record.marker, record.marker_when = marker, other.marker_when
    cells = record.cells
    for number, cell in other.cells.items():
        stamp = cell[0]
        if stamp <= deleted:
            continue
        old = cells.get(number)
        if old is None or stamp > old[0] or (stamp == old[0] and _rank(cell) > _rank(old)):
            cells[number] = cell


def hide(record: Record, stamp: int) -> None:
    """Take away what a range tombstone at `stamp` covers, a lower row tombstone too."""
    _hide(record, stamp)
    if record.deleted <= stamp:
        record.deleted = record.deleted_at = 0


def _hide(record: Record, stamp: int) -> None:
    if record.marker <= stamp:
        record.marker = record.marker_when = 0
    cells = record.cells
    for number in [number for number, cell in cells.items() if cell[0] <= stamp]:
        del cells[number]


def is_empty(record: Record) -> bool:
    """Whether nothing is left that the file would have to keep."""
    return not (record.cells or record.marker or record.deleted)


def highest_stamp(record: Record) -> int:
    """The highest stamp of anything in the record."""
    return max(record.deleted, record.marker, *(cell[0] for cell in record.cells.values()), 0)


def holds(record: Record) -> int:
    """Which of HAS_ROW_STAMP, HAS_ABSENT and HAS_DELETION the record has."""
    cells = record.cells
    return (
        (HAS_ROW_STAMP if ROW_STAMP in cells else 0)
        | (HAS_ABSENT if ABSENT in cells else 0)
        | (HAS_DELETION if record.deleted else 0)
    )


def live(record: Record, now_us: int) -> LiveRow:
    """What the record shows at `now_us`."""
    cells: dict[int, RecordCell] = {}
    row_stamp = None
    absent = False
    for number, cell in record.cells.items():
        _, when, value = cell
        if value is None or 0 < when <= now_us:
            continue
        if number >= COLUMNS_FROM:
            cells[number] = cell
        elif number == ROW_STAMP:
            row_stamp = value
        else:
            absent = True
    marker = record.marker > 0 and not 0 < record.marker_when <= now_us
    return LiveRow(cells, marker, row_stamp, absent)


def collect(record: Record, now_us: int, before_us: int) -> bool:
    """Drop tombstones made before `before_us` and the bytes of values that expired; whether anything was dropped.

    An expired value stays as one of no bytes that expires at the same moment, so that it loses and wins as before; it
    goes when it expired before `before_us`.
    """
    cells = record.cells
    changed = False
    for number, (stamp, when, value) in list(cells.items()):
        if (value is None and when < before_us) or (value is not None and 0 < when < before_us):
            del cells[number]
            changed = True
        elif value and 0 < when <= now_us:
            cells[number] = (stamp, when, b"")
            changed = True
    if 0 < record.marker_when < before_us:
        record.marker = record.marker_when = 0
        changed = True
    if record.deleted and record.deleted_at < before_us:
        record.deleted = record.deleted_at = 0
        changed = True
    return changed


def _rank(cell: RecordCell) -> tuple[bool, int, bytes]:
    """What decides at equal stamps. A value without a life has `when` 0, so that any life is the longer one."""
    _, when, value = cell
    return value is None, when, value or b""


def _marker_rank(record: Record) -> tuple[int, int]:
    return record.marker, record.marker_when
