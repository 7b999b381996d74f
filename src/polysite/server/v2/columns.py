"""Column values as this interface takes and shows them: wider than the types in what is taken, with zeros for some nulls.

Taken (`to_column`): numbers for text, text for numbers and booleans, short groups in a uuid, JSON null for null. What does not
convert is a BadRequest that names the column; the original stored null. Shown (`to_json`): a null bigint, int, float, double,
boolean, map or list is 0, 0, 0.0, 0.0, false, {} or []; clients calculate with those.
"""

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polysite.errors import BadRequest
from polysite.server.v2.java_text import java_text
from polysite.values.tables import TableSpec
from polysite.values.types import CqlType

_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint", "varint"})
_FLOATS = frozenset({"float", "double"})
_TEXTS = frozenset({"text", "varchar", "ascii"})
_DECIMAL = re.compile(r"[+-]?[0-9]{1,40000}")
_FLOAT_SUFFIX = re.compile(r"(?<=[0-9.])[dDfF]$")
_UUID = re.compile(r"([0-9A-Fa-f]{1,8})-([0-9A-Fa-f]{1,4})-([0-9A-Fa-f]{1,4})-([0-9A-Fa-f]{1,4})-([0-9A-Fa-f]{1,12})")

_ZEROS: Mapping[str, Any] = {"bigint": 0, "int": 0, "float": 0.0, "double": 0.0, "boolean": False}


def to_column(cql_type: CqlType, value: Any, column: str) -> Any:
    """The Python value of a JSON value (or of a text out of a query); None for null. BadRequest names the column."""
    if value is None:
        return None
    try:
        return _converted(cql_type, value)
    except BadRequest as error:
        raise BadRequest(f"{column}: {error.message}", column=column) from None


def to_blob(cql_type: CqlType, value: Any, column: str) -> bytes | None:
    """A member of `objectMap`: base64 for a blob."""
    if value is None:
        return None
    if cql_type.name != "blob":
        raise BadRequest(f"{column}: objectMap is for columns of type blob; this one is {cql_type}", column=column)
    if not isinstance(value, str):
        raise BadRequest(f"{column}: objectMap holds base64 texts", column=column)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{column}: this is not base64", column=column) from None


def to_json(spec: TableSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as this interface shows it."""
    return {name: show(row.get(name)) for name, show in _shows(spec)}


_KNOWN: dict[TableSpec, list[tuple[str, Callable[[Any], Any]]]] = {}
_KNOWN_MAX = 1_024


def _shows(spec: TableSpec) -> list[tuple[str, Callable[[Any], Any]]]:
    known = _KNOWN.get(spec)
    if known is None:
        if len(_KNOWN) >= _KNOWN_MAX:
            _KNOWN.clear()
        known = _KNOWN[spec] = [(name, _shower(cql_type)) for name, cql_type in spec.types.items()]
    return known


def _shower(cql_type: CqlType) -> Callable[[Any], Any]:
    """How values of a type are shown."""
    name = cql_type.name
    convert: Callable[[Any], Any] = cql_type.to_json
    if name in _INTEGERS or name in _TEXTS or name == "boolean":
        zero = _ZEROS.get(name)
        return lambda value: zero if value is None else value
    if name == "map":
        key, item = cql_type.parameters
        show_item = _shower(item)
        return lambda value: (
            {}
            if value is None
            else {
                key.to_text(entry): show_item(member)
                for entry, member in (value.items() if isinstance(value, dict) else value)
            }
        )
    if name == "list":
        show = _shower(cql_type.parameters[0])
        return lambda value: [] if value is None else [show(item) for item in value]
    zero = _ZEROS.get(name)
    return lambda value: zero if value is None else convert(value)


def _converted(cql_type: CqlType, value: Any) -> Any:
    name = cql_type.name
    if name in _TEXTS:
        return cql_type.from_text(java_text(value))
    if name in _INTEGERS:
        return _integer(cql_type, value)
    if name in _FLOATS:
        return _float(cql_type, value)
    if name == "boolean":
        return java_text(value).lower() == "true"
    if name in {"uuid", "timeuuid"}:
        return _uuid(cql_type, value)
    if name == "blob":
        return java_text(value).encode()
    if cql_type.parameters:
        return _compound(cql_type, value)
    if isinstance(value, bool | list | dict):
        raise cql_type.refuse_json(value)
    if name == "timestamp" and isinstance(value, int):
        return cql_type.deserialise(value.to_bytes(8, "big", signed=True)) if abs(value) < 2**63 else _refuse(cql_type)
    return cql_type.from_text(java_text(value))


def _refuse(cql_type: CqlType) -> Any:
    raise cql_type.refuse_text()


def _integer(cql_type: CqlType, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return cql_type.from_text(str(value))
    text = java_text(value)
    if not _DECIMAL.fullmatch(text):
        raise cql_type.refuse_text()
    return cql_type.from_text(text.removeprefix("+"))


def _float(cql_type: CqlType, value: Any) -> Any:
    if isinstance(value, bool | list | dict):
        raise cql_type.refuse_json(value)
    return cql_type.from_text(_FLOAT_SUFFIX.sub("", java_text(value).strip()))


def _uuid(cql_type: CqlType, value: Any) -> Any:
    """As java.util.UUID reads it: groups may be shorter than they are written."""
    groups = _UUID.fullmatch(java_text(value))
    if groups is None:
        raise cql_type.refuse_text()
    padded = (group.zfill(width) for group, width in zip(groups.groups(), (8, 4, 4, 4, 12), strict=True))
    return cql_type.from_text(str(uuid.UUID("".join(padded))))


def _compound(cql_type: CqlType, value: Any) -> Any:
    """A collection or tuple: a JSON array, for a map an object; elements convert as columns do, and none is null."""
    name, parameters = cql_type.name, cql_type.parameters
    if name == "map":
        key, item = parameters
        if not isinstance(value, dict):
            raise cql_type.refuse_json(value)
        return _kept(
            cql_type, [(_converted(key, entry), _element(cql_type, item, member)) for entry, member in value.items()]
        )
    if not isinstance(value, list):
        raise cql_type.refuse_json(value)
    if name == "tuple":
        if len(value) > len(parameters):
            raise cql_type.refuse_json(value)
        parts = (
            None if item is None else _converted(part, item) for part, item in zip(parameters, value, strict=False)
        )
        return _kept(cql_type, tuple(parts))
    return _kept(cql_type, [_element(cql_type, parameters[0], item) for item in value])


def _element(of: CqlType, cql_type: CqlType, value: Any) -> Any:
    if value is None:
        raise of.refuse_content("null cannot stand in it")
    return _converted(cql_type, value)


def _kept(cql_type: CqlType, value: Sequence[Any]) -> Any:
    """The canonical Python value of a collection; a map is given as pairs."""
    return cql_type.deserialise(cql_type.serialise(value))
