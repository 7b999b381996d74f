"""The commands of the simulation: the coordinator in a bad world that a seed decides."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from polysite.cli import exits
from polysite.cli.commands import Late
from polysite.cli.output import print_json
from polysite.errors import BadRequest

if TYPE_CHECKING:
    from polysite.testing.world.campaign import Total
    from polysite.testing.world.running import Plan, Verdict


class SimCommands(Late):
    """Each command is imported when it is used."""

    places = {  # noqa: RUF012  # as the tree of commands has them
        "run": "sim:run",
        "replay": "sim:replay",
        "judge": "sim:judge",
        "mutants": "sim:mutants",
        "faults": "sim:faults",
        "nines": "sim_nines:nines",
    }


@click.group(cls=SimCommands)
def sim() -> None:
    """The coordinator in a simulated bad world: same seed, same run."""


PICTURES_MAX = 3
"""So many illegal runs of a campaign are made smaller and drawn."""

LASTS_S = 20.0
"""`polysite.testing.world.running.LASTS_S`, which is not imported for `--help`."""

RUNS_MAX = 60
"""So many runs are tried to make one smaller."""

INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
faults_option = click.option(
    "--faults", "names", default="", help="Only these faults, separated by commas (`polysite sim faults` lists them)."
)

lasts_option = click.option(
    "--lasts",
    "lasts_s",
    type=click.FloatRange(1.0, 3600.0),
    default=LASTS_S,
    show_default=True,
    help="So many virtual seconds the faults and the clients go on; another length is another run.",
)


@click.command()
@click.option("--seeds", default="1..100", show_default=True, help="The runs: FIRST..LAST, or one seed.")
@faults_option
@lasts_option
@click.option("--jobs", type=click.IntRange(1), help="Processes side by side; one per processor unless it is said.")
@json_option
def run(seeds: str, names: str, lasts_s: float, jobs: int | None, as_json: bool) -> int:
    """Run the coordinator through a fault schedule per seed, and judge every history.

    Ends with 0 if nothing was found against it, else with 10; `polysite sim replay SEED` shows a run again.
    """
    from polysite.testing.world.campaign import total, verdicts
    from polysite.testing.world.running import Plan

    chosen = fault_names(names)
    plans = [Plan(seed=seed, names=chosen, lasts_s=lasts_s) for seed in seeds_of(seeds)]
    whole = total(verdicts(plans, jobs=jobs))
    if as_json:
        print_json(msgspec.to_builtins(whole))
    else:
        for line in told(whole):
            click.echo(line)
        for verdict in whole.illegal[:PICTURES_MAX]:
            _tell_smaller(Plan(seed=verdict.seed, names=chosen, lasts_s=lasts_s))
        if len(whole.illegal) > PICTURES_MAX:
            click.echo(
                f"\nthe other {len(whole.illegal) - PICTURES_MAX}: polysite sim replay SEED --lasts {lasts_s:g} --shrink"
            )
    return exits.REFUSED if whole.illegal else exits.DONE


@click.command()
@click.argument("seed", type=int, required=False)
@click.option("--plan", "plan_file", type=INPUT, metavar="FILE", help="The run of that plan, instead of a seed's.")
@faults_option
@lasts_option
@click.option(
    "--mutant",
    metavar="NAME",
    help="With that known fault in the code (`polysite sim mutants` names them); by itself, the run that convicts it.",
)
@click.option("--shrink", is_flag=True, help="Look for a smaller run in which the same is found.")
@click.option("--runs", type=click.IntRange(1), default=RUNS_MAX, show_default=True, help="So many are tried at most.")
@click.option(
    "--keep", type=OUTPUT, metavar="FILE", help="Write the plan there, for --plan; the smaller one of --shrink."
)
@click.option("--history", type=OUTPUT, metavar="FILE", help="Write the history there, for `sim judge`.")
@json_option
def replay(
    seed: int | None,
    plan_file: Path | None,
    names: str,
    lasts_s: float,
    mutant: str | None,
    shrink: bool,
    runs: int,
    keep: Path | None,
    history: Path | None,
    as_json: bool,
) -> int:
    """One run again, by its seed or its plan: its faults, its trace, its verdict, and a picture of what is found. Ends as `run` does."""
    if mutant is not None:
        _apply(mutant)  # before anything that it changes is imported
    from polysite.testing.world.campaign import quiet
    from polysite.testing.world.running import carried_out
    from polysite.testing.world.telling import picture, told_faults, told_smaller

    plan = _planned(seed, plan_file, names, lasts_s, mutant)
    with quiet():
        verdict = carried_out(plan)
        shrunk, lines = told_smaller(plan, verdict, runs_max=runs) if shrink and verdict.findings else (None, [])
    if history is not None and verdict.history is not None:
        history.write_bytes(verdict.history.encode())
    if keep is not None:
        keep.write_bytes(msgspec.json.format(msgspec.json.encode(plan if shrunk is None else shrunk.plan)) + b"\n")
    if as_json:
        told_json = {**_shown(verdict), "schedule": msgspec.to_builtins(plan.schedule)}
        if shrunk is not None:
            told_json["smaller"] = {"plan": shrunk.plan, "finding": shrunk.finding, "runs": shrunk.runs}
        print_json(msgspec.to_builtins(told_json))
    else:
        for line in told_faults(plan):
            click.echo(line)
        click.echo(f"{verdict.calls} calls: {verdict.done} done, {verdict.refused} refused, {verdict.unknown} unknown")
        click.echo(f"trace {verdict.trace_hash}, {verdict.steps} steps, {verdict.elapsed_s:.3f} virtual seconds")
        _tell_findings(verdict.findings)
        for line in lines or picture(plan, verdict):
            click.echo(line)
    return exits.REFUSED if verdict.findings else exits.DONE


@click.command()
@click.argument("files", nargs=-1, required=True, type=INPUT)
@click.option("--plain", multiple=True, metavar="TABLE", help="Rows of this table are written without locks.")
@json_option
def judge(files: tuple[Path, ...], plain: tuple[str, ...], as_json: bool) -> int:
    """Judge histories that were written to files, and draw the calls that show what is found, of three kinds at most. Ends with 0 if
    nothing is found against them, else with 10."""
    from polysite.testing.history import History
    from polysite.testing.judging.explaining import explained
    from polysite.testing.judging.judge import judge as judged_plain

    judged = partial(judged_plain, plain=plain)
    history = History.read(*files)
    findings = judged(history)
    if as_json:
        print_json({"findings": findings})
    else:
        _tell_findings(findings)
        began_s = history.calls[0].start_s if history.calls else 0.0
        for line in explained(history, findings, judged, kinds_max=PICTURES_MAX, origin_s=began_s):
            click.echo(line)
    return exits.REFUSED if findings else exits.DONE


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--search",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Try the seeds below N where none is known, with its plan if it has one.",
)
@click.option("--record", "keep", is_flag=True, help="Keep the seeds that were found, in the project's files.")
@click.option("--jobs", type=click.IntRange(1), help="Processes side by side; one per processor unless it is said.")
@json_option
def mutants(names: tuple[str, ...], search: int, keep: bool, jobs: int | None, as_json: bool) -> int:
    """Put known faults back into the code, one at a time, and show the run that convicts each.

    Ends with 0 if all are convicted, else with 10.
    """
    from polysite.testing.mutants import convicting
    from polysite.testing.mutants.table import MUTANTS

    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in chosen}:
        raise BadRequest(f"there is no mutant {min(unknown)!r}")
    found = []
    for one in convicting.convictions(chosen, search=search, jobs=jobs):
        found.append(one)
        if not as_json:
            by = "its plan" if one.planned else f"seed {one.seed}"
            if one.planned and one.runs > 1:
                by = f"its plan with seed {one.seed}"
            told_by = f"yes   by {by}, after {one.runs}: {one.check}" if one.seed is not None else "NO"
            click.echo(f"{one.name:55} {told_by}")
    if keep:
        convicting.record({one.name: one.seed for one in found if one.seed is not None})
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        click.echo(f"{sum(one.seed is not None for one in found)} of {len(found)} convicted")
    return exits.DONE if all(one.seed is not None for one in found) else exits.REFUSED


@click.command()
@json_option
def faults(as_json: bool) -> int:
    """The names of the faults."""
    from polysite.testing.world.faults import EVERY

    if as_json:
        print_json(list(EVERY))
    else:
        for name in EVERY:
            click.echo(name)
    return exits.DONE


def seeds_of(text: str) -> range:
    """The seeds that FIRST..LAST names; BadRequest if it names none."""
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if found is None:
        raise BadRequest(f"seeds are written FIRST..LAST or as one number, not {text!r}")
    first = int(found[1])
    last = int(found[2]) if found[2] is not None else first
    if last < first:
        raise BadRequest(f"the last seed, {last}, comes before the first, {first}")
    return range(first, last + 1)


def fault_names(text: str) -> tuple[str, ...]:
    """The faults that are named; BadRequest for one that there is not."""
    from polysite.testing.world.faults import EVERY

    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    check_faults(chosen, tuple(EVERY))
    return chosen


def check_faults(chosen: Iterable[str], known: Sequence[str]) -> None:
    """BadRequest: one of them is not among those."""
    for name in chosen:
        if name not in known:
            raise BadRequest(f"there is no fault {name!r}; there are: {', '.join(known)}")


def told(whole: "Total") -> list[str]:
    """A campaign in lines."""
    lines = [
        f"{whole.runs} runs, {whole.calls} calls: {whole.done} done, {whole.refused} refused, {whole.unknown} unknown",
        f"{sum(whole.faults.values())} faults:",
        *(f"  {count:6} {name}" for name, count in sorted(whole.faults.items())),
    ]
    lines += [f"seed {verdict.seed}: {'; '.join(verdict.findings[:3])}" for verdict in whole.illegal]
    lines.append(f"{len(whole.illegal)} illegal")
    return lines


def _shown(verdict: "Verdict") -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(verdict, history=None))
    del shown["history"]
    return shown


def _tell_findings(findings: Sequence[str]) -> None:
    for finding in findings or ["nothing is found against it"]:
        click.echo(finding)


def _tell_smaller(plan: "Plan") -> None:
    """A run in which something was found, made smaller and drawn."""
    from polysite.testing.world.campaign import quiet
    from polysite.testing.world.running import carried_out
    from polysite.testing.world.telling import told_smaller

    with quiet():
        _, lines = told_smaller(plan, carried_out(plan), runs_max=RUNS_MAX)
    click.echo(f"\nseed {plan.seed}:" + "\n".join(lines))


def _planned(seed: int | None, plan_file: Path | None, names: str, lasts_s: float, mutant: str | None) -> "Plan":
    """The plan that is asked for: of a file or a seed, else the one that convicts the mutant. BadRequest: there is none, or two, or the
    file has none."""
    from polysite.testing.mutants.convicting import plan_of, recorded
    from polysite.testing.world.faults import ASKED_FOR, EVERY
    from polysite.testing.world.running import Plan

    if seed is None and plan_file is None and mutant is not None:
        plan_file = file if (file := plan_of(mutant)).exists() else None
        seed = recorded().get(mutant) if plan_file is None else None
    if (seed is None) == (plan_file is None):
        raise BadRequest("one of the two is replayed: a seed, or a --plan (or what is recorded of a --mutant)")
    if plan_file is None:
        assert seed is not None
        served = None if mutant is None else _is_served(mutant)
        return Plan(seed=seed, names=fault_names(names), lasts_s=lasts_s, served=served)
    try:
        plan = msgspec.json.decode(plan_file.read_bytes(), type=Plan)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{plan_file} has no plan: {error}") from None
    check_faults((fault.name for fault in plan.faults or ()), (*EVERY, *ASKED_FOR))
    return plan


def _is_served(mutant: str) -> bool:
    """Whether the runs that a mutant is convicted by have clients that work over links."""
    from polysite.testing.mutants.serving_table import SERVING_MUTANTS

    return any(known.name == mutant for known in SERVING_MUTANTS)


def _apply(name: str) -> None:
    """Have the modules that are imported from now on contain that fault. BadRequest: there is none of that name."""
    from polysite.testing.mutants.applying import apply
    from polysite.testing.mutants.table import MUTANTS

    edits = {mutant.name: mutant.applied for mutant in MUTANTS}
    if name not in edits:
        raise BadRequest(f"there is no mutant {name!r}")
    apply(edits[name])
