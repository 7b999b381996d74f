"""Rows: get, put, delete, select, batch."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from polysite import api
from polysite.errors import BadRequest
from polysite.server import wire
from polysite.server.convert import Codec
from polysite.server.exchange import (
    Exchange,
    Reply,
    Stream,
    check_level,
    decode_json,
    query_flag,
    query_int,
    reply_json,
)
from polysite.server.members import check_members
from polysite.server.routes import _common
from polysite.server.routes._common import one_reference, row_headers
from polysite.server.routing import Parameter, Route
from polysite.server.service import Service

NDJSON = b"application/x-ndjson"

_put_decoder = msgspec.json.Decoder(wire.PutBody)
_row_get_decoder = msgspec.json.Decoder(wire.RowGetBody)
_row_put_decoder = msgspec.json.Decoder(wire.RowPutBody)
_row_delete_decoder = msgspec.json.Decoder(wire.RowDeleteBody)
_select_decoder = msgspec.json.Decoder(wire.SelectBody)
_batch_decoder = msgspec.json.Decoder(wire.BatchBody)
_where_decoder = msgspec.json.Decoder(list[wire.Triple])
_encode = msgspec.json.Encoder().encode


async def get_row(service: Service, exchange: Exchange) -> Reply:
    codec = await service.table_in_path(exchange)
    return await _get(service, exchange, codec, codec.key_from_path(exchange.rest))


async def post_row_get(service: Service, exchange: Exchange) -> Reply:
    codec = await service.table_in_path(exchange)
    body = await exchange.body(_row_get_decoder)
    return await _get(service, exchange, codec, codec.columns_from_json(body.key))


async def put_row(service: Service, exchange: Exchange) -> Reply:
    body = await exchange.body(_put_decoder)
    codec = await service.table_in_path(exchange)
    return await _put(service, exchange, codec, codec.key_from_path(exchange.rest), body)


async def post_row_put(service: Service, exchange: Exchange) -> Reply:
    body = await exchange.body(_row_put_decoder)
    codec = await service.table_in_path(exchange)
    return await _put(service, exchange, codec, codec.columns_from_json(body.key), body)


async def delete_row(service: Service, exchange: Exchange) -> Reply:
    codec = await service.table_in_path(exchange)
    return await _delete(service, exchange, codec, codec.key_from_path(exchange.rest))


async def post_row_delete(service: Service, exchange: Exchange) -> Reply:
    body = await exchange.body(_row_delete_decoder)
    codec = await service.table_in_path(exchange)
    return await _delete(service, exchange, codec, codec.columns_from_json(body.key))


async def _get(service: Service, exchange: Exchange, codec: Codec, key: dict[str, Any]) -> Reply:
    query = exchange.query("level", "stamps")
    level, reference = _level_and_reference(service, exchange, query)
    answer = await service.coordinator.get(
        api.KeyName(keyspace=codec.spec.keyspace, table=codec.spec.name, key=key),
        level=level,
        reference=reference,
        stamps=query_flag(query, "stamps", default=False),
    )
    shape: dict[str, Any] = {"row": codec.row_to_json(answer.row), "round_trips": answer.round_trips}
    if answer.stamps is not None:
        shape["stamps"] = answer.stamps
    return reply_json(shape, round_trips=answer.round_trips, headers=row_headers(codec))


async def _put(
    service: Service, exchange: Exchange, codec: Codec, key: dict[str, Any], body: wire.PutBody | wire.RowPutBody
) -> Reply:
    level, reference = _level_and_reference(service, exchange, exchange.query("level"))
    answer = await service.coordinator.put(
        api.KeyName(keyspace=codec.spec.keyspace, table=codec.spec.name, key=key),
        codec.columns_from_json(body.columns),
        level=level,
        reference=reference,
        expires_ms=body.expires_ms,
        idempotency_key=exchange.idempotency_key,
    )
    return reply_json(answer, round_trips=answer.round_trips, headers=row_headers(codec))


async def _delete(service: Service, exchange: Exchange, codec: Codec, key: dict[str, Any]) -> Reply:
    level, reference = _level_and_reference(service, exchange, exchange.query("level"))
    answer = await service.coordinator.delete(
        api.KeyName(keyspace=codec.spec.keyspace, table=codec.spec.name, key=key),
        level=level,
        reference=reference,
        idempotency_key=exchange.idempotency_key,
    )
    return reply_json(answer, round_trips=answer.round_trips, headers=row_headers(codec))


def _level_and_reference(
    service: Service,
    exchange: Exchange,
    query: Mapping[str, str],
    *,
    in_body: str | None = None,
    level: api.Level | None = None,
) -> tuple[api.Level, str | None]:
    """The level and the lock reference of a call on rows; they go together or not at all."""
    reference = one_reference(exchange, in_body)
    if level is None:
        level = "critical" if reference is not None and "level" not in query else exchange.level(query)
    if reference is None:
        if level == "critical":
            raise BadRequest("the level critical needs a lock reference in the header Polysite-Lock")
    else:
        exchange.lock = reference
        service.tenures.used(reference)
    return level, reference


async def get_rows(service: Service, exchange: Exchange) -> Reply | Stream:
    codec = await service.table_in_path(exchange)
    query = exchange.query("where", "limit", "cursor", "level")
    where = _where(query["where"]) if "where" in query else []
    limit = query_int(query, "limit", low=1, high=2**53 if _wants_ndjson(exchange) else wire.LIMIT_MAX)
    return await _select(service, exchange, codec, codec.conditions(where), limit=limit, cursor=query.get("cursor"))


def _where(text: str) -> list[wire.Triple]:
    where = decode_json(_where_decoder, text, "where")
    check_members(text.encode(), "where")
    return where


async def post_rows_select(service: Service, exchange: Exchange) -> Reply | Stream:
    body = await exchange.body(_select_decoder)
    codec = await service.table_in_path(exchange)
    exchange.query("level")
    return await _select(service, exchange, codec, codec.conditions(body.where), limit=body.limit, cursor=body.cursor)


async def _select(
    service: Service,
    exchange: Exchange,
    codec: Codec,
    where: Sequence[api.Condition],
    *,
    limit: int | None,
    cursor: str | None,
) -> Reply | Stream:
    if cursor == "":
        cursor = None
    level, reference = _level_and_reference(service, exchange, exchange.query("where", "limit", "cursor", "level"))
    streamed = _wants_ndjson(exchange)

    async def page(rows_max: int, after: str | None) -> api.PageAnswer:
        return await service.coordinator.select(
            codec.spec.keyspace,
            codec.spec.name,
            where=where,
            level=level,
            reference=reference,
            limit=rows_max,
            cursor=after,
        )

    first_max = limit if limit is not None else api.SELECT_LIMIT_DEFAULT
    first = await page(min(first_max, api.SELECT_LIMIT_DEFAULT) if streamed else first_max, cursor)
    if streamed:
        return Stream(NDJSON, _lines(codec, first, limit, page), row_headers(codec))
    shape = {"rows": list(map(codec.row_to_json, first.rows)), "cursor": first.cursor, "round_trips": first.round_trips}
    return reply_json(shape, round_trips=first.round_trips, headers=row_headers(codec))


async def _lines(codec: Codec, answer: api.PageAnswer, left: int | None, page: Any) -> AsyncIterator[bytes]:
    """Every row as a line, page after page, until there is none left or `left` were sent. One page is in memory."""
    while True:
        if answer.rows:
            yield b"".join(_encode(codec.row_to_json(row)) + b"\n" for row in answer.rows)
        if left is not None:
            left -= len(answer.rows)
        if answer.cursor is None or left == 0:
            return
        answer = await page(min(left or api.SELECT_LIMIT_DEFAULT, api.SELECT_LIMIT_DEFAULT), answer.cursor)


def _wants_ndjson(exchange: Exchange) -> bool:
    return NDJSON in exchange.headers.get(b"accept", b"")


async def post_batch(service: Service, exchange: Exchange) -> Reply:
    body = await exchange.body(_batch_decoder)
    codec = await service.table_in_path(exchange)
    if body.expect:
        # An expectation that does not hold is answered with the row found.
        exchange.principal.require("read", codec.spec.keyspace)
    query = exchange.query("level")
    asked = check_level(query["level"]) if "level" in query else None
    if body.level is not None and asked is not None and asked != body.level:
        raise BadRequest("the query and the body name different levels")
    level, reference = _level_and_reference(service, exchange, query, in_body=body.lock, level=body.level)
    answer = await service.coordinator.batch(
        codec.spec.keyspace,
        codec.spec.name,
        [write_from_wire(codec, write, key_needed=True) for write in body.writes],
        level=level,
        reference=reference,
        expect=[expectation_from_wire(codec, expectation) for expectation in body.expect],
        idempotency_key=exchange.idempotency_key,
    )
    return reply_json(answer, round_trips=answer.round_trips, headers=row_headers(codec))


def write_from_wire(
    codec: Codec, write: wire.PutWrite | wire.DeleteWrite | wire.RangeWrite, *, key_needed: bool
) -> api.RowWrite:
    """A write of a batch or section with Python values."""
    if isinstance(write, wire.RangeWrite):
        return api.RangeDelete(where=codec.conditions(write.where))
    if write.key is None and key_needed:
        raise BadRequest("a write of a batch names its key")
    key = None if write.key is None else codec.columns_from_json(write.key)
    if isinstance(write, wire.DeleteWrite):
        return api.RowDelete(key=key)
    return api.RowPut(columns=codec.columns_from_json(write.columns), key=key, expires_ms=write.expires_ms)


def expectation_from_wire(codec: Codec, expectation: wire.Expectation | wire.ExpectStep) -> api.RowExpectation:
    """An expectation with Python values."""
    return api.RowExpectation(
        key=None if expectation.key is None else codec.columns_from_json(expectation.key),
        exists=expectation.exists,
        equals=codec.columns_from_json(expectation.equals),
    )


_ROWS = "/v3/keyspaces/{keyspace}/tables/{table}/rows"
_READ_ERRORS = (*_common.OF_TABLE, *_common.OF_LOCK, *_common.OF_WRITE, "acquire_timeout")
_WRITE_ERRORS = (*_READ_ERRORS, *_common.OF_BODY, *_common.OF_KEY)
_READ = (_common.LEVEL, _common.STAMPS, _common.LOCK_HEADER)
_WRITE = (_common.LEVEL, _common.LOCK_HEADER, _common.IDEMPOTENCY_HEADER)
_WHERE = Parameter(
    name="where",
    schema={"type": "string", "contentMediaType": "application/json", "examples": ['[["voter","eq","ana"]]']},
    about='Conditions as JSON: a list of [column, "eq" | "in" | "lt" | "le" | "gt" | "ge", value].',
)
_LIMIT = Parameter(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": wire.LIMIT_MAX},
    about="Rows in one answer; of NDJSON, rows in all (left out: every row).",
)
_CURSOR = Parameter(name="cursor", schema={"type": "string"}, about="The cursor that the page before answered.")

_LEVEL_OF_WRITES = (
    "A table whose `writes` were left at `sections` takes `?level=atomic` or a lock, and not the default level."
)
_EXAMPLE_ROW = {"count": 3}

ROUTES = [
    Route(
        method="GET", pattern=_ROWS + "/{key...}", name="get_row", right="read", handler=get_row,
        about="A row by its primary key, one path segment per column. A row that is not there is null.",
        parameters=_READ, answers={200: api.RowAnswer}, errors=_READ_ERRORS, path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="PUT", pattern=_ROWS + "/{key...}", name="put_row", right="write", handler=put_row, changes=True,
        about="Write the named columns of a row; the others stay, and the row exists afterwards. " + _LEVEL_OF_WRITES,
        body=wire.PutBody, body_example={"columns": _EXAMPLE_ROW},
        parameters=_WRITE, answers={200: api.WriteAnswer}, errors=_WRITE_ERRORS, path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="DELETE", pattern=_ROWS + "/{key...}", name="delete_row", right="write", handler=delete_row, changes=True,
        about="Delete a row; one that is not there is deleted all the same. " + _LEVEL_OF_WRITES,
        parameters=_WRITE, answers={200: api.WriteAnswer}, errors=_WRITE_ERRORS, path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="POST", pattern=_ROWS + "/get", name="get_row_by_body", right="read", handler=post_row_get,
        about="As GET of a row, for keys that a path cannot carry.",
        body=wire.RowGetBody, body_example={"key": {"voter": "ana"}},
        parameters=_READ, answers={200: api.RowAnswer}, errors=(*_READ_ERRORS, "too_large"), path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="POST", pattern=_ROWS + "/put", name="put_row_by_body", right="write", handler=post_row_put, changes=True,
        about="As PUT of a row, for keys that a path cannot carry.",
        body=wire.RowPutBody, body_example={"key": {"voter": "ana"}, "columns": _EXAMPLE_ROW},
        parameters=_WRITE, answers={200: api.WriteAnswer}, errors=_WRITE_ERRORS, path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="POST", pattern=_ROWS + "/delete", name="delete_row_by_body", right="write", handler=post_row_delete, changes=True,
        about="As DELETE of a row, for keys that a path cannot carry.",
        body=wire.RowDeleteBody, body_example={"key": {"voter": "ana"}},
        parameters=_WRITE, answers={200: api.WriteAnswer}, errors=_WRITE_ERRORS, path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="GET", pattern=_ROWS, name="select_rows", right="read", handler=get_rows,
        about="Rows of one partition, of an indexed value or of the whole table, page by page; as NDJSON all of them.",
        parameters=(_WHERE, _LIMIT, _CURSOR, _common.LEVEL, _common.LOCK_HEADER), answers={200: api.PageAnswer},
        media_types=("application/json", "application/x-ndjson"), errors=(*_READ_ERRORS, "too_large"),
        path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="POST", pattern=_ROWS + "/select", name="select_rows_by_body", right="read", handler=post_rows_select,
        about="As GET of rows, for conditions that a query cannot carry.",
        body=wire.SelectBody, body_example={"where": [["voter", "eq", "ana"]], "limit": 10},
        parameters=(_common.LEVEL, _common.LOCK_HEADER), answers={200: api.PageAnswer},
        media_types=("application/json", "application/x-ndjson"), errors=(*_READ_ERRORS, "too_large"),
        path_examples=_common.PATH_EXAMPLES,
    ),
    Route(
        method="POST", pattern="/v3/keyspaces/{keyspace}/tables/{table}/batch", name="batch", right="write", asks_also="read for expect", handler=post_batch,
        changes=True, about="Writes to one partition: all of them or none, with consecutive stamps.",
        body=wire.BatchBody,
        body_example={"level": "atomic", "writes": [{"op": "put", "key": {"voter": "ana"}, "columns": _EXAMPLE_ROW}]},
        parameters=_WRITE, answers={200: api.WriteAnswer}, errors=(*_WRITE_ERRORS, "compare_failed"),
        path_examples=_common.PATH_EXAMPLES,
    ),
]  # fmt: skip

__all__ = ["ROUTES", "expectation_from_wire", "write_from_wire"]
