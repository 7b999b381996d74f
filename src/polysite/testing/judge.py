"""What in a history cannot be: of rows under locks, of rows without locks, and of tickets.

The judge knows calls by these verbs; every write puts a value that no other write of the key puts:

* `acquire`: a lock was asked for and granted; its reference is in the end.
* `put`: `argument` {"value": V}; under a lock if it has a reference.
* `get`: `value` is what was read (None: no row); under a lock if it has a reference. Plain gets are of a store with one
  copy, so that they too see every write that was answered before they began.
* `section`: a whole section that reads and then puts; `argument` {"value": V}, `value` {"read": R, "ticket": T}.
* `release`: waited for; `done` proves the tenure.
* `queue`: `value` is the list of the tickets in the queue.

What it holds against a history is said by each finding. `judge_locked` reads keys that are written under locks only,
`judge_plain` keys that one client writes without locks.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from polysite.testing.history import Call, History
from polysite.testing.sequential import judge_sequential

UNDER_A_LOCK = frozenset(("put", "get", "write", "read", "range", "release"))


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


def judge(history: History, *, plain: Iterable[str] = ()) -> list[str]:
    """What is wrong, one line each. A key is a list whose first member is the table; those of `plain` tables are judged
    as rows without locks."""
    tables = set(plain)
    found: list[str] = []
    for key in history.keys():  # noqa: SIM118 - not a mapping
        calls = history.for_key(key)
        findings = judge_plain(calls) if key[0] in tables else judge_locked(calls)
        found += [f"{key}: {finding}" for finding in findings]
    return found


def judge_locked(calls: History) -> list[str]:
    """What is wrong in the calls about one key that is written under locks only."""
    return [*_tickets(calls), *_late(calls), *_queues(calls), *_LockedReads(calls).findings(), *judge_sequential(calls)]


def tickets_granted(calls: History) -> list[tuple[int, Call]]:
    """Each granted tenure: its ticket, and the acquire or section that got it."""
    granted = []
    for call in calls:
        if call.outcome == "done" and call.verb == "acquire":
            granted.append((call.references[0].ticket, call))
        elif call.outcome == "done" and call.verb == "section":
            granted.append((call.value["ticket"], call))
    return granted


def _tickets(calls: History) -> Iterator[str]:
    """Tickets are given once, and a wish made after another was granted has the higher one."""
    granted = sorted(tickets_granted(calls), key=lambda grant: grant[1].end_s or 0)
    seen: dict[int, Call] = {}
    for ticket, call in granted:
        if ticket in seen:
            yield f"ticket {ticket} was given to {seen[ticket].call_id} and to {call.call_id}"
        seen[ticket] = call
    highest: list[tuple[float, int]] = []
    for ticket, call in granted:
        highest.append((call.end_s or 0, max(ticket, highest[-1][1] if highest else 0)))
    ends = [end_s for end_s, _ in highest]
    for ticket, call in granted:
        before = _last_before(ends, call.start_s)
        if before >= 0 and highest[before][1] > ticket:
            yield f"ticket {ticket} of {call.call_id} was asked for after ticket {highest[before][1]} was given"


def _last_before(ends: list[float], start_s: float) -> int:
    """The index of the last of the sorted `ends` that is before `start_s`, -1 if there is none."""
    return bisect_left(ends, start_s) - 1


def _is_shared(call: Call) -> bool:
    return call.verb == "acquire" and isinstance(call.argument, dict) and call.argument.get("kind") == "shared"


def _late(calls: History) -> Iterator[str]:
    """Once a higher ticket is granted, nothing that begins under a lower one is done; shared ones hold together."""
    granted = [(ticket, call.end_s or 0) for ticket, call in tickets_granted(calls)]
    shared = {ticket for ticket, call in tickets_granted(calls) if _is_shared(call)}
    for call in calls:
        if call.outcome != "done" or call.verb not in UNDER_A_LOCK or not call.references:
            continue
        ticket = call.references[0].ticket
        for other, end_s in granted:
            if other > ticket and end_s <= call.start_s and not (ticket in shared and other in shared):
                yield f"{call.verb} {call.call_id} of ticket {ticket} was done though it began after ticket {other} was given"
                break


def _queues(calls: History) -> Iterator[str]:
    """A queue never shows a ticket whose release was answered before."""
    for call in calls:
        if call.verb != "queue" or call.outcome != "done":
            continue
        for other in calls:
            released = other.verb == "release" and other.outcome == "done" and (other.end_s or 0) <= call.start_s
            if released and other.references[0].ticket in call.value:
                yield f"ticket {other.references[0].ticket} is in the queue after its release {other.call_id} was answered"


class _LockedReads:
    """Reads against writes of one key, where the ticket orders the tenures and the client the writes of a tenure."""

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
        for read in self.reads:
            yield from self._judge(read)

    def _judge(self, read: Read) -> Iterator[str]:
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
        if position is None:
            return  # an unanswered section that only plain reads saw
        if read.ticket is not None and (position[0] > read.ticket or (read.opens and position[0] == read.ticket)):
            yield f"{told}, a write of the later tenure {position[0]:g}"
        for needed, cause in self._before(read):
            if needed > position:
                yield f"{told}, though {cause.call_id} had {'written' if cause.verb == 'put' else 'left'} a later value {needed}"
                return
        for other in self._reads_before(read):
            seen = self.positions[other.value]
            if position != seen and other.ticket is not None and position[0] < other.ticket:
                yield f"{told}, an older tenure's write that took the place of what {other.call.call_id} had read"
                return

    def _before(self, read: Read) -> Iterator[tuple[Position, Call]]:
        """What the read must at least see."""
        for position, call in self.done:
            if self._is_before(read, position[0], call):
                yield position, call
        for other in self._reads_before(read):
            yield self.positions[other.value], other.call

    def _reads_before(self, read: Read) -> Iterator[Read]:
        """The reads under the lock whose results the read must respect."""
        for other in self.reads:
            if other is read or other.ticket is None or other.value not in self.positions:
                continue
            if self._is_before(read, other.ticket, other.call):
                yield other

    def _is_before(self, read: Read, ticket: float, call: Call) -> bool:
        ended = (call.end_s or math.inf) <= read.call.start_s
        if read.ticket is None:
            return ended
        return ticket < read.ticket or (ticket == read.ticket and ended and not read.opens)


def judge_plain(calls: History) -> list[str]:
    """What is wrong in the calls about one key without locks, which one client writes, one call after the other."""
    found: list[str] = []
    writes = [call for call in calls if call.verb == "put"]
    places = {call.argument["value"]: place for place, call in enumerate(writes, 1)}
    by_value = {call.argument["value"]: call for call in writes}
    for read in calls:
        if read.verb != "get" or read.outcome != "done":
            continue
        told = f"{read.call_id} read {read.value!r}"
        write = by_value.get(read.value)
        if read.value is not None and write is None:
            found.append(f"{told}, which nobody wrote")
            continue
        if write is not None and write.outcome == "refused":
            found.append(f"{told}, whose write {write.call_id} was refused")
        if write is not None and write.start_s > (read.end_s or 0):
            found.append(f"{told} before it was written")
        for other in writes:
            answered = other.outcome == "done" and (other.end_s or math.inf) <= read.start_s
            if answered and places[other.argument["value"]] > places.get(read.value, 0):
                found.append(f"{told}, though {other.call_id} had written a later value")
                break
    return found
