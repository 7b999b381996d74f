"""What every fault offers."""

from typing import Protocol

from polysite.lab.control import Control
from polysite.lab.state import Plan


class Fault(Protocol):
    """Something that can be made to go wrong, as a value. Injecting or healing it twice is fine."""

    def missing(self, plan: Plan) -> str:
        """What a lab lacks for this fault, in words; "" if nothing."""
        ...

    def inject(self, control: Control) -> None:
        """From now on it is wrong. What the lab refuses is raised."""
        ...

    def heal(self, control: Control) -> None:
        """From now on it is right; for processes: when they are ready again."""
        ...


def needs_networks(plan: Plan) -> str:
    """What a lab lacks for faults of links."""
    if plan.mode == "network":
        return ""
    return f"sites with networks of their own; this lab is on loopback ({why_of(plan)})"


def why_of(plan: Plan) -> str:
    """Why a lab is on loopback."""
    return f"missing here: {plan.why_loopback}" if plan.why_loopback else "as asked for"


def needs_services(plan: Plan) -> str:
    """What a lab lacks for faults of processes."""
    return "" if plan.run != "nothing" else "processes at the sites; this lab was started with networks alone"
