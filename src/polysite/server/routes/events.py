"""Server-sent events: grants, losses, preemptions, releases, ownership, site health."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from polysite import api
from polysite.errors import Overloaded, PolysiteError
from polysite.server.exchange import Exchange, Stream
from polysite.server.problems import refuse
from polysite.server.routing import Parameter, Route
from polysite.server.service import Service

MEDIA_TYPE = b"text/event-stream"
_encode = msgspec.json.Encoder().encode


async def get_events(service: Service, exchange: Exchange) -> Stream:
    query = exchange.query("keyspace", "table")
    keyspace, table = query.get("keyspace"), query.get("table")
    if table is not None and keyspace is None:
        raise refuse("a table is named together with its keyspace")
    exchange.principal.require("read", keyspace if keyspace is not None else "*")
    service.stopping.check()
    if service.streams >= service.settings.server.streams_max:
        raise Overloaded("too many event streams are open")
    return Stream(MEDIA_TYPE, _stream(service, exchange, keyspace, table), ((b"cache-control", b"no-store"),))


async def _stream(
    service: Service, exchange: Exchange, keyspace: str | None, table: str | None
) -> AsyncIterator[bytes]:
    """Events as they come, a comment when none came for a while, until the client is gone or the server stops.

    The client hanging up is seen by `Application`, which ends this iterator.
    """
    pause_s = max(service.settings.server.event_ms, 100) / 1000
    events: Any = service.coordinator.events(keyspace=keyspace, table=table)
    spawn = service.runtime.spawner.spawn
    stopping = spawn(_stop(service), name="server: an event stream waits for the stop")
    upcoming: asyncio.Task[api.Event | None] = spawn(_next(events), name="server: next event")
    service.streams += 1
    try:
        yield b": events from now on\n\n"
        while not service.stopping.begun:
            done, _ = await asyncio.wait((upcoming, stopping), timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if upcoming in done:
                event = upcoming.result()
                if event is None:
                    break
                yield await _lines(service, exchange, event)
                upcoming = spawn(_next(events), name="server: next event")
            elif not done:
                yield b": still here\n\n"
        yield b": the process stops\n\n"
    finally:
        service.streams -= 1
        upcoming.cancel()
        stopping.cancel()
        await asyncio.gather(upcoming, stopping, return_exceptions=True)
        await events.aclose()


async def _next(events: Any) -> api.Event | None:
    """The next event, None at the end of them."""
    try:
        found: api.Event = await anext(events)
    except StopAsyncIteration:
        return None
    return found


async def _stop(service: Service) -> None:
    await service.stopping.moment.wait()


async def _lines(service: Service, exchange: Exchange, event: api.Event) -> bytes:
    """One event in the form of the stream."""
    if event.key is not None and event.keyspace is not None and event.table is not None:
        try:
            codec = await service.codec(exchange, event.keyspace, event.table)
            event = msgspec.structs.replace(event, key=dict(codec.row_to_json(event.key) or {}))
        except PolysiteError:  # the table is gone: its keys cannot be told any more
            event = msgspec.structs.replace(event, key=None)
    return b"event: " + event.kind.encode() + b"\ndata: " + _encode(event) + b"\n\n"


ROUTES = [
    Route(
        method="GET", pattern="/v3/events", name="events", asks=("read",), asks_also="on all keyspaces if none is named", handler=get_events, begins=True,
        about="Events from now on as a text/event-stream; a comment every so often shows that the stream lives.",
        parameters=(
            Parameter(name="keyspace", schema={"type": "string"}, about="Only events of this keyspace."),
            Parameter(name="table", schema={"type": "string"}, about="Only events of this table."),
        ),
        answers={200: None}, media_types=("text/event-stream",), errors=(),
    ),
]  # fmt: skip
