"""The content of a lock cell: who holds a key, who waits, and which stamps are whose.

    issued    last ticket issued; the ticket is the fencing token
    floor     queue not empty: first stamp of the head's window; empty: lower bound of the next one
    fence     a row whose row_stamp is below it may still be changed by late writes of an earlier session
    queue     the entries, in the order in which they hold
    recent    the last 16 changes: id, the version each made, the result of each wish in it
    departed  request ids and tickets of the last 64 entries that left

The register around it (`cells`) gives every state a version; each change adds 1. A process acts as holder only while the
entry in its newest view carries a nonce that this incarnation of it made. What may happen to a cell is in `transitions`.
"""

import struct
from typing import Literal, TypeAlias

import msgspec

from polysite.core.stamps import STAMP_BASE
from polysite.core.wishes import ID_BYTES, EntryKind, Identity, Result
from polysite.errors import UnknownCellFormat

FORMAT = 1
RECENT_MAX = 16
DEPARTED_MAX = 64
_DEPARTED_TICKET = struct.Struct(">Q")
_DEPARTED_BYTES = ID_BYTES + _DEPARTED_TICKET.size


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the queue. `upto` is used while promoting: the ticket of the last entry of its run when it asked."""

    ticket: int
    secret: bytes
    nonce: bytes
    request_id: bytes
    kind: EntryKind
    site: str
    process: str
    incarnation: str
    lease_ms: int
    beat: int = 0
    owner: str | None = None
    upto: int = 0

    @property
    def identity(self) -> Identity:
        """Ticket and nonce: the session that this entry belongs to."""
        return Identity(self.ticket, self.nonce)

    @property
    def lease_s(self) -> float:
        return self.lease_ms / 1000


class Author(msgspec.Struct, frozen=True, array_like=True):
    """The process that made a change."""

    site: str
    process: str
    incarnation: str


class ChangeRecord(msgspec.Struct, frozen=True, array_like=True):
    """A change as the cell remembers it: its id, the version it made, and each wish's id and result."""

    change_id: bytes
    version: int
    results: tuple[tuple[bytes, Result], ...]


class LockCell(msgspec.Struct, frozen=True, array_like=True):
    """See the module. `recent` (oldest first) and `departed` are kept packed: `recent_changes`, `departed_ticket`.

    `author` is who made the last change: the steward while the queue is empty.
    """

    issued: int
    floor: int
    fence: int
    queue: tuple[Entry, ...] = ()
    recent: tuple[bytes, ...] = ()
    departed: bytes = b""
    author: Author | None = None


Role: TypeAlias = Literal["waiting", "shared", "first", "exclusive"]
"""waiting: does not hold. shared: holds with others and is not first of them, may only read. first: first of a shared run,
may also re-stamp. exclusive: may write."""


def empty() -> LockCell:
    """The content of a cell that was never used."""
    raise NotImplementedError


def encode(cell: LockCell) -> bytes:
    """The bytes that go into the register: one byte of format number, then msgpack."""
    raise NotImplementedError


def decode(content: bytes) -> LockCell:
    """Inverse of `encode`; empty bytes are a cell that was never used.

    UnknownCellFormat if another (newer) format or anything else is there: such a cell is never overwritten.
    """
    raise NotImplementedError


def head(cell: LockCell) -> Entry | None:
    """The first entry: it holds."""
    raise NotImplementedError


def holders(cell: LockCell) -> tuple[Entry, ...]:
    """The entries that hold: an exclusive head alone, or the front run of shared and promoting entries.

    While an entry of the run is promoting, only entries with tickets up to its `upto` belong to the run.
    """
    raise NotImplementedError


def role(cell: LockCell, ticket: int, nonce: bytes) -> Role | None:
    """What the session (ticket, nonce) may do in this state; None if it has no entry in it."""
    raise NotImplementedError


def is_holder(cell: LockCell, ticket: int, nonce: bytes) -> bool:
    """Whether (ticket, nonce) holds, alone or with others."""
    raise NotImplementedError


def is_head(cell: LockCell, ticket: int, nonce: bytes) -> bool:
    """Whether (ticket, nonce) is the first entry."""
    raise NotImplementedError


def is_exclusive(cell: LockCell, ticket: int, nonce: bytes) -> bool:
    """Whether (ticket, nonce) holds alone: an exclusive head, or a promoting one that is the only member of its run."""
    raise NotImplementedError


def position(cell: LockCell, ticket: int) -> int | None:
    """How many entries stand before the one with `ticket`; None if there is none."""
    raise NotImplementedError


def entry_by_ticket(cell: LockCell, ticket: int) -> Entry | None:
    """The entry with `ticket`, whoever its session is."""
    raise NotImplementedError


def entry_by_secret(cell: LockCell, ticket: int, secret: bytes) -> Entry | None:
    """The entry that a reference names; None if it has left or the secret is wrong. Compares in constant time."""
    raise NotImplementedError


def entry_by_request(cell: LockCell, request_id: bytes) -> Entry | None:
    """The entry that was enqueued with `request_id`, if it is still in the queue."""
    raise NotImplementedError


def departed_ticket(cell: LockCell, request_id: bytes) -> int | None:
    """The ticket of the entry enqueued with `request_id`, if it is among the last 64 that left."""
    raise NotImplementedError


def recent_changes(cell: LockCell) -> tuple[ChangeRecord, ...]:
    """The changes the cell remembers, oldest first."""
    raise NotImplementedError


def find_change(cell: LockCell, change_id: bytes) -> ChangeRecord | None:
    """The change with this id, if the cell remembers it."""
    raise NotImplementedError


def find_wish(cell: LockCell, wish_id: bytes) -> Result | None:
    """The result of a wish, whichever change carried it, if the cell remembers it. Any cell that comes back is to be searched
    for own ids before anything else is concluded from it."""
    raise NotImplementedError


def reaches_back(cell: LockCell, version: int, seen_version: int) -> bool:
    """Whether the cell, being of `version`, remembers every change made after `seen_version`."""
    raise NotImplementedError
