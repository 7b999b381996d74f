"""The conditional interface: an entry in a map column, whose value is a JSON text, changed under the row's lock."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from polysite.api import KeyName
from polysite.errors import AcquireTimeout, PolysiteError
from polysite.server.exchange import Reply
from polysite.server.v2.bodies import Body, needed
from polysite.server.v2.call import Call
from polysite.server.v2.columns import to_column
from polysite.server.v2.envelope import MISSING_INPUT, Failure, success, told
from polysite.server.v2.names import fold
from polysite.server.v2.rows import column_of, columns_of, table_of_row
from polysite.server.v2.tickets import owner_text
from polysite.values.types import parse_type

MISSING = "One or more input values missing"
_TEXT_MAP = parse_type("map<text, text>")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Asked(NamedTuple):
    """What both operations name: the row, the map column, the entry, and what goes into it."""

    row: KeyName
    column: str
    entry: str
    value: Mapping[str, Any]
    columns: dict[str, Any]


async def insert(call: Call) -> Reply:
    """A row that is absent is made with the entry; of one that is there only the entry is changed."""
    body = needed(await call.body())
    conditions = Body(_object(body, "conditions"))
    absent = Body(_object(conditions, "nonexists")).text("status")
    present = Body(_object(conditions, "exists")).text("status")
    asked = await _asked(call, body, needs_columns=True)

    def change(row: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
        status = absent if row is None else present
        entry = _encode({**asked.value, "status": status}).decode()
        if row is None:
            return {**asked.columns, asked.column: {asked.entry: entry}}, "Insert values: "
        return {asked.column: {**(row.get(asked.column) or {}), asked.entry: entry}}, f"Update values: {entry}"

    return await _under_lock(call, asked, change)


async def update(call: Call) -> Reply:
    """Members of the entry's object that are there already get the new values; then `tableValues` are written."""
    body = needed(await call.body())
    asked = await _asked(call, body, needs_columns=False)

    def change(row: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
        if row is None:
            raise _failed(f"Cannot find data related to key: {asked_name}")
        entries = dict(row.get(asked.column) or {})
        before = _object_in(entries.get(asked.entry))
        merged = {name: asked.value.get(name, member) for name, member in before.items()}
        entries[asked.entry] = _encode(merged).decode()
        return {**asked.columns, asked.column: entries}, "update success"

    asked_name = body.text("primaryKey")
    return await _under_lock(call, asked, change)


async def _under_lock(call: Call, asked: Asked, change: Any) -> Reply:
    """Read the row under its lock, write what `change` makes of it, and let go."""
    coordinator = call.coordinator
    trips = 0.0
    try:
        lock = await coordinator.acquire(
            [asked.row],
            wait_ms=call.settings.atomic_wait_ms,
            lease_ms=call.atomic_lease_ms,
            owner=owner_text(call, None),
            read=True,
        )
        trips += lock.round_trips
        try:
            if not lock.held:
                raise AcquireTimeout("the lock was not granted within the wait")
            assert lock.rows is not None
            columns, message = change(lock.rows[0])
            written = await coordinator.put(asked.row, columns, level="critical", reference=lock.reference)
            trips += written.round_trips
        finally:
            await coordinator.release(lock.reference, validate=False)
    except PolysiteError as error:
        raise _failed(told(error), error) from None
    return success(message=message, round_trips=trips)


async def _asked(call: Call, body: Body, *, needs_columns: bool) -> Asked:
    keyspace, table = call.names
    key_column, key_text = body.text("primaryKey"), body.text("primaryKeyValue")
    column, data = body.text("casscadeColumnName"), Body(_object(body, "casscadeColumnData"))
    entry, value = data.text("key"), data.mapping("value")
    given = body.mapping("tableValues")
    if not (key_column and key_text and column and entry) or value is None or (needs_columns and not given):
        raise Failure(MISSING)
    if given is None:
        raise Failure(f"tableValues is missing. {MISSING_INPUT}")
    spec = await table_of_row(call, keyspace, table)
    (locked,) = spec.locked_names if len(spec.key_names) == 1 else ("",)
    if fold(key_column, "column") != locked:
        raise Failure("primaryKey names the table's key column, which must be its only one")
    cascade = column_of(spec, column)
    if spec.types[cascade] != _TEXT_MAP:
        raise Failure("casscadeColumnName names a column of type map<text, text>")
    columns = columns_of(spec, given, {})
    key = to_column(spec.types[locked], key_text, locked)
    if locked not in columns or columns.pop(locked) != key:
        raise Failure("tableValues names the key column with the value of primaryKeyValue")
    row = KeyName(keyspace=spec.keyspace, table=spec.name, key={locked: key})
    return Asked(row, cascade, entry, value, columns)


def _object(body: Body, name: str) -> dict[str, Any]:
    members = body.mapping(name)
    if members is None:
        raise Failure(f"{name} is missing. {MISSING_INPUT}")
    return members


def _object_in(text: str | None) -> dict[str, Any]:
    """The JSON object that an entry holds; nothing, or anything else, counts as an empty one."""
    try:
        value = _decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _failed(reason: str, cause: PolysiteError | None = None) -> Failure:
    """Both the place where today's clients look (message) and the one where all other failures are told (error)."""
    return Failure(reason, message=reason, cause=cause)
