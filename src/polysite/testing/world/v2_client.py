"""A client of REST v2 in a simulated world: create a lock, poll until it is held, critical gets and puts, release.

It speaks as the clients of MUSIC 3.x do: it has no idempotency keys, sends nothing again but what it polls, and goes to another port only
where no connection was made. What it did is told by the headers `Polysite-Code` and `Polysite-Outcome`; no answer is an unknown
outcome. Its lock ids name tickets, so its calls stand in the history beside everybody else's.
"""

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from polysite.client.transport import NotAnswered, NotSent, Request
from polysite.errors import NotHolder, OutcomeUnknown, PolysiteError, SiteUnreachable, Unavailable, from_code
from polysite.testing.world.clients import COLUMNS, SETTLED_S, Client, Work
from polysite.testing.world.links import V2_LEASE_MS
from polysite.testing.world.served import STEPS
from polysite.testing.world.traffic import KEYSPACE
from polysite.testing.world.world import World
from polysite.values.keys import SECRET_BYTES, LockKey, Reference

ROOT = "/MUSIC/rest/v2"
POLLS_S = 8.0
"""How long it polls for a lock."""

POLL_S = 0.2
GONE = "does not exist."
"""What is said of a lock id that stands in no queue any more."""
LEASES_MS = (1_000, 2_000, 5_000)


class NotHeld(NotHolder):
    """The answer is FAILURE without a code: who asks does not hold the lock."""


class V2Client(Client):
    """A client that takes every lock, and does everything under it, over REST v2."""

    def __init__(self, world: World, site: str, *arguments: Any) -> None:
        super().__init__(world, site, *arguments)
        self._transports = world.links.transports(site)

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer, which is SUCCESS. An error as the answer tells it; OutcomeUnknown: there was none."""
        raw = b"" if body is None else msgspec.json.encode(body)
        named = {"content-type": "application/json"}
        request = Request(method, f"{ROOT}/{path}", named, raw, self.traffic.answer_s)
        for transport in self._transports:
            try:
                response = await transport.send(request)
            except NotSent:
                continue
            except NotAnswered as error:
                raise OutcomeUnknown(str(error), reason="not_answered") from error
            if response.status == 200:
                told: dict[str, Any] = msgspec.json.decode(response.body)
                return told
            code = response.headers.get("polysite-code")
            body = response.body.decode()
            raise NotHeld(body) if code is None else from_code(code, body, {})
        raise SiteUnreachable("no connection")

    def now_s(self) -> float:
        return self._world.now_s()

    async def _tenure(self, work: Work) -> None:
        await V2Work.of(work, self).tenure()

    async def _readers(self, work: Work) -> None:
        await V2Work.of(work, self).tenure(shared=True)

    async def _section(self, work: Work) -> None:
        await self._tenure(work)

    async def settle(self, table: str, key: str) -> None:
        until_s = self._world.now_s() + SETTLED_S
        while not await V2Work(self, table, key).settled():
            if self._world.now_s() > until_s:
                raise AssertionError(f"{self.name}: no lock of {table}/{key} within {SETTLED_S:g} s of the last fault")
            await self._pause(0.5)


class V2Work(Work):
    """What such a client does about one lock key."""

    def __init__(self, client: V2Client, table: str, key: str) -> None:
        super().__init__(client, table, key)
        self._v2 = client
        self._lock_id = ""

    @classmethod
    def of(cls, work: Work, client: V2Client) -> "V2Work":
        """For the key of that work."""
        return cls(client, work._table, work._key)  # noqa: SLF001

    async def tenure(self, *, shared: bool = False) -> None:
        """A lock, some reads and writes, and a release that may be forgotten."""
        client = self._client
        if not await self.hold(shared=shared):
            return
        for _ in range(client.pick(STEPS)):
            if client.happens(0.1):
                await asyncio.sleep(client.pick((0.1, 0.5, 1.0, 2.5)))
            await (self.get(self.some_row()) if shared or client.happens(0.45) else self.put())
        if not client.happens(0.05):
            await self.let_go()

    async def settled(self) -> bool:
        """Whether the lock was had, and what it locks read."""
        try:
            if await self.hold():
                await self.get(self.some_row())
                await self.let_go()
                return True
        except PolysiteError:
            return False
        return False

    async def hold(self, *, shared: bool = False) -> bool:
        """Whether the lock is held, after so many polls."""
        kind = "shared" if shared else "exclusive"
        lease_ms = self._client.pick((0, *LEASES_MS))
        with self._client.begin("acquire", self._named, {"kind": kind, "lease_ms": lease_ms or V2_LEASE_MS}) as call:
            body = {"lockType": "READ"} if shared else None
            told = await self._v2.call("POST", f"locks/create/{KEYSPACE}.{self._table}.{self._key}", body)
            self._lock_id = told["lock"]["lock"]
            if await self._poll(lease_ms):
                call.answer(reference=self._mark())
                return True
            call.end("refused", code="waiting")
        await self.let_go()
        return False

    async def get(self, row: str) -> None:
        """A critical get."""
        with self._client.begin("read", self._named, {"row": row}, self._mark()) as call:
            told = await self._v2.call("PUT", f"{self._rows_path}/criticalget{self._query(row)}", self._critical())
            found = told.get("result", {}).get("row 0")
            call.answer(None if found is None else {name: found[name] for name in COLUMNS if found[name] is not None})

    async def put(self) -> None:
        """A critical put, or a delete of a row."""
        write = self.one_write()
        if write[0] == "range":  # there is no such call
            write = ["delete", self.some_row()]
        with self._client.begin("write", self._named, {"writes": [write]}, self._mark()):
            path = f"{self._rows_path}{self._query(write[1])}"
            if write[0] == "put":
                await self._v2.call("PUT", path, {"values": write[2], **self._critical()})
            else:
                await self._v2.call("DELETE", path, self._critical())

    async def let_go(self) -> None:
        """Release, or give the place in the queue up. It proves nothing: one that is gone is released all the same."""
        await self._v2.call("DELETE", f"locks/release/{quote(self._lock_id)}")

    async def _poll(self, lease_ms: int) -> bool:
        until_s = self._v2.now_s() + POLLS_S
        with_lease = f"locks/acquire-with-lease/{quote(self._lock_id)}"
        while self._v2.now_s() < until_s:
            try:
                if lease_ms:
                    await self._v2.call("POST", with_lease, {"leasePeriod": lease_ms})
                else:
                    await self._v2.call("GET", f"locks/acquire/{quote(self._lock_id)}")
                return True
            except (NotHeld, Unavailable, OutcomeUnknown) as error:
                if GONE in error.message:
                    return False
                await asyncio.sleep(POLL_S)
        return False

    def _critical(self) -> dict[str, Any]:
        return {"consistencyInfo": {"type": "critical", "lockId": self._lock_id}}

    @property
    def _rows_path(self) -> str:
        return f"keyspaces/{KEYSPACE}/tables/{self._table}/rows"

    def _query(self, row: str) -> str:
        return f"?{urlencode({'id': self._key, 'r': row} if self.is_wide else {'id': self._key})}"

    def _mark(self) -> str:
        """What the lock id says, as histories have it: a reference, but without its secret."""
        ticket = int(self._lock_id.rpartition("$")[2])
        return str(Reference(LockKey(KEYSPACE, self._table, (self._key.encode(),)), ticket, bytes(SECRET_BYTES)))
