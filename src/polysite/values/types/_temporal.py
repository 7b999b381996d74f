"""date, time, timestamp, duration."""

import re
import struct
from datetime import UTC, date, datetime, time, timedelta

from polysite.errors import BadRequest
from polysite.values.types import _calendar, _order
from polysite.values.types._base import StringFormType
from polysite.values.types._duration import (
    DAY_NS,
    Duration,
    Time,
    decode_vints,
    encode_vints,
    format_duration,
    parse_duration,
)

# The form that `format` writes, in the years and days that Python surely reads; all others take the long way.
_USUAL_TIMESTAMP = re.compile(
    r"[1-9][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DATE_DAYS_MIN = date.min.toordinal() - _EPOCH_DAY
_DATE_DAYS_MAX = date.max.toordinal() - _EPOCH_DAY
_MS = timedelta(milliseconds=1)
_DATETIME_MS_MIN = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MS
_DATETIME_MS_MAX = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MS


class DateType(StringFormType[date | int]):
    """date: Python date; outside the years 1 to 9999 an int, the days since 1970-01-01. Text as YYYY-MM-DD.

    An int within those years is taken too and stands for the same date.
    """

    __slots__ = ()
    value_form = "a date (not a datetime), or the days since 1970-01-01 as an integer of 32 bits"
    json_form = 'a string such as "2024-02-29"'
    text_form = "a date such as 2024-02-29"

    def __init__(self) -> None:
        super().__init__("date")

    def canonical(self, value: object) -> date | int:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse_value(value)
        if not _calendar.DAYS_MIN <= value <= _calendar.DAYS_MAX:
            raise self.refuse_content("holds 2^31 days either side of 1970-01-01; the day given lies outside")
        return self._of_days(int(value))

    def _of_days(self, days: int) -> date | int:
        return date.fromordinal(days + _EPOCH_DAY) if _DATE_DAYS_MIN <= days <= _DATE_DAYS_MAX else days

    def encode(self, value: date | int) -> bytes:
        return ((value if isinstance(value, int) else value.toordinal() - _EPOCH_DAY) + 2**31).to_bytes(4, "big")

    def decode(self, data: bytes) -> date | int:
        (number,) = struct.unpack(">I", data)
        return self._of_days(number - 2**31)

    def parse(self, text: str) -> date | int:
        return self.canonical(_calendar.parse_days(text))

    def format(self, value: date | int) -> str:
        return _calendar.format_days(value) if isinstance(value, int) else value.isoformat()

    def order_key(self, data: bytes) -> bytes:
        if len(data) != 4:
            raise self.refuse_bytes()
        return data


class TimeType(StringFormType[Time]):
    """time: `Time`, in nanoseconds since midnight (a naive datetime.time is taken too). Text as HH:MM:SS.nnnnnnnnn."""

    __slots__ = ()
    value_form = "a Time of less than 24 hours, or a datetime.time without a zone"
    json_form = 'a string such as "23:59:59.123456789"'
    text_form = "a time of day such as 23:59:59.123456789"

    def __init__(self) -> None:
        super().__init__("time")

    def canonical(self, value: object) -> Time:
        if isinstance(value, time):
            if value.tzinfo is not None:
                raise self.refuse_content("takes times of day without a zone; the one given has one")
            seconds = (value.hour * 60 + value.minute) * 60 + value.second
            return Time((seconds * 1_000_000 + value.microsecond) * 1000)
        if not isinstance(value, Time):
            raise self.refuse_value(value)
        if type(value.nanoseconds) is not int or not 0 <= value.nanoseconds < DAY_NS:
            raise self.refuse_content(f"takes 0 to {DAY_NS - 1} nanoseconds; the time given lies outside")
        return value

    def encode(self, value: Time) -> bytes:
        return value.nanoseconds.to_bytes(8, "big")

    def decode(self, data: bytes) -> Time:
        (nanoseconds,) = struct.unpack(">q", data)
        if not 0 <= nanoseconds < DAY_NS:
            raise ValueError
        return Time(nanoseconds)

    def parse(self, text: str) -> Time:
        return Time(_calendar.parse_time(text))

    def format(self, value: Time) -> str:
        return str(value)

    def order_key(self, data: bytes) -> bytes:
        self.deserialise(data)
        return data


class TimestampType(StringFormType[datetime | int]):
    """timestamp: aware Python datetime, returned in UTC; outside the years 1 to 9999 an int of milliseconds since 1970.

    An int within those years is taken too. Finer than a millisecond is refused, not rounded, and so is a time without
    an offset from UTC. Text is RFC 3339 with milliseconds and Z; any offset is read.
    """

    __slots__ = ()
    value_form = "a datetime with a zone and whole milliseconds, or milliseconds since 1970 as an integer of 64 bits"
    json_form = 'a string with an offset and at most milliseconds, such as "2024-02-29T12:00:00.000Z"'
    text_form = "a time with an offset and at most milliseconds, such as 2024-02-29T12:00:00.000Z"

    def __init__(self) -> None:
        super().__init__("timestamp")

    def canonical(self, value: object) -> datetime | int:
        if isinstance(value, datetime):
            if value.utcoffset() is None:
                raise self.refuse_content("takes times with an offset from UTC; the one given has none")
            # By way of the number, because near the years 1 and 9999 the same instant in UTC may be no datetime.
            elapsed = value - _EPOCH
            if elapsed % _MS:
                raise self.refuse_content("holds milliseconds; the time given is finer")
            return self._of_ms(elapsed // _MS)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse_value(value)
        if not -(2**63) <= value < 2**63:
            raise self.refuse_content("holds milliseconds of 64 bits; the time given lies outside")
        return self._of_ms(int(value))

    def _of_ms(self, timestamp_ms: int) -> datetime | int:
        if _DATETIME_MS_MIN <= timestamp_ms <= _DATETIME_MS_MAX:
            return _EPOCH + timedelta(milliseconds=timestamp_ms)
        return timestamp_ms

    def _ms(self, value: datetime | int) -> int:
        return value if isinstance(value, int) else (value - _EPOCH) // _MS

    def encode(self, value: datetime | int) -> bytes:
        return struct.pack(">q", self._ms(value))

    def decode(self, data: bytes) -> datetime | int:
        (timestamp_ms,) = struct.unpack(">q", data)
        return self._of_ms(timestamp_ms)

    def parse(self, text: str) -> datetime | int:
        if _USUAL_TIMESTAMP.fullmatch(text):
            return datetime.fromisoformat(text)
        return self.canonical(_calendar.parse_timestamp_ms(text))

    def format(self, value: datetime | int) -> str:
        if isinstance(value, int):
            return _calendar.format_timestamp_ms(value)
        return value.isoformat(timespec="milliseconds")[:-6] + "Z"

    def order_key(self, data: bytes) -> bytes:
        if len(data) != 8:
            raise self.refuse_bytes()
        return _order.key_of_signed(data)


class DurationType(StringFormType[Duration]):
    """duration: `Duration`; text as Cassandra writes it (1y2mo3d4h), ISO 8601 is read too.

    It has no order, so it cannot stand in a key, a set or the keys of a map.
    """

    __slots__ = ()
    value_form = "a Duration whose parts have one sign, months and days of 32 bits, nanoseconds of 64 bits"
    json_form = 'a string such as "1y2mo3d4h5m6s" or "P1Y2M3DT4H5M6S"'
    text_form = "a duration such as 1y2mo3d4h5m6s or P1Y2M3DT4H5M6S"

    def __init__(self) -> None:
        super().__init__("duration")

    @property
    def is_orderable(self) -> bool:
        return False

    def canonical(self, value: object) -> Duration:
        if not isinstance(value, Duration):
            raise self.refuse_value(value)
        parts = (value.months, value.days, value.nanoseconds)
        if any(type(part) is not int for part in parts):
            raise self.refuse_content("takes integers as its parts; one given is none")
        if min(parts) < 0 < max(parts):
            raise self.refuse_content("takes parts of one sign; those given have different signs")
        for part, bits in zip(parts, (31, 31, 63), strict=True):
            if not -(1 << bits) <= part < 1 << bits:
                raise self.refuse_content(
                    "holds months and days of 32 bits and nanoseconds of 64; one given lies outside"
                )
        return value

    def encode(self, value: Duration) -> bytes:
        return encode_vints((value.months, value.days, value.nanoseconds))

    def decode(self, data: bytes) -> Duration:
        return self.canonical(Duration(*decode_vints(data, 3)))

    def parse(self, text: str) -> Duration:
        return self.canonical(parse_duration(text))

    def format(self, value: Duration) -> str:
        return format_duration(value)

    def order_key(self, data: bytes) -> bytes:  # noqa: ARG002  # no bytes of it have an order
        raise BadRequest("duration values have no order and cannot stand in a key", cql_type="duration")
