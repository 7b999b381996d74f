"""The janitor's rounds: what is idle is tidied, what is in use is left alone, and the rounds go on."""

import asyncio
from typing import Any

import pytest

from polysite.api import RowPut
from polysite.core.lock_cell import recent_changes
from polysite.site import janitor
from polysite.testing.loop import seeded
from tests.support.sites import Process, World, world_of


@seeded
async def test_a_cell_in_use_is_not_compacted(seed: int) -> None:
    """Goal: a cell forgets its changes only once it was idle for `compact_idle_s`. Method: use a key more often than that for an hour
    of rounds, then no more; an outage of the engine in between ends no rounds."""
    async with world_of(seed, compact_idle_s=300.0) as world:
        one, row = world.processes[0], world.row("a")
        for number in range(4):
            await one.coordinator.section(row, [RowPut(columns={"count": 1})], idempotency_key=str(number))
            await asyncio.sleep(250.0)
            cell = await world.cell("a")
            assert cell.recent
            assert cell.departed
        one.faults.down = True
        await asyncio.sleep(40.0)
        one.faults.down = False
        await asyncio.sleep(400.0)
        cell = await world.cell("a")
        assert not cell.departed
        assert len(recent_changes(cell)) == 1
        assert cell.issued == 4
        # And that was the last change of it: a key that was locked once is not written for ever.
        await asyncio.sleep(2_000.0)
        assert await world.cell("a") == cell


@seeded
async def test_every_cell_has_its_turn(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: rounds walk over all cells, a few at a time. Method: more cells than one round looks at; all are compacted."""
    monkeypatch.setattr(janitor, "KEYS_PER_ROUND", 4)
    async with world_of(seed, compact_idle_s=100.0) as world:
        keys = [f"k{number}" for number in range(11)]
        for key in keys:
            for _ in range(2):
                await world.processes[0].coordinator.section(world.row(key), [RowPut(columns={"count": 1})])
        await asyncio.sleep(1_000.0)
        assert [len(recent_changes(await world.cell(key))) for key in keys] == [1] * len(keys)


@seeded
async def test_rounds_go_on(seed: int) -> None:
    """Goal: tombstones are collected every round, and the process says again and again that it is here, until it is closed. Method:
    count the collections and look at the registry, before and after an outage."""
    world = World(seed)
    await world.engine.start()
    process = Process(world, "one")
    rounds = 0

    async def collect() -> None:
        nonlocal rounds
        rounds += 1

    process.coordinator._store.collect_tombstones = collect  # type: ignore[attr-defined]
    await process.start()
    registry: Any = process.coordinator._registry
    for _ in range(2):
        before = rounds
        await asyncio.sleep(100.0)
        assert rounds - before >= 3
        row = await registry.find("local", "p1")
        assert process.clock.wall_us() - row.seen_us <= 6_000_000
        process.faults.down = True
        await asyncio.sleep(100.0)
        process.faults.down = False
    await process.close()
    before = rounds
    await asyncio.sleep(100.0)
    assert rounds == before
    await world.engine.close()
