"""What failed where and for how long, as lines for people. Decisions only."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from polysite.lab.drills.record import Run
from polysite.testing.history import Call, History
from polysite.testing.judging.timeline import Strike
from polysite.testing.recorded import HEALTH

STEP_S = 2.0
GAP_S = 5.0
"""Failures of one kind at one site that are less than this apart are told as one span."""


def timeline(run: Run, history: History) -> Iterator[str]:
    """Per span of time and site: calls that were done, and that were not; what was done to the lab in between."""
    calls = [call for call in history if _counts(call)]
    steps = int(run.lasted_s // STEP_S) + 1
    counted: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for call in calls:
        counted[int(((call.end_s or call.start_s) - run.began_s) // STEP_S), call.site][call.outcome] += 1
    yield "     s  " + "".join(f"{site:>24}" for site in run.sites)
    yield "        " + "".join(f"{'done refused unknown':>24}" for _ in run.sites)
    events = sorted(run.events, key=lambda event: event.start_s)
    for step in range(steps):
        while events and events[0].start_s < (step + 1) * STEP_S:
            event = events.pop(0)
            took = (
                f", complete after {event.end_s - event.start_s:.1f} s"
                if event.end_s - event.start_s > STEP_S / 2
                else ""
            )
            yield f"{event.start_s:6.1f}  — {event.about}{took}"
        row = (counted[step, site] for site in run.sites)
        yield f"{step * STEP_S:6.0f}  " + "".join(f"{_cell(counts):>24}" for counts in row)


def spans(run: Run, history: History) -> Iterator[str]:
    """What failed where, from when to when."""
    failed: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for call in history:
        if _counts(call) and call.outcome != "done":
            moment_s = (call.end_s or call.start_s) - run.began_s
            failed[call.site, call.key[0], f"{call.verb}: {call.code or 'never answered'}"].append(moment_s)
    for (site, table, what), moments in sorted(failed.items(), key=lambda item: (item[0][0], min(item[1]))):
        for begin_s, end_s, count in _grouped(sorted(moments)):
            yield f"{site}  {begin_s:6.1f} to {end_s:6.1f} s  {count:4d} x {what} ({table})"


def strikes(run: Run) -> list[Strike]:
    """What was done to the lab, on the histories' clock: from when it was there to when it was healed, or to the end."""
    began: dict[str, float] = {}
    found: list[Strike] = []
    for event in run.events:
        fault = event.about.partition(" ")[2]
        if event.heals and fault in began:
            found.append(Strike(run.began_s + began.pop(fault), run.began_s + event.end_s, _plainly(fault)))
        elif not event.heals:
            began[fault] = event.start_s
    until_s = run.began_s + run.lasted_s
    found += [Strike(run.began_s + start_s, until_s, _plainly(fault)) for fault, start_s in began.items()]
    return sorted(found)


def _plainly(fault: str) -> str:
    """A fault without the signs of JSON: `cut irv`, `freeze irv polysite`."""
    return " ".join(re.sub(r'"\w+":(false|null)|"\w+":|[{}\[\]",]', " ", fault).split())


def _grouped(moments: list[float]) -> Iterator[tuple[float, float, int]]:
    begin_s = end_s = moments[0]
    count = 0
    for moment in moments:
        if moment - end_s > GAP_S:
            yield begin_s, end_s, count
            begin_s, count = moment, 0
        end_s = moment
        count += 1
    yield begin_s, end_s, count


def _counts(call: Call) -> bool:
    """The last look and questions of health are no load."""
    return not call.process.endswith("-look") and call.key[0] != HEALTH


def _cell(counts: Counter[str]) -> str:
    if not counts:
        return "-"
    return f"{counts['done']:>4} {counts['refused'] or '-':>7} {counts['unknown'] or '-':>7}"
