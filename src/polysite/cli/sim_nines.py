"""`polysite sim nines`: how available the sites are together, measured in the simulated world."""

import click
import msgspec

from polysite.cli import exits
from polysite.cli.output import print_json


@click.command()
@click.option(
    "--sites",
    type=click.Choice(["3", "5"]),
    help="Only three sites of 99.9 %, or five of 99 %; both unless it is said.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same figures.")
@click.option("--quick", is_flag=True, help="Each kind of moment a few times, however sure that makes it.")
@click.option(
    "--steady", type=click.IntRange(1), help="Runs of each state in which nothing changes, for a closer look at it."
)
@click.option("--jobs", type=click.IntRange(1), help="Processes side by side; one per processor unless it is said.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def nines(sites: str | None, seed: int, quick: bool, steady: int | None, jobs: int | None, as_json: bool) -> int:
    """The share of requests that succeed within 2 s while sites go down and come back, and where each failure came from.

    Half of the requests are eventual, half one-shot sections. Takes minutes; ends with 0 if both are as available as they are held to be, else with 10.
    """
    from polysite.testing.nines.measuring import SETTINGS, STEADY_RUNS, measure
    from polysite.testing.nines.report import shown, told

    kept = True
    answers = []
    for setting in SETTINGS:
        if sites is not None and setting.sites != int(sites):
            continue
        measured = measure(
            setting,
            seed=seed,
            jobs=jobs,
            quick=quick,
            steady_runs=steady or STEADY_RUNS,
            tell=lambda line: click.echo(line, err=True),
        )
        kept = kept and measured.is_kept
        if as_json:
            answers.append(shown(measured))
        else:
            for line in told(measured):
                click.echo(line)
    if as_json:
        print_json(msgspec.to_builtins(answers))
    return exits.DONE if kept else exits.REFUSED
