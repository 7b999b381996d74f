"""What a lab's keeper can be told over its socket, and what it answers: one JSON object each way per connection.

An order names sites; services are `polysite`, an engine by its name, or `engine` for all of these. None named means all of them
at that site.
"""

from typing import Any, TypeAlias

import msgspec


class Order(msgspec.Struct, frozen=True, tag_field="order", tag=str.lower):
    """Base of the orders."""


class Status(Order, frozen=True, kw_only=True):
    """Tell how everything is."""


class Down(Order, frozen=True, kw_only=True):
    """Stop everything and end. Answered before; the end of the keeper is the end of the lab."""


class Cut(Order, frozen=True, kw_only=True):
    """Let nothing through: between a site and all others, between two sites, or from the first to the second only."""

    sites: tuple[str, ...]
    one_way: bool = False


class Heal(Order, frozen=True, kw_only=True):
    """End every cut, loss and reordering that touches the sites; with two, those between them; with none, all."""

    sites: tuple[str, ...] = ()


class Loss(Order, frozen=True, kw_only=True):
    """Lose a share (0 to 1) of the packets between the sites, as with `Cut`; no site: everywhere."""

    share: float
    sites: tuple[str, ...] = ()


class Reorder(Order, frozen=True, kw_only=True):
    """Let a share (0 to 1) of the packets overtake those before them."""

    share: float
    sites: tuple[str, ...] = ()


class Distance(Order, frozen=True, kw_only=True):
    """Change the distances: round trips in milliseconds, as `Topology.rtt_ms`."""

    rtt_ms: tuple[tuple[float, ...], ...]


class Freeze(Order, frozen=True, kw_only=True):
    """Stop processes in their tracks (SIGSTOP)."""

    site: str
    services: tuple[str, ...] = ()


class Kill(Order, frozen=True, kw_only=True):
    """End processes without a warning (SIGKILL)."""

    site: str
    services: tuple[str, ...] = ()


class Start(Order, frozen=True, kw_only=True):
    """Let frozen processes go on, start those that have ended; answered when all of them are ready."""

    site: str
    services: tuple[str, ...] = ()


class Skew(Order, frozen=True, kw_only=True):
    """Put the wall clock of our processes at a site so many seconds ahead (negative: behind)."""

    site: str
    ahead_s: float


class Rtt(Order, frozen=True, kw_only=True):
    """Measure round trips between the sites, `count` of each."""

    count: int = 5


AnyOrder: TypeAlias = Status | Down | Cut | Heal | Loss | Reorder | Distance | Freeze | Kill | Start | Skew | Rtt


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`value` if it was done, else the code of an error and its message."""

    value: Any = None
    code: str = ""
    message: str = ""


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One service at a site. `state`: starting, ready, frozen, ended. `pid` as inside the lab."""

    name: str
    state: str
    pid: int
    exit_code: int | None = None


class SiteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One site. `namespace`: number of the keeper's open file of its network; None on loopback."""

    name: str
    address: str
    url: str
    namespace: int | None
    skew_s: float
    services: tuple[ServiceStatus, ...]


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One direction between two sites; `rtt_ms` as planned. `loss` and `reorder` are shares."""

    source: str
    target: str
    rtt_ms: float
    cut: bool
    loss: float
    reorder: float


class PacketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Packets since the start, and by how many milliseconds the latest was late since the last status."""

    carried: int
    dropped: int
    overtaken: int
    late_ms_max: float
    under_way: int


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a lab that lives. `packets` None: loopback."""

    lab: str
    mode: str
    why_loopback: str
    store: str
    cells: str
    up_s: float
    sites: tuple[SiteStatus, ...]
    links: tuple[LinkStatus, ...]
    packets: PacketStatus | None


class PairRtt(msgspec.Struct, frozen=True, kw_only=True):
    """Round trips measured from one site to another, in milliseconds; those that did not come back are in `lost`."""

    source: str
    target: str
    planned_ms: float
    median_ms: float | None
    least_ms: float | None
    most_ms: float | None
    lost: int
