"""Keys that are quiet: none is used again before its last change is so many W ago that nobody remembers its author as steward."""

import asyncio
import time
from collections import deque

from polysite.api import KeyName

from .tables import KEYSPACE, LOCKED

QUIET_W = 16
"""A steward may be asked for 10 W after its last change; a release in the background takes 2 W and the way of its news 1 W more."""
GRACE_S = 0.2
RELEASE_W = 4


class Quiet:
    """Prepared keys in turn."""

    def __init__(self, names: list[str], rtt_ms: float, *, table: str = LOCKED) -> None:
        self._keys = deque((0.0, name) for name in names)
        self._rtt_s = rtt_ms / 1000
        self._rest_s = QUIET_W * rtt_ms / 1000 + GRACE_S
        self._table = table

    async def take(self) -> KeyName:
        """The key that has rested longest; waits until that is long enough."""
        free_s, name = self._keys.popleft()
        await asyncio.sleep(max(0.0, free_s - time.monotonic()))
        self._taken = name
        return KeyName(keyspace=KEYSPACE, table=self._table, key={"k": name})

    def used(self) -> None:
        """Nobody changes the key that was taken any more, from now on (but for a release in the background)."""
        self._keys.append((time.monotonic() + self._rest_s, self._taken))

    async def let_go(self) -> None:
        """As `used`, once a release in the background has ended too: what comes next finds the site at rest."""
        self.used()
        await asyncio.sleep(RELEASE_W * self._rtt_s)
