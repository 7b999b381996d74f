"""Asks the other processes for the time, at the start and now and then, so that a clock that is off is noticed.

Writes without a lock are ordered by the clocks of those who make them; a process that is far off its peers must not make
any. With answers of at least two others the median tells who is off; with one nobody can tell which of the two is wrong,
and both say that they differ. Asked are the processes of the own site, found in the registry, and those of the other sites.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from polysite.api import SiteReach
from polysite.core.skew import ClockDifferences, Peer
from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.site.hello import Greeter
from polysite.site.peers import Hello, PeerChannel
from polysite.site.processes import PROCESSES_MAX, ProcessRow, ProcessSlots, Registry
from polysite.site.site_watch import ROUND_S, SiteWatch

ANSWER_S = 1.0
ROUNDS_KEPT = 3
"""A peer that has not answered for so many rounds no longer counts."""
KNOCK_S = 1.0
"""Between two hellos to a site that never answered so far."""
GLANCE_S = 1.0
"""Between two looks at one's own clocks: whether the wall clock was set, or the machine slept."""


class ClockWatch:
    """Rounds of hello to every process that may be alive. `tell` is given the difference in milliseconds that is sure.

    Who was there before is read from the registry once, and who starts later says hello first; so a process without peers
    reads nothing. Of other sites the rows are read in every round: a hello may be lost between sites.
    """

    def __init__(
        self,
        context: SiteContext,
        registry: Registry,
        slots: ProcessSlots,
        *,
        channel: Callable[[], PeerChannel | None],
        tell: Callable[[float], None],
    ) -> None:
        settings = context.settings
        self._context = context
        self._registry = registry
        self._slots = slots
        self._tell = tell
        self._peers: set[str] = set()
        self._found = False
        self._compared_us = self._wall_ahead()
        """The wall clock against the monotonic one when it was compared with those of the others last."""
        self._comparing = False
        self._known = ClockDifferences(site=settings.site, life_s=ROUNDS_KEPT * settings.hello_s, round_s=ROUND_S)
        self._greeter = Greeter(context, self._known, channel)
        self._sites = SiteWatch(context, registry, self._greeter, self._known, tell=context.events.tell_health)

    def is_alone(self) -> bool:
        """Whether no other process is known, of this site or of another."""
        return not self._peers and not self._sites.sites

    def start(self) -> None:
        """Find out who is there and ask them, now, every `hello_s` from now on, and as soon as the own clock was set."""
        self._round()
        self._knock()
        self._glance()

    def reach(self) -> list[SiteReach]:
        """How the other sites are reached."""
        return self._sites.reach()

    def heard(self, hello: Hello) -> None:
        """A process said hello: it is asked, too, from now on, unless it has no name yet. A site that did not answer is asked at once."""
        author = self._context.author
        if hello.site != author.site:
            if self._sites.waits_for(hello.site):
                self._ask_later(self._sites.ask(site, counted=False) for site in [hello.site])
            return
        known = hello.process in self._peers or hello.process in {author.process, ""}
        if not known and len(self._peers) < PROCESSES_MAX:
            self._peers.add(hello.process)
            self._ask_later(self._ask(process) for process in [hello.process])

    def ask(self) -> None:
        """Ask everybody now."""
        self._context.background(self._ask_all(counted=False), name="site-hello")

    def _round(self) -> None:
        if not self._context.closing:
            self._context.background(self._ask_all(counted=True), name="site-hello")
            self._context.timers.after(self._context.settings.hello_s, self._round)

    def _knock(self) -> None:
        """Ask the sites that never answered, until all have."""
        missing = self._sites.never_answered()
        if missing and not self._context.closing:
            self._ask_later(self._sites.ask(site, counted=False) for site in missing)
            self._context.timers.after(min(KNOCK_S, self._context.settings.hello_s), self._knock)

    def _glance(self) -> None:
        """Ask everybody if the wall clock was set, that is, went another way than the monotonic one. With a clock that is an hour
        ahead, writes without a lock would hide what others write in that hour; the next round may be half a minute away."""
        if self._context.closing:
            return
        self.was_set()
        self._context.timers.after(GLANCE_S, self._glance)

    def was_set(self) -> bool:
        """Whether the wall clock was set, by more than clocks may be apart, and not compared with those of the others since. Then they are asked, and after
        half as much too, if they are not being asked."""
        moved_ms = abs(self._wall_ahead() - self._compared_us) / 1000
        most_ms = self._context.settings.skew_ms_max
        if moved_ms > most_ms / 2 and not self._comparing and not self._context.closing:
            self._comparing = True
            self.ask()
        return moved_ms > most_ms and not self.is_alone()

    def _wall_ahead(self) -> float:
        return self._context.clock.wall_us() - self._context.clock.monotonic_s() * 1_000_000

    def _ask_later(self, asked: "Iterable[Coroutine[Any, Any, None]]") -> None:
        self._context.background(self._gather(asked), name="site-hello")

    async def _ask_all(self, *, counted: bool) -> None:
        wall_ahead_us, asked_before = self._wall_ahead(), self._sites.are_asked()
        try:
            with contextlib.suppress(PolysiteError):
                await self._find()
            await self._gather(
                [
                    *(self._ask(process) for process in sorted(self._peers)),
                    *(self._sites.ask(site, counted=counted) for site in self._sites.sites),
                ]
            )
            if not asked_before:  # else an answer may be to a question of before the clock was set
                self._compared_us = wall_ahead_us
        finally:
            self._comparing = False

    async def _gather(self, asked: "Iterable[Coroutine[Any, Any, None]]") -> None:
        """Judge when everybody has answered or not: the first answer alone may be the one of a clock that is off."""
        await asyncio.gather(*asked)
        self._tell(self._known.off_ms(self._context.clock.monotonic_s()))

    async def _find(self) -> None:
        if self._found:
            return
        author = self._context.author
        for row in await self._registry.all_of(author.site):
            if row.process != author.process and self._may_live(row):
                self._peers.add(row.process)
        self._found = True

    def _may_live(self, row: ProcessRow) -> bool:
        return not row.farewell and not self._slots.is_dead(row.process, row.incarnation)

    async def _ask(self, process: str) -> None:
        """Ask a process of the own site, or forget it if it is gone."""
        site = self._context.author.site
        row = await self._registry.find(site, process)
        if row is None:
            return  # the engine does not answer; nothing is known to have changed
        if not self._may_live(row):
            self._peers.discard(process)
            self._known.forget(Peer(site, process))
        elif row.address is not None:
            await self._greeter.ask(row.address, site=site, process=process, answer_s=ANSWER_S)
