"""The client's seams for waiting and chance, in both colours: what the generated twin needs by another name.

`Pace` (blocking) is the one place of the blocking client that asks the machine for the time and for chance.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from polysite.clock import Runtime
from polysite.errors import PolysiteError

T = TypeVar("T")

RETRY_S_FIRST = 0.05
RETRY_S_MAX = 2.0


class AsyncPace:
    """Waiting and chance on a `Runtime`, which tests replace."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        """`runtime` None: the machine's own clock and randomness."""
        self.runtime: Runtime = runtime if runtime is not None else Runtime()

    async def sleep_s(self, duration_s: float) -> None:
        await self.runtime.clock.sleep_s(duration_s)

    def monotonic_s(self) -> float:
        return self.runtime.clock.monotonic_s()

    def retry_s(self, attempt: int) -> float:
        """How long to wait before attempt number `attempt` (1 is the first repetition): full jitter, doubling, bounded."""
        return self.runtime.randomness.uniform(0, _retry_s_top(attempt))

    def new_key(self) -> str:
        """A text that nobody else makes: an idempotency key."""
        return self.runtime.randomness.random_bytes(16).hex()

    async def undone_if_cancelled(
        self, call: Callable[[], Coroutine[Any, Any, T]], undo: Callable[[], Coroutine[Any, Any, object]]
    ) -> T:
        """The result of `call`; if it is cancelled, `undo` is carried out behind the caller's back."""
        try:
            return await call()
        except asyncio.CancelledError:
            self.runtime.spawner.spawn(_quiet(undo()), name="polysite.undo")
            raise


class Pace:
    """As `AsyncPace`, for callers that block."""

    def __init__(self, jitter: random.Random | None = None) -> None:
        """`jitter` None: seeded by the operating system."""
        self._jitter = jitter if jitter is not None else random.Random(secrets.randbits(64))

    def sleep_s(self, duration_s: float) -> None:
        time.sleep(duration_s)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def retry_s(self, attempt: int) -> float:
        return self._jitter.uniform(0, _retry_s_top(attempt))

    def new_key(self) -> str:
        return secrets.token_hex(16)

    def undone_if_cancelled(self, call: Callable[[], T], undo: Callable[[], object]) -> T:
        """The result of `call`, which nothing can cancel."""
        del undo
        return call()


async def _quiet(work: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(PolysiteError):
        await work


def _retry_s_top(attempt: int) -> float:
    return min(RETRY_S_MAX, RETRY_S_FIRST * 2.0 ** min(attempt, 16))
