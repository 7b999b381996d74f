"""What every client of the count does, whatever interface it speaks: twenty tasks, batch after batch, and one line of figures."""

import argparse
import asyncio
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from polysite.testing.history import Recorder

from .ballots import Batch, batches, totals

KEYSPACE = "voting"
TABLE = "counts"
AGAIN_S = (0.02, 0.2)
AWAY_S = (0.5, 1.5)
"""How long a task rests after an attempt that failed, and after one that found no server: it has to start in peace."""
ASK_S = 0.1


class BatchTask(ABC):
    """One of the client tasks; `name` is its column in every row's map of last counted batches."""

    def __init__(self, name: str, work: list[Batch], recorder: Recorder) -> None:
        self.name = name
        self.run_name = f"{name}-{os.getpid()}-{time.monotonic_ns()}"
        """Names this start of the task: one that goes on after a kill makes new requests, with keys of their own."""
        self.work = work
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

    @abstractmethod
    async def attempt(self, batch: Batch, attempt: int) -> bool:
        """One section for the batch; True when it is known to be counted."""


class Interface(Protocol):
    """How a client reaches the service."""

    def task(self, name: str, work: list[Batch], recorder: Recorder) -> BatchTask: ...

    async def counted(self) -> Iterable[Mapping[str, int]] | None:
        """Of every row, the last batch of each task that is counted in it; None: there was no answer, ask again."""
        ...


async def last_counted(interface: Interface, tasks: Sequence[str]) -> dict[str, int]:
    """The highest batch number of each task in any row: where a client that was killed goes on."""
    rows = await interface.counted()
    while rows is None:
        await asyncio.sleep(ASK_S)
        rows = await interface.counted()
    last = dict.fromkeys(tasks, 0)
    for row in rows:
        for task, number in row.items():
            if task in last:
                last[task] = max(last[task], number)
    return last


async def count(interface: Interface, arguments: argparse.Namespace) -> None:
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
        last = await last_counted(interface, names)
        tasks = [interface.task(name, work, recorder) for name, work in zip(names, mine, strict=True)]
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task.run(last[task.name] + 1))
    print(
        f"client {arguments.process}: sections={sum(task.sections for task in tasks)} "
        f"unknown={sum(task.unknown for task in tasks)} "
        f"settled_by_key={sum(task.settled_by_key for task in tasks)} "
        f"found_in_row={sum(task.settled_by_row for task in tasks)}"
    )


def parsed(about: str | None) -> argparse.Namespace:
    """The arguments of a client process."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--url", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--process", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--ballots-max", type=int, required=True)
    parser.add_argument("--ballots-limit", type=int)
    return parser.parse_args()
