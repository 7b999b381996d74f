"""What a client process at a site tells, one JSON line each."""

import sys
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from benchmarks.wan.samples import Failure


class Tenth(msgspec.Struct, frozen=True, kw_only=True, tag="tenth"):
    """A tenth of the lock cycles, on the one key and on a key each, and the yardstick between them; told when it is over."""

    one_ms: list[float]
    each_ms: list[float]
    resting_ms: list[float]


class CellBytes(msgspec.Struct, frozen=True, kw_only=True, tag="cell"):
    """How many bytes the cell of a key had after so many cycles on it."""

    cycles: int
    length: int


class AllCells(msgspec.Struct, frozen=True, kw_only=True, tag="cells"):
    """The lengths of all cells that were used once."""

    number: int
    shortest: int
    longest: int


class Tombstones(msgspec.Struct, frozen=True, kw_only=True, tag="tombstones"):
    """The most tombstones that one read of a table met at a site's Cassandra node since it started."""

    site: str
    table: str
    reads: int
    most: float


class Sections(msgspec.Struct, frozen=True, kw_only=True, tag="sections"):
    """Sections that ended within the measured span: what each took, and the client's processor seconds in that span."""

    site: str
    took_ms: list[float]
    client_cpu_s: float


Record: TypeAlias = Tenth | CellBytes | AllCells | Tombstones | Sections | Failure
RECORDS = Tenth | CellBytes | AllCells | Tombstones | Sections | Failure


def tell(records: Iterable[Record]) -> None:
    for record in records:
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
    sys.stdout.flush()
