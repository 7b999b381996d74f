"""Valid values with any field overridable."""

from typing import Any

from msgspec.structs import replace

from polysite.core.lock_cell import Author, Entry, LockCell, empty
from polysite.core.stamps import now_stamp
from polysite.core.transitions import apply
from polysite.core.wishes import Enqueue, Enqueued
from polysite.values.keys import RowKey
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec

AUTHOR = Author("s1", "p1", "i1")
NOW = now_stamp(1_000_000)


def number(value: int, size: int = 16) -> bytes:
    """An id that is easy to tell apart."""
    return value.to_bytes(size, "big")


def enqueue(value: int, **changes: Any) -> Enqueue:
    """The wish of session number `value`: nonce, secret and request id are made of it."""
    fields: dict[str, Any] = {
        "request_id": number(1000 + value),
        "secret": number(2000 + value),
        "nonce": number(3000 + value),
        "kind": "exclusive",
        "site": "s1",
        "process": "p1",
        "incarnation": "i1",
        "lease_ms": 10_000,
    }
    return Enqueue(**(fields | changes))


def nonce(value: int) -> bytes:
    return number(3000 + value)


def queue_of(*kinds: str, cell: LockCell | None = None, now: int = NOW) -> LockCell:
    """A cell with one entry per kind, of sessions 1, 2, …; tickets are counted from the cell's `issued`."""
    cell = empty() if cell is None else cell
    for value, kind in enumerate(kinds, 1):
        cell, result = apply(cell, enqueue(value, kind=kind), now)
        assert isinstance(result, Enqueued)
    return cell


def entry(**changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "ticket": 1,
        "secret": number(2001),
        "nonce": nonce(1),
        "request_id": number(1001),
        "kind": "exclusive",
        "site": "s1",
        "process": "p1",
        "incarnation": "i1",
        "lease_ms": 10_000,
    }
    return Entry(**(fields | changes))


PLAIN = TableSpec(
    keyspace="k",
    name="plain",
    columns=(ColumnSpec("k", "text"), ColumnSpec("a", "blob"), ColumnSpec("b", "blob")),
    partition_key=("k",),
)
MIXED = TableSpec(
    keyspace="k",
    name="mixed",
    columns=(ColumnSpec("k", "text"), ColumnSpec("a", "blob"), ColumnSpec("b", "blob")),
    partition_key=("k",),
    writes="mixed",
)
WIDE = TableSpec(
    keyspace="k",
    name="wide",
    columns=(ColumnSpec("k", "text"), ColumnSpec("c", "blob"), ColumnSpec("a", "blob"), ColumnSpec("b", "blob")),
    partition_key=("k",),
    clustering_key=(ClusteringColumn("c"),),
)
PARTITION = (b"p",)
ROW = RowKey(PARTITION)


def wide_row(value: int) -> RowKey:
    return RowKey(PARTITION, (bytes([value]),))


MIXED_WIDE = replace(WIDE, writes="mixed")
