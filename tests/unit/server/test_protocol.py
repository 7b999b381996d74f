"""How a connection ends that was answered before its request had.

Method: the protocol on virtual time, with a transport that only notes what is done to it, and an application that refuses
every body unread.
"""

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from polysite.server.protocol import LINGER_BYTES_MAX, LINGER_S_MAX, LINGER_SILENCE_S_MAX, BoundedProtocol
from polysite.testing.loop import seeded

HEAD = b"PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


class NotedTransport:
    """A transport that sends nothing."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """Nothing is read anyway."""

    def resume_reading(self) -> None:
        """Nothing is read anyway."""


async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def answered(data: bytes) -> tuple[BoundedProtocol, NotedTransport]:
    """A connection on which `data` came, after the answer."""
    protocol = BoundedProtocol.bounded(url_bytes_max=100, header_bytes_max=1_000, part_s_max=1)
    config = Config(refuse, http=protocol, ws="none", lifespan="off", log_config=None)
    connection = protocol(config=config, server_state=ServerState(), app_state={})
    transport = NotedTransport()
    connection.connection_made(cast(asyncio.Transport, transport))
    connection.data_received(data)
    await asyncio.sleep(0.01)
    assert transport.written.startswith(b"HTTP/1.1 413")
    return connection, transport


@seeded
async def test_what_a_client_still_sends_is_read_past_before_the_connection_is_closed() -> None:
    """Goal: the answer is not lost to a reset, and the bounds on what is read past hold.

    Method: answer within the body; then fall silent, send for ever, send too much, or hang up.
    """
    for kind in ("silent", "endless", "huge", "hangs up"):
        connection, transport = await answered(HEAD % 10_000_000 + b"x" * 1_000)
        assert (transport.ended, transport.closed) == (True, False)
        started_s = asyncio.get_running_loop().time()
        if kind == "huge":
            connection.data_received(b"x" * LINGER_BYTES_MAX)
            assert not transport.closed
            connection.data_received(b"x")
        elif kind == "hangs up":
            connection.connection_lost(None)
        while not transport.closed:
            await asyncio.sleep(0.5)
            if kind == "endless" and not transport.closed:
                connection.data_received(b"x")
        lasted_s = asyncio.get_running_loop().time() - started_s
        expected_s = {"silent": LINGER_SILENCE_S_MAX, "endless": LINGER_S_MAX}.get(kind, 0)
        assert expected_s - 0.01 <= lasted_s <= expected_s + 1
        if kind != "hangs up":
            connection.connection_lost(None)


@seeded
async def test_a_request_that_had_ended_is_closed_at_once() -> None:
    """Goal: nobody waits for a client that has sent all it had to. Method: a whole body, then look."""
    connection, transport = await answered(HEAD % 3 + b"abc")
    assert (transport.ended, transport.closed) == (False, True)
    connection.connection_lost(None)


@seeded
async def test_nothing_behind_a_refused_body_is_carried_out() -> None:
    """Goal: what comes after the answer is dropped, not read as a request. Method: the rest of the body and another."""
    connection, transport = await answered(HEAD % 10 + b"x" * 5)
    connection.data_received(b"x" * 5 + HEAD % 3 + b"abc")
    await asyncio.sleep(1)
    assert transport.written.count(b"HTTP/1.1") == 1
    connection.connection_lost(None)
