"""Leases without common clocks: when an entry may be dropped, and when its own process stops to beat.

Whoever waits watches every entry. One whose (ticket, nonce, beat) it has seen unchanged for the entry's lease, on its own
monotonic clock, may be dropped by a compare-and-set on exactly that: a renewal that races makes it fail. Observers are
staggered by their place in the queue. That is for dead processes; for dead clients see `ClientLife`.
"""

from collections.abc import Iterable

import msgspec

from polysite.core.lock_cell import Entry
from polysite.core.wishes import Observed


def lease_s_min(rtt_s: float) -> float:
    """The shortest lease allowed: 10 W + 100 ms."""
    raise NotImplementedError


def answer_limit_s(lease_s: float) -> float:
    """How long after the sending of a renewal answers may be `done`: the lease less 10 % and 50 ms, for clock rates."""
    raise NotImplementedError


class Observation:
    """What one process has seen of the entries of one key, on its own clock."""

    def feed(self, entries: Iterable[Entry], now_s: float) -> None:
        """The entries of a view just read. Those seen before with the same (ticket, nonce, beat) go on ageing."""
        raise NotImplementedError

    def dead(self, now_s: float, *, place: int = 0, rtt_s: float = 0.0) -> tuple[Observed, ...]:
        """The entries seen unchanged for their lease and for this observer's stagger (its place in the queue times 2 W)."""
        raise NotImplementedError

    def next_look_s(self, now_s: float, *, place: int = 0, rtt_s: float = 0.0) -> float | None:
        """Seconds until the first entry could be dead, 0 if one is; None if nothing is watched. Look at the cell again then:
        `feed` what is read before `dead` is believed."""
        raise NotImplementedError

    def unchanged_s(self, ticket: int, now_s: float) -> float | None:
        """How long the entry has been seen unchanged; None if it is not watched."""
        raise NotImplementedError


class ClientLife(msgspec.Struct):
    """Whether the client behind an entry still lives, as its process sees it.

    A sign of life is a call, a keep-alive, an open stream or wait. The process renews the entry every third of its lease
    only while the last sign is younger than the lease; then it ends the tenure itself.
    """

    lease_s: float
    last_sign_s: float
    last_beat_s: float

    def sign(self, now_s: float) -> None:
        """The client showed life."""
        raise NotImplementedError

    def beat_sent(self, now_s: float) -> None:
        """A renewal of the entry was sent."""
        raise NotImplementedError

    def is_dead(self, now_s: float) -> bool:
        """No sign for as long as the lease: end the tenure, or cancel the waiting entry."""
        raise NotImplementedError

    def beat_due(self, now_s: float) -> bool:
        """A third of the lease has passed since the last beat, and the client is not dead."""
        raise NotImplementedError

    def next_event_s(self, now_s: float) -> float:
        """Seconds until a beat is due or the client counts as dead, whichever is first; 0 if it is now."""
        raise NotImplementedError
