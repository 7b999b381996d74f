"""The tree of commands. Each is imported when it is used, so that the others cost it nothing."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

import click

from polysite.cli import exits
from polysite.errors import OutcomeUnknown, PolysiteError

DEBUG_VARIABLE = "POLYSITE_DEBUG"
"""Set to anything: a defect is told with its traceback."""

COMMANDS: dict[str, str] = {
    "serve": "serving:serve",
    "doctor": "doctor:doctor",
    "keyspace": "schema:keyspace",
    "table": "schema:table",
    "index": "schema:index",
    "put": "rows:put",
    "get": "rows:get",
    "rows": "rows:rows",
    "delete": "rows:delete",
    "lock": "locks:lock",
    "section": "sections:section",
    "export": "exporting:export",
    "import": "importing:import_rows",
    "lab": "lab:lab",
    "sim": "sim:sim",
    "demo": "demo:demo",
    "hash-password": "passwords:hash_password",
    "completion": "completion:completion",
}
"""Name → module of this room and its attribute."""


class Late(click.Group):
    """A group whose commands, its `places`, are imported when they are asked for."""

    places: Mapping[str, str] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = self.places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"polysite.cli.{module}"), attribute)
        return command


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from polysite import __version__

        click.echo(f"polysite {__version__}")
        ctx.exit()


@click.command(cls=Late, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Tell the version.")
def polysite() -> None:
    """Locks that fence and tables that converge, for services that run at several sites.

    Keys are written KEYSPACE/TABLE/KEY…, with % codes for slashes inside. Each command finds its site at its --url, or POLYSITE_URL,
    else at http://127.0.0.1:8390.
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """Carry out the command line and end the process with the code that tells the outcome."""
    try:
        code = polysite.main(arguments, prog_name="polysite", standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as error:
        error.show()
        code = exits.USAGE
    except click.Abort:
        code = exits.SIGNALLED + 2
    except BrokenPipeError:
        # The reader of our output has gone (`… | head`). What is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.SIGNALLED + 13
    except Exception as error:  # noqa: BLE001  # whatever it is, it must not end with a code that means something else
        code = _failed(_cause(error), as_json=_wants_json(sys.argv if arguments is None else arguments))
    sys.exit(code if isinstance(code, int) else exits.DONE)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether programs read the answer; what stands behind `--` is another command's."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours


def _failed(error: Exception, *, as_json: bool) -> int:
    """Say in one line what ended the command; the exit code for it. What is no error of ours is a defect."""
    from polysite.cli.output import tell_error

    if isinstance(error, PolysiteError):
        tell_error(error, as_json=as_json)
        return exits.code_of(error)
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        traceback.print_exception(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    tell_error(OutcomeUnknown(f"the command itself failed: {what}", reason="internal"), as_json=as_json)
    return exits.INTERNAL


def _cause(error: Exception) -> Exception:
    """The error that a group of tasks failed with: the first defect, without one the first error of ours."""
    if not isinstance(error, ExceptionGroup):
        return error
    causes = [_cause(inner) for inner in error.exceptions]
    return next((cause for cause in causes if not isinstance(cause, PolysiteError)), causes[0])
