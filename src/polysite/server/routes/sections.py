"""A whole critical section in one request."""

from typing import Any

import msgspec

from polysite import api
from polysite.errors import PolysiteError
from polysite.server import wire
from polysite.server.convert import Codec
from polysite.server.exchange import Exchange, Reply, reply_json
from polysite.server.routes import _common
from polysite.server.routes.locks import key_name
from polysite.server.routes.rows import expectation_from_wire, write_from_wire
from polysite.server.routing import Route
from polysite.server.service import Service

_section_decoder = msgspec.json.Decoder(wire.SectionBody)


async def post_section(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_section_decoder)
    _require_rights(exchange, body)
    key = await key_name(service, exchange, body.key)
    codec = exchange.codec
    assert codec is not None
    # A client that hangs up withdraws nothing here: the section may be at its writes, and it ends by itself.
    section = service.coordinator.section(
        key,
        [_step(codec, step) for step in body.steps],
        wait_ms=body.wait_ms,
        lease_ms=body.lease_ms,
        validate=body.validate,
        owner=body.owner,
        idempotency_key=exchange.idempotency_key,
    )
    try:
        answer = await section
    except PolysiteError as error:
        service.metrics.sections.labels(error.outcome).inc()
        raise
    service.metrics.sections.labels("done").inc()
    shape: dict[str, Any] = {
        "results": [codec.row_to_json(row) for row in answer.results],
        "fencing_token": answer.fencing_token,
        "validated": answer.validated,
        "round_trips": answer.round_trips,
    }
    return reply_json(shape, round_trips=answer.round_trips)


def _require_rights(exchange: Exchange, body: wire.SectionBody) -> None:
    require = exchange.principal.require
    require("lock", body.key.keyspace)
    for step in body.steps:
        require("read" if isinstance(step, wire.GetStep | wire.ExpectStep) else "write", body.key.keyspace)


def _step(codec: Codec, step: wire.GetStep | wire.PutWrite | wire.DeleteWrite | wire.ExpectStep) -> api.Step:
    if isinstance(step, wire.GetStep):
        return api.RowGet(key=None if step.key is None else codec.columns_from_json(step.key))
    if isinstance(step, wire.ExpectStep):
        return expectation_from_wire(codec, step)
    write = write_from_wire(codec, step, key_needed=False)
    assert not isinstance(write, api.RangeDelete)
    return write


ROUTES = [
    Route(
        method="POST", pattern="/v3/sections", name="run_section", asks=("lock",), asks_also="read for get and expect, write for put and delete", handler=post_section, waits=True, begins=True, changes=True,
        about="Lock a key, carry out the steps in order, release. A step sees what earlier ones wrote; if an expectation "
        "does not hold, nothing is written.",
        body=wire.SectionBody,
        body_example={
            "key": {"keyspace": _common.KEYSPACE, "table": _common.TABLE, "key": {"voter": "ana"}},
            "steps": [{"op": "get"}, {"op": "put", "columns": {"count": 4}}],
        },
        parameters=(_common.IDEMPOTENCY_HEADER,), answers={200: api.SectionAnswer},
        errors=(
            *_common.OF_TABLE, *_common.OF_BODY, *_common.OF_WRITE, *_common.OF_KEY,
            "lock_lost", "compare_failed", "acquire_timeout",
        ),
    ),
]  # fmt: skip
