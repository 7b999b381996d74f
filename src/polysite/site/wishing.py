"""Wishes of and for this process on their way into a change of a cell."""

import asyncio
from collections.abc import Callable

import msgspec

from polysite.core.combine import AskedWish
from polysite.core.lock_cell import Author, LockCell
from polysite.core.wishes import Result
from polysite.errors import PolysiteError
from polysite.site.timers import Timer


class Handing(msgspec.Struct, eq=False):
    """Wishes handed over in one message, and whether the steward answered."""

    steward: Author
    wishes: "list[PendingWish]"
    sent_s: float
    heard: bool = False


class WishAnswer(msgspec.Struct, frozen=True):
    """How a wish was decided.

    `sent_s`: when the change that carried it was first sent, or it was handed to a steward (own monotonic clock). `version` and
    `cell`: the newest view when it was known. `round_trips` were waited for.
    """

    result: Result
    sent_s: float
    version: int
    cell: LockCell
    round_trips: float


class PendingWish(msgspec.Struct, eq=False):
    """A wish that waits for its change. `decided` is called once, before the sessions of the key see the new cell; `failed`
    if it cannot be decided."""

    asked: AskedWish
    trips: float
    decided: Callable[[WishAnswer], None] | None
    failed: Callable[[PolysiteError], None] | None
    own: bool = True
    """This process is its author."""
    future: "asyncio.Future[WishAnswer] | None" = None
    """What the author waits on, None if nobody does."""
    sent_s: float | None = None
    """When a change with this wish was first sent: leases count from there, however it was then found out (I15)."""
    answer_to: str = ""
    """Of a wish that another process handed over: where its author is."""
    was_handed: bool = False
    """A steward may carry it on another road: when it was asked stays as it was (I17)."""
    was_kept: bool = False
    """It was kept back for a release or renewal once."""
    alone: bool = False
    """Its stewards were silent: an own change carries it."""
    stewards: int = 0
    """Processes that were asked to carry it."""
    handing: Handing | None = None
    """While another process is asked to carry it: with which wishes, and what came of that."""
    timer: Timer | None = None
    """When it goes its own way."""

    def __repr__(self) -> str:
        # A wish may have the secret of the entry it asks for.
        return f"PendingWish({type(self.asked.wish).__name__})"
