"""One process asked for its name and its time."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from polysite.core.skew import ClockDifferences, Peer
from polysite.errors import PolysiteError, SiteUnreachable
from polysite.site import peers
from polysite.site.context import SiteContext
from polysite.site.peers import Hello, PeerChannel

STRANGERS_MAX = 100

_log = logging.getLogger(__name__)


class Greeted(NamedTuple):
    """Who answered, after how long."""

    peer: Peer
    trip_s: float


class Greeter:
    """Says hello over the channel and notes what the answers say about the clocks."""

    def __init__(
        self, context: SiteContext, clocks: ClockDifferences, channel: Callable[[], PeerChannel | None]
    ) -> None:
        self._context = context
        self._clocks = clocks
        self._channel = channel
        self._strangers: set[tuple[str, str]] = set()
        self.reasons: dict[str, str] = {}
        """By site: why a process could not be asked, where an operator must mend it; for who asked to take out."""
        self._told: set[tuple[str, str]] = set()

    @property
    def can_ask(self) -> bool:
        """Whether there is a channel by now."""
        return self._channel() is not None

    async def ask(self, address: str, *, site: str, process: str | None, answer_s: float) -> Greeted | None:
        """Ask a process of `site` (None: whichever is there) at `address`. None if it does not answer within `answer_s`, or somebody
        else does: an address may have passed on to another process. Then nothing is noted either."""
        channel = self._channel()
        if channel is None:
            return None
        clock, author = self._context.clock, self._context.author
        sent_us, sent_s = clock.wall_us(), clock.monotonic_s()
        try:
            body = peers.encode(Hello(author.site, author.process, sent_us))
            answer = msgspec.msgpack.decode(await channel.send(address, "hello", body, answer_s=answer_s), type=Hello)
        except (PolysiteError, msgspec.DecodeError) as error:
            self._note_reason(site, error)
            return None  # gone, too busy, or of another version: what it said last counts for a while
        answered_s = clock.monotonic_s()
        peer = Peer(answer.site, answer.process)
        if answer.site != site or process not in {None, answer.process}:
            if process is None:
                self._note_stranger(site, answer.site)
            return None
        self._clocks.note(peer, sent_us=sent_us, sent_s=sent_s, answered_s=answered_s, peer_us=answer.wall_us)
        return Greeted(peer, answered_s - sent_s)

    def _note_reason(self, site: str, error: Exception) -> None:
        """Keep why a site could not be asked, if an operator must mend it; say so once in the log."""
        reason = error.attributes.get("reason") if isinstance(error, SiteUnreachable) else None
        if reason is None:
            return
        self.reasons[site] = reason
        if (site, reason) not in self._told and len(self._told) < STRANGERS_MAX:
            self._told.add((site, reason))
            _log.warning("a site is not spoken to", extra={"shown": {"site": site, "reason": reason}})

    def _note_stranger(self, site: str, found: str) -> None:
        """Say once that an address that was set is the one of another site."""
        if (site, found) not in self._strangers and len(self._strangers) < STRANGERS_MAX:
            self._strangers.add((site, found))
            shown = {"site": site, "found": found}
            _log.warning("what is set as the address of a site is answered by another one", extra={"shown": shown})
