"""Keys as values: row keys, lock keys, and the references that holders carry.

Key components are CQL serialisations, so that equal keys are equal bytes on every engine.
"""

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from polysite.errors import BadRequest

REFERENCE_FORMAT = 1
REFERENCE_SET_FORMAT = 2
SECRET_BYTES = 16
_LENGTH = struct.Struct(">H")
_TICKET = struct.Struct(">Q")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class RowKey(NamedTuple):
    """Serialised partition components and serialised clustering components of one row."""

    partition: tuple[bytes, ...]
    clustering: tuple[bytes, ...] = ()


class LockKey(NamedTuple):
    """Keyspace, table and the serialised lock columns: the unit that is locked."""

    keyspace: str
    table: str
    columns: tuple[bytes, ...]

    def encode(self) -> bytes:
        """One byte string per key, self-delimiting; lock sets are taken in the order of these bytes."""
        return _table_prefix(self.keyspace, self.table) + join_parts(self.columns)

    @staticmethod
    def decode(data: bytes) -> "LockKey":
        """Inverse of `encode`; BadRequest if `data` is none."""
        parts = split_parts(data)
        if len(parts) < 3:
            raise BadRequest("not a lock key")
        try:
            return LockKey(parts[0].decode(), parts[1].decode(), tuple(parts[2:]))
        except UnicodeDecodeError:
            raise BadRequest("not a lock key") from None


class Reference(NamedTuple):
    """What a client holds: whoever has it may use it, as with a capability. Its text form is made for headers and URLs."""

    key: LockKey
    ticket: int
    secret: bytes

    def __str__(self) -> str:
        return self.spell(self.key.encode())

    def spell(self, encoded_key: bytes) -> str:
        """The text form, by who has the key's bytes at hand."""
        return f"{REFERENCE_FORMAT}.{_base64(self.secret + _TICKET.pack(self.ticket) + encoded_key)}"

    def __repr__(self) -> str:
        return f"Reference(ticket={self.ticket})"


class ReferenceSet(NamedTuple):
    """The references of a lock set, in the order in which they were taken."""

    references: tuple[Reference, ...]

    def __str__(self) -> str:
        body = join_parts(str(reference).encode() for reference in self.references)
        return f"{REFERENCE_SET_FORMAT}.{_base64(body)}"

    def __repr__(self) -> str:
        return f"ReferenceSet(tickets={[reference.ticket for reference in self.references]})"


def parse_reference(text: str) -> Reference | ReferenceSet:
    """The reference that `text` spells; BadRequest if it spells none."""
    form, dot, body = text.partition(".")
    try:
        data = a2b_base64((body + "=" * (-len(body) % 4)).encode("ascii").translate(_FROM_URL_SAFE)) if dot else b""
        if form == str(REFERENCE_FORMAT) and len(data) > SECRET_BYTES + _TICKET.size:
            (ticket,) = _TICKET.unpack_from(data, SECRET_BYTES)
            reference = Reference(LockKey.decode(data[SECRET_BYTES + _TICKET.size :]), ticket, data[:SECRET_BYTES])
            # Every part of the bytes has one spelling; base64 alone has several, of which ours is the only one taken.
            if _base64(data) == body:
                return reference
        if form == str(REFERENCE_SET_FORMAT):
            members = [parse_reference(part.decode("ascii")) for part in split_parts(data)]
            if 1 <= len(members) <= 64:
                singles = tuple(member for member in members if isinstance(member, Reference))
                if len(singles) == len(members):
                    return ReferenceSet(singles)
    except (ValueError, struct.error, BadRequest):  # what is no base64 or no UTF-8 is a ValueError
        pass
    raise BadRequest("not a lock reference: pass on the text that the lock request answered, unchanged")


def join_parts(parts: Iterable[bytes]) -> bytes:
    """Concatenate with two-byte lengths in front: injective and self-delimiting."""
    out = b""
    for part in parts:  # there are few, mostly one
        out += _LENGTH.pack(len(part)) + part
    return out


def split_parts(data: bytes) -> list[bytes]:
    """Inverse of `join_parts`; BadRequest if `data` is cut short."""
    parts: list[bytes] = []
    start, size = 0, len(data)
    while start < size:
        position = start + _LENGTH.size
        if position > size:
            raise BadRequest("key bytes are cut short")
        start = position + _LENGTH.unpack_from(data, start)[0]
        if start > size:
            raise BadRequest("key bytes are cut short")
        parts.append(data[position:start])
    return parts


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_URL_SAFE).decode("ascii")


@lru_cache(maxsize=1_024)
def _table_prefix(keyspace: str, table: str) -> bytes:
    """What the lock keys of one table start with."""
    return join_parts((keyspace.encode(), table.encode()))
