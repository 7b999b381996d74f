"""The interface of MUSIC 3.x over sockets: what clients, and those who mean no good, do to connections.

Method: one server process; bytes are sent as they are.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.music import BASE, KEYSPACE
from tests.support.server_process import ServerProcess

ROWS = f"{BASE}/v2/keyspaces/sock/tables/t/rows"
INSERT = {"values": {"id": "seekrit-row", "note": "n"}, "consistencyInfo": {"type": "eventual"}}
LEASE_MS = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    variables = {"POLYSITE_V2_LEASE_MS": f"{LEASE_MS}", "POLYSITE_TELEMETRY_LOG_LEVEL": "debug"}
    with ServerProcess(tmp_path_factory.mktemp("music"), variables=variables) as running:
        assert running.request("POST", f"{BASE}/v2/keyspaces/sock", KEYSPACE).status == 200
        table = {"fields": {"id": "text", "note": "text"}, "primaryKey": "id"}
        assert running.request("POST", f"{BASE}/v2/keyspaces/sock/tables/t", table).status == 200
        yield running
        assert not [event for event in running.log if event.get("level") == "error"]
        assert "seekrit" not in json.dumps(running.log)


def told(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """One request on a connection that is kept."""
    connection.request(method, path, body, {"content-type": "application/json"} if body else {})
    response = connection.getresponse()
    assert response.headers.get("connection", "keep-alive").lower() != "close"
    return response.status, response.read()


def test_a_connection_outlives_failures(server: ServerProcess) -> None:
    """400 after 400 on one connection: bad paths, bad bodies, locks that are not held, and then a success."""
    with contextlib.closing(server.connection()) as connection:
        told(connection, "GET", "/")
        opened = connection.sock
        for method, path, body in (
            ("GET", f"{BASE}/v2/locks/acquire/$sock.t.seekrit$9", None),
            ("POST", ROWS, b"{"),
            ("POST", ROWS, b'{"values": 1'),
            ("PATCH", ROWS, b"{}"),
            ("GET", f"{BASE}/nowhere", None),
            ("GET", f"{BASE}/v2/keyspaces/a%2Fb/tables/t/rows", None),
            ("GET", f"{BASE}/v2/keyspaces/%zz/tables/t/rows", None),
        ):
            status, answer = told(connection, method, path, body)
            assert status == 400
            assert json.loads(answer)["status"] == "FAILURE"
        assert told(connection, "POST", ROWS, json.dumps(INSERT).encode())[0] == 200
        assert connection.sock is opened


def test_bodies_where_none_are_needed(server: ServerProcess) -> None:
    """GET and DELETE may have one, and what follows on the connection is understood."""
    body = json.dumps({"consistencyInfo": {"type": "eventual"}, "more": "x" * 100_000}).encode()
    with contextlib.closing(server.connection()) as connection:
        for _ in range(2):
            for method, path, status in (
                ("GET", ROWS, 200),
                ("GET", f"{BASE}/v2/version", 200),
                ("GET", f"{BASE}/v2/locks/enquire/sock.t.none", 400),
                ("DELETE", f"{ROWS}?id=none", 200),
                ("DELETE", f"{BASE}/v2/locks/release/$sock.t.none$1", 200),
                ("DELETE", f"{BASE}/v2/keyspaces/none", 400),
            ):
                assert told(connection, method, path, body)[0] == status, path
        assert told(connection, "GET", f"{BASE}/v2/version")[0] == 200


def test_head_and_options(server: ServerProcess) -> None:
    """HEAD is GET without a body, OPTIONS tells what may be asked; neither upsets the connection."""
    with contextlib.closing(server.connection()) as connection:
        for path in (ROWS, f"{BASE}/v2/version", f"{BASE}/v2/service/musicHealthCheck"):
            assert told(connection, "HEAD", path) == (200, b"")
            connection.request("OPTIONS", path)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
            assert "GET" in response.headers["allow"]
        assert told(connection, "HEAD", f"{BASE}/v2/locks/create/sock.t.a") == (400, b"")
        assert told(connection, "GET", f"{BASE}/v2/version")[0] == 200


def test_too_long_a_body_is_refused_in_the_envelope(server: ServerProcess) -> None:
    """Two megabytes: nothing is stored, the reason is JSON, and the server goes on."""
    body = json.dumps({**INSERT, "values": {"id": "long", "note": "x" * 2_000_000}}).encode()
    answer = server.request("POST", ROWS, raw=body)
    assert answer.status == 413
    assert answer.json["status"] == "FAILURE"
    assert answer.headers["content-type"] == "application/json"
    assert server.request("GET", f"{ROWS}?id=long").json["result"] == {}


def answer_to(server: ServerProcess, raw: bytes) -> bytes:
    """The head of what is answered to these bytes."""
    with server.raw() as connection:
        connection.sendall(raw)
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(65_536)):
            data += piece
        return data.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "injected", [b"1\r\n Set-Cookie: a=b", b"1\nSet-Cookie: a=b", b"1\rSet-Cookie: a=b", b"1\x00\x0b\x7f2"]
)
@pytest.mark.parametrize("name", [b"X-minorVersion", b"X-patchVersion", b"X-Request-Id"])
def test_what_is_echoed_adds_no_header(server: ServerProcess, name: bytes, injected: bytes) -> None:
    """Line ends and control signs in a header that is answered again never begin another one, and are not answered."""
    head = answer_to(
        server, b"GET %s/v2/version HTTP/1.1\r\nHost: 127.0.0.1\r\n%s: %s\r\n\r\n" % (BASE.encode(), name, injected)
    )
    assert head.startswith(b"HTTP/1.1 ")
    assert not [line for line in head.split(b"\r\n") if line.lower().startswith(b"set-cookie")]
    for line in head.split(b"\r\n"):
        assert not [byte for byte in line if byte < 32 or byte == 127]


def test_a_client_that_hangs_up_changes_nothing_by_halves(server: ServerProcess) -> None:
    """Half a head, half a body, then gone: no row, no failure, and others are served."""
    body = json.dumps({**INSERT, "values": {"id": "half", "note": "x"}}).encode()
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    whole = head % (ROWS.encode(), len(body)) + body
    for length in (10, len(whole) - len(body), len(whole) - 1):
        with server.raw() as connection:
            connection.sendall(whole[:length])
            connection.shutdown(socket.SHUT_WR)
    assert server.request("GET", f"{ROWS}?id=half").json["result"] == {}


def test_a_create_whose_client_is_gone_blocks_nobody(server: ServerProcess) -> None:
    """Clients that ask for the lock and hang up at once leave entries that end with their leases: the next one holds soon."""
    raw = b"POST %s/v2/locks/create/sock.t.orphan HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % BASE.encode()
    for _ in range(5):
        with server.raw() as connection:
            connection.sendall(raw)
    lock = server.request("POST", f"{BASE}/v2/locks/create/sock.t.orphan").json["lock"]["lock"]
    for _ in range(2_000):
        if server.request("GET", f"{BASE}/v2/locks/acquire/{lock}").status == 200:
            break
    holders = server.request("GET", f"{BASE}/v2/locks/holders/sock.t.orphan").json
    assert holders["lock"]["lock-holder"] == [lock]


def test_a_description_of_every_path(server: ServerProcess) -> None:
    """swagger.json is Swagger 2.0 under the right base path, and each of its operations is one that the server knows."""
    described = server.request("GET", f"{BASE}/swagger.json").json
    assert (described["swagger"], described["basePath"]) == ("2.0", BASE)
    for path, operations in described["paths"].items():
        filled = path.replace("{version}", "2").replace("{", "").replace("}", "")
        for method, operation in operations.items():
            if method in {"get", "put"} or "locks" in path:
                answer = server.request(method.upper(), BASE + filled)
                assert "HTTP 40" not in answer.body.decode(), (method, path)
            assert {parameter["in"] for parameter in operation["parameters"]} <= {"path"}
    for path, method in (("/v2/keyspaces/{keyspace}/tables/{table}/rows", "put"), ("/v2/locks/promote/{id}", "post")):
        assert method in described["paths"][path]
