"""What others need on the same kind of lab (three sites, W = 50 ms, two cores), measured before: data, with its source.

"the original" is MUSIC core 3.2.40 on Cassandra 3.11.19, Paxos v1; "ZooKeeper" is 3.9.3 with kazoo's lock recipe on a key that was
used before. Where the original's figures are put together from its calls, the sum of their medians stands here.
"""

from typing import NamedTuple

SOURCE = "measured 3.2.40 on the same set-up"


class Published(NamedTuple):
    """Medians in milliseconds at W = 50; None: it has no such thing, or it was not measured. `zookeeper`: leader's site, other."""

    original_ms: float | None = None
    zookeeper_ms: tuple[float, float] | None = None

    @property
    def original(self) -> str:
        return "-" if self.original_ms is None else f"{self.original_ms:g}"

    @property
    def zookeeper(self) -> str:
        return "-" if self.zookeeper_ms is None else " / ".join(f"{value:g}" for value in self.zookeeper_ms)


CALLS = Published(818, (182, 324))
"""Lock, get, put, unlock, each waited for."""
LOCK = Published(225 + 230 + 66, (66 + 0.8, 110 + 1.2))
"""Create a reference, acquire it, first get; ZooKeeper's get is of the nearest server and may be stale."""
ONE_PUT = Published(70, (54, 113))
TEN_PUTS = Published(1341 - 225 - 230 - 219, (175 - 66 - 56, 356 - 110 - 106))
"""Ten puts, less lock and unlock; ZooKeeper's pipelined."""
ONE_GET = Published(66, (0.8, 1.2))
RELEASE = Published(219, (56, 106))
