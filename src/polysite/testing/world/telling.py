"""A run in which something was found, as lines: its faults, and a picture of the calls that show it."""

from collections.abc import Iterator

import msgspec

from polysite.testing.judging.explaining import explained
from polysite.testing.judging.judge import judge
from polysite.testing.judging.timeline import Strike
from polysite.testing.world.faults import Fault
from polysite.testing.world.running import Plan, Verdict
from polysite.testing.world.shrinking import Smaller, began_s, smaller

AT_ONCE = ("another process", "clock steps")
"""Faults that are done and over."""

EVERYWHERE = ("messages", "changes", "commits", "views", "writes", "no ", "connections", "requests", "answers")
"""Faults whose names begin so strike all sites alike, more or less of it."""


def told_faults(plan: Plan) -> Iterator[str]:
    """The faults of a plan, one a line."""
    for fault in plan.schedule:
        yield f"{fault.at_s:7.2f} s  for {fault.lasts_s:5.2f} s  {fault.name} {_where(fault)}".rstrip()


def picture(plan: Plan, verdict: Verdict) -> Iterator[str]:
    """What was found first, drawn with the faults of the run; nothing if nothing was found."""
    if verdict.history is None or not verdict.findings:
        return
    begin_s = began_s(verdict)
    strikes = [_strike(fault, begin_s, plan.lasts_s) for fault in plan.schedule if fault.at_s <= plan.lasts_s]
    yield from explained(verdict.history, verdict.findings, judge, sites=plan.sites, strikes=strikes)


def told_smaller(plan: Plan, verdict: Verdict, *, runs_max: int) -> tuple[Smaller, list[str]]:
    """The smallest run that was met in which the same kind of thing is found, and that run in lines."""
    found = smaller(plan, verdict, runs_max=runs_max)
    size = (
        f"smaller, after {found.runs} runs: seed {found.plan.seed}, {len(found.plan.schedule)} of {len(plan.schedule)} faults, "
        f"{found.plan.lasts_s:g} of {plan.lasts_s:g} s, {found.verdict.calls} of {verdict.calls} calls"
    )
    lines = [
        "",
        size,
        *told_faults(found.plan),
        *picture(found.plan, _finding_first(found)),
    ]
    return found, lines


def _finding_first(found: Smaller) -> Verdict:
    """Its verdict, with what was looked for before all else that was found."""
    others = [finding for finding in found.verdict.findings if finding != found.finding]
    return msgspec.structs.replace(found.verdict, findings=[found.finding, *others])


def _strike(fault: Fault, begin_s: float, lasts_s: float) -> Strike:
    """Faults are counted from when the clients began, and all are mended when the time is over."""
    end_s = begin_s + min(fault.at_s + fault.lasts_s, lasts_s)
    return Strike(begin_s + fault.at_s, None if fault.name in AT_ONCE else end_s, f"{fault.name} {_where(fault)}")


def _where(fault: Fault) -> str:
    """Whom it strikes, or how much of it there is."""
    if fault.name.startswith(EVERYWHERE):
        return "" if fault.name.startswith("no ") else f"{abs(fault.amount):.0%}"
    if fault.name.startswith("link"):
        return f"{fault.site}-{fault.other}"
    return f"{fault.site} {fault.amount:+.0%}" if fault.name.startswith("clock") else fault.site


__all__ = ["picture", "told_faults", "told_smaller"]
