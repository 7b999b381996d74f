"""Asks the other processes of the site for the time, at the start and now and then, so that a clock that is off is noticed.

Writes without a lock are ordered by the clocks of those who make them; a process that is far off its peers must not make
any. Which one of two is wrong nobody can tell, so both say that they differ.
"""

from collections.abc import Callable

import msgspec

from polysite.core.skew import ClockDifferences
from polysite.errors import PolysiteError
from polysite.site import peers
from polysite.site.context import SiteContext
from polysite.site.peers import Hello, PeerChannel
from polysite.site.processes import PROCESSES_MAX, ProcessRow, ProcessSlots, Registry

ANSWER_S = 1.0
ROUNDS_KEPT = 3
"""A peer that has not answered for so many rounds no longer counts."""


class ClockWatch:
    """Rounds of hello to every other registered process that may be alive. `tell` is given the difference in milliseconds.

    Who was there before is read from the registry once, and who starts later says hello first; so a process without peers
    reads nothing.
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
        self._channel = channel
        self._tell = tell
        self._peers: set[str] = set()
        self._found = False
        # An answer can be wrong by half its round trip: by half of what matters at most.
        self._known = ClockDifferences(life_s=ROUNDS_KEPT * settings.hello_s, trip_ms_max=settings.skew_ms_max)

    def start(self) -> None:
        """Find out who is there and ask them, now and every `hello_s` from now on."""
        if self._context.closing:
            return
        if self._found:
            self.ask()
            self._judge()
        else:
            self._context.background(self._find(), name="site-clocks")
        self._context.timers.after(self._context.settings.hello_s, self.start)

    def heard(self, hello: Hello) -> None:
        """A process said hello: it is asked, too, from now on."""
        author = self._context.author
        if hello.site != author.site or hello.process == author.process or hello.process in self._peers:
            return
        if len(self._peers) < PROCESSES_MAX:
            self._peers.add(hello.process)
            self._ask_later(hello.process)

    def ask(self) -> None:
        """Ask everybody now."""
        for process in sorted(self._peers):
            self._ask_later(process)

    async def _find(self) -> None:
        author = self._context.author
        for row in await self._registry.all_of(author.site):
            if row.process != author.process and self._may_live(row):
                self._peers.add(row.process)
        self._found = True
        self.ask()

    def _may_live(self, row: ProcessRow) -> bool:
        return not row.farewell and not self._slots.is_dead(row.process, row.incarnation)

    def _ask_later(self, process: str) -> None:
        self._context.background(self._ask(process), name="site-hello")

    async def _ask(self, process: str) -> None:
        channel = self._channel()
        if channel is None:
            return
        row = await self._registry.find(self._context.author.site, process)
        if row is None:
            return  # the engine does not answer; nothing is known to have changed
        if not self._may_live(row):
            self._peers.discard(process)
            self._known.forget(process)
        elif row.address is not None:
            await self._measure(channel, row, row.address)
        self._judge()

    async def _measure(self, channel: PeerChannel, row: ProcessRow, address: str) -> None:
        clock, author = self._context.clock, self._context.author
        sent_us, sent_s = clock.wall_us(), clock.monotonic_s()
        try:
            body = peers.encode(Hello(author.site, author.process, sent_us))
            answer = msgspec.msgpack.decode(await channel.send(address, "hello", body, answer_s=ANSWER_S), type=Hello)
        except (PolysiteError, msgspec.DecodeError):
            return  # gone, too busy, or of another version: what it said last counts for a while
        if (answer.site, answer.process) == (row.site, row.process):
            answered_s = clock.monotonic_s()
            self._known.note(row.process, sent_us=sent_us, sent_s=sent_s, answered_s=answered_s, peer_us=answer.wall_us)

    def _judge(self) -> None:
        self._tell(self._known.largest_ms(self._context.clock.monotonic_s()))
