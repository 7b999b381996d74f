"""Whatever is sent: work or a refusal with the reason; no failure of the server, no hang, nothing leaked, nothing changed."""

import contextlib
import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.server_process import Answer, ServerProcess, key_of

ROWS = "/v3/keyspaces/voting/tables/votes/rows"
ODD_KEYS = {
    "dots": "...", "one dot": ".", "two dots": "..", "quotes": "'\"`", "dollars": "$1.$2$", "slashes": "/a//b/", "back": "\\\\",
    "spaces": "  a b ", "emoji": "🗳️👩‍👩‍👧", "percent": "%2F%", "query": "?a=1&b=2#c", "empty": "", "nul": "\x00", "control": "\r\n\t",
    "sql": "x'; DROP TABLE votes; --", "verb": "get", "plus": "a+b", "colon": "a:b;c,d", "rtl": "\u202e\u05d0",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("hidden-folder")
    variables = {"POLYSITE_SERVER_BODY_MS_MAX": "500"}
    with ServerProcess(folder, variables=variables) as running:
        running.make_table()
        yield running
        assert not [event for event in running.log if event.get("level") == "error"]
        assert not any("hidden" in json.dumps(event) for event in running.log)


def refused(server: ServerProcess, answer: Answer, status: int) -> dict[str, Any]:
    """The problem of a refusal, checked for its form and for what it must not say."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json
    assert problem["outcome"] == "refused"
    assert {"type", "title", "status", "detail", "code", "outcome", "retry", "request", "attributes"} == problem.keys()
    assert str(server.folder) not in answer.body.decode()
    assert "hidden" not in answer.body.decode()
    return problem


@pytest.mark.parametrize("name", ODD_KEYS)
def test_odd_keys_work_everywhere(server: ServerProcess, name: str) -> None:
    """Write by path, read by body and by path, lock, find the queue by query, delete: always the same row."""
    key = ODD_KEYS[name]
    target = f"{ROWS}/{quote(key, safe='')}"
    assert server.request("PUT", target, {"columns": {"count": 3}}).status == 200
    for answer in (server.request("GET", target), server.request("POST", f"{ROWS}/get", {"key": {"voter": key}})):
        assert answer.json["row"] == {"voter": key, "count": 3, "note": None}
    lock = server.request("POST", "/v3/locks", {"keys": [key_of(key)]})
    assert lock.json["keys"][0]["key"] == {"voter": key}
    named = quote("voting/votes/" + quote(key, safe=""), safe="")
    assert len(server.request("GET", f"/v3/locks?key={named}").json["entries"]) == 1
    under = {"Polysite-Lock": lock.json["reference"]}
    put = {"key": {"voter": key}, "columns": {"count": 4}}
    assert server.request("POST", f"{ROWS}/put", put, headers=under).status == 200
    assert server.request("POST", f"{ROWS}/delete", {"key": {"voter": key}}, headers=under).status == 200
    assert server.request("DELETE", "/v3/locks/-", headers=under).json["validated"] is True
    assert server.request("GET", target).json["row"] is None


@pytest.mark.parametrize("length", [4_096, 4_097, 65_536])
def test_long_keys_work_or_are_refused_with_the_reason(server: ServerProcess, length: int) -> None:
    """Up to 4 KiB of serialised key by body and by path; 64 KiB by body is refused, by path the path is."""
    key = "k" * length
    by_body = server.request("POST", f"{ROWS}/put", {"key": {"voter": key}, "columns": {"count": 1}})
    lock = server.request("POST", "/v3/locks", {"keys": [key_of(key)]})
    by_path = server.request("GET", f"{ROWS}/{key}")
    if length == 4_096:
        assert by_body.status == lock.status == 200
        assert by_path.json["row"]["count"] == 1
        assert server.request("DELETE", f"/v3/locks/{lock.json['reference']}").status == 200
    else:
        assert "4096" in refused(server, by_body, 413)["detail"]
        assert "4096" in refused(server, lock, 413)["detail"]
        refused(server, by_path, 413 if length < 16_000 else 414)


def test_the_reference_of_a_long_lock_set_still_fits_a_header(server: ServerProcess) -> None:
    """Sets of long keys: one that fits is renewed and released through the header, one that does not is refused unlocked."""
    fits = server.request("POST", "/v3/locks", {"keys": [key_of(f"{n}" + "s" * 3_000) for n in range(10)]})
    assert fits.status == 200, fits
    assert len(fits.json["reference"]) > 16_384
    under = {"Polysite-Lock": fits.json["reference"]}
    assert server.request("POST", "/v3/locks/-/renew", {}, headers=under).status == 200
    assert server.request("DELETE", "/v3/locks/-", headers=under).json["validated"] is True
    keys = [key_of(f"{n}" + "s" * 3_000) for n in range(12)]
    assert "set" in refused(server, server.request("POST", "/v3/locks", {"keys": keys}), 413)["detail"]
    named = {"key": keys[0]}
    assert server.request("POST", "/v3/locks/queue", named).json["entries"] == []


def test_long_values_work(server: ServerProcess) -> None:
    """A note of 900 KiB goes in and comes out."""
    note = "n" * 900 * 1024
    assert server.request("PUT", f"{ROWS}/long", {"columns": {"note": note}}).status == 200
    assert server.request("GET", f"{ROWS}/long").json["row"]["note"] == note


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", f"{ROWS}/twice", b'{"columns":{"count":1,"count":"hidden"}}'),
        ("PUT", f"{ROWS}/twice", b'{"columns":{"count":1},"columns":{"count":2}}'),
        ("POST", f"{ROWS}/put", b'{"key":{"voter":"twice","voter":"hidden"},"columns":{"count":1}}'),
        (
            "POST",
            "/v3/sections",
            b'{"key":{"keyspace":"voting","table":"votes","key":{"voter":"a"}},"steps":[{"op":"get","op":"\\u0067et"}]}',
        ),
        ("GET", f"{ROWS}?where=" + quote('[["voter","eq",{"a":1,"a":2}]]'), b""),
    ],
)
def test_a_member_that_is_there_twice_is_refused(server: ServerProcess, method: str, target: str, body: bytes) -> None:
    """Wherever it stands: by its name, without its value, and nothing is written."""
    answer = server.request(method, target, raw=body or None, headers={"content-type": "application/json"})
    problem = refused(server, answer, 400)
    assert problem["code"] == "bad_request"
    assert problem["attributes"]["member"] in problem["detail"]
    assert server.request("GET", f"{ROWS}/twice").json["row"] is None


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_ten_mebibytes_is_refused(server: ServerProcess, chunked: bool) -> None:
    """With its length told, or in chunks without it. The server stays as it was."""
    body = b'{"columns":{"note":"' + b"x" * (10 * 1024 * 1024) + b'"}}'
    headers = {"content-type": "application/json"}
    if chunked:
        headers["transfer-encoding"] = "chunked"
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    answer = server.request("PUT", f"{ROWS}/big", raw=body, headers=headers)
    assert "1048576" in refused(server, answer, 413)["detail"]
    assert server.request("GET", f"{ROWS}/big").json["row"] is None


def test_a_client_that_closes_after_its_request_reads_why_its_body_was_refused(server: ServerProcess) -> None:
    """Goal: `Connection: close` does not turn the refusal into a reset. Method: as Python's urllib does it, and a bare
    socket that sends everything before it reads."""
    body = b"x" * 10 * 1024 * 1024
    url = f"http://127.0.0.1:{server.port}{ROWS}/big"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="PUT")
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(request, timeout=60)
    assert told.value.code == 413
    told.value.close()
    head = f"PUT {ROWS}/big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with server.raw() as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


BAD = [
    ("PUT", f"{ROWS}/a", b"", 400),
    ("PUT", f"{ROWS}/a", b"hidden", 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"count":"hidden"}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"count":1.5}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"count":99999999999}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"count":NaN}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"note":"\xff"}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"note":"\\ud800"}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"note":{"hidden":[1]}}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"voter":"hidden"}}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"absent":1}}', 404),
    ("PUT", f"{ROWS}/a", b'{"columns":{"count":1},"more":"hidden"}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"count":1},"expires_ms":-1}', 400),
    ("PUT", f"{ROWS}/a", b'{"columns":' + b'{"a":' * 50_000, 400),
    ("PUT", f"{ROWS}/a", b"[" * 500_000, 400),
    ("PUT", f"{ROWS}/a", b'{"columns":{"note":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 400),
    ("PUT", f"{ROWS}/a?level=hidden", b'{"columns":{}}', 400),
    ("PUT", f"{ROWS}/a?level=critical", b'{"columns":{}}', 400),
    ("PUT", f"{ROWS}/a/b", b'{"columns":{}}', 400),
    ("PUT", f"{ROWS}/%ff", b'{"columns":{}}', 400),
    ("PUT", f"{ROWS}/%", b'{"columns":{}}', 400),
    ("GET", f"{ROWS}/a?stamps=hidden", None, 400),
    ("GET", f"{ROWS}?where=hidden", None, 400),
    ("GET", f"{ROWS}?where=%5B%5B%22voter%22%2C%22like%22%2C%22hidden%22%5D%5D", None, 400),
    ("GET", f"{ROWS}?where=%5B%5B%22note%22%2C%22eq%22%2C%22hidden%22%5D%5D", None, 400),
    ("GET", f"{ROWS}?where=%5B%5B%22voter%22%2C%22in%22%2C%22hidden%22%5D%5D", None, 400),
    ("GET", f"{ROWS}?limit=hidden", None, 400),
    ("GET", f"{ROWS}?limit=0", None, 400),
    ("GET", f"{ROWS}?limit=99999999999999999999999", None, 400),
    ("GET", f"{ROWS}?cursor=hidden", None, 400),
    ("GET", f"{ROWS}?limit=1&limit=2", None, 400),
    ("GET", "/v3/keyspaces/absent/tables/votes/rows/a", None, 404),
    ("GET", "/v3/keyspaces/voting/tables/absent/rows/a", None, 404),
    ("PUT", "/v3/keyspaces/a-b", b"{}", 400),
    ("PUT", "/v3/keyspaces/polysite", b"{}", 400),
    ("PUT", "/v3/keyspaces/voting/tables/polysite_x/extra", b"{}", 404),
    ("PUT", "/v3/keyspaces/voting/tables/bad", b'{"columns":{"a":"texte"},"partition_key":["a"]}', 400),
    ("PUT", "/v3/keyspaces/voting/tables/bad", b'{"columns":{"a":"counter"},"partition_key":["a"]}', 400),
    ("PUT", "/v3/keyspaces/voting/tables/bad", b'{"columns":{"a":"' + b"list<" * 5000 + b'int"},"partition_key":["a"]}', 400),
    ("PUT", "/v3/keyspaces/voting/tables/bad", b'{"columns":{"a":"int"},"partition_key":[]}', 400),
    ("PUT", "/v3/keyspaces/voting/tables/bad", b'{"columns":{"a":"int"},"partition_key":["b"]}', 400),
    ("PUT", "/v3/keyspaces/voting/tables/votes", b'{"columns":{"a":"int"},"partition_key":["a"]}', 409),
    ("POST", "/v3/locks", b'{"keys":[]}', 400),
    ("POST", "/v3/locks", b'{"keys":[{"keyspace":"voting","table":"votes","key":{}}]}', 400),
    ("POST", "/v3/locks", b'{"keys":[{"keyspace":"voting","table":"votes","key":{"voter":"a"}}],"lease_ms":0}', 400),
    ("POST", "/v3/locks", b'{"keys":[{"keyspace":"voting","table":"votes","key":{"voter":"a"}}],"wait_ms":1e9}', 400),
    ("POST", "/v3/locks", b'{"keys":[{"keyspace":"voting","table":"votes","key":{"voter":"a"}}],"kind":"hidden"}', 400),
    ("POST", "/v3/locks/hidden/renew", b"", 400),
    ("POST", "/v3/locks/1.AAAA/renew", b"", 400),
    ("POST", "/v3/locks/-/renew", b"", 400),
    ("DELETE", "/v3/locks/1.aGlkZGVuaGlkZGVuaGlkZGVuaGlkZGVuaGlkZGVuaGlkZGVu", None, 400),
    ("GET", "/v3/locks?key=hidden", None, 400),
    ("GET", "/v3/locks", None, 400),
    ("DELETE", "/v3/locks/holder?key=voting/votes/a&fencing_token=0", None, 400),
    ("POST", "/v3/sections", b'{"key":{"keyspace":"voting","table":"votes","key":{"voter":"a"}},"steps":[]}', 400),
    ("POST", "/v3/sections", b'{"key":{"keyspace":"voting","table":"votes","key":{"voter":"a"}},"steps":[{"op":"hidden"}]}', 400),
    ("POST", f"{ROWS.removesuffix('rows')}batch", b'{"writes":[{"op":"put","columns":{}}]}', 400),
    ("POST", f"{ROWS.removesuffix('rows')}batch", b'{"writes":[{"op":"delete_range","where":[["voter","lt","hidden"]]}]}', 400),
    ("POST", f"{ROWS}/get", b'{"key":{"voter":null}}', 400),
    ("GET", "/v3/events?table=votes", None, 400),
    ("GET", "/v3/nowhere", None, 404),
    ("POST", "/v3", None, 405),
    ("BREW", "/v3", None, 400),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body", "status"), BAD)
def test_bad_requests_are_refused_with_the_reason(
    server: ServerProcess, method: str, target: str, body: bytes | None, status: int
) -> None:
    """Each refusal is a problem whose detail says something, and repeats no value (the word "hidden")."""
    problem = refused(server, server.request(method, target, raw=body), status)
    assert len(problem["detail"]) > 10


def test_bad_requests_changed_nothing(server: ServerProcess) -> None:
    """After all of the above no row `a` is there and nobody stands in its queue."""
    assert server.request("GET", f"{ROWS}/a").json["row"] is None
    assert server.request("GET", "/v3/locks?key=voting/votes/a").json["entries"] == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v3 HTTP/1.1\r\nHost: localhost\r\nContent-Length: hidden\r\n\r\n", 400),
        (b"PUT /v3 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /v3 HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v3/keyspaces HTTP/1.1\r\nHost: hidden.example\r\n\r\n", 403),
        (b"GET /v3/keyspaces HTTP/1.1\r\nHost: localhost\r\nOrigin: http://hidden.example\r\n\r\n", 403),
        (b"GET /v3?" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /v3 HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /v3 HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 400_000, 431),
        (b"GET /v3 HTTP/1.1\r\nHost: localhost\r\nX-Slow: a", 408),
        (b"PUT " + ROWS.encode() + b"/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{", 408),
        (b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_hardly_http_is_refused(server: ServerProcess, sent: bytes, status: int) -> None:
    """Bytes on a bare connection; the answer is a problem, and slow senders are let go."""
    with server.raw() as connection:
        connection.sendall(sent)
        received = read_response(connection)
    assert re.match(rb"HTTP/1.1 (\d+)", received), received
    assert int(received[9:12]) == status, received[:300]
    assert b"application/problem+json" in received
    assert b"hidden" not in received


def read_response(connection: socket.socket) -> bytes:
    """One response with a content-length."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            return received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        piece = connection.recv(65_536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of four mebibytes at `folder`; skips where this machine does not let us mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("lacks the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_is_never_told_as_done(tmp_path: Path) -> None:
    """Write on a file system of a few mebibytes until it is full: refusals tell so and are to be tried again, what was
    answered done is there after a kill, and what was refused is not."""
    with small_disk(tmp_path) as folder, ServerProcess(folder) as server:
        rows = server.make_table()
        done, outcomes, refusals = [], set(), []
        for number in range(400):
            answer = server.request("PUT", f"{rows}/v{number}", {"columns": {"note": "n" * 100_000}})
            if answer.status == 200:
                done.append(number)
            else:
                assert answer.status in (503, 504, 507), answer
                assert str(folder) not in answer.body.decode()
                outcomes.add(answer.json["outcome"])
                refusals.append((number, answer.json["outcome"]))
            if len(refusals) >= 10:
                break
        assert done
        assert outcomes <= {"refused", "unknown"}
        assert server.request("GET", f"{rows}/v{done[0]}").status == 200
        locked = server.request("POST", "/v3/locks", {"keys": [key_of("v0")]})
        assert locked.status in (200, 503, 504, 507)
        server.kill()
        server.start()
        for number in done:
            assert server.request("GET", f"{rows}/v{number}").json["row"] is not None
        for number, outcome in refusals:
            if outcome == "refused":
                assert server.request("GET", f"{rows}/v{number}").json["row"] is None
