"""The page for those who come from MUSIC 3.x tells the truth: each difference has its reason and a test that there is.

Method: the rows of its tables, against the tests, and against the table of differences that the recorded exchanges are compared with.
"""

import ast
import json
import re

import pytest

from tests.support.exchanges import FOLDER
from tests.support.source import ROOT, functions

PAGE = (ROOT / "docs" / "music3.md").read_text()
ROWS = {
    name: (text, test) for name, text, test in re.findall(r"^\| (\w+) \| (.+) \| `(test_\w+)` \|$", PAGE, re.MULTILINE)
}
REASONS: dict[str, str] = json.loads((FOLDER / "differences.json").read_text())["reasons"]
NUMBERED = [f"Q{number}" for number in range(1, 32)] + [f"B{number}" for number in range(20, 43)]


def all_tests() -> set[str]:
    """The names of all tests."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found |= {function.name for function in functions(ast.parse(path.read_text()))}
    return found


def test_every_test_on_the_page_is_there() -> None:
    """In the tables and in the text."""
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > len(NUMBERED)
    assert not named - all_tests()


@pytest.mark.parametrize("name", NUMBERED)
def test_every_quirk_and_fault_has_its_row_and_its_test(name: str) -> None:
    """The test is named after it."""
    _, test = ROWS[name]
    assert test.startswith(f"test_{name[0].lower()}{int(name[1:]):02d}_")


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_on_the_page(reason: str) -> None:
    """In the words of the table that the recorded exchanges are compared with."""
    assert REASONS[reason] in ROWS[reason][0]


def test_the_page_has_no_other_rows() -> None:
    """And no test of a quirk or fault goes without one."""
    assert set(ROWS) == {*NUMBERED, *REASONS}
    numbered = {test for test in all_tests() if re.match(r"test_[qb]\d\d_", test)}
    assert {test.split("_")[1] for test in numbered} == {f"{name[0].lower()}{int(name[1:]):02d}" for name in NUMBERED}
