"""Being at a site, and how far the sites are from each other."""

import os
from typing import TYPE_CHECKING

import click

from polysite.cli.lab_options import json_option, tell, with_lab
from polysite.cli.output import print_json, print_table
from polysite.lab.topology import PROFILES

if TYPE_CHECKING:
    from polysite.lab.control import Control


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("site")
@click.argument("command", metavar="-- COMMAND…", nargs=-1, required=True, type=click.UNPROCESSED)
@with_lab
def execute(control: "Control", site: str, command: tuple[str, ...]) -> int:
    """Run COMMAND at a site, in its network; ends as COMMAND does.

    Our commands find the site's process through POLYSITE_URL. Whatever COMMAND leaves running ends with the lab.
    """
    from polysite.lab.entering import run_at

    return run_at(control, site, command, os.environ)


@click.command()
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="Echoes per direction.")
@json_option
@with_lab
def rtt(control: "Control", count: int, as_json: bool) -> None:
    """Measure the round trips between the sites, now."""
    found = control.rtt(count)
    if as_json:
        print_json(found)
        return
    print_table(
        ["from", "to", "planned ms", "median ms", "least", "most", "lost"],
        [[p.source, p.target, p.planned_ms, p.median_ms, p.least_ms, p.most_ms, f"{p.lost} of {count}"] for p in found],
    )


@click.command()
@click.option("--rtt-ms", type=float, help="The round trip between each two sites.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Distances of real cities.")
@json_option
@with_lab
def distance(control: "Control", rtt_ms: float | None, profile: str | None, as_json: bool) -> None:
    """Change how far apart the sites are, while they run."""
    from polysite.lab.orders import Distance
    from polysite.lab.topology import plan

    if (rtt_ms is None) == (profile is None):
        raise click.UsageError("give either --rtt-ms or --profile")
    before = control.state.plan
    topology = plan(lab=before.lab, sites=before.topology.names, rtt_ms=rtt_ms, profile=profile)
    control.order(Distance(rtt_ms=topology.rtt_ms))
    tell("the sites are as far apart as asked", as_json=as_json)
