"""Drills: a scenario on the lab that is up, under load, and what came of it."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from polysite.cli import exits
from polysite.cli.lab_options import json_option, with_lab
from polysite.cli.output import print_json, print_note
from polysite.lab.scenarios.named import SCENARIOS

if TYPE_CHECKING:
    from polysite.lab.control import Control
    from polysite.lab.drills.record import Run

VERDICTS = {"ok": "ok", "failed": "FAILED", "unknown": "UNKNOWN"}


@click.command()
@click.argument("name", type=click.Choice(list(SCENARIOS)))
@click.option("--site", help="The site that is struck. [default: the last one]")
@click.option("--rounds", type=click.IntRange(1, 10_000), help="How often it happens, for freeze-holder. [default: 10]")
@json_option
@with_lab
def drill(control: "Control", name: str, site: str | None, rounds: int | None, as_json: bool) -> int:
    """Make something go wrong while clients at every site work, then judge what they were told.

    Every call is written to a history, which can be judged again (`polysite lab judge`). Ends with 0 if every check holds, with
    10 if one failed, with 12 if one could not be told.
    """
    from polysite.lab.drills.conductor import Conductor, majority_rtt_ms
    from polysite.lab.scenarios.named import scenario

    names = control.state.plan.topology.names
    w_s = majority_rtt_ms(names, control.status().links) / 1000
    planned = scenario(name, site or names[-1], names, rounds=rounds, w_s=w_s)
    conductor = Conductor(control, planned, (lambda _: None) if as_json else click.echo)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exits.SIGNALLED + signal.SIGTERM))  # the clients end with us
    run = conductor.run()
    if not as_json:
        print_note(f"histories: {conductor.folder}")
    return report(run, conductor.folder, as_json=as_json)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def judge(folder: Path, as_json: bool) -> int:
    """Judge a drill of before again, from its folder. Ends as `drill` does."""
    from polysite.lab.drills.conductor import read_run

    return report(read_run(folder), folder, as_json=as_json)


def report(run: "Run", folder: Path, *, as_json: bool) -> int:
    """Timeline, checks, what the judge found as a picture, and figures; the exit code."""
    from polysite.lab.drills.checks import checks, figures, judged
    from polysite.lab.drills.timeline import spans, strikes, timeline
    from polysite.testing.history import History
    from polysite.testing.judging.explaining import explained

    history = History.read(*sorted(folder.glob("history-*.ndjson")))
    found, measured = checks(run, history), figures(run, history)
    if as_json:
        print_json({"run": msgspec.to_builtins(run), "checks": found, "figures": measured})
    else:
        for line in timeline(run, history):
            click.echo(line)
        click.echo("\nwhat failed:")
        for line in [*spans(run, history)] or ["nothing"]:
            click.echo(f"  {line}")
        click.echo("")
        for check in found:
            click.echo(f"{VERDICTS[check.verdict]:8}{check.name}: {check.finding}")
        for line in explained(
            history, judged(history), judged, sites=run.sites, strikes=strikes(run), origin_s=run.began_s
        ):
            click.echo(line)
        click.echo("")
        for figure in measured:
            shown = "-" if figure.value is None else f"{figure.value:g} {figure.unit}".strip()
            click.echo(f"{figure.name}: {shown}")
    verdicts = {check.verdict for check in found}
    return exits.REFUSED if "failed" in verdicts else exits.UNKNOWN if "unknown" in verdicts else exits.DONE
