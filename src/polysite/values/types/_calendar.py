"""The calendar that dates and timestamps are written in, beyond the years that Python's datetime knows.

CQL dates reach 5.8 million years either way and timestamps 292 million, Python's only the years 1 to 9999. The
calendar is ISO 8601's: Gregorian, extended backwards, with a year 0. Years outside 0 to 9999 are written with a sign.
"""

import re

DAYS_MIN, DAYS_MAX = -(2**31), 2**31 - 1
"""Days since 1970-01-01 that a CQL date can hold."""

_DATE = r"([0-9]{4}|[+-][0-9]{4,9})-([0-9]{2})-([0-9]{2})"
_DATE_TEXT = re.compile(_DATE)
_TIMESTAMP_TEXT = re.compile(
    _DATE + r"[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))"
)
_TIME_TEXT = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?")
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_IN_400_YEARS = 146_097
_DAY_MS = 86_400_000


def days_of_date(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01; ValueError for a day that does not exist."""
    if not 1 <= month <= 12 or not 1 <= day <= days_in_month(year, month):
        raise ValueError
    # Years are counted from March, so that the leap day is the last of its year and months have a fixed rhythm.
    year_from_march = year - (month <= 2)
    era, year_of_era = divmod(year_from_march, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _DAYS_IN_400_YEARS + day_of_era - 719_468


def date_of_days(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970-01-01."""
    era, day_of_era = divmod(days + 719_468, _DAYS_IN_400_YEARS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return era * 400 + year_of_era + (month <= 2), month, day


def days_in_month(year: int, month: int) -> int:
    """28 to 31."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and leap else _DAYS_IN_MONTH[month - 1]


def format_days(days: int) -> str:
    """A number of days since 1970-01-01 as YYYY-MM-DD, the year with a sign outside 0 to 9999."""
    year, month, day = date_of_days(days)
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+05d}"
    return f"{shown}-{month:02d}-{day:02d}"


def parse_days(text: str) -> int:
    """Days since 1970-01-01 of a date as `format_days` writes it, or ValueError."""
    found = _DATE_TEXT.fullmatch(text)
    if not found:
        raise ValueError
    return days_of_date(*map(int, found.groups()))


def format_timestamp_ms(timestamp_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC: 2024-02-29T12:00:00.000Z."""
    days, rest_ms = divmod(timestamp_ms, _DAY_MS)
    seconds, milliseconds = divmod(rest_ms, 1000)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{format_days(days)}T{clock}.{milliseconds:03d}Z"


def parse_timestamp_ms(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 text, or ValueError.

    The offset from UTC must be there; a fraction beyond milliseconds must be zeros, so that nothing is lost silently.
    """
    found = _TIMESTAMP_TEXT.fullmatch(text)
    if not found:
        raise ValueError
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = found.groups()
    days = days_of_date(int(year), int(month), int(day))
    nanoseconds = _nanoseconds_of_day(hour, minute, second, fraction)
    if nanoseconds % 1_000_000:
        raise ValueError
    offset = 0
    if sign:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            raise ValueError
        offset = (int(offset_hours) * 60 + int(offset_minutes)) * (-1 if sign == "-" else 1)
    return days * _DAY_MS + nanoseconds // 1_000_000 - offset * 60_000


def format_time(nanoseconds: int) -> str:
    """Nanoseconds since midnight as HH:MM:SS.nnnnnnnnn."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:09d}"


def parse_time(text: str) -> int:
    """Nanoseconds since midnight of HH:MM:SS with up to nine digits of a fraction, or ValueError."""
    found = _TIME_TEXT.fullmatch(text)
    if not found:
        raise ValueError
    return _nanoseconds_of_day(*found.groups())


def _nanoseconds_of_day(hour: str, minute: str, second: str, fraction: str | None) -> int:
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        raise ValueError
    seconds = (int(hour) * 60 + int(minute)) * 60 + int(second)
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
