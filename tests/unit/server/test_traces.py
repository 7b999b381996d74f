"""Spans of requests, where they were asked for (`telemetry.traces`)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace

from polysite.errors import LockLost, Unavailable
from polysite.server.exchange import Exchange, Reply, Stream, reply_json
from polysite.server.routing import Handler
from polysite.server.service import Service
from polysite.server.settings import Settings, load_settings
from polysite.testing.loop import seeded
from tests.unit.server.test_app import Caller, raising


class Recorded(trace.NonRecordingSpan):
    """A span that a test can look at."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__(trace.SpanContext(1, 1, is_remote=False))
        self.name = name
        self.kind = options["kind"]
        self.attributes: dict[str, Any] = dict(options["attributes"])
        self.exceptions: list[BaseException] = []
        self.ended = False

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def record_exception(self, exception: BaseException, *arguments: Any, **options: Any) -> None:
        self.exceptions.append(exception)

    def end(self, end_time: int | None = None) -> None:
        self.ended = True


class Tracer(trace.NoOpTracer):
    """Keeps its spans, and makes them current as the SDK's does."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    @contextmanager
    def start_as_current_span(self, name: str, *arguments: Any, **options: Any) -> Iterator[Recorded]:  # type: ignore[override]
        span = Recorded(name, options)
        self.spans.append(span)
        with trace.use_span(
            span,
            end_on_exit=True,
            record_exception=options.get("record_exception", True),
            set_status_on_exception=options.get("set_status_on_exception", True),
        ):
            yield span


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Tracer:
    """The tracer that `polysite` is given."""
    tracer = Tracer()
    monkeypatch.setattr(trace, "get_tracer", lambda name: tracer if name == "polysite" else None)
    return tracer


def traced(handler: Handler, **route: Any) -> Caller:
    return Caller(handler, settings=load_settings(flags={"telemetry.traces": True}).settings, **route)


async def streaming(_service: Service, _exchange: Exchange) -> Stream:
    async def chunks() -> Any:
        yield b"1"

    return Stream(b"text/plain", chunks())


async def fine(_service: Service, _exchange: Exchange) -> Reply:
    """Answers the name of the span that is current while the handler works."""
    current = trace.get_current_span()
    return reply_json({"span": getattr(current, "name", None)}, status=201)


@seeded
async def test_a_request_is_a_span_with_its_route_and_status(tracer: Tracer) -> None:
    """Goal: each request is one span, named by its route, current while it is handled, ended with its status. Method: a tracer that
    keeps what it is told; handlers that answer, stream, refuse and fail."""
    cases: list[tuple[Handler, int]] = [
        (fine, 201), (streaming, 200), (raising(LockLost()), 410), (raising(Unavailable()), 503), (raising(ValueError("hidden")), 500),
    ]  # fmt: skip
    for handler, status in cases:
        caller = traced(handler)
        await caller.ask()
        span = tracer.spans[-1]
        assert caller.status == status
        assert (span.name, span.kind, span.ended) == ("POST /work", trace.SpanKind.SERVER, True)
        expected = {"http.request.method": "POST", "http.route": "/work", "http.response.status_code": status}
        assert span.attributes == expected | ({"error.type": str(status)} if status >= 500 else {})
        assert not span.exceptions, "the message of an exception may hold a value"
        if handler is fine:
            assert caller.messages[1]["body"] == b'{"span":"POST /work"}'
    assert len(tracer.spans) == len(cases)


@seeded
async def test_a_span_ends_when_the_client_is_gone(tracer: Tracer) -> None:
    """The handler waits for a client that hangs up."""

    async def waiting(service: Service, _exchange: Exchange) -> Reply:
        await service.wait_for(_exchange, asyncio.sleep(3_600))
        raise AssertionError("nobody waits for ever")

    caller = traced(waiting)
    caller.hung_up.set()
    await caller.ask()
    (span,) = tracer.spans
    assert span.ended
    assert span.attributes["http.response.status_code"] == 499
    assert not span.exceptions


@seeded
async def test_no_span_unless_asked_for(tracer: Tracer) -> None:
    """The default makes none; with the setting and no SDK set up, requests are answered all the same."""
    caller = Caller(fine, settings=Settings())
    await caller.ask()
    assert caller.messages[1]["body"] == b'{"span":null}'
    assert not tracer.spans


@seeded
async def test_spans_that_go_nowhere_do_no_harm() -> None:
    """The API alone, without an SDK: its spans hold nothing."""
    caller = traced(fine)
    await caller.ask()
    assert caller.status == 201
