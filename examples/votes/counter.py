"""One client process: its tasks count their batches, each in a critical section, and settle every unknown outcome."""

import argparse
import asyncio
import contextlib
import os
import random
import time
from pathlib import Path

import polysite
from polysite.client import Table
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError, SiteUnreachable
from polysite.testing.history import Recorder

from .ballots import Batch, batches, totals

KEYSPACE = "voting"
TABLE = "counts"
LEASE_S = 3.0
WAIT_S = 20.0
AGAIN_S = (0.02, 0.2)
AWAY_S = (0.5, 1.5)
"""How long a task rests after an attempt that failed, and after one that found no server: it has to start in peace."""


class Task:
    """One of the client tasks; `name` is its column in every row's map of last counted batches."""

    def __init__(self, name: str, work: list[Batch], table: Table, recorder: Recorder) -> None:
        self.name = name
        self.run_name = f"{name}-{os.getpid()}-{time.monotonic_ns()}"
        """Names this start of the task: one that goes on after a kill makes new requests, with keys of their own."""
        self.work = work
        self.table = table
        self.recorder = recorder
        self.chance = random.Random(name)
        self.rest_s = AGAIN_S
        self.unknown = 0
        self.settled_by_key = 0
        self.settled_by_row = 0
        self.sections = 0

    async def run(self, first: int) -> None:
        """Count every batch from number `first` on; the next one only when the last is settled."""
        for batch in self.work[first - 1 :]:
            attempt = 0
            while not await self.attempt(batch, attempt):
                attempt += 1
                await asyncio.sleep(self.chance.uniform(*self.rest_s))

    async def attempt(self, batch: Batch, attempt: int) -> bool:
        """One section for the batch; True when it is known to be counted."""
        argument = {"task": self.name, "batch": batch.number, "ballots": batch.ballots}
        call = self.recorder.begin(client=self.name, verb="section", key=batch.choice, argument=argument)
        sent: tuple[str, dict[str, object], str] | None = None
        refusal: PolysiteError | None = None
        try:
            async with self.table.section(batch.choice, lease_s=LEASE_S, wait_s=WAIT_S, owner=self.name) as section:
                row = await section.get()
                counted = dict(row["counted"] or {}) if row else {}
                if counted.get(self.name, 0) >= batch.number:
                    self.settled_by_row += 1
                    call.end("done", value={"found": True})
                    return True
                counted[self.name] = batch.number
                columns = {"votes": (row["votes"] if row else 0) + batch.ballots, "counted": counted}
                # An attempt has its own key: what it puts depends on what it read.
                sent = (section.reference, columns, f"{self.run_name}-{batch.number}-{attempt}")
                try:
                    await section.put(columns, idempotency_key=sent[2])
                except PolysiteError as error:
                    refusal = error if error.outcome == "refused" else None
                    raise
                self.sections += 1
                call.end("done", value={"votes": columns["votes"]})
                return True
        except PolysiteError as error:
            self.rest_s = AWAY_S if isinstance(error, SiteUnreachable | OutcomeUnknown) else AGAIN_S
            if call.ended:  # the put was answered `done`; only the release after it failed, which takes nothing back
                return True
            if sent is None or refusal is not None:
                call.end("refused", code=error.code)
                return False
            # Also when the lock was lost while the put was under way: nobody heard its answer.
            call.end("unknown", code=error.code)
            self.unknown += 1
            return await self.settle(*sent, batch)

    async def settle(self, reference: str, columns: dict[str, object], idempotency_key: str, batch: Batch) -> bool:
        """Ask again with the same idempotency key until the answer is done, refused, or unknown for good.

        False: the next section looks in the row itself, which every earlier write has reached or never will.
        """
        for _ in range(50):
            try:
                await self.table.put(
                    batch.choice, columns, level="critical", reference=reference, idempotency_key=idempotency_key
                )
            except (OutcomeUnknown, LockLost) as error:
                if error.attributes.get("reason") == "not_answered":
                    await asyncio.sleep(self.chance.uniform(*AWAY_S))  # the server is away; it will be back
                    continue
                return False
            except PolysiteError as error:
                if error.retry:
                    await asyncio.sleep(self.chance.uniform(*AWAY_S))
                    continue
                return False
            self.settled_by_key += 1
            await self.let_go(reference)
            return True
        return False

    async def let_go(self, reference: str) -> None:
        """Release a lock whose section was left without an answer; if that fails, its lease ends it."""
        with contextlib.suppress(PolysiteError):
            await self.table.site.coordinator.release(reference, validate=False)


async def last_counted(table: Table, tasks: list[str]) -> dict[str, int]:
    """The highest batch number of each task in any row: where a client that was killed goes on."""
    last = dict.fromkeys(tasks, 0)
    async for row in table.rows():
        for task, number in (row["counted"] or {}).items():
            if task in last:
                last[task] = max(last[task], number)
    return last


async def count(arguments: argparse.Namespace) -> None:
    """Run this process's tasks to their end and print one line of figures."""
    hands = batches(
        totals(arguments.file),
        tasks=arguments.processes * arguments.tasks,
        ballots_max=arguments.ballots_max,
        ballots_limit=arguments.ballots_limit,
    )
    names = [f"p{arguments.process}t{index}" for index in range(arguments.tasks)]
    mine = hands[arguments.process :: arguments.processes]
    with arguments.history.open("a", encoding="utf-8") as sink:
        recorder = Recorder(sink, site="here", process=f"client-{arguments.process}", now_s=time.monotonic)
        async with polysite.connect(arguments.url) as site:
            table = site.table(KEYSPACE, TABLE)
            last = await until_answered(table, names)
            tasks = [Task(name, work, table, recorder) for name, work in zip(names, mine, strict=True)]
            async with asyncio.TaskGroup() as group:
                for task in tasks:
                    group.create_task(task.run(last[task.name] + 1))
    print(
        f"client {arguments.process}: sections={sum(task.sections for task in tasks)} "
        f"unknown={sum(task.unknown for task in tasks)} "
        f"settled_by_key={sum(task.settled_by_key for task in tasks)} "
        f"found_in_row={sum(task.settled_by_row for task in tasks)}"
    )


async def until_answered(table: Table, names: list[str]) -> dict[str, int]:
    """`last_counted`, asked until the server answers (it may be starting again just now)."""
    while True:
        try:
            return await last_counted(table, names)
        except PolysiteError as error:
            if not error.retry and not isinstance(error, OutcomeUnknown):
                raise
            await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--process", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--ballots-max", type=int, required=True)
    parser.add_argument("--ballots-limit", type=int)
    asyncio.run(count(parser.parse_args()))


if __name__ == "__main__":
    main()
