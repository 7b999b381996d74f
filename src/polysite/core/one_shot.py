"""A whole section in one atomic step, for engines that change a cell and rows together (capability `joint`).

The caller reads the cell, then the rows that the steps name (in that order), asks for a plan, and carries it out as one
compare-and-set of the cell with the row writes. It needs an empty queue; it advances version and issued, moves the floor
over every stamp it used, obeys the fence, and may be mixed freely with sections of the general path.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from polysite.core.lock_cell import Author, LockCell
from polysite.core.plans import DeleteIntent, PutIntent
from polysite.values.keys import RowKey
from polysite.values.rows import StoredRow, Write
from polysite.values.tables import TableSpec


class GetStep(msgspec.Struct, frozen=True):
    """Read a row."""

    key: RowKey


class ExpectStep(msgspec.Struct, frozen=True):
    """What must hold of a row: `exists`, or each column of `equals` having that serialised value (None: null)."""

    key: RowKey
    exists: bool | None = None
    equals: dict[str, bytes | None] = {}


SectionStep: TypeAlias = GetStep | ExpectStep | PutIntent | DeleteIntent


class OneShot(msgspec.Struct, frozen=True):
    """The joint step: compare-and-set `content` on `expected_version` together with `writes` (grouped by partition).

    If it applies, `results` has the row for each get and None for each other step, and `ticket` is the fencing token.
    `change_id` in the cell's recent changes proves that it was applied.
    """

    change_id: bytes
    expected_version: int
    content: bytes
    cell: LockCell
    writes: tuple[tuple[Write, ...], ...]
    results: tuple[StoredRow | None, ...]
    ticket: int
    stamp: int
    """The highest stamp used; the section's first stamp - 1 if it wrote nothing."""


class Mismatch(msgspec.Struct, frozen=True):
    """An expectation does not hold; `row` is what was found. Nothing is written: the section fails with CompareFailed."""

    step: int
    row: StoredRow


class TakeGeneralPath(msgspec.Struct, frozen=True):
    """Somebody holds or waits, or a row must be read again under the lock first: enqueue in the ordinary way."""

    reason: str


class Repeated(msgspec.Struct, frozen=True):
    """The request was carried out before under this ticket; its effect must not be repeated."""

    ticket: int


def plan_one_shot(
    cell: LockCell,
    version: int,
    rows: Mapping[RowKey, StoredRow],
    steps: Sequence[SectionStep],
    *,
    table: TableSpec,
    request_id: bytes,
    change_id: bytes,
    author: Author,
    now: int,
    absent_life_ms: int | None = None,
) -> OneShot | Mismatch | TakeGeneralPath | Repeated:
    """Plan the section. `rows` holds every row that a get or expect step names, read after the cell; `now` is a stamp.

    A step sees what earlier steps wrote; expectations are judged against what earlier steps left. A refused expectation
    that rests on rows which had to be re-stamped first is told as `TakeGeneralPath`, because nothing would be written.
    """
    raise NotImplementedError


def needed_rows(steps: Sequence[SectionStep]) -> tuple[RowKey, ...]:
    """The rows that must be read for the steps: those of gets and expectations, each once, in order."""
    raise NotImplementedError
