"""Asks the other sites for the time: how far they are, whether they answer, and where they are reached by now.

Where a site is reached first is set. Its processes say in the registry, which replicates with the store, where they are
now, and that counts more: the address that was set is asked only if none of them answers. Whatever is asked must say that
it is of that site, for an address may by now belong to another one.
"""

import asyncio
from collections.abc import Callable

from polysite.api import SiteReach
from polysite.core.skew import ClockDifferences, Peer
from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.site.hello import Greeter
from polysite.site.processes import ProcessRow, Registry

ANSWER_S = 3.0
"""Three round trips of a second, as a new connection with TLS takes."""
HELLOS = 3
"""The first one may make the connection; the others show the way, and that a stall was one."""
ROUND_S = HELLOS * ANSWER_S
"""How long a site is asked, at most."""
ASKED_MAX = 8
"""Processes of a site that are asked in a round."""


class SiteWatch:
    """Rounds of hello to the other sites. `tell` is given what changed, in words."""

    def __init__(
        self,
        context: SiteContext,
        registry: Registry,
        greeter: Greeter,
        clocks: ClockDifferences,
        *,
        tell: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._greeter = greeter
        self._clocks = clocks
        self._tell = tell
        self._addresses = context.settings.other_sites
        self._distances = context.distances
        self._reasons: dict[str, str] = {}
        """Why a site could not be asked the last time, where that is known."""
        self._asking: dict[str, bool] = {}
        """The sites that are being asked, and whether it counts if they do not answer."""

    @property
    def sites(self) -> list[str]:
        """All other sites."""
        return list(self._addresses)

    def never_answered(self) -> list[str]:
        """The sites that have not answered so far."""
        return self._distances.never_answered()

    def waits_for(self, site: str) -> bool:
        """Whether a site does not answer at the moment, and is not being asked."""
        return site in self._addresses and site not in self._asking and not self._distances.answers(site)

    def are_asked(self) -> bool:
        """Whether one of them that answers is being asked. One that does not is asked nearly all the time."""
        return any(self._distances.answers(site) for site in self._asking)

    def reach(self) -> list[SiteReach]:
        """How each of them is reached."""
        found = []
        for site in self._addresses:
            trip_s = self._distances.trip_s(site)
            rtt_ms = None if trip_s is None else round(trip_s * 1000, 1)
            reason = self._reasons.get(site) if trip_s is None else None
            found.append(SiteReach(site=site, answers=trip_s is not None, rtt_ms=rtt_ms, reason=reason))
        return found

    async def ask(self, site: str, *, counted: bool) -> None:
        """Ask a site, unless it is being asked. `counted`: no answer is a round without one."""
        if site in self._asking:
            self._asking[site] |= counted
            return
        if not self._greeter.can_ask:
            return
        self._asking[site] = counted
        try:
            trip_s = await self._ask_rows(site)
            if trip_s is None:
                trip_s = await self._ask_at(site, None, self._addresses[site])
        finally:
            counted = self._asking.pop(site)
            self._note_reason(site)
        if trip_s is not None:
            if self._distances.answered(site, trip_s):
                self._tell(f"site {site} answers again")
        elif counted and self._distances.missed(site):
            reason = self._reasons.get(site)
            self._tell(f"site {site} does not answer" + (f": {reason}" if reason else ""))

    def _note_reason(self, site: str) -> None:
        """Take over what the greeter noted when a site was asked, at one address or several."""
        reason = self._greeter.reasons.pop(site, None)
        if reason is None:
            self._reasons.pop(site, None)
        else:
            self._reasons[site] = reason

    async def _ask_rows(self, site: str) -> float | None:
        """Ask the processes that the registry names; the shortest trip of those that answered."""
        rows = await self._rows(site)
        asked = [self._ask_at(site, row.process, row.address) for row in rows if row.address is not None]
        return min((trip_s for trip_s in await asyncio.gather(*asked) if trip_s is not None), default=None)

    async def _rows(self, site: str) -> list[ProcessRow]:
        """The processes of a site that may live, those first that were seen last: nobody there can be known to be dead here."""
        try:
            rows = await self._registry.all_of(site)
        except PolysiteError:
            return []
        for row in rows:
            if row.farewell:
                self._clocks.forget(Peer(site, row.process))
        living = [row for row in rows if not row.farewell and row.address is not None]
        return sorted(living, key=lambda row: -row.seen_us)[:ASKED_MAX]

    async def _ask_at(self, site: str, process: str | None, address: str) -> float | None:
        """The shortest trip to a process, None if it does not answer."""
        shortest: float | None = None
        for _ in range(HELLOS):
            greeted = await self._greeter.ask(address, site=site, process=process, answer_s=ANSWER_S)
            if greeted is None:
                break
            shortest = greeted.trip_s if shortest is None else min(shortest, greeted.trip_s)
        return shortest
