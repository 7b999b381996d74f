"""The ASGI application: every request passes through `Application` once, from its first byte to the log.

    limits → route → stopping? → who is it, may they → the route's handler → answer, or the error as problem details

Paths that are no routes of ours go to a Starlette application, on which the console and other interfaces are mounted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from polysite.api import Coordinator
from polysite.clock import Runtime
from polysite.errors import CompareFailed, LockLost, Overloaded, PolysiteError, TooLarge
from polysite.server import problems
from polysite.server.exchange import ClientGone, Exchange, Headers, Message, Receive, Reply, Scope, Send, Stream
from polysite.server.logs import describe, make_logger
from polysite.server.openapi import describe_interface
from polysite.server.problems import HttpRefusal
from polysite.server.routes import events, health, locks, rows, schema, sections
from polysite.server.routing import Route, Router
from polysite.server.service import Service
from polysite.server.settings import Settings
from polysite.server.v2.interface import V2Interface

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTES: list[Route] = [
    *health.ROUTES, *schema.ROUTES, *rows.ROUTES, *locks.ROUTES, *sections.ROUTES, *events.ROUTES,
]  # fmt: skip
UNROUTED = "unrouted"
_CLIENT_GONE = 499
"""What the counters call a request whose client hung up; nobody is sent it."""
_STATUS_ATTRIBUTE = "http.response.status_code"


class Interface(Protocol):
    """Paths of a kind of their own: how they are found, who may ask, and how an error is told there."""

    @property
    def routes(self) -> Sequence[Route]: ...

    def claims(self, raw_path: bytes) -> bool: ...

    def find(self, exchange: Exchange) -> Route: ...

    async def identify(self, exchange: Exchange) -> None: ...

    def tell(self, error: PolysiteError, status: int, exchange: Exchange, headers: Headers) -> Reply: ...


class Application:
    """Answers `/v3`, `/metrics`, `/MUSIC/rest` and whatever else is mounted."""

    def __init__(
        self,
        service: Service,
        *,
        routes: Sequence[Route],
        interface: Interface | None = None,
        elsewhere: AsgiApp | None = None,
    ) -> None:
        self.service = service
        self._router = Router(list(routes))
        self._interface = interface
        self._elsewhere = elsewhere
        every = [*routes, *(interface.routes if interface is not None else ())]
        self._meters = {route.name: service.metrics.meter(route.name) for route in every}
        self._unrouted = service.metrics.meter(UNROUTED)
        self._id_prefix = service.runtime.randomness.random_bytes(5).hex().encode() + b"-"
        self._requests = 0
        server, telemetry = service.settings.server, service.settings.telemetry
        self._url_bytes_max = server.url_bytes_max
        self._header_bytes_max = server.header_bytes_max
        self._slow_s = telemetry.slow_ms / 1000 if telemetry.slow_ms else float("inf")
        self._debug = telemetry.log_level == "debug"
        self._span = _span_maker(telemetry.traces)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif self._elsewhere is not None:
            await self._elsewhere(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self.service
        clock = service.runtime.clock
        started_s = clock.monotonic_s()
        exchange = Exchange(scope, receive, body_bytes_max=service.settings.server.body_bytes_max)
        exchange.is_foreign = self._interface is not None and self._interface.claims(scope["raw_path"])
        self._requests += 1
        exchange.request_id = exchange.asked_id or b"%s%x" % (self._id_prefix, self._requests)
        route: Route | None = None
        service.requests += 1
        try:
            route = self._find(exchange)
            if route is None:
                assert self._elsewhere is not None
                await self._elsewhere(scope, receive, send)
                return
            if self._span is None:
                answer = await self._answer(route, exchange)
            else:
                with self._span(route) as span:
                    answer = await self._answer_traced(route, exchange, span)
        except ClientGone:
            self._count(route, _CLIENT_GONE, started_s, 0)
            return
        except Exception as error:  # noqa: BLE001  # told to the client as a problem, and to the log if nobody foresaw it
            answer = self._refuse(error, exchange, route)
        finally:
            service.requests -= 1
        if isinstance(answer, Stream):
            await self._send_stream(answer, exchange, send)
            self._count(route, 200, started_s, 0)
            return
        await _send_reply(answer, exchange, send)
        duration_s = self._count(route, answer.status, started_s, answer.round_trips)
        if self._debug or (duration_s > self._slow_s and not (route is not None and route.waits)):
            self._log(exchange, route, answer.status, duration_s)

    def _find(self, exchange: Exchange) -> Route | None:
        """The route of a request whose form is within bounds; None: not a path of ours."""
        service = self.service
        scope = exchange.scope
        if service.requests > service.settings.server.requests_max:
            raise Overloaded("too many requests are under way")
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._url_bytes_max:
            raise HttpRefusal(
                414,
                TooLarge(
                    f"a path with its query is at most {self._url_bytes_max} bytes; there are POST routes for longer keys"
                ),
            )
        headers = exchange.headers
        if sum(map(len, headers)) + sum(map(len, headers.values())) > self._header_bytes_max:
            raise HttpRefusal(431, TooLarge(f"headers are at most {self._header_bytes_max} bytes together"))
        exchange.check_headers()
        if exchange.is_foreign:
            assert self._interface is not None
            return self._interface.find(exchange)
        try:
            return self._router.find(exchange)
        except HttpRefusal as refusal:
            if refusal.status == 404 and self._elsewhere is not None:
                return None
            raise

    async def _answer(self, route: Route, exchange: Exchange) -> Reply | Stream:
        if route.begins:
            self.service.stopping.check()
        if exchange.is_foreign:
            assert self._interface is not None
            if not route.open_to_all:
                await self._interface.identify(exchange)
        elif not route.open_to_all:
            exchange.principal = self.service.access.identify(exchange.headers)
            if route.right is not None:
                exchange.principal.require(route.right, exchange.captured[0].decode("latin-1"))
        return await route.handler(self.service, exchange)

    async def _answer_traced(self, route: Route, exchange: Exchange, span: Any) -> Reply | Stream:
        """As `_answer`, but an error is the answer to it, and the span is told the status: no message of an exception, no
        value and no path of this machine goes where traces go."""
        try:
            answer = await self._answer(route, exchange)
        except ClientGone:
            span.set_attribute(_STATUS_ATTRIBUTE, _CLIENT_GONE)
            raise
        except Exception as error:  # noqa: BLE001  # as in `_http`
            answer = self._refuse(error, exchange, route)
        status = answer.status if isinstance(answer, Reply) else 200
        span.set_attribute(_STATUS_ATTRIBUTE, status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
        return answer

    def _refuse(self, error: Exception, exchange: Exchange, route: Route | None) -> Reply:
        """The error as problem details."""
        headers: Headers = ()
        if isinstance(error, HttpRefusal):
            status, told, headers = error.status, error.error, error.headers
        elif isinstance(error, PolysiteError):
            status, told = problems.status_of(error), error
        else:
            told = problems.unexpected(may_have_happened=route is not None and route.changes)
            status = 500
            self.service.metrics.failures.inc()
            self.service.logger.error(
                "request failed", request=exchange.request_id.decode("latin-1"),
                route=UNROUTED if route is None else route.name, **describe(error),
            )  # fmt: skip
        if isinstance(told, LockLost) or told.attributes.get("reason") == "lock_lost":
            self._count_loss(exchange)
        if status in (503, 507):
            headers = (*headers, (b"retry-after", str(problems.RETRY_AFTER_S).encode()))
            if self.service.stopping.begun:
                headers = (*headers, (b"connection", b"close"))
        if exchange.is_foreign:
            assert self._interface is not None
            return self._interface.tell(told, status, exchange, headers)
        problem = problems.problem_of(told, status=status, request=exchange.request_id.decode("latin-1"))
        if isinstance(told, CompareFailed) and "rows" in told.attributes and exchange.codec is not None:
            found = [exchange.codec.row_to_json(row) for row in told.attributes["rows"]]
            problem = msgspec.structs.replace(problem, attributes={**told.attributes, "rows": found})
        round_trips = told.attributes.get("round_trips", 0)
        return Reply(status, problems.encode(problem), round_trips, headers, problems.MEDIA_TYPE)

    def _count_loss(self, exchange: Exchange) -> None:
        """A lock is told to be lost, which calls under it may be again and again, also after its release: count losses once."""
        if exchange.lock is None or self.service.tenures.lost(exchange.lock):
            self.service.metrics.lock_losses.inc()

    async def _send_stream(self, stream: Stream, exchange: Exchange, send: Send) -> None:
        """Send piece by piece. A failure midway cuts the connection; the client hanging up ends the iterator."""
        headers = _headers(exchange, stream.media_type, 0, stream.headers)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        spawn = self.service.runtime.spawner.spawn
        sending = spawn(_pump(stream, send), name="server: stream")
        watching = spawn(exchange.hung_up(), name="server: watch the client of a stream")
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            sending.cancel()
            (failure,) = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(failure, Exception):
            request = exchange.request_id.decode("latin-1")
            self.service.logger.warning("stream cut", request=request, **describe(failure))
            raise StreamCut

    def _count(self, route: Route | None, status: int, started_s: float, round_trips: float) -> float:
        """Count an answered request; how long it took."""
        duration_s = self.service.runtime.clock.monotonic_s() - started_s
        meter = self._unrouted if route is None else self._meters[route.name]
        meter.count(status, duration_s)
        if round_trips:
            self.service.metrics.round_trips.labels(meter.route).observe(round_trips)
        return duration_s

    def _log(self, exchange: Exchange, route: Route | None, status: int, duration_s: float) -> None:
        self.service.logger.info(
            "request", request=exchange.request_id.decode("latin-1"), method=exchange.method,
            route=UNROUTED if route is None else route.name, status=status, duration_ms=round(duration_s * 1000, 3),
        )  # fmt: skip


class StreamCut(Exception):
    """A stream could not be finished; the connection is cut so that what was sent is not taken for the whole."""

    logged = True


async def _pump(stream: Stream, send: Send) -> None:
    async with aclosing(stream.chunks) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_reply(reply: Reply, exchange: Exchange, send: Send) -> None:
    headers = _headers(exchange, reply.media_type, reply.round_trips, reply.headers)
    headers.append((b"content-length", b"%d" % len(reply.body)))
    start: Message = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})


def _headers(exchange: Exchange, media_type: bytes, round_trips: float, more: Headers) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", media_type),
        (b"polysite-round-trips", b"%g" % round_trips if round_trips else b"0"),
        (b"x-request-id", exchange.request_id),
        *more,
    ]


def _span_maker(traces: bool) -> Callable[[Route], AbstractContextManager[Any]] | None:
    """Makes a span per request; None where nobody asked for it: even a span that goes nowhere costs as much as a read."""
    if not traces:
        return None
    from opentelemetry import trace

    tracer = trace.get_tracer("polysite")
    return lambda route: tracer.start_as_current_span(
        f"{route.method} {route.pattern}",
        kind=trace.SpanKind.SERVER,
        attributes={"http.request.method": route.method, "http.route": route.pattern},
        record_exception=False,
        set_status_on_exception=False,
    )


def build_app(
    coordinator: Coordinator,
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    logger: Any = None,
    routes: Sequence[Route] = (),
    mounts: "Sequence[BaseRoute]" = (),
) -> Application:
    """The application over a coordinator. `routes`: further routes of ours (the peer channel's); `mounts`: Starlette
    routes for paths that are not ours."""
    runtime = runtime or Runtime()
    service = Service(
        coordinator, settings, runtime=runtime, logger=logger or make_logger(settings.telemetry, runtime.clock)
    )
    every = [*ROUTES, *routes]
    service.describe = cache(lambda: describe_interface([route for route in every if not route.internal]))
    elsewhere: AsgiApp | None = None
    if mounts:
        from starlette.applications import Starlette

        elsewhere = Starlette(routes=list(mounts))
    interface = V2Interface(service) if settings.v2.enabled else None
    return Application(service, routes=every, interface=interface, elsewhere=elsewhere)


__all__ = ["ROUTES", "Application", "StreamCut", "build_app"]
