"""Sites as far apart as cities are: at each of them, whether a round trip is the one to its nearest other site."""

import statistics
from collections.abc import Sequence

from benchmarks.figures import Figure, spread
from polysite.lab.topology import PROFILES

from . import operations
from .samples import Record, Sample, Ways

COVERED = (
    operations.SECTION,
    operations.VALIDATED,
    operations.LOCK_GET,
    operations.PUT,
    operations.BATCHED,
    operations.BACKGROUND,
)
MACHINE_MS = 60.0
"""What the machine may add to an operation: there is one distance, so that no slope takes it out."""
EARLY_MS = 5.0
"""Packets are timed to the millisecond."""
W_SPARE_MS = 40
"""W is the shortest of five echoes, rounded up to 10 ms; on a busy machine all five may be late."""


def nearest_ms(profile: str, site: str) -> float:
    """The round trip from a site to the nearest other one: with three sites, to a majority."""
    return min(rtt_ms for pair, rtt_ms in PROFILES[profile].items() if site in pair)


def longest_ms(profile: str) -> float:
    return max(PROFILES[profile].values())


def judged(profile: str, told: Sequence[Record]) -> list[Figure]:
    """At each site W, and the median of each operation against the round trips it claims."""
    figures = []
    for ways in sorted((one for one in told if isinstance(one, Ways)), key=lambda one: one.site):
        near = nearest_ms(profile, ways.site)
        detail = ", ".join(f"{site} {rtt_ms:g} ms" for site, rtt_ms in sorted(ways.rtt_ms.items()))
        figures.append(
            Figure(
                f"{ways.site}: W", ways.majority_rtt_ms, "ms", at_least=near, at_most=near + W_SPARE_MS, detail=detail
            )
        )
    samples = [one for one in told if isinstance(one, Sample)]
    for operation in COVERED:
        for site in sorted({sample.site for sample in samples}):
            near = nearest_ms(profile, site)
            members = [one for one in samples if (one.operation, one.site) == (operation, site)]
            claimed = statistics.mode(one.claimed for one in members)
            all_ms = [one.took_ms for one in members]
            took_ms = statistics.median(all_ms)
            figures.append(
                Figure(
                    f"{site}: {operation}",
                    took_ms,
                    "ms",
                    at_least=claimed * near - EARLY_MS,
                    at_most=claimed * near + MACHINE_MS,
                    detail=f"claims {claimed:g} round trips of {near:g} ms; {spread(all_ms)} ms in {len(members)} samples",
                )
            )
    return figures
