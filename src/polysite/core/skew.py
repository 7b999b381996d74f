"""How far a process's clock is off those of its peers, worked out from what they answer when asked for the time.

A question is sent at a known moment of one's own clocks and answered after a round trip; the peer read its clock somewhere
in between, and half way is the best guess. It is wrong by at most half the round trip, so answers that took long are worth
nothing and are dropped. Differences are signed: above 0 one's own clock is ahead.
"""

from typing import NamedTuple


class _Measured(NamedTuple):
    difference_ms: float
    at_s: float


class ClockDifferences:
    """What the last answer of each peer says, while it is young.

    `life_s`: how long an answer counts on one's own monotonic clock. `trip_ms_max`: a longer round trip says nothing.
    """

    def __init__(self, *, life_s: float, trip_ms_max: float) -> None:
        self._life_s = life_s
        self._trip_ms_max = trip_ms_max
        self._measured: dict[str, _Measured] = {}

    def note(self, peer: str, *, sent_us: int, sent_s: float, answered_s: float, peer_us: int) -> None:
        """A peer answered `peer_us`, its wall clock, to a question sent at `sent_us` of one's own wall clock; `sent_s` and
        `answered_s` are of the monotonic one."""
        trip_ms = (answered_s - sent_s) * 1000
        assert trip_ms >= 0, "an answer comes after its question"
        if trip_ms <= self._trip_ms_max:
            self._measured[peer] = _Measured((sent_us - peer_us) / 1000 + trip_ms / 2, answered_s)

    def forget(self, peer: str) -> None:
        """It is gone."""
        self._measured.pop(peer, None)

    def largest_ms(self, now_s: float) -> float:
        """The difference of the largest amount; 0 if nobody answered lately."""
        young = [
            measured.difference_ms for measured in self._measured.values() if now_s - measured.at_s <= self._life_s
        ]
        return max(young, key=abs, default=0.0)
