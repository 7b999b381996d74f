"""Differences of clocks, from questions and answers, and which clock is wrong."""

from itertools import product
from random import Random
from statistics import median_high, median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.core.skew import ANSWERS_KEPT, ClockDifferences, Interval, Peer, surely_off_ms

HERE = "ams"
A, B = Peer(HERE, "p1"), Peer(HERE, "p2")
BEI, IRV = Peer("bei", "p1"), Peer("irv", "p1")
NOON_US = 1_700_000_000_000_000
BOUND_MS = 500


def differences() -> ClockDifferences:
    return ClockDifferences(site=HERE, life_s=90.0, round_s=9.0)


def note(known: ClockDifferences, peer: Peer, ahead_ms: float, *, at_s: float, trip_s: float = 0.0) -> None:
    """An answer that shows one's own clock ahead by this much, if the peer read its clock half way."""
    sent_us = NOON_US - round(trip_s * 500_000)
    known.note(peer, sent_us=sent_us, sent_s=at_s - trip_s, answered_s=at_s, peer_us=NOON_US - round(ahead_ms * 1000))


def exactly(site: str, ahead_ms: float) -> Interval:
    return Interval(site, ahead_ms, ahead_ms)


# one answer


@given(st.integers(-10_000, 10_000), st.integers(0, 2_000), st.floats(0, 1))
def test_a_measurement_is_less_what_its_trip_leaves_open(ahead_ms: int, trip_ms: int, place: float) -> None:
    """Goal: wherever on the way the peer reads its clock, no more is said than is true, and at most one whole trip less. Method:
    clocks of a known difference, a trip of a known length."""
    known = differences()
    read_after_us = round(place * trip_ms * 1000)
    peer_us = NOON_US + read_after_us - ahead_ms * 1000
    known.note(BEI, sent_us=NOON_US, sent_s=5.0, answered_s=5.0 + trip_ms / 1000, peer_us=peer_us)
    off_ms = known.off_ms(5.0 + trip_ms / 1000)
    assert abs(off_ms) <= abs(ahead_ms) + 0.01
    assert abs(off_ms) >= abs(ahead_ms) - trip_ms - 0.01
    assert off_ms * ahead_ms >= 0


def test_answers_count_while_they_are_young() -> None:
    """Goal: what peers answered counts for its life and not longer. Method: one answers, then another."""
    known = differences()
    assert known.off_ms(0.0) == 0.0
    note(known, A, -700, at_s=20.0)
    assert known.off_ms(110.0) == -700
    assert known.off_ms(110.001) == 0.0
    note(known, A, -5, at_s=130.0)
    assert known.off_ms(130.0) == -5


def test_those_who_are_gone_do_not_count() -> None:
    """Goal: a peer that died is forgotten, known or not. Method: forget the only one that is off."""
    known = differences()
    note(known, B, -700, at_s=10.0)
    for peer in (B, B, Peer(HERE, "p3")):
        known.forget(peer)
    assert known.off_ms(11.0) == 0


def test_for_a_site_speak_those_that_answered_last() -> None:
    """Goal: the dead of another site, whom nobody here knows to be dead, do not outvote who answers there by now. Method: three with a clock
    that is off, later one with a clock that is not; while the last to answer are those three, they count for their life."""
    known = differences()
    dead = [Peer("bei", f"p{number}") for number in (2, 3, 4)]
    for number, peer in enumerate(dead):
        note(known, peer, 586_000, at_s=7.0 + number)
    assert known.off_ms(60.0) == 586_000
    note(known, BEI, -1_298_000, at_s=61.0)
    note(known, IRV, -1_298_000, at_s=61.0)
    assert known.off_ms(61.0) == -1_298_000


def test_all_who_answer_in_a_round_speak_for_a_site() -> None:
    """Goal: one slow answer does not silence the quick ones of its round; those of one's own site are known to be dead or not, and count for
    their life. Method: three of a site within a round, of which the last is off; one of the own site long before another."""
    known = differences()
    for at_s, peer, ahead_ms in ((50.0, Peer("bei", "p2"), 0), (50.1, Peer("bei", "p3"), 0), (58.9, BEI, -9_000)):
        note(known, peer, ahead_ms, at_s=at_s)
    assert known.off_ms(59.0) == 0
    known = differences()
    for at_s, peer, ahead_ms in ((10.0, A, 0), (11.0, B, 0), (60.0, Peer(HERE, "p3"), -3_600_000)):
        note(known, peer, ahead_ms, at_s=at_s)
    assert known.off_ms(60.0) == 0


def test_a_slow_answer_does_not_make_one_forget_a_quick_one() -> None:
    """Goal: of answers that agree the most exact counts as long as it is young; one that contradicts it counts at once. Method:
    answers with long trips after one with a short trip, within and beyond what they leave open, and after its life."""
    known = differences()
    note(known, BEI, 700, at_s=10.0, trip_s=0.01)
    note(known, BEI, 700, at_s=20.0, trip_s=0.9)
    assert known.off_ms(20.0) == pytest.approx(695)
    note(known, BEI, 300, at_s=50.0, trip_s=0.9)
    assert known.off_ms(50.0) == pytest.approx(695)
    assert known.off_ms(100.0) == pytest.approx(695)
    assert known.off_ms(100.1) == 0  # 300 ms, give or take 450
    note(known, BEI, 695, at_s=101.0, trip_s=0.01)
    note(known, BEI, 0, at_s=102.0, trip_s=0.9)
    assert known.off_ms(102.0) == 0


def test_few_answers_are_kept() -> None:
    """Goal: memory is bounded, and an old exact answer gives way in the end. Method: one quick answer, then many slow ones."""
    known = differences()
    note(known, BEI, 700, at_s=10.0)
    for later in range(ANSWERS_KEPT - 1):
        note(known, BEI, 700, at_s=11.0 + later, trip_s=0.4)
    assert known.off_ms(20.0) == pytest.approx(700)
    note(known, BEI, 700, at_s=20.0, trip_s=0.4)
    assert known.off_ms(20.0) == pytest.approx(500)


def test_a_wide_area_answer_counts() -> None:
    """Goal: 400 ms of way do not hide an hour, nor make a difference of 300 ms to one that matters. Method: both."""
    for ahead_ms, off_ms in ((3_600_000, 3_599_800), (-3_600_000, -3_599_800), (300, 100), (-300, -100), (150, 0)):
        known = differences()
        note(known, IRV, ahead_ms, at_s=10.0, trip_s=0.4)
        assert known.off_ms(10.0) == pytest.approx(off_ms)


# who is wrong


def who_is_off(clocks: tuple[int, ...]) -> list[bool]:
    """Of sites with these clocks, who says of itself that it is off by more than the bound."""
    found = []
    for here, own in enumerate(clocks):
        others = [exactly(str(there), clock - own) for there, clock in enumerate(clocks) if there != here]
        found.append(abs(surely_off_ms(str(here), others)) > BOUND_MS)
    return found


def test_every_small_case() -> None:
    """Goal: with exact answers and one process per site, a site is off by its distance to the median, and with an even number by
    the larger one to the two medians. Method: all clocks of up to five sites out of a few, against the library's medians."""
    for sites in range(1, 6):
        for clocks in product((0, 400, 600, 1_300), repeat=sites):
            low, high = median_low(clocks), median_high(clocks)
            expected = [max(abs(clock - low), abs(clock - high)) > BOUND_MS for clock in clocks]
            assert who_is_off(clocks) == expected, clocks


def test_one_wrong_clock_is_the_only_one_who_is_off() -> None:
    """Goal: with three or more it is known who is wrong; two can only say that they differ, and so can two halves. Method: by
    name."""
    assert who_is_off((0, 0, 10_000)) == [False, False, True]
    assert who_is_off((0, 50, -10_000)) == [False, False, True]
    assert who_is_off((0, 10_000)) == [True, True]
    assert who_is_off((0, 0, 0, 10_000)) == [False, False, False, True]
    assert who_is_off((0, 0, 10_000, 10_000)) == [True] * 4


def test_a_site_has_one_vote() -> None:
    """Goal: many processes of one machine with a wrong clock do not outvote two other sites; one bad clock among several of a
    site is found by its neighbours alone, and with the others. Method: as each process sees the others."""
    wrong = 10_000
    # Four processes at ams are off: each of them says so, and the other sites go on.
    assert surely_off_ms("ams", [exactly("ams", 0)] * 3 + [exactly("bei", -wrong), exactly("irv", -wrong)]) == wrong
    assert surely_off_ms("bei", [exactly("ams", wrong)] * 4 + [exactly("irv", 0)]) == 0
    # One of three at ams is off, with and without other sites.
    for others in ([], [exactly("bei", 0), exactly("irv", 0)], [exactly("bei", 0)]):
        good = [exactly("ams", wrong), exactly("ams", 0), *others]
        bad = [exactly(clock.site, -wrong) for clock in (exactly("ams", 0), exactly("ams", 0), *others)]
        assert surely_off_ms("ams", good) == 0
        assert surely_off_ms("ams", bad) == wrong
    # Two sites that differ cannot tell, however many processes one of them has.
    assert surely_off_ms("ams", [exactly("ams", 0), exactly("ams", 0), exactly("bei", wrong)]) == -wrong
    assert surely_off_ms("bei", [exactly("ams", -wrong)] * 3) == wrong


sites = st.sampled_from(["ams", "bei", "irv", "nrt"])
clocks_and_doubts = st.lists(
    st.tuples(sites, st.integers(-2_000, 2_000), st.integers(0, 400), st.floats(-1, 1)), max_size=6
)


@given(clocks_and_doubts)
def test_doubt_never_accuses(others: list[tuple[str, int, int, float]]) -> None:
    """Goal: what is said with inexact answers is no more than what exact ones would say, and not less than that by more than the
    largest doubt. Method: true clocks, and intervals that hold them anywhere."""
    exact = surely_off_ms(HERE, [exactly(site, clock) for site, clock, _, _ in others])
    intervals = [
        Interval(site, clock + place * doubt - doubt, clock + place * doubt + doubt)
        for site, clock, doubt, place in others
    ]
    off_ms = surely_off_ms(HERE, intervals)
    assert abs(off_ms) <= abs(exact) + 1e-6
    assert abs(off_ms) >= abs(exact) - 2 * max((doubt for _, _, doubt, _ in others), default=0) - 1e-6


@given(clocks_and_doubts, st.randoms())
def test_who_answered_first_and_which_way_time_runs_do_not_matter(
    others: list[tuple[str, int, int, float]], chance: Random
) -> None:
    """Goal: the verdict is a matter of the clocks alone. Method: the answers in another order, and all clocks mirrored."""
    intervals = [Interval(site, clock - doubt, clock + doubt) for site, clock, doubt, _ in others]
    off_ms = surely_off_ms(HERE, intervals)
    shuffled = list(intervals)
    chance.shuffle(shuffled)
    assert abs(surely_off_ms(HERE, shuffled)) == abs(off_ms)
    mirrored = [Interval(site, -high, -low) for site, low, high in intervals]
    assert abs(surely_off_ms(HERE, mirrored)) == abs(off_ms)
