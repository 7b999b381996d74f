"""Serialised bytes as what acsylla binds and gives, and back, for the types with which that is exact.

acsylla 1.2 takes and gives Python values. Tried on a real server, it loses nothing of the types in `EXACT`, while a decimal
cannot be read at all, times lose their nanoseconds and dates and timestamps end with Python's years. Whatever is not in `EXACT`
goes through the other driver. A NaN has one form here, the one that `values.types` writes.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from polysite.engines.cassandra.port import Row, Statement
from polysite.errors import BadRequest

Convert = Callable[[Any], Any]

_FLOAT, _DOUBLE = struct.Struct(">f"), struct.Struct(">d")


def _same(value: Any) -> Any:
    return value


def _integer(size: int) -> tuple[Convert, Convert]:
    return (
        lambda data: int.from_bytes(_sized(data, size), "big", signed=True),
        lambda value: value.to_bytes(size, "big", signed=True),
    )


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError
    return data


def _address(data: bytes) -> str:
    return str(ip_address(data))


EXACT: dict[str, tuple[Convert, Convert]] = {
    "blob": (_same, _same),
    "varint": (_same, _same),
    "ascii": (lambda data: data.decode("ascii"), lambda value: value.encode("ascii")),
    "text": (lambda data: data.decode(), lambda value: value.encode()),
    "boolean": (lambda data: _sized(data, 1) != b"\0", lambda value: b"\1" if value else b"\0"),
    "tinyint": _integer(1),
    "smallint": _integer(2),
    "int": _integer(4),
    "bigint": _integer(8),
    "float": (lambda data: _FLOAT.unpack(data)[0], _FLOAT.pack),
    "double": (lambda data: _DOUBLE.unpack(data)[0], _DOUBLE.pack),
    "uuid": (lambda data: UUID(bytes=data), lambda value: bytes.fromhex(value.replace("-", ""))),
    "timeuuid": (lambda data: UUID(bytes=data), lambda value: bytes.fromhex(value.replace("-", ""))),
    "inet": (_address, lambda value: ip_address(value).packed),
}
"""Type name → from bytes to what acsylla binds, and from what it gives to bytes."""


def is_exact(statement: Statement) -> bool:
    """Whether acsylla carries every value of the statement exactly."""
    return all(each.name in EXACT for each in statement.takes) and all(
        each.name in EXACT for each in statement.gives.values()
    )


def binders(statement: Statement) -> list[Convert]:
    """One conversion per `?`."""
    return [EXACT[each.name][0] for each in statement.takes]


def bound(convert: Convert, data: bytes, at: int) -> Any:
    """What acsylla binds for `data`. BadRequest: not bytes of the type of this `?`."""
    try:
        return convert(data)
    except (ValueError, struct.error) as error:
        raise BadRequest(f"value {at + 1} of the statement is not of its type") from error


def rows_as_bytes(names: Sequence[str], rows: Sequence[Sequence[Any]], gives: Mapping[str, Any]) -> list[Row]:
    """Rows as acsylla gives them, as bytes. KeyError: a column that the statement does not name."""
    converts = [EXACT["boolean" if name == "[applied]" else gives[name].name][1] for name in names]
    return [
        [None if value is None else convert(value) for convert, value in zip(converts, row, strict=True)]
        for row in rows
    ]
