"""What can be made to go wrong in a lab, and made right again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from polysite.cli.lab_options import inject, json_option, tell, with_lab
from polysite.lab.services.service import ENGINE, POLYSITE

if TYPE_CHECKING:
    from polysite.lab.control import Control

C = TypeVar("C", bound=Callable[..., object])

_links = click.argument("sites", metavar="[SITE [SITE]]", nargs=-1)


def service_options(command: C) -> C:
    """Which of a site's processes are meant; neither means all."""
    engine = click.option("--engine", is_flag=True, help="Only the engine.")
    ours = click.option("--polysite", "ours", is_flag=True, help="Only the polysite process.")
    return engine(ours(command))


def services(*, engine: bool, ours: bool) -> tuple[str, ...]:
    """The services meant; none: all."""
    return (*((ENGINE,) if engine else ()), *((POLYSITE,) if ours else ()))


@click.command()
@click.argument("sites", metavar="SITE [SITE]", nargs=-1, required=True)
@click.option("--one-way", is_flag=True, help="Only what the first sends to the second.")
@json_option
@with_lab
def cut(control: "Control", sites: tuple[str, ...], one_way: bool, as_json: bool) -> None:
    """Cut a site off from all others, or two sites from each other."""
    from polysite.lab.faults import Cut

    apart = sites if len(sites) > 1 else (*sites, "all others")
    what = (" → " if one_way else " and ").join(apart)
    inject(control, Cut(sites=sites, one_way=one_way), f"cut: {what}", as_json=as_json)


@click.command()
@_links
@json_option
@with_lab
def heal(control: "Control", sites: tuple[str, ...], as_json: bool) -> None:
    """End cuts, losses and reorderings: all, those of a site, or those between two."""
    from polysite.lab.orders import Heal

    control.order(Heal(sites=sites))
    tell(f"healed: {' and '.join(sites) or 'everything between the sites'}", as_json=as_json)


@click.command()
@click.argument("percent", type=click.FloatRange(0, 100))
@_links
@json_option
@with_lab
def loss(control: "Control", percent: float, sites: tuple[str, ...], as_json: bool) -> None:
    """Lose PERCENT of the packets: everywhere, of a site, or between two; 0 ends it."""
    from polysite.lab.faults import Loss

    inject(control, Loss(share=percent / 100, sites=sites), f"{percent:g} % of the packets get lost", as_json=as_json)


@click.command()
@click.argument("percent", type=click.FloatRange(0, 100))
@_links
@json_option
@with_lab
def reorder(control: "Control", percent: float, sites: tuple[str, ...], as_json: bool) -> None:
    """Let PERCENT of the packets overtake others: everywhere, of a site, or between two; 0 ends it."""
    from polysite.lab.faults import Reorder

    inject(
        control, Reorder(share=percent / 100, sites=sites), f"{percent:g} % of the packets overtake", as_json=as_json
    )


@click.command()
@click.argument("site")
@service_options
@json_option
@with_lab
def freeze(control: "Control", site: str, engine: bool, ours: bool, as_json: bool) -> None:
    """Stop the processes of a site where they are; `start` lets them go on."""
    from polysite.lab.faults import Freeze

    meant = services(engine=engine, ours=ours)
    inject(control, Freeze(site=site, services=meant), f"frozen: {_named(site, meant)}", as_json=as_json)


@click.command()
@click.argument("site")
@service_options
@json_option
@with_lab
def kill(control: "Control", site: str, engine: bool, ours: bool, as_json: bool) -> None:
    """Kill the processes of a site without a warning; `start` starts them again on their data."""
    from polysite.lab.faults import Kill

    meant = services(engine=engine, ours=ours)
    inject(control, Kill(site=site, services=meant), f"killed: {_named(site, meant)}", as_json=as_json)


@click.command()
@click.argument("site")
@service_options
@json_option
@with_lab
def start(control: "Control", site: str, engine: bool, ours: bool, as_json: bool) -> None:
    """Let frozen processes of a site go on, start those that have ended; returns when they are ready."""
    from polysite.lab.control import START_S
    from polysite.lab.orders import Start

    meant = services(engine=engine, ours=ours)
    control.order(Start(site=site, services=meant), answer_s=START_S)
    tell(f"ready: {_named(site, meant)}", as_json=as_json)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("site")
@click.argument("seconds", type=float)
@json_option
@with_lab
def skew(control: "Control", site: str, seconds: float, as_json: bool) -> None:
    """Put the wall clock of a site's polysite process SECONDS ahead, or behind with a minus; 0 puts it right.

    Engines keep the machine's clock.
    """
    from polysite.lab.faults import Skew

    inject(control, Skew(site=site, ahead_s=seconds), f"{site}'s clock is {seconds:+g} s off", as_json=as_json)


def _named(site: str, meant: tuple[str, ...]) -> str:
    return f"{', '.join(meant) or 'everything'} at {site}"
