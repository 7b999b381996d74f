"""Writes that are ordered by their stamps: without a lock, under one, and both on one key; with lives and asked again with a request id.

The answer of a write tells its stamp. So a history says which write of a column counts, and the judge asks of every read whether what it shows
may be what counts. It reads the calls about one row with these verbs (others it passes over); every value is written once:

* `assign` with `argument` {"columns": {COLUMN: VALUE}, "level": L, "by": PROCESS}, perhaps "life_ms", "request" (calls with the same one are
  one request) and "calm" (every process has had the time to notice that its clock is off); `value` {"stamp": S}. `erase`: the same
  without columns, of the whole row.
* `show` with {"level": L}; `value` is {COLUMN: VALUE} without nulls, or null. `critical` ones have a reference. Level `last` is a read after all
  faults, when every replica has been told what it missed; an `eventual` or a `quorum` one.
* `acquire` of the key, for when a tenure began.

What is held against a read: a value nobody wrote, or whose write was refused or had not begun, or whose life was over; one that is gone
before its life was over; one with a lower stamp than a write that the read had to see. A `quorum` read must see what a majority had stored
before it began, one under a lock what it had before the lock was asked for and its tenure's own writes, a last one all. On a key that is locked,
writes without a lock that did not know of it are ordered before it, and may be hidden by it (`locks.md` 6.5): they are held to
what a majority of them had before the first lock was asked for, and may not change what a holder has read.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from polysite.core.stamps import STAMP_BASE
from polysite.testing.history import Call, History
from polysite.testing.judging.asked_again import judge_asked_again

WRITES = ("assign", "erase")
EARLY_S = 1.0
"""A holder that rewrites a row with less life than this lets it end (`core.restamp`)."""
EXACT_S = 0.01
CLOCKS_APART_S = 1.2
"""Two processes that write without locks agree about the time up to this: each may be half a second off the median, and a little more that
nobody can tell."""
ROW = ""
"""Stands for the row being there, as a column."""


class Write:
    """A request to write, however often it was asked."""

    def __init__(self, calls: list[Call], columns: Iterable[str]) -> None:
        first, outcomes = calls[0], {call.outcome for call in calls}
        done = [call for call in calls if call.outcome == "done"]
        self.call = done[0] if done else first
        self.was_asked_again = len(calls) > 1
        self.outcome = next(outcome for outcome in ("done", "unknown", "refused") if outcome in outcomes)
        self.start_s = first.start_s
        self.end_s = min((call.end_s or math.inf for call in done), default=math.inf)
        self.stamp: int | None = done[0].value["stamp"] if done else None
        self.level: str = first.argument["level"]
        self.life_s: float | None = (first.argument["life_ms"] / 1000) if first.argument.get("life_ms") else None
        self.ticket = first.references[0].ticket if first.references else None
        self.is_calm = bool(first.argument.get("calm"))
        self.columns: dict[str, Any] = (
            {**first.argument["columns"], ROW: True} if first.verb == "assign" else dict.fromkeys((*columns, ROW))
        )

    @property
    def is_plain(self) -> bool:
        """It is known to have been made without a lock."""
        return self.stamp is not None and self.stamp < STAMP_BASE

    @property
    def is_on_a_majority(self) -> bool:
        return self.outcome == "done" and (self.level != "eventual" or not self.is_plain)


class Highest:
    """The writes of one column, for the one with the highest stamp up to a moment."""

    def __init__(self, writes: Iterable[tuple[float, float, Write]]) -> None:
        """Each: since when it counts, its stamp, the write."""
        self._since_s: list[float] = []
        self._highest: list[tuple[float, Write]] = []
        for since_s, stamp, write in sorted(writes, key=lambda item: item[0]):
            self._since_s.append(since_s)
            best = self._highest[-1] if self._highest else (-1.0, write)
            self._highest.append((stamp, write) if stamp > best[0] else best)

    def up_to(self, moment_s: float) -> tuple[float, Write] | None:
        there = bisect_right(self._since_s, moment_s)
        return self._highest[there - 1] if there else None


def judge_stamped(calls: History) -> Iterator[str]:
    """What cannot be in the calls about one row."""
    if any(call.verb in (*WRITES, "show") for call in calls):
        row = _Row(calls)
        yield from judge_asked_again(row.asked)
        yield from row.shown()
        yield from row.agreement()
        yield from row.clocks()
        yield from row.roads()


class _Row:
    def __init__(self, calls: History) -> None:
        self._calls = calls
        self.asked: dict[str, list[Call]] = {}
        for call in calls:
            if call.verb in WRITES:
                self.asked.setdefault(call.argument.get("request") or call.call_id, []).append(call)
        assigned = [call for call in calls if call.verb == "assign"]
        names = {name for call in assigned for name in call.argument["columns"]}
        self.writes = [Write(asked, sorted(names)) for asked in self.asked.values()]
        self._began_s = {
            call.references[0].ticket: call.start_s
            for call in calls
            if call.verb == "acquire" and call.outcome == "done"
        }
        self._locked_s = min((call.start_s for call in calls if call.verb == "acquire"), default=math.inf)
        self._shows = [call for call in calls if call.verb == "show" and call.outcome == "done"]
        # Whether a row without values is there is told by its marker, which ends with the life of the last write.
        lives = any(write.life_s is not None for write in self.writes)
        self._columns = sorted(names) if lives else [*sorted(names), ROW]
        self._by_value = {
            (name, value): write for write in self.writes for name, value in write.columns.items() if name != ROW
        }
        self._ends_s = {id(write): self._life_ends_s(write) for write in self.writes if write.life_s is not None}
        held = [show for show in self._shows if show.argument["level"] == "critical"]
        self._first_held = min(held, key=lambda show: show.end_s or 0.0, default=None)
        self._held = sorted(held, key=lambda show: show.end_s or 0.0)

    # the rules

    def shown(self) -> Iterator[str]:
        """What each read shows may be what counts."""
        for name in self._columns:
            must_see = {scope: self._counting(name, scope) for scope in ("quorum", "last")}
            own = {ticket: self._counting(name, ticket) for ticket in self._began_s}
            nulls, earlier = self._nulls(name), _Earlier(name, self._held, self._began_s)
            for show in sorted(self._shows, key=self._sees_from_s):
                level = show.argument["level"]
                needed = must_see["last" if level == "last" else "quorum"].up_to(self._sees_from_s(show))
                if level == "eventual":
                    needed = None
                if level == "critical":
                    of_tenure = own.get(show.references[0].ticket)
                    mine = None if of_tenure is None else of_tenure.up_to(show.start_s)
                    needed = max((each for each in (needed, mine) if each), key=lambda each: each[0], default=None)
                value = _shown(show, name)
                told = f"{show.call_id} ({level}) read {value!r} in {name or 'the row'}"
                if value is None or name == ROW:
                    fault = self._null_fault(show, value, needed, nulls)
                else:
                    fault = self._value_fault(show, name, value, needed)
                    if not fault and level != "eventual":
                        fault = earlier.fault(self._by_value[name, value], value, self._sees_from_s(show))
                if fault:
                    yield f"{told}, {fault}"

    def agreement(self) -> Iterator[str]:
        """In the end all sites read the same."""
        last = [show for show in self._shows if show.argument["level"] == "last"]
        for show in last[1:]:
            if show.value != last[0].value:
                yield f"{show.call_id} at {show.site} read {show.value} in the end, and {last[0].call_id} at {last[0].site} {last[0].value}"

    def clocks(self) -> Iterator[str]:
        """Who knows that its clock is off does not write without a lock: the others agree."""
        calm = [write for write in self.writes if write.is_calm and write.is_plain]
        if not calm:
            return
        ahead = [
            ((write.stamp or 0) / 1e6 - write.end_s, (write.stamp or 0) / 1e6 - write.start_s, write) for write in calm
        ]
        first = min(ahead, key=lambda each: each[1])
        for low_s, _, write in ahead:
            if low_s - first[1] > CLOCKS_APART_S:
                yield f"{write.call.call_id} has a stamp {low_s - first[1]:.3f} s ahead of that of {first[2].call.call_id}: a clock is off"

    def roads(self) -> Iterator[str]:
        """A process that has served a lock of the key writes it under one."""
        served: dict[str, float] = {}
        for call in self._calls:
            if call.verb == "acquire" and call.outcome == "done":
                by = (call.argument or {}).get("by", "")
                served[by] = min(served.get(by, math.inf), call.end_s or math.inf)
        for write in self.writes:
            if (
                write.is_plain
                and not write.was_asked_again
                and write.call.start_s >= served.get(write.call.argument.get("by", ""), math.inf)
            ):
                yield f"{write.call.call_id} was made without a lock, by a process that had served one of the key"

    # what counts

    def _counting(self, name: str, scope: str | int) -> Highest:
        """The writes of a column that reads of that scope must see: `quorum`, `last`, or of the tenure with that ticket."""

        def counts(write: Write) -> bool:
            if name not in write.columns or write.outcome != "done":
                return False
            if isinstance(scope, int):
                return write.ticket == scope
            if self._locked_s < math.inf and write.is_plain and write.end_s > self._locked_s:
                return False
            return write.is_on_a_majority or (scope == "last" and self._locked_s == math.inf)

        return Highest((write.end_s, write.stamp or 0, write) for write in self.writes if counts(write))

    def _nulls(self, name: str) -> Highest:
        """What may leave the column without a value, and from when on."""
        found: list[tuple[float, float, Write]] = []
        for write in self.writes:
            if name not in write.columns or write.outcome == "refused":
                continue
            stamp = math.inf if write.stamp is None else write.stamp
            if write.columns[name] is None:
                found.append((write.start_s, stamp, write))
            elif write.life_s is not None:
                early_s = EXACT_S if self._locked_s == math.inf else EARLY_S + EXACT_S
                found.append((write.start_s + write.life_s - early_s, stamp, write))
        return Highest(found)

    def _null_fault(self, show: Call, value: Any, needed: tuple[float, Write] | None, nulls: Highest) -> str:
        if value is not None:  # the row is there
            fits = needed is None or needed[1].columns[ROW] or any(show.value.values()) or self._may_be_there(needed[0])
            return "" if fits else f"though {needed[1].call.call_id} had erased it"  # type: ignore[index]
        if needed is None:
            return ""
        null = nulls.up_to(show.end_s or math.inf)
        if null is not None and null[0] >= needed[0]:
            return ""
        return f"though {needed[1].call.call_id} had written it"

    def _may_be_there(self, stamp: float) -> bool:
        return any(
            write.columns[ROW] and write.outcome != "refused" and (write.stamp is None or write.stamp >= stamp)
            for write in self.writes
        )

    def _value_fault(self, show: Call, name: str, value: Any, needed: tuple[float, Write] | None) -> str:
        write = self._by_value.get((name, value))
        if write is None:
            return "which nobody wrote"
        if write.outcome == "refused":
            return f"whose write {write.call.call_id} was refused"
        if write.start_s > (show.end_s or 0.0):
            return "before it was written"
        if self._ends_s.get(id(write), math.inf) < show.start_s:
            return f"whose life was over at {self._ends_s[id(write)]:.3f}"
        if write.stamp is not None and needed is not None and write.stamp < needed[0]:
            return f"though {needed[1].call.call_id} had written a later value"
        if write.is_plain and show.argument["level"] != "eventual" and self._was_settled(show, name, value):
            return "a write without a lock that took the place of what a holder had read"
        return ""

    def _was_settled(self, show: Call, name: str, value: Any) -> bool:
        """Whether a holder had read something else before."""
        first = self._first_held
        return first is not None and show.start_s >= (first.end_s or 0.0) and _shown(first, name) != value

    def _sees_from_s(self, show: Call) -> float:
        """What was answered before that moment is seen by the read: under a lock, when it was asked for."""
        if show.argument["level"] == "critical":
            return self._began_s.get(show.references[0].ticket, 0.0)
        return show.start_s

    def _life_ends_s(self, write: Write) -> float:
        """When the value is surely gone. A holder that rewrites the row measures what is left and writes it: so long it may last longer."""
        ends_s = write.end_s + (write.life_s or 0.0) + EXACT_S
        for call in self._calls:
            if call.verb == "show" and call.argument["level"] == "critical" and write.start_s <= call.start_s <= ends_s:
                ends_s += math.inf if call.outcome != "done" else (call.end_s or math.inf) - call.start_s
        return ends_s


class _Earlier:
    """What holders have read before, of one column: what was older than that when they read it does not come back."""

    def __init__(self, name: str, held: list[Call], began_s: dict[int, float]) -> None:
        self._name = name
        self._held = held
        self._began_s = began_s
        self._at = 0
        self._latest: dict[Any, float] = {}
        """The two values read by the tenures that began last, and when."""

    def fault(self, write: Write, value: Any, from_s: float) -> str:
        """`from_s` must not go down from one call to the next."""
        while self._at < len(self._held) and (self._held[self._at].end_s or 0.0) <= from_s:
            show = self._held[self._at]
            seen, began_s = _shown(show, self._name), self._began_s.get(show.references[0].ticket, 0.0)
            self._latest[seen] = max(began_s, self._latest.get(seen, 0.0))
            if len(self._latest) > 2:
                del self._latest[min(self._latest, key=lambda each: self._latest[each])]
            self._at += 1
        for other, began_s in self._latest.items():
            if other != value and write.end_s <= began_s and not write.is_plain:
                return f"though a holder had read {other!r} in its place"
        return ""


def _shown(show: Call, name: str) -> Any:
    if name == ROW:
        return None if show.value is None else True
    return None if show.value is None else show.value.get(name)
