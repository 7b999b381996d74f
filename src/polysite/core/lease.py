"""Leases without common clocks: when an entry may be dropped, and when its own process stops to beat.

Whoever waits watches every entry. One whose (ticket, nonce, beat) it has seen unchanged for the entry's lease, on its own
monotonic clock, may be dropped by a compare-and-set on exactly that: a renewal that races makes it fail. Observers are
staggered by how many living processes are before them in the queue. That is for dead processes; for dead clients see `ClientLife`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from polysite.core.lock_cell import Entry
from polysite.core.wishes import Identity, Observed


def lease_s_min(rtt_s: float) -> float:
    """The shortest lease allowed: 10 W + 100 ms."""
    return 10 * rtt_s + 0.1


def answer_limit_s(lease_s: float) -> float:
    """How long after the sending of a renewal answers may be `done`: the lease less 10 % and 50 ms, for clock rates."""
    return 0.9 * lease_s - 0.05


STAGGER_TRIPS = 4
"""What the one before needs to see that an entry is dead, drop it, and tell: two for the change, one to tell, and one to spare."""
BEAT_EVERY = 1 / 3


class _Watched(NamedTuple):
    ticket: int
    nonce: bytes
    beat: int
    lease_s: float
    since_s: float
    first_s: float
    """When this beat was seen first; `since_s` is later if other signs of life came."""
    was_asked: bool = False
    """Its process was asked about it since this beat."""


class Observation:
    """What one process has seen of the entries of one key, on its own clock."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}

    def feed(self, entries: Iterable[Entry], now_s: float) -> None:
        """The entries of a view just read. Those seen before with the same (ticket, nonce, beat) go on ageing."""
        watched: dict[int, _Watched] = {}
        for entry in entries:
            seen = self._watched.get(entry.ticket)
            if seen is None or seen.nonce != entry.nonce or seen.beat != entry.beat:
                seen = _Watched(entry.ticket, entry.nonce, entry.beat, entry.lease_s, now_s, now_s)
            watched[entry.ticket] = seen
        self._watched = watched

    def heard(self, entries: Iterable[Identity], now_s: float) -> None:
        """The process of these entries asks for a beat of them. That is as good a sign of life as the beat, which may be long in coming
        where the one who is to change the cell is silent."""
        for ticket, nonce in entries:
            seen = self._watched.get(ticket)
            if seen is not None and seen.nonce == nonce:
                self._watched[ticket] = seen._replace(since_s=now_s)

    def doubtful(self, now_s: float, *, within_s: float) -> tuple[Identity, ...]:
        """The entries that will have been unchanged for their lease `within_s` from now (a third of it at most, which is when renewals are due
        again), and whose processes were not asked about them: each is named once per beat."""
        found = tuple(
            Identity(seen.ticket, seen.nonce)
            for seen in self._watched.values()
            if not seen.was_asked and now_s + min(within_s, seen.lease_s * BEAT_EVERY) - seen.since_s >= seen.lease_s
        )
        for ticket, _ in found:
            self._watched[ticket] = self._watched[ticket]._replace(was_asked=True)
        return found

    def vouched(self, entries: Iterable[Identity], now_s: float) -> None:
        """The process of these entries says that their clients live, and that it is kept from renewing them. That counts for one lease beyond
        the beat and no longer: a process that cannot change the cell at all must not keep its locks."""
        for ticket, nonce in entries:
            seen = self._watched.get(ticket)
            if seen is not None and seen.nonce == nonce:
                until_s = min(now_s, seen.first_s + seen.lease_s)
                self._watched[ticket] = seen._replace(since_s=max(seen.since_s, until_s))

    def dead(self, now_s: float, *, place: int = 0, rtt_s: float = 0.0) -> tuple[Observed, ...]:
        """The entries seen unchanged for their lease and for this observer's stagger (its place, see there, times 4 W)."""
        stagger_s = place * STAGGER_TRIPS * rtt_s
        return tuple(
            Observed(seen.ticket, seen.nonce, seen.beat)
            for seen in self._watched.values()
            if now_s - seen.since_s >= seen.lease_s + stagger_s
        )

    def place(self, entries: Iterable[Entry], process: tuple[str, str, str], now_s: float) -> int:
        """How many other processes have entries before the first one of this `process` (site, name, incarnation; none: at the end) that
        were not seen unchanged for their lease: each of them may see first that an entry is dead."""
        before: set[tuple[str, str, str]] = set()
        for entry in entries:
            its_process = (entry.site, entry.process, entry.incarnation)
            if its_process == process:
                break
            seen = self._watched.get(entry.ticket)
            if seen is None or now_s - seen.since_s < seen.lease_s:
                before.add(its_process)
        return len(before)

    def next_look_s(self, now_s: float, *, place: int = 0, rtt_s: float = 0.0) -> float | None:
        """Seconds until the first entry could be dead, 0 if one is; None if nothing is watched. Look at the cell again then:
        `feed` what is read before `dead` is believed."""
        if not self._watched:
            return None
        stagger_s = place * STAGGER_TRIPS * rtt_s
        return max(0.0, min(seen.since_s + seen.lease_s for seen in self._watched.values()) + stagger_s - now_s)

    def silent(self, entry: Entry, now_s: float) -> Observed | None:
        """What was seen of the entry, if it was seen unchanged for its lease and is still like that; None if it was not.

        Give `feed` the newest view first. A process that was stopped meanwhile has seen no beat in between and is right all
        the same: beats only go up, so one that is still as it was has not moved.
        """
        seen = self._watched.get(entry.ticket)
        if seen is None or seen.nonce != entry.nonce or seen.beat != entry.beat or now_s - seen.since_s < seen.lease_s:
            return None
        return Observed(seen.ticket, seen.nonce, seen.beat)


class ClientLife(msgspec.Struct, gc=False):
    """Whether the client behind an entry still lives, as its process sees it.

    A sign of life is a call, a keep-alive, an open stream or wait. The process renews the entry every third of its lease
    only while the last sign is younger than the lease; then it ends the tenure itself.
    """

    lease_s: float
    last_sign_s: float
    last_beat_s: float

    def sign(self, now_s: float) -> None:
        """The client showed life."""
        self.last_sign_s = max(self.last_sign_s, now_s)

    def beat_sent(self, now_s: float) -> None:
        """A renewal of the entry was sent."""
        self.last_beat_s = max(self.last_beat_s, now_s)

    def is_dead(self, now_s: float) -> bool:
        """No sign for as long as the lease: end the tenure, or cancel the waiting entry."""
        return now_s - self.last_sign_s >= self.lease_s

    def beat_due(self, now_s: float) -> bool:
        """A third of the lease has passed since the last beat, and the client is not dead."""
        return not self.is_dead(now_s) and now_s - self.last_beat_s >= self.lease_s * BEAT_EVERY

    def next_event_s(self, now_s: float) -> float:
        """Seconds until a beat is due or the client counts as dead, whichever is first; 0 if it is now."""
        beat_at_s = self.last_beat_s + self.lease_s * BEAT_EVERY
        return max(0.0, min(beat_at_s, self.last_sign_s + self.lease_s) - now_s)
