"""The blocking transport: a small pool of connections over the standard library's http.client."""

import http.client
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

from polysite.client.transport import (
    CONNECT_S_DEFAULT,
    CONNECTIONS_MAX,
    IDLE_S_MAX,
    LINE_BYTES_MAX,
    NotAnswered,
    NotSent,
    Request,
    Response,
)


class PoolTransport:
    """One process of a site, reached at `base_url`. Any number of threads; each request has a connection to itself.

    `answer_s` of a request bounds each wait for bytes, so an answer that trickles in may take longer as a whole.
    """

    def __init__(self, base_url: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        """`ssl_context` None: the machine's own trust store for https."""
        parts = urlsplit(base_url)
        self._base = base_url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._ssl = ssl_context
        self._lock = threading.Lock()
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()
        self._closed = False

    def send(self, request: Request) -> Response:
        connection = self._connection()
        try:
            found = self._answer(connection, request)
            body = found.read()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            raise self._not_answered(error) from error
        except BaseException:
            connection.close()
            raise
        if found.will_close:
            connection.close()
        else:
            self._keep(connection)
        return Response(found.status, _lower(found), body)

    def stream(self, request: Request) -> Iterator[Response | bytes]:
        connection = self._connection()
        try:
            found = self._answer(connection, request)
            if found.status != 200:
                yield Response(found.status, _lower(found), found.read())
                return
            yield Response(found.status, _lower(found), b"")
            if connection.sock is not None:
                connection.sock.settimeout(None)
            while line := found.readline(LINE_BYTES_MAX):
                yield line.rstrip(b"\r\n")
        except (http.client.HTTPException, OSError) as error:
            raise self._not_answered(error) from error
        finally:
            connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            kept, self._idle = self._idle, deque()
        for connection, _ in kept:
            connection.close()

    def _answer(self, connection: http.client.HTTPConnection, request: Request) -> http.client.HTTPResponse:
        if connection.sock is not None:
            connection.sock.settimeout(request.answer_s)
        connection.request(
            request.method, self._path + request.target, body=request.body or None, headers=dict(request.headers)
        )
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        """A kept connection that still lives, else a new one; NotSent if there is none to be had."""
        now_s = time.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection, kept_s = self._idle.pop()
            if now_s - kept_s < IDLE_S_MAX and not _has_ended(connection):
                return connection
            connection.close()
        if self._secure:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_S_DEFAULT, context=self._ssl
            )
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S_DEFAULT)
        try:
            made.connect()
        except (OSError, http.client.HTTPException) as error:
            made.close()
            raise NotSent(f"no connection to {self._base}: {error}") from error
        return made

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < CONNECTIONS_MAX:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def _not_answered(self, error: Exception) -> NotAnswered:
        return NotAnswered(f"no whole answer from {self._base}: {str(error) or type(error).__name__}")


def _lower(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has let go of a connection that nothing was asked on: then it has something to read."""
    if connection.sock is None:
        return True
    watch = select.poll()
    watch.register(connection.sock, select.POLLIN)
    return bool(watch.poll(0))
