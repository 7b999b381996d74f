"""REST v2: the cycle create, acquire, critical get, critical put, release, call by call, and one key that three sites want at once.

The clients know v2 and nothing else; what an answer claims stands in its header Polysite-Round-Trips.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from benchmarks.figures import Figure
from polysite.client.aiohttp_transport import AiohttpTransport
from polysite.client.transport import Request

from .bounds import Bounds, alike, groups
from .contention import lost_updates, out_of_turn, shares
from .judging import Measured, measured
from .keys import GRACE_S, QUIET_W, Quiet
from .operations import Watch
from .samples import Failure, Record, Sample, Tenure, tell
from .tables import CONTENDED, KEYSPACE, TEXT, V2

CREATE, ACQUIRE, GET, GET_PLAIN = "v2: create", "v2: acquire", "v2: get", "v2: get of a row that no section wrote"
PUT, RELEASE = "v2: put", "v2: release"
CYCLE = "v2: create, acquire, get, put, release"
RELEASE_WAITING = "v2: release that waits (v2.release_waits)"
BOUNDS = {
    CREATE: Bounds(2, 1, 2),
    ACQUIRE: alike(0),
    GET: alike(1),
    GET_PLAIN: alike(2),
    PUT: alike(1),
    RELEASE: alike(0),
    CYCLE: Bounds(4, 3, 4),
    RELEASE_WAITING: Bounds(2, 1, 2),
}
WARM_UP = 2
POLL_S = 0.02
WAITS = "is not a lock holder"
HELD_LEAST = 10
ROWS = f"keyspaces/{KEYSPACE}/tables/{V2}/rows"
HEADERS = {"content-type": "application/json"}


class Told(NamedTuple):
    """An answer, which is SUCCESS, and the round trips that it claims."""

    answer: dict[str, Any]
    claimed: float


class FailureTold(Exception):
    """An answer that is FAILURE."""


class V2Client:
    """As much of the interface as the cycle takes."""

    def __init__(self, url: str) -> None:
        self._transport = AiohttpTransport(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def ask(self, method: str, path: str, body: object = None) -> Told:
        """The answer. FailureTold: it is FAILURE."""
        raw = b"" if body is None else json.dumps(body).encode()
        response = await self._transport.send(Request(method, f"/MUSIC/rest/v2/{path}", HEADERS, raw))
        answer = json.loads(response.body)
        if response.status != 200 or answer["status"] != "SUCCESS":
            raise FailureTold(str(answer.get("error", answer)))
        return Told(answer, float(response.headers.get("polysite-round-trips", 0)))

    async def create(self, key: str) -> tuple[str, float]:
        """The lock id."""
        told = await self.ask("POST", f"locks/create/{KEYSPACE}.{V2}.{key}")
        return told.answer["lock"]["lock"], told.claimed

    async def acquire(self, lock_id: str) -> float:
        return (await self.ask("GET", f"locks/acquire/{quote(lock_id)}")).claimed

    async def get(self, key: str, lock_id: str) -> tuple[dict[str, Any], float]:
        """The row, which must be there."""
        told = await self.ask("PUT", f"{ROWS}/criticalget?k={key}", {"consistencyInfo": _critical(lock_id)})
        return told.answer["result"]["row 0"], told.claimed

    async def put(self, key: str, lock_id: str, number: int) -> float:
        body = {"values": {"v": TEXT, "n": number}, "consistencyInfo": _critical(lock_id)}
        return (await self.ask("PUT", f"{ROWS}?k={key}", body)).claimed

    async def release(self, lock_id: str) -> float:
        return (await self.ask("DELETE", f"locks/release/{quote(lock_id)}")).claimed


def _critical(lock_id: str) -> dict[str, str]:
    return {"type": "critical", "lockId": lock_id}


async def make(url: str) -> None:
    """The table, as a client of v2 makes it."""
    async with V2Client(url) as client:
        fields = {"k": "text", "v": "text", "n": "int"}
        await client.ask("POST", f"keyspaces/{KEYSPACE}/tables/{V2}", {"fields": fields, "primaryKey": "k"})


async def measure(url: str, watch: Watch, keys: Quiet, prefix: str, repeats: int) -> None:
    """So many samples of every call; `prefix` begins the keys of rows that are written without a lock and read under one."""
    async with V2Client(url) as client:
        fresh = [f"{prefix}-{number}" for number in range(WARM_UP + repeats)]
        for key in fresh:
            values = {"k": key, "v": TEXT, "n": 0}
            await client.ask("POST", ROWS, {"values": values, "consistencyInfo": {"type": "eventual"}})
        await asyncio.sleep(QUIET_W * watch.rtt_ms / 1000 + GRACE_S)
        for number, key in enumerate(fresh):
            watch.muted = number < WARM_UP
            await _cycle(client, watch, (await keys.take()).key["k"])
            await keys.let_go()
            await _plain(client, watch, key)
            await asyncio.sleep(4 * watch.rtt_ms / 1000)


async def measure_release(url: str, watch: Watch, keys: Quiet, repeats: int) -> None:
    """So many releases at a process that answers them when they are carried out."""
    async with V2Client(url) as client:
        for number in range(WARM_UP + repeats):
            watch.muted = number < WARM_UP
            key = (await keys.take()).key["k"]
            lock_id, _ = await client.create(key)
            await client.acquire(lock_id)
            row, _ = await client.get(key, lock_id)
            await client.put(key, lock_id, row["n"] + 1)
            began_s = time.monotonic()
            watch.told(RELEASE_WAITING, began_s, await client.release(lock_id))
            await keys.let_go()


async def _cycle(client: V2Client, watch: Watch, key: str) -> None:
    began_s = time.monotonic()
    lock_id, created = await client.create(key)
    watch.told(CREATE, began_s, created)
    at_s = time.monotonic()
    acquired = await client.acquire(lock_id)
    watch.told(ACQUIRE, at_s, acquired)
    at_s = time.monotonic()
    row, got = await client.get(key, lock_id)
    watch.told(GET, at_s, got)
    at_s = time.monotonic()
    put = await client.put(key, lock_id, row["n"] + 1)
    watch.told(PUT, at_s, put)
    at_s = time.monotonic()
    released = await client.release(lock_id)
    watch.told(RELEASE, at_s, released)
    watch.told(CYCLE, began_s, created + acquired + got + put + released)


async def _plain(client: V2Client, watch: Watch, key: str) -> None:
    lock_id, _ = await client.create(key)
    await client.acquire(lock_id)
    began_s = time.monotonic()
    _, got = await client.get(key, lock_id)
    watch.told(GET_PLAIN, began_s, got)
    await client.release(lock_id)


def table(samples: Sequence[Sample], leads: str | None) -> list[tuple[float, Measured]]:
    """Every call that has samples, with its bound."""
    found = []
    for operation, bounds in BOUNDS.items():
        for group, members in groups(samples, leads).items():
            of_call = [sample for sample in members if sample.operation == operation]
            if of_call:
                found.append((bounds.of(group), measured(operation, group, of_call)))
    return found


async def contend(url: str, *, site: str, begin_s: float, lasts_s: float) -> None:
    """One client from a moment on, that all sites are told, for so long."""
    async with V2Client(url) as client:
        await asyncio.sleep(max(0.0, begin_s - time.monotonic()))
        while time.monotonic() < begin_s + lasts_s:
            try:
                tell(await _tenure(client, site))
            except FailureTold as failure:
                tell(Failure(site=site, client=site, outcome="unknown", code="failure", message=str(failure)))


async def _tenure(client: V2Client, site: str) -> Tenure:
    asked_s = time.monotonic()
    lock_id, _ = await client.create(CONTENDED)
    await _until_held(client, lock_id)
    held_s = time.monotonic()
    row, _ = await client.get(CONTENDED, lock_id)
    await client.put(CONTENDED, lock_id, row["n"] + 1)
    release_s = time.monotonic()
    await client.release(lock_id)
    return Tenure(
        site=site,
        client=site,
        ticket=int(lock_id.rpartition("$")[2]),
        read=row["n"],
        asked_s=asked_s,
        held_s=held_s,
        release_s=release_s,
        ended_s=time.monotonic(),
    )


async def _until_held(client: V2Client, lock_id: str) -> None:
    """Ask again and again whether it holds."""
    while True:
        try:
            await client.acquire(lock_id)
        except FailureTold as failure:
            if not str(failure).endswith(WAITS):
                raise
            await asyncio.sleep(POLL_S)
        else:
            return


async def total(url: str, *, site: str) -> None:
    """Tell the counter, read under its lock, as the last tenure."""
    async with V2Client(url) as client:
        tell(await _tenure(client, site))


def judged(told: Sequence[Record], last: Sequence[Record], sites: int) -> list[Figure]:
    """What the clients of all sites told, and the tenure `last` after they had ended, whose counter tells the total."""
    tenures = sorted((one for one in told if isinstance(one, Tenure)), key=lambda one: one.ticket)
    failures = [one for one in told if isinstance(one, Failure)]
    name = f"one key, {sites} sites, REST v2"
    if not tenures:
        return [Figure(f"{name}: sites served", 0, f"of {sites}", at_least=sites)]
    (after,) = (one for one in last if isinstance(one, Tenure))
    spent_s = max(one.ended_s for one in tenures) - min(one.asked_s for one in tenures)
    least = min(sum(one.site == site for one in tenures) for site in {one.site for one in tenures})
    served = len({one.site for one in tenures})
    twice = sum(later.ticket == earlier.ticket for earlier, later in pairwise(tenures))
    messages = ", ".join(sorted({one.message for one in failures}))
    return [
        Figure(f"{name}: tenures", len(tenures) / spent_s, "per second", detail=shares(tenures)),
        Figure(f"{name}: sites served", served, f"of {sites}", at_least=sites),
        Figure(f"{name}: tenures of the site with fewest", least, "", at_least=HELD_LEAST),
        Figure(f"{name}: served out of turn", out_of_turn(tenures), "", at_most=0),
        Figure(f"{name}: numbers given twice", twice, "", at_most=0),
        Figure(f"{name}: lost updates", lost_updates(tenures, len(failures)), "", at_most=0),
        Figure(f"{name}: failures", len(failures), "", at_most=0, detail=messages),
        Figure(f"{name}: total beyond the tenures", abs(after.read - len(tenures)), "", at_most=0),
    ]
