"""The ZooKeeper session: kazoo's calls on the loop, its errors as outcomes, and what the connected server is to the others.

What stands here does without kazoo, so that settings can be read where it is not installed; `session` and `znodes` need it.
"""

from polysite.engines.zookeeper.settings import ZookeeperSettings
from polysite.engines.zookeeper.standing import Standing

__all__ = ["Standing", "ZookeeperSettings"]
