"""A client of the interface of MUSIC 3.x that hides nothing, over an application in this process.

music = Music(process.coordinator)
await music.make_table()
lock = await music.lock("a")
answer = await music.put("a", {"count": 1}, lock=lock)
"""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from polysite.api import Coordinator
from polysite.client.asgi_transport import AsgiTransport
from polysite.client.transport import Request
from polysite.clock import Runtime
from polysite.server.app import build_app
from polysite.server.logs import make_logger
from polysite.server.settings import Settings, TelemetrySettings, V2Settings
from tests.support.sites import World, world_of

BASE = "/MUSIC/rest"
FIELDS = {"id": "text", "count": "int", "note": "text"}


class Answer(NamedTuple):
    """A response; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The reason of a failure, which is always told in the envelope."""
        assert self.status == 400, self
        told = self.json
        assert told["status"] == "FAILURE", told
        assert self.headers["content-type"] == "application/json"
        return cast(str, told["error"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a select."""
        assert self.status == 200, self
        assert self.json["status"] == "SUCCESS"
        return list(self.json["result"].values())

    @property
    def message(self) -> str:
        """The message of a success."""
        assert self.status == 200, self
        assert self.json["status"] == "SUCCESS"
        return cast(str, self.json["message"])


class Music:
    """Requests below `/MUSIC/rest`, by default about the table ks.music, whose key column is id."""

    def __init__(
        self, coordinator: Any, *, settings: Settings | None = None, runtime: Runtime | None = None, **v2: Any
    ) -> None:
        settings = settings or Settings(v2=V2Settings(**v2), telemetry=TelemetrySettings(log_level="debug"))
        runtime = runtime or Runtime()
        self.log = io.StringIO()
        """Everything that was logged, down to debug."""
        logger = make_logger(settings.telemetry, runtime.clock, self.log)
        self.application = build_app(cast(Coordinator, coordinator), settings, runtime=runtime, logger=logger)
        self._transport = AsgiTransport(self.application)
        self.credentials: dict[str, str] = {}

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; `path` begins below the base, `raw` is sent in place of a JSON body."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if data else {}
        response = await self._transport.send(
            Request(method, BASE + path, {**sent, **self.credentials, **(headers or {})}, data)
        )
        return Answer(response.status, dict(response.headers), response.body)

    async def make_table(
        self, fields: dict[str, Any] | None = None, *, table: str = "music", keyspace: str = "ks", **more: Any
    ) -> Answer:
        """Make the keyspace and a table; `more` are members of the body."""
        await self.ask("POST", f"/v2/keyspaces/{keyspace}", KEYSPACE)
        given = {**(fields or FIELDS)}
        if not {"primaryKey", "partitionKey"} & more.keys() and "PRIMARY KEY" not in given:
            given["PRIMARY KEY"] = "(id)"
        answer = await self.ask("POST", f"/v2/keyspaces/{keyspace}/tables/{table}", {"fields": given, **more})
        assert answer.status == 200, answer
        return answer

    @staticmethod
    def rows_path(table: str = "music", keyspace: str = "ks", **key: Any) -> str:
        """The path of rows, with the query that names one."""
        query = "&".join(f"{quote(name, safe='')}={quote(str(value), safe='')}" for name, value in key.items())
        return f"/v2/keyspaces/{keyspace}/tables/{table}/rows" + (f"?{query}" if query else "")

    async def insert(self, values: dict[str, Any], *, table: str = "music", **more: Any) -> Answer:
        """Insert a row, eventually unless `more` says otherwise."""
        return await self.ask("POST", self.rows_path(table), {"values": values, **how(more)})

    async def put(self, key: str, values: dict[str, Any], *, table: str = "music", **more: Any) -> Answer:
        """Update a row."""
        return await self.ask("PUT", self.rows_path(table, id=key), {"values": values, **how(more)})

    async def delete(self, key: str, *, table: str = "music", **more: Any) -> Answer:
        """Delete a row, or columns of it."""
        return await self.ask("DELETE", self.rows_path(table, id=key), how(more))

    async def select(self, *, table: str = "music", **where: Any) -> Answer:
        """The rows with these values."""
        return await self.ask("GET", self.rows_path(table, **where))

    async def critical_get(self, key: str, *, table: str = "music", **more: Any) -> Answer:
        """Read a row under a lock."""
        path = f"/v2/keyspaces/ks/tables/{table}/rows/criticalget?id={quote(key, safe='')}"
        return await self.ask("PUT", path, how(more))

    async def create(self, key: str, *, table: str = "music", owner: str | None = None, kind: str = "WRITE") -> Answer:
        """Ask for a lock."""
        return await self.ask(
            "POST",
            f"/v2/locks/create/{quote(f'ks.{table}.{key}', safe='')}",
            {"lockType": kind},
            headers={} if owner is None else {"owner": owner},
        )

    async def enqueue(self, key: str, **more: Any) -> str:
        """The id of a new lock, held or not."""
        answer = await self.create(key, **more)
        assert answer.status == 200, answer
        return cast(str, answer.json["lock"]["lock"])

    async def acquire(self, lock_id: str) -> Answer:
        """Ask whether a lock is held."""
        return await self.ask("GET", f"/v2/locks/acquire/{quote(lock_id, safe='')}")

    async def lock(self, key: str, **more: Any) -> str:
        """The id of a lock that is held."""
        lock_id = await self.enqueue(key, **more)
        answer = await self.acquire(lock_id)
        assert answer.status == 200, answer
        return lock_id

    async def release(self, lock_id: str) -> Answer:
        """Let a lock go."""
        return await self.ask("DELETE", f"/v2/locks/release/{quote(lock_id, safe='')}")

    async def promote(self, lock_id: str) -> Answer:
        """Make a reader a writer."""
        return await self.ask("POST", f"/v2/locks/promote/{quote(lock_id, safe='')}")

    async def enquire(self, key: str, *, table: str = "music") -> str | None:
        """The lock in front of the queue, None without one."""
        answer = await self.ask("GET", f"/v2/locks/enquire/{quote(f'ks.{table}.{key}', safe='')}")
        return cast("str | None", answer.json["lock"]["lock-holder"])


KEYSPACE = {"replicationInfo": {"class": "SimpleStrategy", "replication_factor": 1}, "consistencyInfo": {}}
EVENTUAL = {"type": "eventual"}
ATOMIC = {"type": "atomic"}


def how(more: dict[str, Any]) -> dict[str, Any]:
    """Members of a body: `lock` makes it critical, `kind` names a type, without both it is eventual."""
    lock, kind = more.pop("lock", None), more.pop("kind", "eventual")
    info = {"type": kind} if lock is None else {"type": "critical", "lockId": lock}
    return {"consistencyInfo": info, **more}


@asynccontextmanager
async def music_of(seed: int, *names: str, **v2: Any) -> AsyncIterator[tuple[World, list[Music]]]:
    """A world on virtual time with an application over each process, and the table ks.music in it. No failure of a server is
    in the log when it ends."""
    async with world_of(seed, *names) as world:
        musics = [Music(process.coordinator, runtime=process.runtime, **v2) for process in world.processes]
        await musics[0].make_table()
        yield world, musics
        for music in musics:
            assert "request failed" not in music.log.getvalue()
