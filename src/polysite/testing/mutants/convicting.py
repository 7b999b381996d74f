"""Which run convicts a mutant: each mutant lives in a process of its own, where runs of the simulation are judged one after the other."""

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polysite.testing.mutants.applying import apply
from polysite.testing.mutants.mutant import Mutant
from polysite.testing.mutants.serving_table import SERVING_MUTANTS
from polysite.testing.mutants.table import MUTANTS

SEEDS = Path(__file__).with_name("seeds.json")
"""Name of a mutant → the seed of a run that convicts it, the shortest way there that was found."""


class Conviction(NamedTuple):
    """`seed` None: none of the runs convicted it. `finding`: the first thing that the judge says. `runs`: how many it took."""

    name: str
    source: str
    seed: int | None
    finding: str
    runs: int


def recorded() -> dict[str, int]:
    """The convicting seeds that are known."""
    found: dict[str, int] = json.loads(SEEDS.read_text(encoding="utf-8"))
    return found


def record(seeds: dict[str, int]) -> None:
    """Keep these seeds, with those that are known of other mutants."""
    known = {**recorded(), **seeds}
    names = [mutant.name for mutant in MUTANTS]
    kept = {name: known[name] for name in names if name in known}
    SEEDS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def convictions(mutants: Sequence[Mutant], *, search: int = 0, jobs: int | None = None) -> Iterator[Conviction]:
    """What became of each mutant, in the order in which it is known. By its recorded seed; with `search` by the seeds up to there, of those
    that have none or are not convicted by it any more."""
    known = recorded()
    tasks = [(MUTANTS.index(mutant), known.get(mutant.name), search) for mutant in mutants]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs or os.cpu_count() or 1, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(_convict, tasks, chunksize=1)


def _convict(task: tuple[int, int | None, int]) -> Conviction:
    """In a fresh process."""
    index, seed, search = task
    mutant = MUTANTS[index]
    apply(mutant.edits)
    from polysite.testing.world.campaign import quiet
    from polysite.testing.world.running import Plan, carried_out

    seeds = ([] if seed is None else [seed]) + [other for other in range(search) if other != seed]
    with quiet():
        for runs, each in enumerate(seeds, 1):
            verdict: Any = carried_out(Plan(seed=each, served=mutant in SERVING_MUTANTS))
            if verdict.findings:
                return Conviction(mutant.name, mutant.source, each, verdict.findings[0], runs)
    return Conviction(mutant.name, mutant.source, None, "", len(seeds))
