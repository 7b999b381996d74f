"""An engine at a site: a Cassandra node that is a data center of its own, or a member of a ZooKeeper ensemble."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from polysite.lab.engines import AccordSpec, CassandraSpec, EngineSpec, Installation, Member, ZooKeeperSpec, probes
from polysite.lab.engines.accord import COMES_BACK
from polysite.lab.engines.running import without_locked_memory
from polysite.lab.engines.specs import OUTPUT_LOG, SYSTEM_LOG
from polysite.lab.services.polysite import ZOOKEEPER_PORT
from polysite.lab.services.service import Command, CommandProbe, Service
from polysite.lab.state import LabFolder, Plan

GENTLE_S = 10.0
PROBE_S = 2
"""How long one probe goes on asking before it says no; the next one follows."""
TOKENS_APART = 100
SIDE_BY_SIDE = frozenset({"cassandra"})
ONE_BY_ONE = frozenset({"accord"})
"""Clusters of Cassandra nodes, by how they are started."""


def engine_service(engine: str, plan: Plan, site: str, folder: LabFolder, installation: Installation) -> Service:
    """The service of an engine at a site."""
    place = folder.site(site) / engine
    spec = SPECS[engine](plan, site, place)
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
        # It is ready when it lists those that are started before it or with it: a keyspace cannot be made before that.
        probe=CommandProbe(
            [
                sys.executable,
                "-I",
                probes.__file__,
                engine,
                spec.address,
                str(spec.port),
                str(PROBE_S),
                *_expected(engine, plan, site),
            ]
        ),
        gentle_s=GENTLE_S,
        more_logs=(place / SYSTEM_LOG,),
        stage=plan.topology.index(site) if engine in ONE_BY_ONE else 0,
    )


def _expected(engine: str, plan: Plan, site: str) -> list[str]:
    """The addresses that it must list to be ready."""
    if engine not in SIDE_BY_SIDE | ONE_BY_ONE:
        return []
    sites = plan.topology.sites[: plan.topology.index(site)] if engine in ONE_BY_ONE else plan.topology.sites
    return [other.address for other in sites if other.name != site]


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


def _accord(plan: Plan, site: str, place: Path) -> EngineSpec:
    """One Cassandra node of version 6 with Accord. The first site's is the seed, and the others join it one after the other."""
    return AccordSpec(
        folder=str(place),
        address=plan.topology.address(site),
        seeds=(plan.topology.sites[0].address,),
        data_center=site,
        cluster_name=f"lab-{plan.lab}",
        initial_token=plan.topology.index(site) * TOKENS_APART,
        accord={"journal": COMES_BACK},
        # By default it looks for others for half a minute before it founds the cluster.
        settings={"discovery_timeout": "3s"},
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


SPECS: Mapping[str, Callable[[Plan, str, Path], EngineSpec]] = {
    "cassandra": _cassandra,
    "accord": _accord,
    "zookeeper": _zookeeper,
}
"""Engines that a lab starts, by name."""
