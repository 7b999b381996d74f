"""The commands of the lab: engines that are fetched, and what is run on them."""

import os
import sys
from types import TracebackType
from typing import Any, Self

import click

from polysite.cli import exits
from polysite.cli.commands import Late
from polysite.cli.output import print_json, print_note
from polysite.lab.engines.fetching import fetch as fetch_release
from polysite.lab.engines.releases import RELEASES, Release, release_of
from polysite.lab.engines.specs import Installation


class LabCommands(Late):
    """Each command is imported when it is used."""

    places = {  # noqa: RUF012  # as the tree of commands has them
        "fetch": "lab:fetch",
        "up": "lab_running:up",
        "status": "lab_running:status",
        "exec": "lab_sites:execute",
        "rtt": "lab_sites:rtt",
        "distance": "lab_sites:distance",
        "cut": "lab_faults:cut",
        "heal": "lab_faults:heal",
        "loss": "lab_faults:loss",
        "reorder": "lab_faults:reorder",
        "freeze": "lab_faults:freeze",
        "kill": "lab_faults:kill",
        "start": "lab_faults:start",
        "skew": "lab_faults:skew",
        "drill": "lab_drill:drill",
        "judge": "lab_drill:judge",
        "logs": "lab_running:logs",
        "down": "lab_running:down",
    }


@click.group(cls=LabCommands)
def lab() -> None:
    """Engines that are fetched, and several sites on this machine."""


@click.command()
@click.argument("engine", type=click.Choice(list(RELEASES)))
@click.option("--verify", is_flag=True, help="Read every byte of what is there; what is not as pinned is fetched anew.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def fetch(engine: str, verify: bool, as_json: bool) -> int:
    """Fetch an engine with Maven, check it against its pinned list, and keep it for the lab and the tests.

    It is kept in the folder that POLYSITE_CACHE names, else in polysite under XDG_CACHE_HOME or ~/.cache. What is there
    already is not fetched again.
    """
    release = release_of(engine)
    with FetchProgress(quiet=as_json) as progress:
        installation = fetch_release(release, os.environ, verify=verify, progress=progress)
    told = _told(release, installation)
    if as_json:
        print_json(told)
    else:
        archive = "with" if told["archive"] else "without"
        click.echo(
            f"{release.about}: {told['jars']} jars, {told['bytes'] / 1e6:.0f} MB, in {told['folder']}, for Java {told['java']}, "
            f"{archive} an archive of loaded classes"
        )
    return exits.DONE


def _told(release: Release, installation: Installation) -> dict[str, Any]:
    return {
        "engine": release.engine,
        "version": release.version,
        "jars": len(installation.jars),
        "bytes": sum(jar.size_bytes for jar in release.jars),
        "folder": str(installation.jars[0].parent),
        "java": installation.java.major,
        "archive": installation.archive is not None,
    }


class FetchProgress:
    """How many jars have arrived: a bar on the error stream if that is a terminal, remarks as lines. Nothing if `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._job: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def arrived(self, count: int, total: int) -> None:
        if self._quiet:
            return
        if not sys.stderr.isatty():
            if count in (0, total):
                print_note(f"jars: {count} of {total}")
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("jars"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._job = self._bar.add_task("jars", total=total)
        self._bar.update(self._job, completed=count, total=total)

    def note(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print_note(text)
