"""How far a process's clock is off those of its peers, worked out from what they answer when asked for the time.

A question is sent at a known moment of one's own clocks and answered after a round trip; the peer read its clock somewhere
in between, and half way is the best guess, wrong by at most half the round trip. So what an answer says is an interval, and
what follows from several of them is one, too: a clock counts as off by what no reading of the answers can explain away.

Which clock is wrong is put to the vote. The median of all clocks, one's own included, is what the majority says; who is far
off it is off. Every site has one vote, shared by those of its processes that are known: processes of one machine share its
clock, and many of them are not to outvote two other sites. Where the votes are even there are two clocks in the middle, and
nobody can tell which half is right: the farther of the two counts, so that of two clocks that differ both are off.
"""

from collections import Counter, deque
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

ANSWERS_KEPT = 9


class Peer(NamedTuple):
    """A process that was asked."""

    site: str
    process: str


class Interval(NamedTuple):
    """Where the clock of a process of `site` is against one's own, in milliseconds: above 0 it is ahead."""

    site: str
    low_ms: float
    high_ms: float


class _Answer(NamedTuple):
    ahead_ms: float
    """How far the peer is ahead of one's own clock, by the best guess."""
    doubt_ms: float
    """By how much that can be wrong."""
    at_s: float


def surely_off_ms(site: str, others: Iterable[Interval]) -> float:
    """How far the clock of a process of `site` is off the median of it and `others`, less what the intervals leave open: 0 if
    it may agree, above 0 if it is ahead, and of the two clocks in the middle of an even vote the farther one."""
    clocks = [Interval(site, 0.0, 0.0), *others]
    of_site = Counter(clock.site for clock in clocks)
    votes = [Fraction(1, of_site[clock.site]) for clock in clocks]
    # A median grows with every one of its values, so the median of the lower ends is the lowest that it can be.
    lowest = _medians([clock.low_ms for clock in clocks], votes)
    highest = _medians([clock.high_ms for clock in clocks], votes)
    return max((_beyond(low, high) for low, high in zip(lowest, highest, strict=True)), key=abs)


def _beyond(low_ms: float, high_ms: float) -> float:
    """How far 0 is surely from something between the two: above 0 if that is below."""
    return -low_ms if low_ms > 0 else -high_ms if high_ms < 0 else 0.0


def _medians(values: list[float], votes: list[Fraction]) -> tuple[float, float]:
    """The lower and the upper median by votes: the same one unless exactly half of the votes lie on either side."""
    half = sum(votes, Fraction()) / 2
    below, lower = Fraction(), None
    for value, vote in sorted(zip(values, votes, strict=True)):
        below += vote
        if lower is None and below >= half:
            lower = value
        if below > half:
            break
    assert lower is not None, "there is at least one clock, one's own"
    return lower, value


class ClockDifferences:
    """What the last answers of each peer say, while they are young.

    `site` is one's own, `life_s` how long an answer counts on one's own monotonic clock. Another site is asked as a whole, which
    takes up to `round_s`: for it speak those of its processes that answered together with the last one that did. The others may
    have died with a clock that its new processes do not have, and who is far away cannot know that.
    """

    def __init__(self, *, site: str, life_s: float, round_s: float) -> None:
        self._site = site
        self._life_s = life_s
        self._round_s = round_s
        self._answers: dict[Peer, deque[_Answer]] = {}

    def note(self, peer: Peer, *, sent_us: int, sent_s: float, answered_s: float, peer_us: int) -> None:
        """A peer answered `peer_us`, its wall clock, to a question sent at `sent_us` of one's own wall clock; `sent_s` and
        `answered_s` are of the monotonic one."""
        doubt_ms = (answered_s - sent_s) * 1000 / 2
        assert doubt_ms >= 0, "an answer comes after its question"
        kept = self._answers.setdefault(peer, deque(maxlen=ANSWERS_KEPT))
        kept.append(_Answer((peer_us - sent_us) / 1000 - doubt_ms, doubt_ms, answered_s))

    def forget(self, peer: Peer) -> None:
        """It is gone."""
        self._answers.pop(peer, None)

    def off_ms(self, now_s: float) -> float:
        """How far one's own clock is surely off the median of all; 0 if nobody answered lately."""
        for peer in [peer for peer, kept in self._answers.items() if now_s - kept[-1].at_s > self._life_s]:
            del self._answers[peer]
        last_s: dict[str, float] = {}
        for peer, kept in self._answers.items():
            last_s[peer.site] = max(kept[-1].at_s, last_s.get(peer.site, kept[-1].at_s))
        speak = [
            (peer, kept)
            for peer, kept in self._answers.items()
            if peer.site == self._site or kept[-1].at_s >= last_s[peer.site] - self._round_s
        ]
        return surely_off_ms(self._site, [self._interval(peer, kept, now_s) for peer, kept in speak])

    def _interval(self, peer: Peer, kept: "deque[_Answer]", now_s: float) -> Interval:
        """What the most exact of the young answers says that the newest does not contradict: a clock may have been set since an
        older one, and a stalled answer must not make one forget a quick one."""
        newest = kept[-1]
        best = min(
            (
                answer
                for answer in reversed(kept)
                if now_s - answer.at_s <= self._life_s
                and abs(answer.ahead_ms - newest.ahead_ms) <= answer.doubt_ms + newest.doubt_ms
            ),
            key=lambda answer: answer.doubt_ms,
        )
        return Interval(peer.site, best.ahead_ms - best.doubt_ms, best.ahead_ms + best.doubt_ms)
