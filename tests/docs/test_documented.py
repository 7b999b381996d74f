"""Nothing that a user can meet goes without a line in the docs.

Method: take the list from the source (error codes, settings, routes, commands, exit codes) and look for each in its reference page, together with
what the page claims of it; and the other way round, so that nothing documented is gone.
"""

import re

import msgspec
import pytest

from polysite import errors
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.server.problems import STATUS
from polysite.server.settings import Settings, setting_names, variable_name
from scripts import generate_reference
from tests.support.source import ROOT

ERRORS_PAGE = (ROOT / "docs" / "errors.md").read_text()
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()


def test_every_error_code_is_documented() -> None:
    """Each code has its heading with class, outcome, retry and status as the source has them; no heading is left over."""
    codes = errors.all_codes()
    assert sorted(re.findall(r"^## (\S+)$", ERRORS_PAGE, re.MULTILINE)) == sorted(codes)
    for code, error_type in codes.items():
        retry = "yes" if error_type.retry else "no"
        facts = f"## {code}\n\n`{error_type.__name__}` · outcome {error_type.outcome} · retry {retry} · HTTP {STATUS[code]}\n"
        assert facts in ERRORS_PAGE, f"docs/errors.md should have:\n{facts}"


def default_in(section: type[msgspec.Struct], member: str) -> str:
    field = next(field for field in msgspec.structs.fields(section) if field.name == member)
    if field.default is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default).decode()
    return (
        "required"
        if field.default_factory is msgspec.NODEFAULT
        else msgspec.json.encode(field.default_factory()).decode()
    )


def test_every_setting_is_documented() -> None:
    """Each setting has a row with its name, variable and default; no row is left over."""
    defaults = msgspec.to_builtins(Settings())
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (`[A-Z0-9_]+` \| `[^`]*`) \|", SETTINGS_PAGE, re.MULTILINE))
    wanted = {}
    for name, _ in setting_names():
        section, _, member = name.partition(".")
        if defaults[section] is None:  # a section that may be left out, with members that may not
            default = default_in(CassandraSettings, member)
        else:
            default = msgspec.json.encode(defaults[section][member]).decode()
        wanted[name] = f"`{variable_name(name)}` | `{default}`"
    assert rows == wanted


@pytest.mark.parametrize("table", list(generate_reference.TABLES))
def test_reference_tables_are_current(table: str) -> None:
    """Routes, commands and exit codes stand in the docs as the source has them; `scripts/generate_reference.py` mends it."""
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert f"<!-- generated: {table} -->\n{generate_reference.TABLES[table]()}\n<!-- end -->" in pages
