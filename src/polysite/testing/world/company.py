"""Which further clients a run has, beside those who take locks: a few kinds, each in few runs, so that all runs together have all of them.

company = drawn(17)
Plan(seed=17, company=("rows without locks", "mixed rows"))
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from polysite.testing.history import Recorder
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world import lists, stamped
from polysite.testing.world.asking import Asker
from polysite.testing.world.lists import ListClient
from polysite.testing.world.stamped import Manner, StampedClient
from polysite.testing.world.world import World
from polysite.values.tables import TableSpec

SHARE = 0.07
"""How likely a run has a kind."""


class Kind(NamedTuple):
    """A kind of clients, one at each site."""

    tables: tuple[TableSpec, ...]
    client: Callable[[World, str, Recorder], Asker]


def _of_rows(*rows: stamped.Row, lives: float = 0.0, requests: float = 0.0) -> Kind:
    names = {table for table, _ in rows}
    manner = Manner(rows, lives=lives, requests=requests)
    return Kind(
        tuple(spec for spec in stamped.TABLES if spec.name in names),
        lambda world, site, recorder: StampedClient(world, site, manner, recorder),
    )


KINDS: dict[str, Kind] = {
    "rows without locks": _of_rows(stamped.OPEN, stamped.NEVER, requests=0.3),
    "mixed rows": _of_rows(*stamped.BOTH, requests=0.2),
    "rows that end": _of_rows((stamped.FREE, "e"), (stamped.STRICT, "e"), *stamped.BOTH[:2], lives=0.6),
    "requests asked again": _of_rows(stamped.HELD, requests=0.8),
    "lists": Kind((lists.TABLE,), ListClient),
}
"""By name."""


def drawn(seed: int) -> tuple[str, ...]:
    """The kinds that the run of that seed has."""
    chance = SeededRandomness(f"{seed}/company")
    return tuple(name for name in KINDS if chance.uniform(0.0, 1.0) < SHARE)


def tables(company: Iterable[str]) -> list[TableSpec]:
    """The tables that they need, each once."""
    return list({spec.name: spec for name in company for spec in KINDS[name].tables}.values())


def clients(company: Sequence[str], world: World, site: str, recorder: Recorder) -> list[Asker]:
    """Those of one site."""
    return [KINDS[name].client(world, site, recorder) for name in company]
