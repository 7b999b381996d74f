"""Reads without a lock, of rows alone in their partition that are always put whole, with values that no other write of the row has.

* `judge_plain`: rows that one client writes without locks, one call after the other: `write` and `read` without a reference.
* `judge_peeks`: rows that are written under locks, read by whoever likes, of a store with one copy: `peek`, whose `value` is as of `read`.
  So a peek sees every write that was answered, and all that was read under the lock, before it began.

The words are those of `polysite.testing.judging.sequential`.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from polysite.testing.history import Call, History
from polysite.testing.judging.sequential import Held, columns_of, shown_of, ticket_of, writes_of

Position = tuple[float, int]
"""Where a write stands in the order of a row's writes: its ticket, and its place in the tenure."""

FIRST: Position = (0, 0)
"""Of the row that is not there, before every write."""


def judge_plain(calls: History) -> Iterator[str]:
    """What is wrong in the calls about one row without locks."""
    writes = [call for call in calls if call.verb == "write"]
    by_value, doubled = _by_value(writes)
    yield from doubled
    places = {held: place for call, place in zip(writes, range(1, len(writes) + 1), strict=True) for held in _put(call)}
    answered = Highest((_end_s(call), place) for place, call in enumerate(writes, 1) if call.outcome == "done")
    for read in calls:
        if read.verb != "read" or read.outcome != "done":
            continue
        held = _shown(read)
        wrong = list(_not_of(read, held, by_value))
        yield from wrong
        place = answered.up_to(read.start_s)
        if place > places.get(held, 0) and not (wrong and held not in places):
            yield f"{_told(read)}, though {writes[place - 1].call_id} had written a later value"


def judge_peeks(calls: History) -> Iterator[str]:
    """What is wrong in the peeks of one row that is written under locks."""
    peeks = [call for call in calls if call.verb == "peek" and call.outcome == "done"]
    if peeks:
        yield from _Peeks(calls).findings(peeks)


class Highest:
    """The highest of the numbers that were there at a moment."""

    def __init__(self, numbers: Iterable[tuple[float, int]]) -> None:
        """`numbers`: since when each is there, and the number, which is above 0."""
        ordered = sorted(numbers)
        self._since_s = [since_s for since_s, _ in ordered]
        self._highest = list(accumulate((number for _, number in ordered), max))

    def up_to(self, moment_s: float) -> int:
        """0 if there were none."""
        there = bisect_right(self._since_s, moment_s)
        return self._highest[there - 1] if there else 0


class _Seen(NamedTuple):
    """What somebody knew at the end of a call: a write of his, or one that he read under the lock."""

    position: Position
    ticket: float
    call: Call


class _Peeks:
    """The writes of a row in their order, and who knew of which from when on."""

    def __init__(self, calls: History) -> None:
        writes = [call for call in calls if call.verb in ("write", "section")]
        self._by_value, self._doubled = _by_value(writes)
        self._positions: dict[Held, Position] = {None: FIRST}
        places: dict[float, int] = {}
        for call in writes:
            ticket = ticket_of(call)
            if ticket:  # where an unanswered section stands is known when somebody reads it under the lock, if ever
                places[ticket] = places.get(ticket, 0) + 1
                self._positions |= dict.fromkeys(_put(call), (ticket, places[ticket]))
        self._read = self._read_under_locks(calls)
        self._tickets = [seen.ticket for seen in self._read]
        done = [
            _Seen(self._positions[held], ticket_of(call), call)
            for call in writes
            if call.outcome == "done" and ticket_of(call)
            for held in _put(call)
        ]
        self._known = sorted([*done, *self._read], key=lambda seen: _end_s(seen.call))
        self._ends_s = [_end_s(seen.call) for seen in self._known]
        self._highest = list(accumulate(self._known, _later))

    def _read_under_locks(self, calls: History) -> list[_Seen]:
        """An unanswered section that is read stands before the tenure that reads it, and after every earlier one."""
        found: list[_Seen] = []
        for call in sorted(calls, key=lambda call: (ticket_of(call), call.start_s)):
            for row, held in shown_of(call) if ticket_of(call) and call.outcome == "done" else ():
                if row == "" and (held in self._positions or held in self._by_value):
                    position = self._positions.setdefault(held, (ticket_of(call) - 0.5, 0))
                    found.append(_Seen(position, ticket_of(call), call))
        return found

    def findings(self, peeks: Iterable[Call]) -> Iterator[str]:
        yield from self._doubled
        for peek in peeks:
            held = _shown(peek)
            yield from _not_of(peek, held, self._by_value)
            if held in self._positions:
                yield from self._ordered(peek, self._positions[held])

    def _ordered(self, peek: Call, position: Position) -> Iterator[str]:
        there = bisect_right(self._ends_s, peek.start_s)
        if there and self._highest[there - 1].position > position:
            needed = self._highest[there - 1]
            yield f"{_told(peek)}, though {needed.call.call_id} had left a later value {needed.position}"
            return
        # Whoever holds next defines whether a write without an answer was made; it cannot be made after that. Who reads it, or what came
        # later, ends the search: if an earlier state is read after that under the lock, that is a finding of the sequential model.
        for seen in self._read[bisect_right(self._tickets, position[0]) :]:
            if seen.position >= position:
                return
            if _end_s(seen.call) <= peek.start_s:
                yield f"{_told(peek)}, an older tenure's write that took the place of what {seen.call.call_id} had read"
                return


def _later(one: _Seen, other: _Seen) -> _Seen:
    return other if other.position > one.position else one


def _not_of(read: Call, held: Held, by_value: dict[Held, Call]) -> Iterator[str]:
    """What is wrong with the write that was read."""
    if held is None:
        return
    write = by_value.get(held)
    if write is None:
        yield f"{_told(read)}, which nobody wrote"
    elif write.outcome == "refused":
        yield f"{_told(read)}, whose write {write.call_id} was refused"
    elif write.start_s > (read.end_s or 0):
        yield f"{_told(read)} before it was written by {write.call_id}"


def _by_value(writes: Iterable[Call]) -> tuple[dict[Held, Call], list[str]]:
    """Who wrote what, and what two wrote."""
    found: dict[Held, Call] = {}
    doubled = []
    for call in writes:
        for held in _put(call):
            if held in found:
                doubled.append(f"{dict(held or ())} was written by two calls, {found[held].call_id} and {call.call_id}")
            found[held] = call
    return found, doubled


def _put(call: Call) -> list[Held]:
    return [columns_of(write[2]) for write in writes_of(call) if write[0] == "put" and write[1] == ""]


def _shown(read: Call) -> Held:
    return None if read.value is None else columns_of(read.value)


def _told(read: Call) -> str:
    return f"{read.call_id} ({read.verb} without a lock) read {read.value}"


def _end_s(call: Call) -> float:
    return math.inf if call.end_s is None else call.end_s


__all__ = ["Highest", "judge_peeks", "judge_plain"]
