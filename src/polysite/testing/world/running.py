"""One run of a simulated world: clients, faults, an end without faults, and what the judge says of it."""

import asyncio
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from polysite.testing.history import History, Recorder
from polysite.testing.judging.judge import judge
from polysite.testing.loop import run_traced
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world import company
from polysite.testing.world.asking import Asker
from polysite.testing.world.belying import belied
from polysite.testing.world.clients import TABLES, Client
from polysite.testing.world.faults import NAMES, NO_READ_REPAIR, Fault, carry_out, swarm
from polysite.testing.world.link_faults import LINK_FAULTS
from polysite.testing.world.serving import client_of, finished, is_served
from polysite.testing.world.traffic import KEYSPACE, Traffic, drawn
from polysite.testing.world.world import SITES, World
from polysite.values.tables import KeyspaceSpec

LASTS_S = 20.0
RTT_S = 0.05
LIMIT_S = 600.0
STEPS_MAX = 3_000_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run as data: the same plan is the same run."""

    seed: int
    faults: tuple[Fault, ...] | None = None
    """None: what `swarm` draws from the seed."""
    names: tuple[str, ...] = ()
    """Only these faults are drawn; none: any."""
    lasts_s: float = LASTS_S
    sites: tuple[str, ...] = SITES
    traffic: Traffic | None = None
    """None: what `drawn` draws from the seed, without shared locks where there is no read repair."""
    company: tuple[str, ...] | None = None
    """The further kinds of clients, by name. None: what `company.drawn` draws from the seed."""
    served: bool | None = None
    """Whether there are clients that work through the production client and the server; None: some runs have them, as the seed says."""

    @property
    def is_served(self) -> bool:
        wanted = not LINK_FAULTS.keys().isdisjoint(self.names)
        return wanted or is_served(self.seed) if self.served is None else self.served

    @property
    def schedule(self) -> Sequence[Fault]:
        if self.faults is not None:
            return self.faults
        faults = self._drawn("faults", NAMES)
        if self.is_served:
            faults += self._drawn("link faults", LINK_FAULTS)
        return sorted(faults, key=lambda fault: fault.at_s)

    def _drawn(self, label: str, names: Iterable[str]) -> list[Fault]:
        """Faults of those names, as far as they are wanted."""
        wanted = [name for name in names if not self.names or name in self.names]
        chance = SeededRandomness(f"{self.seed}/{label}")
        return swarm(chance, sites=self.sites, lasts_s=self.lasts_s, names=wanted) if wanted else []

    @property
    def clients_do(self) -> Traffic:
        if self.traffic is not None:
            return self.traffic
        # Who reads beside others counts on what he reads being brought to a majority, by the engine (decision 16).
        return drawn(self.seed, shared=all(fault.name != NO_READ_REPAIR for fault in self.schedule))

    @property
    def further(self) -> tuple[str, ...]:
        return company.drawn(self.seed) if self.company is None else self.company


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. `findings` empty: nothing was found against it."""

    seed: int
    findings: list[str]
    trace_hash: str
    calls: int
    done: int
    refused: int
    unknown: int
    steps: int
    elapsed_s: float
    faults: list[str]
    history: History | None = None


def carried_out(plan: Plan) -> Verdict:
    """The run of that plan, judged."""
    recorders: list[Recorder] = []
    try:
        done = run_traced(lambda: _run(plan, recorders), seed=plan.seed, limit_s=LIMIT_S, limit_steps=STEPS_MAX)
        found, trace, steps, elapsed_s = done.result, done.trace_hash, done.steps, done.elapsed_s
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001
        found, trace, steps, elapsed_s = [_told(error)], "", 0, 0.0
    history = History([call for recorder in recorders for call in recorder.history()])
    findings = found + judge(history)
    outcomes = [call.outcome for call in history]
    return Verdict(
        seed=plan.seed,
        findings=findings,
        trace_hash=trace,
        calls=len(outcomes),
        done=outcomes.count("done"),
        refused=outcomes.count("refused"),
        unknown=outcomes.count("unknown"),
        steps=steps,
        elapsed_s=elapsed_s,
        faults=[fault.name for fault in plan.schedule],
        history=history,
    )


async def _run(plan: Plan, recorders: list[Recorder]) -> list[str]:
    world = World(plan.seed, plan.sites, RTT_S, introduced=bool(plan.further))
    traffic = plan.clients_do
    first, *_ = await asyncio.gather(*(world.start_process(site) for site in plan.sites * traffic.processes))
    await first.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    for spec in (*TABLES, *company.tables(plan.further)):
        await first.coordinator.create_table(spec)
    clients: list[Client] = []
    others: list[Asker] = []
    for site in plan.sites:
        recorder = Recorder(site=site, process=site, now_s=world.now_s)
        recorders.append(recorder)
        clients += [
            client_of(plan.is_served, world, site, number, traffic, recorder) for number in range(traffic.clients)
        ]
        others += company.clients(plan.further, world, site, recorder)
    ends_s = (min(fault.at_s + fault.lasts_s, plan.lasts_s) for fault in plan.schedule)
    quiet_s = world.now_s() + max(ends_s, default=0.0)
    for client in clients:
        client.quiet_s = quiet_s
    everybody: list[Client | Asker] = [*clients, *others]
    async with asyncio.TaskGroup() as group:
        for each in everybody:
            group.create_task(each.run(), name=f"client {each.name}")
        await carry_out(world, plan.schedule, plan.lasts_s)
        for each in everybody:
            each.ended = True
    async with asyncio.TaskGroup() as group:
        for client in clients:
            for table, key in traffic.keys:
                group.create_task(client.settle(table, key), name=f"settle {client.name}")
        for other in others:
            group.create_task(other.settle(), name=f"settle {other.name}")
    await finished(clients, world)
    await world.close()
    history = History([call for recorder in recorders for call in recorder.history()])
    return [
        *(overdue for client in clients for overdue in client.overdue),
        *world.links.findings,
        *belied(world.registers, history),
    ]


def _told(error: BaseException) -> str:
    """An error that ended a run, in a few lines: the innermost one and where it came from."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"the run ended with {type(error).__name__}: {str(error)[:2000]} ({where})"
