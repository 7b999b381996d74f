"""The HTTP/1.1 connection: uvicorn's, with bounds on what a client may send before a request is understood."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from polysite.errors import BadRequest, PolysiteError, TooLarge
from polysite.server import problems

_HEAD_SLACK_BYTES = 16 * 1024
"""The head is counted with its line ends, colons and the parts that the application does not count."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long, heads and bodies that are too slow, and answers what is no HTTP with a problem."""

    header_bytes_max = 64 * 1024
    url_bytes_max = 16 * 1024
    part_s_max = 30.0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.url = b""
        self._head_bytes = 0
        self._in_head = False
        self._in_message = False
        self._late: asyncio.TimerHandle | None = None
        self._answered: RequestResponseCycle | None = None

    @classmethod
    def bounded(cls, *, url_bytes_max: int, header_bytes_max: int, part_s_max: float) -> "type[BoundedProtocol]":
        """The protocol with these bounds; uvicorn is handed a class."""
        bounds = {"url_bytes_max": url_bytes_max, "header_bytes_max": header_bytes_max, "part_s_max": part_s_max}
        return type("BoundedProtocol", (cls,), bounds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A connection on which nothing is ever sent is let go like one that went idle.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_time()
        super().connection_lost(exc)
        # uvicorn tells the request that was read last; with several in the pipe, another one is being answered.
        for cycle in (self._answered, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_message:
            return
        # What came did not end a request: count it if it was head, and see to it that the rest comes in time.
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.header_bytes_max + self.url_bytes_max + _HEAD_SLACK_BYTES:
                self._refuse(431, TooLarge(f"headers are at most {self.header_bytes_max} bytes together"))
                return
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(self.part_s_max, self._is_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._on_time()
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        self._in_message = False
        self._on_time()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """What the parser did not understand; a path beyond 64 KiB is among it."""
        if len(self.url) > self.url_bytes_max:
            self._refuse(414, TooLarge(f"a path with its query is at most {self.url_bytes_max} bytes"))
        else:
            self._refuse(400, BadRequest("this is not a request in HTTP/1.1"))

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_late(self) -> None:
        part = "head" if self._in_head else "body"
        self._refuse(408, BadRequest(f"the {part} of the request took too long to arrive"))

    def _refuse(self, status: int, error: PolysiteError) -> None:
        """Answer in the application's place and hang up; nothing is said if an answer has begun."""
        self._on_time()
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        in_body = self._in_message and not self._in_head
        if cycle is None or not cycle.response_started or (cycle.response_complete and not in_body):
            problem = problems.problem_of(error, status=status, request="-")
            body = problems.encode(problem)
            head = b"content-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (
                problems.MEDIA_TYPE,
                len(body),
            )
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
