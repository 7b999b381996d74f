"""Serialised bytes as what acsylla binds and gives, and back, for the types with which that is exact.

acsylla 1.2 takes and gives Python values. Tried on a real server, it loses nothing of the types in `EXACT`, while a decimal
cannot be read at all, times lose their nanoseconds and dates and timestamps end with Python's years. Whatever is not in `EXACT`
goes through the other driver. A NaN has one form here, the one that `values.types` writes.

Every request pays for these conversions, so they are the interpreter's own functions where there is one, and none where the
bytes stay as they are.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from polysite.engines.cassandra.port import UNSET, Row, Statement, Value
from polysite.errors import BadRequest

Convert = Callable[[Any], Any]

FITS_NOT = (ValueError, struct.error)
"""What a conversion raises for bytes that are not of its type."""


def _same(value: Any) -> Any:
    return value


def _packed(form: str) -> tuple[Convert, Convert]:
    unpack, pack = struct.Struct(form).unpack, struct.Struct(form).pack
    return (lambda data: unpack(data)[0], pack)


def _address(data: bytes) -> str:
    return str(ip_address(data))


EXACT: dict[str, tuple[Convert, Convert]] = {
    "blob": (_same, _same),
    "varint": (_same, _same),
    "ascii": (lambda data: data.decode("ascii"), lambda value: value.encode("ascii")),
    "text": (bytes.decode, str.encode),
    "boolean": _packed(">?"),
    "tinyint": _packed(">b"),
    "smallint": _packed(">h"),
    "int": _packed(">i"),
    "bigint": _packed(">q"),
    "float": _packed(">f"),
    "double": _packed(">d"),
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


def binders(statement: Statement) -> list[Convert | None]:
    """One conversion per `?`; None: its bytes are bound as they are."""
    return [_unless_same(EXACT[each.name][0]) for each in statement.takes]


def givers(names: Iterable[str], gives: Mapping[str, Any]) -> list[Convert | None]:
    """One conversion per column; None: it is given as bytes. KeyError: a column that the statement does not name."""
    return [_unless_same(EXACT["boolean" if name == "[applied]" else gives[name].name][1]) for name in names]


def _unless_same(convert: Convert) -> Convert | None:
    return None if convert is _same else convert


def bind_all(request: Any, converts: Sequence[Convert | None], values: Sequence[Value]) -> None:
    """Bind each value that is set. BadRequest: too many or too few, or bytes that are not of the type of their place."""
    if len(values) != len(converts):
        raise BadRequest(f"the statement takes {len(converts)} values, not {len(values)}")
    bind = request.bind
    at = 0
    try:
        for value in values:
            if value is not UNSET:
                convert = converts[at]
                bind(at, value if convert is None or value is None else convert(value))
            at += 1
    except FITS_NOT as error:
        raise BadRequest(f"value {at + 1} of the statement is not of its type") from error


def rows_as_bytes(converts: Sequence[Convert | None], rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Rows as acsylla gives them, as bytes."""
    return [
        [
            value if value is None or convert is None else convert(value)
            for convert, value in zip(converts, row, strict=True)
        ]
        for row in rows
    ]
