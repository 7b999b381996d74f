"""What can be made to go wrong in a lab, by name: each fault is data, knows what it needs, and is injected and healed.

fault = Cut(sites=("ams",))
if not fault.missing(plan):
    fault.inject(control)
    ...
    fault.heal(control)
"""

from polysite.lab.faults.clocks import Skew
from polysite.lab.faults.fault import Fault
from polysite.lab.faults.links import Cut, Loss, Reorder
from polysite.lab.faults.processes import Freeze, Kill

FAULTS: dict[str, type[Cut | Loss | Reorder | Freeze | Kill | Skew]] = {
    "cut": Cut,
    "loss": Loss,
    "reorder": Reorder,
    "freeze": Freeze,
    "kill": Kill,
    "skew": Skew,
}
"""Every fault by its name."""

__all__ = ["FAULTS", "Cut", "Fault", "Freeze", "Kill", "Loss", "Reorder", "Skew"]
