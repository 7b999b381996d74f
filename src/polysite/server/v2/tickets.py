"""From a lock id of this interface to the coordinator's reference, and keys by the text of their first column."""

from typing import NamedTuple

from polysite.api import KeyName, Ticket
from polysite.errors import BadRequest, Forbidden
from polysite.server.v2.call import Call
from polysite.server.v2.columns import to_column
from polysite.server.v2.names import LockId, LockName, fold, parse_lock_id
from polysite.values.tables import TableSpec

ACCOUNT = "account:"
"""What the owner of an entry begins with where there are accounts."""


class FoundLock(NamedTuple):
    """A lock id that stands in a queue."""

    lock_id: LockId
    key: KeyName
    spec: TableSpec
    ticket: Ticket


async def lock_key(call: Call, name: LockName) -> tuple[TableSpec, KeyName]:
    """The table and key of a lock name. UnknownKey: no such keyspace or table."""
    keyspace, table = fold(name.keyspace, "keyspace"), fold(name.table, "table")
    spec = await call.coordinator.table(keyspace, table)
    return spec, key_of(spec, name.key)


def key_of(spec: TableSpec, text: str) -> KeyName:
    """The lock key whose first column has that text."""
    if len(spec.locked_names) != 1:
        raise BadRequest(
            f"locks of {spec.keyspace}.{spec.name} are on ({', '.join(spec.locked_names)}): this interface locks on one column"
        )
    (column,) = spec.locked_names
    return KeyName(keyspace=spec.keyspace, table=spec.name, key={column: to_column(spec.types[column], text, column)})


async def find_lock(call: Call, text: str) -> FoundLock | None:
    """The lock that an id names; None if its ticket stands in no queue (any more). BadRequest: no lock id. UnknownKey: no such
    table. Forbidden: it is another account's."""
    lock_id = parse_lock_id(text)
    spec, key = await lock_key(call, lock_id.name)
    ticket = await call.keeper.ticket(key, lock_id.ticket)
    if ticket is None:
        return None
    if call.service.access.needs_token and account_of(ticket.owner) != call.exchange.principal.name:
        raise Forbidden("this lock is another account's")
    call.exchange.lock = ticket.reference
    call.service.tenures.used(ticket.reference)
    return FoundLock(lock_id, key, spec, ticket)


def owner_text(call: Call, owner: str | None) -> str | None:
    """What a queue tells of an entry's owner: the account, where there are any, and who it says it is."""
    if not call.service.access.needs_token:
        return owner
    account = f"{ACCOUNT}{call.exchange.principal.name}"
    return account if owner is None else f"{account}/{owner}"


def account_of(owner: str | None) -> str | None:
    """The account in an entry's owner; None if it was not made here: what clients elsewhere say of themselves proves nothing."""
    if owner is None or not owner.startswith(ACCOUNT):
        return None
    return owner.removeprefix(ACCOUNT).partition("/")[0]


__all__ = ["FoundLock", "account_of", "find_lock", "key_of", "lock_key", "owner_text"]
