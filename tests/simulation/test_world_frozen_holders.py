"""Holders that are frozen past their lease, again and again, while others wait for the same keys: nobody who waits loses his place.

Goal: "no error at the other sites", as the lab's drill `freeze-holder` asks it of real processes; there about one acquire in a hundred was told
`lock_lost`, which these rounds show too without what mends it. Method: one site holds twenty keys, each with a lease of 24 W, and is frozen for two
seconds out of every three and a half; sixteen clients at the two others want the same keys all the time. Nobody of some five hundred may fail, with even distances
or with messages that take up to twice as long: when the frozen one wakes while two others change the cell, three proposals at once may keep one of them
out for its lease, and its process then says that it lives.
"""

import asyncio
from collections import Counter

import pytest

from polysite.api import KeyName
from polysite.errors import PolysiteError
from polysite.testing.loop import seeded
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world import World, world
from polysite.testing.world.clients import TABLES
from polysite.testing.world.processes import Process
from polysite.testing.world.traffic import FLAT, KEYSPACE
from polysite.values.tables import KeyspaceSpec

ROUNDS = 20
LEASE_MS = 1_200
KEYS = [KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": f"k{number}"}) for number in range(20)]


class Crowd:
    """The clients, until they are told to end; `codes` of what they were told, by site."""

    def __init__(self, made: World, chance: SeededRandomness) -> None:
        self._made = made
        self._chance = chance
        self.ended = False
        self.codes: Counter[tuple[str, str]] = Counter()

    async def work(self, process: Process, keys: list[KeyName], hold_s: float) -> None:
        while not self.ended:
            try:
                await self._tenure(process, keys[self._chance.below(len(keys))], hold_s)
                self.codes[process.site, "done"] += 1
            except PolysiteError as error:
                self.codes[process.site, error.code] += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    async def _tenure(self, process: Process, key: KeyName, hold_s: float) -> None:
        lock = await process.call(
            lambda site: site.acquire([key], lease_ms=LEASE_MS, wait_ms=15_000, read=True), limit_s=30
        )
        await asyncio.sleep(hold_s)
        await process.call(
            lambda site: site.put(key, {"a": "x"}, level="critical", reference=lock.reference), limit_s=30
        )
        await process.call(lambda site: site.release(lock.reference), limit_s=30)


@pytest.mark.parametrize("jitter_s", [0.0, 0.05])
@seeded(seeds=3, limit_steps=6_000_000)
async def test_who_waits_keeps_his_place(seed: int, jitter_s: float) -> None:
    """With messages that take as long as the way is, and with some that take twice as long."""
    async with world(seed) as made:
        processes = {site: made.process(site) for site in made.network.sites}
        ams, bei, irv = processes.values()
        assert ams is not None and bei is not None and irv is not None
        await ams.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        for spec in TABLES:
            await ams.coordinator.create_table(spec)
        made.network.weather.jitter_s = jitter_s
        crowd = Crowd(made, SeededRandomness(f"{seed}/crowd"))
        async with asyncio.TaskGroup() as group:
            for key in KEYS:
                group.create_task(crowd.work(irv, [key], LEASE_MS / 2000))
            for process in (ams, bei):
                for _ in range(8):
                    group.create_task(crowd.work(process, KEYS, 0.0))
            await asyncio.sleep(3.0)
            for _ in range(ROUNDS):
                irv.freeze()
                await asyncio.sleep(1.9)
                irv.thaw()
                await asyncio.sleep(1.5)
            crowd.ended = True
        failed = {(of, code): count for (of, code), count in crowd.codes.items() if of != "irv" and code != "done"}
        assert not failed
        assert min(crowd.codes[site, "done"] for site in ("ams", "bei")) > 150
        assert any(of == "irv" and code != "done" for of, code in crowd.codes), "nobody was frozen past his lease"
