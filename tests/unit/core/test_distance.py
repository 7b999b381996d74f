"""Round trips to other sites, W, and who is silent."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.api import LEASE_MS_DEFAULT
from polysite.core.distance import (
    ROUNDS_SILENT,
    RTT_S_MAX,
    RTT_S_UNMEASURED,
    TRIPS_KEPT,
    Distances,
    majority_rtt_s,
)
from polysite.core.lease import lease_s_min


def test_w_is_the_way_to_the_nearest_majority() -> None:
    """Goal: 0 alone, the other of two, the nearer of three, the second of four and five; nothing while too few are known. Method:
    by hand."""
    for sites, trips_s, expected in (
        (1, [], 0.0),
        (2, [0.05], 0.05),
        (2, [], None),
        (3, [0.15, 0.2], 0.15),
        (3, [0.2], 0.2),
        (3, [], None),
        (4, [0.3, 0.1, 0.2], 0.2),
        (4, [0.1], None),
        (5, [0.4, 0.3, 0.1, 0.2], 0.2),
        (5, [0.3], None),
    ):
        assert majority_rtt_s(trips_s, sites) == expected, (sites, trips_s)


def test_so_many_sites_are_reached_within_w() -> None:
    """Goal: within W answers of a majority are there, and earlier they are not. Method: every small case of up to six sites."""
    for sites in range(1, 7):
        for trips_s in product((0.05, 0.1, 0.2), repeat=sites - 1):
            rtt_s = majority_rtt_s(trips_s, sites)
            assert rtt_s is not None
            assert 2 * (1 + sum(trip_s <= rtt_s for trip_s in trips_s)) > sites
            if sites > 1:
                assert 2 * (1 + sum(trip_s < rtt_s for trip_s in trips_s)) <= sites


def test_the_shortest_of_the_last_trips_counts() -> None:
    """Goal: a stall does not make a way longer, a longer way is noticed after a few answers. Method: quick, slow, slow again."""
    known = Distances(["bei"], 2)
    assert (known.rtt_s, known.trip_s("bei"), known.never_answered()) == (RTT_S_UNMEASURED, None, ["bei"])
    known.answered("bei", 0.05)
    assert known.never_answered() == []
    for _ in range(TRIPS_KEPT - 1):
        known.answered("bei", 0.9)
        assert known.rtt_s == known.trip_s("bei") == 0.05
    known.answered("bei", 0.9)
    assert known.rtt_s == 0.9


def test_a_silent_site_is_told_once_and_is_no_part_of_a_majority() -> None:
    """Goal: after so many rounds without an answer, and not before, a site counts as silent, and W is the way to those who answer;
    when nobody does it stays as it was. Method: three sites; the near one is lost, then the far one; both come back."""
    known = Distances(["bei", "irv"], 3)
    for site, trip_s in (("irv", 0.15), ("bei", 0.2)):
        assert not known.answered(site, trip_s)
    assert known.rtt_s == 0.15
    assert [known.missed("irv") for _ in range(ROUNDS_SILENT - 1)] == [False] * (ROUNDS_SILENT - 1)
    assert not known.silent("irv")
    assert not known.answered("irv", 0.15)
    assert [known.missed("irv") for _ in range(ROUNDS_SILENT + 1)] == [False] * (ROUNDS_SILENT - 1) + [True, False]
    assert (known.silent("irv"), known.answers("irv"), known.trip_s("irv")) == (True, False, None)
    assert (known.silent("bei"), known.answers("bei"), known.rtt_s) == (False, True, 0.2)
    for _ in range(ROUNDS_SILENT):
        known.missed("bei")
    assert known.rtt_s == 0.2
    assert known.never_answered() == []
    assert known.answered("irv", 0.16)
    assert not known.answered("irv", 0.17)
    assert known.rtt_s == 0.16
    assert known.trip_s("irv") == 0.16


def test_a_site_that_never_answered_becomes_silent_too() -> None:
    """Goal: an address that never worked is told like one that stopped to. Method: rounds without any answer, then one."""
    known = Distances(["bei"], 2)
    assert [known.missed("bei") for _ in range(ROUNDS_SILENT)] == [False] * (ROUNDS_SILENT - 1) + [True]
    assert (known.never_answered(), known.rtt_s) == (["bei"], RTT_S_UNMEASURED)
    assert known.answered("bei", 0.05)
    assert (known.never_answered(), known.rtt_s) == ([], 0.05)


def test_before_enough_answered_w_is_a_careful_one() -> None:
    """Goal: of five sites one answer says nothing yet; alone there is no way at all. Method: one answer, another."""
    known = Distances(["a", "b", "c", "d"], 5)
    known.answered("a", 0.01)
    assert known.rtt_s == RTT_S_UNMEASURED
    known.answered("b", 0.02)
    assert known.rtt_s == 0.02
    assert Distances([], 1).rtt_s == 0.0


def test_w_goes_in_steps() -> None:
    """Goal: W is rounded up to 10 ms, and a trip of a whole number of them is not more than it is; the way itself is told as it is;
    the default lease is granted however long an answer stalled. Method: trips about such numbers, and all whole ones."""
    for trip_s, rtt_s in ((0.0004, 0.01), (0.0507, 0.06), (0.0501, 0.06), (0.07, 0.07), (0.0, 0.0)):
        known = Distances(["bei"], 2)
        known.answered("bei", trip_s)
        assert (known.rtt_s, known.trip_s("bei")) == (rtt_s, trip_s)
    for hundredths in range(200):
        known = Distances(["bei"], 2)
        known.answered("bei", hundredths / 100)
        assert known.rtt_s == min(hundredths / 100, RTT_S_MAX)
    assert 1000 * lease_s_min(RTT_S_MAX) <= LEASE_MS_DEFAULT


trips = st.lists(st.floats(0.001, 1.0), max_size=6)


@given(trips, st.integers(0, 5), st.floats(0.001, 1.0))
def test_a_longer_way_never_makes_w_shorter(trips_s: list[float], which: int, longer_s: float) -> None:
    """Goal: W grows with every way. Method: make one of them longer."""
    sites = len(trips_s) + 1
    before = majority_rtt_s(trips_s, sites)
    changed = [trip_s + longer_s * (place == which) for place, trip_s in enumerate(trips_s)]
    after = majority_rtt_s(changed, sites)
    assert before is not None
    assert after is not None
    assert before <= after <= before + longer_s + 1e-9
    assert majority_rtt_s(reversed(trips_s), sites) == pytest.approx(before)
