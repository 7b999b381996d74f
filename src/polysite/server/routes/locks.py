"""Locks: the wish, the wait, signs of life, promotion, release, the queue, preemption."""

from typing import Any

import msgspec

from polysite import api
from polysite.errors import BadRequest, TooLarge
from polysite.server import wire
from polysite.server.convert import decode_segment
from polysite.server.exchange import Exchange, Reply, query_flag, query_int, reply_json
from polysite.server.problems import refuse
from polysite.server.routes import _common
from polysite.server.routing import Parameter, Route
from polysite.server.service import Service
from polysite.values.keys import Reference, parse_reference

IN_HEADER = b"-"
"""Stands in a path for a reference that is in the header Polysite-Lock, where a longer one fits."""

REFERENCE_BYTES = 40
"""What a reference says beside its key: format, ticket, secret, lengths."""
OTHER_HEADER_BYTES = 4 * 1024

_acquire_decoder = msgspec.json.Decoder(wire.AcquireBody)
_wait_decoder = msgspec.json.Decoder(wire.WaitBody)
_promote_decoder = msgspec.json.Decoder(wire.PromoteBody)
_empty_decoder = msgspec.json.Decoder(wire.Empty)
_queue_decoder = msgspec.json.Decoder(wire.QueueBody)
_preempt_decoder = msgspec.json.Decoder(wire.PreemptBody)


async def post_lock(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_acquire_decoder)
    for name in body.keys:
        exchange.principal.require("lock", name.keyspace)
        if body.read:
            exchange.principal.require("read", name.keyspace)
    keys = [await key_name(service, exchange, name) for name in body.keys]
    if len(keys) > 1:
        await _check_set(service, exchange, keys)
    idempotency_key = exchange.idempotency_key
    started_s = service.runtime.clock.monotonic_s()
    # With an idempotency key the client may come back for the answer, so hanging up does not withdraw the wish.
    answer = await service.wait_for(
        exchange,
        service.coordinator.acquire(
            keys,
            kind=body.kind,
            lease_ms=body.lease_ms,
            wait_ms=body.wait_ms,
            owner=body.owner,
            read=body.read,
            idempotency_key=idempotency_key,
        ),
        watch_client=idempotency_key is None and body.wait_ms > 0,
    )
    if answer.held:
        service.metrics.lock_wait_seconds.observe(service.runtime.clock.monotonic_s() - started_s)
    return await _lock_reply(service, exchange, answer)


async def _check_set(service: Service, exchange: Exchange, keys: list[api.KeyName]) -> None:
    """TooLarge if the reference of this lock set would not fit into the header that carries it."""
    key_bytes = 0
    for key in keys:
        codec = await service.codec(exchange, key.keyspace, key.table)
        key_bytes += len(codec.spec.lock_key(key.key).encode()) + REFERENCE_BYTES
    bytes_max = (service.settings.server.header_bytes_max - OTHER_HEADER_BYTES) * 9 // 16  # base64 within base64
    if key_bytes > bytes_max:
        raise TooLarge(f"the keys of one lock set serialise to at most {bytes_max} bytes together", bytes_max=bytes_max)


async def get_lock(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    reference = _reference(service, exchange)
    return await _lock_reply(service, exchange, await service.coordinator.wait(reference, wait_ms=0))


async def post_wait(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_wait_decoder, optional=True)
    reference = _reference(service, exchange)
    if body.read:
        _require(exchange, reference, "read")
    waiting = service.wait_for(
        exchange,
        service.coordinator.wait(reference, wait_ms=body.wait_ms, read=body.read),
        watch_client=body.wait_ms > 0,
    )
    return await _lock_reply(service, exchange, await waiting)


async def post_renew(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    await exchange.body(_empty_decoder, optional=True)
    reference = _reference(service, exchange)
    return await _lock_reply(service, exchange, await service.coordinator.renew(reference))


async def post_promote(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_promote_decoder, optional=True)
    reference = _reference(service, exchange)
    promoting = service.wait_for(
        exchange, service.coordinator.promote(reference, wait_ms=body.wait_ms), watch_client=body.wait_ms > 0
    )
    return await _lock_reply(service, exchange, await promoting)


async def delete_lock(service: Service, exchange: Exchange) -> Reply:
    validate = query_flag(exchange.query("wait"), "wait", default=True)
    reference = _reference(service, exchange)
    answer = await service.coordinator.release(reference, validate=validate)
    service.tenures.gone(reference)
    return reply_json(answer, status=200 if validate else 202, round_trips=answer.round_trips)


async def get_queue(service: Service, exchange: Exchange) -> Reply:
    key = await _key_in_query(service, exchange, exchange.query("key"), right="read")
    return _queue_reply(await service.coordinator.queue(key))


async def post_queue(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_queue_decoder)
    exchange.principal.require("read", body.key.keyspace)
    return _queue_reply(await service.coordinator.queue(await key_name(service, exchange, body.key)))


async def delete_holder(service: Service, exchange: Exchange) -> Reply:
    query = exchange.query("key", "fencing_token")
    ticket = query_int(query, "fencing_token", low=1, high=wire.TICKET_MAX)
    key = await _key_in_query(service, exchange, query, right="admin")
    ordered_by = _ordered_by(service, exchange, None)
    return _queue_reply(await service.coordinator.preempt(key, fencing_token=ticket, ordered_by=ordered_by))


async def post_preempt(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_preempt_decoder)
    exchange.principal.require("admin", body.key.keyspace)
    key = await key_name(service, exchange, body.key)
    ordered_by = _ordered_by(service, exchange, body.ordered_by)
    return _queue_reply(await service.coordinator.preempt(key, fencing_token=body.fencing_token, ordered_by=ordered_by))


def _ordered_by(service: Service, exchange: Exchange, said: str | None) -> str | None:
    """Who gives an order: whoever the credentials name; without any, who they say they are."""
    return exchange.principal.name if service.access.needs_token else said


async def key_name(service: Service, exchange: Exchange, name: wire.KeyBody) -> api.KeyName:
    """A key out of a body, with Python values."""
    codec = await service.codec(exchange, name.keyspace, name.table)
    return api.KeyName(keyspace=name.keyspace, table=name.table, key=codec.columns_from_json(name.key))


async def _key_in_query(service: Service, exchange: Exchange, query: Any, *, right: Any) -> api.KeyName:
    """KEYSPACE/TABLE/PK…, each part percent-encoded where it holds a slash or a percent sign."""
    if "key" not in query:
        raise refuse("name the key: ?key=KEYSPACE/TABLE/VALUE…")
    parts = [decode_segment(part.encode()) for part in query["key"].split("/")]
    if len(parts) < 3:
        raise refuse("the key is KEYSPACE/TABLE/VALUE…")
    keyspace, table, *texts = parts
    exchange.principal.require(right, keyspace)
    codec = await service.codec(exchange, keyspace, table)
    return api.KeyName(keyspace=keyspace, table=table, key=codec.lock_key_from_texts(texts))


def _reference(service: Service, exchange: Exchange) -> str:
    """The reference that the path names, checked for its form and for the right to use it."""
    segment = exchange.captured[0]
    if segment == IN_HEADER:
        in_header = exchange.reference
        if in_header is None:
            raise BadRequest("the path says that the lock reference is in the header Polysite-Lock, which is not there")
        reference = in_header
    else:
        reference = decode_segment(segment)
    _require(exchange, reference, "lock")
    exchange.lock = reference
    service.tenures.used(reference)
    return reference


def _require(exchange: Exchange, reference: str, right: Any) -> None:
    parsed = parse_reference(reference)
    for member in (parsed,) if isinstance(parsed, Reference) else parsed.references:
        exchange.principal.require(right, member.key.keyspace)


async def _lock_reply(service: Service, exchange: Exchange, answer: api.LockAnswer) -> Reply:
    service.tenures.seen(answer.reference, answer.lease_ms)
    shape = await lock_shape(service, exchange, answer)
    return reply_json(shape, status=200 if answer.held else 202, round_trips=answer.round_trips)


async def lock_shape(service: Service, exchange: Exchange, answer: api.LockAnswer) -> dict[str, Any]:
    """The answer with keys and rows in JSON form."""
    codecs = [await service.codec(exchange, held.keyspace, held.table) for held in answer.keys]
    shape: dict[str, Any] = {
        "reference": answer.reference,
        "held": answer.held,
        "kind": answer.kind,
        "lease_ms": answer.lease_ms,
        "keys": [
            {
                "keyspace": held.keyspace,
                "table": held.table,
                "key": codec.row_to_json(held.key),
                "fencing_token": held.fencing_token,
                "ahead": held.ahead,
            }
            for held, codec in zip(answer.keys, codecs, strict=True)
        ],
        "round_trips": answer.round_trips,
    }
    if answer.rows is not None:
        shape["rows"] = [codec.row_to_json(row) for row, codec in zip(answer.rows, codecs, strict=True)]
    return shape


def _queue_reply(answer: api.QueueAnswer) -> Reply:
    return reply_json(answer, round_trips=answer.round_trips)


_LOCK = "/v3/locks/{reference}"
_ERRORS = (*_common.OF_TABLE, *_common.OF_WRITE, *_common.OF_BODY)
_REFERENCE_ERRORS = (*_ERRORS, *_common.OF_LOCK)
_KEY = Parameter(
    name="key",
    schema={"type": "string", "examples": ["voting/votes/ana"]},
    about="KEYSPACE/TABLE/VALUE…: the values of the lock columns in order, each part percent-encoded where needed.",
    required=True,
)
_TICKET = Parameter(
    name="fencing_token",
    schema={"type": "integer", "minimum": 1, "maximum": wire.TICKET_MAX},
    about="The entry to drop; left out: the holder.",
)
_WAIT = Parameter(
    name="wait", schema={"type": "string", "enum": ["0", "1"]}, about="0: release in the background (202)."
)
_KEY_EXAMPLE = {"keyspace": _common.KEYSPACE, "table": _common.TABLE, "key": {"voter": "ana"}}
_HEADERS = (_common.LOCK_HEADER,)

ROUTES = [
    Route(
        method="POST", pattern="/v3/locks", name="acquire_lock", asks=("lock",), asks_also="read for the rows", handler=post_lock, waits=True, begins=True, changes=True,
        about="Wish for a lock on 1 to 64 keys and wait for it. 200: held. 202: waiting; wait for it or release it.",
        body=wire.AcquireBody, body_example={"keys": [_KEY_EXAMPLE], "lease_ms": 1000, "wait_ms": 0},
        parameters=(_common.IDEMPOTENCY_HEADER,), answers={200: api.LockAnswer, 202: api.LockAnswer},
        errors=(*_ERRORS, *_common.OF_KEY, "acquire_timeout", "lock_lost"),
    ),
    Route(
        method="GET", pattern="/v3/locks", name="get_queue", asks=("read",), handler=get_queue,
        about="The queue of a key, holder first, without anybody's secret.",
        parameters=(_KEY,), answers={200: api.QueueAnswer}, errors=_ERRORS,
    ),
    Route(
        method="POST", pattern="/v3/locks/queue", name="get_queue_by_body", asks=("read",), handler=post_queue,
        about="As GET of a queue, for keys that a query cannot carry.",
        body=wire.QueueBody, body_example={"key": _KEY_EXAMPLE}, answers={200: api.QueueAnswer}, errors=_ERRORS,
    ),
    Route(
        method="DELETE", pattern="/v3/locks/holder", name="preempt_holder", asks=("admin",), handler=delete_holder, changes=True,
        about="Drop the holder of a key at once, without waiting for its lease, and raise the fence. For administrators: "
        "what the holder was told meanwhile may be belied by it.",
        parameters=(_KEY, _TICKET), answers={200: api.QueueAnswer}, errors=(*_ERRORS, "compare_failed"),
    ),
    Route(
        method="POST", pattern="/v3/locks/preempt", name="preempt_holder_by_body", asks=("admin",), handler=post_preempt, changes=True,
        about="As DELETE of a holder, for keys that a query cannot carry.",
        body=wire.PreemptBody, body_example={"key": _KEY_EXAMPLE}, answers={200: api.QueueAnswer}, errors=(*_ERRORS, "compare_failed"),
    ),
    Route(
        method="GET", pattern=_LOCK, name="get_lock", asks=("lock",), handler=get_lock, parameters=_HEADERS,
        about="The state of a lock reference. A sign of life. A reference `-` is in the header Polysite-Lock.",
        answers={200: api.LockAnswer, 202: api.LockAnswer}, errors=_REFERENCE_ERRORS,
    ),
    Route(
        method="POST", pattern=_LOCK + "/wait", name="wait_for_lock", asks=("lock",), asks_also="read for the rows", handler=post_wait, waits=True, parameters=_HEADERS,
        about="Wait until the reference holds. 200: it holds. 202: it still waits.",
        body=wire.WaitBody, body_optional=True, body_example={"wait_ms": 0},
        answers={200: api.LockAnswer, 202: api.LockAnswer}, errors=_REFERENCE_ERRORS,
    ),
    Route(
        method="POST", pattern=_LOCK + "/renew", name="renew_lock", asks=("lock",), handler=post_renew, parameters=_HEADERS,
        about="A sign of life.", body=wire.Empty, body_optional=True, body_example={},
        answers={200: api.LockAnswer, 202: api.LockAnswer}, errors=_REFERENCE_ERRORS,
    ),
    Route(
        method="POST", pattern=_LOCK + "/promote", name="promote_lock", asks=("lock",), handler=post_promote, waits=True, parameters=_HEADERS, changes=True,
        about="Make a shared holder exclusive once the others of its run have left; one not granted in time, or whose caller goes, is taken back.",
        body=wire.PromoteBody, body_optional=True, body_example={"wait_ms": 0},
        answers={200: api.LockAnswer, 202: api.LockAnswer},
        errors=(*_REFERENCE_ERRORS, "compare_failed", "acquire_timeout"),
    ),
    Route(
        method="DELETE", pattern=_LOCK, name="release_lock", asks=("lock",), handler=delete_lock, changes=True,
        about="Release a lock or give up a wish. 200: applied, which proves every write acknowledged under the reference. "
        "202 (with wait=0): it is carried out in the background.",
        parameters=(_WAIT, _common.LOCK_HEADER), answers={200: api.ReleaseAnswer, 202: api.ReleaseAnswer},
        errors=_REFERENCE_ERRORS,
    ),
]  # fmt: skip
