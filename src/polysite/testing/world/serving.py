"""Which clients of a run work through the production client and the server, and which in the process: a seed decides."""

from collections.abc import Iterable
from typing import Any

from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.clients import Client
from polysite.testing.world.served import ServedClient
from polysite.testing.world.v2_client import V2Client
from polysite.testing.world.world import World

SHARE = 0.3
"""Of all seeds."""


def is_served(seed: int | str) -> bool:
    """Whether the run of that seed has served clients. Drawn apart: other runs are what they would be without."""
    return SeededRandomness(f"{seed}/served").uniform(0.0, 1.0) < SHARE


def client_of(served: bool, world: World, site: str, number: int, *arguments: Any) -> Client:
    """A client of a run. `served`: it may be one of those that work over links."""
    if not served:
        return Client(world, site, number, *arguments)
    kind = SeededRandomness(f"{world.seed}/served {site}-{number}").below(6)
    if kind == 0:
        return Client(world, site, number, *arguments)
    if kind == 1:
        return V2Client(world, site, number, *arguments)
    return ServedClient(world, site, number, *arguments, keyed=kind > 3)


async def finished(clients: Iterable[Client], world: World) -> None:
    """Return once nothing is under way behind a client's back, nor in a server."""
    for client in clients:
        if isinstance(client, ServedClient):
            await client.finish()
    await world.links.idle()
