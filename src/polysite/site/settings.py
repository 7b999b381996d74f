"""What may be set about one site's coordinator."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from polysite.api import LEASE_MS_MAX, WAIT_MS_MAX


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """Settings of one process; nothing needs to be set for one site on the embedded engine.

    `peers` are the other sites that share the engine: name to the address where a process of theirs is reached first, until
    its own row says where it is; this site's own name may be among them, so that all sites can be given the same. `sites` is
    how many sites there are if that is more than this one and its peers. `majority_rtt_ms` is W, the round trip to the
    nearest majority, which leases and waits between sites are derived from; None: measured from the answers of the peers (0
    with one site, and `core.distance.RTT_S_UNMEASURED` until enough of them answered). `joint` False carries one-shot
    sections out on the general path even where the engine could do them in one atomic step. `address`: where other
    processes of ours reach this one, None when nobody can.
    """

    site: str = "local"
    peers: Mapping[str, str] = field(default_factory=dict)
    sites: int = 1
    address: str | None = None
    majority_rtt_ms: int | None = None
    lease_ms_max: int = LEASE_MS_MAX
    wait_ms_max: int = WAIT_MS_MAX
    joint: bool = True
    skew_ms_max: int = 500
    """How far this process's clock may be off the median of all processes' clocks, as it measures every `hello_s`."""
    hello_s: float = 30.0
    """Between two rounds of asking the other processes and sites for the time. A site that never answered is asked each second."""
    settle_rows_max: int = 10_000
    settle_bytes_max: int = 8 * 1024 * 1024
    views_max: int = 8_192
    """Cell views kept of keys that nobody uses at the moment; they save a local read each and are dropped oldest first."""
    sessions_max: int = 50_000
    events_max: int = 1_000
    """Events kept for a subscriber that falls behind, before it gets a gap."""
    select_ranges_max: int = 100
    section_wait_ms: int = 10_000
    """How long a write to a `mixed` table waits for the short section that carries it."""
    look_s_min: float = 0.05
    look_s_max: float = 1.0
    """Bounds of the pause between two looks at the local cell while somebody waits."""
    janitor_s: float = 30.0
    compact_idle_s: float = 600.0
    release_retry_s: float = 0.2
    release_retry_s_max: float = 5.0
    registry_beat_s: float = 5.0
    idempotency_life_s: float = 86_400.0
    start_s: float = 60.0
    """How long a start goes on trying while the engine is unavailable or does not answer: other sites may be starting, too."""
    close_wait_s: float = 5.0
    """How long `close` waits for releases under way before it leaves them to the lease."""

    @property
    def other_sites(self) -> dict[str, str]:
        """The peers without this site itself."""
        return {site: address for site, address in self.peers.items() if site != self.site}

    @property
    def site_count(self) -> int:
        """How many sites share the engine, this one included."""
        return max(self.sites, len(self.other_sites) + 1)
