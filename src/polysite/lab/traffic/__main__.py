"""`python -m polysite.lab.traffic VERB PLAN`: be the clients at one site. PLAN is a file with a `TrafficPlan`.

prepare   make the tables
load      call until SIGTERM, every call into the history; a line `ready` when it begins
look      take every locked key once more, and read it, and read every row without locks, into the history
rows      the rows without locks of every site of the plan, as this one shows them, as JSON to the output: table/key → value
"""

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

import polysite
from polysite.api import LockAnswer
from polysite.clock import Runtime
from polysite.errors import Unavailable
from polysite.lab.traffic.clients import Traffic
from polysite.lab.traffic.plan import TrafficPlan, plain_key
from polysite.testing.history import Recorder
from polysite.testing.recorded import UNLOCKED, RecordedClient, make_tables, row_name, value_of

LOOK_WAIT_MS = 60_000


async def prepare(plan: TrafficPlan, recorder: Recorder) -> None:  # noqa: ARG001  # one shape for all verbs
    """Make the tables."""
    async with polysite.connect(plan.url, answer_s=60) as site:
        await make_tables(site.coordinator)


async def load(plan: TrafficPlan, recorder: Recorder) -> None:
    """Call until told to stop."""
    traffic = Traffic(plan, recorder, Runtime())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, traffic.stop)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await traffic.run()


async def look(plan: TrafficPlan, recorder: Recorder) -> None:
    """The last word about every key as this site sees it."""
    async with polysite.connect(plan.url, answer_s=60) as site:
        client = RecordedClient(recorder, site.coordinator, f"{plan.site}-look")
        for name in [*plan.shared, *plan.own]:
            lock = await client.acquire(name, lease_ms=plan.lease_ms, wait_ms=LOOK_WAIT_MS, read=True)
            if not isinstance(lock, LockAnswer):
                raise Unavailable(f"the key {name} cannot be locked after the drill: {lock.message}")
            await client.release(name, lock.reference)
        for table, name in plain_rows(plan):
            if failed := await client.get(name, table=table):
                raise Unavailable(f"the row {table}/{name} cannot be read after the drill: {failed.message}")


def plain_rows(plan: TrafficPlan) -> Iterator[tuple[str, str]]:
    """Table and name of every row that any site writes without locks."""
    for writer in plan.plain_sites:
        for number, slot in itertools.product(range(plan.plain_clients), range(plan.plain_slots)):
            for table in UNLOCKED:
                yield table, plain_key(plan, writer, number, slot)


async def rows(plan: TrafficPlan, recorder: Recorder) -> None:  # noqa: ARG001
    """What this site shows of the rows without locks."""
    found = {}
    async with polysite.connect(plan.url, answer_s=60) as site:
        for table, name in plain_rows(plan):
            answer = await site.coordinator.get(row_name(table, name), level="eventual")
            found[f"{table}/{name}"] = value_of(answer.row)
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


VERBS = {"prepare": prepare, "load": load, "look": look, "rows": rows}


def main(arguments: list[str]) -> int:
    """Do what the verb says."""
    verb, path = arguments
    plan = msgspec.json.decode(Path(path).read_bytes(), type=TrafficPlan)
    with open(plan.history, "a", encoding="utf-8") as sink:
        recorder = Recorder(sink, site=plan.site, process=f"{plan.site}-{verb}", now_s=time.monotonic)
        asyncio.run(VERBS[verb](plan, recorder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
