"""A holder that was stopped past its lease disturbs nobody when it wakes.

Goal: whatever an overtaken holder still writes is refused or changes nothing that anybody reads, its release says that the
lock is lost, and no put of it was answered done after its lease. Method: rounds of `tests.support.zombies` on 20 keys at a
time with leases of 150 to 300 ms, and a judge who reads nothing but the histories that the clients kept.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

import polysite
from polysite.engines.sqlite import FILE_NAME, MEMORY, SqliteEngine
from polysite.testing.history import History, Recorder
from polysite.testing.loop import seeded
from polysite.testing.recorded import make_tables
from tests.support.frozen import SimulatedProcess
from tests.support.server_process import ServerProcess
from tests.support.zombies import Drill, Figures, judged

KEYS = [f"key-{number}" for number in range(20)]
ROUNDS = 1_000


def in_order() -> "itertools.count[int]":
    """A clock for histories of one thread: every reading is later than the one before."""
    return itertools.count()


async def frozen_rounds(batches: int, seed: int) -> Figures:
    """Rounds between two simulated processes on one engine; the first is stopped and woken."""
    loop = asyncio.get_running_loop()
    ticks = in_order()
    chance = random.Random(seed)
    recorder = Recorder(site="local", process="drill", now_s=lambda: loop.time() + next(ticks) * 1e-9)
    engine = SqliteEngine(MEMORY)
    old = SimulatedProcess(engine, "p1", seed=seed, rate=chance.uniform(0.97, 1.03))
    new = SimulatedProcess(engine, "p2", seed=seed, rate=chance.uniform(0.97, 1.03))
    for process in (old, new):
        await process.start()
    await make_tables(old.coordinator)
    drill = Drill(old.coordinator, new.coordinator, old, recorder, chance, KEYS)
    await drill.run(batches)
    for process in (old, new):
        await process.coordinator.close()
    return judged(recorder.history(), batches * len(KEYS))


@seeded(seeds=8, limit_steps=20_000_000)
async def test_a_few_zombies_in_process(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Two batches per seed: the order of everything is drawn anew each time."""
    await frozen_rounds(2, seed)
    assert not complaints(caplog)


@pytest.mark.slow
@seeded(seeds=1, limit_steps=50_000_000)
async def test_a_thousand_zombies_in_process(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """1,000 rounds in virtual time; the stopped process has puts and renewals under way at the engine when it stops."""
    figures = await frozen_rounds(ROUNDS // len(KEYS), seed)
    print(figures)
    assert not complaints(caplog)
    assert figures.zombie_puts >= ROUNDS
    assert figures.holder_puts_unknown > 0, "no put was under way at any stop"


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Work in the background that failed by a mistake of ours says so in the log."""
    return [
        record.getMessage() + (record.exc_text or "") for record in caplog.records if record.levelno >= logging.ERROR
    ]


class StoppedServer:
    """Stops and continues a server process, never while it is inside a commit, which would stop its neighbour too."""

    reaches_frozen = True

    def __init__(self, server: ServerProcess, file: Path) -> None:
        self._server = server
        self._file = file
        self.stops = 0

    async def freeze(self) -> None:
        while True:
            self._server.signal(signal.SIGSTOP)
            self.stops += 1
            if await asyncio.to_thread(self._stopped_and_writable):
                return
            self._server.signal(signal.SIGCONT)

    async def wake(self) -> None:
        self._server.signal(signal.SIGCONT)

    def _stopped_and_writable(self) -> bool:
        """Once it stands: whether others can write the file now."""
        os.waitid(os.P_PID, self._server.pid, os.WSTOPPED | os.WNOWAIT)
        with contextlib.closing(sqlite3.connect(self._file, timeout=0.5, isolation_level=None)) as connection:
            try:
                connection.execute("begin immediate")
            except sqlite3.OperationalError:
                return False
            connection.execute("rollback")
            return True


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_thousand_zombies_over_http(tmp_path: Path) -> None:
    """1,000 rounds between two servers on one data folder. The first is stopped by SIGSTOP past the leases; puts of its
    clients are sent while it is stopped and after SIGCONT, and some were under way when it stopped."""
    path = tmp_path / "history.ndjson"
    with ServerProcess(tmp_path / "data") as first, ServerProcess(tmp_path / "data") as second:
        freezer = StoppedServer(first, tmp_path / "data" / FILE_NAME)
        try:
            with path.open("a", encoding="utf-8") as sink:
                recorder = Recorder(sink, site="local", process="drill", now_s=time.monotonic)
                asyncio.run(stopped_rounds(first.url, second.url, freezer, recorder))
        except BaseException as error:
            error.add_note(f"first server: {first.log[-30:]}\nsecond server: {second.log[-30:]}")
            raise
        finally:
            first.signal(signal.SIGCONT)
        assert (first.terminate(), second.terminate()) == (0, 0)
    figures = judged(History.read(path), ROUNDS)
    print(figures, f"{freezer.stops} stops")
    assert figures.zombie_puts >= ROUNDS


async def stopped_rounds(first: str, second: str, freezer: StoppedServer, recorder: Recorder) -> None:
    async with polysite.connect(first, retries=0) as old, polysite.connect(second, retries=0) as new:
        await make_tables(old.coordinator)
        drill = Drill(old.coordinator, new.coordinator, freezer, recorder, random.Random(7), KEYS)
        await drill.run(ROUNDS // len(KEYS))
