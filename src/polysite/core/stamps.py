"""Stamps: the numbers that order all writes of one row, and how they follow the wall clock.

Plain (unlocked) stamps are microseconds since 1970 and lie below `STAMP_BASE`; stamps of lock holders lie at or above it,
so that a critical write always beats a plain one. They follow the wall clock where it is sane and never depend on it:
every tenure's window starts above everything an earlier tenure could have used (`locks`, "Stamps").
"""

STAMP_BASE = 2**52
"""The lowest critical stamp, and the floor of a cell that was never used."""

WINDOW = 2**20
"""How many stamps a holder may use before it extends."""

FLOOR_MAX = 2**62
"""A cell whose floor would pass this refuses; windows above it still fit into 63 bits."""


def now_stamp(wall_us: int) -> int:
    """The stamp of this moment: `STAMP_BASE` plus the wall clock in microseconds since 1970, held between 0 and 2^52."""
    return STAMP_BASE + min(max(wall_us, 0), STAMP_BASE)


def window_end(floor: int) -> int:
    """The first stamp behind the window that starts at `floor`."""
    return floor + WINDOW
