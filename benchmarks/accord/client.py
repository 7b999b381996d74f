"""A client at one site of the lab, on the Cassandra node there: `polysite lab exec SITE -- python -m benchmarks.accord.client JOB PLAN`.

Every attempt is a record in a file; `judging` decides what they prove. A compare-and-set writes a token that nobody else writes, so
that whoever reads the cell knows whose change it is.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from polysite.clock import SystemClock
from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.checks import define, ensure_keyspace
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import CassandraSettings, cassandra_settings_from
from polysite.errors import PolysiteError
from polysite.values.types import parse_type

BLOB, BIGINT, INT = parse_type("blob"), parse_type("bigint"), parse_type("int")
GIVES = {"key": BLOB, "version": BIGINT, "content": BLOB}
KEYSPACE = "fitness"
TABLE = (
    "CREATE TABLE IF NOT EXISTS fitness.cells (key blob PRIMARY KEY, version bigint, content blob) "
    "WITH transactional_mode = 'mixed_reads'"
)
FIND = Statement("SELECT version, content FROM fitness.cells WHERE key = ?", (BLOB,), GIVES)
MAKE = Statement(
    "INSERT INTO fitness.cells (key, version, content) VALUES (?, ?, ?) IF NOT EXISTS", (BLOB, BIGINT, BLOB), GIVES
)
CHANGE = Statement(
    "UPDATE fitness.cells SET version = ?, content = ? WHERE key = ? IF version = ? AND content != null",
    (BIGINT, BLOB, BLOB, BIGINT),
    GIVES,
)
TOKEN_BYTES, CONTENT_BYTES = 8, 200
SIDE_BY_SIDE = 16
PAUSE_S = 0.1
"""After a failure."""

stopping = asyncio.Event()
"""Whoever is told to end finishes what is under way, so that nothing happens which nobody knows of."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one client does. `keys` 0: all clients of all sites share one key; else each client goes round so many of its own.

    `begin_s` and `until_s` are of the machine's monotonic clock; `count` 0: until then, else so many changes at most.
    `cells`: the file that names the cells to read at the end. `options`: more options of the table.
    """

    site: str
    address: str
    sites: tuple[str, ...]
    record: str
    run: str = "run"
    clients: int = 1
    keys: int = 0
    begin_s: float = 0
    until_s: float = 0
    count: int = 0
    cells: str = ""
    options: str = ""


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One request and its answer. `version` and `token`: the cell as the answer showed it, 0 and "" if it did not.

    `outcome`: applied, refused, seen (of a read); unavailable (nothing happened), unknown.
    """

    site: str
    client: str
    key: str
    kind: str
    expected: int
    mine: str
    begun_s: float
    ended_s: float
    outcome: str
    version: int = 0
    token: str = ""
    error: str = ""


class Recorder:
    """Attempts, written down as they end."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # as long as the process lives

    def __call__(self, attempt: Attempt) -> None:
        self._file.write(msgspec.json.encode(attempt) + b"\n")

    def close(self) -> None:
        self._file.close()


class Cell:
    """One cell as one client knows it."""

    def __init__(
        self, port: CassandraPort, record: Callable[[Attempt], None], site: str, client: str, key: str
    ) -> None:
        self._port, self._record = port, record
        self._site, self._client, self.key = site, client, key
        self.version = 0

    async def change(self) -> bool:
        """One compare-and-set on the version known; whether it is known what became of it."""
        token, expected, begun_s = os.urandom(TOKEN_BYTES), self.version, time.monotonic()
        content = token.ljust(CONTENT_BYTES, b".")
        key, version = self.key.encode(), (expected + 1).to_bytes(8, "big")
        if expected:
            write = (CHANGE, [version, content, key, expected.to_bytes(8, "big")])
        else:
            write = (MAKE, [key, version, content])
        try:
            answer = await self._port.write_if([write], commit=Consistency.ANY, serial=Consistency.SERIAL)
        except PolysiteError as error:
            self._tell(
                "cas",
                expected,
                token.hex(),
                begun_s,
                "unknown" if error.outcome == "unknown" else "unavailable",
                error=error,
            )
            return False
        if answer.applied:
            self.version = expected + 1
            self._tell("cas", expected, token.hex(), begun_s, "applied", self.version, token.hex())
        else:
            row = dict(zip(answer.found.names, answer.found.rows[0], strict=True)) if answer.found.rows else {}
            self.version, found = _view(row)
            self._tell("cas", expected, token.hex(), begun_s, "refused", self.version, found)
        return True

    async def look(self, kind: str = "read", consistency: Consistency = Consistency.SERIAL) -> bool:
        """Read it; whether that was answered."""
        begun_s = time.monotonic()
        try:
            page = await self._port.read(FIND, [self.key.encode()], consistency=consistency)
        except PolysiteError as error:
            self._tell(kind, 0, "", begun_s, "unavailable", error=error)
            return False
        version, token = _view(dict(zip(page.names, page.rows[0], strict=True)) if page.rows else {})
        if kind == "read":
            self.version = version
        self._tell(kind, 0, "", begun_s, "seen", version, token)
        return True

    async def look_until(self, over: Callable[[], bool]) -> None:
        """Read it until that is answered, or it is over."""
        while not await self.look():
            if over():
                return
            await asyncio.sleep(PAUSE_S)

    def _tell(
        self,
        kind: str,
        expected: int,
        mine: str,
        begun_s: float,
        outcome: str,
        version: int = 0,
        token: str = "",
        *,
        error: PolysiteError | None = None,
    ) -> None:
        words = "" if error is None else f"{getattr(error, 'reason', '') or error.code}: {_cause(error)}"
        attempt = Attempt(
            self._site,
            self._client,
            self.key,
            kind,
            expected,
            mine,
            begun_s,
            time.monotonic(),
            outcome,
            version,
            token,
            words,
        )
        self._record(attempt)


def _cause(error: PolysiteError) -> str:
    cause = error.__cause__
    return f"{type(cause).__name__} {cause}"[:200] if cause is not None else str(error)[:200]


def _view(row: dict[str, bytes | None]) -> tuple[int, str]:
    version, content = row.get("version"), row.get("content")
    if version is None:
        return 0, ""
    return int.from_bytes(version, "big"), (content or b"")[:TOKEN_BYTES].hex()


class Work(NamedTuple):
    """What a job works with."""

    plan: Plan
    port: CassandraPort
    settings: CassandraSettings
    record: Recorder


async def prepare(work: Work) -> None:
    """Make the keyspace and the table."""
    plan, port, settings = work.plan, work.port, work.settings
    await ensure_keyspace(port, settings, SystemClock(), KEYSPACE, dict.fromkeys(plan.sites, 1))
    await define(port, SystemClock(), TABLE + (f" AND {plan.options}" if plan.options else ""))


async def load(work: Work) -> None:
    """Change cells again and again. After a failure read until it is known how the cell stands."""
    plan, port, record = work.plan, work.port, work.record
    left = plan.count or sys.maxsize
    await asyncio.sleep(max(0.0, plan.begin_s - time.monotonic()))

    async def client(number: int) -> None:
        nonlocal left
        name = f"{plan.site}-{number}"
        keys = [f"{plan.run}-{name}-{at}" for at in range(plan.keys)] or [plan.run]
        cells = [Cell(port, record, plan.site, name, key) for key in keys]
        for cell in cells:
            await cell.look_until(lambda: time.monotonic() > plan.until_s or stopping.is_set())
        turn = 0
        while time.monotonic() < plan.until_s and left > 0 and not stopping.is_set():
            cell = cells[turn % len(cells)]
            turn += 1
            left -= 1
            if await cell.change():
                continue
            await asyncio.sleep(PAUSE_S)
            await cell.look_until(lambda: time.monotonic() > plan.until_s or stopping.is_set())

    await asyncio.gather(*(client(number) for number in range(plan.clients)))


async def final(work: Work) -> None:
    """Read every cell that the file `cells` names, also locally; each until it answers or the time is over."""
    plan, port, record = work.plan, work.port, work.record
    keys = msgspec.json.decode(Path(plan.cells).read_bytes(), type=list[str])  # noqa: ASYNC240  # nothing else is under way

    async def look(keys: list[str]) -> None:
        for key in keys:
            cell = Cell(port, record, plan.site, f"{plan.site}-final", key)
            await cell.look_until(lambda: time.monotonic() > plan.until_s)
            await cell.look("local", Consistency.LOCAL_ONE)

    await asyncio.gather(*(look(keys[at::SIDE_BY_SIDE]) for at in range(SIDE_BY_SIDE)))


async def scan(work: Work) -> None:
    """Read the whole table at QUORUM again and again, as anybody may in the mode `mixed_reads`."""
    plan, port, record = work.plan, work.port, work.record
    whole = Statement("SELECT key, version, content FROM fitness.cells", (), GIVES)
    while time.monotonic() < plan.until_s and not stopping.is_set():
        begun_s, words, rows = time.monotonic(), "", 0
        try:
            rows = len((await port.read(whole, [], consistency=Consistency.QUORUM)).rows)
        except PolysiteError as error:
            words = _cause(error)
        told = Attempt(
            plan.site,
            "scan",
            "*",
            "scan",
            0,
            "",
            begun_s,
            time.monotonic(),
            "failed" if words else "seen",
            0,
            str(rows),
            words,
        )
        record(told)
        await asyncio.sleep(PAUSE_S)


async def latency(work: Work) -> None:
    """One after the other on a quiet cell: applied, refused (a second cell on an old version), read, local read 200 ms after."""
    plan, port, record = work.plan, work.port, work.record
    cell = Cell(port, record, plan.site, plan.site, f"{plan.run}-{plan.site}")
    await cell.look()
    for _ in range(plan.count):
        await cell.change()
        late = Cell(port, record, plan.site, plan.site, cell.key)
        late.version = cell.version + 7
        await late.change()
        await cell.look()
        await asyncio.sleep(0.2)
        await cell.look("local", Consistency.LOCAL_ONE)


async def neighbours(work: Work) -> None:
    """Read the cells that other sites change in `latency`, locally, to see what a site sees of them."""
    plan, port, record = work.plan, work.port, work.record
    for site in plan.sites:
        await Cell(port, record, plan.site, plan.site, f"{plan.run}-{site}").look("local", Consistency.LOCAL_ONE)


JOBS = {"prepare": prepare, "load": load, "final": final, "latency": latency, "neighbours": neighbours, "scan": scan}


async def run(job: str, plan: Plan) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    settings = cassandra_settings_from({"contact_points": [plan.address], "data_center": plan.site})
    port = cassandra_port(settings)
    record = Recorder(plan.record)
    while True:
        try:
            await port.connect()
            break
        except PolysiteError:
            if time.monotonic() > plan.until_s:
                raise
            await asyncio.sleep(PAUSE_S)
    try:
        await JOBS[job](Work(plan, port, settings, record))
    finally:
        record.close()
        await port.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Plan)))
