"""Processor time of the two Cassandra drivers, on one Cassandra node of this machine: per query, and per section.

python -m benchmarks.cassandra_drivers          needs Java; the Cassandra node is fetched, started, and gone afterwards

It is the processor time of this process, all its threads: what the Cassandra node itself needs is not in the figures. Runs of all
kinds take turns, and the least of the rounds counts: what else the machine does only ever adds, to whoever has its turn. A section's
driver part are the four requests that a section makes on a quiet key, made by 64 tasks as the coordinator makes them, without a
coordinator; the same requests answered by nobody, in the loop's next turn, are what the loop and the tasks themselves cost, and
are taken off. How many requests a section makes, and what it costs with its coordinator, is measured beside it.

Beside them stands cassandra-driver as programs use it that know nothing of our port: `execute_async`, its own values and rows, and a call into
the loop for each answer. Our port over the same driver hands bytes through and wakes the loop once for all answers that are there. No bound is of it.

Queries: keys are spread over 1,000, contents have 100 bytes. With 1 task each answer wakes the loop; with 32 several answers share a
wake-up, as they do in a busy site.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import UNSET_VALUE

from polysite.api import Coordinator, KeyName
from polysite.cells.cassandra import CassandraCells
from polysite.clock import Runtime, SystemClock
from polysite.engines.cassandra import UNSET, CassandraPort, Conditional, Consistency, Page, Statement
from polysite.engines.cassandra.checks import define, ensure_keyspace
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import CassandraSettings, cassandra_settings_from
from polysite.lab.engines import CassandraSpec, fetch, free_address, release_of, start
from polysite.server.run import loop_factory, rare_collections
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.cassandra import CassandraStore
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec
from polysite.values.types import parse_type

from .figures import Figure

QUERIES = 2_048
TASKS = (1, 32)
KEYS = 1_000
CLIENTS = 64
SECTIONS = 256
"""In a round: short ones now and then find the machine at rest."""
KEYS_PER_CLIENT = 16
ROUNDS, QUERY_ROUNDS = 40, 2
FEWER = 3
"""How many times less processor time the fast driver takes, at least."""
REQUESTS = 4
"""The row's read, two changes of the cell, the row's write."""
BACKGROUND = 0.02
"""What else a process asks meanwhile, by the section."""
CONTENT = b"x" * 100
CELL = b"c" * 250
DRIVERS = DEFAULT, FAST = ("cassandra-driver", "acsylla")
NOBODY = "nobody"
PLAIN = "cassandra-driver, used plainly"

BLOB, BIGINT, INT, TEXT, BOOLEAN = (parse_type(name) for name in ("blob", "bigint", "int", "text", "boolean"))
GIVES = {"key": BLOB, "version": BIGINT, "content": BLOB}
PUT = Statement("INSERT INTO bench.t (key, version, content) VALUES (?, ?, ?)", (BLOB, BIGINT, BLOB))
GET = Statement("SELECT version, content FROM bench.t WHERE key = ?", (BLOB,), GIVES)
CAS = Statement(
    "UPDATE bench.t SET version = ?, content = ? WHERE key = ? IF version = ? AND content != null",
    (BIGINT, BLOB, BLOB, BIGINT),
    GIVES,
)
ROW_COLUMNS = {"v": TEXT, "row_stamp": BLOB, "absent": BOOLEAN, "marker": BOOLEAN}
PUT_ROW = Statement(
    "INSERT INTO bench.r (k, v, row_stamp, absent, marker) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?",
    (TEXT, TEXT, BLOB, BOOLEAN, BOOLEAN, BIGINT, INT),
)
GET_ROW = Statement(
    "SELECT v, writetime(v) AS w0, ttl(v) AS l0, row_stamp, absent, marker, ttl(marker) AS lm FROM bench.r WHERE k = ?",
    (TEXT,),
    {**ROW_COLUMNS, "w0": BIGINT, "l0": INT, "lm": INT},
)
ZERO = bytes(8)
MAJORITY = Consistency.LOCAL_QUORUM


class Cost(NamedTuple):
    """Microseconds of this process's processors each; of "asked", how many requests."""

    name: str
    driver: str
    value: float


async def cost(name: str, driver: str, tasks: int, times: int, work: Callable[[int, int], Awaitable[object]]) -> Cost:
    """What `work`, given the number of its task and of its turn, costs when so many tasks do it so many times together."""

    async def repeat(task: int) -> None:
        for turn in range(times // tasks):
            await work(task, turn)

    began_s = time.process_time()
    await asyncio.gather(*(repeat(task) for task in range(tasks)))
    return Cost(name, driver, (time.process_time() - began_s) / times * 1e6)


def queries(port: CassandraPort) -> dict[str, Callable[[bytes], Awaitable[object]]]:
    return {
        "read": lambda key: port.read(GET, [key], consistency=Consistency.LOCAL_ONE),
        "write": lambda key: port.write(PUT, [key, ZERO, CONTENT], consistency=Consistency.LOCAL_ONE),
        "conditional": lambda key: port.write_if(
            [(CAS, [ZERO, CONTENT, key, ZERO])], commit=Consistency.LOCAL_ONE, serial=Consistency.LOCAL_SERIAL
        ),
    }


def section_key(client: int, turn: int) -> bytes:
    return b"section/%d/%d" % (client, turn % KEYS_PER_CLIENT)


async def requests_of_a_section(port: CassandraPort, client: int, turn: int) -> None:
    """The row beside the change that enqueues, the put, the change that releases."""
    key = section_key(client, turn)
    change = (CAS, [ZERO, CELL, key, ZERO])
    await asyncio.gather(
        port.read(GET_ROW, [key], consistency=MAJORITY),
        port.write_if([change], commit=MAJORITY, serial=Consistency.LOCAL_SERIAL),
    )
    row = [key, CONTENT, CONTENT[:16], None, b"\1", (turn + 1).to_bytes(8), UNSET]
    await port.write(PUT_ROW, row, consistency=MAJORITY)
    await port.write_if([change], commit=MAJORITY, serial=Consistency.LOCAL_SERIAL)


class Plainly:
    """cassandra-driver as it comes."""

    def __init__(self, spec: CassandraSpec) -> None:
        profile = ExecutionProfile(
            load_balancing_policy=WhiteListRoundRobinPolicy([spec.address]),
            consistency_level=MAJORITY,
            serial_consistency_level=Consistency.LOCAL_SERIAL,
        )
        self._cluster = Cluster([spec.address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
        self._loop = asyncio.get_running_loop()
        self._session = self._cluster.connect()
        self._put, self._get, self._change = (
            self._session.prepare(statement.text) for statement in (PUT_ROW, GET_ROW, CAS)
        )

    async def requests(self, client: int, turn: int) -> None:
        """As `requests_of_a_section`, with values in place of their bytes."""
        key = section_key(client, turn)
        name = key.decode()
        change = (0, CELL, key, 0)
        await asyncio.gather(self._ask(self._get, (name,)), self._ask(self._change, change))
        row = (name, CONTENT.decode(), CONTENT[:16], None, True, turn + 1, UNSET_VALUE)
        await self._ask(self._put, row)
        await self._ask(self._change, change)

    def _ask(self, prepared: Any, values: tuple[Any, ...]) -> "asyncio.Future[Any]":
        answered: asyncio.Future[Any] = self._loop.create_future()
        future = self._session.execute_async(prepared, values)
        future.add_callbacks(
            lambda rows: self._loop.call_soon_threadsafe(answered.set_result, rows),
            lambda error: self._loop.call_soon_threadsafe(answered.set_exception, error),
        )
        return answered

    def close(self) -> None:
        self._cluster.shutdown()


class NobodysPort:
    """Answers in the loop's next turn, without asking anybody."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def _turn(self) -> None:
        future = self._loop.create_future()
        self._loop.call_soon(future.set_result, None)
        await future

    async def read(self, *_: object, **__: object) -> Page:
        await self._turn()
        return Page((), [])

    async def write(self, *_: object, **__: object) -> None:
        await self._turn()

    async def write_if(self, *_: object, **__: object) -> Conditional:
        await self._turn()
        return Conditional(True)


class CountingPort:
    """Hands everything on, and counts what is asked."""

    def __init__(self, port: CassandraPort) -> None:
        self._port = port
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name in ("read", "write", "write_batch", "write_if"):
            self.requests += 1
        return found


class Whole:
    """Sections of a coordinator in this process."""

    def __init__(self, settings: CassandraSettings) -> None:
        self.driver = settings.driver
        self.port = CountingPort(cassandra_port(settings))
        self._settings = settings
        self._coordinator: Coordinator

    async def start(self) -> None:
        runtime, port = Runtime(), self.port
        store = CassandraStore(port, self._settings, clock=runtime.clock)  # type: ignore[arg-type]
        cells = CassandraCells(port, self._settings, clock=runtime.clock)  # type: ignore[arg-type]
        self._coordinator = SiteCoordinator(store, cells, runtime, SiteSettings(site=self.driver))
        await self._coordinator.start()
        await self._coordinator.create_keyspace(KeyspaceSpec(name="bench"))
        columns = (ColumnSpec("k", "text"), ColumnSpec("v", "text"))
        await self._coordinator.create_table(
            TableSpec(keyspace="bench", name="sections", columns=columns, partition_key=("k",))
        )

    async def section(self, client: int, turn: int) -> None:
        """Lock with the row, put, release."""
        key = KeyName(keyspace="bench", table="sections", key={"k": f"{self.driver}/{client}/{turn % KEYS_PER_CLIENT}"})
        lock = await self._coordinator.acquire([key], read=True)
        await self._coordinator.put(key, {"v": CONTENT.decode()}, level="critical", reference=lock.reference)
        await self._coordinator.release(lock.reference, validate=True)

    async def close(self) -> None:
        await self._coordinator.close()


async def prepare(port: CassandraPort, settings: CassandraSettings, data_center: str) -> None:
    clock = SystemClock()
    await ensure_keyspace(port, settings, clock, "bench", {data_center: 1})
    for columns in (
        "t (key blob PRIMARY KEY, version bigint, content blob)",
        "r (k text PRIMARY KEY, v text, row_stamp blob, absent boolean, marker boolean)",
    ):
        await define(port, clock, f"CREATE TABLE IF NOT EXISTS bench.{columns}")
    cells = [section_key(client, turn) for client in range(CLIENTS) for turn in range(KEYS_PER_CLIENT)]
    for key in [b"key/%d" % number for number in range(KEYS)] + cells:
        await port.write(PUT, [key, ZERO, CONTENT], consistency=Consistency.LOCAL_ONE)


async def round_of_queries(ports: Sequence[CassandraPort]) -> list[Cost]:
    found = []
    for name in ("read", "write", "conditional"):
        for tasks in TASKS:
            for port in ports:
                query = queries(port)[name]
                work = lambda task, turn, query=query: query(b"key/%d" % ((task * QUERIES + turn) % KEYS))  # noqa: E731
                found.append(await cost(f"{name}, {tasks} tasks", port.driver, tasks, QUERIES, work))
    return found


async def round_of_sections(ports: Sequence[CassandraPort], wholes: Sequence[Whole], plainly: Plainly) -> list[Cost]:
    found = [await cost("requests", PLAIN, CLIENTS, SECTIONS, plainly.requests)]
    roads: list[tuple[str, Any]] = [(NOBODY, NobodysPort()), *((port.driver, port) for port in ports)]
    for driver, road in roads:
        work = lambda task, turn, road=road: requests_of_a_section(road, task, turn)  # noqa: E731
        found.append(await cost("requests", driver, CLIENTS, SECTIONS, work))
    for whole in wholes:
        before = whole.port.requests
        found.append(await cost("section", whole.driver, CLIENTS, SECTIONS, whole.section))
        found.append(Cost("asked", whole.driver, (whole.port.requests - before) / SECTIONS))
    return found


async def measure(spec: CassandraSpec) -> list[Figure]:
    settings = {
        driver: cassandra_settings_from(
            {
                "contact_points": [spec.address],
                "data_center": spec.data_center,
                "driver": driver,
                "keyspace_prefix": prefix,
            }
        )
        for driver, prefix in zip(DRIVERS, ("default_", "fast_"), strict=True)
    }
    ports = [cassandra_port(one) for one in settings.values()]
    wholes = [Whole(one) for one in settings.values()]
    for port in ports:
        await port.connect()
    await prepare(ports[0], settings[DEFAULT], spec.data_center)
    for whole in wholes:
        await whole.start()
    plainly = Plainly(spec)
    await round_of_sections(ports, wholes, plainly)  # what is done first is slower, at both ends
    costs: list[Cost] = []
    for _ in range(ROUNDS):
        costs += await round_of_sections(ports, wholes, plainly)
    for _ in range(QUERY_ROUNDS):
        costs += await round_of_queries(ports)
    plainly.close()
    for port in ports:
        await port.close()
    for whole in wholes:
        await whole.close()
    return judged(costs)


def judged(costs: Sequence[Cost]) -> list[Figure]:
    """The least of each kind, and by how much the fast driver needs less for what a section asks."""
    found: list[Figure] = []
    least: dict[tuple[str, str], float] = {}
    for one in costs:
        kind = one.name, one.driver
        least[kind] = min(least.get(kind, one.value), one.value)
    for (name, driver), value in least.items():
        if name not in ("requests", "section", "asked"):
            found.append(Figure(f"{name}: {driver}", value, "µs"))
    nobody = least["requests", NOBODY]
    parts = {driver: least["requests", driver] - nobody for driver in (*DRIVERS, PLAIN)}
    asked = max(least["asked", driver] for driver in DRIVERS)
    found.append(Figure("requests that a section makes", asked, "", at_most=REQUESTS + BACKGROUND))
    for driver in DRIVERS:
        whole = least["section", driver]
        detail = f"with the coordinator {whole:.0f}, tasks and loop alone {nobody:.0f}"
        found.append(Figure(f"driver's part of a section: {driver}", parts[driver], "µs", detail=detail))
    found.append(Figure(f"driver's part of a section: {PLAIN}", parts[PLAIN], "µs"))
    found.append(Figure(f"{FAST} takes less than {PLAIN}", parts[PLAIN] / parts[FAST], "times"))
    detail = f"load average {os.getloadavg()[0]:.1f}"
    return [*found, Figure(f"{FAST} takes less", parts[DEFAULT] / parts[FAST], "times", at_least=FEWER, detail=detail)]


def figures() -> list[Figure]:
    """On a Cassandra node of its own."""
    installation = fetch(release_of("cassandra"), os.environ)
    with tempfile.TemporaryDirectory() as folder:
        spec = CassandraSpec(folder=folder, address=free_address((9042, 7000)))
        engine = start(spec, installation)
        try:
            engine.wait_ready(wait_s=90)
            with rare_collections(), asyncio.Runner(loop_factory=loop_factory()) as runner:
                return runner.run(measure(spec))
        finally:
            engine.kill()


def main() -> int:
    missed = 0
    for figure in figures():
        print(figure.line(), flush=True)
        missed += not figure.kept
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
