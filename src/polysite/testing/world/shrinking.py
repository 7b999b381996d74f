"""From a run in which something was found to a smaller one in which the same is found: fewer faults, shorter ones, fewer clients and
keys, less time.

    found = smaller(Plan(seed=17), verdict, runs_max=60)

Each try is a whole run. A run with one fault less is another run from its first difference on, so what was found may not come up in it
though it could; where the plan's own seed does not show it again, others are tried.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from polysite.testing.judging.findings import kind_of, named_by
from polysite.testing.judging.shrinking import minimal
from polysite.testing.world.faults import Fault
from polysite.testing.world.running import Plan, Verdict, carried_out
from polysite.testing.world.traffic import Traffic

RUNS_MAX = 60
SEEDS_TRIED = 3
"""The plan's own, and others."""

LASTS_S_MIN = 0.5
ROOM_S = 0.3
"""A run goes on for so long after what is found."""


class Smaller(NamedTuple):
    """A plan, what came of it, and how many runs it took to get there."""

    plan: Plan
    verdict: Verdict
    finding: str
    runs: int


def smaller(plan: Plan, verdict: Verdict, *, runs_max: int = RUNS_MAX) -> Smaller:
    """The smallest plan that was met in which the first finding's kind is found. `verdict`: of the plan, with findings and its history."""
    explicit = msgspec.structs.replace(
        plan,
        faults=tuple(plan.schedule),
        names=(),
        traffic=plan.clients_do,
        company=plan.further,
        served=plan.is_served,
    )
    hunt = _Hunt(explicit, verdict, runs_max)
    hunt.less_time()
    hunt.fewer_clients()
    hunt.fewer_faults()
    hunt.fewer_keys()
    hunt.shorter_faults()
    hunt.less_time()
    hunt.fewer_faults()
    return Smaller(hunt.plan, hunt.verdict, hunt.finding, hunt.runs)


class _Hunt:
    """The smallest plan so far."""

    def __init__(self, plan: Plan, verdict: Verdict, runs_max: int) -> None:
        self.plan = plan
        self.verdict = verdict
        self.finding = verdict.findings[0]
        self.runs = 0
        self._kind = kind_of(self.finding)
        self._runs_max = runs_max

    def holds(self, plan: Plan) -> bool:
        """Whether the same is found in that plan's run; then it is the smallest so far."""
        others = [seed for seed in range(SEEDS_TRIED) if seed != plan.seed][: SEEDS_TRIED - 1]
        for seed in (plan.seed, *others):
            if self.runs >= self._runs_max:
                return False
            self.runs += 1
            tried = msgspec.structs.replace(plan, seed=seed)
            verdict = carried_out(tried)
            found = [finding for finding in verdict.findings if kind_of(finding) == self._kind]
            if found:
                self.plan, self.verdict, self.finding = tried, verdict, found[0]
                return True
        return False

    def less_time(self) -> None:
        """Up to what is found, and then half as long again and again."""
        found_s = self._found_s()
        if found_s is not None and found_s + ROOM_S < self.plan.lasts_s:
            self.holds(msgspec.structs.replace(self.plan, lasts_s=round(found_s + ROOM_S, 3)))
        while self.plan.lasts_s > 2 * LASTS_S_MIN and self.holds(
            msgspec.structs.replace(self.plan, lasts_s=round(self.plan.lasts_s / 2, 3))
        ):
            pass

    def fewer_faults(self) -> None:
        def holds(faults: Sequence[Fault]) -> bool:
            return self.holds(msgspec.structs.replace(self.plan, faults=tuple(faults)))

        within = [fault for fault in self.plan.schedule if fault.at_s <= self.plan.lasts_s]
        if len(within) < len(self.plan.schedule):
            # What would begin after the end never does: that is the same run.
            self.plan = msgspec.structs.replace(self.plan, faults=tuple(within))
        minimal(within, holds)

    def shorter_faults(self) -> None:
        """Each half as long."""
        for number, fault in enumerate(self.plan.schedule):
            shorter = list(self.plan.schedule)
            shorter[number] = msgspec.structs.replace(fault, lasts_s=round(fault.lasts_s / 2, 3))
            self.holds(msgspec.structs.replace(self.plan, faults=tuple(shorter)))

    def fewer_keys(self) -> None:
        if len(self.plan.clients_do.keys) > 1:
            minimal(self.plan.clients_do.keys, lambda keys: bool(keys) and self._holds_with(keys=tuple(keys)))

    def fewer_clients(self) -> None:
        """One at each site, none of further kinds or that goes through a server, and one process; clients that do the ordinary things."""
        minimal(
            self.plan.further, lambda company: self.holds(msgspec.structs.replace(self.plan, company=tuple(company)))
        )
        if self.plan.served:
            self.holds(msgspec.structs.replace(self.plan, served=False))
        traffic = self.plan.clients_do
        ordinary = Traffic(clients=traffic.clients, processes=traffic.processes, keys=traffic.keys)
        if traffic != ordinary:
            self._holds_with(**{name: getattr(ordinary, name) for name in ordinary.__struct_fields__})
        for name in ("clients", "processes"):
            if getattr(self.plan.clients_do, name) > 1:
                self._holds_with(**{name: 1})

    def _holds_with(self, **changes: Any) -> bool:
        """Whether it is found where the clients do that instead."""
        return self.holds(
            msgspec.structs.replace(self.plan, traffic=msgspec.structs.replace(self.plan.clients_do, **changes))
        )

    def _found_s(self) -> float | None:
        """When the calls that the finding names had ended, since the clients began; None: it names none."""
        history = self.verdict.history
        if history is None or not len(history):
            return None
        named = named_by(self.finding, history)
        ends = [call.end_s or call.start_s for call in history if call.call_id in named]
        return max(ends) - began_s(self.verdict) if ends else None


def began_s(verdict: Verdict) -> float:
    """When clients and faults began, on the history's clock."""
    calls = verdict.history.calls if verdict.history is not None else ()
    return calls[0].start_s if calls else 0.0


__all__ = ["RUNS_MAX", "Smaller", "began_s", "smaller"]
