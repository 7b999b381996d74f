"""Faults of clocks."""

import msgspec

from polysite.lab import orders
from polysite.lab.control import Control
from polysite.lab.faults.fault import needs_services
from polysite.lab.state import Plan


class Skew(msgspec.Struct, frozen=True, kw_only=True, tag="skew"):
    """The wall clock of our processes at a site runs `ahead_s` ahead; negative: behind. Engines keep the machine's."""

    site: str
    ahead_s: float

    def missing(self, plan: Plan) -> str:
        return needs_services(plan)

    def inject(self, control: Control) -> None:
        control.order(orders.Skew(site=self.site, ahead_s=self.ahead_s))

    def heal(self, control: Control) -> None:
        control.order(orders.Skew(site=self.site, ahead_s=0.0))
