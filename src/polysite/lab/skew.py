"""A wall clock that runs ahead or behind by what a file says, for processes of ours in a lab.

The file holds eight bytes: microseconds, signed, little end first. Whoever writes them there moves the clock at once. The
variable that names the file is read by `polysite serve` and set by the lab alone.
"""

import mmap
import os
import struct
from pathlib import Path

from polysite.clock import SystemClock
from polysite.errors import BadRequest

SKEW_VARIABLE = "POLYSITE_LAB_SKEW_FILE"
AHEAD_S_MAX = 366 * 24 * 3600.0

_MICROSECONDS = struct.Struct("<q")


class SkewedClock(SystemClock):
    """The machine's clocks, the wall clock put ahead by what the file says. What is measured in spans is not moved."""

    def __init__(self, path: Path) -> None:
        """BadRequest if the file is not one that `set_skew` wrote."""
        try:
            with path.open("rb") as file:
                self._shared = mmap.mmap(file.fileno(), _MICROSECONDS.size, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            raise BadRequest(f"the file that {SKEW_VARIABLE} names is no clock of a lab") from None

    def wall_us(self) -> int:
        ahead_us: int = _MICROSECONDS.unpack_from(self._shared)[0]
        return super().wall_us() + ahead_us


def set_skew(path: Path, ahead_s: float) -> None:
    """Put the clocks that follow `path` so many seconds ahead; a negative number puts them behind."""
    if not abs(ahead_s) <= AHEAD_S_MAX:
        raise BadRequest(f"a clock is put ahead or behind by at most {AHEAD_S_MAX:.0f} s")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # The same file, whole at once: who has it in memory sees the old number or the new one.
        os.pwrite(descriptor, _MICROSECONDS.pack(round(ahead_s * 1_000_000)), 0)
    finally:
        os.close(descriptor)


def skew_s(path: Path) -> float:
    """How far ahead the clocks that follow `path` are, in seconds."""
    ahead_us: int = _MICROSECONDS.unpack(path.read_bytes())[0]
    return ahead_us / 1_000_000
