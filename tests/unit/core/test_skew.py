"""Differences of clocks, from questions and answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.core.skew import ClockDifferences

A, B = "p1", "p2"
NOON_US = 1_700_000_000_000_000


def differences() -> ClockDifferences:
    return ClockDifferences(life_s=90.0, trip_ms_max=500.0)


@given(st.integers(-10_000, 10_000), st.integers(0, 500), st.floats(0, 1))
def test_a_measurement_is_wrong_by_half_its_trip_at_most(ahead_ms: int, trip_ms: int, place: float) -> None:
    """Goal: wherever on the way the peer reads its clock. Method: clocks of a known difference, a trip of a known length."""
    known = differences()
    read_after_us = round(place * trip_ms * 1000)
    peer_us = NOON_US + read_after_us - ahead_ms * 1000
    known.note(A, sent_us=NOON_US, sent_s=5.0, answered_s=5.0 + trip_ms / 1000, peer_us=peer_us)
    assert known.largest_ms(5.0 + trip_ms / 1000) == pytest.approx(ahead_ms, abs=trip_ms / 2 + 0.01)


def note(known: ClockDifferences, peer: str, ahead_ms: int, *, at_s: float, trip_s: float = 0.0) -> None:
    peer_us = NOON_US - ahead_ms * 1000
    known.note(peer, sent_us=NOON_US, sent_s=at_s - trip_s, answered_s=at_s, peer_us=peer_us)


def test_the_largest_amount_counts_while_it_is_young() -> None:
    """Goal: the last answer of each peer, the largest of them with its sign, for its life. Method: two peers, one behind."""
    known = differences()
    assert known.largest_ms(0.0) == 0.0
    note(known, A, 100, at_s=10.0)
    note(known, B, -700, at_s=20.0)
    assert known.largest_ms(110.0) == -700
    assert known.largest_ms(110.001) == 0.0
    note(known, B, -5, at_s=30.0)
    assert known.largest_ms(100.0) == 100
    assert known.largest_ms(101.0) == -5


def test_those_who_are_gone_do_not_count() -> None:
    """Goal: a peer that died is forgotten, known or not. Method: of two, the one that is off."""
    known = differences()
    note(known, A, 100, at_s=10.0)
    note(known, B, -700, at_s=10.0)
    for peer in (B, B, "p3"):
        known.forget(peer)
    assert known.largest_ms(11.0) == 100


def test_a_long_trip_says_nothing() -> None:
    """Goal: an answer that may be wrong by much neither counts nor replaces one that does. Method: a trip over the bound."""
    known = differences()
    note(known, A, 100, at_s=10.0)
    note(known, A, 700, at_s=11.0, trip_s=0.501)
    assert known.largest_ms(11.0) == 100
    note(known, A, 700, at_s=12.0, trip_s=0.5)
    assert known.largest_ms(12.0) == pytest.approx(950)
