"""A TCP proxy in front of one server that can go deaf either way, drop what is open, and turn newcomers away.

async with Proxy("127.0.0.9", 2181) as proxy:
    connect(proxy.address)
    proxy.answers.clear()       # what the server says is kept here
    proxy.answers.set()         # and goes on
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class Proxy:
    """`requests` and `answers` say whether each way is open; what arrives on a closed one waits. `refuses`: newcomers are let in
    and at once closed. `slow`: a request with these bytes in it has its answer only once `done` is set, and all later answers of its
    connection wait for that, as with a server that answers in order."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.requests = asyncio.Event()
        self.answers = asyncio.Event()
        self.refuses = False
        self.slow = b""
        self.slow_arrived = asyncio.Event()
        self.done = asyncio.Event()
        self.connections = 0
        """Those carried on to the server so far."""

    async def __aenter__(self) -> Self:
        self.requests.set()
        self.answers.set()
        self._server = await asyncio.start_server(self._met, self._host, 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.refuses = True
        self.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Close whatever is open, with what waits in it."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        self._writers |= {writer, back}
        in_time = asyncio.Event()
        in_time.set()
        for carried in (
            self._carry(reader, self.requests, back, partial(self._notice, in_time)),
            self._carry(there, self.answers, writer, lambda _chunk: in_time.wait()),
        ):
            task = asyncio.create_task(carried)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _notice(self, in_time: asyncio.Event, chunk: bytes) -> None:
        """Close the way back if a slow request passes."""
        if self.slow and self.slow in chunk:
            in_time.clear()
            self.slow_arrived.set()
            task = asyncio.create_task(self._open_when_done(in_time))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open_when_done(self, in_time: asyncio.Event) -> None:
        await self.done.wait()
        in_time.set()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        gate: asyncio.Event,
        sink: asyncio.StreamWriter,
        before: Callable[[bytes], Awaitable[object]],
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                await gate.wait()
                await before(chunk)
                sink.write(chunk)
                await sink.drain()
        sink.close()
