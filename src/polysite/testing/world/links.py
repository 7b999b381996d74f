"""Connections of clients to the server processes of their site, in virtual time, with faults of their own.

A site has so many ports; a process that begins to serve takes the first free one, and it is free again when the process is dead. A
`Link` is the client's transport to one port: a request goes over it into the server's application, in the process, behind its
gate, and an answer comes back, unless the weather has it that the request is lost, or refused, or late, or there twice, or that the answer is lost
though the call was carried out. As with a server on sockets, a client that hangs up stops nothing: the application is told.

What was answered to requests that carry an idempotency key is kept by the `Witness`, whether or not the answer arrived.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from polysite.client.asgi_transport import Message, scope_of
from polysite.client.transport import AsyncTransport, NotAnswered, NotSent, Request, Response
from polysite.server.app import Application, build_app
from polysite.server.settings import Settings, TelemetrySettings, V2Settings
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.processes import Process
from polysite.testing.world.witness import Witness

PORTS = 2
"""Addresses that a site's clients know."""

AWAY_S = 0.001
"""From a client to the processes of its site, one way."""

CONNECT_S = 2.0
"""How long a client tries to connect over a cut link."""

CLIENT = ("127.0.0.1", 1)
V2_LEASE_MS = 2_000

SETTINGS = Settings(v2=V2Settings(lease_ms=V2_LEASE_MS), telemetry=TelemetrySettings(log_level="error", slow_ms=0))


@dataclass
class LinkWeather:
    """How often requests go wrong: shares of all. `late` ones take up to `late_s` more. `doubled` ones come
    again within it once they were done: one that was refused and comes again may well be done, but no client can know of it."""

    lost: float = 0.0
    unanswered: float = 0.0
    refused: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    late_s: float = 4.0


class Links:
    """All connections of a world. `processes`: those of each site, in the order of their start."""

    def __init__(self, seed: int | str, processes: Mapping[str, list[Process]]) -> None:
        self.chance = SeededRandomness(f"{seed}/links")
        self.weather = LinkWeather()
        self.witness = Witness()
        self._failures: list[str] = []
        self._processes = processes
        self._cut: set[str] = set()
        self._ports: dict[tuple[str, int], Process] = {}
        self._apps: dict[str, Application] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def transports(self, site: str) -> list[AsyncTransport]:
        """What a client at that site has, a transport per port."""
        return [Link(self, site, port) for port in range(PORTS)]

    def cut(self, site: str) -> None:
        """Nothing passes between the site's clients and its processes from now on; nor what is under way."""
        self._cut.add(site)

    def heal(self, site: str | None = None) -> None:
        """Mend the link of a site; None: all, and the weather."""
        if site is not None:
            self._cut.discard(site)
            return
        self._cut.clear()
        self.weather = LinkWeather()

    def is_cut(self, site: str) -> bool:
        return site in self._cut

    def happens(self, share: float) -> bool:
        return share > 0 and self.chance.uniform(0.0, 1.0) < share

    def process_at(self, site: str, port: int) -> Process | None:
        """Who listens at that port; None: nobody."""
        ports = [(site, number) for number in range(PORTS)]
        for place in ports:
            if place in self._ports and self._ports[place].gate.dead:
                del self._ports[place]
        for process in self._processes[site]:
            free = next((place for place in ports if place not in self._ports), None)
            if free and process.serves and not process.gate.dead and process not in self._ports.values():
                self._ports[free] = process
        return self._ports.get((site, port))

    def carry(self, process: Process, request: Request, connection: "Connection") -> None:
        """Have the process take the request in."""
        work = self._carried(process, request, connection)
        task = process.runtime.spawner.spawn(work, name=f"{request.method} at {process.name}")
        self._under_way.add(task)
        task.add_done_callback(functools.partial(self._ended, connection))

    @property
    def findings(self) -> list[str]:
        """What is to be held against the servers: answers that differ, and exceptions that nobody foresaw."""
        return self.witness.findings + self._failures

    async def idle(self) -> None:
        """Return once no request is under way in any process."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _ended(self, connection: "Connection", task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if task.cancelled():  # the process is dead, and its end of the connection closed
            connection.broken()
        else:
            task.result()

    async def _carried(self, process: Process, request: Request, connection: "Connection") -> None:
        await process.gate.passed()
        response = await answered(self._app(process), request, connection.hung_up)
        await process.gate.passed()
        self.witness.note(process.name, request, response)
        connection.home(response)

    def _app(self, process: Process) -> Application:
        """The server's application in that process."""
        if process.name not in self._apps:
            logger = _Log(self._failures)
            app = build_app(process.coordinator, SETTINGS, runtime=process.runtime, logger=logger)
            self._apps[process.name] = app
        return self._apps[process.name]


class Link:
    """The transport of a client to one port."""

    def __init__(self, links: Links, site: str, port: int) -> None:
        self._links = links
        self._site = site
        self._port = port

    async def send(self, request: Request) -> Response:
        links = self._links
        await asyncio.sleep(AWAY_S)
        if links.is_cut(self._site):
            raise await self._over_a_cut(request)
        if links.process_at(self._site, self._port) is None or links.happens(links.weather.refused):
            raise NotSent("connection refused")
        connection = Connection(links, self._site)
        if links.happens(links.weather.lost):
            connection.lose()
        else:
            late_s = links.weather.late_s
            self._arrive_in(request, connection, links.happens(links.weather.late) * links.chance.uniform(0.0, late_s))
            if may_come_twice(request) and links.happens(links.weather.doubled):
                connection.then = lambda: self._arrive_in(request, connection, links.chance.uniform(0.0, late_s))
        try:
            async with asyncio.timeout(request.answer_s):
                response = await connection.answer
        except TimeoutError:
            raise NotAnswered(f"no answer within {request.answer_s:g} s") from None
        finally:
            connection.hung_up.set()
        if response is None:
            raise NotAnswered("the connection broke")
        return response

    def stream(self, request: Request) -> AsyncIterator[Response | bytes]:
        """No client of this world listens to events."""
        raise NotSent(f"{request.target}: this link carries no streams")

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _over_a_cut(self, request: Request) -> NotSent | NotAnswered:
        """As a connection fails that is to be made, or one that was kept."""
        if self._links.happens(0.5):
            await asyncio.sleep(CONNECT_S)
            return NotSent("no connection could be made")
        await asyncio.sleep(request.answer_s)
        return NotAnswered(f"no answer within {request.answer_s:g} s")

    def _arrive_in(self, request: Request, connection: "Connection", delay_s: float) -> None:
        asyncio.get_running_loop().call_later(AWAY_S + delay_s, self._arrive, request, connection)

    def _arrive(self, request: Request, connection: "Connection") -> None:
        """Whoever listens there by now takes it in, though the client may have given up."""
        process = self._links.process_at(self._site, self._port)
        if process is None:
            connection.broken()
        elif not self._links.is_cut(self._site):
            self._links.carry(process, request, connection)


class Connection:
    """What a client waits on."""

    def __init__(self, links: Links, site: str) -> None:
        self._links = links
        self._site = site
        self.answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        """None: the connection broke."""
        self.hung_up = asyncio.Event()
        self.then: Callable[[], None] | None = None
        """What follows on a call that was done."""

    def home(self, response: Response) -> None:
        """The answer goes on its way."""
        then, self.then = self.then, None
        if then is not None and response.status < 300:
            then()
        if self._links.happens(self._links.weather.unanswered):
            self.lose()
        elif not self._links.is_cut(self._site):
            self._later(response)

    def lose(self) -> None:
        """What was under way is lost: the client sees that the connection broke, or sees nothing at all."""
        if self._links.happens(0.5):
            self.broken()

    def broken(self) -> None:
        """The other end is closed."""
        self._later(None)

    def _later(self, response: Response | None) -> None:
        asyncio.get_running_loop().call_later(AWAY_S, self._told, response)

    def _told(self, response: Response | None) -> None:
        if not self.answer.done():
            self.answer.set_result(response)


def may_come_twice(request: Request) -> bool:
    """Whether somebody on the way may send a request a second time: it only reads, or says itself that it is to happen once."""
    if request.method == "GET" or "idempotency-key" in request.headers:
        return True
    return request.target in ("/v3/locks/-/wait", "/v3/locks/-/renew")


async def answered(app: Application, request: Request, hung_up: asyncio.Event) -> Response:
    """What the application answers to the request."""
    parts = [{"type": "http.request", "body": request.body, "more_body": False}]
    told: list[Message] = []

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        told.append(message)

    await app(scope_of(request, CLIENT), receive, send)
    if not told:  # the client hung up, and nobody was left to answer
        return Response(499, {}, b"")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in told[0]["headers"]}
    return Response(told[0]["status"], headers, b"".join(message.get("body", b"") for message in told[1:]))


class _Log:
    """A server's log, of which errors are kept."""

    def __init__(self, failures: list[str]) -> None:
        self._failures = failures

    def error(self, event: str, **told: Any) -> None:
        self._failures.append(f"{event}: {told}")

    def _nothing(self, event: str, **told: Any) -> None:
        """What is no failure."""

    debug: Callable[..., None] = _nothing
    info: Callable[..., None] = _nothing
    warning: Callable[..., None] = _nothing
