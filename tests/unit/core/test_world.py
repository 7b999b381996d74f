"""The world keeps its promises under seeded schedules (see `world`)."""

from typing import Any

import pytest

from tests.unit.core import world
from tests.unit.core.factories import MIXED_WIDE

SETTINGS: dict[str, dict[str, Any]] = {
    "exclusive": {},
    "ranges": {"ranges": 1.0, "give_up": 0.06, "range_writes": 0.3},
    "shared": {"kinds": ("exclusive", "shared", "shared", "promoting")},
    "shared ranges": {"kinds": ("exclusive", "shared", "shared", "promoting"), "ranges": 1.0, "preempt": 0.03},
    "mixed": {"table": MIXED_WIDE, "plain": 0.03, "ranges": 0.5},
    "rough": {"preempt": 0.03, "take_over": 0.1, "give_up": 0.15, "lost_cas": 0.3, "ranges": 0.5},
    "without read repair": {"repair": 0.0, "give_up": 0.15, "preempt": 0.02, "ranges": 0.3},
    "one row of memory": {"rows_max": 1, "give_up": 0.1, "late": 0.9, "ranges": 0.3},
    "late answers": {
        "give_up": 0.2,
        "late": 0.9,
        "ranges": 0.3,
        "kinds": ("exclusive", "exclusive", "shared", "promoting"),
    },
    "tiny windows": {"window": 8, "overlap": 0.8, "retry": 1.0, "give_up": 0.1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_promises_hold(name: str) -> None:
    """Goal: no promise is broken under lost and late messages, preemption, take-over, old views. Method: 100 seeds, judged."""
    runs = [world.run(seed, **SETTINGS[name]) for seed in range(100)]
    assert sum(run.gets for run in runs) > 200
    assert not any(run.tasks for run in runs)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SETTINGS)
def test_promises_hold_for_long(name: str) -> None:
    """Goal and method as above, with 4,000 more seeds."""
    for seed in range(100, 4_100):
        world.run(seed, **SETTINGS[name])


def test_same_seed_same_run() -> None:
    """Goal: a seed reproduces its run. Method: run it twice and compare the cell's history."""
    first, second = (world.run(7, **SETTINGS["rough"]) for _ in range(2))
    assert first.history == second.history
