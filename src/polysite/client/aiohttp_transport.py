"""The asyncio transport, over aiohttp."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from yarl import URL

from polysite.client.transport import (
    ANSWER_S_DEFAULT,
    CONNECT_S_DEFAULT,
    CONNECTIONS_MAX,
    IDLE_S_MAX,
    LINE_BYTES_MAX,
    NotAnswered,
    NotSent,
    Request,
    Response,
)


class AiohttpTransport:
    """One process of a site, reached at `base_url` (scheme, host, port). Connections are made when first needed."""

    def __init__(self, base_url: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        """`ssl_context` None: the machine's own trust store for https."""
        self._base = base_url.rstrip("/")
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._limits = _limits(ANSWER_S_DEFAULT)

    async def send(self, request: Request) -> Response:
        session = self._session or self._open()
        try:
            async with session.request(
                request.method,
                URL(self._base + request.target, encoded=True),
                headers=request.headers,
                data=request.body or None,
                timeout=self._limits_of(request),
                allow_redirects=False,
            ) as response:
                body = await response.read()
                return Response(response.status, _lower(response.headers), body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, self._base) from error

    async def stream(self, request: Request) -> AsyncIterator[Response | bytes]:
        session = self._session or self._open()
        try:
            async with session.request(
                request.method,
                URL(self._base + request.target, encoded=True),
                headers=request.headers,
                data=request.body or None,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_DEFAULT),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    yield Response(response.status, _lower(response.headers), await response.read())
                    return
                yield Response(response.status, _lower(response.headers), b"")
                rest = b""
                async for piece in response.content.iter_any():
                    *lines, rest = (rest + piece).split(b"\n")
                    if len(rest) > LINE_BYTES_MAX:
                        raise NotAnswered("a line of the answer is too long")
                    for line in lines:
                        yield line.rstrip(b"\r")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, self._base) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX, keepalive_timeout=IDLE_S_MAX, ssl=self._ssl if self._ssl is not None else True
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # A POST without a body would be called an octet stream, which the server refuses as not being JSON.
            skip_auto_headers=("content-type",),
        )
        # aiohttp sends PUT and DELETE a second time by itself when a kept connection breaks under them. A put that came
        # through the first time would then be made twice, the second time perhaps over somebody else's.
        session._retry_connection = False  # noqa: SLF001
        self._session = session
        return session

    def _limits_of(self, request: Request) -> aiohttp.ClientTimeout:
        return self._limits if request.answer_s == ANSWER_S_DEFAULT else _limits(request.answer_s)


def _limits(answer_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=answer_s, sock_connect=CONNECT_S_DEFAULT)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _translated(error: Exception, base: str) -> Exception:
    """Only what aiohttp raises before it has a connection is NotSent; a connection's own failures may come after a byte."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return NotSent(f"no connection to {base}: {error}")
    detail = str(error) or type(error).__name__
    return NotAnswered(f"no whole answer from {base}: {detail}")
