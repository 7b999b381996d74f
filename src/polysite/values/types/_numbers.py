"""boolean, tinyint, smallint, int, bigint, varint, float, double, decimal."""

import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from polysite.values.types import _order
from polysite.values.types._base import CqlType, StringFormType

VARINT_BYTES_MAX = 1024
"""Longest varint and longest unscaled part of a decimal: about 2,466 digits. The time that reading a number takes grows
with the square of its digits, so there must be a bound; Cassandra itself has none."""

# Longest text that is looked at: every digit of the largest varint, sign, point, exponent, and some leading zeros.
_NUMBER_TEXT_MAX = 2600

_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,10})?")
_FLOAT_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_PLAIN_DIGITS_MAX = 40
"""Clustering values of up to so many digits are shown as 100 and not as 1E+2."""
_SCALE_MIN, _SCALE_MAX = -(2**31), 2**31 - 1


class BooleanType(CqlType):
    """boolean: Python bool, JSON boolean, text `true` or `false` in any case."""

    __slots__ = ()
    value_form = "a bool"
    json_form = "a boolean"
    text_form = "true or false"

    def __init__(self) -> None:
        super().__init__("boolean")

    def serialise(self, value: object) -> bytes:
        if value is True:
            return b"\x01"
        if value is False:
            return b"\x00"
        raise self.refuse_value(value)

    def deserialise(self, data: bytes) -> bool:
        # Cassandra holds every byte but 00 for true.
        if len(data) != 1:
            raise self.refuse_bytes()
        return data != b"\x00"

    def from_json(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.refuse_json(value)
        return value

    def to_json(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.refuse_value(value)
        return value

    def from_text(self, text: str) -> bool:
        word = text.lower()
        if word not in ("true", "false"):
            raise self.refuse_text()
        return word == "true"

    def to_text(self, value: object) -> str:
        return "true" if self.to_json(value) else "false"

    def order_key(self, data: bytes) -> bytes:
        return b"\x01" if self.deserialise(data) else b"\x00"


class IntegerType(CqlType):
    """tinyint, smallint, int, bigint: Python int (never bool), JSON integer, decimal digits as text."""

    __slots__ = ("_pack", "_size", "_unpack", "json_form", "text_form", "value_form")
    _pack: Callable[[int], bytes]
    _unpack: Callable[[bytes], tuple[int]]
    _size: int

    def __init__(self, name: str, layout: str) -> None:
        super().__init__(name)
        packer = struct.Struct(layout)
        bound = 1 << (8 * packer.size - 1)
        form = f"an integer from {-bound} to {bound - 1}"
        self._keep(_pack=packer.pack, _unpack=packer.unpack, _size=packer.size)
        self._keep(value_form=form, json_form=form, text_form=form)

    def serialise(self, value: object) -> bytes:
        if type(value) is int:
            try:
                return self._pack(value)
            except struct.error:
                raise self._out_of_range() from None
        if isinstance(value, int) and not isinstance(value, bool):
            return self.serialise(int(value))
        raise self.refuse_value(value)

    def deserialise(self, data: bytes) -> int:
        try:
            return self._unpack(data)[0]
        except struct.error:
            raise self.refuse_bytes() from None

    def from_json(self, value: object) -> int:
        if type(value) is not int:
            raise self.refuse_json(value)
        self.serialise(value)
        return value

    def to_json(self, value: object) -> int:
        self.serialise(value)
        return int(value)  # type: ignore[call-overload,no-any-return]  # it serialised, so it is an int

    def from_text(self, text: str) -> int:
        if len(text) > _NUMBER_TEXT_MAX or not _INTEGER.fullmatch(text):
            raise self.refuse_text()
        number = int(text)
        self.serialise(number)
        return number

    def to_text(self, value: object) -> str:
        return str(self.to_json(value))

    def order_key(self, data: bytes) -> bytes:
        if len(data) != self._size:
            raise self.refuse_bytes()
        return _order.key_of_signed(data)

    def json_to_bytes(self, value: object) -> bytes:
        if type(value) is not int:
            raise self.refuse_json(value)
        try:
            return self._pack(value)
        except struct.error:
            raise self._out_of_range() from None

    def bytes_to_json(self, data: bytes) -> int:
        try:
            return self._unpack(data)[0]
        except struct.error:
            raise self.refuse_bytes() from None

    def _out_of_range(self) -> Exception:
        return self.refuse_content(f"takes {self.value_form}; the one given lies outside")


class FloatType(CqlType):
    """float and double: Python float (an int too when it is exactly one), JSON number or "NaN", "Infinity", "-Infinity".

    A `float` column holds 32 bits: a Python float is rounded to the nearest, and what is read is that rounded number.
    Its JSON and text are the shortest digits that round to it (0.1, not 0.10000000149011612). A finite number that
    would become infinite is refused. All NaN are stored as one.
    """

    __slots__ = ("_nan", "_pack", "_unpack")
    _pack: Callable[[float], bytes]
    _unpack: Callable[[bytes], tuple[float]]
    _nan: bytes
    value_form = "a float"
    json_form = 'a number, or one of the strings "NaN", "Infinity", "-Infinity"'
    text_form = "a number, NaN, Infinity or -Infinity"

    def __init__(self, name: str, layout: str, nan: bytes) -> None:
        super().__init__(name)
        packer = struct.Struct(layout)
        self._keep(_pack=packer.pack, _unpack=packer.unpack, _nan=nan)

    def serialise(self, value: object) -> bytes:
        if not isinstance(value, float):
            value = self._float_of_int(value)
        if math.isnan(value):
            return self._nan
        try:
            return self._pack(value)
        except OverflowError:
            raise self.refuse_content("cannot hold a number as large as the one given") from None

    def _float_of_int(self, value: object) -> float:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse_value(value)
        try:
            number = float(value)
            if self._unpack(self._pack(number))[0] == value:
                return number
        except OverflowError:
            pass
        raise self.refuse_content("cannot hold the integer given exactly; give a number with a point, or use varint")

    def deserialise(self, data: bytes) -> float:
        try:
            return self._unpack(data)[0]
        except struct.error:
            raise self.refuse_bytes() from None

    def from_json(self, value: object) -> float:
        return self.deserialise(self.json_to_bytes(value))

    def json_to_bytes(self, value: object) -> bytes:
        if isinstance(value, float):
            return self.serialise(value)
        if isinstance(value, str) and value in _FLOAT_WORDS:
            return self.serialise(_FLOAT_WORDS[value])
        if isinstance(value, int) and not isinstance(value, bool):
            return self.serialise(value)
        raise self.refuse_json(value)

    def to_json(self, value: object) -> float | str:
        return self.bytes_to_json(self.serialise(value))

    def bytes_to_json(self, data: bytes) -> float | str:
        number = self.deserialise(data)
        if math.isnan(number):
            return "NaN"
        if number in (_FLOAT_WORDS["Infinity"], _FLOAT_WORDS["-Infinity"]):
            return "Infinity" if number > 0 else "-Infinity"
        return number if len(data) == 8 else self._shortest(number, data)

    def _shortest(self, number: float, data: bytes) -> float:
        for digits in (6, 7, 8):
            candidate = float(f"{number:.{digits}g}")
            try:
                if self._pack(candidate) == data:
                    return candidate
            except OverflowError:  # rounded up past the largest
                continue
        return float(f"{number:.9g}")

    def from_text(self, text: str) -> float:
        if text in _FLOAT_WORDS:
            return _FLOAT_WORDS[text]
        if len(text) > _NUMBER_TEXT_MAX or not _DECIMAL.fullmatch(text):
            raise self.refuse_text()
        number = float(text)
        if number in (_FLOAT_WORDS["Infinity"], _FLOAT_WORDS["-Infinity"]):
            raise self.refuse_content("cannot hold a number as large as the one given")
        return self.deserialise(self.serialise(number))

    def to_text(self, value: object) -> str:
        return str(self.to_json(value))

    def order_key(self, data: bytes) -> bytes:
        if len(data) != len(self._nan):
            raise self.refuse_bytes()
        return _order.key_of_float(data, self._nan)


class VarintType(StringFormType[int]):
    """varint: Python int of up to `VARINT_BYTES_MAX` bytes; JSON and text are its digits in a string.

    A JSON integer is taken as well, though many programs cannot read one beyond 2^53 exactly.
    """

    __slots__ = ()
    value_form = f"an integer of at most {VARINT_BYTES_MAX} bytes"
    json_form = 'a string of digits such as "-12345678901234567890"'
    text_form = "an integer such as -12345678901234567890"

    def __init__(self) -> None:
        super().__init__("varint")

    def canonical(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse_value(value)
        if varint_length(value) > VARINT_BYTES_MAX:
            raise self.refuse_content(f"holds at most {VARINT_BYTES_MAX} bytes; the integer given is larger")
        return int(value)

    def encode(self, value: int) -> bytes:
        return varint_bytes(value)

    def decode(self, data: bytes) -> int:
        if not 1 <= len(data) <= VARINT_BYTES_MAX:
            raise ValueError
        return int.from_bytes(data, "big", signed=True)

    def parse(self, text: str) -> int:
        if len(text) > _NUMBER_TEXT_MAX or not _INTEGER.fullmatch(text):
            raise ValueError
        return self.canonical(int(text))

    def format(self, value: int) -> str:
        return str(value)

    def from_json(self, value: object) -> int:
        return self.canonical(value) if type(value) is int else super().from_json(value)

    def order_key(self, data: bytes) -> bytes:
        return _order.key_of_integer(self.deserialise(data))


class DecimalType(StringFormType[Decimal]):
    """decimal: finite Python Decimal (or int), which keeps its scale; JSON and text are its digits in a string.

    The scale is part of the value: 1.0 and 1.00 are different bytes, and as Cassandra has it they are different
    partition keys and locks. In a clustering column, a set or the keys of a map they are one: `order_key` gives them the same key
    (`DecimalType.compareCustom` uses BigDecimal.compareTo), and the first one written names the row. There is no
    negative zero.
    """

    __slots__ = ()
    value_form = f"a finite Decimal whose digits fit {VARINT_BYTES_MAX} bytes and whose scale fits 32 bits"
    json_form = 'a string such as "12.50"'
    text_form = "a decimal number such as 12.50"

    def __init__(self) -> None:
        super().__init__("decimal")

    def canonical(self, value: object) -> Decimal:
        if isinstance(value, int) and not isinstance(value, bool):
            if varint_length(value) > VARINT_BYTES_MAX:
                raise self._too_many_digits()
            return Decimal(int(value))
        if not isinstance(value, Decimal):
            raise self.refuse_value(value)
        _, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):
            raise self.refuse_content("holds finite numbers only")
        if not _SCALE_MIN <= -exponent <= _SCALE_MAX:
            raise self.refuse_content("holds scales of 32 bits; the one of the number given lies outside")
        if len(digits) > _NUMBER_TEXT_MAX or (
            len(digits) > VARINT_BYTES_MAX and varint_length(_unscaled(value)) > VARINT_BYTES_MAX
        ):
            raise self._too_many_digits()
        return value or value.copy_abs()

    def _too_many_digits(self) -> Exception:
        return self.refuse_content(f"holds digits of at most {VARINT_BYTES_MAX} bytes; the number given has more")

    def encode(self, value: Decimal) -> bytes:
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
        return struct.pack(">i", -exponent) + varint_bytes(_unscaled(value))

    def decode(self, data: bytes) -> Decimal:
        unscaled, scale = self._parts(data)
        digits = tuple(map(int, str(abs(unscaled))))
        return Decimal((1 if unscaled < 0 else 0, digits, -scale))

    def _parts(self, data: bytes) -> tuple[int, int]:
        if not 5 <= len(data) <= 4 + VARINT_BYTES_MAX:
            raise self.refuse_bytes()
        (scale,) = struct.unpack_from(">i", data)
        return int.from_bytes(data[4:], "big", signed=True), scale

    def parse(self, text: str) -> Decimal:
        if len(text) > _NUMBER_TEXT_MAX or not _DECIMAL.fullmatch(text):
            raise ValueError
        try:
            return self.canonical(Decimal(text))
        except InvalidOperation:
            raise ValueError from None

    def format(self, value: Decimal) -> str:
        return str(value)

    def from_json(self, value: object) -> Decimal:
        return self.canonical(value) if type(value) is int else super().from_json(value)

    def order_key(self, data: bytes) -> bytes:
        return _order.key_of_decimal(*self._parts(data))

    @property
    def holds_decimals(self) -> bool:
        return True

    def clustering_bytes(self, data: bytes) -> bytes:
        unscaled, scale = self._parts(data)
        if unscaled == 0:
            return b"\x00\x00\x00\x00\x00"
        digits = str(unscaled)
        # At the far end of the scales the last zeros must stay; then all forms of the number keep the same ones.
        zeros = min(len(digits) - len(digits.rstrip("0")), scale - _SCALE_MIN)
        digits, scale = digits[: len(digits) - zeros], scale - zeros
        if scale < 0 and len(digits) - scale <= _PLAIN_DIGITS_MAX:
            digits, scale = digits + "0" * -scale, 0
        return struct.pack(">i", scale) + varint_bytes(int(digits))


def varint_length(number: int) -> int:
    """Bytes of the shortest two's complement form."""
    return (number if number >= 0 else ~number).bit_length() // 8 + 1


def varint_bytes(number: int) -> bytes:
    """The shortest two's complement form, big endian, as java.math.BigInteger writes it."""
    return number.to_bytes(varint_length(number), "big", signed=True)


def _unscaled(value: Decimal) -> int:
    sign, digits, _ = value.as_tuple()
    magnitude = int("".join(map(str, digits)))
    return -magnitude if sign else magnitude
