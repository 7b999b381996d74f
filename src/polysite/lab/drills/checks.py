"""What a drill is held to: that there is something to be seen, what the judge of histories says, and `availability`. Decisions only."""

import math
import statistics
from collections.abc import Iterator

from polysite.errors import LockLost
from polysite.lab.drills.availability import availability, recovery, settled
from polysite.lab.drills.record import Check, Figure, Run, Verdict
from polysite.lab.drills.tenures import Tenure, hand_overs_s, tenures
from polysite.testing.history import Call, History
from polysite.testing.judging.judge import judge
from polysite.testing.recorded import LOCKED, UNLOCKED

FINDINGS_TOLD_MAX = 5


def checks(run: Run, history: History) -> list[Check]:
    """Every check, the judge's first. `history`: of the load and of the last look together."""
    load = history.where(lambda call: not call.process.endswith("-look"))
    found = tenures(load, run.began_s)
    return [
        _assumptions(load, found),
        _judged(history),
        *_late(run, load),
        *_written_apart(run, load),
        *availability(run, load, found),
    ]


def figures(run: Run, history: History) -> list[Figure]:
    """What a drill measures beside."""
    load = history.where(lambda call: not call.process.endswith("-look"))
    found = tenures(load, run.began_s)
    handed = list(hand_overs_s(found))
    well = [tenure for tenure in found if tenure.ended_well]
    recovery_s = recovery(run, found)
    return [
        Figure(name="tenures that ended well", value=len(well), unit=""),
        Figure(name="the same per second", value=round(len(well) / run.lasted_s, 2), unit="/s"),
        Figure(name="hand-overs between sites seen", value=len(handed), unit=""),
        Figure(name="hand-over, from release call to holding, median", value=_ms(handed), unit="ms"),
        Figure(name="writes of holders that had lost their lock", value=len(load.where(_is_late)), unit=""),
        Figure(name="first tenure at the struck site after healing", value=_rounded(recovery_s), unit="s"),
        Figure(name="rows without locks alike everywhere after the load", value=_rounded(settled(run)[1]), unit="s"),
    ]


def _assumptions(load: History, found: list[Tenure]) -> Check:
    """A judge that saw nothing acquits everybody."""
    sites = {tenure.site for tenure in found if tenure.ended_well}
    missing = sorted({call.site for call in load} - sites)
    if not found or missing:
        where = ", ".join(missing) or "any site"
        return Check(name="there was load", verdict="unknown", finding=f"no tenure ended well at {where}")
    return Check(
        name="there was load", verdict="ok", finding=f"{len(load)} calls, {len(found)} tenures at {len(sites)} sites"
    )


def judged(history: History) -> list[str]:
    """What the judge finds in a drill."""
    return judge(history, plain=UNLOCKED)


def _judged(history: History) -> Check:
    name = "nothing acknowledged is lost, no zombie's write is read"
    findings = judged(history)
    if findings:
        given_up = all(": unknown:" in finding for finding in findings)
        verdict: Verdict = "unknown" if given_up else "failed"
        return Check(name=name, verdict=verdict, finding="; ".join(findings[:FINDINGS_TOLD_MAX]))
    return Check(name=name, verdict="ok", finding=f"{len(history)} calls judged")


def _late(run: Run, load: History) -> Iterator[Check]:
    """Whether there were zombies at all."""
    if least := run.scenario.expected.late_writes:
        late = len(load.where(_is_late))
        yield Check(
            name=f"at least {least} writes come from holders that had lost their lock",
            verdict="ok" if late >= least else "unknown",
            finding=f"{late} did",
        )


def _written_apart(run: Run, load: History) -> Iterator[Check]:
    """Whether anything shows that what is written at a struck site comes to the others."""
    if not run.scenario.expected.plain_goes_on:
        return
    begin_s, end_s = run.began_s + run.struck_s, run.began_s + run.healed_s
    written = load.where(
        lambda call: (
            call.site == run.scenario.expected.struck
            and call.key[0] in UNLOCKED
            and (call.verb, call.outcome) == ("write", "done")
            and begin_s <= call.start_s
            and (call.end_s or math.inf) <= end_s
        )
    )
    left = {_row(call) for call in written} - {
        _row(call) for call in load if call.key[0] in UNLOCKED and call.verb == "write" and call.start_s > end_s
    }
    tables = {name.partition("/")[0] for name in left}
    yield Check(
        name="some rows without locks were written at the struck site while it was struck, and not since",
        verdict="ok" if tables == set(UNLOCKED) else "unknown",
        finding=f"{len(left)} rows, of the tables {', '.join(sorted(tables)) or 'none'}",
    )


def _row(call: Call) -> str:
    return "/".join(call.key)


def _is_late(call: Call) -> bool:
    """A put under a lock that was told to have been lost, or may have been: none of them may be read after a later tenure's."""
    told = call.code == LockLost.code or (isinstance(call.value, dict) and call.value.get("reason") == "lock_lost")
    return call.verb == "write" and call.key[0] == LOCKED and told


def _ms(spans_s: list[float]) -> float | None:
    return round(statistics.median(spans_s) * 1000, 1) if spans_s else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
