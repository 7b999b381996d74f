"""The commands of the simulation: the coordinator in a bad world that a seed decides."""

import re
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
    from polysite.testing.world.running import Verdict


class SimCommands(Late):
    """Each command is imported when it is used."""

    places = {  # noqa: RUF012  # as the tree of commands has them
        "run": "sim:run",
        "replay": "sim:replay",
        "judge": "sim:judge",
        "mutants": "sim:mutants",
        "faults": "sim:faults",
    }


@click.group(cls=SimCommands)
def sim() -> None:
    """The coordinator in a simulated bad world: same seed, same run."""


json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
faults_option = click.option(
    "--faults", "names", default="", help="Only these faults, separated by commas (`polysite sim faults` lists them)."
)


@click.command()
@click.option("--seeds", default="1..100", show_default=True, help="The runs: FIRST..LAST, or one seed.")
@faults_option
@click.option("--jobs", type=click.IntRange(1), help="Processes side by side; one per processor unless it is said.")
@json_option
def run(seeds: str, names: str, jobs: int | None, as_json: bool) -> int:
    """Run the coordinator through a fault schedule per seed, and judge every history.

    Ends with 0 if nothing was found against it, else with 10; `polysite sim replay SEED` shows a run again.
    """
    from polysite.testing.world.campaign import total, verdicts
    from polysite.testing.world.running import Plan

    chosen = fault_names(names)
    plans = [Plan(seed=seed, names=chosen) for seed in seeds_of(seeds)]
    whole = total(verdicts(plans, jobs=jobs))
    if as_json:
        print_json(msgspec.to_builtins(whole))
    else:
        for line in told(whole):
            click.echo(line)
    return exits.REFUSED if whole.illegal else exits.DONE


@click.command()
@click.argument("seed", type=int)
@faults_option
@click.option(
    "--history", type=click.Path(dir_okay=False, path_type=Path), help="Write the history there, for `sim judge`."
)
@json_option
def replay(seed: int, names: str, history: Path | None, as_json: bool) -> int:
    """One run again, by its seed: its faults, its trace, its verdict. Ends as `run` does."""
    from polysite.testing.world.campaign import quiet
    from polysite.testing.world.running import Plan, carried_out

    plan = Plan(seed=seed, names=fault_names(names))
    with quiet():
        verdict = carried_out(plan)
    if history is not None and verdict.history is not None:
        history.write_bytes(verdict.history.encode())
    if as_json:
        print_json({**_shown(verdict), "schedule": msgspec.to_builtins(plan.schedule)})
    else:
        for fault in plan.schedule:
            where = "-".join(filter(None, (fault.site, fault.other)))
            click.echo(f"{fault.at_s:7.2f} s  for {fault.lasts_s:5.2f} s  {fault.name} ({where}, {fault.amount:+.2f})")
        click.echo(f"{verdict.calls} calls: {verdict.done} done, {verdict.refused} refused, {verdict.unknown} unknown")
        click.echo(f"trace {verdict.trace_hash}, {verdict.steps} steps, {verdict.elapsed_s:.3f} virtual seconds")
        _tell_findings(verdict)
    return exits.REFUSED if verdict.findings else exits.DONE


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plain", multiple=True, metavar="TABLE", help="Rows of this table are written without locks.")
@json_option
def judge(files: tuple[Path, ...], plain: tuple[str, ...], as_json: bool) -> int:
    """Judge histories that were written to files. Ends with 0 if nothing is found against them, else with 10."""
    from polysite.testing.history import History
    from polysite.testing.judge import judge as judged

    findings = judged(History.read(*files), plain=plain)
    if as_json:
        print_json({"findings": findings})
    else:
        for finding in findings or ["nothing is found against it"]:
            click.echo(finding)
    return exits.REFUSED if findings else exits.DONE


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--search", type=click.IntRange(0), default=0, metavar="N", help="Try the seeds below N where none is known."
)
@click.option("--record", "keep", is_flag=True, help="Keep the seeds that were found, in the project's file.")
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
            told_by = (
                f"yes   seed {one.seed:<6} after {one.runs:<4} {one.finding[:110]}" if one.seed is not None else "NO"
            )
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
    from polysite.testing.world.faults import NAMES

    if as_json:
        print_json(list(NAMES))
    else:
        for name in NAMES:
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
    from polysite.testing.world.faults import NAMES

    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in chosen:
        if name not in NAMES:
            raise BadRequest(f"there is no fault {name!r}; there are: {', '.join(NAMES)}")
    return chosen


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


def _tell_findings(verdict: "Verdict") -> None:
    for finding in verdict.findings or ["nothing is found against it"]:
        click.echo(finding)
