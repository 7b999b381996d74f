"""What goes wrong between clients and servers, by name; `polysite.testing.world.faults` has all the rest.

They are drawn beside the others, and only for runs in which somebody works over a link.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from polysite.testing.world.world import World


class Struck(Protocol):
    """What of a fault is needed here."""

    @property
    def site(self) -> str: ...

    @property
    def amount(self) -> float: ...


Act = Callable[[World, Struck], Awaitable[None]]


def _share(name: str, most: float) -> tuple[Act, Act]:
    """A share of all requests, `amount` of `most` while the fault lasts."""

    async def begin(world: World, fault: Struck) -> None:
        setattr(world.links.weather, name, abs(fault.amount) * most)

    async def end(world: World, _fault: Struck) -> None:
        setattr(world.links.weather, name, 0.0)

    return begin, end


async def _cut(world: World, fault: Struck) -> None:
    world.links.cut(fault.site)


async def _heal(world: World, fault: Struck) -> None:
    world.links.heal(fault.site)


LINK_FAULTS: dict[str, tuple[Act, Act]] = {
    "clients cut off": (_cut, _heal),
    "connections refused": _share("refused", 0.5),
    "requests lost": _share("lost", 0.3),
    "requests late": _share("late", 0.5),
    "requests doubled": _share("doubled", 1.0),
    "answers lost": _share("unanswered", 0.4),
}
"""Name → how it begins and how it ends."""
