"""Rows and keys between JSON and Python, by the types of the table's columns.

One `Codec` per table spec knows which columns need work at all: most types are the same in JSON and in Python, and a row
of such columns is passed through as it is.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from polysite import api
from polysite.errors import BadRequest, UnknownKey
from polysite.server.problems import refuse
from polysite.values.tables import TableSpec
from polysite.values.types import CqlType

SAME_IN_JSON = frozenset({"text", "varchar", "ascii", "boolean", "tinyint", "smallint", "int", "bigint"})
"""Types whose Python values msgspec writes exactly as `to_json` would. Not the floats: it would write NaN as null."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CODECS_MAX = 1_024


class Codec:
    """JSON to Python and back for one table."""

    __slots__ = ("_key_types", "_to_json", "digest", "spec")

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self.digest = schema_digest(spec)
        self._key_types = [(name, spec.types[name]) for name in spec.key_names]
        self._to_json = [
            (name, cql_type.to_json) for name, cql_type in spec.types.items() if str(cql_type) not in SAME_IN_JSON
        ]

    def row_to_json(self, row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The row with every value in JSON form; the mapping itself if there is nothing to do."""
        if row is None or not self._to_json:
            return row
        converted = dict(row)
        for name, to_json in self._to_json:
            value = converted.get(name)
            if value is not None:
                converted[name] = to_json(value)
        return converted

    def columns_from_json(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Column values out of a body; null stays None. BadRequest or UnknownKey names the column."""
        types = self.spec.types
        converted: dict[str, Any] = {}
        for name, value in columns.items():
            cql_type = types.get(name)
            if cql_type is None:
                raise UnknownKey(
                    f"table {self.spec.keyspace}.{self.spec.name} has no column {shown(name)}", column=shown(name)
                )
            converted[name] = None if value is None else _from_json(cql_type, value, name)
        return converted

    def key_from_path(self, segments: Sequence[bytes]) -> dict[str, Any]:
        """The primary key out of percent-encoded path segments, in the order of the key's columns."""
        if len(segments) != len(self._key_types):
            raise BadRequest(
                f"the primary key of {self.spec.keyspace}.{self.spec.name} is ({', '.join(self.spec.key_names)}): "
                f"the path names {len(segments)} of {len(self._key_types)} values"
            )
        key: dict[str, Any] = {}
        for (name, cql_type), segment in zip(self._key_types, segments, strict=True):
            key[name] = _from_text(cql_type, decode_segment(segment), name)
        return key

    def lock_key_from_texts(self, texts: Sequence[str]) -> dict[str, Any]:
        """A lock key out of texts: the lock columns in order, and as many more of the primary key as are given."""
        names = self.spec.locked_names if len(texts) == len(self.spec.locked_names) else self.spec.key_names
        if not len(self.spec.locked_names) <= len(texts) <= len(names):
            raise BadRequest(
                f"locks of {self.spec.keyspace}.{self.spec.name} are on ({', '.join(self.spec.locked_names)}): "
                f"the key names {len(texts)} values"
            )
        types = self.spec.types
        return {name: _from_text(types[name], text, name) for name, text in zip(names, texts, strict=False)}

    def conditions(self, triples: Sequence[tuple[str, api.Comparison, Any]]) -> list[api.Condition]:
        """Conditions out of [column, comparison, value]."""
        return [self._condition(column, comparison, value) for column, comparison, value in triples]

    def _condition(self, column: str, comparison: api.Comparison, value: Any) -> api.Condition:
        cql_type = self.spec.types.get(column)
        if cql_type is None:
            raise UnknownKey(
                f"table {self.spec.keyspace}.{self.spec.name} has no column {shown(column)}", column=shown(column)
            )
        if comparison == "in":
            if not isinstance(value, list):
                raise BadRequest(f"{column}: the comparison in takes a list of values")
            return api.Condition(
                column=column, comparison=comparison, value=[self._operand(cql_type, item, column) for item in value]
            )
        return api.Condition(column=column, comparison=comparison, value=self._operand(cql_type, value, column))

    @staticmethod
    def _operand(cql_type: CqlType, value: Any, column: str) -> Any:
        if value is None:
            raise BadRequest(f"{column}: nothing compares with null")
        return _from_json(cql_type, value, column)


class Codecs:
    """The codec of each table spec in use; a changed spec has another one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Codec] = {}

    def of(self, spec: TableSpec) -> Codec:
        name = (spec.keyspace, spec.name)
        known = self._known.get(name)
        if known is not None and (known.spec is spec or known.spec == spec):
            return known
        if len(self._known) >= _CODECS_MAX:
            self._known.clear()
        codec = self._known[name] = Codec(spec)
        return codec


def schema_digest(spec: TableSpec) -> bytes:
    """Sixteen hexadecimal digits that differ whenever the spec does; a client compares them, nothing else."""
    return hashlib.blake2b(msgspec.json.encode(spec), digest_size=8).hexdigest().encode()


def decode_segment(segment: bytes) -> str:
    """A percent-encoded path segment as text; refused if the encoding is broken or no UTF-8 comes out."""
    if b"%" in segment:
        if _BAD_ESCAPE.search(segment):
            raise refuse("the path has a % that two hexadecimal digits do not follow")
        segment = unquote_to_bytes(segment)
    try:
        return segment.decode()
    except UnicodeDecodeError:
        raise refuse("the path is not UTF-8") from None


def shown(name: str) -> str:
    """A name that came from outside, fit for a message: only a plausible name is repeated, and not at any length."""
    return name if len(name) <= 64 and name.isprintable() else f"({len(name)} characters)"


def _from_json(cql_type: CqlType, value: Any, column: str) -> Any:
    try:
        return cql_type.from_json(value)
    except BadRequest as error:
        raise type(error)(f"{column}: {error.message}", column=column, **error.attributes) from None


def _from_text(cql_type: CqlType, text: str, column: str) -> Any:
    try:
        return cql_type.from_text(text)
    except BadRequest as error:
        raise type(error)(f"{column}: {error.message}", column=column, **error.attributes) from None
