"""What a drill is held to beside what the judge says: that sites go on, recover in time, answer in time, and say how they are. Decisions only."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator

from polysite.lab.drills.record import Check, Run
from polysite.lab.drills.tenures import Tenure, hand_overs_s, longest_gap_s
from polysite.site.plain import CLOCK_IS_OFF
from polysite.testing.history import Call, History
from polysite.testing.recorded import HEALTH, LOCKED, UNLOCKED

SETTLE_S_MAX = 30.0


def availability(run: Run, load: History, found: list[Tenure]) -> Iterator[Check]:
    """All of them. `found`: the tenures of the load."""
    yield from _calm(run, load, found)
    yield from _recovery(run, found)
    yield _hanging(run, load)
    yield from _alike(run, load)
    yield from _health(run, load)
    yield from _struck(run, load)
    yield from _pace(run, found)


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


def _alike(run: Run, load: History) -> Iterator[Check]:
    """Rows without locks are the same everywhere soon. That what is there is what was written last is the judge's."""
    if not any(call.key[0] in UNLOCKED and call.verb == "write" for call in load):
        return
    since, took_s = settled(run)
    told = "never" if took_s is None else f"{took_s:.1f} s after {since}"
    yield Check(
        name=f"rows without locks are alike everywhere within {SETTLE_S_MAX:.0f} s of {since}",
        verdict="failed" if took_s is None or took_s > SETTLE_S_MAX else "ok",
        finding=told,
    )


def settled(run: Run) -> tuple[str, float | None]:
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
                and call.verb == "write"
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


def _outcomes(calls: History) -> str:
    """`3 unavailable, 1 outcome_unknown`."""
    counted = Counter(_code(call) for call in calls)
    return ", ".join(f"{count} {code}" for code, count in counted.most_common())


def _code(call: Call) -> str:
    return f"{call.verb}: {call.code or call.outcome}"
