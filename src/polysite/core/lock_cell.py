"""The content of a lock cell: who holds a key, who waits, and which stamps are whose.

    issued    last ticket issued; the ticket is the fencing token
    floor     queue not empty: first stamp of the head's window; empty: lower bound of the next one
    fence     a row whose row_stamp is below it may still be changed by late writes of an earlier session
    queue     the entries, in the order in which they hold
    recent    the last 16 changes: id, the version each made, the result of each wish in it
    departed  request ids and tickets of the last 64 entries that left and whose request could be made again

The register around it (`cells`) gives every state a version; each change adds 1. A process acts as holder only while the
entry in its newest view carries a nonce that this incarnation of it made. What may happen to a cell is in `transitions`.
"""

import hmac
import struct
from typing import Literal, TypeAlias

import msgspec

from polysite.core.stamps import STAMP_BASE
from polysite.core.wishes import ID_BYTES, EntryKind, Identity, Result
from polysite.errors import UnknownCellFormat

FORMAT = 2
RECENT_MAX = 16
DEPARTED_MAX = 64
NO_REQUEST = b""
"""The request id of an entry whose request nobody can make again: its nonce alone names it."""
_FORMAT_BYTE = bytes([FORMAT])
_RECORD = struct.Struct(f">IQ{ID_BYTES}s")
"""What a record of `recent` begins with: its length, the version that the change made, the change's id."""
_RECORD_BYTES = _RECORD.size
_ALONE, _MANY = b"\x00", b"\x01"
_TICKET = struct.Struct(">Q")
_DEPARTED_BYTES = ID_BYTES + _TICKET.size


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of the queue. `request_id` is `NO_REQUEST` if nobody can make its request again. `upto` is used while promoting: the
    ticket of the last entry of its run when it asked."""

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


class Author(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The process that made a change."""

    site: str
    process: str
    incarnation: str


class ChangeRecord(msgspec.Struct, frozen=True, array_like=True):
    """A change as the cell remembers it: its id, the version it made, and each wish's id and result."""

    change_id: bytes
    version: int
    results: tuple[tuple[bytes, Result], ...]


class LockCell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """See the module. `recent` (oldest first) and `departed` are kept packed: `recent_changes`, `departed_ticket`.

    `author` is who made the last change: the steward while the queue is empty.
    """

    issued: int
    floor: int
    fence: int
    queue: tuple[Entry, ...] = ()
    recent: bytes = b""
    departed: bytes = b""
    author: Author | None = None


Role: TypeAlias = Literal["waiting", "shared", "first", "exclusive"]
"""waiting: does not hold. shared: holds with others and is not first of them, may only read. first: first of a shared run,
may also re-stamp. exclusive: may write."""


NEVER_USED = LockCell(issued=0, floor=STAMP_BASE, fence=0)

_encoder = msgspec.msgpack.Encoder()
_cell_decoder = msgspec.msgpack.Decoder(LockCell)
_result_decoder: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)
_results_decoder = msgspec.msgpack.Decoder(tuple[tuple[bytes, Result], ...])


def empty() -> LockCell:
    """The content of a cell that was never used."""
    return NEVER_USED


def encode(cell: LockCell) -> bytes:
    """The bytes that go into the register: one byte of format number, then msgpack."""
    return _FORMAT_BYTE + _encoder.encode(cell)


def decode(content: bytes) -> LockCell:
    """Inverse of `encode`; empty bytes are a cell that was never used.

    UnknownCellFormat if another (newer) format or anything else is there: such a cell is never overwritten.
    """
    if not content:
        return NEVER_USED
    if content[0] != FORMAT:
        raise UnknownCellFormat(found=content[0], known=FORMAT)
    try:
        return _cell_decoder.decode(memoryview(content)[1:])
    except msgspec.DecodeError as error:
        raise UnknownCellFormat("the lock cell's content cannot be read", found=FORMAT, known=FORMAT) from error


def head(cell: LockCell) -> Entry | None:
    """The first entry: it holds."""
    return cell.queue[0] if cell.queue else None


def run_from(queue: tuple[Entry, ...], start: int) -> tuple[Entry, ...]:
    """The consecutive shared and promoting entries from position `start` on."""
    end = start
    while end < len(queue) and queue[end].kind != "exclusive":
        end += 1
    return queue[start:end]


def holders(cell: LockCell) -> tuple[Entry, ...]:
    """The entries that hold: an exclusive head alone, or the front run of shared and promoting entries.

    While an entry of the run is promoting, only entries with tickets up to its `upto` belong to the run.
    """
    if not cell.queue or cell.queue[0].kind == "exclusive":
        return cell.queue[:1]
    run = run_from(cell.queue, 0)
    for entry in run:
        if entry.kind == "promoting":
            return tuple(member for member in run if member.ticket <= entry.upto)
    return run


def role(cell: LockCell, ticket: int, nonce: bytes) -> Role | None:
    """What the session (ticket, nonce) may do in this state; None if it has no entry in it."""
    entry = entry_by_ticket(cell, ticket)
    if entry is None or entry.nonce != nonce:
        return None
    first = cell.queue[0]
    if first.kind == "exclusive":
        return "exclusive" if first is entry else "waiting"
    members = holders(cell)
    if first is entry:
        return "exclusive" if entry.kind == "promoting" and len(members) == 1 else "first"
    return "shared" if any(member is entry for member in members) else "waiting"


def is_holder(cell: LockCell, ticket: int, nonce: bytes) -> bool:
    """Whether (ticket, nonce) holds, alone or with others."""
    return role(cell, ticket, nonce) not in {None, "waiting"}


def is_head(cell: LockCell, ticket: int, nonce: bytes) -> bool:
    """Whether (ticket, nonce) is the first entry."""
    return bool(cell.queue) and cell.queue[0].ticket == ticket and cell.queue[0].nonce == nonce


def is_exclusive(cell: LockCell, ticket: int, nonce: bytes) -> bool:
    """Whether (ticket, nonce) holds alone: an exclusive head, or a promoting one that is the only member of its run."""
    return role(cell, ticket, nonce) == "exclusive"


def position(cell: LockCell, ticket: int) -> int | None:
    """How many entries stand before the one with `ticket`; None if there is none."""
    for index, entry in enumerate(cell.queue):
        if entry.ticket == ticket:
            return index
    return None


def entry_by_ticket(cell: LockCell, ticket: int) -> Entry | None:
    """The entry with `ticket`, whoever its session is."""
    for entry in cell.queue:
        if entry.ticket == ticket:
            return entry
    return None


def entry_by_secret(cell: LockCell, ticket: int, secret: bytes) -> Entry | None:
    """The entry that a reference names; None if it has left or the secret is wrong. Compares in constant time."""
    entry = entry_by_ticket(cell, ticket)
    if entry is None or not hmac.compare_digest(entry.secret, secret):
        return None
    return entry


def entry_by_request(cell: LockCell, request_id: bytes) -> Entry | None:
    """The entry that was enqueued with `request_id`, if it is still in the queue; never one with `NO_REQUEST`."""
    if request_id:
        for entry in cell.queue:
            if entry.request_id == request_id:
                return entry
    return None


def entry_by_nonce(cell: LockCell, nonce: bytes) -> Entry | None:
    """The entry whose session made `nonce`, for an author who does not know its ticket."""
    for entry in cell.queue:
        if entry.nonce == nonce:
            return entry
    return None


def departed_ticket(cell: LockCell, request_id: bytes) -> int | None:
    """The ticket of the entry enqueued with `request_id`, if it is among the last 64 that left."""
    packed = cell.departed
    if not packed or not request_id:
        return None
    found = packed.find(request_id)
    while found >= 0:
        if found % _DEPARTED_BYTES == 0:
            ticket: int = _TICKET.unpack_from(packed, found + ID_BYTES)[0]
            return ticket
        found = packed.find(request_id, found + 1)
    return None


def with_departed(packed: bytes, request_id: bytes, ticket: int) -> bytes:
    """`departed` after one more entry has left. One with `NO_REQUEST` is not asked for again, and leaves nothing."""
    if not request_id:
        return packed
    return packed[-(DEPARTED_MAX - 1) * _DEPARTED_BYTES :] + request_id + _TICKET.pack(ticket)


def pack_change(change_id: bytes, version: int, results: tuple[tuple[bytes, Result], ...]) -> bytes:
    """A change as `recent` keeps it. A change of one wish that goes by the wish's id does not name it twice."""
    if not results:
        body = b""
    elif len(results) == 1 and results[0][0] == change_id:
        body = _ALONE + _encoder.encode(results[0][1])
    else:
        body = _MANY + _encoder.encode(results)
    return _RECORD.pack(_RECORD_BYTES + len(body), version, change_id) + body


def with_recent(recent: bytes, packed: bytes) -> bytes:
    """`recent` after one more change: each change makes the next version, so the versions tell which are too old."""
    while recent:
        length, oldest, _ = _RECORD.unpack_from(recent)
        if _RECORD.unpack_from(packed)[1] - oldest < RECENT_MAX:
            break
        assert length >= _RECORD_BYTES, "a record is as long as its beginning, or longer"
        recent = recent[length:]
    return recent + packed


def recent_changes(cell: LockCell) -> tuple[ChangeRecord, ...]:
    """The changes the cell remembers, oldest first."""
    packed, start = cell.recent, 0
    changes: list[ChangeRecord] = []
    while start < len(packed):
        length, version, change_id = _RECORD.unpack_from(packed, start)
        assert length >= _RECORD_BYTES, "a record is as long as its beginning, or longer"
        body = memoryview(packed)[start + _RECORD_BYTES : start + length]
        results: tuple[tuple[bytes, Result], ...] = ()
        if body[:1] == _ALONE:
            results = ((change_id, _result_decoder.decode(body[1:])),)
        elif body:
            results = _results_decoder.decode(body[1:])
        changes.append(ChangeRecord(change_id, version, results))
        start += length
    return tuple(changes)


def find_change(cell: LockCell, change_id: bytes, version: int) -> ChangeRecord | None:
    """The change with this id that made this version, if the cell remembers it.

    Two processes may send the same lone wish at once, under the same id: whichever was made, the wish was decided by it, as
    the record says.
    """
    if change_id in cell.recent:
        for change in recent_changes(cell):
            if change.change_id == change_id and change.version == version:
                return change
    return None


def find_wish(cell: LockCell, wish_id: bytes) -> Result | None:
    """The result of a wish, whichever change carried it, if the cell remembers it. Any cell that comes back is to be searched
    for own ids before anything else is concluded from it."""
    if wish_id in cell.recent:
        for change in reversed(recent_changes(cell)):
            for found_id, result in change.results:
                if found_id == wish_id:
                    return result
    return None


def reaches_back(cell: LockCell, version: int, seen_version: int) -> bool:
    """Whether the cell, being of `version`, remembers every change made after `seen_version`."""
    if seen_version >= version:
        return True
    if not cell.recent:
        return False
    oldest: int = _RECORD.unpack_from(cell.recent)[1]
    return oldest <= seen_version + 1
