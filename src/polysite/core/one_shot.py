"""A whole section in one atomic step, for engines that change a cell and rows together (capability `joint`).

The caller reads the cell, then the rows that the steps name (in that order), asks for a plan, and carries it out as one
compare-and-set of the cell with the row writes. It needs an empty queue; it advances version and issued, moves the floor
over every stamp it used, obeys the fence, and may be mixed freely with sections of the general path.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from polysite.core.lock_cell import Author, LockCell, departed_ticket, encode, pack_change, with_recent
from polysite.core.plans import DeleteIntent, PutIntent
from polysite.core.restamp import (
    is_there,
    make_put,
    needs_restamp,
    put_covers,
    restamp,
    row_after_delete,
    row_after_put,
)
from polysite.core.transitions import pass_through
from polysite.core.wishes import Enqueued
from polysite.values.keys import RowKey
from polysite.values.rows import DeleteRow, StoredRow, Write
from polysite.values.tables import TableSpec


class GetStep(msgspec.Struct, frozen=True, gc=False):
    """Read a row."""

    key: RowKey


class ExpectStep(msgspec.Struct, frozen=True, gc=False):
    """What must hold of a row: `exists`, or each column of `equals` having that serialised value (None: null)."""

    key: RowKey
    exists: bool | None = None
    equals: dict[str, bytes | None] = {}


SectionStep: TypeAlias = GetStep | ExpectStep | PutIntent | DeleteIntent
_READING = (GetStep, ExpectStep)


class OneShot(msgspec.Struct, frozen=True, gc=False):
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


def needed_rows(steps: Sequence[SectionStep]) -> tuple[RowKey, ...]:
    """The rows that must be read for the steps: those of gets and expectations, each once, in order."""
    keys: dict[RowKey, None] = {}
    for step in steps:
        if isinstance(step, _READING):
            keys[step.key] = None
    return tuple(keys)


def plan_one_shot(
    cell: LockCell,
    version: int,
    rows: Mapping[RowKey, StoredRow],
    steps: Sequence[SectionStep],
    *,
    table: TableSpec,
    request_id: bytes | None,
    change_id: bytes,
    author: Author,
    now: int,
    absent_life_ms: int | None = None,
) -> OneShot | Mismatch | TakeGeneralPath | Repeated:
    """Plan the section. `rows` holds every row that a get or expect step names, read after the cell; `now` is a stamp.

    `request_id` None: the request has no idempotency key, nobody can send it again. `change_id` alone then tells whether the
    step was made. A step sees what earlier steps wrote; expectations are judged against what earlier steps left. A failed
    expectation after a row had to be re-stamped is told as `TakeGeneralPath`, because the re-stamp would not be written with
    it. CellExhausted if the cell has no stamps left.
    """
    gone = None if request_id is None else departed_ticket(cell, request_id)
    if gone is not None:
        return Repeated(gone)
    if cell.queue:
        return TakeGeneralPath("the queue is not empty")
    first = max(cell.floor + 1, now)
    # Rows of a transactional table have no stamps: nobody writes them but whoever the cell names at that moment.
    fence = 0 if table.writes == "transactional" else cell.fence
    work = _Work(rows, table=table, fence=fence, first=first, absent_life_ms=absent_life_ms)
    results: list[StoredRow | None] = []
    for index, step in enumerate(steps):
        if isinstance(step, PutIntent):
            work.put(step)
            results.append(None)
        elif isinstance(step, DeleteIntent):
            work.delete(step)
            results.append(None)
        else:
            row = work.get(step.key)
            if row is None:
                return TakeGeneralPath("a row must be read again under the lock")
            if isinstance(step, ExpectStep) and not holds(step, row):
                return TakeGeneralPath("a row must be re-stamped first") if work.restamped else Mismatch(index, row)
            results.append(row if isinstance(step, GetStep) else None)
    result = () if request_id is None else ((request_id, Enqueued(cell.issued + 1)),)
    record = pack_change(change_id, version + 1, result)
    recent = with_recent(cell.recent, record)
    after, ticket, used_from = pass_through(cell, request_id, work.stamp - first, now, recent=recent, author=author)
    assert used_from == first, "the section used other stamps than it was given"
    return OneShot(
        change_id=change_id,
        expected_version=version,
        content=encode(after),
        cell=after,
        writes=tuple([tuple(writes) for writes in work.writes.values()]),
        results=tuple(results),
        ticket=ticket,
        stamp=work.stamp - 1,
    )


def holds(step: ExpectStep, row: StoredRow) -> bool:
    """Whether the row is as expected. A row that is not there has every column null."""
    there = is_there(row)
    if step.exists is not None:
        return there == step.exists
    for name, value in step.equals.items():
        cell = row.cells.get(name) if there else None
        if (None if cell is None else cell.value) != value:
            return False
    return True


class _Work:
    """The rows of a section as its steps leave them, and the writes so far."""

    __slots__ = ("absent_life_ms", "columns", "fence", "mixed", "restamped", "rows", "stamp", "touched", "writes")

    def __init__(
        self,
        rows: Mapping[RowKey, StoredRow],
        *,
        table: TableSpec,
        fence: int,
        first: int,
        absent_life_ms: int | None,
    ) -> None:
        self.rows = rows
        self.columns = table.regular_names
        self.mixed = table.writes == "mixed"
        self.fence = fence
        self.stamp = first
        self.absent_life_ms = absent_life_ms
        self.restamped = False
        self.touched: dict[RowKey, StoredRow] = {}
        """Rows as the section knows them: got under the fence rule, or covered by an own write."""
        self.writes: dict[tuple[bytes, ...], list[Write]] = {}

    def get(self, key: RowKey) -> StoredRow | None:
        """The row, re-stamped if it must be; None if it cannot be known here."""
        row = self.touched.get(key)
        if row is None:
            row = self.rows[key]
            if needs_restamp(row, fence=self.fence, mixed=self.mixed):
                if self.mixed:
                    # A plain write may have come between the read and the grant.
                    return None
                rewritten = restamp(self.columns, row, self.stamp, absent_life_ms=self.absent_life_ms)
                self._add(key, rewritten.writes)
                self.restamped = True
                row = rewritten.row
            self.touched[key] = row
        return row

    def put(self, step: PutIntent) -> None:
        """Write; a row that a later step gets is read first, unless the put covers it."""
        known: StoredRow | None = self.touched.get(step.key)
        if known is None and step.key in self.rows and len(step.cells) < len(self.columns):
            known = self.get(step.key)
        covers = put_covers(self.columns, step.cells, known_absent=known is not None and not is_there(known))
        put = make_put(self.columns, step.key, step.cells, self.stamp, covers=covers, life_ms=step.life_ms)
        self._add(step.key, (put,))
        after = row_after_put(known, put)
        if after is not None:
            self.touched[step.key] = after

    def delete(self, step: DeleteIntent) -> None:
        """Delete; afterwards the row is known to be absent, for the whole step is atomic."""
        before = self.touched.get(step.key)
        self._add(step.key, (DeleteRow(key=step.key, stamp=self.stamp),))
        self.touched[step.key] = row_after_delete(step.key, before)

    def _add(self, key: RowKey, writes: Sequence[Write]) -> None:
        self.writes.setdefault(key.partition, []).extend(writes)
        self.stamp += len(writes)
