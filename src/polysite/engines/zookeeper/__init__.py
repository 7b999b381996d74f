"""The ZooKeeper session: kazoo's calls on the loop, its errors as outcomes, and what the connected server is to the others."""

from polysite.engines.zookeeper.failures import Against
from polysite.engines.zookeeper.session import Answered, ZookeeperSession, settle
from polysite.engines.zookeeper.settings import ZookeeperSettings
from polysite.engines.zookeeper.standing import Standing
from polysite.engines.zookeeper.znodes import Found, Znodes

__all__ = ["Against", "Answered", "Found", "Standing", "Znodes", "ZookeeperSession", "ZookeeperSettings", "settle"]
