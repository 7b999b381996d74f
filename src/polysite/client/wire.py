"""What goes over the wire, without the network: targets, bodies and answers as functions of values.

Column values travel as the JSON of their CQL type, so everything with a row in it needs the table's spec.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from polysite.api import Columns, Condition, RangeDelete, RowDelete, RowExpectation, RowGet, RowPut, RowWrite, Step
from polysite.client.transport import Response
from polysite.errors import BadRequest, OutcomeUnknown, PolysiteError, from_code
from polysite.values.tables import TableSpec

SCHEMA_HEADER = "polysite-schema"
LOCK_HEADER = "polysite-lock"
IDEMPOTENCY_HEADER = "idempotency-key"
ROUND_TRIPS_HEADER = "polysite-round-trips"

PATH_BYTES_MAX = 2048
"""Keys whose percent-encoded form is longer go into the body of a POST: proxies cut long paths."""

_PROBLEM_MEMBERS = frozenset(
    {"type", "title", "status", "detail", "instance", "code", "outcome", "retry", "attributes"}
)

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """JSON as bytes."""
    return _encoder.encode(value)


def decode(response: Response) -> Any:
    """The JSON of an answer; OutcomeUnknown if it is none: the server did something and did not say what."""
    try:
        return _decoder.decode(response.body) if response.body else {}
    except msgspec.DecodeError:
        raise OutcomeUnknown("the answer is not JSON: is this a polysite server?", reason="not_json") from None


def segment(text: str) -> str:
    """`text` as one path segment."""
    return quote(text, safe="")


def table_target(keyspace: str, table: str) -> str:
    return f"/v3/keyspaces/{segment(keyspace)}/tables/{segment(table)}"


def query(**parameters: Any) -> str:
    """`?a=b…` of the parameters that are not None and not False; the empty text if there are none."""
    chosen = {
        name: "1" if value is True else str(value) for name, value in parameters.items() if value not in (None, False)
    }
    return f"?{urlencode(chosen)}" if chosen else ""


def key_path(spec: TableSpec, key: Mapping[str, Any]) -> str | None:
    """The key's columns as path segments; None if a path cannot carry this key (empty, `.`, `..`, long, not a primary key).

    Such keys travel in the body: clients, proxies and servers all take `.` and empty segments out of paths.
    """
    if key.keys() != set(spec.key_names):
        return None
    segments: list[str] = []
    for name in spec.key_names:
        value = key[name]
        text = None if value is None else spec.types[name].to_text(value)
        if not text or text in {".", ".."}:
            return None
        try:
            segments.append(segment(text))
        except UnicodeEncodeError:
            return None
    path = "/".join(segments)
    return path if len(path) <= PATH_BYTES_MAX else None


def columns_to_json(spec: TableSpec, columns: Columns) -> dict[str, Any]:
    """Columns by name, each in the JSON of its type; None stays null."""
    return {name: None if value is None else spec.type_of(name).to_json(value) for name, value in columns.items()}


def row_from_json(spec: TableSpec, row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Inverse of `columns_to_json`; columns the spec does not know are left as they came."""
    if row is None:
        return None
    types = spec.types
    return {
        name: value if value is None or name not in types else types[name].from_json(value)
        for name, value in row.items()
    }


def condition_to_json(spec: TableSpec, condition: Condition) -> list[Any]:
    """[column, comparison, value]; `in` has a list of values."""
    kind = spec.type_of(condition.column)
    value = condition.value
    if condition.comparison == "in":
        if not isinstance(value, list | tuple | set | frozenset):
            raise BadRequest(f"the value of `in` for {condition.column} is a list")
        return [condition.column, "in", [kind.to_json(item) for item in value]]
    if value is None:
        raise BadRequest(f"the condition on {condition.column} needs a value")
    return [condition.column, condition.comparison, kind.to_json(value)]


def write_to_json(spec: TableSpec, write: RowWrite) -> dict[str, Any]:
    """One write of a batch or step of a section."""
    if isinstance(write, RangeDelete):
        return {"op": "delete_range", "where": [condition_to_json(spec, item) for item in write.where]}
    out: dict[str, Any] = {"op": "delete" if isinstance(write, RowDelete) else "put"}
    if write.key is not None:
        out["key"] = columns_to_json(spec, write.key)
    if isinstance(write, RowPut):
        out["columns"] = columns_to_json(spec, write.columns)
        if write.expires_ms is not None:
            out["expires_ms"] = write.expires_ms
    return out


def expectation_to_json(spec: TableSpec, expectation: RowExpectation) -> dict[str, Any]:
    out: dict[str, Any] = {"op": "expect"}
    if expectation.key is not None:
        out["key"] = columns_to_json(spec, expectation.key)
    if expectation.exists is not None:
        out["exists"] = expectation.exists
    if expectation.equals:
        out["equals"] = columns_to_json(spec, expectation.equals)
    return out


def step_to_json(spec: TableSpec, step: Step) -> dict[str, Any]:
    if isinstance(step, RowExpectation):
        return expectation_to_json(spec, step)
    if isinstance(step, RowGet):
        return {"op": "get"} if step.key is None else {"op": "get", "key": columns_to_json(spec, step.key)}
    return write_to_json(spec, step)


def table_to_json(spec: TableSpec) -> dict[str, Any]:
    """A table's spec without its names, which stand in the target."""
    built: dict[str, Any] = msgspec.to_builtins(spec)
    return {name: value for name, value in built.items() if name not in {"keyspace", "name"}}


def problem(response: Response) -> PolysiteError:
    """The error that an answer with an error status tells.

    Whatever does not carry our code (a proxy's page, another server's answer) says nothing about what happened.
    """
    members: Any = None
    try:
        members = _decoder.decode(response.body) if response.body else None
    except msgspec.DecodeError:
        members = None
    if not isinstance(members, dict) or not isinstance(members.get("code"), str):
        return OutcomeUnknown(
            f"the server answered with status {response.status} and without a code of ours", reason="foreign_answer"
        )
    attributes = {name: value for name, value in members.items() if name not in _PROBLEM_MEMBERS}
    if isinstance(members.get("attributes"), dict):
        attributes.update(members["attributes"])
    attributes = {name: value for name, value in attributes.items() if name not in {"code", "message"}}
    message = str(members.get("detail") or members.get("title") or members["code"])
    return from_code(members["code"], message, attributes)


def rows_from_json(spec: TableSpec, rows: Iterable[Mapping[str, Any] | None]) -> list[dict[str, Any] | None]:
    return [row_from_json(spec, row) for row in rows]


def parse(data: bytes) -> Any:
    """JSON of a server-sent event; OutcomeUnknown if it is none."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        raise OutcomeUnknown("an event is not JSON: is this a polysite server?", reason="not_json") from None
