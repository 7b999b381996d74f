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
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

from polysite.testing.history import Call, History
from polysite.testing.lists import judge_lists
from polysite.testing.locked_reads import LockedReads
from polysite.testing.sequential import judge_sequential
from polysite.testing.stamped import judge_stamped

UNDER_A_LOCK = frozenset(("put", "get", "write", "read", "range", "release", "show", "assign", "erase"))


def judge(history: History, *, plain: Iterable[str] = ()) -> list[str]:
    """What is wrong, one line each. A key is a list whose first member is the table; those of `plain` tables are judged
    as rows without locks."""
    tables = set(plain)
    found: list[str] = []
    for key in history.keys():  # noqa: SIM118 - not a mapping
        calls = history.for_key(key)
        findings = judge_plain(calls) if key[0] in tables else judge_locked(calls)
        found += [f"{key}: {finding}" for finding in findings]
    return [*found, *judge_lists(history)]


def judge_locked(calls: History) -> list[str]:
    """What is wrong in the calls about one key that is written under locks only."""
    return [
        *_tickets(calls),
        *_late(calls),
        *_queues(calls),
        *LockedReads(calls).findings(),
        *judge_sequential(calls),
        *judge_stamped(calls),
    ]


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
    granted = tickets_granted(calls)
    shared = {ticket for ticket, call in granted if _is_shared(call)}
    any_ticket = _Highest((call.end_s or 0, ticket) for ticket, call in granted)
    exclusive = _Highest((call.end_s or 0, ticket) for ticket, call in granted if ticket not in shared)
    first_asked_s: dict[str, float] = {}
    for call in calls:
        request = call.argument.get("request") if isinstance(call.argument, dict) else None
        # A request that is asked again is answered what it was answered, also when its lock is gone.
        begun_s = call.start_s if request is None else first_asked_s.setdefault(request, call.start_s)
        if call.outcome != "done" or call.verb not in UNDER_A_LOCK or not call.references:
            continue
        ticket = call.references[0].ticket
        other = (exclusive if ticket in shared else any_ticket).up_to(begun_s)
        if other > ticket:
            yield f"{call.verb} {call.call_id} of ticket {ticket} was done though it began after ticket {other} was given"


class _Highest:
    """The highest of the numbers that were there at a moment."""

    def __init__(self, numbers: Iterable[tuple[float, int]]) -> None:
        """`numbers`: since when each is there, and the number."""
        ordered = sorted(numbers)
        self._since_s = [since_s for since_s, _ in ordered]
        self._highest = list(accumulate((number for _, number in ordered), max))

    def up_to(self, moment_s: float) -> int:
        """0 if there were none."""
        there = bisect_right(self._since_s, moment_s)
        return self._highest[there - 1] if there else 0


def _queues(calls: History) -> Iterator[str]:
    """A queue never shows a ticket whose release was answered before."""
    released: dict[int, Call] = {}
    for call in sorted(calls, key=lambda call: call.end_s or math.inf):
        if call.verb == "release" and call.outcome == "done":
            released.setdefault(call.references[0].ticket, call)
    for call in calls:
        if call.verb != "queue" or call.outcome != "done":
            continue
        for ticket in call.value:
            other = released.get(ticket)
            if other is not None and (other.end_s or 0) <= call.start_s:
                yield f"ticket {ticket} is in the queue after its release {other.call_id} was answered"


def judge_plain(calls: History) -> list[str]:
    """What is wrong in the calls about one key without locks, which one client writes, one call after the other."""
    found: list[str] = []
    writes = [call for call in calls if call.verb == "put"]
    places = {call.argument["value"]: place for place, call in enumerate(writes, 1)}
    by_value = {call.argument["value"]: call for call in writes}
    answered = _Highest(
        (call.end_s or math.inf, place) for place, call in enumerate(writes, 1) if call.outcome == "done"
    )
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
        place = answered.up_to(read.start_s)
        if place > places.get(read.value, 0):
            found.append(f"{told}, though {writes[place - 1].call_id} had written a later value")
    return found
