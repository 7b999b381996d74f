"""Cursors: the key of the last row shown, bound to its selection. They are ours and not the driver's, so any process may go on."""

import hashlib

import msgspec

from polysite.errors import BadRequest
from polysite.values.keys import RowKey

_FORMAT = b"\x01"
_DIGEST_BYTES = 12
_NOT_A_CURSOR = "not a cursor of this selection: pass on what the last page answered, unchanged"

_encode = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.msgpack.Decoder(tuple[tuple[bytes, ...], tuple[bytes, ...]]).decode


def seal(selection: object, key: RowKey) -> bytes:
    """A cursor that goes on behind the row `key`. It is told from anything else by a digest and hides nothing."""
    body = _encode(key)
    return _FORMAT + _digest(selection, body) + body


def unseal(selection: object, cursor: bytes) -> RowKey:
    """The row a cursor stands at; BadRequest if it is none, or one of another selection."""
    digest, body = cursor[1 : 1 + _DIGEST_BYTES], cursor[1 + _DIGEST_BYTES :]
    if cursor[:1] != _FORMAT or digest != _digest(selection, body):
        raise not_a_cursor()
    try:
        return RowKey(*_decode_key(body))
    except msgspec.DecodeError:
        raise not_a_cursor() from None


def not_a_cursor() -> BadRequest:
    """The error for anything that is no cursor of the selection."""
    return BadRequest(_NOT_A_CURSOR)


def _digest(selection: object, body: bytes) -> bytes:
    key = hashlib.blake2b(_encode(selection), digest_size=32).digest()
    return hashlib.blake2b(body, key=key, digest_size=_DIGEST_BYTES).digest()
