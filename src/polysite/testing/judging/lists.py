"""Lists that are read and appended to under locks on several keys at once: is there one order of all tenures that gives these answers?

A list tells what made it: whoever reads it sees every append before, in order (Kingsbury and Alvaro's Elle stands on that). So of each key the longest list
that was read is the order of its appends, every other read is a beginning of it, and together with the tickets and the clock that
makes a graph over the tenures of all keys, which must not have a cycle.

Calls as it knows them, about a key [TABLE, KEY]; every element is appended once:

* `hold`: locks on several keys were asked for and granted; a reference for each is in the end. `list`: `value` is what was read (None: no row).
  `append` with `argument` {"element": E}: the list that was read last, and E behind it, were put. Both have the references of their `hold`.
* `extend` with {"element": E, "after": LIST}: a section that puts E behind LIST if that is what is there; `value` {"ticket": T}.
* perhaps "request" in an argument: calls with the same one are one request.
"""

import base64
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeAlias

from polysite.testing.history import Call
from polysite.testing.judging.asked_again import judge_asked_again

VERBS = ("hold", "list", "append", "extend")


class Append(NamedTuple):
    """An element, however often it was asked for. `call`: the one that was answered, if any was."""

    call: Call
    outcome: str
    start_s: float
    end_s: float


class Seen(NamedTuple):
    """A list that was read."""

    call: Call
    members: list[Any]


class Tenure:
    """What was done under one grant of locks."""

    def __init__(self, name: str, tickets: dict[str, int], start_s: float, granted_s: float) -> None:
        self.name = name
        self.tickets = tickets
        self.start_s = start_s
        self.granted_s = granted_s
        self.end_s = granted_s
        """From then on nothing of it happens; infinity if that is not known."""
        self.appends: list[tuple[str, Any, Append]] = []
        self.reads: list[tuple[str, Seen]] = []


Edges: TypeAlias = "dict[Any, set[Any]]"


def judge_lists(calls: Iterable[Call]) -> Iterator[str]:
    """What cannot be in the calls about lists, of all keys together."""
    of_lists = [call for call in calls if call.verb in VERBS]
    if not of_lists:
        return
    asked: dict[str, list[Call]] = {}
    for call in of_lists:
        if call.verb in ("append", "extend"):
            asked.setdefault((call.argument or {}).get("request") or call.call_id, []).append(call)
    yield from judge_asked_again(asked)
    found = _tenures(of_lists, asked.values())
    edges: Edges = {tenure.name: set() for tenure in found}
    for key in sorted({key for tenure in found for key in _keys(tenure)}):
        of_key = [tenure for tenure in found if key in _keys(tenure)]
        list_ = _List(key, of_key)
        yield from (f"list {key!r}: {finding}" for finding in list_.findings())
        list_.order_into(edges)
    _by_time(found, edges)
    cycle = _cycle(edges)
    if cycle:
        yield f"no order of these tenures gives what was read: {' before '.join(cycle)}"


def _keys(tenure: Tenure) -> set[str]:
    return {*tenure.tickets, *(key for key, *_ in tenure.appends), *(key for key, _ in tenure.reads)}


def _tenures(calls: list[Call], asked: Iterable[list[Call]]) -> list[Tenure]:
    """The tenures with what was done in them; a section without an answer is one without tickets."""
    found: dict[Any, Tenure] = {}
    for call in calls:
        if call.verb == "hold" and call.outcome == "done":
            tickets = {_named(mark.columns): mark.ticket for mark in call.references}
            found[_grant(call)] = Tenure(call.call_id, tickets, call.start_s, call.end_s or math.inf)
    for call in calls:
        if call.verb == "list" and call.outcome == "done":
            tenure = found[_grant(call)]
            tenure.reads.append((call.key[1], Seen(call, call.value or [])))
            tenure.end_s = max(tenure.end_s, call.end_s or math.inf)
    for attempts in asked:
        append = _append(attempts)
        if append.call.verb == "extend":
            tenure = found[append.call.call_id] = _of_section(append)
        else:
            tenure = found[_grant(append.call)]
        tenure.appends.append((append.call.key[1], append.call.argument["element"], append))
        if append.outcome != "refused":
            tenure.end_s = math.inf if append.outcome == "unknown" else max(tenure.end_s, append.end_s)
    return list(found.values())


def _append(attempts: list[Call]) -> Append:
    outcomes = [call.outcome for call in attempts]
    outcome = next(each for each in ("done", "unknown", "refused") if each in outcomes)
    call = attempts[outcomes.index(outcome)]
    return Append(call, outcome, attempts[0].start_s, (call.end_s or math.inf) if outcome == "done" else math.inf)


def _of_section(append: Append) -> Tenure:
    call, done = append.call, append.outcome == "done"
    key = call.key[1]
    tenure = Tenure(
        call.call_id,
        {key: call.value["ticket"]} if done else {},
        append.start_s,
        append.end_s if done else math.inf,
    )
    if done:
        tenure.reads.append((key, Seen(call, call.argument["after"] or [])))
    return tenure


class _List:
    """What was done with the list of one key."""

    def __init__(self, key: str, tenures: list[Tenure]) -> None:
        self._key = key
        self._granted = sorted(
            (tenure for tenure in tenures if key in tenure.tickets), key=lambda each: each.tickets[key]
        )
        self._reads = [(tenure, seen) for tenure in tenures for of, seen in tenure.reads if of == key]
        self._appends = {
            element: (tenure, append) for tenure in tenures for of, element, append in tenure.appends if of == key
        }
        self._order = max((seen.members for _, seen in self._reads), key=len, default=[])
        self._place = {element: place for place, element in enumerate(self._order)}

    def findings(self) -> Iterator[str]:
        for one, other in pairwise(self._granted):
            if one.tickets[self._key] == other.tickets[self._key]:
                yield f"ticket {one.tickets[self._key]} was given to {one.name} and to {other.name}"
        yield from self._members()
        yield from self._late()
        needed, latest = self._needed(), self._latest()
        for tenure, seen in self._reads:
            length = len(seen.members)
            if seen.members != self._order[:length]:
                yield f"{seen.call.call_id} read {seen.members}, which is no beginning of {self._order}"
                continue
            ticket = tenure.tickets[self._key]
            told = f"{seen.call.call_id} (ticket {ticket}) read {seen.members}"
            lost = self._own_lost(tenure, seen)
            if lost is None:
                place, append = needed(ticket)
                lost = append if place >= length else None
            if lost is not None:
                yield f"{told}, without {lost.call.argument['element']!r} that {lost.call.call_id} had appended"
            if length and latest[length - 1] > ticket:
                yield f"{told}, with an element of the later tenure of ticket {latest[length - 1]}"

    def _own_lost(self, tenure: Tenure, seen: Seen) -> Append | None:
        """An append of the tenure itself that the read should show."""
        for of, _, append in tenure.appends:
            if of == self._key and append.end_s <= seen.call.start_s and not self._holds(seen, append):
                return append
        return None

    def _latest(self) -> list[int]:
        """The highest ticket of those who appended the list up to each place."""
        writers = [self._appends[element][0] if element in self._appends else None for element in self._order]
        return list(accumulate((writer.tickets.get(self._key, 0) if writer else 0 for writer in writers), max))

    def _holds(self, seen: Seen, append: Append) -> bool:
        return self._place.get(append.call.argument["element"], math.inf) < len(seen.members)

    def _members(self) -> Iterator[str]:
        """What is in the lists was appended, once, before. A beginning of the longest one is judged with that, but for the time."""
        asked_s = list(
            accumulate((self._appends[each][1].start_s if each in self._appends else 0.0 for each in self._order), max)
        )
        longest = True
        for _, seen in self._reads:
            length = len(seen.members)
            told = f"{seen.call.call_id} read {seen.members}"
            if length and seen.members == self._order[:length] and asked_s[length - 1] > (seen.call.end_s or 0.0):
                yield f"{told}, with an element before it was appended"
            if seen.members == self._order[:length] and not (longest and length == len(self._order)):
                continue
            longest = longest and length < len(self._order)
            if len(set(seen.members)) < length:
                yield f"{told}, with one element twice"
            for element in seen.members:
                _, append = self._appends.get(element, (None, None))
                if append is None:
                    yield f"{told}, of which {element!r} was never appended"
                elif append.outcome == "refused":
                    yield f"{told}, where the append {append.call.call_id} of {element!r} was refused"

    def _late(self) -> Iterator[str]:
        """Nothing is done under a ticket once a higher one was given."""
        by_time = sorted(self._granted, key=lambda tenure: tenure.granted_s)
        since_s = [tenure.granted_s for tenure in by_time]
        highest = list(accumulate((tenure.tickets[self._key] for tenure in by_time), max))
        for tenure in self._granted:
            ticket = tenure.tickets[self._key]
            acts = [(seen.call, seen.call.start_s) for of, seen in tenure.reads if of == self._key]
            acts += [
                (append.call, append.start_s)
                for of, _, append in tenure.appends
                if of == self._key and append.outcome == "done"
            ]
            for call, start_s in acts:
                there = bisect_left(since_s, start_s)
                if call.verb != "extend" and there and highest[there - 1] > ticket:
                    yield f"{call.call_id} of ticket {ticket} was done though it began after ticket {highest[there - 1]} was given"

    def _needed(self) -> Any:
        """By ticket: the place of the last element that must be there, and its append; an infinite place for one that nobody ever read."""
        tickets: list[int] = []
        last: list[tuple[float, Append | None]] = []
        best: tuple[float, Append | None] = (-1, None)
        for tenure in self._granted:
            for of, element, append in tenure.appends:
                if of == self._key and append.outcome == "done":
                    best = max(best, (self._place.get(element, math.inf), append), key=lambda each: each[0])
            tickets.append(tenure.tickets[self._key])
            last.append(best)

        def needed(ticket: int) -> tuple[float, Append | None]:
            before = bisect_left(tickets, ticket)
            return last[before - 1] if before else (-1, None)

        return needed

    def order_into(self, edges: Edges) -> None:
        """Which tenure comes before which: by ticket, and by what is in the lists."""

        def before(one: Tenure | None, other: Tenure | None) -> None:
            if one is not None and other is not None and one is not other:
                edges[one.name].add(other.name)

        for one, other in pairwise(self._granted):
            before(one, other)
        writers = [self._appends[element][0] if element in self._appends else None for element in self._order]
        for writer, following in pairwise(writers):
            before(writer, following)
        for tenure, seen in self._reads:
            length = len(seen.members)
            if 0 < length <= len(writers):
                before(writers[length - 1], tenure)
            if length < len(writers):
                before(tenure, writers[length])


def _by_time(tenures: list[Tenure], edges: Edges) -> None:
    """A tenure that had ended before another was asked for comes before it. Moments stand between them, so that there are few edges."""
    ordered = sorted(tenures, key=lambda tenure: tenure.start_s)
    starts_s = [tenure.start_s for tenure in ordered]
    for place, tenure in enumerate(ordered):
        edges[place] = {tenure.name, *([place + 1] if place + 1 < len(ordered) else [])}
    for tenure in ordered:
        place = bisect_left(starts_s, tenure.end_s)
        if place < len(ordered):
            edges[tenure.name].add(place)


def _cycle(edges: Edges) -> list[str]:
    """The names along a cycle, none if there is none."""
    waits = dict.fromkeys(edges, 0)
    for targets in edges.values():
        for target in targets:
            waits[target] += 1
    free = [each for each, count in waits.items() if not count]
    for each in free:  # grows meanwhile
        for target in edges[each]:
            waits[target] -= 1
            if not waits[target]:
                free.append(target)
    left = {each for each, count in waits.items() if count}
    if not left:
        return []
    # Everything that is left has something left before it: whoever walks back comes round.
    behind = {target: each for each in sorted(left, key=str) for target in edges[each] if target in left}
    walked: list[Any] = [next(iter(behind))]
    while behind[walked[-1]] not in walked:
        walked.append(behind[walked[-1]])
    ring = walked[walked.index(behind[walked[-1]]) :]
    names = [each for each in reversed(ring) if isinstance(each, str)]
    return [*names, *names[:1]]


def _grant(call: Call) -> tuple[tuple[str, int], ...]:
    return tuple((_named(mark.columns), mark.ticket) for mark in call.references)


def _named(columns: tuple[str, ...]) -> str:
    """The key that a reference names by its serialised columns."""
    return base64.b64decode(columns[0]).decode()
