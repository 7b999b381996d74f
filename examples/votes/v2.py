"""A client of REST v2, as programs written for MUSIC have one: it knows paths, bodies and two words, and nothing of polysite."""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from polysite.client.aiohttp_transport import AiohttpTransport
from polysite.client.transport import NotAnswered, NotSent, Request

POLL_S, POLL_S_MAX = 0.02, 0.5
RESTS = 3.0
"""A client that waits rests before it asks again: so many times as long as the last answer took, within bounds. Many that wait must not
keep the holder from its calls."""
WAITS = "is not a lock holder"
REPLICATION = {"class": "SimpleStrategy", "replication_factor": 1}
HEADERS = {"content-type": "application/json"}


class Refused(Exception):
    """The answer is FAILURE, for the reason that it gives. Nothing in an answer of v2 says for certain that a write will not
    happen: whoever wrote looks at the row."""


class Away(Exception):
    """No server was reached, or none answered."""


class V2:
    """The interface of one server."""

    def __init__(self, url: str) -> None:
        self._transport = AiohttpTransport(url)
        self._chance = random.Random()

    async def aclose(self) -> None:
        await self._transport.close()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer, which is SUCCESS. Refused or Away."""
        raw = b"" if body is None else json.dumps(body).encode()
        try:
            response = await self._transport.send(Request(method, f"/MUSIC/rest/v2/{path}", HEADERS, raw))
            answer: dict[str, Any] = json.loads(response.body)
        except (NotSent, NotAnswered, ValueError) as error:
            raise Away(str(error)) from error
        if response.status != 200 or answer.get("status") != "SUCCESS":
            raise Refused(str(answer.get("error", answer)))
        return answer

    async def make_table(self, keyspace: str, table: str, fields: Mapping[str, str], key: str) -> None:
        """The keyspace and the table, with a primary key of one column."""
        made = {"replicationInfo": REPLICATION, "consistencyInfo": {}}
        await self.ask("POST", f"keyspaces/{keyspace}", made)
        await self.ask(
            "POST", f"keyspaces/{keyspace}/tables/{table}", {"fields": fields, "primaryKey": key, "consistencyInfo": {}}
        )

    async def rows(self, keyspace: str, table: str) -> list[dict[str, Any]]:
        """Every row, as the nearest replica has it."""
        answer = await self.ask("GET", f"keyspaces/{keyspace}/tables/{table}/rows")
        return list(answer["result"].values())

    async def create_lock(self, name: str) -> str:
        """A place in the queue of `keyspace.table.key`; the lock id."""
        answer = await self.ask("POST", f"locks/create/{quote(name, safe='')}")
        return str(answer["lock"]["lock"])

    async def acquire(self, lock_id: str, wait_s: float) -> bool:
        """Ask again and again whether it is this one's turn, also a server that comes back; False: it was not, for so long.
        Refused: the place is gone."""
        until_s = time.monotonic() + wait_s
        while (asked_s := time.monotonic()) < until_s:
            try:
                await self.ask("GET", f"locks/acquire/{quote(lock_id, safe='')}")
                return True
            except Refused as refusal:
                if not str(refusal).endswith(WAITS):
                    raise
            except Away:
                pass
            rest_s = min(max(RESTS * (time.monotonic() - asked_s), POLL_S), POLL_S_MAX)
            await asyncio.sleep(self._chance.uniform(rest_s / 2, rest_s))
        return False

    async def critical_get(self, rows: str, where: Mapping[str, str], lock_id: str) -> dict[str, Any] | None:
        """The row, read by the holder of its lock; None: there is none."""
        info = {"consistencyInfo": {"type": "critical", "lockId": lock_id}}
        answer = await self.ask("PUT", f"{rows}/criticalget?{urlencode(where)}", info)
        found: dict[str, Any] | None = answer.get("result", {}).get("row 0")
        return found

    async def critical_put(self, rows: str, where: Mapping[str, str], values: Mapping[str, Any], lock_id: str) -> None:
        """Write columns of a row as the holder of its lock."""
        info = {"type": "critical", "lockId": lock_id}
        await self.ask("PUT", f"{rows}?{urlencode(where)}", {"values": values, "consistencyInfo": info})

    async def release(self, lock_id: str) -> None:
        await self.ask("DELETE", f"locks/release/{quote(lock_id, safe='')}")
