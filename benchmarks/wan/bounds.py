"""What is allowed, by where lock cells are kept and who stands alike there. Other cells are a further column, and a group."""

from collections.abc import Sequence
from typing import NamedTuple

from .samples import Sample

ANY = ""
LEADER, OTHER = "leader's site", "other sites"


class Bounds(NamedTuple):
    """Round trips: cells in Cassandra; in ZooKeeper at the leader's site and at others."""

    cassandra: float
    leader: float
    other: float

    def of(self, group: str) -> float:
        return {ANY: self.cassandra, LEADER: self.leader, OTHER: self.other}[group]


def alike(bound: float) -> Bounds:
    """The same wherever cells are kept."""
    return Bounds(bound, bound, bound)


def groups(samples: Sequence[Sample], leads: str | None) -> dict[str, list[Sample]]:
    """Samples by who stands alike: all sites, or the one that leads and the others."""
    if leads is None:
        return {ANY: list(samples)}
    return {
        LEADER: [sample for sample in samples if sample.site == leads],
        OTHER: [sample for sample in samples if sample.site != leads],
    }
