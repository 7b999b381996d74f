"""A simulated bad world: the production coordinator over replicas, cells, links, clocks and processes that fail by a seed."""

from polysite.testing.world.world import SITES, World, world

__all__ = ["SITES", "World", "world"]
