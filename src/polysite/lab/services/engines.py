"""An engine at a site: a Cassandra node that is a data center of its own, or a member of a ZooKeeper ensemble."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from polysite.lab.engines import CassandraSpec, EngineSpec, Installation, Member, ZooKeeperSpec, probes
from polysite.lab.engines.running import without_locked_memory
from polysite.lab.engines.specs import OUTPUT_LOG, SYSTEM_LOG
from polysite.lab.services.polysite import ZOOKEEPER_PORT
from polysite.lab.services.service import Command, CommandProbe, Service
from polysite.lab.state import LabFolder, Plan

GENTLE_S = 10.0
PROBE_S = 2
"""How long one probe goes on asking before it says no; the next one follows."""
TOKENS_APART = 100


def engine_service(engine: str, plan: Plan, site: str, folder: LabFolder, installation: Installation) -> Service:
    """The service of an engine at a site."""
    place = folder.site(site) / engine
    spec = SPECS[engine](plan, site, place)
    others = [other.address for other in plan.topology.sites if other.name != site] if engine == "cassandra" else []
    return Service(
        site=site,
        name=engine,
        command=Command(
            argv=[*without_locked_memory(), *spec.command(installation)],
            folder=place,
            log=place / OUTPUT_LOG,
            variables={"MALLOC_ARENA_MAX": "2"},
        ),
        files={place / name: text for name, text in spec.files().items()},
        # It is ready when it lists the others: a keyspace cannot be made before that.
        probe=CommandProbe(
            [sys.executable, "-I", probes.__file__, engine, spec.address, str(spec.port), str(PROBE_S), *others]
        ),
        gentle_s=GENTLE_S,
        more_logs=(place / SYSTEM_LOG,),
    )


def _cassandra(plan: Plan, site: str, place: Path) -> EngineSpec:
    """One Cassandra node, its site's name as data center. Started side by side, so all are seeds and their tokens are fixed."""
    return CassandraSpec(
        folder=str(place),
        address=plan.topology.address(site),
        seeds=tuple(other.address for other in plan.topology.sites),
        data_center=site,
        cluster_name=f"lab-{plan.lab}",
        initial_token=plan.topology.index(site) * TOKENS_APART,
    )


def _zookeeper(plan: Plan, site: str, place: Path) -> EngineSpec:
    """One member; the last site's is elected when all begin alike."""
    members = tuple(Member(number=i, address=one.address) for i, one in enumerate(plan.topology.sites, 1))
    return ZooKeeperSpec(
        folder=str(place),
        address=plan.topology.address(site),
        members=members if len(members) > 1 else (),
        number=plan.topology.index(site) + 1,
        client_port=ZOOKEEPER_PORT,
    )


SPECS: Mapping[str, Callable[[Plan, str, Path], EngineSpec]] = {"cassandra": _cassandra, "zookeeper": _zookeeper}
"""Engines that a lab starts, by name."""
