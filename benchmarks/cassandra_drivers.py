"""Processor time per query of the two Cassandra drivers, on one Cassandra node of this machine: process time over 10,000 queries.

python -m benchmarks.cassandra_drivers          needs Java; the Cassandra node is fetched, started, and gone afterwards

Keys are spread over 1,000, contents have 100 bytes. With 1 task each answer wakes the loop; with 32 several answers share a wake-up, as
they do in a busy site. What the Cassandra node itself needs is not in the figures.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from polysite.clock import SystemClock
from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.checks import define, ensure_keyspace
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.lab.engines import CassandraSpec, fetch, free_address, release_of, start
from polysite.server.run import loop_factory
from polysite.values.types import parse_type

QUERIES = 10_000
TASKS = (1, 32)
KEYS = 1_000
CONTENT = b"x" * 100
DRIVERS = ("cassandra-driver", "acsylla")

BLOB, BIGINT = parse_type("blob"), parse_type("bigint")
GIVES = {"key": BLOB, "version": BIGINT, "content": BLOB}
PUT = Statement("INSERT INTO bench.t (key, version, content) VALUES (?, ?, ?)", (BLOB, BIGINT, BLOB))
GET = Statement("SELECT version, content FROM bench.t WHERE key = ?", (BLOB,), GIVES)
CAS = Statement(
    "UPDATE bench.t SET version = ?, content = ? WHERE key = ? IF version = ? AND content != null",
    (BIGINT, BLOB, BLOB, BIGINT),
    GIVES,
)
ZERO = bytes(8)


class Cost(NamedTuple):
    """Microseconds per query: of this process's processors, and of the clock."""

    driver: str
    work: str
    tasks: int
    process_us: float
    clock_us: float

    def line(self) -> str:
        return f"{self.driver:18}{self.work:14}{self.tasks:4} tasks{self.process_us:8.0f} µs{self.clock_us:8.0f} µs"


def works(port: CassandraPort) -> dict[str, Callable[[bytes], Awaitable[object]]]:
    return {
        "read": lambda key: port.read(GET, [key], consistency=Consistency.LOCAL_ONE),
        "write": lambda key: port.write(PUT, [key, ZERO, CONTENT], consistency=Consistency.LOCAL_ONE),
        "conditional": lambda key: port.write_if(
            [(CAS, [ZERO, CONTENT, key, ZERO])], commit=Consistency.LOCAL_ONE, serial=Consistency.LOCAL_SERIAL
        ),
    }


async def cost(port: CassandraPort, name: str, tasks: int) -> Cost:
    work = works(port)[name]

    async def repeat(task: int, count: int) -> None:
        for at in range(count):
            await work(b"key/%d" % ((task * count + at) % KEYS))

    await asyncio.gather(*(repeat(task, 40) for task in range(tasks)))
    process_s, clock_s = time.process_time(), time.perf_counter()
    await asyncio.gather(*(repeat(task, QUERIES // tasks) for task in range(tasks)))
    process_s, clock_s = time.process_time() - process_s, time.perf_counter() - clock_s
    return Cost(port.driver, name, tasks, process_s / QUERIES * 1e6, clock_s / QUERIES * 1e6)


async def measure(spec: CassandraSpec) -> None:
    for driver in DRIVERS:
        settings = cassandra_settings_from(
            {"contact_points": [spec.address], "data_center": spec.data_center, "driver": driver}
        )
        port = cassandra_port(settings)
        await port.connect()
        await ensure_keyspace(port, settings, SystemClock(), "bench", {spec.data_center: 1})
        await define(
            port,
            SystemClock(),
            "CREATE TABLE IF NOT EXISTS bench.t (key blob PRIMARY KEY, version bigint, content blob)",
        )
        for key in range(KEYS):
            await port.write(PUT, [b"key/%d" % key, ZERO, CONTENT], consistency=Consistency.LOCAL_ONE)
        for name in works(port):
            for tasks in TASKS:
                print((await cost(port, name, tasks)).line(), flush=True)
        await port.close()


def main() -> int:
    installation = fetch(release_of("cassandra"), os.environ)
    with tempfile.TemporaryDirectory() as folder:
        spec = CassandraSpec(folder=folder, address=free_address((9042, 7000)))
        engine = start(spec, installation)
        try:
            engine.wait_ready(wait_s=90)
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(measure(spec))
        finally:
            engine.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
