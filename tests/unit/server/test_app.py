"""One request from end to end, on virtual time, with handlers made for the test in place of a coordinator."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from polysite.api import Coordinator, LockAnswer
from polysite.client import HttpCoordinator, connect
from polysite.client.asgi_transport import AsgiTransport
from polysite.errors import LockLost, QuorumUnavailable, Unavailable
from polysite.server.app import Application, StreamCut, build_app
from polysite.server.exchange import Exchange, Reply, Stream, reply_json
from polysite.server.logs import make_logger
from polysite.server.routing import Handler, Route
from polysite.server.service import Service
from polysite.server.settings import Settings, load_settings
from polysite.testing.loop import seeded, simulated_runtime
from tests.support.sites import world_of


class Caller:
    """Sends requests to an application over one route, `/work`, and can hang up."""

    def __init__(self, handler: Handler, *, settings: Settings | None = None, **route: Any) -> None:
        self.log = io.StringIO()
        runtime = simulated_runtime(1)
        settings = settings or Settings()
        logger = make_logger(settings.telemetry, runtime.clock, self.log)
        self.service = Service(cast(Coordinator, None), settings, runtime=runtime, logger=logger)
        options: dict[str, Any] = {"open_to_all": True, **route}
        work = Route(
            method="POST", pattern="/work", name="work", about="", handler=handler, answers={200: None}, **options
        )
        self.application = Application(self.service, routes=[work])
        self.messages: list[dict[str, Any]] = []
        self.hung_up = asyncio.Event()
        self.body = b""

    async def ask(self, *, path: bytes = b"/work", headers: list[tuple[bytes, bytes]] | None = None) -> None:
        given = [{"type": "http.request", "body": self.body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if given:
                return given.pop()
            await self.hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.messages.append(message)

        scope = {"type": "http", "method": "POST", "raw_path": path, "query_string": b"", "headers": headers or []}
        await self.application(scope, receive, send)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def problem(self) -> Any:
        return json.loads(self.messages[1]["body"])


def raising(error: Exception) -> Handler:
    async def handler(_service: Service, _exchange: Exchange) -> Reply:
        raise error

    return handler


@seeded
async def test_what_nobody_foresaw_is_logged_and_told_without_details() -> None:
    """A handler fails with a value in its message: the answer tells the outcome, the log the type and the place."""
    for changes, code, outcome in ((True, "outcome_unknown", "unknown"), (False, "error", "refused")):
        caller = Caller(raising(ValueError("hidden")), changes=changes)
        await caller.ask()
        assert caller.status == 500
        assert (caller.problem["code"], caller.problem["outcome"]) == (code, outcome)
        assert "ValueError" in caller.log.getvalue()
        assert caller.headers[b"x-request-id"].decode() in caller.log.getvalue()
        assert "hidden" not in caller.log.getvalue() + str(caller.messages)


@seeded
async def test_errors_are_told_with_what_they_cost() -> None:
    """Round trips of an error are in the header; what may be tried again says when; a loss is counted."""
    caller = Caller(raising(QuorumUnavailable(round_trips=2.5)))
    await caller.ask()
    assert (caller.status, caller.headers[b"retry-after"], caller.headers[b"polysite-round-trips"]) == (
        503,
        b"1",
        b"2.5",
    )
    caller = Caller(raising(LockLost()))
    await caller.ask()
    assert caller.status == 410
    assert "polysite_lock_losses_total 1.0" in caller.service.metrics.render().decode()


@seeded
async def test_a_request_id_is_kept_if_it_is_usable() -> None:
    """The client's own id comes back; one that could break a log line or a header does not."""
    for asked, kept in ((b"abc-1", True), (b"a b", False), (b"a\nb", False), (b"x" * 129, False)):
        caller = Caller(raising(LockLost()))
        await caller.ask(headers=[(b"x-request-id", asked)])
        assert (caller.headers[b"x-request-id"] == asked) is kept


@seeded
async def test_more_requests_than_the_bound_are_refused() -> None:
    """Two wait, the bound is two, the third is told to come back; when one ended there is room again."""
    release = asyncio.Event()

    async def wait(_service: Service, _exchange: Exchange) -> Reply:
        await release.wait()
        return reply_json({})

    caller = Caller(wait, settings=load_settings(flags={"server.requests_max": 2}).settings)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(caller.ask())
        await asyncio.sleep(1)
        await caller.ask()
        assert (caller.status, caller.problem["code"]) == (503, "overloaded")
        release.set()
    assert caller.service.requests == 0
    caller.messages.clear()
    await caller.ask()
    assert caller.status == 200


@seeded(seeds=20)
async def test_a_wait_is_given_up_when_the_client_hangs_up() -> None:
    """The work is cancelled, nothing is answered, and no task stays behind."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(True)

    async def handler(service: Service, exchange: Exchange) -> Reply:
        await exchange.raw_body()
        await service.wait_for(exchange, work())
        return reply_json({})

    caller = Caller(handler)
    started_s = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.ask())
        await asyncio.sleep(5)
        caller.hung_up.set()
    assert ended
    assert caller.messages == []
    assert caller.service.metrics.meter("work").statuses == {499: 1}
    assert asyncio.get_running_loop().time() - started_s < 100


@seeded(seeds=20)
async def test_a_wait_is_given_up_when_the_server_stops() -> None:
    """The wait is told to be tried elsewhere; what begins afterwards is refused before it begins."""

    async def handler(service: Service, exchange: Exchange) -> Reply:
        await exchange.raw_body()
        await service.wait_for(exchange, asyncio.sleep(1_000))
        return reply_json({})

    caller = Caller(handler, begins=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.ask())
        await asyncio.sleep(5)
        caller.service.stopping.begin()
    assert (caller.status, caller.problem["code"], caller.problem["retry"]) == (503, "unavailable", True)
    caller.messages.clear()
    await caller.ask()
    assert (caller.status, caller.headers[b"connection"]) == (503, b"close")


@seeded
async def test_a_stopping_server_begins_nothing_and_finishes_the_rest() -> None:
    """Routes that begin something are refused unseen; the others are served."""

    async def done(_service: Service, _exchange: Exchange) -> Reply:
        return reply_json({})

    for begins, status in ((True, 503), (False, 200)):
        caller = Caller(done, begins=begins)
        caller.service.stopping.begin()
        await caller.ask()
        assert caller.status == status


@seeded(seeds=20)
async def test_a_wait_that_ends_in_time_is_not_disturbed() -> None:
    """Waits of many lengths, some shorter than the watcher's start; the stop comes after them."""

    async def handler(service: Service, exchange: Exchange) -> Reply:
        await exchange.raw_body()
        await service.wait_for(exchange, asyncio.sleep(int(exchange.headers[b"wait-ms"]) / 1000))
        await asyncio.sleep(1)
        return reply_json({})

    caller = Caller(handler)
    async with asyncio.TaskGroup() as group:
        for wait_ms in (0, 1, 19, 20, 21, 500):
            group.create_task(caller.ask(headers=[(b"wait-ms", str(wait_ms).encode())]))
        await asyncio.sleep(0.7)
        caller.service.stopping.begin()
        caller.hung_up.set()
    assert [message["status"] for message in caller.messages if "status" in message] == [200] * 6


def streamed(chunks: Callable[[], AsyncIterator[bytes]]) -> Handler:
    async def handler(_service: Service, exchange: Exchange) -> Stream:
        await exchange.raw_body()
        return Stream(b"text/plain", chunks())

    return handler


@seeded(seeds=10)
async def test_a_stream_ends_with_its_client_or_by_itself() -> None:
    """Two lines and the end; then one that never ends, whose client hangs up: it is closed and does not linger."""

    async def two() -> AsyncIterator[bytes]:
        yield b"1\n"
        await asyncio.sleep(1)
        yield b"2\n"

    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(1)
        finally:
            closed.append(True)

    caller = Caller(streamed(two))
    await caller.ask()
    assert b"".join(message.get("body", b"") for message in caller.messages) == b"1\n2\n"
    assert caller.messages[-1]["more_body"] is False
    caller = Caller(streamed(endless))
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.ask())
        await asyncio.sleep(5)
        caller.hung_up.set()
    assert closed
    assert caller.messages[-1].get("more_body") is True


@seeded
async def test_a_stream_that_fails_is_cut_and_not_ended() -> None:
    """A client must not take what it got for the whole; the log has the reason's type."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"1\n"
        raise Unavailable("hidden")

    caller = Caller(streamed(failing))
    with pytest.raises(StreamCut):
        await caller.ask()
    assert all(message.get("more_body", True) for message in caller.messages)
    assert "Unavailable" in caller.log.getvalue()
    assert "hidden" not in caller.log.getvalue()


@seeded
async def test_tenures_count_until_released_lost_or_silent() -> None:
    """Three references with leases of 10 s: one is released, one is used now and then, one falls silent."""
    caller = Caller(raising(LockLost()))
    tenures = caller.service.tenures
    for reference in ("released", "used", "silent"):
        tenures.seen(reference, 10_000)
    tenures.gone("released")
    assert tenures.count() == 2
    await asyncio.sleep(8)
    tenures.used("used")
    tenures.used("never seen")
    await asyncio.sleep(4)
    assert tenures.count() == 1
    await asyncio.sleep(8)
    assert tenures.count() == 0
    for number in range(5_000):
        tenures.seen(str(number), 1)
        await asyncio.sleep(0.01)
    assert len(tenures._until_s) < 2_000


@seeded(seeds=3)
async def test_only_losses_are_counted_as_losses(seed: int) -> None:
    """Goal: the counter of lost locks counts each lock once that was lost, and none that was released. Method: one is
    released and asked about again, one is preempted and asked about by several verbs; a section that is told so has a lock
    of its own."""
    async with world_of(seed) as world:
        (process,) = world.processes
        app = build_app(process.coordinator, Settings(), runtime=process.runtime)

        def losses() -> str:
            found = re.search(r"^polysite_lock_losses_total (\S+)", app.service.metrics.render().decode(), re.MULTILINE)
            assert found is not None
            return found[1]

        async with connect("", transport=AsgiTransport(app)) as site:
            coordinator, row = site.coordinator, world.row("a")
            assert isinstance(coordinator, HttpCoordinator)
            released = await coordinator.acquire([row])
            await coordinator.release(released.reference)
            calls: tuple[Callable[[LockAnswer], Awaitable[object]], ...] = (
                lambda lock: coordinator.renew(lock.reference),
                lambda lock: coordinator.get(row, level="critical", reference=lock.reference),
                lambda lock: coordinator.release(lock.reference),
            )
            for call in calls:
                with pytest.raises(LockLost):
                    await call(released)
            assert losses() == "0.0"
            for count, first in enumerate(calls, start=1):
                preempted = await coordinator.acquire([row])
                await coordinator.preempt(row)
                for call in (first, *calls):
                    with pytest.raises(LockLost):
                        await call(preempted)
                assert losses() == f"{count}.0"
                assert app.service.tenures.count() == 0


@seeded
async def test_slow_requests_are_logged_unless_they_wait_by_nature() -> None:
    """Two seconds of work where one is slow: a line with route, status and duration; none for a wait or a quick request."""

    async def work(_service: Service, exchange: Exchange) -> Reply:
        await asyncio.sleep(float(exchange.headers[b"work-s"]))
        return reply_json({})

    for waits, work_s, logged in ((False, b"2", 1), (False, b"0.5", 0), (True, b"2", 0)):
        caller = Caller(work, waits=waits)
        await caller.ask(headers=[(b"work-s", work_s)])
        lines = caller.log.getvalue().splitlines()
        assert len(lines) == logged
        if lines:
            assert {"route": "work", "status": 200, "duration_ms": 2000.0}.items() <= json.loads(lines[0]).items()
