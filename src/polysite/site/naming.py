"""The name that a process takes at its start, and that nobody else may have.

    letters bound to the folder    a folder that was copied draws new ones (`engines.process_slots`)
    the row of the name            written by an incarnation that this folder never made: somebody else has the name
    a hello to where it says       answered: somebody else lives under the name
    at every beat                  the row was written by somebody else meanwhile

The first three are looked at before the name is used, and then another one is taken. The last is for a copy of a whole machine that
could not reach the original when it started: the process with the older incarnation, which everybody may by now believe to be dead,
does no more under its name, and says so.
"""

import logging
from collections.abc import Awaitable, Callable

import msgspec

from polysite.errors import PolysiteError, Unavailable
from polysite.site import peers
from polysite.site.context import SiteContext
from polysite.site.peers import Hello, PeerChannel
from polysite.site.processes import ProcessSlot, ProcessSlots, Registry

ANSWER_S = 1.0
NAMES_MAX = 4
NAME_IS_DOUBLED = (
    "another process has this one's name, from a copy of its data folder; started again, it takes a new one"
)
_log = logging.getLogger(__name__)


class Naming:
    """Takes a slot under a name that nobody else has, and gives its place in the registry."""

    def __init__(self, context: SiteContext, slots: ProcessSlots, channel: Callable[[], PeerChannel | None]) -> None:
        self._context = context
        self._slots = slots
        self._channel = channel

    async def take(
        self, taken: Callable[[ProcessSlot], Registry], settle_in: Callable[[Registry], Awaitable[None]]
    ) -> Registry:
        """The registry of the process under its new name. `taken` is told each slot, `settle_in` says that it is here unless
        `namesake_lives`. Unavailable: every name was somebody else's."""
        for _ in range(NAMES_MAX):
            slot = self._slots.take()
            registry = taken(slot)
            await settle_in(registry)
            if not registry.doubled:
                return registry
            _log.warning(
                "somebody else has this name: the data folder is a copy, and gets names of its own",
                extra={"shown": {"process": slot.process}},
            )
            slot.release()
            self._slots.rename()
        raise Unavailable("every name that this process took was somebody else's")

    async def look(self, registry: Registry) -> None:
        """Note in the registry whether a process with this one's name answers where its row says it is."""
        channel = self._channel()
        if not self._slots.lettered or channel is None:
            return
        row = await registry.namesake()
        if row is None or row.address is None:
            return
        author = self._context.author
        body = peers.encode(Hello(author.site, "", self._context.clock.wall_us()))
        try:
            answer = await channel.send(row.address, "hello", body, answer_s=ANSWER_S)
            found = msgspec.msgpack.decode(answer, type=Hello)
        except (PolysiteError, msgspec.DecodeError):
            return  # nobody, as after a crash
        registry.doubled |= (found.site, found.process) == (author.site, author.process)
