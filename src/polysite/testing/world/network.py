"""What lies between simulated sites: distances, cuts one way or both, lost, late and doubled messages, engines that are down.

Times are the loop's. A message is a callback that is called when it arrives, if it does; nobody tells its sender.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from polysite.clock import Randomness

T = TypeVar("T")

NOTICED_S = 1.5
"""How long a cut or a dead engine is there before the others' engines count it as away (Cassandra's failure detector)."""


@dataclass
class Weather:
    """How often messages go wrong: `loss` and `doubled` are shares of all, `late` is the share that takes up to `late_s` more, and
    every message takes up to `jitter_s` more."""

    loss: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    late_s: float = 1.0
    jitter_s: float = 0.0


class Network:
    """The links between sites by name. A link has a direction."""

    def __init__(
        self, sites: Iterable[str], randomness: Randomness, rtt_s: Mapping[frozenset[str], float] | float
    ) -> None:
        """`rtt_s`: of each pair of sites, or of all."""
        self.sites = tuple(sites)
        self._randomness = randomness
        self._rtt_s = rtt_s
        self._loop = asyncio.get_running_loop()
        self._cut: dict[tuple[str, str], float] = {}
        self._down: dict[str, float] = {}
        self.slow_s: dict[tuple[str, str], float] = {}
        """How much longer a message takes over a link, from a source to a target."""
        self.weather = Weather()
        self.dropped = self.sent = 0

    def rtt_s(self, one: str, other: str) -> float:
        """Seconds there and back."""
        if one == other:
            return 0.0
        return self._rtt_s if isinstance(self._rtt_s, float | int) else self._rtt_s[frozenset((one, other))]

    def majority_rtt_s(self, site: str) -> float:
        """The round trip from `site` to the nearest others that make a majority with it."""
        away = sorted(self.rtt_s(site, other) for other in self.sites)
        return away[len(self.sites) // 2]

    # cuts and engines

    def cut(self, source: str, target: str) -> None:
        """Nothing arrives from `source` at `target` from now on, nor what is under way."""
        self._cut.setdefault((source, target), self._loop.time())

    def cut_off(self, site: str) -> None:
        """Between `site` and all others, both ways."""
        for other in self.sites:
            if other != site:
                self.cut(site, other)
                self.cut(other, site)

    def heal(self, source: str | None = None, target: str | None = None) -> None:
        """Mend the link, or all of them, which are not slow any more either."""
        if source is None or target is None:
            self._cut.clear()
            self.slow_s.clear()
        else:
            self._cut.pop((source, target), None)

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cut

    def stop_engine(self, site: str) -> None:
        """The site's replica answers nobody; what it stored is kept."""
        self._down.setdefault(site, self._loop.time())

    def start_engine(self, site: str) -> None:
        self._down.pop(site, None)

    def has_engine(self, site: str) -> bool:
        return site not in self._down

    def counts_as_away(self, site: str, other: str) -> bool:
        """Whether the engine at `site` has noticed that the one at `other` cannot be talked with."""
        since = [self._cut.get((site, other)), self._cut.get((other, site)), self._down.get(other)]
        begun_s = min((at for at in since if at is not None), default=math.inf)
        return self._loop.time() - begun_s >= NOTICED_S

    # messages

    def send(self, source: str, target: str, arrive: Callable[[], object], *, can_double: bool = False) -> None:
        """Have `arrive` called at `target` half a round trip from now, unless it gets lost; with `can_double` perhaps twice."""
        self.sent += 1
        uniform, weather = self._randomness.uniform, self.weather
        if source != target and (self.is_cut(source, target) or (weather.loss and uniform(0.0, 1.0) < weather.loss)):
            self.dropped += 1
            return
        delay_s = self.rtt_s(source, target) / 2 + self.slow_s.get((source, target), 0.0)
        if weather.jitter_s:
            delay_s += uniform(0.0, weather.jitter_s)
        if weather.late and uniform(0.0, 1.0) < weather.late:
            delay_s += uniform(0.0, weather.late_s)
        self._loop.call_later(delay_s, self._arrive, source, target, arrive)
        if can_double and weather.doubled and uniform(0.0, 1.0) < weather.doubled:
            self._loop.call_later(delay_s + uniform(0.0, weather.late_s), self._arrive, source, target, arrive)

    def _arrive(self, source: str, target: str, arrive: Callable[[], object]) -> None:
        if source != target and self.is_cut(source, target):
            self.dropped += 1
            return
        arrive()

    def to_engine(self, source: str, target: str, effect: Callable[[], T], answered: Callable[[T], Any]) -> None:
        """Carry out `effect` at the engine of `target`, and call `answered` with what it gives back at `source`; either may be lost.

        `effect` that raises Refused answers nothing, as an engine whose disk is full.
        """

        def arrive() -> None:
            if not self.has_engine(target):
                return
            try:
                found = effect()
            except Refused:
                return
            self.send(target, source, lambda: answered(found))

        self.send(source, target, arrive)


class Refused(Exception):
    """A replica does not take what it was sent, and says nothing."""
