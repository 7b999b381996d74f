"""Every known fault is revived by a mutant, or it is said why none can be.

Goal: that the map from the original's faults to mutants has no gap and names nothing that is not there. Method: the names in both, and the table in the docs.
"""

import re
from pathlib import Path

import pytest

from polysite.testing.mutants.known_faults import FAULTS, STEPS, Known
from polysite.testing.mutants.table import MUTANTS

NAMES = {mutant.name for mutant in MUTANTS}
DOCS = Path(__file__).parents[3] / "docs" / "simulation.md"


@pytest.mark.parametrize("known", [*STEPS, *FAULTS], ids=lambda known: known.name)
def test_it_is_revived(known: Known) -> None:
    """By mutants that there are; else in a sentence why not."""
    assert set(known.mutants) <= NAMES
    assert bool(known.mutants) != known.why.endswith(".")


def test_none_is_missing() -> None:
    """B1 to B19, and the eight steps of the design, each once."""
    assert [fault.name for fault in FAULTS] == [f"B{number}" for number in range(1, 20)]
    assert len({step.name for step in STEPS}) == len(STEPS) == 8


def test_sources_agree() -> None:
    """A mutant that names a fault as its source is in the map, under that fault."""
    by_name = {fault.name: fault.mutants for fault in FAULTS}
    for mutant in MUTANTS:
        for fault in re.findall(r"\bB\d+\b", mutant.source):
            if int(fault[1:]) <= 19:
                assert mutant.name in by_name[fault], (mutant.name, fault)


def test_the_docs_have_it() -> None:
    """Line by line, as the data says."""
    text = DOCS.read_text(encoding="utf-8")
    for known in (*STEPS, *FAULTS):
        answer = "; ".join(known.mutants) or known.why
        assert f"| {known.name} | {known.what} | {answer} |" in text
