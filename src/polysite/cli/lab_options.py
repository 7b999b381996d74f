"""What the commands of a running lab share: its folder, and answers for programs."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from polysite.cli.output import print_json
from polysite.lab.state import FOLDER_DEFAULT

if TYPE_CHECKING:
    from polysite.lab.control import Control
    from polysite.lab.faults import Fault

P = ParamSpec("P")
R = TypeVar("R")

folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER_DEFAULT,
    show_default=True,
    help="The lab's folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def with_lab(command: "Callable[Concatenate[Control, P], R]") -> Callable[..., R]:
    """Give a command the lab that is up in the folder it is told."""

    @folder_option
    @functools.wraps(command)
    def found(folder: Path, *arguments: P.args, **named: P.kwargs) -> R:
        from polysite.lab.control import Control

        return command(Control(folder), *arguments, **named)

    return found


def inject(control: "Control", fault: "Fault", sentence: str, *, as_json: bool) -> None:
    """Make it go wrong and say so. Refused, with what is missing, where this lab cannot."""
    from polysite.errors import Refused

    if missing := fault.missing(control.state.plan):
        raise Refused(f"this needs {missing}")
    fault.inject(control)
    tell(sentence, as_json=as_json)


def tell(sentence: str, *, as_json: bool, **more: Any) -> None:
    """The sentence; for programs that it is done, and what else is known."""
    if as_json:
        print_json({"outcome": "done", **more})
    else:
        click.echo(sentence)
