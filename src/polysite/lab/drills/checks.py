"""What a drill is held to. Decisions only: a run and its history are handed in, verdicts come out."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator

from polysite.errors import LockLost
from polysite.lab.drills.record import Check, Figure, Run
from polysite.lab.drills.tenures import Tenure, hand_overs_s, longest_gap_s, tenures
from polysite.site.coordinator import CLOCK_IS_OFF
from polysite.testing.history import Call, History
from polysite.testing.judge import judge
from polysite.testing.recorded import HEALTH, LOCKED, UNLOCKED

FINDINGS_TOLD_MAX = 5
SETTLE_S_MAX = 30.0


def checks(run: Run, history: History) -> list[Check]:
    """Every check, the judge's first. `history`: of the load and of the last look together."""
    load = history.where(lambda call: not call.process.endswith("-look"))
    found = tenures(load, run.began_s)
    return [
        _assumptions(load, found),
        _judged(history),
        *_calm(run, load, found),
        *_late(run, load),
        *_recovery(run, found),
        _hanging(run, load),
        *_plain(run, load),
        *_health(run, load),
        *_struck(run, load),
        *_pace(run, found),
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
        Figure(name="rows without locks alike everywhere after the load", value=_rounded(_settled(run)[1]), unit="s"),
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


def _judged(history: History) -> Check:
    name = "nothing acknowledged is lost, no zombie's write is read"
    findings = judge(history, plain=UNLOCKED)
    if findings:
        return Check(name=name, verdict="failed", finding="; ".join(findings[:FINDINGS_TOLD_MAX]))
    return Check(name=name, verdict="ok", finding=f"{len(history)} calls judged")


def _calm(run: Run, load: History, found: list[Tenure]) -> Iterator[Check]:
    """Sites that nothing happened to."""
    expected = run.scenario.expected
    for site in expected.calm:
        failed = load.where(lambda call, site=site: call.site == site and call.outcome != "done")  # type: ignore[misc]
        yield Check(
            name=f"no call fails at {site}",
            verdict="failed" if len(failed) else "ok",
            finding=_outcomes(failed) if len(failed) else "none failed",
        )
        if expected.stall_s is not None:
            moments = [one.put_s for one in found if one.site == site and one.put_s is not None]
            gap_s = longest_gap_s(moments, 0.0, run.lasted_s)
            yield Check(
                name=f"{site} goes on",
                verdict="ok" if gap_s <= expected.stall_s else "failed",
                finding=f"the longest time without a tenure that ended well was {gap_s:.1f} s (at most {expected.stall_s:g} s)",
            )


def _late(run: Run, load: History) -> Iterator[Check]:
    """Whether there were zombies at all."""
    if least := run.scenario.expected.late_writes:
        late = len(load.where(_is_late))
        yield Check(
            name=f"at least {least} writes come from holders that had lost their lock",
            verdict="ok" if late >= least else "unknown",
            finding=f"{late} did",
        )


def recovery(run: Run, found: list[Tenure]) -> float | None:
    """How long after the last healing the first tenure ended well at the struck site; None: none did."""
    after = [
        one.put_s - run.healed_s for one in found if one.site == run.scenario.expected.struck and one.put_s is not None
    ]
    return min((span for span in after if span >= 0), default=None)


def _recovery(run: Run, found: list[Tenure]) -> Iterator[Check]:
    expected = run.scenario.expected
    if expected.recovery_s is None:
        return
    took_s = recovery(run, found)
    name = f"{expected.struck} recovers within {expected.recovery_s:g} s of healing"
    if took_s is None:
        yield Check(name=name, verdict="failed", finding="no tenure ended well there after healing")
    else:
        yield Check(
            name=name, verdict="ok" if took_s <= expected.recovery_s else "failed", finding=f"it took {took_s:.2f} s"
        )


def _hanging(run: Run, load: History) -> Check:
    """Every call ends within its time, whatever is broken. A call that was under way when its client ended says nothing."""
    longest = max(load, key=lambda call: (call.end_s or call.start_s) - call.start_s, default=None)
    took_s = 0.0 if longest is None or longest.end_s is None else longest.end_s - longest.start_s
    bound_s = run.scenario.expected.call_s
    open_ones = len(load.pending())
    fine = took_s <= bound_s and not open_ones
    hung = f"; {open_ones} never ended" if open_ones else ""
    return Check(
        name="no call hangs",
        verdict="ok" if fine else "failed",
        finding=f"the longest took {took_s:.1f} s (at most {bound_s:g} s){hung}",
    )


def _plain(run: Run, load: History) -> Iterator[Check]:
    """Rows without locks: alike everywhere in the end, and written on where the scenario says so."""
    last = _last_words(load)
    if not last:
        return
    wrong = [
        f"{site} shows {rows.get(key)!r} of {key}, not {value!r}"
        for site, rows in sorted(run.plain_rows.items())
        for key, value in sorted(last.items())
        if value is not None and rows.get(key) != value
    ]
    since, took_s = _settled(run)
    late = took_s is None or took_s > SETTLE_S_MAX
    told = "; ".join(wrong[:FINDINGS_TOLD_MAX]) or f"{len(last)} rows, {took_s or math.inf:.1f} s after {since}"
    name = f"rows without locks are alike everywhere within {SETTLE_S_MAX:.0f} s of {since}"
    yield Check(name=name, verdict="failed" if wrong or late else "ok", finding=told)
    if run.scenario.expected.plain_goes_on:
        begin_s, end_s = run.began_s + run.struck_s, run.began_s + run.healed_s
        written = load.where(
            lambda call: (
                call.site == run.scenario.expected.struck
                and call.key[0] in UNLOCKED
                and (call.verb, call.outcome) == ("put", "done")
                and begin_s <= call.start_s
                and (call.end_s or math.inf) <= end_s
            )
        )
        left = {_row(call) for call in written} - {
            _row(call) for call in load if call.key[0] in UNLOCKED and call.verb == "put" and call.start_s > end_s
        }
        tables = {name.partition("/")[0] for name in left}
        yield Check(
            name="some of these rows were written at the struck site while it was struck, and not since",
            verdict="ok" if tables == set(UNLOCKED) else "unknown",
            finding=f"{len(left)} rows, of the tables {', '.join(sorted(tables)) or 'none'}",
        )


def _settled(run: Run) -> tuple[str, float | None]:
    """When the rows without locks were alike everywhere: since what, and how long after that (None: never)."""
    # Where they go on being written at the struck site it is the healing that brings them to the others.
    healed = run.scenario.expected.plain_goes_on
    began_s = run.healed_s if healed else run.lasted_s
    return "healing" if healed else "the load's end", None if run.settled_s is None else run.settled_s - began_s


def _health(run: Run, load: History) -> Iterator[Check]:
    """What the sites say of themselves: ready where nothing happened, and not where the clock is off."""
    expected = run.scenario.expected
    asked = load.where(lambda call: call.key[0] == HEALTH and call.outcome == "done")
    for site in expected.calm:
        here = asked.where(lambda call, site=site: call.site == site)  # type: ignore[misc]
        wrong = here.where(lambda call: not call.value["ready"])
        if len(here):
            reasons = sorted({reason for call in wrong for reason in call.value["reasons"]})
            yield Check(
                name=f"{site} says that it is ready",
                verdict="failed" if len(wrong) else "ok",
                finding=f"{len(wrong)} of {len(here)} times not: {'; '.join(reasons)}"
                if reasons
                else f"{len(here)} times",
            )
    if expected.clock_told_after_s is not None:
        begin_s, end_s = run.began_s + run.struck_s + expected.clock_told_after_s, run.began_s + run.healed_s
        there = asked.where(
            lambda call: call.site == expected.struck and begin_s <= call.start_s and (call.end_s or math.inf) <= end_s
        )
        told = there.where(lambda call: CLOCK_IS_OFF in call.value["reasons"])
        yield Check(
            name=f"{expected.struck} says that its clock is off",
            verdict="unknown" if not len(there) else "ok" if len(told) == len(there) else "failed",
            finding=f"{len(told)} of {len(there)} times",
        )


def _struck(run: Run, load: History) -> Iterator[Check]:
    """What goes on at the struck site all the same, and what must not."""
    expected = run.scenario.expected
    there = load.where(lambda call: call.site == expected.struck)
    for goes_on, tables, what in (
        (expected.plain_goes_on, UNLOCKED, "calls without locks go on"),
        (expected.locked_goes_on, (LOCKED,), "calls under locks go on"),
    ):
        if goes_on:
            failed = there.where(lambda call, tables=tables: call.key[0] in tables and call.outcome != "done")  # type: ignore[misc]
            yield Check(
                name=f"{what} at {expected.struck}",
                verdict="failed" if len(failed) else "ok",
                finding=_outcomes(failed) if len(failed) else "none failed",
            )
    if expected.clock_told_after_s is not None:
        begin_s = run.began_s + run.struck_s + expected.clock_told_after_s
        end_s = run.began_s + run.healed_s
        puts = there.where(
            lambda call: (
                call.key[0] in UNLOCKED
                and call.verb == "put"
                and begin_s <= call.start_s
                and (call.end_s or 0) <= end_s
            )
        )
        done = puts.where(lambda call: call.outcome != "refused")
        yield Check(
            name=f"writes without locks are refused at {expected.struck}",
            verdict="failed" if len(done) else "ok" if len(puts) else "unknown",
            finding=f"{len(done)} of {len(puts)} were not",
        )


def _last_words(load: History) -> dict[str, str | None]:
    """Per row without locks (table/key) the value that was written last; None if that is not known for certain."""
    last: dict[str, str | None] = {}
    for call in load:
        if call.key[0] in UNLOCKED and call.verb == "put" and call.outcome != "refused":
            last[_row(call)] = call.argument["value"] if call.outcome == "done" else None
    return last


def _row(call: Call) -> str:
    return "/".join(call.key)


def _pace(run: Run, found: list[Tenure]) -> Iterator[Check]:
    """Speed, in wide-area round trips; nothing is asked of it where the sites are not apart."""
    expected, w_s = run.scenario.expected, run.majority_rtt_ms / 1000
    if expected.tenures_per_w is not None and w_s:
        bound, pace = expected.tenures_per_w / w_s, sum(tenure.ended_well for tenure in found) / run.lasted_s
        yield Check(
            name=f"at least {bound:.1f} tenures per second in all",
            verdict="ok" if pace >= bound else "failed",
            finding=f"{pace:.2f} per second",
        )
    if expected.hand_over_w is not None and w_s:
        handed = list(hand_overs_s(found))
        took_w = statistics.median(handed) / w_s if handed else math.inf
        yield Check(
            name=f"a hand-over between sites takes at most {expected.hand_over_w:g} wide-area round trips",
            verdict="unknown" if not handed else "ok" if took_w <= expected.hand_over_w else "failed",
            finding=f"{took_w:.2f} at the median of {len(handed)}",
        )


def _is_late(call: Call) -> bool:
    """A put under a lock that was told to have been lost, or may have been: none of them may be read after a later tenure's."""
    told = call.code == LockLost.code or (isinstance(call.value, dict) and call.value.get("reason") == "lock_lost")
    return call.verb == "put" and call.key[0] == LOCKED and told


def _outcomes(calls: History) -> str:
    """`3 unavailable, 1 outcome_unknown`."""
    counted = Counter(_code(call) for call in calls if call.key[0] != LOCKED or call.verb != "get")
    return ", ".join(f"{count} {code}" for code, count in counted.most_common())


def _code(call: Call) -> str:
    return f"{call.verb}: {call.code or call.outcome}"


def _ms(spans_s: list[float]) -> float | None:
    return round(statistics.median(spans_s) * 1000, 1) if spans_s else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
