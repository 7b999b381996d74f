"""Clients that hang up anywhere: within a head, within a body, while they wait, with requests in the pipe, with a reset.

Goal: nothing of them stays behind and nothing fails. Method: threads with a seed each send requests of every kind that waits,
streams or writes, cut some short and drop the connections; then nobody may stand in a queue, no stream may be open, no
error may be in the log, and the server stops in order.
"""

import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess, key_of

pytestmark = pytest.mark.slow

THREADS = 12
ROUNDS = 60
KEYS = 5
LEASE_MS = 300
ROWS = "/v3/keyspaces/voting/tables/votes/rows"
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""The socket option by which closing sends a reset."""


def request(method: str, target: str, body: object = None, *, accept: str = "*/*") -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def draw(chance: random.Random) -> bytes:
    """A request, or several of one kind behind each other."""
    voter = f"k{chance.randrange(KEYS)}"
    step = {"op": "put", "columns": {"count": 1}}
    kinds: list[Callable[[], bytes]] = [
        lambda: request("POST", "/v3/locks", {"keys": [key_of(voter)], "wait_ms": 60_000, "lease_ms": LEASE_MS}),
        lambda: request(
            "POST", "/v3/locks", {"keys": [key_of(voter), key_of("z")], "wait_ms": 50, "lease_ms": LEASE_MS}
        ),
        lambda: request(
            "POST", "/v3/sections", {"key": key_of(voter), "wait_ms": 200, "lease_ms": 500, "steps": [step]}
        ),
        lambda: request("PUT", f"{ROWS}/{voter}", {"columns": {"count": 3}}),
        lambda: request("GET", "/v3/events"),
        lambda: request("GET", ROWS, accept="application/x-ndjson"),
    ]
    return chance.choice(kinds)() * chance.choice([1, 1, 2, 5])


def be_rough(server: ServerProcess, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        data = draw(chance)
        cut = chance.choice([len(data), len(data), len(data), chance.randrange(len(data))])
        with server.raw() as connection, contextlib.suppress(OSError):
            connection.sendall(data[:cut])
            connection.settimeout(chance.choice([0.001, 0.03, 0.1]))
            connection.recv(100)
            if chance.random() < 0.3:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_nothing_of_rough_clients_stays_behind(tmp_path: Path) -> None:
    """Twelve clients, 60 connections each."""
    with ServerProcess(tmp_path) as server:
        server.make_table()
        clients = [threading.Thread(target=be_rough, args=(server, seed)) for seed in range(THREADS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert server.request("GET", "/v3/health/ready").status == 200
        for number in range(KEYS):
            # Locks that were granted to nobody who listens end with their lease; a new wish is granted when they have.
            wish = {"keys": [key_of(f"k{number}")], "wait_ms": 60_000}
            granted = server.request("POST", "/v3/locks", wish)
            assert granted.json["held"], granted
            assert server.request("DELETE", f"/v3/locks/{granted.json['reference']}").status == 200
            assert server.request("GET", f"/v3/locks?key=voting/votes/k{number}").json["entries"] == []
        counters = server.request("GET", "/metrics").body.decode()
        assert "polysite_event_streams 0.0" in counters
        assert "polysite_requests_under_way 1.0" in counters
        assert "polysite_internal_failures_total 0.0" in counters
        assert server.terminate() == 0
        assert not [event for event in server.log if event.get("level") in ("error", "warning", None)], server.log
