"""How sites go down and for how long, and how likely each is in what condition at a moment: arithmetic, exact.

A site is up for an exponentially distributed time and then down for the length of its outage; sites fail independently of each other. That is a
stationary alternating renewal process, of which everything that is needed follows: of the lengths of outages only the mean of
each kind matters, as long as none is shorter than the window that is looked at.

    p        share of the time that a site is down
    D        mean length of an outage, over all kinds; D_m of kind m, which has the share s_m of all outages
    rate     p / D, outages per second of all time; 1 / ((1 - p) D / p) = l of the time that it is up

Seen through a window of w seconds, placed at any moment, a site is one of these, and nothing else:

    up        all the while      (1 - p) exp(-l w)
    down      all the while      rate s_m (D_m - w)
    fails     once, and stays    rate s_m g,  g = (1 - exp(-l w)) / l
    returns   once, and stays    rate s_m g
    again     returns and fails  rate (w - g)
"""

import math
from typing import Literal, NamedTuple

import msgspec

WINDOW_BEFORE_S = 2.0
"""A request may take so long, so what began this much before a change may meet it."""

WINDOW_AFTER_S = 13.0
"""After a change for so long the sites are watched: leases of 2 s are over several times, and a started process serves."""

WINDOW_S = WINDOW_BEFORE_S + WINDOW_AFTER_S


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of outage. Its length is `least_s` and a part drawn from a distribution: "lognormal" about `median_s` with `spread`
    (of the logarithm), or "exponential" with that median."""

    name: str
    share: float
    """Of all outages."""
    distribution: Literal["lognormal", "exponential"]
    median_s: float
    spread: float = 0.0
    least_s: float = WINDOW_S

    @property
    def mean_s(self) -> float:
        if self.distribution == "exponential":
            return self.least_s + self.median_s / math.log(2)
        return self.least_s + self.median_s * math.exp(self.spread**2 / 2)


OUTAGES = (
    Outage(name="stopped", share=0.7, distribution="lognormal", median_s=60.0, spread=1.0),
    Outage(name="dark", share=0.2, distribution="exponential", median_s=1_200.0),
    Outage(name="cut off", share=0.1, distribution="lognormal", median_s=300.0, spread=1.2),
)
"""Restarts and crashes: engine and process end, connections are refused. Lost power and broken machines: the same, but nothing answers. A broken
network: all runs on inside, nothing goes in or out. A choice, not a measurement: mostly short and now and then long, as the studies of
large fleets describe it (Ford and others, OSDI 2010: most unavailability ends within 15 minutes; Gunawi and others, SoCC 2016: outages
of whole services take hours). Shorter outages for the same share of time mean more changes, and are the harder case."""

Happening = Literal["up", "down", "fails", "returns", "again"]


class Condition(NamedTuple):
    """What a site does within a window; `outage` is the kind of it, "" where it is up all the while."""

    happening: Happening
    outage: str = ""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What is assumed of each site: down for a share of the time, in these ways."""

    down: float
    outages: tuple[Outage, ...] = OUTAGES

    def __post_init__(self) -> None:
        if not 0.0 < self.down < 1.0:
            raise ValueError(f"a site is down for a share of the time between 0 and 1, not {self.down}")
        if abs(sum(outage.share for outage in self.outages) - 1.0) > 1e-9:
            raise ValueError("the shares of the kinds of outage make one")

    @property
    def outage_s(self) -> float:
        """Mean length of an outage."""
        return sum(outage.share * outage.mean_s for outage in self.outages)

    @property
    def between_s(self) -> float:
        """Mean time from one outage to the next."""
        return self.outage_s * (1 - self.down) / self.down

    def conditions(self, window_s: float = WINDOW_S) -> dict[Condition, float]:
        """The probability of each condition in a window of that length. ValueError: some outages are shorter."""
        if any(outage.least_s < window_s for outage in self.outages):
            raise ValueError(f"an outage may be shorter than the window of {window_s:g} s")
        rate, while_up = self.down / self.outage_s, 1 / self.between_s
        once_s = -math.expm1(-while_up * window_s) / while_up
        found = {Condition("up"): (1 - self.down) * math.exp(-while_up * window_s)}
        for outage in self.outages:
            found[Condition("down", outage.name)] = rate * outage.share * (outage.mean_s - window_s)
            found[Condition("fails", outage.name)] = rate * outage.share * once_s
            found[Condition("returns", outage.name)] = rate * outage.share * once_s
            found[Condition("again", outage.name)] = rate * outage.share * (window_s - once_s)
        return found


def no_majority(sites: int, down: float) -> float:
    """The share of the time in which no majority of that many sites is up: the bound of the arithmetic."""
    return math.fsum(
        math.comb(sites, up) * (1 - down) ** up * down ** (sites - up) for up in range(sites + 1) if up * 2 <= sites
    )
