"""A clock that stands until a test moves it, for suites that look at what time does to rows."""

START_US = 1_700_000_000_000_000


class SteppedClock:
    """A `polysite.clock.Clock` whose time passes only by `advance_s`."""

    def __init__(self, wall_us: int = START_US) -> None:
        self._wall_us = wall_us

    def monotonic_s(self) -> float:
        return (self._wall_us - START_US) / 1e6

    def wall_us(self) -> int:
        return self._wall_us

    async def sleep_s(self, duration_s: float) -> None:
        """Nobody can wait on a clock that stands, so sleeping moves it."""
        self.advance_s(duration_s)

    def advance_s(self, by_s: float) -> None:
        """Let `by_s` seconds pass, back if negative."""
        self._wall_us += round(by_s * 1_000_000)
