"""Start a server process."""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polysite.cli import URL_DEFAULT

if TYPE_CHECKING:
    from polysite.clock import Runtime

SKEW_VARIABLE = "POLYSITE_LAB_SKEW_FILE"
"""Set by `polysite lab` alone."""

HINTS = """\
polysite listens on {url}

try, in another terminal:{elsewhere}
  {polysite} keyspace create voting
  {polysite} table create voting/votes name:text count:int --key name
  {polysite} lock hold voting/votes/ana -- sh -c 'echo my fencing token is $POLYSITE_FENCING_TOKEN'

Ctrl-C ends it, after the sections under way.
"""


@click.command()
@click.option("--host", help="The address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port; 0 takes a free one. [default: 8390]")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is kept. [default: polysite-data]",
)
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A TOML file of settings.")
@click.option(
    "--music-properties",
    "properties",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A property file of MUSIC 3.x, whose settings hold where no other names them.",
)
@click.option("--insecure", is_flag=True, help="Serve without bearer credentials on an address that others reach.")
def serve(
    host: str | None,
    port: int | None,
    data: Path | None,
    config: Path | None,
    properties: Path | None,
    insecure: bool,
) -> int:
    """Start one process of a site. Stops gently on Ctrl-C or SIGTERM."""
    _pass_over_rich()
    from polysite._open import build_coordinator
    from polysite.server.run import serve as serve_site
    from polysite.server.settings import load_settings

    flags = {
        "server.host": host,
        "server.port": port,
        "store.data": str(data) if data is not None else None,
        "server.insecure": True if insecure else None,
    }
    loaded = load_settings(
        path=config, environ=os.environ, flags=flags, base=None if properties is None else _base(properties)
    )
    return serve_site(loaded.settings, build_coordinator, ready=_tell, runtime=_runtime())


def _base(properties: Path) -> dict[str, tuple[object, str]]:
    """The settings that a property file comes to; what has no effect is told."""
    from polysite.server.v2.properties import read_properties

    found: dict[str, tuple[object, str]] = {}
    for told in read_properties(properties):
        if told.reason:
            click.echo(f"{told.name} has no effect: {told.reason}", err=True)
        for name, value in told.settings.items():
            found[name] = (value, f"music property {told.name}")
    return found


def _runtime() -> "Runtime | None":
    """The machine's; in a lab that skews clocks, with its clock."""
    if not os.environ.get(SKEW_VARIABLE):
        return None
    from polysite.clock import Runtime
    from polysite.lab.skew import SkewedClock

    return Runtime(clock=SkewedClock(Path(os.environ[SKEW_VARIABLE])))


def _pass_over_rich() -> None:
    """Import the logging library without what it would draw tracebacks in colour with: a server's log has none, and it is a
    fifth of all that a start takes. Only here, where the process is ours."""
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # what Python takes for `there is no such module`
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


def _tell(url: str) -> None:
    """Where it listens and what to try, once it answers."""
    elsewhere = "" if url == URL_DEFAULT else f"\n  export POLYSITE_URL={url}"
    sys.stdout.write(HINTS.format(url=url, elsewhere=elsewhere, polysite=_command()))
    sys.stdout.flush()


def _command() -> str:
    """How a reader calls this command: by its name if a shell finds it so, else by the place it was called at."""
    import shutil

    called = Path(sys.argv[0])
    found = shutil.which("polysite")
    if called.name != "polysite" or (found is not None and Path(found).resolve() == called.resolve()):
        return "polysite"
    return str(called)
