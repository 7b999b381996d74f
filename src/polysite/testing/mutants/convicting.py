"""Which run convicts a mutant: each mutant lives in a process of its own, where runs of the simulation are judged one after the other."""

import json
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polysite.testing.mutants.applying import apply
from polysite.testing.mutants.mutant import Mutant
from polysite.testing.mutants.serving_table import SERVING_MUTANTS
from polysite.testing.mutants.table import MUTANTS

SEEDS = Path(__file__).with_name("seeds.json")
"""Name of a mutant → the seed of a run that convicts it, the shortest way there that was found."""

PLANS = Path(__file__).with_name("plans")
"""A file for each mutant that a run drawn by a seed hardly ever shows: the plan of one that does, against which the sound code holds."""


class Conviction(NamedTuple):
    """`seed` None: none of the runs convicted it. `finding`: the first thing that the judge says; `check`: by which of its checks. `runs`:
    how many it took. `planned`: it was the run of the mutant's plan, perhaps with another seed than it has there."""

    name: str
    source: str
    seed: int | None
    finding: str
    runs: int
    check: str = ""
    planned: bool = False


def plan_of(name: str) -> Path:
    """The file with the mutant's plan, if it has one."""
    return PLANS / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.json"


def recorded() -> dict[str, int]:
    """The convicting seeds that are known."""
    found: dict[str, int] = json.loads(SEEDS.read_text(encoding="utf-8"))
    return found


def record(seeds: dict[str, int]) -> None:
    """Keep these seeds, with those that are known of other mutants. That of one with a plan is kept there: whether the sound code survives
    the run is for `test_mutant_plans` to say."""
    known = {**recorded(), **seeds}
    for file, seed in ((plan_of(name), seed) for name, seed in seeds.items()):
        if file.exists():
            file.write_text(
                json.dumps({**json.loads(file.read_text()), "seed": seed}, indent=1) + "\n", encoding="utf-8"
            )
    names = [mutant.name for mutant in MUTANTS]
    kept = {name: known[name] for name in names if name in known and not plan_of(name).exists()}
    SEEDS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def convictions(mutants: Sequence[Mutant], *, search: int = 0, jobs: int | None = None) -> Iterator[Conviction]:
    """What became of each mutant, in the order in which it is known. By its plan or its recorded seed; with `search` by the seeds up to
    there, of those that have none or are not convicted by it any more; of one with a plan, that plan with these seeds."""
    known = recorded()
    tasks = [(MUTANTS.index(mutant), known.get(mutant.name), search) for mutant in mutants]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs or os.cpu_count() or 1, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(_convict, tasks, chunksize=1)


def _convict(task: tuple[int, int | None, int]) -> Conviction:
    """In a fresh process."""
    index, seed, search = task
    mutant = MUTANTS[index]
    apply(mutant.applied)
    import msgspec

    from polysite.testing.judging.findings import kind_of
    from polysite.testing.world.campaign import quiet
    from polysite.testing.world.running import Plan, carried_out

    file = plan_of(mutant.name)
    planned = file.exists()
    plan = Plan(seed=-1 if seed is None else seed, served=mutant in SERVING_MUTANTS)
    if planned:
        plan = msgspec.json.decode(file.read_bytes(), type=Plan)
    seeds = ([plan.seed] if plan.seed >= 0 else []) + [other for other in range(search) if other != plan.seed]
    runs = 0
    with quiet():
        for runs, plan in enumerate((msgspec.structs.replace(plan, seed=each) for each in seeds), 1):
            verdict: Any = carried_out(plan)
            if verdict.findings:
                finding = verdict.findings[0]
                return Conviction(mutant.name, mutant.source, plan.seed, finding, runs, kind_of(finding), planned)
    return Conviction(mutant.name, mutant.source, None, "", runs)
