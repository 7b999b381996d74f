"""Faults of the links between sites."""

import msgspec

from polysite.lab import orders
from polysite.lab.control import Control
from polysite.lab.faults.fault import needs_networks
from polysite.lab.state import Plan


class Cut(msgspec.Struct, frozen=True, kw_only=True, tag="cut"):
    """Nothing gets through: between a site and all others, between two, or (`one_way`) from the first to the second."""

    sites: tuple[str, ...]
    one_way: bool = False

    def missing(self, plan: Plan) -> str:
        return needs_networks(plan)

    def inject(self, control: Control) -> None:
        control.order(orders.Cut(sites=self.sites, one_way=self.one_way))

    def heal(self, control: Control) -> None:
        control.order(orders.Heal(sites=self.sites))


class Loss(msgspec.Struct, frozen=True, kw_only=True, tag="loss"):
    """A share (0 to 1) of the packets is lost, on all links, those of a site, or those between two."""

    share: float
    sites: tuple[str, ...] = ()

    def missing(self, plan: Plan) -> str:
        return needs_networks(plan)

    def inject(self, control: Control) -> None:
        control.order(orders.Loss(share=self.share, sites=self.sites))

    def heal(self, control: Control) -> None:
        control.order(orders.Loss(share=0.0, sites=self.sites))


class Reorder(msgspec.Struct, frozen=True, kw_only=True, tag="reorder"):
    """A share (0 to 1) of the packets overtakes those before them, on links as with `Loss`."""

    share: float
    sites: tuple[str, ...] = ()

    def missing(self, plan: Plan) -> str:
        return needs_networks(plan)

    def inject(self, control: Control) -> None:
        control.order(orders.Reorder(share=self.share, sites=self.sites))

    def heal(self, control: Control) -> None:
        control.order(orders.Reorder(share=0.0, sites=self.sites))
