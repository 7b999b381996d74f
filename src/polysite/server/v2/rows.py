"""Rows: insert, update, delete, select, and the read under a lock."""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from polysite import api
from polysite.api import Condition, KeyName, RowDelete, RowExpectation, RowGet, RowPut, Step
from polysite.errors import (
    AcquireTimeout,
    BadRequest,
    CompareFailed,
    LockLost,
    NotHolder,
    PolysiteError,
    Unavailable,
    UnknownKey,
)
from polysite.server.exchange import Reply, Stream
from polysite.server.v2.accounts import require_read
from polysite.server.v2.bodies import Body, needed
from polysite.server.v2.call import Call
from polysite.server.v2.columns import to_blob, to_column, to_json
from polysite.server.v2.envelope import (
    INCOMPLETE,
    MISSING_INPUT,
    Failure,
    failure_of,
    rows_found,
    rows_streamed,
    success,
)
from polysite.server.v2.levels import Wanted, wanted_read, wanted_write
from polysite.server.v2.names import VECTOR, fold, parse_lock_id
from polysite.server.v2.tickets import FoundLock, find_lock, owner_text
from polysite.values.tables import TableSpec

PATH_EMPTY = "one or more path parameters are not set, please check and try again"
NO_WHERE = "Mandatory WHERE clause is missing. Please check the input request."
NOTHING_TO_INSERT = "Nothing to insert. No values provided in request."
GET_ERROR = "Execute Get Error"
QUERY_EXCEPTION = "Query Exception: "
PERFORMED, EVENTUALLY = "Update performed", "Eventual Operation Successfully performed"
PAGE_ROWS = 1_000
_CONDITION = "Exception thrown while checking the condition, check its sanctity:\n"
_LIFE_S_MAX = 630_720_000  # twenty years, Cassandra's own bound


class Options(NamedTuple):
    """What a write may say beside its columns. `stamp`: the `timestamp` of the request, for writes without a lock; those under
    one are ordered by it, whatever they say."""

    expires_ms: int | None
    stamp: int | None


async def insert(call: Call) -> Reply:
    """Write the columns; the row exists afterwards."""
    keyspace, table = _path(call)
    body = needed(await call.body())
    values, objects = body.mapping("values"), body.mapping("objectMap") or {}
    if values is None:
        raise Failure(NOTHING_TO_INSERT)
    wanted = wanted_write(body)
    spec = await call.table(keyspace, table)
    if spec is None:
        raise await _no_table(call, keyspace, "Table name doesn't exists. Please check the table name.")
    columns = columns_of(spec, values, objects)
    first = spec.partition_key[0]
    if columns.get(first) in (None, ""):
        raise Failure(f"Some required partition key parts are missing: {first}")
    _need_key(spec, {name for name in spec.key_names if columns.get(name) is not None})
    key = {name: columns.pop(name) for name in spec.key_names}
    row = KeyName(keyspace=spec.keyspace, table=spec.name, key=key)
    options = _options(body)
    write = RowPut(columns=columns, key=key, expires_ms=options.expires_ms)
    trips = await _write(call, spec, row, write, wanted, options.stamp, {})
    return success(message="Insert Successful", round_trips=trips)


async def update(call: Call) -> Reply:
    """Write columns of the row that the query names."""
    keyspace, table = _path(call)
    body = needed(await call.body())
    wanted = wanted_write(body)
    values = body.mapping("values")
    if not values and not body.mapping("objectMap"):
        raise Failure(f"There is nothing to update: values is missing or empty. {MISSING_INPUT}")
    spec = await table_of_row(call, keyspace, table)
    row = _row_named(call, spec)
    columns = columns_of(spec, values or {}, body.mapping("objectMap") or {})
    for name in columns:
        if name in spec.key_names:
            raise Failure(f"{QUERY_EXCEPTION}PRIMARY KEY part {name} found in SET part")
    options = _options(body)
    write = RowPut(columns=columns, key=row.key, expires_ms=options.expires_ms)
    trips = await _write(call, spec, row, write, wanted, options.stamp, body.mapping("conditions") or {})
    return success(message=EVENTUALLY if wanted.kind == "eventual" else PERFORMED, round_trips=trips)


async def delete(call: Call) -> Reply:
    """Delete the row that the query names, or some columns of it. No `columns`, or none in it, is the whole row."""
    keyspace, table = _path(call)
    body = needed(await call.body())
    wanted = wanted_write(body)
    spec = await table_of_row(call, keyspace, table)
    row = _row_named(call, spec)
    names = [column_of(spec, name) for name in body.texts("columns") or []]
    for name in names:
        if name in spec.key_names:
            raise Failure(f"{QUERY_EXCEPTION}Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)")
    write = RowPut(columns=dict.fromkeys(names), key=row.key) if names else RowDelete(key=row.key)
    trips = await _write(call, spec, row, write, wanted, None, body.mapping("conditions") or {})
    return success(message=EVENTUALLY if wanted.kind == "eventual" else PERFORMED, round_trips=trips)


async def select(call: Call) -> Reply | Stream:
    """Every row that has the values in the query; with the headers 1 and 0 and a body it is a read under a lock."""
    keyspace, table = _path(call)
    body = await call.body()
    minor, patch = call.header(b"x-minorversion"), call.header(b"x-patchversion")
    if minor is not None and patch is not None and (_whole(minor), _whole(patch)) == (1, 0) and body is not None:
        info = body.mapping("consistencyInfo")
        if info is None:
            raise Failure(f"consistencyInfo is missing. {MISSING_INPUT}")
        if info:
            return await _locked_read(call, keyspace, table, body)
    filtered = bool(call.query)
    try:
        spec = await call.table(keyspace, table)
    except Unavailable as error:
        raise failure_of(error, before=GET_ERROR) from None
    if spec is None:
        if filtered and await call.has_keyspace(keyspace):
            raise Failure(f"Table information not found. Please check input for table name= {keyspace}.{table}")
        reason = (
            f"unconfigured table {table}"
            if await call.has_keyspace(keyspace)
            else f"Keyspace {keyspace} does not exist"
        )
        raise Failure(GET_ERROR + reason)
    return await select_rows(call, spec)


async def select_rows(call: Call, spec: TableSpec, *, first_only: bool = False) -> Reply | Stream:
    """The rows of an eventual select, streamed if they are more than a page; `first_only`: at most one."""
    where, also = _conditions(call, spec)
    trips = 0.0

    async def page(cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        nonlocal trips
        limit = 1 if first_only and not also else PAGE_ROWS
        answer = await call.coordinator.select(spec.keyspace, spec.name, where=where, limit=limit, cursor=cursor)
        trips += answer.round_trips
        found = [row for row in answer.rows if all(row.get(name) == value for name, value in also.items())]
        return [to_json(spec, row) for row in found], answer.cursor

    try:
        rows, cursor = await page(None)
        while cursor is not None and first_only and not rows:
            rows, cursor = await page(cursor)
    except PolysiteError as error:
        raise failure_of(error, before=GET_ERROR) from None
    if cursor is None or first_only:
        return rows_found(rows[:1] if first_only else rows, round_trips=trips, says_none=not first_only)
    return rows_streamed(rows, cursor, page, enveloped=call.enveloped)


async def critical_get(call: Call) -> Reply:
    """The row that the query names, read under a lock."""
    keyspace, table = _path(call)
    body = needed(await call.body(), more=" Missing Body or Consistency type.")
    if body.raw("consistencyInfo") == {}:
        raise Failure(f"{INCOMPLETE} Missing Body or Consistency type.")
    return await _locked_read(call, keyspace, table, body)


async def _locked_read(call: Call, keyspace: str, table: str, body: Body) -> Reply:
    wanted = wanted_read(body)
    if not call.query:
        raise Failure("Missing Row Identifier. Please provide the parameter of key=value for the row being selected.")
    spec = await table_of_row(call, keyspace, table)
    row = _row_named(call, spec, whole=False)
    before = f"Cannot perform critical get for key: {_key_text(call, spec)} : "
    if wanted.kind == "critical":
        found = await _lock_for(call, spec, row, wanted.lock_id or "", reads=True, before=before)
        reference: str | None = found.ticket.reference
        trips = found.ticket.round_trips
    else:
        reference, trips = None, 0.0
    try:
        if set(row.key) == set(spec.key_names):
            answer = await _get(call, row, wanted, reference)
            rows = [] if answer.row is None else [answer.row]
            trips += answer.round_trips
        else:
            where = [Condition(column=name, comparison="eq", value=value) for name, value in row.key.items()]
            rows = []
            cursor: str | None = None
            while True:
                page = await call.coordinator.select(
                    spec.keyspace,
                    spec.name,
                    where=where,
                    level=wanted.level,
                    reference=reference,
                    limit=PAGE_ROWS,
                    cursor=cursor,
                )
                rows.extend(page.rows)
                trips += page.round_trips
                cursor = page.cursor
                if cursor is None:
                    break
    except AcquireTimeout as error:
        raise _contended(call, spec, row, error) from None
    except NotHolder as error:
        raise Failure(f"{wanted.lock_id} is not the lock holder", cause=error) from None
    except LockLost as error:
        raise failure_of(error, before=f"{before}No Lock Object. ") from None
    except PolysiteError as error:
        raise failure_of(error, before=before) from None
    return rows_found([to_json(spec, found_row) for found_row in rows], round_trips=trips)


async def _get(call: Call, row: KeyName, wanted: Wanted, reference: str | None) -> api.RowAnswer:
    if wanted.kind == "critical":
        return await call.coordinator.get(row, level="critical", reference=reference)
    answer = await _section(call, row, [RowGet()])
    return api.RowAnswer(row=answer.results[0], round_trips=answer.round_trips)


async def _section(call: Call, row: KeyName, steps: list[Step]) -> api.SectionAnswer:
    return await call.coordinator.section(
        row, steps, wait_ms=call.settings.atomic_wait_ms, lease_ms=call.atomic_lease_ms, owner=owner_text(call, None)
    )


async def _write(
    call: Call,
    spec: TableSpec,
    row: KeyName,
    write: RowPut | RowDelete,
    wanted: Wanted,
    stamp: int | None,
    conditions: Mapping[str, Any],
) -> float:
    """Carry a write out as it was asked for; the round trips."""
    if wanted.kind == "eventual":
        try:
            if stamp is not None:
                return (await call.keeper.write_at(row, write, stamp, quorum=wanted.level == "quorum")).round_trips
            if isinstance(write, RowDelete):
                return (await call.coordinator.delete(row, level=wanted.level)).round_trips
            answer = await call.coordinator.put(row, write.columns, level=wanted.level, expires_ms=write.expires_ms)
        except AcquireTimeout as error:
            raise _contended(call, spec, row, error) from None
        except PolysiteError as error:
            raise failure_of(error, before=QUERY_EXCEPTION) from None
        return answer.round_trips
    if conditions:
        require_read(call.exchange.principal, spec.keyspace)
    expected = _expected(spec, conditions)
    if wanted.kind == "critical":
        return await _critical_write(call, spec, row, write, wanted.lock_id or "", expected)
    steps: list[Step] = [RowExpectation(equals=expected)] if expected else []
    try:
        done = await _section(call, row, [*steps, write])
    except AcquireTimeout as error:
        raise _contended(call, spec, row, error) from None
    except CompareFailed as error:
        raise _condition_failed(error.attributes.get("rows") or [None], error) from None
    except PolysiteError as error:
        raise failure_of(error, before="Exception thrown while doing the critical put: ") from None
    return done.round_trips


async def _critical_write(
    call: Call, spec: TableSpec, row: KeyName, write: RowPut | RowDelete, lock_id: str, expected: Mapping[str, Any]
) -> float:
    found = await _lock_for(call, spec, row, lock_id, reads=False, before="")
    reference, trips = found.ticket.reference, found.ticket.round_trips
    try:
        if expected:
            read = await call.coordinator.get(row, level="critical", reference=reference)
            trips += read.round_trips
            if read.row is None or any(read.row.get(name) != value for name, value in expected.items()):
                raise _condition_failed([read.row], None)
        if isinstance(write, RowDelete):
            answer = await call.coordinator.delete(row, level="critical", reference=reference)
        else:
            answer = await call.coordinator.put(
                row, write.columns, level="critical", reference=reference, expires_ms=write.expires_ms
            )
    except NotHolder as error:
        raise Failure(f"{lock_id} is not the lock holder", cause=error) from None
    except LockLost as error:
        raise Failure(f"{lock_id} does not exist.", cause=error) from None
    except PolysiteError as error:
        raise failure_of(error, before="Exception thrown while doing the critical put: ") from None
    return trips + answer.round_trips


async def _lock_for(call: Call, spec: TableSpec, row: KeyName, text: str, *, reads: bool, before: str) -> FoundLock:
    """The lock of a critical operation, which must be of that row's key. A reader may read; writes take an exclusive lock."""
    lock_id = parse_lock_id(text)
    key_text = _key_text(call, spec, row)
    not_the_same = (
        f"{before}Lock value '{lock_id.name.key}' and key value '{key_text}' {'do ' if reads else ''}not match. "
    )
    found: FoundLock | None = None
    named = fold(lock_id.name.keyspace, "keyspace"), fold(lock_id.name.table, "table")
    if named == (spec.keyspace, spec.name):
        # A lock of any other table is not looked for: the caller may have no right to know of it.
        with contextlib.suppress(UnknownKey):
            found = await find_lock(call, text)
    if found is not None:
        (column,) = spec.locked_names
        if found.key.key[column] != row.key[column]:
            raise Failure(f"{not_the_same}Please check your values: {text} .")
    elif lock_id.name.key != key_text:
        raise Failure(f"{not_the_same}Please check your values: {text} .")
    if found is None:
        if reads:
            raise Failure(f"{before}No Lock Object. Please check if lock name or key is correct.{text} .")
        raise Failure(f"{text} does not exist.")
    if not found.ticket.held:
        # Its site may know of a grant that this view does not show yet.
        answer = await call.coordinator.wait(found.ticket.reference, wait_ms=0)
        if not answer.held:
            raise Failure(f"{text} is not the lock holder")
    if not reads and found.ticket.kind != "exclusive":
        answer = await call.coordinator.renew(found.ticket.reference)
        if answer.kind != "exclusive":
            raise Failure(f"Attempting to do write operation, but {text} is a read lock")
    return found


# parts


def _path(call: Call) -> tuple[str, str]:
    keyspace, table = call.names[:2]
    if not keyspace or not table:
        raise Failure(PATH_EMPTY)
    return keyspace, table


async def _no_table(call: Call, keyspace: str, text: str) -> Failure:
    """The failure of an operation on a table that is not there."""
    if await call.has_keyspace(keyspace):
        return Failure(text)
    return Failure(f"Keyspace {keyspace} does not exist")


async def table_of_row(call: Call, keyspace: str, table: str) -> TableSpec:
    """The table of a row; Failure if there is none."""
    spec = await call.table(keyspace, table)
    if spec is None:
        text = f"Table information not found. Please check input for table name= {keyspace}.{table}"
        raise await _no_table(call, keyspace, text)
    return spec


def column_of(spec: TableSpec, name: str) -> str:
    """The column that a name of a request means; Failure if there is none."""
    folded = name.lower() if name.isascii() else name
    if folded == VECTOR or folded not in spec.types:
        raise Failure(f"Invalid column name : {name[:64]}")
    return folded


def columns_of(spec: TableSpec, values: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """Folded column names to Python values, of `values` and of `objectMap`."""
    columns: dict[str, Any] = {}
    for given, convert in ((values, to_column), (objects, to_blob)):
        for name, value in given.items():
            column = column_of(spec, name)
            if column in columns:
                raise Failure(f"the column {column} is named twice")
            columns[column] = convert(spec.types[column], value, column)
    return columns


def _row_named(call: Call, spec: TableSpec, *, whole: bool = True) -> KeyName:
    """The row that the query names by equalities on key columns; `whole`: all of them."""
    key: dict[str, Any] = {}
    first = spec.partition_key[0]
    named = {name.lower(): value for name, value in reversed(list(call.query.items()))}
    if not named.get(first):
        raise Failure(NO_WHERE)
    for name, text in named.items():
        if name not in spec.types:
            raise Failure(f"{QUERY_EXCEPTION}Undefined column name {name[:64]}")
        if name not in spec.key_names:
            raise Failure(f"{QUERY_EXCEPTION}Non PRIMARY KEY columns found in where clause: {name} ")
        key[name] = to_column(spec.types[name], text, name)
    _need_key(spec, set(key), whole=whole)
    return KeyName(keyspace=spec.keyspace, table=spec.name, key=key)


def _need_key(spec: TableSpec, named: set[str], *, whole: bool = True) -> None:
    """Failure if a key column is not among the named ones; `whole`: the clustering columns too."""
    kinds = [
        ("partition key parts", spec.partition_key),
        *([("clustering keys", spec.clustering_names)] if whole else []),
    ]
    for kind, names in kinds:
        missing = [name for name in names if name not in named]
        if missing:
            raise Failure(f"{QUERY_EXCEPTION}Some {kind} are missing: {', '.join(missing)}")


def _key_text(call: Call, spec: TableSpec, row: KeyName | None = None) -> str:
    """The text of the first key column: as the query has it, else of the value."""
    first = spec.partition_key[0]
    for name, text in call.query.items():
        if name.lower() == first:
            return text
    return "" if row is None else spec.types[first].to_text(row.key[first])


def _contended(call: Call, spec: TableSpec, row: KeyName, error: PolysiteError) -> Failure:
    """Somebody else holds the key, or waits for it."""
    text = f"Unable to create lock reference for key [{_key_text(call, spec, row)}]. Please try again."
    return Failure(text, cause=error)


def _expected(spec: TableSpec, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What the columns of the row must hold."""
    for name in conditions:
        if name.lower() not in spec.types:
            raise Failure(f"{_CONDITION}{name[:64]} is not a column defined in this metadata")
    return {name.lower(): to_column(spec.types[name.lower()], value, name) for name, value in conditions.items()}


def _conditions(call: Call, spec: TableSpec) -> tuple[list[Condition], dict[str, Any]]:
    """What a select asks the store for, and indexed columns beside a whole partition that are looked at afterwards."""
    values: dict[str, Any] = {}
    for given, text in call.query.items():
        name = given.lower()
        if name not in spec.types:
            raise Failure(f"{GET_ERROR}Undefined column name {given[:64]}")
        if name in values:
            continue
        if not text and name in spec.partition_key and len(spec.partition_key) == 1:
            raise Failure(f"{GET_ERROR}Key may not be empty")
        values[name] = to_column(spec.types[name], text, name)
    also: dict[str, Any] = {}
    if all(name in values for name in spec.partition_key):
        also = {
            name: values.pop(name)
            for name in list(values)
            if name in spec.index_by_column and name not in spec.key_names
        }
    return [Condition(column=name, comparison="eq", value=value) for name, value in values.items()], also


def _options(body: Body) -> Options:
    stamp = body.whole_number("timestamp")
    life_s = body.whole_number("ttl")
    if life_s is not None and not 0 <= life_s <= _LIFE_S_MAX:
        raise BadRequest(f"ttl is from 0 (none) to {_LIFE_S_MAX} seconds")
    return Options(life_s * 1_000 if life_s else None, stamp)


def _condition_failed(rows: list[Mapping[str, Any] | None], cause: PolysiteError | None) -> Failure:
    if not rows or rows[0] is None:
        return Failure(f"{_CONDITION} No data found to update", cause=cause)
    return Failure("Lock acquired but the condition is not true", cause=cause)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Failure(f'For input string: "{text[:64]}"') from None
