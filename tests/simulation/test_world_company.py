"""Runs of the simulated world with further kinds of clients: rows without locks, mixed rows, lives, requests asked again, lists.

Goal: what each level promises holds under swarms of faults. Method: each kind in a few runs of its own, judged by their histories; and scenarios
of what such runs have found.
"""

import asyncio

import pytest

from polysite.api import KeyName
from polysite.core.stamps import STAMP_BASE
from polysite.testing.loop import seeded
from polysite.testing.world import company, world
from polysite.testing.world.campaign import quiet
from polysite.testing.world.running import Plan, carried_out
from polysite.testing.world.stamped import LOOSE, TABLES
from polysite.testing.world.traffic import KEYSPACE, Traffic
from polysite.values.tables import KeyspaceSpec

LITTLE = Traffic(clients=1, pause_s=1.5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", company.KINDS)
def test_each_kind(kind: str, seed: int) -> None:
    """Nothing is found, and the kind did what it is there for: its calls are in the history."""
    with quiet():
        verdict = carried_out(Plan(seed=seed, traffic=LITTLE, company=(kind,)))
    assert verdict.findings == []
    assert verdict.history is not None
    tables = {spec.name for spec in company.KINDS[kind].tables}
    done = [call for call in verdict.history if call.outcome == "done" and call.key[0] in tables]
    assert len(done) > 20


def test_kinds_are_drawn_from_the_seed() -> None:
    """Most runs have none, all runs together have all, and a run has what its seed says."""
    drawn = [company.drawn(seed) for seed in range(200)]
    assert drawn == [company.drawn(seed) for seed in range(200)]
    assert {name for names in drawn for name in names} == set(company.KINDS)
    assert sum(not names for names in drawn) > 100


@seeded
async def test_a_process_remembers_that_a_key_was_locked() -> None:
    """Nobody uses the key any more, and the site's replica of its cell shows an older state: a write without a lock is
    carried out as a section all the same, else it would be hidden by the tenure that this process has served itself."""

    async with world(1) as made:
        process = made.process("ams")
        assert process is not None
        site = process.coordinator
        await site.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        await site.create_table(next(spec for spec in TABLES if spec.name == LOOSE))
        row = KeyName(keyspace=KEYSPACE, table=LOOSE, key={"id": "x"})
        lock = await site.acquire([row])
        await site.put(row, {"a": "held"}, level="critical", reference=lock.reference)
        await site.release(lock.reference)
        await asyncio.sleep(20.0)
        for register in made.registers.registers.values():
            register.learned["ams"] = 0
        written = await site.put(row, {"a": "after"}, level="quorum")
        assert (written.stamp or 0) >= STAMP_BASE
        assert (await site.get(row, level="quorum")).row == {"id": "x", "a": "after", "b": None}
