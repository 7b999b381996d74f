"""The HTTP/1.1 connection: uvicorn's, with bounds on what a client may send before a request is understood."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from polysite.errors import BadRequest, PolysiteError, TooLarge
from polysite.server import problems

LINGER_BYTES_MAX = 64 * 1024 * 1024
LINGER_S_MAX = 30.0
LINGER_SILENCE_S_MAX = 2.0
"""How much, how long, and up to which silence a connection is still read that was answered before its request had ended."""

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
        self._closing: _Closing
        self._lingering: asyncio.TimerHandle | None = None
        self._linger_bytes_left = LINGER_BYTES_MAX
        self._linger_until_s = 0.0
        self._heard_s = 0.0

    @classmethod
    def bounded(cls, *, url_bytes_max: int, header_bytes_max: int, part_s_max: float) -> "type[BoundedProtocol]":
        """The protocol with these bounds; uvicorn is handed a class."""
        bounds = {"url_bytes_max": url_bytes_max, "header_bytes_max": header_bytes_max, "part_s_max": part_s_max}
        return type("BoundedProtocol", (cls,), bounds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._closing = _Closing(transport, self.close_gently)
        # A connection on which nothing is ever sent is let go like one that went idle.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_time()
        if self._lingering is not None:
            self._lingering.cancel()
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
        if self._lingering is not None:
            self._heard_s = self.loop.time()
            self._linger_bytes_left -= len(data)
            if self._linger_bytes_left < 0:
                self.transport.close()
            return
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
        self.cycle.transport = self._closing  # type: ignore[assignment]
        self._in_head = False

    def on_message_complete(self) -> None:
        self._in_message = False
        self._on_time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._lingering is None:
            super().on_response_complete()

    def close_gently(self) -> None:
        """Close once what the client still sends was read past.

        Closed with bytes unread, the kernel answers with a reset, and a client that is still sending then loses the answer
        that is on its way (RFC 9112, 9.6). So: no more from us, what comes is dropped, until the client hangs up, is silent,
        or passes a bound.
        """
        if not self._in_message or self.transport.is_closing():
            self.transport.close()
        elif self._lingering is None:
            self._on_time()
            self._unset_keepalive_if_required()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self._heard_s = self.loop.time()
            self._linger_until_s = self._heard_s + LINGER_S_MAX
            self._lingering = self.loop.call_later(LINGER_SILENCE_S_MAX, self._linger)
            self.flow.resume_reading()

    def _linger(self) -> None:
        now_s = self.loop.time()
        left_s = min(self._heard_s + LINGER_SILENCE_S_MAX, self._linger_until_s) - now_s
        if left_s <= 0:
            self.transport.close()
        else:
            self._lingering = self.loop.call_later(left_s, self._linger)

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
        if self.transport.is_closing() or self._lingering is not None:
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
        self.close_gently()


class _Closing:
    """The transport as a request sees it, but that it is closed gently."""

    __slots__ = ("close", "get_extra_info", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.close = close
