"""Which services a plan means, in the order in which they are started."""

from polysite.errors import BadRequest
from polysite.lab.services.polysite import polysite_service
from polysite.lab.services.service import Service
from polysite.lab.state import EMBEDDED, LabFolder, Plan


def services_of(plan: Plan, folder: LabFolder) -> list[Service]:
    """All services of all sites: engines first, each kind at all sites side by side."""
    if not plan.services:
        return []
    for engine in (plan.store, plan.cells):
        if engine != EMBEDDED:
            raise BadRequest(f"there is no engine {engine!r} for a lab; there is {EMBEDDED}")
    return [polysite_service(plan, site, folder) for site in plan.topology.names]
