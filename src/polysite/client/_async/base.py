"""What a site, its tables and its sections share."""

from typing import Protocol

from polysite.client._async.protocol import Coordinator
from polysite.client.pacing import AsyncPace
from polysite.values.tables import TableSpec


class SiteBase:
    """A coordinator, the means to wait, and the tally of what calls have cost."""

    def __init__(self, coordinator: Coordinator, *, pace: AsyncPace | None = None) -> None:
        """`pace` None: the machine's own clock and randomness."""
        self.coordinator = coordinator
        self.pace: AsyncPace = pace if pace is not None else AsyncPace()
        self.round_trips: float = 0
        """Wide-area round trips that calls through this object have waited for so far, added up."""


class Specified(Protocol):
    """A table, as far as naming its keys needs it."""

    async def spec(self) -> TableSpec:
        """What the table is made of; UnknownKey if there is no such table."""
        ...
