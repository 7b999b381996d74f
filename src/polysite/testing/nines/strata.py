"""All time in strata, each with its exact share: moments with no change of any site near, with one, with two.

A moment belongs to a stratum by what the sites do within the window about it, from WINDOW_AFTER_S before to WINDOW_BEFORE_S after: a
request that begins then may feel a change in that window, and no other. So every moment is in one stratum, the shares add up to
one, and what is estimated per stratum adds up to the whole. Within a stratum moments are drawn as they occur.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from polysite.testing.nines.outages import WINDOW_AFTER_S, WINDOW_BEFORE_S, WINDOW_S, Condition, Site
from polysite.testing.simulated import SeededRandomness

RARE = 3e-8
"""The rarest strata, which together have at most this share of the time, are not simulated: all requests then count as failed."""


class SiteChange(msgspec.Struct, frozen=True, kw_only=True):
    """A site that goes down (`outage` is how) or comes back from that, at a time of the scenario."""

    at_s: float
    site: int
    outage: str
    to: Literal["down", "up"]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What happens around a moment: who is down to begin with (number → how), what changes, and which requests are counted, by when they begin."""

    down: dict[int, str]
    changes: tuple[SiteChange, ...]
    from_s: float
    to_s: float


class Stratum(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of moments. `cases`: what the sites do, however they are numbered, and how likely that is; they make up `weight`."""

    name: str
    cases: tuple[tuple[tuple[Condition, ...], float], ...]

    @property
    def weight(self) -> float:
        """The share of the time."""
        return math.fsum(weight for _, weight in self.cases)

    def draw(self, chance: SeededRandomness) -> Scenario:
        """A scenario of this stratum, as likely as it occurs."""
        left = chance.uniform(0.0, self.weight)
        case = self.cases[-1][0]
        for conditions, weight in self.cases:
            left -= weight
            if left <= 0:
                case = conditions
                break
        return _scenario(_shuffled(case, chance), chance)


def strata(site: Site, sites: int) -> list[Stratum]:
    """All strata of that many sites; their weights add up to one."""
    grouped: dict[str, list[tuple[tuple[Condition, ...], float]]] = {}
    likely = site.conditions()
    for case in itertools.combinations_with_replacement(likely, sites):
        grouped.setdefault(_name(case), []).append((case, _weight(case, likely)))
    return [Stratum(name=name, cases=tuple(cases)) for name, cases in sorted(grouped.items())]


def parted(all_of_them: list[Stratum], rare: float = RARE) -> tuple[list[Stratum], list[Stratum]]:
    """Those to simulate, and those that are too rare for it."""
    left = rare
    dropped: list[Stratum] = []
    for stratum in sorted(all_of_them, key=lambda stratum: stratum.weight):
        left -= stratum.weight
        if left < 0:
            break
        dropped.append(stratum)
    return [stratum for stratum in all_of_them if stratum not in dropped], dropped


def _weight(case: tuple[Condition, ...], likely: Mapping[Condition, float]) -> float:
    orders = math.factorial(len(case))
    for count in Counter(case).values():
        orders //= math.factorial(count)
    return orders * math.prod(likely[condition] for condition in case)


def _name(case: tuple[Condition, ...]) -> str:
    changing = [condition for condition in case if condition.happening in {"fails", "returns", "again"}]
    count = sum(2 if condition.happening == "again" else 1 for condition in changing)
    down = sum(condition.happening == "down" for condition in case)
    if count == 0:
        return f"steady, {down} down" if _majority(len(case), down) else "steady, no majority"
    if count == 1:
        (change,) = changing
        if not _majority(len(case), down):
            return "a change, no majority before or after"
        return f"{change.outage} site {change.happening}, {down} others down"
    return "two changes" if count == 2 else "more changes"


def _majority(sites: int, down: int) -> bool:
    return (sites - down) * 2 > sites


def _shuffled(case: tuple[Condition, ...], chance: SeededRandomness) -> list[Condition]:
    left = list(case)
    return [left.pop(chance.below(len(left))) for _ in case]


def _scenario(conditions: list[Condition], chance: SeededRandomness) -> Scenario:
    """The changes at moments as they occur, the first at 0. As many requests are counted as there are moments that see all of them."""
    times = sorted(chance.uniform(0.0, WINDOW_S) for _ in _changes(conditions))
    spread = [at_s - times[0] for at_s in times]
    drawn = list(_changes(conditions))
    if all(condition.happening != "again" for condition in conditions):
        drawn = [drawn.pop(chance.below(len(drawn))) for _ in spread]
    changes = tuple(
        SiteChange(at_s=at_s, site=site, outage=outage, to=to)
        for at_s, (site, outage, to) in zip(spread, drawn, strict=True)
    )
    down = {
        number: condition.outage
        for number, condition in enumerate(conditions)
        if condition.happening in {"down", "returns", "again"}
    }
    last_s = spread[-1] if spread else 0.0
    return Scenario(down=down, changes=changes, from_s=last_s - WINDOW_BEFORE_S, to_s=WINDOW_AFTER_S)


def _changes(conditions: list[Condition]) -> Iterator[tuple[int, str, Literal["down", "up"]]]:
    for number, condition in enumerate(conditions):
        if condition.happening in {"returns", "again"}:
            yield number, condition.outage, "up"
        if condition.happening in {"fails", "again"}:
            yield number, condition.outage, "down"
