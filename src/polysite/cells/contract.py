"""What an engine must be able to do to hold lock cells: one linearizable register per key, changed by compare-and-set.

A cell's content is opaque here. Version 0 with empty content is a cell that was never written; each change adds 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

CellCapability = Literal[
    "joint",  # a store of the same engine can change a cell and rows in one atomic step
    "watch",  # `watch` tells of changes made through these cells, and perhaps of others
    "local_view",  # `read_local` waits for no wide-area round trip
    "durable",  # what was applied survives a kill of every process
]


class CellCosts(NamedTuple):
    """Wide-area round trips that each operation waits for."""

    read_local: float = 0
    read: float = 0
    compare_and_set: float = 0
    compare_and_set_refused: float = 0


class CellView(NamedTuple):
    """A past or present true state of one cell."""

    version: int
    content: bytes


NEVER_WRITTEN = CellView(0, b"")

CONTENDED = "contention"
"""The `reason` of the `Unavailable` of a linearizable read that changes of others stood in the way of: the engine is there."""


class CellAnswer(NamedTuple):
    """Whether a compare-and-set applied, and the cell after it: the new content if applied, else what stood against it."""

    applied: bool
    view: CellView


class Cells(ABC):
    """The cells of one engine, as one process uses them. Every method may raise `Unavailable` (nothing happened)."""

    name: str
    capabilities: frozenset[CellCapability]
    costs: CellCosts
    begins: bool = False
    """Whether it has `begin`: an engine that can change a cell without a task to wait for it."""

    @abstractmethod
    async def start(self) -> None:
        """Connect, check and prepare the engine; an error says what to mend."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. Changes under way are finished or answered `OutcomeUnknown` first."""

    @abstractmethod
    async def read_local(self, key: bytes) -> CellView:
        """Some past true state of the cell, from the nearest replica; later calls may return older states than earlier ones."""

    @abstractmethod
    async def read(self, key: bytes) -> CellView:
        """The state of the cell at some moment during the call (linearizable); settles changes that were left unanswered
        before the call began, so that none of them can apply later than what this returns, unless the version did not move.

        `Unavailable` with the reason `CONTENDED`: others changed it at the same time. Ask again, not at once.
        """

    @abstractmethod
    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        """Set the content if the version is still `expected_version`; linearizable, durable when it returns.

        `OutcomeUnknown`: it may have been applied, or may still be. The caller finds out by `read` and by what its own
        content carries; the same call may be sent again. `Unavailable`: it was not sent.
        """

    def begin(
        self,
        key: bytes,
        expected_version: int,
        content: bytes,
        answered: "Callable[[CellAnswer | BaseException], None]",
    ) -> None:
        """Begin a compare-and-set that no task waits for (only where `begins`): `answered` is called later, on the loop, with
        what `compare_and_set` would answer or raise. Raises `Unavailable` if it is not sent."""
        raise NotImplementedError(f"{self.name} begins no change by itself")

    @abstractmethod
    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        """Up to `limit` keys that have a cell at the nearest replica, those that come after `after` in the engine's own order: for
        the janitor. That order never changes; it is the keys' byte order, or that of a hash where the engine spreads them by one.
        `after` is a key that was answered before, or b"" for the start; fewer than `limit` are the last ones."""

    def watch(self, key: bytes, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after the cell changes, at least once per burst of changes, until the returned function
        is called. Only with the capability `watch`.

        It is advice. It tells of changes that were made through these very cells, or in a joint step of their store, and were
        answered; of those of other processes it may tell late or never. So whoever waits for a change also looks at the cell
        now and then, and whoever is told looks before he believes it: a lost notice costs time only.
        """
        raise NotImplementedError(f"{self.name} lacks the capability watch")
