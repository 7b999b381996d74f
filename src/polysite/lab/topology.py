"""Which sites a lab has, where each is reached, and how far apart they are. Data and arithmetic; nothing is started here.

    topology = plan(sites=("ams", "bei", "irv"), lab="k3x9", rtt_ms=50)
    topology.delay_s("ams", "bei")      # 0.025: one way

Distances are round trips in milliseconds, as people measure and name them; a delay is what a packet takes one way.
"""

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from itertools import combinations

import msgspec

from polysite.errors import BadRequest

SITES_DEFAULT: tuple[str, ...] = ("ams", "bei", "irv")
SITES_MAX = 9
RTT_MS_DEFAULT = 50.0
RTT_MS_MAX = 10_000.0

PROFILES: dict[str, dict[frozenset[str], float]] = {
    "beijing-amsterdam-irvine": {
        frozenset({"ams", "irv"}): 150.0,
        frozenset({"bei", "irv"}): 180.0,
        frozenset({"bei", "ams"}): 200.0,
    },
}
"""Round trips in milliseconds between two sites, by profile: what public measurements between such cities show, rounded."""

_NAME = re.compile(r"[a-z][a-z0-9]{0,11}\Z")


class SitePlace(msgspec.Struct, frozen=True):
    """A site of the lab: its name, and the IPv4 address that everything at this site listens on."""

    name: str
    address: str


class Topology(msgspec.Struct, frozen=True):
    """Sites in their order, and the round trip between each two of them in milliseconds, as `rtt_ms[i][j]`."""

    sites: tuple[SitePlace, ...]
    rtt_ms: tuple[tuple[float, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(site.name for site in self.sites)

    def index(self, name: str) -> int:
        """The place of a site in the order; BadRequest names the sites there are."""
        try:
            return self.names.index(name)
        except ValueError:
            raise BadRequest(f"there is no site {name!r} in this lab; there are {', '.join(self.names)}") from None

    def address(self, name: str) -> str:
        return self.sites[self.index(name)].address

    def delay_s(self, source: str, target: str) -> float:
        """How long a packet takes from `source` to `target`."""
        return self.rtt_ms[self.index(source)][self.index(target)] / 2000

    def delays_s(self) -> list[list[float]]:
        """The same for all, as `[source][target]`."""
        return [[rtt / 2000 for rtt in row] for row in self.rtt_ms]


def plan(
    *,
    lab: str,
    sites: Sequence[str] | None = None,
    rtt_ms: float | None = None,
    profile: str | None = None,
    loopback: bool = False,
) -> Topology:
    """The topology that was asked for. `sites` None: those of the profile, without one three; `rtt_ms` None: 50.

    `lab` is the lab's own name, which its addresses are drawn from. With `loopback` the sites are addresses of this machine's
    loopback, and no delay lies between them. BadRequest says what would be right.
    """
    if profile is not None and rtt_ms is not None:
        raise BadRequest("a profile has its own distances: give either --profile or --rtt-ms")
    if profile is not None and profile not in PROFILES:
        raise BadRequest(f"there is no profile {profile!r}; there is {', '.join(PROFILES)}")
    names = tuple(sites) if sites is not None else SITES_DEFAULT
    check_names(names)
    if profile is not None:
        table = distances(names, PROFILES[profile], profile)
    else:
        table = uniform(len(names), 0.0 if loopback else RTT_MS_DEFAULT if rtt_ms is None else rtt_ms)
    network = draw_network(lab, loopback=loopback)
    return Topology(tuple(SitePlace(name, str(network[i])) for i, name in enumerate(names, start=1)), table)


def check_names(names: Sequence[str]) -> None:
    """BadRequest unless the names can be those of the sites of one lab."""
    for name in names:
        if not _NAME.match(name):
            raise BadRequest(
                f"a site's name is a lower-case letter and up to eleven more letters or digits, not {name!r}"
            )
    if len(set(names)) != len(names):
        raise BadRequest("each site has its own name")
    if not 1 <= len(names) <= SITES_MAX:
        raise BadRequest(f"a lab has one to {SITES_MAX} sites, not {len(names)}")


def uniform(count: int, rtt_ms: float) -> tuple[tuple[float, ...], ...]:
    """The same distance between each two of `count` sites."""
    if not 0 <= rtt_ms <= RTT_MS_MAX:
        raise BadRequest(f"a round trip is 0 to {RTT_MS_MAX:.0f} ms, not {rtt_ms:g}")
    return tuple(tuple(0.0 if i == j else rtt_ms for j in range(count)) for i in range(count))


def distances(
    names: Sequence[str], known: Mapping[frozenset[str], float], profile: str
) -> tuple[tuple[float, ...], ...]:
    """The distances between `names` by a profile; BadRequest if it does not know two of them."""
    for pair in combinations(names, 2):
        if frozenset(pair) not in known:
            there = sorted({name for both in known for name in both})
            raise BadRequest(
                f"the profile {profile} has the sites {', '.join(there)}; it does not know {' and '.join(pair)}"
            )
    return tuple(tuple(0.0 if a == b else known[frozenset({a, b})] for b in names) for a in names)


def draw_network(lab: str, *, loopback: bool) -> ipaddress.IPv4Network:
    """The 256 addresses of the lab called `lab`: below 10.0.0.0/8, which no other network of the machine meets inside the
    lab's namespaces, or below 127.0.0.0/8."""
    drawn = hashlib.sha256(lab.encode()).digest()
    second, third = 64 + drawn[0] % 128, drawn[1]
    return ipaddress.IPv4Network(f"{127 if loopback else 10}.{second}.{third}.0/24")
