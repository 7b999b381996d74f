# Generated from src/polysite/client/_async/base.py by scripts/generate_sync.py; change that file, not this one.
"""What a site, its tables and its sections share."""

from typing import Protocol

from polysite.client._sync.protocol import Coordinator
from polysite.client.pacing import Pace
from polysite.values.tables import TableSpec


class SiteBase:
    """A coordinator, the means to wait, and the tally of what calls have cost."""

    def __init__(self, coordinator: Coordinator, *, pace: Pace | None = None) -> None:
        """`pace` None: the machine's own clock and randomness."""
        self.coordinator = coordinator
        self.pace: Pace = pace if pace is not None else Pace()
        self.round_trips: float = 0
        """Wide-area round trips that calls through this object have waited for so far, added up."""


class Specified(Protocol):
    """A table, as far as naming its keys needs it."""

    def spec(self) -> TableSpec:
        """What the table is made of; UnknownKey if there is no such table."""
        ...
