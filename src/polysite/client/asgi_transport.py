"""A transport into an ASGI application of this process: no socket, the same bytes. For tests and examples."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from polysite.client.transport import Request, Response

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def scope_of(request: Request, client: tuple[str, int]) -> Message:
    """The request as an ASGI server tells it to the application, but for its body."""
    path, _, query = request.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        + [(b"host", b"127.0.0.1"), (b"content-length", str(len(request.body)).encode())],
        "client": client,
        "server": ("127.0.0.1", 80),
        "state": {},
    }


class AsgiTransport:
    """Requests go into `application`; a request that is given up is seen there as a client that hung up."""

    def __init__(self, application: Application, *, client: tuple[str, int] = ("127.0.0.1", 1)) -> None:
        self._application = application
        self._client = client

    async def send(self, request: Request) -> Response:
        status = 500
        headers: dict[str, str] = {}
        body = bytearray()
        async for item in self._messages(request):
            if item["type"] == "http.response.start":
                status = item["status"]
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in item["headers"]}
            else:
                body += item.get("body", b"")
        return Response(status, headers, bytes(body))

    async def stream(self, request: Request) -> AsyncIterator[Response | bytes]:
        rest = b""
        async for item in self._messages(request):
            if item["type"] == "http.response.start":
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in item["headers"]}
                yield Response(item["status"], headers, b"")
                continue
            *lines, rest = (rest + item.get("body", b"")).split(b"\n")
            for line in lines:
                yield line.rstrip(b"\r")

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _messages(self, request: Request) -> AsyncIterator[Message]:
        scope = scope_of(request, self._client)
        answers: asyncio.Queue[Message | None] = asyncio.Queue()
        hung_up = asyncio.Event()
        given = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> Message:
            if given:
                return given.pop()
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answers.put_nowait(message)

        async def carry() -> None:
            try:
                await self._application(scope, receive, send)
            finally:
                answers.put_nowait(None)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(carry())
            whole = False
            try:
                while not whole and (message := await answers.get()) is not None:
                    whole = message["type"] == "http.response.body" and not message.get("more_body", False)
                    yield message
            finally:
                hung_up.set()
                if not whole and not task.done() and task.cancelling() == 0:
                    task.cancel()
