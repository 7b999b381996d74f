"""Which services a plan means."""

from collections.abc import Mapping

from polysite.errors import BadRequest
from polysite.lab.engines import Installation
from polysite.lab.services.engines import SPECS, engine_service
from polysite.lab.services.polysite import polysite_service
from polysite.lab.services.service import Service
from polysite.lab.state import EMBEDDED, LabFolder, Plan

STORES = (EMBEDDED, "cassandra")
CELLS = (EMBEDDED, "cassandra", "accord", "zookeeper")


def engines_of(plan: Plan) -> list[str]:
    """The engines that run as processes of their own, each once. BadRequest: there is none of that name, or not for that."""
    for what, engine, known in (("--store", plan.store, STORES), ("--cells", plan.cells, CELLS)):
        if engine not in known:
            raise BadRequest(f"{what}: there is no engine {engine!r} here; there is {', '.join(known)}")
    if (plan.store == EMBEDDED) != (plan.cells == EMBEDDED):
        raise BadRequest("rows and lock cells are both embedded, or neither is")
    if plan.run == "nothing":
        return []
    # Accord is a part of Cassandra 6: rows and lock cells are kept by the same Cassandra nodes.
    store = "accord" if plan.cells == "accord" else plan.store
    return [engine for engine in dict.fromkeys((store, plan.cells)) if engine in SPECS]


def services_of(plan: Plan, folder: LabFolder, installations: Mapping[str, Installation]) -> list[Service]:
    """All services of all sites, in the order they are shown. `installations`: of `engines_of`."""
    sites = plan.topology.names
    found = [
        engine_service(engine, plan, site, folder, installations[engine])
        for engine in engines_of(plan)
        for site in sites
    ]
    if plan.run == "all":
        found += [polysite_service(plan, site, folder) for site in sites]
    return found
