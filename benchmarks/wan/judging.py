"""From samples to figures: round trips by slope, against what was claimed and what is allowed."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.figures import Figure

from .samples import Sample

SLACK = 0.3
"""How far the clock may be from the claim, in round trips."""


class Measured(NamedTuple):
    """One operation as seen from a group of sites. `slopes`: by site; medians in milliseconds, by the round trip."""

    operation: str
    group: str
    claimed: float
    unanimous: float
    slope: float
    slopes: dict[str, float]
    medians: dict[float, float]
    number: int


def slope(samples: Sequence[Sample]) -> float:
    """Round trips by the clock: how much the median grows per millisecond of distance. It needs two distances."""
    medians = by_distance(samples)
    near, far = min(medians), max(medians)
    return (medians[far] - medians[near]) / (far - near)


def by_distance(samples: Iterable[Sample]) -> dict[float, float]:
    """Median milliseconds at each distance."""
    took: dict[float, list[float]] = {}
    for sample in samples:
        took.setdefault(sample.rtt_ms, []).append(sample.took_ms)
    return {rtt_ms: statistics.median(values) for rtt_ms, values in sorted(took.items())}


def measured(operation: str, group: str, samples: Sequence[Sample]) -> Measured:
    """What samples of one operation say, all of them from sites that stand alike."""
    claims = Counter(sample.claimed for sample in samples)
    claimed, times = claims.most_common(1)[0]
    sites = sorted({sample.site for sample in samples})
    return Measured(
        operation=operation,
        group=group,
        claimed=claimed,
        unanimous=times / len(samples),
        slope=slope(samples),
        slopes={site: slope([one for one in samples if one.site == site]) for site in sites},
        medians=by_distance(samples),
        number=len(samples),
    )


def judged(found: Measured, bound: float | None) -> list[Figure]:
    """The claim against its bound, and the clock against the claim."""
    name = f"{found.operation} ({found.group})" if found.group else found.operation
    sites = ", ".join(f"{site} {value:.2f}" for site, value in found.slopes.items())
    medians = ", ".join(f"{value:.0f} ms at {rtt_ms:g}" for rtt_ms, value in found.medians.items())
    others = "" if found.unanimous == 1 else f"; {1 - found.unanimous:.0%} claimed otherwise"
    return [
        Figure(f"{name}: claimed", found.claimed, "W", at_most=bound, detail=f"{found.number} samples{others}"),
        Figure(
            f"{name}: by the clock",
            found.slope,
            "W",
            at_least=found.claimed - SLACK,
            at_most=found.claimed + SLACK,
            detail=f"{sites}; {medians}",
        ),
    ]
