"""Runs of the simulated bad world: a few fault schedules in every test run, and that a run is its seed.

Goal: nothing acknowledged is lost and nothing waits for ever, whatever breaks. Method: `polysite.testing.world` under swarms of faults, judged by
its histories; `make sim` does thousands. Also: the world itself does what its faults say.
"""

import asyncio
import json
import subprocess
import sys

import pytest

from polysite.api import KeyName, RowPut
from polysite.errors import OutcomeUnknown, PolysiteError
from polysite.testing.loop import run, seeded
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world import World, world
from polysite.testing.world.campaign import quiet
from polysite.testing.world.clients import TABLES
from polysite.testing.world.faults import NAMES, Fault, carry_out, swarm
from polysite.testing.world.processes import Process
from polysite.testing.world.running import Plan, carried_out
from polysite.testing.world.traffic import FLAT, KEYSPACE
from polysite.values.tables import KeyspaceSpec

KEY = KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": "x"})


@pytest.mark.parametrize("seed", range(24))
def test_a_swarm_of_faults(seed: int) -> None:
    """Nothing is found against the run, and it was a run: calls were done, and faults injected."""
    with quiet():
        verdict = carried_out(Plan(seed=seed))
    assert verdict.findings == []
    assert verdict.done > 40
    assert verdict.faults


@pytest.mark.parametrize("name", NAMES)
def test_each_fault_alone(name: str) -> None:
    """Each fault, at a site with the others well: nothing is found, and every key is had again after it."""
    faults = tuple(
        Fault(at_s=at_s, lasts_s=3.0, name=name, site=site, other=other, amount=0.9)
        for at_s, site, other in ((1.0, "ams", "bei"), (6.0, "irv", "ams"))
    )
    with quiet():
        verdict = carried_out(Plan(seed=7, faults=faults, lasts_s=12.0))
    assert verdict.findings == []


def test_a_slow_link() -> None:
    """What is sent over it takes longer, one way, until the fault has ended."""

    async def arrivals() -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        async with world(1) as of:
            loop = asyncio.get_running_loop()
            fault = Fault(at_s=0.0, lasts_s=1.0, name="link slow one way", site="ams", other="bei", amount=0.5)
            faults = asyncio.create_task(carry_out(of, [fault], 2.0))

            def send(name: str, source: str, target: str) -> None:
                sent_s = loop.time()
                of.network.send(source, target, lambda: found.append((name, loop.time() - sent_s)))

            await asyncio.sleep(0.5)
            send("there", "ams", "bei")
            send("back", "bei", "ams")
            await asyncio.sleep(1.0)
            send("later", "ams", "bei")
            await faults
            await asyncio.sleep(1.0)
        return [(name, round(after_s, 3)) for name, after_s in found]

    assert run(arrivals, seed=1) == [("back", 0.025), ("there", 0.525), ("later", 0.025)]


@pytest.mark.parametrize("served", [False, True])
def test_a_run_is_its_seed(served: bool) -> None:
    """Two fresh processes, with other hashes of text, take the same steps and write the same history; also where clients work
    through the production client and the server."""
    script = (
        "import json; from polysite.testing.world.campaign import quiet\n"
        "from polysite.testing.world.running import Plan, carried_out\n"
        f"with quiet(): verdict = carried_out(Plan(seed=11, served={served}))\n"
        "print(json.dumps([verdict.trace_hash, verdict.history.encode().decode()]))"
    )
    told = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", script], env={"PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True
            ).stdout
        )
        for salt in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0][0]


def test_schedules_are_drawn_from_the_seed() -> None:
    """Equal seeds give equal faults, others give others; only those that were named."""
    drawn = [
        swarm(SeededRandomness(seed), sites=("a", "b"), lasts_s=10.0, names=["site cut off"])
        for seed in (1, 1, 2, 3, 4)
    ]
    assert drawn[0] == drawn[1]
    assert any(other != drawn[0] for other in drawn)
    assert {fault.name for faults in drawn for fault in faults} == {"site cut off"}


async def _with_tables(made: World) -> tuple[Process, Process]:
    """The processes of two sites, once the clients' tables are there."""
    ams, bei = made.process("ams"), made.process("bei")
    assert ams is not None and bei is not None
    await ams.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    for spec in TABLES:
        await ams.coordinator.create_table(spec)
    return ams, bei


@seeded
async def test_a_killed_process_answers_nothing_more() -> None:
    """Who called it hears that the outcome is not known; its lock is had at another site after its lease."""
    async with world(1) as made:
        ams, bei = await _with_tables(made)
        await ams.call(lambda site: site.acquire([KEY], lease_ms=1_000), limit_s=5)
        asked = asyncio.ensure_future(
            bei.call(lambda site: site.acquire([KEY], lease_ms=1_000, wait_ms=5_000), limit_s=9)
        )
        waiting = asyncio.ensure_future(
            ams.call(lambda site: site.acquire([KEY], lease_ms=1_000, wait_ms=9_000), limit_s=9)
        )
        await asyncio.sleep(0.3)
        await ams.kill()
        with pytest.raises(OutcomeUnknown):
            await waiting
        assert (await asked).held


@seeded
async def test_a_frozen_process_wakes_with_its_clocks_ahead() -> None:
    """Frozen past its lease, it is told that it lost the lock, and what it then writes is refused."""
    async with world(1) as made:
        ams, bei = await _with_tables(made)
        lock = await ams.call(lambda site: site.acquire([KEY], lease_ms=1_000), limit_s=5)
        before_s, before_us = ams.clock.monotonic_s(), ams.clock.wall_us()
        ams.freeze()
        after = await bei.call(lambda site: site.acquire([KEY], lease_ms=9_000, wait_ms=9_000, read=True), limit_s=9)
        assert after.rows == [None]
        assert ams.clock.monotonic_s() == before_s
        ams.thaw()
        assert ams.clock.monotonic_s() - before_s > 1.0
        assert ams.clock.wall_us() - before_us > 1_000_000
        with pytest.raises(PolysiteError) as refused:
            await ams.call(
                lambda site: site.put(KEY, {"a": "late"}, level="critical", reference=lock.reference), limit_s=9
            )
        assert refused.value.code in ("lock_lost", "outcome_unknown")
        row = (await bei.call(lambda site: site.get(KEY, level="quorum"), limit_s=5)).row
        assert row is None


@seeded
async def test_what_a_replica_missed_comes_by_hints_or_by_reading() -> None:
    """A cut replica lacks a write; a majority read that meets it mends it, and without one the hint does."""
    async with world(1) as made:
        ams, _ = await _with_tables(made)
        made.network.cut_off("irv")
        await ams.call(lambda site: site.section(KEY, [RowPut(columns={"a": "1"})], lease_ms=2_000), limit_s=5)
        number = made.rows.catalogue.table(KEYSPACE, FLAT).number
        replicas = made.rows.replicas
        assert not any(replicas["irv"].partition(number, key).rows for key in replicas["irv"].partitions(number))
        made.network.heal()
        await asyncio.sleep(6.0)
        assert any(replicas["irv"].partition(number, key).rows for key in replicas["irv"].partitions(number))
        assert made.rows.hinted > 0


def test_faults_end() -> None:
    """A schedule that outlasts the run is mended when the run ends."""

    async def main() -> None:
        async with world(1) as made:
            await carry_out(made, [Fault(at_s=0.5, lasts_s=99.0, name="site cut off", site="bei")], 1.0)
            assert not made.network.is_cut("bei", "ams")

    run(main, seed=1)
