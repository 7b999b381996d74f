"""Lock entries by their ticket, for interfaces whose lock ids name a ticket and no secret."""

from polysite.api import KeyName, Ticket
from polysite.core import lock_cell
from polysite.core.lock_cell import Entry
from polysite.site.context import SiteContext
from polysite.site.keys import KeyState, KeyTable
from polysite.site.plain import check_locks
from polysite.site.sessions import Sessions
from polysite.values.keys import Reference


class Tickets:
    """Finds the reference of an entry. Whoever may name a ticket may use its lock, so only interfaces that have it in their
    contract ask here."""

    def __init__(self, context: SiteContext, keys: KeyTable, sessions: Sessions) -> None:
        self._store = context.store
        self._keys = keys
        self._sessions = sessions

    async def find(self, name: KeyName, number: int) -> Ticket | None:
        """The entry with this ticket; None: there is none any more, which the cell itself says, not only this site's view of it."""
        spec = self._store.known_table(name.keyspace, name.table)
        if spec is None:
            spec = await self._store.table(name.keyspace, name.table)
        check_locks(spec)
        key = spec.lock_key(name.key)
        state = self._keys.take(key, key.encode())
        try:
            live = state.sessions.get(number)
            if live is not None and not live.ended:
                entry = lock_cell.entry_by_ticket(state.cell, number)
                if entry is not None and entry.nonce == live.core.nonce:
                    return _ticket(state, entry, self._sessions.hand_out(live), 0.0)
            trips = await self._sessions.combiner.look(state)
            entry = lock_cell.entry_by_ticket(state.cell, number)
            if entry is None and number <= MAX_TICKET:
                trips += await self._sessions.combiner.look(state, linearizable=True)
                entry = lock_cell.entry_by_ticket(state.cell, number)
            if entry is None:
                return None
            return _ticket(state, entry, str(Reference(key, number, entry.secret)), trips)
        finally:
            self._keys.drop(state)


MAX_TICKET = 2**63 - 1
"""No cell has issued more."""


def _ticket(state: KeyState, entry: Entry, reference: str, trips: float) -> Ticket:
    held = any(holder.ticket == entry.ticket for holder in lock_cell.holders(state.cell))
    return Ticket(
        reference=reference,
        fencing_token=entry.ticket,
        kind=entry.kind,
        held=held,
        lease_ms=entry.lease_ms,
        owner=entry.owner,
        round_trips=trips,
    )
