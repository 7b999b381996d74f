"""What the command and a client process of it tell each other while something is made to go wrong at the right moment."""

import asyncio
import sys

from .samples import Reached, tell


def reached(since_s: float) -> None:
    """Tell the command that what it waits for is so; `since_s`: a moment of the machine's monotonic clock that it counts from."""
    tell(Reached(since_s=since_s))


async def cue() -> float:
    """Wait until the command has done its part; the moment it names."""
    line = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        raise EOFError("the command is gone")
    return float(line)
