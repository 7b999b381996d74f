"""Asked before an entry is dropped: its process may live, and be kept from renewing it by those who change the same cell.

    observer                                     process of the entry
      alive? ─────────────────────────────────►    its client showed life within its lease, and the engine answers
      ◄───────────────────────────────── alive     (a frozen or dead process says nothing)
      waits for one lease more

Between sites three processes that change one cell at once may keep one of them out for a whole short lease. Asking costs no time: it is done while
the lease still runs. The answer is advice, and holds a drop up for one lease at most (`Observation.vouched`); what makes a drop right is the
compare-and-set on what was seen. (Not in locks.md 6.6; decision 13.)
"""

import contextlib
from collections import defaultdict

import msgspec

from polysite.core import combine, lock_cell
from polysite.core.lock_cell import Author
from polysite.core.wishes import Enqueue, Identity
from polysite.errors import PolysiteError
from polysite.site import peers
from polysite.site.context import SiteContext
from polysite.site.keys import KeyState, KeyTable
from polysite.site.peers import Alive, AliveMessage, Push
from polysite.site.stewards import Stewards


class Vouching:
    """Both ends of the question."""

    def __init__(self, context: SiteContext, keys: KeyTable, stewards: Stewards) -> None:
        self._context = context
        self._clock = context.clock
        self._keys = keys
        self._stewards = stewards
        self._asked: defaultdict[bytes, set[Identity]] = defaultdict(set)
        """By key: those about which somebody is being asked."""

    def is_asked(self, state: KeyState, entry: Identity) -> bool:
        """Whether an answer about it may still come."""
        return entry in self._asked.get(state.encoded, ())

    def ask(self, state: KeyState, *, look_s: float) -> None:
        """Ask about the entries of other processes that are about to count as dead. `look_s`: how long until the key is looked at again."""
        if state.observation is None or not self._context.is_wide or self._stewards.channel() is None:
            return
        now_s = self._clock.monotonic_s()
        by_process: defaultdict[Author, list[Identity]] = defaultdict(list)
        authors = {
            (entry.ticket, entry.nonce): Author(entry.site, entry.process, entry.incarnation)
            for entry in state.cell.queue
        }
        slowest_s = max(map(self._stewards.beyond_s, authors.values()), default=0.0)
        within_s = combine.noted_within_s(self._context.rtt_s) + slowest_s + look_s
        for entry in state.observation.doubtful(now_s, within_s=within_s):
            author = authors.get((entry.ticket, entry.nonce))
            if author is not None and author != self._context.author:
                by_process[author].append(entry)
        for author, entries in by_process.items():
            self._asked[state.encoded].update(entries)
            self._keys.keep(state)
            self._context.background(self._ask(state, author, tuple(entries)), name="site-alive")

    async def _ask(self, state: KeyState, author: Author, entries: tuple[Identity, ...]) -> None:
        try:
            channel, address = self._stewards.channel(), await self._stewards.address_of(author)
            if channel is None or address is None:
                return
            answer_s = combine.noted_within_s(self._context.trip_s(author.site)) + self._stewards.beyond_s(author)
            push = state.told or Push(state.encoded, state.version, lock_cell.encode(state.cell))
            body = peers.encode(AliveMessage(push, entries))
            alive = msgspec.msgpack.decode(await channel.send(address, "alive", body, answer_s=answer_s), type=Alive)
            if state.observation is not None:
                state.observation.vouched(set(alive.entries) & set(entries), self._clock.monotonic_s())
        except (PolysiteError, msgspec.DecodeError):
            return  # it does not say that they live
        finally:
            asked = self._asked[state.encoded]
            asked.difference_update(entries)
            if not asked:
                del self._asked[state.encoded]
            self._keys.drop(state)

    def answer(self, message: AliveMessage) -> Alive:
        """Those of the entries whose clients live here, or still wait to hear that the entry was made. None while the engine is away: then
        others had better go on without them."""
        state = self._keys.find(message.push.key)
        if state is None or self._stewards.engine_is_away:
            return Alive(())
        asked_for = {
            item.asked.wish.nonce
            for item in (*state.pending, *state.kept, *state.handed.values())
            if item.own and isinstance(item.asked.wish, Enqueue)
        }
        alive = tuple(entry for entry in message.entries if entry.nonce in asked_for or self._lives(state, entry))
        with contextlib.suppress(PolysiteError):  # a cell that cannot be read here tells nothing
            self._stewards.take(state, message.push.version, message.push.content)
        return Alive(alive)

    def _lives(self, state: KeyState, entry: Identity) -> bool:
        live = state.sessions.get(entry.ticket)
        if live is None or live.identity != entry:
            return False
        return live.open_calls > 0 or not live.life.is_dead(self._clock.monotonic_s())
