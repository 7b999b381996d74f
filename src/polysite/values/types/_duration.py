"""Durations and times of day: the two values that Python's standard library cannot hold whole."""

import re
from dataclasses import dataclass

DAY_NS = 86_400_000_000_000

_NUMBER = r"([0-9]{1,19})"
_UNITS = ("y", "mo", "w", "d", "h", "m", "s", "ms", "(?:us|µs|μs)", "ns")
_DURATION_TEXT = re.compile("(-?)" + "".join(f"(?:{_NUMBER}{unit})?" for unit in _UNITS), re.IGNORECASE)
_DURATION_ISO = re.compile(
    f"(-?)P(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    f"(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_NS_BY_UNIT = (("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000))


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """A time of day, in nanoseconds since midnight (0 to 86,399,999,999,999).

    `datetime.time` holds microseconds only; CQL's time holds nanoseconds.
    """

    nanoseconds: int

    def __str__(self) -> str:
        from polysite.values.types._calendar import format_time

        return format_time(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class Duration:
    """Months, days and nanoseconds, none of them negative or none of them positive.

    Three numbers, because a month has no fixed number of days nor a day of nanoseconds; so durations have no order.
    """

    months: int = 0
    days: int = 0
    nanoseconds: int = 0

    def __str__(self) -> str:
        return format_duration(self)


def format_duration(duration: Duration) -> str:
    """As Cassandra writes it: 1y2mo3d4h5m6s7ms8us9ns, with a minus before it all; nothing at all is 0s."""
    numbers = (duration.months, duration.days, duration.nanoseconds)
    sign = "-" if min(numbers) < 0 else ""
    months, days, nanoseconds = map(abs, numbers)
    parts = [(months // 12, "y"), (months % 12, "mo"), (days, "d")]
    for unit, length in _NS_BY_UNIT:
        count, nanoseconds = divmod(nanoseconds, length)
        parts.append((count, unit))
    parts.append((nanoseconds, "ns"))
    return sign + ("".join(f"{count}{unit}" for count, unit in parts if count) or "0s")


def parse_duration(text: str) -> Duration:
    """Reads 1y2mo3w4d5h6m7s8ms9us10ns (units in this order, any of them) and ISO 8601 (P1Y2M3DT4H5M6S, P3W).

    ValueError for anything else. The ranges are not looked at here.
    """
    found = _DURATION_TEXT.fullmatch(text)
    if found and any(found.groups()[1:]):
        sign, *numbers = found.groups()
        years, months, weeks, days, hours, minutes, seconds, milli, micro, nano = (int(part or 0) for part in numbers)
    else:
        found = _DURATION_ISO.fullmatch(text)
        if not found or not any(found.groups()[1:]) or text.endswith("T"):
            raise ValueError
        sign, *numbers = found.groups()
        years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in numbers)
        milli = micro = nano = 0
    factor = -1 if sign else 1
    total_seconds = (hours * 60 + minutes) * 60 + seconds
    return Duration(
        factor * (12 * years + months),
        factor * (7 * weeks + days),
        factor * (((total_seconds * 1000 + milli) * 1000 + micro) * 1000 + nano),
    )


def encode_vints(numbers: tuple[int, ...]) -> bytes:
    """Signed 64-bit integers in Cassandra's variable-length form (`VIntCoding`, zig-zag)."""
    return b"".join(_encode_vint((number << 1) ^ (number >> 63)) for number in numbers)


def _encode_vint(number: int) -> bytes:
    # As many leading one bits in the first byte as bytes follow it.
    following = min((number.bit_length() - 1) // 7 if number else 0, 8)
    prefix = (0xFF << (8 - following)) & 0xFF
    return (number | prefix << (8 * following)).to_bytes(following + 1, "big")


def decode_vints(data: bytes, count: int) -> tuple[int, ...]:
    """`count` integers that fill `data` exactly, or ValueError."""
    # A cut last integer ends behind the data, which the comparison at the end tells.
    numbers = []
    at = 0
    for _ in range(count):
        if at >= len(data):
            raise ValueError
        following = 8 - (~data[at] & 0xFF).bit_length()
        end = at + 1 + following
        number = int.from_bytes(data[at:end], "big") & ((1 << max(7 * (following + 1), 64 * (following == 8))) - 1)
        numbers.append((number >> 1) ^ -(number & 1))
        at = end
    if at != len(data):
        raise ValueError
    return tuple(numbers)
