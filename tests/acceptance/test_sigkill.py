"""A kill at any moment loses nothing that was acknowledged.

Goal: every write that was answered done is there after the server was killed and started again, refused ones never are,
unknown ones are there for good or never; tickets strictly increase. Method: servers are killed by SIGKILL again and again
while clients write without locks, in held sections and in sections of one call; a judge reads nothing but the history that
the clients kept, which ends with a look at every key.
"""

import asyncio
import random
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

import polysite
from polysite.client import Site
from polysite.testing.history import History, Recorder
from polysite.testing.judging.judge import judge, tickets_granted
from polysite.testing.recorded import PLAIN, make_tables
from tests.support.forking import ForkedServer, ForkingProcess, tail
from tests.support.load import Load, look_at_all, look_at_rows

KILLS = 50
CALLS_BETWEEN = (1, 300)
TENURES_BETWEEN = (0, 4)
"""Held sections that end between two kills: some kills come at once, others when the keys are in use again. After a kill those
who wait for a key wait for the lease of its dead holder first, however fast the machine is."""
STALL_S = 60.0
ANSWER_S = 20.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Servers:
    """Servers on one data folder; each keeps its port when it is started again."""

    def __init__(self, forking: ForkingProcess, folder: Path, count: int) -> None:
        self._all = [
            ForkedServer(forking, folder / "data", free_port(), folder / f"server-{number}.log")
            for number in range(count)
        ]
        self.kills = 0

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self._all]

    def __enter__(self) -> Self:
        for server in self._all:
            server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        for server in self._all:
            server.kill()
        if error is not None:
            for server in self._all:
                error.add_note(f"{server.log.name} ends with:\n{tail(server.log)}")

    async def kill_in_turn(self, load: Load, chance: random.Random) -> None:
        """Kill one after the other under load, and start each again."""
        while self.kills < KILLS:
            server = self._all[self.kills % len(self._all)]
            async with asyncio.timeout(STALL_S):
                await load.until_done(chance.randrange(*CALLS_BETWEEN))
                await load.until_released(chance.randrange(*TENURES_BETWEEN))
            if len(self._all) == 1:
                load.serving.clear()
            await asyncio.to_thread(server.kill)
            self.kills += 1
            await asyncio.to_thread(server.start)
            # With one server nobody has written since: what was acknowledged is looked for before it is written over.
            await look_at_rows(load.client())
            load.serving.set()

    def stop(self) -> None:
        """Gently, at the end: whatever happened, it must still know how."""
        assert [server.terminate() for server in self._all] == [0] * len(self._all)


async def drill(servers: Servers, history: Path, seed: int) -> None:
    """Load, kills, and a last look at every key."""
    chance = random.Random(seed)
    ways = [servers.urls, servers.urls[::-1]]
    sites: list[Site] = [polysite.connect(way, retries=0, answer_s=ANSWER_S) for way in ways]
    try:
        await make_tables(sites[0].coordinator)
        with history.open("a", encoding="utf-8") as sink:
            recorder = Recorder(sink, site="local", process="drill", now_s=time.monotonic)
            async with Load([site.coordinator for site in sites], recorder, chance) as load:
                load.serving.set()
                await servers.kill_in_turn(load, chance)
                async with asyncio.timeout(STALL_S):
                    await load.until_done(CALLS_BETWEEN[1])
            await look_at_all(load.client())
    finally:
        for site in sites:
            await site.close()


def judged(path: Path) -> None:
    """Nothing that was acknowledged is lost; and the drill did show something."""
    history = History.read(path)
    findings = judge(history, plain=[PLAIN])
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings[:20])
    counts = Counter((call.verb, call.outcome) for call in history)
    tenures = sum(len(tickets_granted(history.for_key(key))) for key in history.keys())  # noqa: SIM118 - not a mapping
    print(f"{tenures} tenures; calls by outcome: {dict(counts)}")
    for verb in ("write", "section", "release", "acquire", "peek"):
        assert counts[verb, "done"] >= KILLS, f"too few calls of {verb} to show anything"
    assert counts["write", "unknown"] + counts["section", "unknown"] > 0, "no write was under way at any kill"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1, 2], ids=["one-server", "two-servers-in-turn"])
def test_kills_lose_nothing_acknowledged(count: int, tmp_path: Path) -> None:
    """50 kills under load; with two servers on one data folder the clients go on with the other one."""
    path = tmp_path / "history.ndjson"
    with ForkingProcess() as forking, Servers(forking, tmp_path, count) as servers:
        asyncio.run(drill(servers, path, seed=count))
        servers.stop()
    judged(path)
