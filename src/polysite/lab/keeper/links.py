"""What is wrong with the links right now, by what was ordered. Decisions only; the carrier of packets is told the result."""

from collections.abc import Iterator, Sequence
from itertools import permutations

from polysite.errors import BadRequest
from polysite.lab.network.forwarder import Orders
from polysite.lab.network.schedule import Link, LinkFaults
from polysite.lab.orders import LinkStatus
from polysite.lab.topology import Topology


class LinkBook:
    """The links between the sites of a topology, and their faults."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.faults = LinkFaults()

    def between(self, sites: Sequence[str], *, one_way: bool = False) -> list[Link]:
        """The links that are meant by no site (all), one (between it and the others), or two (between them; `one_way`: from
        the first to the second)."""
        if one_way and len(sites) != 2:
            raise BadRequest("one way goes from one site to another: name two")
        indexes = [self.topology.index(site) for site in sites]
        if len(indexes) > 2 or len(set(indexes)) != len(indexes):
            raise BadRequest("name no site (all links), one (its links), or two different ones")
        if one_way:
            return [(indexes[0], indexes[1])]
        return [link for link in permutations(range(len(self.topology.sites)), 2) if set(indexes) <= set(link)]

    def cut(self, sites: Sequence[str], *, one_way: bool) -> None:
        """Cut links; BadRequest without a site, since everything being cut from everything is hardly meant."""
        if not sites:
            raise BadRequest("name the site to cut off, or the two to cut apart")
        self.faults.cut.update(self.between(sites, one_way=one_way))

    def lose(self, share: float, sites: Sequence[str]) -> None:
        """Lose that share on links; 0 ends it."""
        _set_share(self.faults.loss, self.between(sites), share)

    def reorder(self, share: float, sites: Sequence[str]) -> None:
        """Reorder that share on links; 0 ends it."""
        _set_share(self.faults.reorder, self.between(sites), share)

    def heal(self, sites: Sequence[str]) -> None:
        """End all faults on links."""
        for link in self.between(sites):
            self.faults.cut.discard(link)
            self.faults.loss.pop(link, None)
            self.faults.reorder.pop(link, None)

    def orders(self) -> Orders:
        """All of it, for the carrier of packets."""
        return Orders(
            delays_s=self.topology.delays_s(),
            cut=sorted(self.faults.cut),
            loss=[(*link, share) for link, share in sorted(self.faults.loss.items())],
            reorder=[(*link, share) for link, share in sorted(self.faults.reorder.items())],
        )

    def status(self) -> Iterator[LinkStatus]:
        """Every link as it is."""
        names = self.topology.names
        for link in permutations(range(len(names)), 2):
            yield LinkStatus(
                source=names[link[0]],
                target=names[link[1]],
                rtt_ms=self.topology.rtt_ms[link[0]][link[1]],
                cut=link in self.faults.cut,
                loss=self.faults.loss.get(link, 0.0),
                reorder=self.faults.reorder.get(link, 0.0),
            )


def _set_share(shares: dict[Link, float], links: Sequence[Link], share: float) -> None:
    if not 0 <= share <= 1:
        raise BadRequest("a share of packets is 0 to 100 percent")
    for link in links:
        if share:
            shares[link] = share
        else:
            shares.pop(link, None)
