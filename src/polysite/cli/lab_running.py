"""A lab from its beginning to its end: up, status, down, and what it logged."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from polysite.cli import exits
from polysite.cli.lab_options import folder_option, json_option, tell, with_lab
from polysite.cli.output import print_json, print_note, print_table
from polysite.errors import UnknownKey
from polysite.lab.services.service import POLYSITE
from polysite.lab.state import EMBEDDED, FOLDER_DEFAULT, PORT
from polysite.lab.topology import PROFILES, RTT_MS_DEFAULT, SITES_DEFAULT

if TYPE_CHECKING:
    from polysite.lab.control import Control
    from polysite.lab.orders import LabStatus, SiteStatus

DRIVERS = ("cassandra-driver", "acsylla")
LINES_DEFAULT = 20
FOLLOW_S = 0.2


@click.command()
@folder_option
@click.option("--sites", default=",".join(SITES_DEFAULT), show_default=True, help="Their names, separated by commas.")
@click.option("--rtt-ms", type=float, help=f"The round trip between each two sites. [default: {RTT_MS_DEFAULT:g}]")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Distances of real cities, instead of --rtt-ms.")
@click.option("--store", default=EMBEDDED, show_default=True, help="The engine of the rows.")
@click.option("--cells", help="The engine of the lock cells. [default: that of --store]")
@click.option(
    "--driver", type=click.Choice(DRIVERS), help="The Cassandra driver of the sites' processes. [default: theirs]"
)
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=PORT, show_default=True, help="Of the sites' processes."
)
@click.option(
    "--run",
    type=click.Choice(["all", "engines", "nothing"]),
    default="all",
    show_default=True,
    help="What to start at the sites.",
)
@click.option("--keep", is_flag=True, help="Go on with the data of the last lab in this folder.")
@click.option("--loopback", is_flag=True, help="On this machine's loopback, without networks, delays or cuts.")
@json_option
def up(
    folder: Path,
    sites: str,
    rtt_ms: float | None,
    profile: str | None,
    store: str,
    cells: str | None,
    driver: str | None,
    port: int,
    run: Literal["all", "engines", "nothing"],
    keep: bool,
    loopback: bool,
    as_json: bool,
) -> int:
    """Start several sites on this machine, as far apart as asked, and return when all are ready.

    Each site is a network of its own, joined to the others by a process that delays every packet. It needs Linux, root and
    /dev/net/tun; without them the sites are on loopback with no delay between them, and it says so. The lab goes on until
    `polysite lab down`, or until its keeper ends; nothing of it outlives the keeper.
    """
    from polysite.cli.lab import FetchProgress
    from polysite.lab.engines import fetch, release_of
    from polysite.lab.launching import launch, make_plan
    from polysite.lab.services.planning import engines_of

    plan = make_plan(
        sites=tuple(name.strip() for name in sites.split(",")),
        rtt_ms=rtt_ms,
        profile=profile,
        loopback=loopback,
        store=store,
        cells=cells or store,
        driver=driver or "",
        run=run,
        port=port,
    )
    for engine in engines_of(plan):
        with FetchProgress(quiet=as_json) as progress:
            fetch(release_of(engine), os.environ, progress=progress)
    if plan.why_loopback:
        print_note(f"missing here: {plan.why_loopback}. So the sites are on loopback: no delay, no loss, no cuts.")
    with contextlib.closing(launch(folder, plan, keep=keep)) as events:
        for event in events:
            if not as_json and (line := _line_of(event)):
                click.echo(line)
    from polysite.lab.control import Control

    status = Control(folder).status()
    if as_json:
        print_json(status)
    else:
        _say_how(status, folder)
    return exits.DONE


def _line_of(event: dict[str, Any]) -> str:
    """One line for people; "" for what they need not hear."""
    match event["event"]:
        case "networks":
            told = f"networks of {', '.join(event['sites'])} are joined"
        case "loopback":
            told = f"{', '.join(event['sites'])} are on loopback"
        case "ready":
            told = f"{event['site']}: {event['service']} is ready, after {event['took_s']:.1f} s"
        case "again":
            told = f"{event['site']}: {event['service']} ended for a passing reason and is started again"
        case "up":
            told = "the lab is up"
        case _:
            return ""
    return f"{event['at_s']:6.1f} s  {told}"


def _say_how(status: "LabStatus", folder: Path) -> None:
    """How to talk to each site."""
    where = "" if str(folder) == FOLDER_DEFAULT else f" --dir {folder}"
    click.echo("\nto be at a site, where our commands find its process by themselves:")
    for site in status.sites:
        there = "polysite doctor" if any(service.name == POLYSITE for service in site.services) else "sh"
        click.echo(f"  polysite lab exec{where} {site.name} -- {there}    # {site.url}")
    click.echo(f"\npolysite lab status{where} shows it, polysite lab down{where} ends it.")


@click.command()
@json_option
@with_lab
def status(control: "Control", as_json: bool) -> None:
    """Show the sites, what runs there, and what is wrong between them."""
    from polysite.lab.entering import pids_outside

    found = control.status()
    pids = pids_outside(control.keeper_pid()) if found.mode == "network" else {}
    if as_json:
        value = msgspec.to_builtins(found)
        for site in value["sites"]:
            for service in site["services"]:
                service["pid"] = pids.get(service["pid"], service["pid"])
        print_json(value)
        return
    print_table(
        ["site", "address", "services", "clock"],
        [[site.name, site.url, _services(site, pids), _clock(site)] for site in found.sites],
    )
    for line in _remarks(found):
        click.echo(line)


def _services(site: "SiteStatus", pids: dict[int, int]) -> str:
    """`polysite ready (1234)`, several separated by commas."""
    told = []
    for service in site.services:
        if service.state == "ended":
            how = "" if service.exit_code is None else f" with {service.exit_code}"
            told.append(f"{service.name} ended{how}")
        else:
            told.append(f"{service.name} {service.state} ({pids.get(service.pid, service.pid)})")
    return ", ".join(told) or "-"


def _clock(site: "SiteStatus") -> str:
    return "true" if not site.skew_s else f"{site.skew_s:+g} s"


def _remarks(found: "LabStatus") -> Iterator[str]:
    """What is not as planned, and what became of the packets."""
    yield f"\nlab {found.lab}, up for {found.up_s:.0f} s; rows: {found.store}, cells: {found.cells}"
    if found.packets is None:
        yield f"on loopback: no delay, no cuts{f' (missing: {found.why_loopback})' if found.why_loopback else ''}"
        return
    for link in found.links:
        for wrong, how in (
            (link.cut, "cut"),
            (link.loss, f"loses {link.loss:.1%}"),
            (link.reorder, f"reorders {link.reorder:.1%}"),
        ):
            if wrong:
                yield f"{link.source} → {link.target}: {how}"
    packets = found.packets
    yield f"packets: {packets.carried} carried, {packets.dropped} lost; the latest was {packets.late_ms_max:g} ms late"


@click.command()
@folder_option
@json_option
def down(folder: Path, as_json: bool) -> int:
    """End the lab: its processes, networks and devices. Data and logs stay in its folder."""
    from polysite.lab.control import Control

    try:
        control = Control(folder)
    except UnknownKey:
        tell("no lab is up there", as_json=as_json, was_up=False)
        return exits.DONE
    control.down()
    tell("the lab is down", as_json=as_json, was_up=True)
    return exits.DONE


@click.command()
@click.argument("site", required=False)
@folder_option
@click.option(
    "--lines", type=click.IntRange(min=0), default=LINES_DEFAULT, show_default=True, help="The last so many of each."
)
@click.option("--follow", is_flag=True, help="Go on as they grow, until Ctrl-C.")
def logs(site: str | None, folder: Path, lines: int, follow: bool) -> int:
    """Show what a site logged, or without SITE the lab itself."""
    from polysite.lab.state import LabFolder

    places = LabFolder(folder)
    state = places.read()
    if state is None:
        raise UnknownKey("there is no lab in this folder, and was none")
    found = [places.log]
    if site is not None:
        state.plan.topology.index(site)
        found = sorted(places.site(site).rglob("*.log"))
    for path in found:
        if len(found) > 1:
            click.echo(f"==> {path.relative_to(places.path)} <==")
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text(encoding="utf-8", errors="replace").splitlines()
            click.echo("\n".join(text[max(0, len(text) - lines) :]))
    if follow:
        _follow(found)
    return exits.DONE


def _follow(paths: list[Path]) -> None:
    """Write what is appended, until somebody interrupts."""
    from polysite.client.pacing import Pace

    pace = Pace()
    read = {path: path.stat().st_size for path in paths if path.exists()}
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for path, at in read.items():
                with path.open("rb") as file:
                    file.seek(at)
                    new = file.read()
                read[path] = at + len(new)
                sys.stdout.write(new.decode(errors="replace"))
            sys.stdout.flush()
            pace.sleep_s(FOLLOW_S)
