"""What a drill leaves behind, as data: enough to judge it again later."""

from typing import Literal

import msgspec

from polysite.lab.scenarios import Scenario

Verdict = Literal["ok", "failed", "unknown"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done to the lab, in seconds since the load began; `end_s`: when that was complete."""

    start_s: float
    end_s: float
    about: str
    heals: bool


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A drill that was carried out.

    `began_s`: when the load began, on the machine's monotonic clock, as the histories have it; it went on for `lasted_s`. `settled_s`: how long
    after the load had begun all sites showed the same rows without locks, None if they did not. It ends after the last healing.
    """

    scenario: Scenario
    sites: tuple[str, ...]
    majority_rtt_ms: float
    began_s: float
    lasted_s: float
    events: tuple[Event, ...]
    settled_s: float | None

    @property
    def healed_s(self) -> float:
        """When the last healing was complete; 0 if nothing was healed."""
        return max((event.end_s for event in self.events if event.heals), default=0.0)

    @property
    def struck_s(self) -> float:
        """When the first fault was there; infinity if none was."""
        return min((event.end_s for event in self.events if not event.heals), default=float("inf"))


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `unknown`: it could not be told from what there is."""

    name: str
    verdict: Verdict
    finding: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was measured."""

    name: str
    value: float | None
    unit: str
