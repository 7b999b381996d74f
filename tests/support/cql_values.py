"""Values of every CQL type for hypothesis, and the order that Cassandra gives them, told a second time and plainly."""

import math
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cmp_to_key
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

from polysite.values.types import CqlType, Duration, Time

SCALARS = (
    "ascii", "bigint", "blob", "boolean", "date", "decimal", "double", "duration", "float", "inet", "int", "smallint",
    "text", "time", "timestamp", "timeuuid", "tinyint", "uuid", "varint",
)  # fmt: skip
ORDERED_SCALARS = tuple(name for name in SCALARS if name != "duration")


def _around(*centres: int, least: int, most: int) -> st.SearchStrategy[int]:
    """Integers of a range, more of them near its ends and other places where encodings change."""
    near = st.sampled_from((least, most, 0, *centres)).flatmap(lambda centre: st.integers(centre - 3, centre + 3))
    return st.one_of(near.filter(lambda number: least <= number <= most), st.integers(least, most))


def _signed(bits: int) -> st.SearchStrategy[int]:
    return _around(127, -128, 255, 256, least=-(1 << (bits - 1)), most=(1 << (bits - 1)) - 1)


def _float32(number: float) -> float:
    return float(struct.unpack(">f", struct.pack(">f", number))[0])


def _decimals() -> st.SearchStrategy[Decimal]:
    digits = _around(9, 10, 99, 100, 12_800, least=-(10**25), most=10**25)
    scales = st.one_of(st.integers(-8, 8), st.sampled_from((-(2**31), 2**31 - 1)))
    return st.tuples(digits, scales).map(lambda parts: _decimal(*parts))


def _decimal(unscaled: int, scale: int) -> Decimal:
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def _uuids() -> st.SearchStrategy[uuid.UUID]:
    # Few different bytes, so that some agree in a long prefix.
    few = st.lists(st.sampled_from((0x00, 0x10, 0x11, 0x41, 0x7F, 0x80, 0xFF)), min_size=16, max_size=16).map(bytes)
    return st.one_of(few, st.binary(min_size=16, max_size=16)).map(lambda data: uuid.UUID(bytes=data))


def _of_version_1(value: uuid.UUID) -> uuid.UUID:
    return uuid.UUID(int=value.int & ~(0xF << 76) | 1 << 76)


def _dates() -> st.SearchStrategy[date | int]:
    outside = _around(least=-(2**31), most=2**31 - 1).filter(lambda days: not -719_162 <= days <= 2_932_896)
    return st.one_of(st.dates(), outside)


def _timestamps() -> st.SearchStrategy[datetime | int]:
    inside = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(
        lambda timestamp_ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    )
    outside = _signed(64).filter(lambda number: not -62_135_596_800_000 <= number <= 253_402_300_799_999)
    return st.one_of(inside, outside)


def _durations() -> st.SearchStrategy[Duration]:
    parts = st.tuples(_signed(32), _signed(32), _signed(64))
    return st.one_of(
        parts.filter(lambda found: min(found) >= 0 or max(found) <= 0),
        parts.map(lambda found: tuple(part if part >= 0 else ~part for part in found)),
        parts.map(lambda found: tuple(part if part < 0 else ~part for part in found)),
    ).map(lambda found: Duration(*found))


def _texts() -> st.SearchStrategy[str]:
    return st.one_of(st.text(alphabet="\0\x01aé\uffff\U00010000", max_size=4), st.text(max_size=20))


_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "ascii": st.one_of(
        st.text(alphabet="\0\x01ab\x7f", max_size=4), st.text(st.characters(codec="ascii"), max_size=20)
    ),
    "bigint": _signed(64),
    "blob": st.one_of(st.lists(st.sampled_from((0, 1, 255)), max_size=4).map(bytes), st.binary(max_size=20)),
    "boolean": st.booleans(),
    "date": _dates(),
    "decimal": _decimals(),
    "double": st.floats(),
    "duration": _durations(),
    "float": st.floats(width=32).map(_float32),
    "inet": st.one_of(
        st.ip_addresses(), st.sampled_from((IPv4Address("0.0.0.0"), IPv6Address("::"), IPv6Address("::1")))
    ),
    "int": _signed(32),
    "smallint": _signed(16),
    "text": _texts(),
    "time": _around(least=0, most=86_399_999_999_999).map(Time),
    "timestamp": _timestamps(),
    "timeuuid": _uuids().map(_of_version_1),
    "tinyint": _signed(8),
    "uuid": st.one_of(_uuids(), _uuids().map(_of_version_1)),
    "varint": st.one_of(_signed(16), _around(2**951, -(2**951), 2**960, least=-(2**8191), most=2**8191 - 1)),
}


def spellings(scalars: tuple[str, ...] = SCALARS) -> st.SearchStrategy[str]:
    """Types of up to three levels; a set's elements and a map's keys always have an order."""
    ordered = st.recursive(
        st.sampled_from([name for name in scalars if name != "duration"]), _compound_of, max_leaves=3
    )
    anything = st.sampled_from(scalars)
    return st.one_of(
        anything,
        ordered,
        anything.map(lambda name: f"list<{name}>"),
        st.tuples(ordered, anything).map(lambda names: f"map<{names[0]}, {names[1]}>"),
        st.lists(anything, min_size=1, max_size=3).map(lambda names: f"tuple<{', '.join(names)}>"),
    )


def _compound_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        inner.map(lambda name: f"list<{name}>"),
        inner.map(lambda name: f"set<{name}>"),
        st.tuples(inner, inner).map(lambda names: f"map<{names[0]}, {names[1]}>"),
        st.lists(inner, min_size=1, max_size=3).map(lambda names: f"tuple<{', '.join(names)}>"),
    )


def values(cql_type: CqlType) -> st.SearchStrategy[Any]:
    """Values that `serialise` takes; sets as lists, maps as lists of pairs, so that any element may stand in them."""
    if cql_type.is_scalar:
        return _BY_NAME[cql_type.name]
    parts = [values(parameter) for parameter in cql_type.parameters]
    if cql_type.name == "tuple":
        return st.tuples(*(st.one_of(st.none(), part) for part in parts))
    if cql_type.name == "map":
        key_type = cql_type.parameters[0]
        pairs = st.lists(st.tuples(*parts), max_size=3)
        return pairs.map(lambda found: _one_of_each_key(key_type, found))
    return st.lists(parts[0], max_size=4)


def _one_of_each_key(key_type: CqlType, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    kept: list[tuple[Any, Any]] = []
    for key, value in pairs:
        if all(compare(key_type, key, other) for other, _ in kept):
            kept.append((key, value))
    return kept


def compare(cql_type: CqlType, left: Any, right: Any) -> int:
    """Below zero, zero or above zero, as Cassandra 5 compares two values of a clustering column."""
    if cql_type.is_scalar:
        return _by_key(_SORT_KEYS.get(cql_type.name, _same)(left), _SORT_KEYS.get(cql_type.name, _same)(right))
    if cql_type.name == "tuple":
        for part_type, one, other in zip(cql_type.parameters, left, right, strict=True):
            if one is None or other is None:
                found = _by_key(one is not None, other is not None)
            else:
                found = compare(part_type, one, other)
            if found:
                return found
        return 0
    return _compare_elements(cql_type, _in_order(cql_type, left), _in_order(cql_type, right))


def _in_order(cql_type: CqlType, elements: list[Any]) -> list[Any]:
    if cql_type.name == "list":
        return elements
    element_type = cql_type.parameters[0]

    def compare_keys(one: Any, other: Any) -> int:
        return compare(element_type, one[0], other[0])

    if cql_type.name == "map":
        return sorted(elements, key=cmp_to_key(compare_keys))
    kept: list[Any] = []
    for element in sorted(elements, key=cmp_to_key(lambda one, other: compare(element_type, one, other))):
        if not kept or compare(element_type, kept[-1], element):
            kept.append(element)
    return kept


def _compare_elements(cql_type: CqlType, left: list[Any], right: list[Any]) -> int:
    for one, other in zip(left, right, strict=False):
        if cql_type.name == "map":
            found = compare(cql_type.parameters[0], one[0], other[0]) or compare(
                cql_type.parameters[1], one[1], other[1]
            )
        else:
            found = compare(cql_type.parameters[0], one, other)
        if found:
            return found
    return _by_key(len(left), len(right))


def _by_key(left: Any, right: Any) -> int:
    return 1 if left > right else -1 if left < right else 0


def _same(value: Any) -> Any:
    return value


def _float_key(number: float) -> tuple[int, float, float]:
    return (1, 0.0, 0.0) if math.isnan(number) else (0, number, math.copysign(1.0, number))


def _uuid_key(value: uuid.UUID) -> tuple[int, int, bytes]:
    version = value.bytes[6] >> 4
    return version, value.time if version == 1 else 0, value.bytes


def _timeuuid_key(value: uuid.UUID) -> tuple[int, list[int]]:
    return value.time, [byte - 256 if byte > 127 else byte for byte in value.bytes[8:]]


def _date_key(value: date | int) -> int:
    return value if isinstance(value, int) else value.toordinal() - 719_163


def _timestamp_key(value: datetime | int) -> int:
    if isinstance(value, int):
        return value
    return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


_SORT_KEYS: dict[str, Callable[[Any], Any]] = {
    "text": lambda text: text.encode(),
    "inet": lambda address: address.packed,
    "float": _float_key,
    "double": _float_key,
    "uuid": _uuid_key,
    "timeuuid": _timeuuid_key,
    "date": _date_key,
    "timestamp": _timestamp_key,
}
