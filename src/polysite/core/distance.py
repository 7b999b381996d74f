"""How far the other sites are, worked out from the round trips of questions they answered, and which of them are silent.

W, which leases and waits are reckoned with, is the round trip to the nearest majority of sites.
"""

import math
from collections import deque
from collections.abc import Iterable

import msgspec

TRIPS_KEPT = 5
ROUNDS_SILENT = 3
"""A site that did not answer in so many rounds is silent."""
RTT_S_UNMEASURED = 0.2
"""W before enough sites answered: what sites on three continents have to their nearest majority, so that a lease that is granted
then is long enough nearly everywhere."""
RTT_S_MAX = 0.9
"""The longest W that is measured. No place on earth is that far; answers that take longer stall, and the lease that clients ask
for by default must stay above 10 W."""
RTT_STEP_US = 10_000


def majority_rtt_s(trips_s: Iterable[float], sites: int) -> float | None:
    """The round trip to the nearest majority of so many sites, one's own included, by those to the others that are known.

    0 for one site; with n sites the (n // 2)-th shortest; None if fewer than that are known.
    """
    assert sites >= 1, "one's own site is one"
    needed = sites // 2
    if not needed:
        return 0.0
    nearest = sorted(trips_s)[:needed]
    return nearest[-1] if len(nearest) == needed else None


class _Way(msgspec.Struct):
    """What is known of another site. A site is taken to answer until it did not for some rounds."""

    trips_s: deque[float]
    answered: bool = False
    missed: int = 0


class Distances:
    """Round trips to the other sites, of the last few answers each; who stopped to answer is no part of a majority.

    `others` are their names; `sites` is how many sites there are, one's own included.
    """

    def __init__(self, others: Iterable[str], sites: int) -> None:
        self._ways = {site: _Way(deque(maxlen=TRIPS_KEPT)) for site in others}
        self._sites = sites
        assert sites > len(self._ways), "one's own site and the others"
        self._rtt_s = RTT_S_UNMEASURED if sites > 1 else 0.0

    def answered(self, site: str, trip_s: float) -> bool:
        """It answered after so long; True if it was silent before."""
        way = self._ways[site]
        was_silent, way.answered, way.missed = self.silent(site), True, 0
        way.trips_s.append(trip_s)
        self._measure()
        return was_silent

    def missed(self, site: str) -> bool:
        """It did not answer in a round; True if this makes it silent. What was known of its way is forgotten then."""
        way = self._ways[site]
        way.missed += 1
        if way.missed != ROUNDS_SILENT:
            return False
        way.trips_s.clear()
        self._measure()
        return True

    def silent(self, site: str) -> bool:
        """It did not answer for `ROUNDS_SILENT` rounds."""
        return self._ways[site].missed >= ROUNDS_SILENT

    def answers(self, site: str) -> bool:
        """It answered, lately."""
        return bool(self._ways[site].trips_s)

    def never_answered(self) -> list[str]:
        """The sites of which nothing was heard so far."""
        return [site for site, way in self._ways.items() if not way.answered]

    def trip_s(self, site: str) -> float | None:
        """The shortest of the last round trips to a site, None while it does not answer."""
        return min(self._ways[site].trips_s, default=None)

    @property
    def rtt_s(self) -> float:
        """W: as measured, rounded up to 10 ms and at most `RTT_S_MAX`, so that bounds derived from it do not change with every answer; as measured last
        while too few sites answer; `RTT_S_UNMEASURED` before that."""
        return self._rtt_s

    def _measure(self) -> None:
        known = [min(way.trips_s) for way in self._ways.values() if way.trips_s]
        measured = majority_rtt_s(known, self._sites)
        if measured is not None:
            steps = math.ceil(round(min(measured, RTT_S_MAX) * 1_000_000) / RTT_STEP_US)
            self._rtt_s = steps * RTT_STEP_US / 1_000_000
