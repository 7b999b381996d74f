"""The server as a process: what a stranger does with curl, what a stop leaves whole, what a restart remembers."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from polysite.server.auth import hash_token
from tests.support.server_process import Answer, ServerProcess, key_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as running:
        running.make_table()
        yield running
        assert not [event for event in running.log if event.get("level") == "error"]


ROWS = "/v3/keyspaces/voting/tables/votes/rows"


def test_a_lock_a_row_a_release(server: ServerProcess) -> None:
    """Take a lock, write the row under it, release: the release proves the write, and the row is there for everybody."""
    lock = server.request("POST", "/v3/locks", {"keys": [key_of("ana")], "read": True})
    assert lock.status == 200, lock
    assert lock.json["rows"] == [None]
    assert lock.json["keys"][0]["fencing_token"] == 1
    reference = lock.json["reference"]
    put = server.request("PUT", f"{ROWS}/ana", {"columns": {"count": 1}}, headers={"Polysite-Lock": reference})
    assert put.status == 200, put
    assert put.headers["polysite-round-trips"] == "0"
    seen = server.request("GET", f"{ROWS}/ana?stamps=1", headers={"Polysite-Lock": reference})
    assert seen.json["row"] == {"voter": "ana", "count": 1, "note": None}
    assert seen.json["stamps"]["count"] == put.json["stamp"]
    for target in (f"{ROWS}/ana?level=eventual", f"{ROWS}/ana?level=atomic"):
        mixed = server.request("PUT", target, {"columns": {"count": 9}}, headers={"Polysite-Lock": reference})
        assert (mixed.status, "level critical" in mixed.json["detail"]) == (400, True)
    released = server.request("DELETE", f"/v3/locks/{reference}")
    assert (released.status, released.json["validated"]) == (200, True)
    assert server.request("GET", f"{ROWS}/ana").json["row"]["count"] == 1
    late = server.request("PUT", f"{ROWS}/ana", {"columns": {"count": 2}}, headers={"Polysite-Lock": reference})
    assert (late.status, late.json["code"], late.json["outcome"]) == (410, "lock_lost", "refused")


def test_a_section_in_one_request(server: ServerProcess) -> None:
    """Get, expect, put in one go; a second one whose expectation fails changes nothing and shows what it found."""
    steps = [{"op": "get"}, {"op": "expect", "exists": False}, {"op": "put", "columns": {"count": 7}}, {"op": "get"}]
    done = server.request("POST", "/v3/sections", {"key": key_of("section"), "steps": steps})
    assert done.status == 200, done
    assert [row and row["count"] for row in done.json["results"]] == [None, None, None, 7]
    again = server.request("POST", "/v3/sections", {"key": key_of("section"), "steps": steps})
    assert (again.status, again.json["code"]) == (412, "compare_failed")
    assert again.json["attributes"]["rows"] == [{"voter": "section", "count": 7, "note": None}]
    assert server.request("GET", f"{ROWS}/section").json["row"]["count"] == 7


def test_waiting_references_are_told_apart_and_the_queue_shows_them(server: ServerProcess) -> None:
    """200 for the holder, 202 for who waits; DELETE with wait=0 answers 202; the queue never shows a secret."""
    first = server.request("POST", "/v3/locks", {"keys": [key_of("queue")], "wait_ms": 0, "owner": "one"})
    second = server.request("POST", "/v3/locks", {"keys": [key_of("queue")], "wait_ms": 0})
    assert (first.status, second.status) == (200, 202)
    assert second.json["keys"][0]["ahead"] == 1
    queue = server.request("GET", "/v3/locks?key=voting/votes/queue")
    assert [entry["held"] for entry in queue.json["entries"]] == [True, False]
    assert queue.json["entries"][0]["owner"] == "one"
    assert first.json["reference"].split(".")[1][:22] not in queue.body.decode()
    refused = server.request("GET", f"{ROWS}/queue", headers={"Polysite-Lock": second.json["reference"]})
    assert (refused.status, refused.json["code"]) == (409, "not_holder")
    assert server.request("DELETE", f"/v3/locks/{first.json['reference']}?wait=0").status == 202
    held = server.request("POST", f"/v3/locks/{second.json['reference']}/wait", {"wait_ms": 30_000})
    assert (held.status, held.json["held"]) == (200, True)
    preempted = server.request("DELETE", "/v3/locks/holder?key=voting/votes/queue")
    assert preempted.status == 200, preempted
    assert preempted.json["entries"] == []
    lost = server.request("POST", f"/v3/locks/{second.json['reference']}/renew")
    assert (lost.status, lost.json["code"]) == (410, "lock_lost")


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_client_that_hangs_up_leaves_the_queue(server: ServerProcess, pipelined: bool) -> None:
    """Wish for a lock that is held, with a long lease and wait, and hang up, also with another request behind it in the
    pipe: the entry goes well before its lease ends."""
    voter = f"gone {pipelined}"
    held = server.request("POST", "/v3/locks", {"keys": [key_of(voter)], "lease_ms": 600_000})
    body = json.dumps({"keys": [key_of(voter)], "wait_ms": 300_000, "lease_ms": 600_000}).encode()
    with server.raw() as connection:
        head = "POST /v3/locks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        more = b"GET /v3 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" if pipelined else b""
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body + more)
        wait_for_queue(server, voter, 2)
    wait_for_queue(server, voter, 1)
    server.request("DELETE", f"/v3/locks/{held.json['reference']}")


def wait_for_queue(server: ServerProcess, voter: str, length: int) -> None:
    """Ask for the queue until it has that length; each question is a round trip, so this does not spin."""
    for _ in range(5_000):
        if len(server.request("GET", f"/v3/locks?key=voting/votes/{quote(voter)}").json["entries"]) == length:
            return
    raise AssertionError(f"the queue never had {length} entries")


def test_rows_come_page_by_page_or_line_by_line(server: ServerProcess) -> None:
    """2,300 rows of one partition: pages with cursors, a bound on lines, all lines; each way shows the same rows in order."""
    spec = {
        "columns": {"day": "text", "number": "int"}, "partition_key": ["day"], "clustering_key": ["number"], "writes": "eventual",
    }  # fmt: skip
    assert server.request("PUT", "/v3/keyspaces/voting/tables/days", spec).status == 201
    days = "/v3/keyspaces/voting/tables/days"
    for start in range(0, 2_300, 100):
        writes = [{"op": "put", "key": {"day": "mon", "number": n}, "columns": {}} for n in range(start, start + 100)]
        assert server.request("POST", f"{days}/batch", {"writes": writes}).status == 200
    where = "where=%5B%5B%22day%22%2C%22eq%22%2C%22mon%22%5D%5D"
    numbers: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = server.request("GET", f"{days}/rows?{where}&limit=700" + (f"&cursor={cursor}" if cursor else "")).json
        numbers += [row["number"] for row in page["rows"]]
        cursor = page["cursor"]
    assert numbers == list(range(2_300))
    lines = server.request("GET", f"{days}/rows?{where}", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["number"] for line in lines.body.splitlines()] == list(range(2_300))
    some = server.request("GET", f"{days}/rows?{where}&limit=1234", headers={"Accept": "application/x-ndjson"})
    assert len(some.body.splitlines()) == 1234
    body = {"where": [["day", "eq", "mon"], ["number", "ge", 2_290]]}
    assert [row["number"] for row in server.request("POST", f"{days}/rows/select", body).json["rows"]] == list(
        range(2_290, 2_300)
    )


def test_events_are_told_as_they_happen(server: ServerProcess) -> None:
    """Listen, then take and release a lock: both are told with the key and without the reference."""
    connection = server.connection()
    connection.request("GET", "/v3/events?keyspace=voting")
    response = connection.getresponse()
    assert response.headers["content-type"] == "text/event-stream"
    assert response.readline().startswith(b":")
    lock = server.request("POST", "/v3/locks", {"keys": [key_of("events")]})
    server.request("DELETE", f"/v3/locks/{lock.json['reference']}")
    kinds = []
    while "released" not in kinds:
        line = response.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event["key"] == {"voter": "events"}:
                kinds.append(event["kind"])
        assert lock.json["reference"].encode() not in line
    assert kinds[0] == "granted"
    connection.close()


def test_health_and_counters(server: ServerProcess) -> None:
    """Live, ready, what it is, the description, counters by route."""
    assert server.request("GET", "/v3/health/live").json == {"live": True}
    assert server.request("GET", "/v3/health/ready").json["ready"] is True
    assert server.request("GET", "/v3").json["name"] == "polysite"
    assert server.request("GET", "/v3/openapi.json").json["openapi"].startswith("3.1")
    assert server.request("HEAD", "/v3").body == b""
    counters = server.request("GET", "/metrics").body.decode()
    assert 'polysite_http_requests_total{route="live",status="200"}' in counters
    assert str(server.folder) not in counters


def test_idempotency_keys_outlive_a_kill(tmp_path: Path) -> None:
    """Put with a key, kill the server, start it again, change the row, put again with the key: the stored answer and no
    second effect. The key with another request is refused."""
    with ServerProcess(tmp_path) as server:
        rows = server.make_table()
        key = {"Idempotency-Key": "vote-1"}
        first = server.request("PUT", f"{rows}/ana", {"columns": {"count": 1}}, headers=key)
        assert first.status == 200, first
        server.kill()
        server.start()
        assert server.request("PUT", f"{rows}/ana", {"columns": {"count": 2}}).status == 200
        again = server.request("PUT", f"{rows}/ana", {"columns": {"count": 1}}, headers=key)
        assert (again.status, again.json["stamp"]) == (200, first.json["stamp"])
        assert server.request("GET", f"{rows}/ana").json["row"]["count"] == 2
        other = server.request("PUT", f"{rows}/ana", {"columns": {"count": 3}}, headers=key)
        assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")


def test_a_stop_lets_tenures_finish(tmp_path: Path) -> None:
    """Hold a lock, let another wait for it, listen to events, then SIGTERM: the wait and the stream end, new wishes are
    refused to be tried again, the holder still writes and releases, and then the process ends with 0."""
    with ServerProcess(tmp_path, variables={"POLYSITE_SERVER_STOP_MS": "60000"}) as server:
        rows = server.make_table()
        reference = server.request("POST", "/v3/locks", {"keys": [key_of("ana")], "lease_ms": 60_000}).json["reference"]
        waits: list[Answer] = []
        waiting = threading.Thread(
            target=lambda: waits.append(
                server.request("POST", "/v3/locks", {"keys": [key_of("ana")], "wait_ms": 60_000})
            )
        )
        waiting.start()
        wait_for_queue(server, "ana", 2)
        events = server.connection()
        events.request("GET", "/v3/events")
        stream = events.getresponse()
        server.signal(signal.SIGTERM)
        waiting.join(60)
        assert (waits[0].status, waits[0].json["retry"]) == (503, True)
        assert stream.read().endswith(b": the process stops\n\n")
        events.close()
        refused = server.request("POST", "/v3/locks", {"keys": [key_of("bob")]})
        assert (refused.status, refused.json["code"], refused.headers["connection"]) == (503, "unavailable", "close")
        assert server.request("GET", "/v3/health/ready").status == 503
        for count in range(500):  # longer than a stop takes that waits for nothing
            put = server.request(
                "PUT", f"{rows}/ana", {"columns": {"count": count}}, headers={"Polysite-Lock": reference}
            )
            assert put.status == 200, put
        assert server.request("DELETE", f"/v3/locks/{reference}").json["validated"] is True
        assert server.wait() == 0
        server.start()
        assert server.request("GET", f"{rows}/ana").json["row"]["count"] == 499


def test_a_stop_within_sections_answers_every_one(tmp_path: Path) -> None:
    """Four clients run sections one after the other, each on its key; SIGTERM comes in the middle. Every request that was
    sent is answered done or refused, the process ends with 0, and after a restart each row holds its last done value."""
    with ServerProcess(tmp_path) as server:
        rows = server.make_table(writes="sections")
        last = dict.fromkeys(("a", "b", "c", "d"), 0)
        odd: list[object] = []
        going = threading.Barrier(len(last) + 1)

        def work(voter: str) -> None:
            with contextlib.closing(server.connection()) as connection:
                for number in range(1, 100_000):
                    if number == 20:
                        going.wait(60)
                    body = {"key": key_of(voter), "steps": [{"op": "get"}, {"op": "put", "columns": {"count": number}}]}
                    try:
                        connection.connect() if connection.sock is None else None
                    except ConnectionRefusedError:
                        return
                    try:
                        connection.request(
                            "POST", "/v3/sections", json.dumps(body), {"content-type": "application/json"}
                        )
                        response = connection.getresponse()
                    except OSError as error:
                        odd.append(error)
                        return
                    answer = json.loads(response.read())
                    if response.status == 503:
                        assert (answer["outcome"], answer["retry"]) == ("refused", True)
                        return
                    if response.status != 200:
                        odd.append(answer)
                        return
                    last[voter] = number

        clients = [threading.Thread(target=work, args=(voter,)) for voter in last]
        for client in clients:
            client.start()
        going.wait(60)
        assert server.terminate() == 0
        for client in clients:
            client.join(60)
        assert not odd
        server.start()
        assert {voter: server.request("GET", f"{rows}/{voter}").json["row"]["count"] for voter in last} == last
        assert min(last.values()) >= 19


def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A holder that never comes back delays the stop by the bound, not by its lease; a second signal ends it at once."""
    with ServerProcess(tmp_path, variables={"POLYSITE_SERVER_STOP_MS": "300"}) as server:
        server.make_table()
        server.request("POST", "/v3/locks", {"keys": [key_of("ana")], "lease_ms": 3_600_000})
        assert server.terminate() == 0
    with ServerProcess(tmp_path, variables={"POLYSITE_SERVER_STOP_MS": "3600000"}) as server:
        server.request("POST", "/v3/locks", {"keys": [key_of("bob")], "lease_ms": 3_600_000})
        server.signal(signal.SIGTERM)
        while server.request("GET", "/v3/health/ready").status == 200:
            pass
        assert server.terminate() == 0


def test_tokens_carry_rights(tmp_path: Path) -> None:
    """A reader reads and neither writes nor locks nor makes tables; nobody without a token does anything but ask for health."""
    tokens = [
        {"name": "admin", "sha256": hash_token("a" * 32), "read": ["*"], "write": ["*"], "lock": ["*"], "admin": ["*"]},
        {"name": "reader", "sha256": hash_token("r" * 32), "read": ["voting"]},
    ]
    with ServerProcess(tmp_path, variables={"POLYSITE_AUTH_TOKENS": json.dumps(tokens)}) as server:
        admin, reader = ({"Authorization": f"Bearer {letter * 32}"} for letter in "ar")
        spec = {"columns": {"voter": "text", "count": "int"}, "partition_key": ["voter"], "writes": "mixed"}
        for keyspace in ("voting", "other"):
            assert server.request("PUT", f"/v3/keyspaces/{keyspace}", {}, headers=admin).status == 201
            assert server.request("PUT", f"/v3/keyspaces/{keyspace}/tables/votes", spec, headers=admin).status == 201
        lock = server.request("POST", "/v3/locks", {"keys": [key_of("ana")]}, headers=admin).json["reference"]
        section = {"key": key_of("ana"), "steps": [{"op": "get"}]}
        asked = [
            ("GET", f"{ROWS}/ana", None, 200),
            ("GET", "/v3/keyspaces/other/tables/votes/rows/ana", None, 403),
            ("PUT", f"{ROWS}/ana", {"columns": {"count": 1}}, 403),
            ("DELETE", f"{ROWS}/ana", None, 403),
            ("POST", "/v3/locks", {"keys": [key_of("ana")]}, 403),
            ("POST", f"/v3/locks/{lock}/renew", {}, 403),
            ("DELETE", f"/v3/locks/{lock}", None, 403),
            ("DELETE", "/v3/locks/holder?key=voting/votes/ana", None, 403),
            ("GET", "/v3/locks?key=voting/votes/ana", None, 200),
            ("GET", "/v3/locks?key=other/votes/ana", None, 403),
            ("POST", "/v3/sections", section, 403),
            ("PUT", "/v3/keyspaces/mine", {}, 403),
            ("DELETE", "/v3/keyspaces/voting/tables/votes", None, 403),
            ("GET", "/v3/events", None, 403),
        ]
        for method, target, body, status in asked:
            assert server.request(method, target, body, headers=reader).status == status, (method, target)
            assert server.request(method, target, body).status == 401, (method, target)
        listed = server.request("GET", "/v3/keyspaces", headers=reader).json["keyspaces"]
        assert [keyspace["name"] for keyspace in listed] == ["voting"]
        assert server.request("GET", "/metrics").status == 401
        assert server.request("GET", "/v3/health/ready").status == 200


STARTED = """
import os, signal, sys
from polysite.cli import commands, serving

def ready(url):
    print(sorted(name for name in {heavy} if name in sys.modules), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

serving._tell = ready
commands.run(["serve", "--port", "0", "--data", sys.argv[1]])
"""
HEAVY = ("aiohttp", "rich", "pygments", "starlette", "polysite.client._sync.site")


def test_a_start_loads_nothing_that_a_server_alone_does_not_need(tmp_path: Path) -> None:
    """Goal: a server is ready soon. Method: look which libraries a process has loaded at the moment it is."""
    program = STARTED.replace("{heavy}", repr(HEAVY))
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_an_open_address_is_refused_without_tokens(tmp_path: Path) -> None:
    """The process ends with an error and never listens."""
    server = ServerProcess(tmp_path, flags=("--host", "0.0.0.0"))
    with pytest.raises(AssertionError, match="before it listened"):
        server.start()
    assert server.wait() != 0


def test_connections_are_kept(server: ServerProcess) -> None:
    """Several requests on one connection, also after refusals and a body that was refused unread."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    json_type = {"content-type": "application/json"}
    for body, status in ((b"{", 400), (b" " * 2_000_000, 413), (b'{"columns":{"count":1}}', 200), (b"[]", 400)):
        connection.request("PUT", f"{ROWS}/kept", body, json_type)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
