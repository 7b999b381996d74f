"""Names as this interface has them: folded to lower case, as CQL folds what is not quoted; lock names and lock ids."""

from typing import NamedTuple

from polysite.errors import BadRequest
from polysite.values.tables import HIDDEN_PREFIX, NAME_PATTERN, RESERVED_KEYSPACE

VECTOR = "vector_ts"
"""A column that the original adds to every table and never shows; the name is taken."""
PRIMARY_KEY = "PRIMARY KEY"
"""The member of `fields` that is no column."""

INVALID_LOCK = "Invalid lock. Please make sure lock is of the type keyspaceName.tableName.primaryKey"
_RESERVED = frozenset({RESERVED_KEYSPACE, "polysite_cells"})


class LockName(NamedTuple):
    """keyspace.table.key, the names as they were sent; `key` is all that follows the second dot."""

    keyspace: str
    table: str
    key: str

    def __str__(self) -> str:
        return f"{self.keyspace}.{self.table}.{self.key}"


class LockId(NamedTuple):
    """$keyspace.table.key$N: a lock name and a ticket."""

    name: LockName
    ticket: int

    def __str__(self) -> str:
        return f"${self.name}${self.ticket}"


def fold(name: str, what: str) -> str:
    """The name in lower case; BadRequest if it cannot name a `what` (keyspace, table, column, index)."""
    folded = name.lower() if name.isascii() else name
    if not NAME_PATTERN.fullmatch(folded):
        raise BadRequest(f"{what} names are a letter followed by up to 47 letters, digits or underscores")
    if what == "keyspace" and folded in _RESERVED:
        raise BadRequest("this keyspace is polysite's own")
    if what == "column" and (folded == VECTOR or folded.startswith(HIDDEN_PREFIX)):
        raise BadRequest(f"columns are not called {VECTOR}, and do not start with {HIDDEN_PREFIX}")
    return folded


def parse_lock_name(text: str) -> LockName:
    """BadRequest with the original's text if it does not have three parts."""
    keyspace, _, rest = text.partition(".")
    table, _, key = rest.partition(".")
    if not keyspace or not table or not key:
        raise BadRequest(INVALID_LOCK)
    return LockName(keyspace, table, key)


def parse_lock_id(text: str) -> LockId:
    """BadRequest if it is not of the form $keyspace.table.key$N."""
    name, dollar, ticket = text.removeprefix("$").rpartition("$")
    if not text.startswith("$") or not dollar:
        raise BadRequest("a lock id is $keyspace.table.key$number")
    if not (ticket.isascii() and ticket.isdigit() and len(ticket) <= 18):
        raise BadRequest("what follows the last $ of a lock id is its number")
    return LockId(parse_lock_name(name), int(ticket))
