"""The stratified estimate: what is measured per stratum, put together by the strata's shares of the time, with its half-width.

    mean        the sum over the strata of weight times the mean of its runs
    variance    the sum over the strata of weight squared times the variance of its runs over their number

A stratum in which little failed may owe that to luck, so its variance is taken to be at least that of one failure more than were seen; the
exception are steady states with a majority, in which nothing is broken: of them is told apart what their number of requests does not exclude.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

Z = 1.96
"""Of the normal distribution, for 95 %."""

RULE_OF_THREE = 3.0
"""With 95 % confidence no more than this many were to be expected where none was seen."""

RUNS_LEAST = 6
"""Of each stratum, before anything is estimated from it."""


class Sample(msgspec.Struct, kw_only=True):
    """What was measured in one stratum. A run's share is its failures over the requests expected in it."""

    name: str
    weight: float
    steady: bool = False
    """In it nothing is broken."""
    shares: list[float] = msgspec.field(default_factory=list)
    expected: float = 0.0
    requests: int = 0
    failed: int = 0
    with_majority: int = 0
    """How many of those had begun while a majority was up."""
    causes: Counter[str] = msgspec.field(default_factory=Counter)
    slowest_s: float = 0.0
    slow: int = 0
    again: int = 0
    steps: int = 0
    cpu_s: float = 0.0

    @property
    def runs(self) -> int:
        return len(self.shares)

    @property
    def mean(self) -> float:
        return math.fsum(self.shares) / self.runs

    @property
    def deviation(self) -> float:
        """Of the shares of single runs."""
        mean = self.mean
        seen = math.fsum((share - mean) ** 2 for share in self.shares) / max(1, self.runs - 1)
        if self.steady:
            return math.sqrt(seen)
        return math.sqrt(max(seen, (self.failed + 1) * self.runs / self.expected**2))

    @property
    def cost(self) -> float:
        """Of one run, in steps of its loop: the same wherever it is carried out."""
        return self.steps / self.runs


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The unavailability: the share of the requests that fail. `rare`: the time that was not simulated and counts as failed."""

    samples: Sequence[Sample]
    rare: float = 0.0

    @property
    def value(self) -> float:
        return math.fsum(sample.weight * sample.mean for sample in self.samples) + self.rare

    @property
    def half_width(self) -> float:
        """Of the 95 % confidence interval."""
        return Z * math.sqrt(
            math.fsum((sample.weight * sample.deviation) ** 2 / sample.runs for sample in self.samples)
        )

    @property
    def with_majority(self) -> float:
        """The part of `value` whose requests began while a majority of the sites was up, and what was not simulated."""
        return self.rare + math.fsum(sample.weight * sample.with_majority / sample.expected for sample in self.samples)

    @property
    def not_excluded(self) -> float:
        """What the steady states with a majority may add and nobody would have seen: three failures of their requests, weighted."""
        return max(
            (RULE_OF_THREE * sample.weight / sample.expected for sample in self.samples if sample.steady), default=0.0
        )

    def origins(self) -> list[tuple[float, str, str]]:
        """Every cause in every stratum: its part of the unavailability, the stratum, the cause; the greatest first."""
        found = [
            (sample.weight * count / sample.expected, sample.name, cause)
            for sample in self.samples
            for cause, count in sample.causes.items()
        ]
        if self.rare:
            found.append((self.rare, "what is too rare to be simulated", "counted as failed"))
        return sorted(found, reverse=True)


def still_needed(samples: Iterable[Sample], half_width: float) -> dict[str, int]:
    """How many more runs of each stratum make the half-width that small at the least cost (Neyman's allocation).

    Never more than there are already, of the same stratum: the deviation is known too badly for great leaps.
    """
    samples = list(samples)
    spent = math.fsum(sample.weight * sample.deviation * math.sqrt(sample.cost) for sample in samples)
    found: dict[str, int] = {}
    for sample in samples:
        aim = sample.weight * sample.deviation / math.sqrt(sample.cost) * spent / (half_width / Z) ** 2
        more = min(math.ceil(aim), 2 * sample.runs) - sample.runs
        if more > 0:
            found[sample.name] = more
    return found
