"""Three sites 50 ms apart in one process, in real time: a counter raised from all of them while one is killed and another one's holder freezes.

The coordinators are those that `polysite serve` runs; replicas, cells and links are the simulated world's. It is for looking at, and ends with what
the judge says of all that was done.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from polysite.api import KeyName, RowGet
from polysite.errors import PolysiteError
from polysite.testing.history import History, Recorder
from polysite.testing.judging.judge import judge
from polysite.testing.world.clients import COLUMNS, TABLES
from polysite.testing.world.processes import Process
from polysite.testing.world.traffic import FLAT, KEYSPACE
from polysite.testing.world.world import World
from polysite.values.tables import KeyspaceSpec

T = TypeVar("T")

RTT_S = 0.05
LEASE_MS = 1_000
CALL_S = 20.0
COUNTER = KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": "counter"})
NAMED = [FLAT, "counter"]

BEGIN_S, KILLED_S, QUIET_S, FROZEN_S, END_S = 4.0, 6.0, 5.0, 2.0, 4.0
"""How long all go well, one is killed, all go well again, one is frozen, and all go well until the end."""


class Operation(NamedTuple):
    """What one call took."""

    name: str
    round_trips: float
    took_s: float


class Demo:
    """The sites, their clients, and what is told of them. `tell` is given each event as a line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.world = World("demo", rtt_s=RTT_S)
        self.states = dict.fromkeys(self.world.network.sites, "up")
        self.raised = dict.fromkeys(self.world.network.sites, 0)
        self.failed = dict.fromkeys(self.world.network.sites, 0)
        self.operations: list[Operation] = []
        self.value = 0
        self.late = ""
        """What became of the write of the holder that was frozen."""
        self._began_s = self.world.now_s()
        self._ended = False
        self._recorders = {
            site: Recorder(site=site, process=site, now_s=self.world.now_s) for site in self.world.network.sites
        }

    @property
    def elapsed_s(self) -> float:
        return self.world.now_s() - self._began_s

    async def run(self) -> list[str]:
        """All of it; what the judge found."""
        world = self.world
        first, *_ = await asyncio.gather(*(world.start_process(site) for site in world.network.sites))
        await first.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        for spec in TABLES:
            await first.coordinator.create_table(spec)
        self._say("three sites are up; a client at each raises one counter: lock and read, put, release")
        async with asyncio.TaskGroup() as group:
            for site in world.network.sites:
                group.create_task(self._raise(site))
            await self._faults()
            self._ended = True
        findings = await self._verdict()
        await world.close()
        return findings

    async def _faults(self) -> None:
        world = self.world
        await asyncio.sleep(BEGIN_S)
        self._say("irv is killed: its engine and its process")
        self.states["irv"] = "killed"
        world.network.stop_engine("irv")
        await world.kill("irv")
        await asyncio.sleep(KILLED_S)
        self._say("irv is started again")
        world.network.start_engine("irv")
        await world.start_process("irv")
        self.states["irv"] = "up"
        await asyncio.sleep(QUIET_S)
        await self._zombie()
        await asyncio.sleep(END_S)

    async def _zombie(self) -> None:
        """A holder at ams is frozen past its lease, and writes when it wakes."""
        process = self.world.process("ams")
        assert process is not None
        reference = await self._acquire("ams", process)
        self._say(f"ams holds the counter with a lease of {LEASE_MS} ms, and freezes for {FROZEN_S:g} s")
        self.states["ams"] = "frozen"
        process.freeze()
        await asyncio.sleep(FROZEN_S)
        process.thaw()
        self.states["ams"] = "up"
        try:
            await self._put("ams", process, reference, 1_000_000)
            self.late = "was done"
        except PolysiteError as error:
            self.late = f"is answered {error.code} ({error.outcome})"
        self._say(f"ams wakes and writes 1000000 under the lock that it thinks it holds: that {self.late}")

    # clients

    async def _raise(self, site: str) -> None:
        while not self._ended:
            process = self.world.process(site)
            try:
                if process is None:
                    await asyncio.sleep(0.1)
                    continue
                await self._raised_once(site, process)
            except PolysiteError:
                self.failed[site] += 1
            await asyncio.sleep(0.05)

    async def _raised_once(self, site: str, process: Process) -> None:
        reference, value = await self._acquired(site, process)
        await self._put(site, process, reference, value + 1)
        self.raised[site] += 1
        self.value = value + 1
        await self._timed("release", process.call(lambda of: of.release(reference, validate=False), limit_s=CALL_S))

    async def _acquire(self, site: str, process: Process) -> str:
        while True:
            try:
                return (await self._acquired(site, process))[0]
            except PolysiteError:
                continue

    async def _acquired(self, site: str, process: Process) -> tuple[str, int]:
        with self._recorders[site].begin(
            client=site, verb="acquire", key=NAMED, argument={"kind": "exclusive"}
        ) as call:
            lock = await self._timed(
                "lock and first get",
                process.call(
                    lambda of: of.acquire([COUNTER], lease_ms=LEASE_MS, wait_ms=15_000, read=True), limit_s=CALL_S
                ),
            )
            assert lock.rows is not None
            (row,) = lock.rows
            told = None if row is None else {name: row[name] for name in COLUMNS if row[name] is not None}
            call.answer({"read": told}, reference=lock.reference)
            return lock.reference, 0 if row is None else int(row["a"])

    async def _put(self, site: str, process: Process, reference: str, value: int) -> None:
        columns = {"a": str(value)}
        argument = {"writes": [["put", "", columns]]}
        with self._recorders[site].begin(client=site, verb="write", key=NAMED, argument=argument, reference=reference):
            await self._timed(
                "put",
                process.call(
                    lambda of: of.put(COUNTER, columns, level="critical", reference=reference), limit_s=CALL_S
                ),
            )

    async def _timed(self, name: str, work: Awaitable[T]) -> T:
        began_s = self.world.now_s()
        answer = await work
        trips = getattr(answer, "round_trips", 0)
        self.operations.append(Operation(name, trips, self.world.now_s() - began_s))
        return answer

    async def _verdict(self) -> list[str]:
        """What every site reads in the end, and what the judge says of it all."""
        for site in self.world.network.sites:
            process = self.world.process(site)
            assert process is not None
            with self._recorders[site].begin(client=site, verb="section", key=NAMED, argument={"writes": []}) as call:
                answer = await process.call(lambda of: of.section(COUNTER, [RowGet()], wait_ms=15_000), limit_s=CALL_S)
                row = answer.results[0]
                told = None if row is None else {name: row[name] for name in COLUMNS if row[name] is not None}
                call.answer({"row": told, "ticket": answer.fencing_token})
            self._say(f"{site} reads {told['a'] if told else None}")
        return judge(History([call for recorder in self._recorders.values() for call in recorder.history()]))

    def _say(self, text: str) -> None:
        self._tell(f"{self.elapsed_s:5.1f} s  {text}")

    def costs(self) -> list[tuple[str, float, float, int]]:
        """Each operation with its round trips and milliseconds, in the middle, and how many there were."""
        found = []
        for name in dict.fromkeys(operation.name for operation in self.operations):
            of_name = [operation for operation in self.operations if operation.name == name]
            trips = statistics.median(operation.round_trips for operation in of_name)
            took_ms = statistics.median(operation.took_s for operation in of_name) * 1000
            found.append((name, trips, took_ms, len(of_name)))
        return found
