"""Keys, columns, conditions and files as the command line spells them, and the codes it ends with.

Method: the functions behind the commands by plain calls; nothing is asked of a site.
"""

import io
from decimal import Decimal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from polysite import errors
from polysite.cli import commands, exits, exporting, importing, rows, session
from polysite.client import table_spec
from polysite.errors import BadRequest

SPEC = table_spec(
    "k", "t", {"a": "text", "n": "int", "d": "decimal", "tags": "list<text>", "at": "timestamp"}, partition_key="a"
)


def test_keys_are_split_and_decoded() -> None:
    """A slash inside a value is %2F; other % codes work too, and must be UTF-8."""
    assert session.split_key("k/t/a%2Fb/%C3%BC") == ["k", "t", "a/b", "ü"]
    assert session.split_key("k/t/") == ["k", "t", ""]
    for wrong in ("k", "k/t", "k/t/%FF"):
        with pytest.raises(click.UsageError):
            session.split_key(wrong)


def test_columns() -> None:
    """Plain text by the column's type, JSON after :=, and null only there."""
    found = session.assignments(SPEC, ["a=x=y", "n=5", "d=1.50", 'tags:=["p","q"]', "at:=null"])
    assert found == {"a": "x=y", "n": 5, "d": Decimal("1.50"), "tags": ["p", "q"], "at": None}
    with pytest.raises(BadRequest, match="n:"):
        session.assignments(SPEC, ["n=five"])
    for wrong in ("n", "n:=}"):
        with pytest.raises(click.UsageError):
            session.assignments(SPEC, [wrong])


@pytest.mark.parametrize(
    ("text", "comparison", "value"),
    [("n=5", "eq", 5), ("n>=5", "ge", 5), ("n<5", "lt", 5), ("a=x>y", "eq", "x>y"), ("n:=[1,2]", "in", [1, 2])],
)
def test_conditions(text: str, comparison: str, value: object) -> None:
    """The first sign decides; a JSON list means one of its items."""
    found = rows._condition(SPEC, text)
    assert (found.comparison, found.value) == (comparison, value)
    with pytest.raises(click.UsageError):
        rows._condition(SPEC, "n")


def test_every_error_has_its_exit_code() -> None:
    """Done, refused, try again, unknown and lost are told apart, whatever the error."""
    codes = {error_type: exits.code_of(error_type()) for error_type in errors.all_codes().values()}
    assert codes[errors.LockLost] == 13
    for error_type, code in codes.items():
        if error_type is errors.LockLost:
            continue
        expected = 12 if error_type.outcome == "unknown" else 11 if error_type.retry else 10
        assert code == expected
    assert set(codes.values()) == {10, 11, 12, 13}
    assert set(codes.values()) <= set(exits.MEANINGS)


def test_a_malformed_command_line_ends_with_2() -> None:
    """Nothing was sent; click says what would be right."""
    for arguments in (["put"], ["nothing"], ["get", "a/b/c", "--level", "wrong"]):
        with pytest.raises(SystemExit) as caught:
            commands.run(arguments)
        assert caught.value.code == exits.USAGE


def test_an_unreachable_site_ends_with_11(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing happened and trying again may help; with --json the error is one for programs."""
    monkeypatch.setattr("polysite.client.pacing.RETRY_S_FIRST", 0.0)
    with pytest.raises(SystemExit) as caught:
        commands.run(["get", "k/t/a", "--url", "http://127.0.0.1:1", "--json"])
    assert caught.value.code == exits.TRY_AGAIN
    assert '"code": "site_unreachable"' in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[name] for name in commands.COMMANDS])
def test_every_command_explains_itself(arguments: list[str]) -> None:
    """Each can be imported by its place and has a help text."""
    done = CliRunner().invoke(commands.polysite, [*arguments, "--help"])
    assert done.exit_code == 0
    assert "Usage: polysite" in done.output or "Usage: " in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    """Each shell is given a script that calls polysite back."""
    done = CliRunner().invoke(commands.polysite, ["completion", shell])
    assert "_POLYSITE_COMPLETE" in done.output


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([1], "1"), ([3, 1, 2], "1-3"), ([1, 3, 4, 9], "1,3-4,9"), ([2, 3], "2-3")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    """Runs are drawn together, so that ten thousand rows fit on a line."""
    assert importing.ranges(numbers) == text


def test_csv_records() -> None:
    """Fields by their column's type; null, empty and flawed ones told apart; rows are numbered without the heading."""
    source = 'a,n,tags,at\nx,5,"[""p""]",2020-01-01T00:00:00Z\ny,\\N,,\n,7,\\N,\\N\nz,five,,\nz\n'
    found = list(importing._csv_records(io.StringIO(source), SPEC, "\\N"))
    assert found[0].columns == {"a": "x", "n": 5, "tags": ["p"], "at": "2020-01-01T00:00:00.000Z"}
    assert found[1].columns == {"a": "y", "n": None, "tags": None, "at": None}
    assert found[2].columns["a"] == ""
    assert found[3].flaw is not None
    assert found[3].flaw.startswith("n:")
    assert found[4].flaw is not None
    assert [record.number for record in found] == [1, 2, 3, 4, 5]


def test_json_records() -> None:
    """One object per line; blank lines do not count, others are flawed rows."""
    found = list(importing._json_records(io.StringIO('{"a": "x"}\n\n[1]\n{\n{"a": "y"}\n')))
    assert [(record.number, record.flaw is None) for record in found] == [(1, True), (2, False), (3, False), (4, True)]


def test_the_key_of_a_row_stands_for_its_content() -> None:
    """The same row of the same run has the same key; another number, content or run another one; always sendable."""
    record = importing.Record(1, {"a": "x", "n": 5})
    keys = {
        importing._key_of("run", record),
        importing._key_of("run", importing.Record(2, record.columns)),
        importing._key_of("run", importing.Record(1, {"a": "x", "n": 6})),
        importing._key_of("other run", record),
    }
    assert len(keys) == 4
    assert importing._key_of("run", importing.Record(1, {"n": 5, "a": "x"})) in keys
    assert all(key.isascii() and " " not in key and len(key) <= 255 for key in keys)


@pytest.mark.parametrize(
    ("form", "path", "found"),
    [(None, "x.csv", "csv"), (None, "x.ndjson", "ndjson"), (None, None, "ndjson"), ("csv", "x.json", "csv")],
)
def test_the_format_of_a_file(form, path, found) -> None:  # type: ignore[no-untyped-def]
    """Said, or by the file's ending."""
    assert exporting.form_of(form, Path(path) if path else None) == found
