"""A wall clock that is ahead by what a file says.

Method: a clock on a file that the test writes, beside the machine's clock.
"""

from pathlib import Path

import pytest

from polysite.clock import SystemClock
from polysite.errors import BadRequest
from polysite.lab.skew import SkewedClock, set_skew, skew_s

SLACK_US = 60_000_000


def test_the_clock_moves_at_once(tmp_path: Path) -> None:
    """Goal: a running process sees a new skew without being told, forward and back; spans are measured as before."""
    path = tmp_path / "skew"
    set_skew(path, 0)
    clock = SkewedClock(path)
    assert abs(clock.wall_us() - SystemClock().wall_us()) < SLACK_US
    set_skew(path, 3600)
    assert abs(clock.wall_us() - SystemClock().wall_us() - 3_600_000_000) < SLACK_US
    assert skew_s(path) == 3600
    set_skew(path, -7200.5)
    assert abs(clock.wall_us() - SystemClock().wall_us() + 7_200_500_000) < SLACK_US
    assert abs(clock.monotonic_s() - SystemClock().monotonic_s()) < 60


def test_what_is_no_clock(tmp_path: Path) -> None:
    """Goal: a file that is missing or empty, and a skew of centuries, are refused with words."""
    with pytest.raises(BadRequest, match="POLYSITE_LAB_SKEW_FILE"):
        SkewedClock(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(BadRequest, match="POLYSITE_LAB_SKEW_FILE"):
        SkewedClock(tmp_path / "empty")
    for far in (1e12, float("nan")):
        with pytest.raises(BadRequest, match="at most"):
            set_skew(tmp_path / "skew", far)
