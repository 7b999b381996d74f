"""Faults of the processes at a site. `services` empty: all of them."""

import msgspec

from polysite.lab import orders
from polysite.lab.control import START_S, Control
from polysite.lab.faults.fault import needs_services
from polysite.lab.state import Plan


class Freeze(msgspec.Struct, frozen=True, kw_only=True, tag="freeze"):
    """Processes stop where they are, and later go on as if nothing had been: zombies."""

    site: str
    services: tuple[str, ...] = ()

    def missing(self, plan: Plan) -> str:
        return needs_services(plan)

    def inject(self, control: Control) -> None:
        control.order(orders.Freeze(site=self.site, services=self.services))

    def heal(self, control: Control) -> None:
        control.order(orders.Start(site=self.site, services=self.services), answer_s=START_S)


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag="kill"):
    """Processes end at once; healed, they are started again on the data they left."""

    site: str
    services: tuple[str, ...] = ()

    def missing(self, plan: Plan) -> str:
        return needs_services(plan)

    def inject(self, control: Control) -> None:
        control.order(orders.Kill(site=self.site, services=self.services))

    def heal(self, control: Control) -> None:
        control.order(orders.Start(site=self.site, services=self.services), answer_s=START_S)
