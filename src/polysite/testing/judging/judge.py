"""What in a history cannot be: of rows under locks, of rows without locks, and of tickets.

Rows and their words are those of `polysite.testing.judging.sequential`, which judges what is read and written under locks; what is read without
one `polysite.testing.judging.plain_reads` judges. Beside them the judge knows:

* `acquire`: a lock was asked for and granted; its reference is in the end.
* `release`: waited for; `done` proves the tenure.
* `queue`: `value` is the list of the tickets in the queue.

What it holds against a history is said by each finding. Before all else it looks at what it assumes itself: that it knows the words, and
that the values by which it recognises a section without an answer are nobody else's.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from polysite.testing.history import Call, History
from polysite.testing.judging.lists import judge_lists
from polysite.testing.judging.plain_reads import Highest, judge_peeks, judge_plain
from polysite.testing.judging.sequential import judge_sequential, writes_of
from polysite.testing.judging.stamped import judge_stamped

OLDER = frozenset(("put", "get"))
"""Words of histories before the sequential model; whoever does not know them would acquit such a history."""

UNDER_A_LOCK = frozenset(("write", "read", "range", "release", "show", "assign", "erase"))


def judge(history: History, *, plain: Iterable[str] = ()) -> list[str]:
    """What is wrong, one line each. A key is a list whose first member is the table; those of `plain` tables are judged
    as rows without locks."""
    tables = set(plain)
    found: list[str] = []
    for key in history.keys():  # noqa: SIM118 - not a mapping
        calls = history.for_key(key)
        findings = [*_older(calls), *judge_plain(calls)] if key[0] in tables else judge_locked(calls)
        found += [f"{key}: {finding}" for finding in findings]
    return [*found, *judge_lists(history)]


def judge_locked(calls: History) -> list[str]:
    """What is wrong in the calls about one key that is written under locks only."""
    return [
        *_assumed(calls),
        *_tickets(calls),
        *_late(calls),
        *_queues(calls),
        *judge_peeks(calls),
        *judge_sequential(calls),
        *judge_stamped(calls),
    ]


def _older(calls: History) -> Iterator[str]:
    for call in calls:
        if call.verb in OLDER:
            yield f"unknown: {call.verb} {call.call_id} is a word of an older history, which this judge does not know"
            return


def _assumed(calls: History) -> Iterator[str]:
    """What the judge takes for granted and is not so."""
    yield from _older(calls)
    sections = [call for call in calls if call.verb == "section" and call.outcome == "unknown"]
    if not sections:
        return
    writers: dict[str, set[str]] = {}
    for call in calls:
        for value in _written(call) if call.verb in ("write", "section") else ():
            writers.setdefault(value, set()).add(call.call_id)
    for call in sections:
        for value in _written(call):
            if len(writers[value]) > 1:
                yield f"unknown: {value} was written by {' and '.join(sorted(writers[value]))}, which cannot be told apart"


def _written(call: Call) -> Iterator[str]:
    """The values that a call puts."""
    for write in writes_of(call):
        yield from (repr(value) for value in (write[2].values() if write[0] == "put" else ()) if value is not None)


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
    any_ticket = Highest((call.end_s or 0, ticket) for ticket, call in granted)
    exclusive = Highest((call.end_s or 0, ticket) for ticket, call in granted if ticket not in shared)
    first_asked_s: dict[str, float] = {}
    for call in calls:
        request = call.argument.get("request") if isinstance(call.argument, dict) else None
        if call.verb == "release" and call.references:
            request = f"release of {call.references[0].ticket}"
        # A request that is asked again is answered what it was answered, also when its lock is gone; so is a release.
        begun_s = call.start_s if request is None else first_asked_s.setdefault(request, call.start_s)
        if call.outcome != "done" or call.verb not in UNDER_A_LOCK or not call.references:
            continue
        ticket = call.references[0].ticket
        other = (exclusive if ticket in shared else any_ticket).up_to(begun_s)
        if other > ticket:
            yield f"{call.verb} {call.call_id} of ticket {ticket} was done though it began after ticket {other} was given"


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
