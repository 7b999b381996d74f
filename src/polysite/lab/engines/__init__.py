"""Engines that the project installs itself, and one engine process as a value: fetched, started, waited for, ended.

installation = fetch(release_of("cassandra"), os.environ)
engine = start(CassandraSpec(folder="/tmp/one", address="127.0.0.9"), installation)
engine.wait_ready()
engine.stop()
"""

from polysite.lab.engines.accord import AccordSpec
from polysite.lab.engines.cassandra import CassandraSpec
from polysite.lab.engines.failures import CapabilityMissing, EngineEnded, FetchFailed, WrongJars
from polysite.lab.engines.fetching import Progress, fetch, installed
from polysite.lab.engines.loopback import free_address
from polysite.lab.engines.probes import Standing
from polysite.lab.engines.releases import RELEASES, Release, release_of
from polysite.lab.engines.running import Engine, start
from polysite.lab.engines.specs import EngineSpec, Installation
from polysite.lab.engines.zookeeper import Member, ZooKeeperSpec

__all__ = [
    "RELEASES",
    "AccordSpec",
    "CapabilityMissing",
    "CassandraSpec",
    "Engine",
    "EngineEnded",
    "EngineSpec",
    "FetchFailed",
    "Installation",
    "Member",
    "Progress",
    "Release",
    "Standing",
    "WrongJars",
    "ZooKeeperSpec",
    "fetch",
    "free_address",
    "installed",
    "release_of",
    "start",
]
