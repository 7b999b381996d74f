"""Sections of one request on a transactional table, from three sites: what they cost in W, and whether a counter that all sites raise at
once loses anything.

python -m benchmarks.accord.sections          needs Java, Maven, root and /dev/net/tun; the lab is gone afterwards

It ends with 1 if an update was lost.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec

import polysite
from benchmarks.wan.laboratory import POLYSITE, ROOT, Laboratory, Running
from polysite.api import Coordinator, KeyName, RowExpectation, RowGet, RowPut
from polysite.errors import CompareFailed, OutcomeUnknown, PolysiteError
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec

SITES = ("ams", "bei", "irv")
NEAR_MS, FAR_MS = 50.0, 100.0
REPEATS = 20
CONTENDED_S = 15.0
KEYSPACE = "fitness"


def key(name: str) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table="stock", key={"id": name})


class Told(msgspec.Struct, frozen=True):
    """What one client says: how long each operation took in the middle, or what its share of the counter came to."""

    site: str
    middle_ms: dict[str, float] = {}
    trips: dict[str, float] = {}
    raised: int = 0
    refused: int = 0
    unknown: int = 0
    count: int = 0


async def make(coordinator: Coordinator, site: str) -> Told:
    """The table."""
    await coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    columns = (ColumnSpec("id", "text"), ColumnSpec("count", "int"))
    spec = TableSpec(keyspace=KEYSPACE, name="stock", columns=columns, partition_key=("id",), writes="transactional")
    await coordinator.create_table(spec)
    await coordinator.put(key("shared"), {"count": 0}, level="atomic")
    return Told(site)


async def quiet(coordinator: Coordinator, site: str) -> Told:
    """Each operation on a row of this site's own, one after the other."""
    own = key(site)
    works: dict[str, Callable[[int], Awaitable[float]]] = {}

    async def put(number: int) -> float:
        return (await coordinator.put(own, {"count": number}, level="atomic")).round_trips

    async def get_and_put(number: int) -> float:
        return (await coordinator.section(own, [RowGet(), RowPut(columns={"count": number})])).round_trips

    async def get(_: int) -> float:
        return (await coordinator.get(own, level="atomic")).round_trips

    works = {"put": put, "get and put": get_and_put, "get": get}
    middle_ms: dict[str, float] = {}
    trips: dict[str, float] = {}
    for name, work in works.items():
        took: list[tuple[float, float]] = []
        for number in range(REPEATS + 3):
            await asyncio.sleep(0.1)  # until the replica nearby has the last one
            begun_s = time.perf_counter()
            cost = await work(number)
            took.append(((time.perf_counter() - begun_s) * 1000, cost))
        took = sorted(took[3:])
        middle_ms[name], trips[name] = took[len(took) // 2]
    return Told(site, middle_ms, trips)


async def contended(coordinator: Coordinator, site: str) -> Told:
    """Raise the counter that all sites raise: read it, expect what was read, write one more."""
    until_s = time.monotonic() + CONTENDED_S
    raised = refused = unknown = 0
    while time.monotonic() < until_s:
        try:
            row = (await coordinator.get(key("shared"), level="atomic")).row
            assert row is not None
            expected = RowExpectation(equals={"count": row["count"]})
            await coordinator.section(key("shared"), [expected, RowPut(columns={"count": row["count"] + 1})])
            raised += 1
        except CompareFailed:
            refused += 1
        except OutcomeUnknown:
            unknown += 1
        except PolysiteError:
            refused += 1
    return Told(site, raised=raised, refused=refused, unknown=unknown)


async def count(coordinator: Coordinator, site: str) -> Told:
    """What the counter came to."""
    row = (await coordinator.get(key("shared"), level="atomic")).row
    assert row is not None
    return Told(site, count=row["count"])


JOBS = {"make": make, "quiet": quiet, "contended": contended, "count": count}


async def client(job: str, site: str) -> None:
    async with polysite.connect(os.environ["POLYSITE_URL"], answer_s=60) as connected:
        print(msgspec.json.encode(await JOBS[job](connected.coordinator, site)).decode(), flush=True)


class Lab(Laboratory):
    """A lab whose clients are these."""

    def do(self, job: str, *sites: str) -> list[Told]:
        running = [self._begin(job, site) for site in sites]
        found = []
        for one in running:
            assert one.process.stdout is not None
            found += [msgspec.json.decode(line, type=Told) for line in one.process.stdout]
            one.process.wait()
        return found

    def _begin(self, job: str, site: str) -> Running:
        command = [*POLYSITE, "lab", "exec", "--dir", self._folder, site, "--"]
        command += [sys.executable, "-m", "benchmarks.accord.sections", job, site]
        return Running(site, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE))


def main() -> int:
    """All of it."""
    with Lab(sites=SITES, rtt_ms=NEAR_MS, store="cassandra", cells="accord") as lab:
        lab.do("make", SITES[0])
        took: dict[tuple[str, str], list[float]] = {}
        for rtt_ms in (NEAR_MS, FAR_MS):
            lab.order("distance", "--rtt-ms", f"{rtt_ms:g}")
            time.sleep(1)
            for site in SITES:
                for told in lab.do("quiet", site):
                    for name, middle in told.middle_ms.items():
                        took.setdefault((name, site), []).append(middle)
                        print(
                            f"  {rtt_ms:g} ms: {name} at {site}: {middle:.1f} ms, said to be {told.trips[name]:g} W",
                            flush=True,
                        )
        for (name, site), (near, far) in took.items():
            print(f"  {name} at {site}: {(far - near) / (FAR_MS - NEAR_MS):.2f} W")
        lab.order("distance", "--rtt-ms", f"{NEAR_MS:g}")
        found = lab.do("contended", *SITES)
        raised, unknown = sum(one.raised for one in found), sum(one.unknown for one in found)
        (after,) = lab.do("count", SITES[1])
        lost = max(0, raised - after.count) + max(0, after.count - raised - unknown)
        shares = ", ".join(
            f"{one.site} {one.raised} raised, {one.refused} refused, {one.unknown} unknown" for one in found
        )
        print(
            f"  one counter, {CONTENDED_S:g} s: {shares}; it came to {after.count}; {lost} lost; load {os.getloadavg()[0]:.1f}"
        )
    return 1 if lost else 0


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run(client(sys.argv[1], sys.argv[2]))
    else:
        sys.exit(main())
