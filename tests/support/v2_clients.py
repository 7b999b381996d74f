"""Clients of REST v2 that die, each on a connection of its own, and what they saw, for a judge.

A client that is killed is to the server a connection that breaks: at once, and in the middle of a request if it comes to that.
"""

import asyncio
import bisect
import contextlib
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from itertools import accumulate
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

KEYSPACE, TABLE = "load", "counts"
ROWS = f"keyspaces/{KEYSPACE}/tables/{TABLE}/rows"
WAITS = "is not a lock holder"
GONE = "does not exist."
NO_HOLDER = "There was a problem getting the lock holder"
POLL_S, POLL_S_MAX = 0.02, 0.3
RESTS = 3.0
"""A client that waits rests for so many times as long as its last answer took, within bounds: many that wait leave the server to the
holder."""


class Death(Enum):
    """Where a client dies. IN: the request was sent, nobody reads its answer."""

    IN_CREATE = "in create"
    AFTER_CREATE = "after create"
    IN_ACQUIRE = "in acquire"
    AFTER_ACQUIRE = "after acquire"
    HALF_A_PUT = "after half of the put's request"
    IN_PUT = "in the put"
    BEFORE_RELEASE = "before release"
    IN_RELEASE = "in release"


class Dead(Exception):
    """The client died."""


class Created(NamedTuple):
    """A lock that was created: between which moments, and its number."""

    key: str
    began_s: float
    ended_s: float
    ticket: int


class Version(NamedTuple):
    """What a row holds: the total, and who wrote it."""

    total: int
    author: str


NOTHING = Version(0, "")


class Tenure(NamedTuple):
    """One holder: what it read, what it put, and whether it knows that this is there (None: it does not know; False: it is not)."""

    key: str
    ticket: int
    found: Version
    put: Version | None
    done: bool | None


class Told(NamedTuple):
    """An answer of the server."""

    succeeded: bool
    refused: bool
    answer: dict[str, Any]

    @property
    def error(self) -> str:
        return str(self.answer.get("error", ""))


class Connection:
    """One client's connection: as much HTTP as it takes."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).hostname or ""
        self._port = urlsplit(url).port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: object = None, *, share: float = 1.0) -> None:
        """Send a request, or the first part of it."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        raw = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /MUSIC/rest/v2/{path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
        whole = f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw
        self._streams[1].write(whole[: int(len(whole) * share)])
        await self._streams[1].drain()

    async def ask(self, method: str, path: str, body: object = None) -> Told:
        """A request and its answer."""
        await self.send(method, path, body)
        assert self._streams is not None
        head = (await self._streams[0].readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        answer = json.loads(await self._streams[0].readexactly(int(headers["content-length"])))
        if headers.get("connection") == "close":
            self.cut()
        succeeded = answer.get("status") == "SUCCESS"
        return Told(succeeded, headers.get("polysite-outcome") == "refused", answer)

    def cut(self) -> None:
        """Break the connection at once."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].transport.abort()


class Crowd:
    """So many clients on some keys; whoever dies is followed by another client."""

    def __init__(self, url: str, keys: Sequence[str], chance: random.Random, *, deaths: int, tenures: int) -> None:
        """Until there were `tenures` whole cycles, `deaths` of the clients die on the way, at each point alike."""
        self.url = url
        self.keys = keys
        self.created: list[Created] = []
        self.tenures: list[Tenure] = []
        self.deaths: Counter[Death] = Counter()
        self.lost = 0
        """Cycles that ended because the lock was gone: their client was too slow."""
        self._chance = chance
        self._left = tenures
        points = list(itertools.islice(itertools.cycle(Death), deaths))
        self._deaths = dict(zip(chance.sample(range(tenures), deaths), points, strict=True))
        """By how many whole cycles are left: who begins then dies there."""
        self._alive: list[Death] = []
        """Points that a client did not come to, since it lost its lock before: the next one is to die there."""
        self._authors = itertools.count(1)

    async def run(self, clients: int) -> None:
        """Return when all cycles are done."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._clients_in_turn())

    async def _clients_in_turn(self) -> None:
        while self._left > 0:
            connection = Connection(self.url)
            try:
                while self._left > 0:
                    self._left -= 1
                    point = self._deaths.pop(self._left, None) or (self._alive.pop() if self._alive else None)
                    if not await _Cycle(self, connection, self._chance.choice(self.keys), point).run():
                        self._left += 1
                        if point is not None:
                            self._alive.append(point)
            except Dead:
                self._left += 1
            finally:
                connection.cut()

    async def one_dies_at_every_point(self, keys: Sequence[str]) -> None:
        """Each on a key of its own, which nobody wants after it: return when all are dead."""
        await asyncio.gather(*(self._dies(key, point) for key, point in zip(keys, Death, strict=True)))

    async def _dies(self, key: str, point: Death) -> None:
        connection = Connection(self.url)
        with contextlib.suppress(Dead):
            await _Cycle(self, connection, key, point).run()

    def next_author(self) -> str:
        return f"author-{next(self._authors)}"

    def pause(self, took_s: float) -> Awaitable[None]:
        """The rest of one who waits and whose last answer took so long."""
        rest_s = min(max(RESTS * took_s, POLL_S), POLL_S_MAX)
        return asyncio.sleep(self._chance.uniform(rest_s / 2, rest_s))

    async def until_empty(self, keys: Sequence[str], limit_s: float) -> float:
        """Return when no lock stands in the queues of these keys any more, and how long that took. TimeoutError after `limit_s`."""
        began_s = time.monotonic()
        connection = Connection(self.url)
        async with asyncio.timeout(limit_s):
            for key in keys:
                while not await self._is_empty(connection, key):
                    await self.pause(POLL_S)
        connection.cut()
        return time.monotonic() - began_s

    async def _is_empty(self, connection: Connection, key: str) -> bool:
        told = await connection.ask("GET", f"locks/enquire/{KEYSPACE}.{TABLE}.{key}")
        assert told.succeeded or told.error == NO_HOLDER, told
        return not told.succeeded


class _Cycle:
    """Create, acquire by polling, critical get, critical put, release; or a part of it."""

    def __init__(self, crowd: Crowd, connection: Connection, key: str, death: Death | None) -> None:
        self._crowd = crowd
        self._connection = connection
        self._key = key
        self._death = death

    async def run(self) -> bool:
        """True: the whole cycle; False: the lock was lost on the way. Dead: as it was to be."""
        crowd = self._crowd
        lock_id = await self._create()
        self._dies(Death.AFTER_CREATE)
        path = quote(lock_id, safe="")
        asked_s = time.monotonic()
        while not (told := await self._ask(Death.IN_ACQUIRE, "GET", f"locks/acquire/{path}")).succeeded:
            if told.error.endswith(GONE) or not told.error.endswith(WAITS):
                return self._lost(told)
            await crowd.pause(time.monotonic() - asked_s)
            asked_s = time.monotonic()
        self._dies(Death.AFTER_ACQUIRE)
        held = {"type": "critical", "lockId": lock_id}
        told = await self._connection.ask("PUT", f"{ROWS}/criticalget?name={self._key}", {"consistencyInfo": held})
        if not told.succeeded:
            return self._lost(told)
        row = told.answer.get("result", {}).get("row 0")
        found = NOTHING if row is None else Version(row["total"], row["author"])
        if not await self._put(int(lock_id.rpartition("$")[2]), found, held):
            return False
        self._dies(Death.BEFORE_RELEASE)
        told = await self._ask(Death.IN_RELEASE, "DELETE", f"locks/release/{path}")
        assert told.succeeded, told
        return True

    async def _create(self) -> str:
        began_s = time.monotonic()
        told = await self._ask(Death.IN_CREATE, "POST", f"locks/create/{KEYSPACE}.{TABLE}.{self._key}")
        assert told.succeeded, told
        lock_id: str = told.answer["lock"]["lock"]
        ticket = int(lock_id.rpartition("$")[2])
        self._crowd.created.append(Created(self._key, began_s, time.monotonic(), ticket))
        return lock_id

    async def _put(self, ticket: int, found: Version, held: dict[str, str]) -> bool:
        """Write one more; True if that is known to be there."""
        put = Version(found.total + 1, self._crowd.next_author())
        asked = ("PUT", f"{ROWS}?name={self._key}", {"values": put._asdict(), "consistencyInfo": held})
        done: bool | None = None
        try:
            if self._death is Death.HALF_A_PUT:
                done = False
                await self._connection.send(*asked, share=self._crowd._chance.random())
                self._dies(Death.HALF_A_PUT)
            told = await self._ask(Death.IN_PUT, *asked)
            done = True if told.succeeded else False if told.refused else None
            return told.succeeded or self._lost(told)
        finally:
            self._crowd.tenures.append(Tenure(self._key, ticket, found, put, done))

    async def _ask(self, death: Death, method: str, path: str, body: object = None) -> Told:
        """A request and its answer, if the client does not die on it."""
        if self._death is death:
            await self._connection.send(method, path, body)
            self._dies(death)
        return await self._connection.ask(method, path, body)

    def _dies(self, point: Death) -> None:
        if self._death is point:
            self._crowd.deaths[point] += 1
            self._connection.cut()
            raise Dead

    def _lost(self, told: Told) -> bool:
        """Note that the lock is gone, which is all that may go wrong here."""
        assert (
            GONE in told.error
            or told.error.endswith(("is not the lock holder", WAITS))
            or "No Lock Object" in told.error
        ), told
        self._crowd.lost += 1
        return False


# the judge


def lost_updates(tenures: Sequence[Tenure]) -> list[str]:
    """Every holder must find what the one before it wrote: the last put that was done, or one of those after it that nobody
    knows about."""
    return _by_key(tenures, _lost_of_key)


def _lost_of_key(tenures: Sequence[Tenure]) -> list[str]:
    findings = []
    possible = {NOTHING}
    for tenure in sorted(tenures, key=lambda one: one.ticket):
        if tenure.found not in possible:
            findings.append(f"{tenure.key}: number {tenure.ticket} found {tenure.found}, not one of {possible}")
        possible = {tenure.found}
        if tenure.put is not None and tenure.done is not False:
            possible = {tenure.put} if tenure.done else {tenure.found, tenure.put}
    return findings


def numbers_out_of_order(created: Sequence[Created]) -> list[str]:
    """A lock that was asked for after another was there has a larger number, and no two of a key have the same."""
    return _by_key(created, _out_of_order_of_key)


def _out_of_order_of_key(created: Sequence[Created]) -> list[str]:
    by_end = sorted(created, key=lambda one: one.ended_s)
    ends = [one.ended_s for one in by_end]
    largest = list(accumulate((one.ticket for one in by_end), max))
    findings = []
    for one in created:
        before = bisect.bisect_left(ends, one.began_s)
        if before and largest[before - 1] >= one.ticket:
            findings.append(f"{one.key}: number {one.ticket} after {largest[before - 1]}")
    if len({one.ticket for one in created}) < len(created):
        findings.append(f"{created[0].key}: a number was given twice")
    return findings


def _by_key(members: Sequence[Any], judge: Callable[[Sequence[Any]], list[str]]) -> list[str]:
    by_key: dict[str, list[Any]] = {}
    for member in members:
        by_key.setdefault(member.key, []).append(member)
    return [finding for some in by_key.values() for finding in judge(some)]
