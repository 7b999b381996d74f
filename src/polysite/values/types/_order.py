"""Keys that sort as bytes.

Every encoding here is prefix-free within its type, so that keys of several columns can be written one after the other.
The orders are those of Cassandra 5's types (`db/marshal/*Type`, `utils/bytecomparable/ByteComparable.md`); the
encodings are our own and never leave the embedded engine.
"""

NULL = b"\x00"
"""Stands before nothing: a null of a tuple, which sorts before every value; also the end of a collection."""
PRESENT = b"\x01"
"""Stands before every element of a collection and every value of a tuple."""

_LENGTH_SHORT_MAX = 0x77
_LENGTH_LONG = 0xF8


def key_of_bytes(data: bytes) -> bytes:
    """Order of unsigned bytes, the shorter first.

    00 is written 00 FF and the end is 00 00. With a single 00 as the end, ("", then a component starting with FF)
    would read like a string starting with 00.
    """
    return data.replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def key_of_integer(number: int) -> bytes:
    """Numeric order of integers of any size: sign and length, then the magnitude; complemented when negative."""
    magnitude = abs(number)
    length = (magnitude.bit_length() + 7) // 8
    key = _key_of_length(length) + magnitude.to_bytes(length, "big")
    return complement(key) if number < 0 else key


def _key_of_length(length: int) -> bytes:
    if length <= _LENGTH_SHORT_MAX:
        return bytes((0x80 + length,))
    length_bytes = (length.bit_length() + 7) // 8
    return bytes((_LENGTH_LONG + length_bytes,)) + length.to_bytes(length_bytes, "big")


def key_of_decimal(unscaled: int, scale: int) -> bytes:
    """Numeric order of decimals; the same number at another scale has the same key.

    A number other than zero is sign, exponent of the first digit, then the digits without trailing zeros, two in a
    byte (1 to 100), ended by 00. Nothing is ever multiplied out, so a scale of two thousand million costs nothing.
    """
    if unscaled == 0:
        return b"\x80"
    digits = str(abs(unscaled))
    exponent = len(digits) - 1 - scale
    digits = digits.rstrip("0")
    if len(digits) % 2:
        digits += "0"
    pairs = bytes(int(digits[at : at + 2]) + 1 for at in range(0, len(digits), 2))
    key = b"\xc0" + (exponent + (1 << 39)).to_bytes(5, "big") + pairs + b"\x00"
    return complement(key) if unscaled < 0 else key


def key_of_signed(data: bytes) -> bytes:
    """Numeric order of two's complement integers of one fixed length: the sign bit is flipped."""
    return bytes((data[0] ^ 0x80,)) + data[1:]


def key_of_float(data: bytes, nan: bytes) -> bytes:
    """Order of Java's Double.compare: -Infinity … -0.0, 0.0 … Infinity, NaN (all NaN alike, written `nan`)."""
    bits = 8 * len(data)
    number = int.from_bytes(data, "big")
    sign = 1 << (bits - 1)
    infinity = int.from_bytes(nan, "big") & ~(1 << _mantissa_top_bit(bits))
    if number & (sign - 1) > infinity:
        number = int.from_bytes(nan, "big")
    flipped = number ^ (2 * sign - 1) if number & sign else number | sign
    return flipped.to_bytes(len(data), "big")


def _mantissa_top_bit(bits: int) -> int:
    return 51 if bits == 64 else 22


def key_of_uuid(data: bytes) -> bytes:
    """Order of CQL's uuid: by version; version 1 by time and then bytes; all other versions by bytes."""
    version = data[6] >> 4
    if version == 1:
        return data[6:8] + data[4:6] + data[0:4] + data[8:]
    number = int.from_bytes(data, "big")
    low_bits = 76
    high, low = number >> (low_bits + 4), number & ((1 << low_bits) - 1)
    return ((version << 124) | (high << low_bits) | low).to_bytes(16, "big")


def key_of_timeuuid(data: bytes) -> bytes:
    """Order of CQL's timeuuid: by time, then the last eight bytes, each compared as a signed byte."""
    return data[6:8] + data[4:6] + data[0:4] + bytes(byte ^ 0x80 for byte in data[8:])


def complement(key: bytes) -> bytes:
    """The bytes with every bit flipped: the reverse order."""
    return key.translate(_COMPLEMENT)


_COMPLEMENT = bytes(255 - byte for byte in range(256))
