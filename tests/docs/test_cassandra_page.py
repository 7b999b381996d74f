"""The operator's page on Cassandra says what the source says: outcomes, settings, what is checked."""

import re
from typing import get_args

import msgspec

from polysite.engines.cassandra.checks import LIMITS, PAXOS
from polysite.engines.cassandra.outcomes import DONE, TABLE, Kind, Meaning, Work
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import OutcomeUnknown
from tests.support.source import ROOT

PAGE = (ROOT / "docs" / "cassandra.md").read_text()
WORKS: tuple[Work, ...] = ("read", "write", "conditional")


def word(meaning: Meaning) -> str:
    return "done" if meaning == DONE else "unknown" if meaning is OutcomeUnknown else "refused"


def test_the_table_of_outcomes_is_the_one_in_force() -> None:
    """Every failure has its row, with the outcome for each kind of work that the source gives it; no row is left over."""
    table = PAGE.split("<!-- outcomes -->")[1].split("<!-- end -->")[0]
    told: dict[str, list[str]] = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for kind in re.findall(r"`(\w+)`", cells[0].partition(":")[0]):
            told[kind] = cells[1:]
    wanted = {kind: [word(getattr(TABLE[kind], work)) for work in WORKS] for kind in get_args(Kind)}
    assert told == wanted


def test_the_settings_it_speaks_of_are_there() -> None:
    """Each setting in the page's own table is a member of the settings."""
    section = PAGE.split("## Settings")[1].split("## ")[0]
    told = {
        name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert told
    assert told <= {field.name for field in msgspec.structs.fields(CassandraSettings)}


def test_what_is_checked_is_told() -> None:
    """Each of the server's settings that can keep polysite from starting is on the page, but for limits nobody shortens."""
    seldom = {"range_request_timeout", "request_timeout"}
    assert not [name for name in (*PAXOS, *LIMITS) if f"`{name}`" not in PAGE and name not in seldom]
