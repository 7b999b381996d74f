"""The two transports against a server that misbehaves on purpose: what was sent, and what the caller is told of it.

Method: a listening socket on loopback whose answers the test scripts per connection; it counts the requests that arrive.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from polysite.client import NotAnswered, NotSent, Request, Response
from polysite.client.aiohttp_transport import AiohttpTransport
from polysite.client.pool_transport import PoolTransport

Send = Callable[[str, list[Request]], list[Response | Exception]]
WAIT_S = 20
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Found: Yes\r\n\r\n{}"


class Server:
    """Reads requests and answers each by the next script item: bytes to send, or None to hang up without an answer."""

    def __init__(self, *script: bytes | None) -> None:
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        while request := self._read(connection):
            self.requests.append(request)
            answer = self._script.pop(0) if self._script else None
            if answer is None:
                break
            connection.sendall(answer)
            if b"Connection: close" in answer:
                break
        connection.close()

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return b""
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            while len(body) < length:
                body += connection.recv(65536)
        except OSError:
            return b""
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(*script: bytes | None) -> Server:
        made.append(Server(*script))
        return made[-1]

    yield make
    for server in made:
        server.close()


def send_waiting(url: str, requests: list[Request]) -> list[Response | Exception]:
    """Over the asyncio transport, one after the other."""

    async def main() -> list[Response | Exception]:
        transport = AiohttpTransport(url)
        found: list[Response | Exception] = []
        try:
            for request in requests:
                try:
                    found.append(await transport.send(request))
                except Exception as error:
                    found.append(error)
        finally:
            await transport.close()
        return found

    return asyncio.run(main())


def send_blocking(url: str, requests: list[Request]) -> list[Response | Exception]:
    """Over the blocking transport, one after the other."""
    transport = PoolTransport(url)
    found: list[Response | Exception] = []
    for request in requests:
        try:
            found.append(transport.send(request))
        except Exception as error:
            found.append(error)
    transport.close()
    return found


@pytest.fixture(params=[send_waiting, send_blocking], ids=["asyncio", "blocking"])
def send(request: pytest.FixtureRequest) -> Send:
    found: Send = request.param
    return found


def put(answer_s: float = WAIT_S) -> Request:
    return Request(
        "PUT", "/v3/keyspaces/k/tables/t/rows/a%2Fb?level=eventual", {"x-asked": "1"}, b'{"columns":{}}', answer_s
    )


def test_requests_go_out_as_they_are(servers: Callable[..., Server], send: Send) -> None:
    """Path, header and body unchanged; the answer whole; the connection is used again."""
    server = servers(ANSWER, ANSWER)
    first, second = send(server.url, [put(), put()])
    assert isinstance(first, Response)
    assert isinstance(second, Response)
    assert (first.status, first.body, first.headers["x-found"]) == (200, b"{}", "Yes")
    head = server.requests[0].split(b"\r\n")
    assert head[0] == b"PUT /v3/keyspaces/k/tables/t/rows/a%2Fb?level=eventual HTTP/1.1"
    assert server.requests[0].endswith(b'{"columns":{}}')
    assert server.connections == 1


def test_a_request_without_a_body_claims_none(servers: Callable[..., Server], send: Send) -> None:
    """No library adds a content type of its own: the server refuses one that is not JSON."""
    server = servers(ANSWER, ANSWER)
    send(server.url, [Request(method, "/v3/locks/-/renew", {}, b"", WAIT_S) for method in ("POST", "DELETE")])
    assert not any(b"content-type" in request.lower() for request in server.requests)
    assert len(server.requests) == 2


def test_nobody_listens(send: Send) -> None:
    """No byte left: certainly nothing happened."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        (found,) = send(f"http://127.0.0.1:{bound.getsockname()[1]}", [put()])
    assert isinstance(found, NotSent)


def test_hung_up_after_the_request(servers: Callable[..., Server], send: Send) -> None:
    """It arrived and was not answered: it may have happened."""
    server = servers(None)
    (found,) = send(server.url, [put()])
    assert isinstance(found, NotAnswered)
    assert len(server.requests) == 1


def test_a_kept_connection_that_breaks_under_a_put(servers: Callable[..., Server], send: Send) -> None:
    """The put arrived once and is not sent a second time by anybody: libraries that call PUT idempotent would."""
    server = servers(ANSWER, None, ANSWER)
    found = send(server.url, [put(), put()])
    assert isinstance(found[1], NotAnswered)
    assert len(server.requests) == 2


def test_a_connection_that_was_closed_meanwhile(servers: Callable[..., Server], send: Send) -> None:
    """One that the server closed after its answer is not used again, and nothing is told as unanswered."""
    closing = ANSWER.replace(b"X-Found", b"Connection: close\r\nX-Found")
    server = servers(closing, ANSWER)
    found = send(server.url, [put(), put()])
    assert [type(item) for item in found] == [Response, Response]
    assert server.connections == 2


@pytest.mark.parametrize("half", [ANSWER[:10], ANSWER[:-1], b"nonsense\r\n\r\n"])
def test_half_an_answer_is_none(servers: Callable[..., Server], send: Send, half: bytes) -> None:
    """Cut short or not HTTP: what the server did is not known."""
    (found,) = send(servers(half, None).url, [put(answer_s=0.3)])
    assert isinstance(found, NotAnswered)


def test_no_answer_in_time(servers: Callable[..., Server], send: Send) -> None:
    """The bound of the answer is kept, and what happened is not known."""
    (found,) = send(servers(b"").url, [put(answer_s=0.2)])
    assert isinstance(found, NotAnswered)


def test_redirections_are_not_followed(servers: Callable[..., Server], send: Send) -> None:
    """A write must not wander to an address nobody named."""
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    (found,) = send(servers(moved).url, [put()])
    assert isinstance(found, Response)
    assert found.status == 307


def test_many_threads_have_a_connection_each(servers: Callable[..., Server]) -> None:
    """The pool of the blocking transport never mixes two answers up, and keeps the connections for later."""
    count = 8
    server = servers(*[ANSWER] * (2 * count))
    transport = PoolTransport(server.url)
    together = threading.Barrier(count)
    found: list[Response] = []

    def work() -> None:
        together.wait(WAIT_S)
        found.append(transport.send(put()))
        found.append(transport.send(put()))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    transport.close()
    assert [response.status for response in found] == [200] * (2 * count)
    assert server.connections <= count
