"""Sections in this process against base B: the writer thread alone, one upsert per task at a time.

Base B is what the disk and SQLite allow: 64 tasks, each awaiting its own 100-byte upsert guarded by its stamp, over
5,000 keys. Runs are interleaved; a ratio is the median of the pairwise ones. The process is set up as `polysite serve` sets
itself up: the same event loop, and rare collections. How much B is depends on the machine's disk: where a commit costs
little, B is all processor time, and the ratios are at their lowest.
"""

import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from polysite.api import KeyName, RowGet, RowPut, Step
from polysite.cells.embedded import EmbeddedCells
from polysite.client import Site
from polysite.clock import Runtime
from polysite.engines.sqlite import SqliteEngine
from polysite.engines.sqlite.driver import Connection
from polysite.server.run import loop_factory, rare_collections
from polysite.site import SiteCoordinator
from polysite.site.processes import LoneSlots
from polysite.site.settings import SiteSettings
from polysite.stores.embedded import EmbeddedStore

from .figures import Figure, ratios, spread, told

TASKS = 64
KEYS = 5_000
RUNS = 5
RUN_S = 2.0
TEXT = "x" * 100
UPSERT = (
    "insert into base values (?, ?, ?) on conflict (key) do update set value = excluded.value, stamp = excluded.stamp "
    "where excluded.stamp > base.stamp"
)
Job = Callable[[int], Awaitable[None]]


async def rate(job: Job) -> float:
    """How often per second `job` ends when 64 tasks repeat it for `RUN_S`."""
    numbers = itertools.count()
    ends = 0
    deadline = time.perf_counter() + RUN_S

    async def repeat() -> None:
        nonlocal ends
        while time.perf_counter() < deadline:
            await job(next(numbers))
            ends += 1

    began = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(TASKS)))
    return ends / (time.perf_counter() - began)


async def base_job(engine: SqliteEngine) -> Job:
    """Base B on an engine of its own."""
    await engine.start()
    await engine.writer.submit(
        lambda connection: connection.run("create table base (key blob primary key, value blob, stamp integer)")
    )
    stamps = itertools.count(1)
    value = TEXT.encode()

    async def upsert(number: int) -> None:
        key, stamp = b"k%d" % (number % KEYS), next(stamps)

        def job(connection: Connection) -> None:
            connection.run(UPSERT, (key, value, stamp))

        await engine.writer.submit(job)

    return upsert


async def locked_site(engine: SqliteEngine, *, joint: bool) -> Site:
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    coordinator = SiteCoordinator(store, cells, Runtime(), SiteSettings(joint=joint), slots=LoneSlots())
    await coordinator.start()
    site = Site(coordinator)
    await site.create_keyspace("bench")
    await site.create_table("bench", "locked", columns={"name": "text", "value": "text"}, partition_key=["name"])
    return site


def named(number: int) -> KeyName:
    return KeyName(keyspace="bench", table="locked", key={"name": f"k{number % KEYS}"})


def one_shot(site: Site) -> Job:
    steps: list[Step] = [RowGet(), RowPut(columns={"value": TEXT})]
    coordinator = site.coordinator

    async def section(number: int) -> None:
        await coordinator.section(named(number), steps)

    return section


def general(site: Site, *, read: bool) -> Job:
    """The general path; `read`: the row is got beside the compare-and-set."""
    coordinator = site.coordinator

    async def section(number: int) -> None:
        key = named(number)
        lock = await coordinator.acquire([key], read=read)
        await coordinator.put(key, {"value": TEXT}, level="critical", reference=lock.reference)
        await coordinator.release(lock.reference, validate=False)

    return section


async def group_commits(site: Site, engine: SqliteEngine) -> float:
    """Group commits that one uncontended general section waits for: what the writer committed until its put returned."""
    coordinator = site.coordinator
    key = KeyName(keyspace="bench", table="locked", key={"name": "alone"})
    while engine.writer.unanswered:  # noqa: ASYNC110 - releases of the runs before, watched from outside
        await asyncio.sleep(0.1)
    before = engine.writer.groups_committed
    lock = await coordinator.acquire([key], read=True)
    await coordinator.get(key, level="critical", reference=lock.reference)
    await coordinator.put(key, {"value": TEXT}, level="critical", reference=lock.reference)
    waited = engine.writer.groups_committed - before
    await coordinator.release(lock.reference, validate=False)
    return waited


def commit_ms(folder: Path) -> float:
    """What a commit costs at the least on this disk: 64 pages written and synced, in milliseconds."""
    pages, times = b"x" * (64 * 4096), []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(pages)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        base_engine = SqliteEngine(Path(folder) / "base.db")
        base = await base_job(base_engine)
        joint = await locked_site(SqliteEngine(Path(folder) / "joint.db"), joint=True)
        general_engine = SqliteEngine(Path(folder) / "general.db")
        plain = await locked_site(general_engine, joint=False)
        reading = await locked_site(SqliteEngine(Path(folder) / "reading.db"), joint=False)
        cases: list[tuple[str, Job, float | None]] = [
            ("in process: one-shot section (joint)", one_shot(joint), 0.15),
            ("in process: general path (compare-and-set, put, release)", general(plain, read=False), 0.07),
            ("in process: general path with a get beside the compare-and-set", general(reading, read=True), None),
        ]
        figures: list[Figure] = []
        all_bases: list[float] = []
        for name, job, at_least in cases:
            values, bases = [], []
            await rate(job)
            for _ in range(RUNS):
                bases.append(await rate(base))
                values.append(await rate(job))
            all_bases += bases
            detail = f"{spread(values)} per second"
            figures.append(Figure(name, ratios(values, bases), "of B", at_least=at_least, detail=detail))
        figures.insert(
            0, Figure("base B", sorted(all_bases)[len(all_bases) // 2], "per second", detail=spread(all_bases))
        )
        figures.insert(0, Figure("64 pages written and synced", commit_ms(Path(folder)), "ms"))
        waited = await group_commits(plain, general_engine)
        figures.append(Figure("group commits a general section waits for", waited, "commits", at_most=2))
        await joint.close()
        await plain.close()
        await reading.close()
        await base_engine.close()
        return figures


if __name__ == "__main__":
    with rare_collections(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(told(runner.run(measure())))
