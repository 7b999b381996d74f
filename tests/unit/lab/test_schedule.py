"""When packets arrive.

Method: packets and times by hand; chance is a list of numbers.
"""

from collections.abc import Callable

import pytest

from polysite.lab.network import schedule as schedules
from polysite.lab.network.schedule import Schedule

DELAYS_S = [[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]]


def never() -> float:
    raise AssertionError("chance was asked on links without loss")


def drawing(*numbers: float) -> Callable[[], float]:
    left = list(numbers)
    return lambda: left.pop(0)


def arrived(schedule: Schedule, now_s: float) -> list[tuple[int, bytes]]:
    return list(schedule.leave(now_s))


def test_each_packet_takes_its_links_time() -> None:
    """Goal: packets arrive by the delay of their link, those of one link and moment in their order, none before its time."""
    schedule = Schedule(DELAYS_S)
    schedule.enter(10.0, (0, 2), b"far", never)
    schedule.enter(10.0, (0, 1), b"first", never)
    schedule.enter(10.0, (0, 1), b"again", never)
    assert schedule.next_s() == 11.0
    assert arrived(schedule, 10.999) == []
    assert arrived(schedule, 11.0) == [(1, b"first"), (1, b"again")]
    assert arrived(schedule, 13.5) == [(2, b"far")]
    assert schedule.counts.late_s_max == 0.5
    assert schedule.next_s() is None
    assert schedule.counts.carried == 3


def test_a_cut_is_one_way_and_takes_what_is_under_way() -> None:
    """Goal: through a cut link gets nothing, neither sent after the cut nor before it; the way back stays open."""
    schedule = Schedule(DELAYS_S)
    schedule.enter(0.0, (0, 1), b"under way", never)
    schedule.faults.cut.add((0, 1))
    schedule.enter(0.5, (0, 1), b"into the cut", never)
    schedule.enter(0.5, (1, 0), b"back", never)
    assert arrived(schedule, 5.0) == [(0, b"back")]
    assert schedule.counts.dropped == 2
    schedule.faults.cut.clear()
    schedule.enter(6.0, (0, 1), b"healed", never)
    assert arrived(schedule, 7.0) == [(1, b"healed")]


def test_loss_is_drawn_per_packet_of_that_link() -> None:
    """Goal: a link loses the share it is told to, other links nothing. Method: numbers on both sides of the share."""
    schedule = Schedule(DELAYS_S)
    schedule.faults.loss[0, 1] = 0.25
    chance = drawing(0.24, 0.25, 0.0)
    for packet, link in ((b"lost", (0, 1)), (b"kept", (0, 1)), (b"other", (1, 0))):
        schedule.enter(0.0, link, packet, chance)
    assert sorted(arrived(schedule, 1.0)) == [(0, b"other"), (1, b"kept")]


def test_reordering_lets_a_packet_overtake() -> None:
    """Goal: a packet that is drawn to overtake arrives before one that was sent earlier."""
    schedule = Schedule(DELAYS_S)
    schedule.faults.reorder[0, 1] = 0.5
    chance = drawing(0.9, 0.1)
    schedule.enter(0.0, (0, 1), b"slow", chance)
    schedule.enter(0.1, (0, 1), b"fast", chance)
    assert arrived(schedule, 2.0) == [(1, b"fast"), (1, b"slow")]
    assert schedule.counts.overtaken == 1


def test_packets_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a flood fills no memory: what is over the bound is lost and counted."""
    monkeypatch.setattr(schedules, "PACKETS_MAX", 2)
    schedule = Schedule(DELAYS_S)
    for packet in (b"1", b"2", b"3"):
        schedule.enter(0.0, (0, 1), packet, never)
    assert len(arrived(schedule, 1.0)) == 2
    assert schedule.counts.dropped == 1
