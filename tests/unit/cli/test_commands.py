"""What a command ends with and says when it fails.

Method: commands made for the test stand in the tree in place of the real ones.
"""

import json

import click
import pytest

from polysite.cli import commands, exits
from polysite.errors import BadRequest, LockLost, Overloaded


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int:
    """The exit code of a command that raises `error`."""

    @click.command()
    @click.option("--json", is_flag=True)
    @click.argument("rest", nargs=-1)
    def failing(json: bool, rest: tuple[str, ...]) -> None:
        raise error

    monkeypatch.setattr(commands.Late, "get_command", lambda *_: failing)
    with pytest.raises(SystemExit) as end:
        commands.run(["failing", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_defect_is_one_line_and_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: a script cannot take a defect for `there is no such row`. Method: raise what nobody foresaw, and ask for the
    traceback the second time."""
    monkeypatch.delenv(commands.DEBUG_VARIABLE, raising=False)
    assert ended(monkeypatch, ValueError("two\nlines")) == exits.INTERNAL
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "outcome_unknown (unknown): the command itself failed: ValueError: two lines"
    assert ended(monkeypatch, ValueError("x"), "--json") == exits.INTERNAL
    assert json.loads(capsys.readouterr().err)["attributes"] == {"reason": "internal"}
    assert ended(monkeypatch, ValueError("x"), "--", "--json") == exits.INTERNAL
    assert capsys.readouterr().err.startswith("outcome_unknown (unknown)")
    monkeypatch.setenv(commands.DEBUG_VARIABLE, "1")
    assert ended(monkeypatch, ValueError("x")) == exits.INTERNAL
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([Overloaded(), BadRequest()], exits.TRY_AGAIN),
        ([ExceptionGroup("inner", [LockLost()])], exits.LOCK_LOST),
        ([BadRequest(), ValueError("x")], exits.INTERNAL),
    ],
)
def test_a_group_of_tasks_fails_as_its_error_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], errors: list[Exception], code: int
) -> None:
    """Goal: work done side by side ends as the error in it would alone; a defect is never hidden behind a refusal."""
    assert ended(monkeypatch, ExceptionGroup("tasks", errors)) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
