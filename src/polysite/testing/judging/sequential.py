"""Operations under a lock against the sequential model: is there an order in which one after the other they give these answers?

A lock key covers a partition: rows by name, each with columns. Tenures follow each other by ticket, and the calls of a tenure in the order
in which its client made them, so the order is known but for calls of unknown outcome: those may have happened, or happen until a later
write of what they wrote, or a read, has settled it. That is so for each row by itself: a batch without an answer may settle as made for one
row and as not made for another, since whoever reads a row first defines that row only. So the judge carries along, for each row, all that
it may hold, as Porcupine does for one register with calls that never returned (Wing and Gong's search, with the order given by the
tickets). A read keeps what it showed; if that was not possible, the history is illegal.

Calls as it knows them (others it passes over); rows are named by JSON texts, `""` where a partition has one row:

* `write` with {"writes": [W, …]}, all of them or none: W is ["put", ROW, {COLUMN: VALUE}] (null takes the column's value away),
  ["delete", ROW], or ["range", LOW, HIGH] (all rows from LOW up to and without HIGH; null is open).
* `read` with {"row": ROW}: `value` is {COLUMN: VALUE} without nulls, or null. `range` with {"low": LOW, "high": HIGH}: `value` is
  [[ROW, {COLUMN: VALUE}], …]. An `acquire` that reads the row "": `value` {"read": as of `read`}.
* `section`: a tenure of its own; `argument` as of `write`, with the "row" that is read before that; `value` {"row": as of `read`, "ticket": T}.
  One of unknown outcome may stand between any two tenures that began after it was asked.
* `promote` done: what its tenure does from then on stands behind every tenure that was granted before.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, TypeAlias

from polysite.testing.history import Call

Columns: TypeAlias = tuple[tuple[str, Any], ...]
Held: TypeAlias = "Columns | None"
"""What a row holds: its columns that have a value; None: it is not there."""

ABSENT: "frozenset[Held]" = frozenset((None,))
STATES_MAX = 5_000
"""If a row may hold more than that many things the judge gives up, and says so."""


class GivenUp(Exception):
    """Too much is possible."""


class Rows:
    """What each row may hold."""

    def __init__(self) -> None:
        self._rows: dict[str, frozenset[Held]] = {}

    def may_hold(self, row: str) -> "frozenset[Held]":
        return self._rows.get(row, ABSENT)

    def named(self, low: str | None, high: str | None) -> list[str]:
        """The rows of a range that were ever written."""
        return sorted(row for row in self._rows if _within(row, low, high))

    def settle(self, row: str, held: Held) -> None:
        self._rows[row] = frozenset((held,))

    def write(self, writes: Iterable[Any], *, surely: bool) -> None:
        """Let the writes happen one after the other; not `surely`: for each row by itself it may have happened or not."""
        before = dict(self._rows)
        for write in writes:
            rows = self.named(write[1], write[2]) if write[0] == "range" else [write[1]]
            for row in rows:
                self._rows[row] = frozenset(_written(held, write) for held in self.may_hold(row))
        if not surely:
            for row, after in self._rows.items():
                self._rows[row] = after | before.get(row, ABSENT)
                if len(self._rows[row]) > STATES_MAX:
                    raise GivenUp


class Tenure:
    """The calls under one ticket, or those of them that follow a promotion."""

    def __init__(self, order: tuple[float, int], began_s: float) -> None:
        self.order = order
        self.began_s = began_s
        self.calls: list[Call] = []


def judge_sequential(calls: Iterable[Call]) -> Iterator[str]:
    """What of the calls about one key cannot be."""
    try:
        yield from _judged(list(calls))
    except GivenUp:
        yield f"unknown: a row may hold more than {STATES_MAX} things; the judge gives up"


def _judged(calls: list[Call]) -> Iterator[str]:
    floating = _floating(calls)
    rows = Rows()
    for tenure in tenures(calls):
        # What was asked for before this tenure was had may have come before it.
        for call in floating.values():
            if call.start_s <= tenure.began_s:
                rows.write(writes_of(call), surely=False)
        for call in tenure.calls:
            for step, told in _steps(call):
                if step == "write":
                    rows.write(told, surely=call.outcome == "done")
                    continue
                for row, held in _shown(call, told, rows):
                    may_hold = rows.may_hold(row)
                    if held not in may_hold:
                        yield _finding(call, row, held, may_hold)
                    rows.settle(row, held)
                    for number in [number for number, other in floating.items() if _made(other, row, held)]:
                        del floating[number]


def _floating(calls: list[Call]) -> dict[str, Call]:
    """The sections of unknown outcome that may have left something to be seen: the others are passed over, since whatever they wrote was
    written over before anybody read it. (A null has no value to be known by.)"""
    shown = {value for call in calls for step, told in _steps(call) if step == "read" for value in _values(told)}
    return {
        call.call_id: call
        for call in calls
        if call.verb == "section"
        and call.outcome == "unknown"
        and any(
            write[0] != "put" or any(value is None or _known(value) in shown for value in write[2].values())
            for write in writes_of(call)
        )
    }


def _values(told: Any) -> Iterator[Any]:
    """All the values in what a read told."""
    rows = [columns for _, columns in told] if isinstance(told, list) else [told or {}]
    for columns in rows:
        yield from map(_known, columns.values())


def _known(value: Any) -> Any:
    """The value as something that a set can hold."""
    return value if value.__hash__ is not None else repr(value)


def tenures(calls: Iterable[Call]) -> list[Tenure]:
    """The tenures in their order."""
    found: dict[tuple[float, int], Tenure] = {}
    promoted: dict[int, tuple[float, float]] = {}
    ordered = sorted(calls, key=lambda call: call.start_s)
    granted = sorted(
        (call.end_s or math.inf, ticket_of(call))
        for call in ordered
        if call.outcome == "done" and call.verb in ("acquire", "section")
    )
    ends = [end_s for end_s, _ in granted]
    highest = list(accumulate((other for _, other in granted), max))
    for call in ordered:
        ticket = ticket_of(call)
        if not ticket or call.outcome == "refused":
            continue
        if call.verb == "promote" and call.outcome == "done":
            there = bisect_right(ends, call.end_s or 0.0)
            before = highest[there - 1] if there else ticket
            promoted[int(ticket)] = (call.end_s or 0.0, before)
        place = (ticket, 0)
        since_s, behind = promoted.get(int(ticket), (math.inf, 0.0))
        if call.start_s >= since_s:
            place = (max(ticket, behind), 1)
        found.setdefault(place, Tenure(place, call.end_s or call.start_s)).calls.append(call)
    return [tenure for _, tenure in sorted(found.items())]


def _written(held: Held, write: Any) -> Held:
    """What a row holds after a write of it."""
    if write[0] != "put":
        return None
    return columns_of({**dict(held or ()), **write[2]})


def _made(section: Call, row: str, held: Held) -> bool:
    """Whether what the row holds shows that the section happened: nobody else writes its values."""
    values = {value for _, value in held or ()}
    return any(
        write[0] == "put"
        and write[1] == row
        and any(value in values for value in write[2].values() if value is not None)
        for write in writes_of(section)
    )


def ticket_of(call: Call) -> float:
    """The ticket under which a call was made; 0 for none."""
    if call.verb == "section":
        return float(call.value["ticket"]) if call.outcome == "done" else 0.0
    return float(call.references[0].ticket) if call.references else 0.0


def _steps(call: Call) -> Iterator[tuple[str, Any]]:
    """What a call did, in order: reads with what they saw, writes with what they wrote."""
    if call.verb == "write":
        yield "write", writes_of(call)
    elif call.outcome != "done":
        return
    elif call.verb in ("read", "range"):
        yield "read", call.value
    elif call.verb == "acquire" and isinstance(call.value, dict):
        yield "read", call.value["read"]
    elif call.verb == "section":
        yield "read", call.value["row"]
        yield "write", writes_of(call)


def writes_of(call: Call) -> list[Any]:
    """What a `write` or a `section` was asked to write."""
    writes: list[Any] = call.argument["writes"]
    return writes


def shown_of(call: Call) -> list[tuple[str, Held]]:
    """What the reads of a call that is done told of one row each."""
    row = (call.argument or {}).get("row", "")
    return [
        (row, None if told is None else columns_of(told))
        for step, told in _steps(call)
        if step == "read" and call.verb != "range"
    ]


def _shown(call: Call, told: Any, rows: Rows) -> list[tuple[str, Held]]:
    """What a read told of each row, also of those that were not there."""
    if call.verb != "range":
        return shown_of(call)
    found = {row: columns_of(columns) for row, columns in told}
    named = rows.named(call.argument["low"], call.argument["high"])
    return [(row, found.get(row)) for row in sorted({*found, *named})]


def _finding(call: Call, row: str, held: Held, may_hold: "frozenset[Held]") -> str:
    shown = sorted(str(None if may is None else dict(may)) for may in may_hold)
    where = f" in row {row!r}" if row else ""
    read = None if held is None else dict(held)
    only = " or ".join(shown[:4]) + (" …" if len(shown) > 4 else "")
    return f"{call.call_id} ({call.verb}, ticket {ticket_of(call):g}) read {read}{where}, where only {only} is possible"


def columns_of(columns: Any) -> Columns:
    """A row's columns that have a value."""
    return tuple(sorted((name, value) for name, value in dict(columns).items() if value is not None))


def _within(row: str, low: str | None, high: str | None) -> bool:
    return (low is None or row >= low) and (high is None or row < high)


__all__ = ["Held", "Rows", "columns_of", "judge_sequential", "shown_of", "tenures", "ticket_of", "writes_of"]
