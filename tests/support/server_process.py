"""A server as a process of its own, and a client that hides nothing.

with ServerProcess(folder) as server:
    answer = server.request("GET", "/v3")
"""

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

START_S = 60.0
STOP_S = 60.0
ANSWER_S = 60.0


class Answer(NamedTuple):
    """A response; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ServerProcess:
    """`polysite serve` on a free loopback port, its data in `folder`. Leaving kills it if it is still there."""

    def __init__(
        self, folder: Path, *, variables: Mapping[str, str] | None = None, flags: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "polysite.cli", "serve", "--port", "0", "--data", str(folder), *flags]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLYSITE_")}
        self._environment = {**kept, **(variables or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self.log: list[dict[str, Any]] = []
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        listening: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read_log, args=(self._process, listening), daemon=True)
        self._reader.start()
        url = listening.get(timeout=START_S)
        assert url is not None, f"the server ended before it listened: {self.log}"
        self.url = url

    def _read_log(self, process: "subprocess.Popen[bytes]", listening: "queue.Queue[str | None]") -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    event = {"event": "unreadable", "text": line.decode(errors="replace")}
                self.log.append(event)
                if event.get("event") == "listening":
                    listening.put(event["url"])
        listening.put(None)

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once it ended."""
        assert self._process is not None
        return self._process.wait(STOP_S)

    def terminate(self) -> int:
        """Stop it gently; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_S)
        if self._reader is not None:
            self._reader.join(STOP_S)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """One request on a connection of its own; `body` is sent as JSON, `raw` as it is."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})} if data is not None else dict(headers or {})
        with contextlib.closing(self.connection()) as connection:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            if data is not None and "transfer-encoding" not in sent:
                connection.putheader("content-length", str(len(data)))
            connection.endheaders()
            if data is not None:
                # A server that refuses the body may answer before it has all of it.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.send(data)
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )

    @contextlib.contextmanager
    def raw(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S) as connection:
            yield connection

    def make_table(self, keyspace: str = "voting", table: str = "votes", *, writes: str = "mixed", **more: Any) -> str:
        """A table with a text key and an int `count`; the target of its rows."""
        spec = {
            "columns": {"voter": "text", "count": "int", "note": "text"},
            "partition_key": ["voter"],
            "writes": writes,
            **more,
        }
        assert self.request("PUT", f"/v3/keyspaces/{keyspace}", {}).status in (200, 201)
        answer = self.request("PUT", f"/v3/keyspaces/{keyspace}/tables/{table}", spec)
        assert answer.status in (200, 201), answer
        return f"/v3/keyspaces/{keyspace}/tables/{table}/rows"


def key_of(voter: str, keyspace: str = "voting", table: str = "votes") -> dict[str, Any]:
    """A lock key as bodies name it."""
    return {"keyspace": keyspace, "table": table, "key": {"voter": voter}}
