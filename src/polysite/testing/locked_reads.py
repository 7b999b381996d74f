"""Reads of one key against its writes, where the ticket orders the tenures and the client the writes of a tenure.

Every write has a place in one order, and a read must show what is not before any write or read that it must know of. Who must be known
is everybody up to some moment: of earlier tickets and, in the tenure itself, what had ended (for a read under a lock), or all that had ended
(for a plain one). So two walks over the calls, each in its order, judge all reads, however many there are.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from polysite.testing.history import Call, History

Position = tuple[float, int]
"""Where a write stands in the order of a key's writes: its ticket, and its place in the tenure."""

FIRST: Position = (0, 0)
"""Of the row that is not there, before every write."""


class Read(NamedTuple):
    """A read of one key: under `ticket`, or plain (None)."""

    call: Call
    ticket: float | None
    value: Any
    opens: bool
    """It is the first step of its tenure, so nothing of its own tenure is before it."""


class Known(NamedTuple):
    """What a read must know of: the highest position, and who has it; and the lowest position that was read under a higher ticket
    than the one of the write that was read, and who read it."""

    highest: tuple[Position, Call] | None
    lowest: tuple[Position, Call] | None


class LockedReads:
    """The reads and writes of one key: `put` and `section` with a value, `get`."""

    def __init__(self, calls: History) -> None:
        self.writes: dict[Any, Call] = {}
        self.positions: dict[Any, Position] = {None: FIRST}
        self.done: list[tuple[Position, Call]] = []
        self.reads: list[Read] = []
        self.doubled: list[str] = []
        places: dict[int, int] = {}
        for call in calls:
            if call.verb in ("put", "section") and "writes" not in call.argument:
                self._write(call, places)
            if call.outcome != "done" or "writes" in (call.argument or {}):
                continue
            if call.verb == "get":
                ticket = call.references[0].ticket if call.references else None
                self.reads.append(Read(call, ticket, call.value, opens=False))
            elif call.verb == "section":
                self.reads.append(Read(call, call.value["ticket"], call.value["read"], opens=True))

    def _write(self, call: Call, places: dict[int, int]) -> None:
        value = call.argument["value"]
        if value in self.writes:
            self.doubled.append(f"{value!r} was written by two calls: the drill is wrong")
        self.writes[value] = call
        if call.verb == "put":
            ticket = call.references[0].ticket
        elif call.outcome == "done":
            ticket = call.value["ticket"]
        else:
            return  # where an unanswered section stands is known when somebody reads it, if ever
        places[ticket] = places.get(ticket, 0) + 1
        self.positions[value] = (ticket, places[ticket])
        if call.outcome == "done":
            self.done.append((self.positions[value], call))

    def findings(self) -> Iterator[str]:
        yield from self.doubled
        locked = sorted(
            (read for read in self.reads if read.ticket is not None), key=lambda read: (read.ticket, read.call.start_s)
        )
        for read in locked:
            # A section of unknown outcome that is read here happened before this tenure and after every earlier one read.
            if read.value in self.writes and read.value not in self.positions:
                self.positions[read.value] = ((read.ticket or 0) - 0.5, 0)
        known = self._known(locked)
        for read in self.reads:
            yield from self._judge(read, known.get(read.call.call_id))

    def _judge(self, read: Read, known: Known | None) -> Iterator[str]:
        told = (
            f"{read.call.call_id} ({'plain' if read.ticket is None else f'ticket {read.ticket:g}'}) read {read.value!r}"
        )
        write = self.writes.get(read.value)
        if read.value is not None and write is None:
            yield f"{told}, which nobody wrote"
            return
        if write is not None and write.outcome == "refused":
            yield f"{told}, whose write {write.call_id} was refused"
            return
        if write is not None and write.start_s > (read.call.end_s or 0):
            yield f"{told} before it was written"
        position = self.positions.get(read.value)
        if position is None or known is None:
            return  # an unanswered section that only plain reads saw
        if read.ticket is not None and (position[0] > read.ticket or (read.opens and position[0] == read.ticket)):
            yield f"{told}, a write of the later tenure {position[0]:g}"
        if known.highest is not None and known.highest[0] > position:
            needed, cause = known.highest
            yield f"{told}, though {cause.call_id} had {'written' if cause.verb == 'put' else 'left'} a later value {needed}"
        elif known.lowest is not None and known.lowest[0] != position:
            yield f"{told}, an older tenure's write that took the place of what {known.lowest[1].call_id} had read"

    # what each read must know of

    def _known(self, locked: list[Read]) -> dict[str, Known]:
        """By call id, for the reads whose value has a position."""
        placed = [read for read in self.reads if read.value in self.positions]
        seen = [(self.positions[read.value], read) for read in locked if read.value in self.positions]
        tickets = sorted({float(read.ticket or 0) for _, read in seen})
        told: list[tuple[tuple[float, float], Position, Call, float | None]] = []
        asked: list[tuple[tuple[float, float], Read]] = []
        found: dict[str, Known] = {}
        for is_locked in (True, False):
            told = [(_since(position[0], call, is_locked), position, call, None) for position, call in self.done]
            told += [
                (_since(read.ticket or 0, read.call, is_locked), position, read.call, read.ticket)
                for position, read in seen
            ]
            asked = [(_up_to(read), read) for read in placed if (read.ticket is not None) == is_locked]
            found |= self._walked(told, asked, tickets)
        return found

    def _walked(
        self,
        told: list[tuple[tuple[float, float], Position, Call, float | None]],
        asked: list[tuple[tuple[float, float], Read]],
        tickets: list[float],
    ) -> dict[str, Known]:
        """For each of the `asked`, what is known of those of the `told` that are not behind it."""
        told.sort(key=lambda item: item[0])
        asked.sort(key=lambda item: item[0])
        found: dict[str, Known] = {}
        highest: tuple[Position, Call] | None = None
        lowest = _Lowest(tickets)
        at = 0
        for limit, read in asked:
            while at < len(told) and told[at][0] <= limit:
                _, position, call, ticket = told[at]
                if highest is None or position > highest[0]:
                    highest = (position, call)
                if ticket is not None:
                    lowest.note(ticket, position, call)
                at += 1
            found[read.call.call_id] = Known(highest, lowest.above(self.positions[read.value][0]))
        return found


def _since(ticket: float, call: Call, is_locked: bool) -> tuple[float, float]:
    """From where on a call must be known: under a lock by its ticket and then its end, else by its end."""
    end_s = math.inf if call.end_s is None else call.end_s
    return (ticket, end_s) if is_locked else (end_s, 0.0)


def _up_to(read: Read) -> tuple[float, float]:
    if read.ticket is None:
        return read.call.start_s, 0.0
    return read.ticket, -math.inf if read.opens else read.call.start_s


class _Lowest:
    """The lowest position noted under any ticket above a given one: a binary indexed tree over the tickets, from the top."""

    def __init__(self, tickets: list[float]) -> None:
        self._tickets = tickets
        self._tree: list[tuple[Position, Call] | None] = [None] * (len(tickets) + 1)

    def note(self, ticket: float, position: Position, call: Call) -> None:
        at = len(self._tickets) - bisect_right(self._tickets, ticket) + 1
        while at < len(self._tree):
            held = self._tree[at]
            if held is None or position < held[0]:
                self._tree[at] = (position, call)
            at += at & -at

    def above(self, ticket: float) -> tuple[Position, Call] | None:
        at = len(self._tickets) - bisect_right(self._tickets, ticket)
        found: tuple[Position, Call] | None = None
        while at > 0:
            held = self._tree[at]
            if held is not None and (found is None or held[0] < found[0]):
                found = held
            at -= at & -at
        return found
