"""A service at a site as a value. The keeper of the lab starts it and asks whether it is ready; it knows no engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

POLYSITE = "polysite"
ENGINE = "engine"
"""Where services are named: every one at the site but polysite."""


class Command(NamedTuple):
    """A process to start: `log` takes both of its output streams, `variables` are put over the environment."""

    argv: Sequence[str]
    folder: Path
    log: Path
    variables: Mapping[str, str] = {}


class HttpProbe(NamedTuple):
    """Ready when a GET of `path` is answered with 200."""

    address: str
    port: int
    path: str


class CommandProbe(NamedTuple):
    """Ready when this command, run at the site, ends with 0."""

    argv: Sequence[str]


class Service(NamedTuple):
    """What runs at a site, the files it is given before, and when it is ready. `files`: path → content.

    `gentle_s`: how long it may take to end when asked to. `more_logs`: what it writes beside its output. `stage`:
    services of a stage are started side by side, when those of the stage before are ready.
    """

    site: str
    name: str
    command: Command
    files: Mapping[Path, str]
    probe: HttpProbe | CommandProbe
    gentle_s: float = 5.0
    more_logs: tuple[Path, ...] = ()
    stage: int = 0
    passing_code: int | None = None
    """The exit code of an end for a passing reason; None: it has none."""
