"""A server process from its settings to its end.

bind → make the coordinator (it wants to know the address) → listen → serve
SIGTERM or SIGINT → refuse new work, end waits and streams → let tenures finish, at most `stop_ms`
→ stop listening, let requests finish → close the coordinator
a second signal → at once
"""

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import NamedTuple, Protocol, runtime_checkable

import uvicorn

from polysite.api import Coordinator
from polysite.clock import Runtime
from polysite.errors import BadRequest
from polysite.server.app import Application, build_app
from polysite.server.logs import forward_libraries, make_logger
from polysite.server.peers import load_secret, peer_routes, secret_path
from polysite.server.protocol import BoundedProtocol
from polysite.server.routing import Route
from polysite.server.service import Service
from polysite.server.settings import Settings, check_exposure
from polysite.server.tls import check_files

EXIT_OK = 0
EXIT_FAILED = 1
BACKLOG = 2_048
_DRAIN_STEP_S = 0.05
_LOOK_STEP_S = 1.0
"""Between two looks whether references that nobody released are lost: each reads a lock cell per reference."""
_TELL_S = 0.2
_COLLECT_AFTER = 10_000
"""Objects made and not freed before cycles among them are looked for."""


class Place(NamedTuple):
    """Where this process is reached: the base URL that clients and other processes use."""

    url: str


CoordinatorFactory = Callable[[Settings, Place, Runtime], Awaitable[Coordinator]]
"""Makes the started coordinator of a process; the server closes it."""


def serve(
    settings: Settings,
    factory: CoordinatorFactory,
    *,
    ready: Callable[[str], None] | None = None,
    runtime: Runtime | None = None,
) -> int:
    """Serve until a signal says stop; the exit code. `ready` is called with the URL once requests are answered."""
    with rare_collections(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(run(settings, factory, ready=ready, runtime=runtime))


async def run(
    settings: Settings,
    factory: CoordinatorFactory,
    *,
    ready: Callable[[str], None] | None = None,
    runtime: Runtime | None = None,
) -> int:
    """As `serve`, on the running loop. BadRequest if the settings would expose the server by accident."""
    check_exposure(settings)
    check_files(settings)
    runtime = runtime or Runtime()
    logger = make_logger(settings.telemetry, runtime.clock)
    with contextlib.ExitStack() as stack:
        stack.callback(forward_libraries(logger))
        listener = stack.enter_context(_bind(settings))
        place = Place(settings.site.advertise or _url(settings, listener))
        coordinator = await factory(settings, place, runtime)
        try:
            routes = _peer_routes(coordinator, settings, runtime)
            app = build_app(coordinator, settings, runtime=runtime, logger=logger, routes=routes)
            await _serve_app(app, settings, listener, place, ready)
        finally:
            await coordinator.close()
        logger.info("stopped")
    return EXIT_OK


@runtime_checkable
class HearsPeers(Protocol):
    """A coordinator that answers messages of other processes."""

    async def handle_peer_message(self, kind: str, body: bytes) -> bytes: ...


def _peer_routes(coordinator: Coordinator, settings: Settings, runtime: Runtime) -> list[Route]:
    """The peer channel at `/internal/1/`, for processes that cannot reach the socket beside the file."""
    if not isinstance(coordinator, HearsPeers):
        return []
    return peer_routes(coordinator.handle_peer_message, load_secret(secret_path(settings), runtime.randomness))


async def _serve_app(
    app: Application, settings: Settings, listener: socket.socket, place: Place, ready: Callable[[str], None] | None
) -> None:
    server = StoppableServer(app.service, uvicorn_config(app, settings))
    serving = app.service.runtime.spawner.spawn(server.serve(sockets=[listener]), name="server: uvicorn")
    while not server.started and not serving.done():
        await app.service.runtime.clock.sleep_s(0.005)
    if server.started:
        app.service.logger.info("listening", url=place.url, site=settings.site.name)
        if ready is not None:
            ready(place.url)
    await serving


def uvicorn_config(app: Application, settings: Settings) -> uvicorn.Config:
    """Uvicorn set up for this application: nothing of its own is logged per request, nothing is guessed."""
    server = settings.server
    protocol = BoundedProtocol.bounded(
        url_bytes_max=server.url_bytes_max,
        header_bytes_max=server.header_bytes_max,
        part_s_max=server.body_ms_max / 1000,
    )
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, server.keep_alive_ms // 1000),
        timeout_graceful_shutdown=max(1, server.stop_ms // 1000),
        ssl_certfile=server.tls_certificate or None,
        ssl_keyfile=server.tls_key or None,
    )


class StoppableServer(uvicorn.Server):
    """Stops in two steps, so that sections of several calls can finish: first no new work, then no new connections."""

    def __init__(self, service: Service, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal came. Called between any two instructions, so the work is left to the loop."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Begin to stop; called again: stop at once."""
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._service.logger.info("stopping", references=self._service.tenures.count())
        self._service.stopping.begin()
        self._draining = self._service.runtime.spawner.spawn(self._drain(), name="server: drain")

    async def _drain(self) -> None:
        """Until every tenure is over, or the bound."""
        clock = self._service.runtime.clock
        # Who is between two requests of a kept connection is told by an answer, not by a connection that breaks.
        await clock.sleep_s(_TELL_S)
        tenures = self._service.tenures
        now_s = look_at_s = clock.monotonic_s()
        until_s = now_s + self._service.settings.server.stop_ms / 1000
        while tenures.count() and now_s < until_s and not self.should_exit:
            if now_s >= look_at_s:
                look_at_s = now_s + _LOOK_STEP_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(until_s - now_s):  # an engine that hangs must not keep us
                        await tenures.look(self._service.coordinator)
                if not tenures.count():
                    break
            await clock.sleep_s(_DRAIN_STEP_S)
            now_s = clock.monotonic_s()
        self.should_exit = True


def _bind(settings: Settings) -> socket.socket:
    """A bound socket that does not listen yet, so that the address is known and nobody connects too early."""
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((server.host.strip("[]"), server.port))
    except OSError as error:
        listener.close()
        raise BadRequest(f"cannot listen on {server.host} port {server.port}: {error.strerror}") from None
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host = settings.server.host.strip("[]")
    port = listener.getsockname()[1]
    scheme = "https" if settings.server.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles less often while this process serves.

    What requests make is freed by reference counting; with Python's own threshold, those of a few dozen requests under
    way are walked through again and again, for nearly a tenth of all work.
    """
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where there is one."""
    if sys.platform == "win32":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


__all__ = ["CoordinatorFactory", "Place", "StoppableServer", "run", "serve", "uvicorn_config"]
