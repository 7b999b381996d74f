"""The demonstration: three sites in this process, in real time, with what happens to them."""

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

import click

from polysite.cli import exits

if TYPE_CHECKING:
    from polysite.testing.world.demo import Demo

SHOWN_S = 0.5


@click.command()
def demo() -> int:
    """Three sites 50 ms apart, a counter raised from all, one site killed and revived, a zombie fenced. Half a minute.

    Needs no engine, no Java, no root. Ends with 0 if the judge finds nothing against what was done, else with 10.
    """
    logging.disable(logging.CRITICAL)  # a killed site's complaints are no news here
    return asyncio.run(_shown(Screen(live=sys.stdout.isatty())))


class Screen:
    """A table that is drawn again and again below the lines that stay; without a terminal, the lines alone and the table at the end."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._drawn = 0

    def say(self, line: str) -> None:
        self._clear()
        click.echo(line)

    def draw(self, lines: list[str], *, last: bool = False) -> None:
        if self._live or last:
            self._clear()
            for line in lines:
                click.echo(line)
            self._drawn = 0 if last else len(lines)

    def _clear(self) -> None:
        if self._drawn:
            click.echo(f"\x1b[{self._drawn}A\x1b[J", nl=False)
            self._drawn = 0


async def _shown(screen: Screen) -> int:
    from polysite.testing.world.demo import Demo

    shown = Demo(screen.say)
    running = asyncio.ensure_future(shown.run())
    while not running.done():
        screen.draw(_table(shown))
        await asyncio.wait({running}, timeout=SHOWN_S)
    findings = running.result()
    screen.draw(_table(shown), last=True)
    click.echo("")
    click.echo(
        f"{'operation':24} {'round trips':>11} {'ms':>7} {'times':>6}   (in the middle; waiting for others included)"
    )
    for name, trips, took_ms, times in shown.costs():
        click.echo(f"{name:24} {trips:11g} {took_ms:7.0f} {times:6}")
    click.echo("")
    for finding in findings:
        click.echo(finding)
    click.echo(
        "verdict: "
        + (f"{len(findings)} findings" if findings else "nothing acknowledged was lost, nothing late was read")
    )
    return exits.REFUSED if findings else exits.DONE


def _table(shown: "Demo") -> list[str]:
    lines = [f"{'site':6} {'state':8} {'raised':>7} {'failed':>7}"]
    lines += [
        f"{site:6} {state:8} {shown.raised[site]:7} {shown.failed[site]:7}" for site, state in shown.states.items()
    ]
    return [*lines, f"counter {shown.value}"]
