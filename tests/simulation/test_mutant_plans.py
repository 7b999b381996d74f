"""The plans by which mutants are convicted are runs that the sound code survives.

Goal: that a plan convicts what was left out, and nothing else. Method: the plan of each mutant with the code as it is; in a process of its own
with what a mutant takes away beside its own rule, where that is more than the rule.
"""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from polysite.testing.mutants.convicting import PLANS, plan_of
from polysite.testing.mutants.mutant import Mutant
from polysite.testing.mutants.site_table import COMPACT_SOON
from polysite.testing.mutants.table import ABSENT_MARKS_END, MUTANTS, SMALL_BATCHES, SMALL_WINDOW
from polysite.testing.world.campaign import quiet
from polysite.testing.world.running import Plan, carried_out

PLANNED = [mutant for mutant in MUTANTS if plan_of(mutant.name).exists()]
SMALL = [mutant for mutant in PLANNED if SMALL_WINDOW in mutant.edits]
BATCHED = [mutant for mutant in PLANNED if SMALL_BATCHES in mutant.edits]
ENDING = [mutant for mutant in PLANNED if ABSENT_MARKS_END in mutant.edits]
SOON = [mutant for mutant in PLANNED if {*COMPACT_SOON} <= {*mutant.edits}]
SHADOWED = [mutant for mutant in MUTANTS if mutant.shadowed_by]

SCRIPT = """
import json, sys
from polysite.testing.mutants.applying import Edit, apply
apply([Edit(*edit) for edit in json.loads(sys.argv[2])])
import msgspec
from polysite.testing.world.campaign import quiet
from polysite.testing.world.running import Plan, carried_out
with quiet():
    print(json.dumps(carried_out(msgspec.json.decode(open(sys.argv[1], "rb").read(), type=Plan)).findings))
"""


def named(mutant: Mutant) -> str:
    return mutant.name


def findings_of(path: Path, edits: tuple[tuple[str, str, str], ...]) -> list[str]:
    """What is found against the run of that plan with these edits."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), json.dumps(edits)], capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_every_plan_is_of_a_mutant() -> None:
    """None is left behind when a mutant goes or gets another name."""
    assert {path.name for path in PLANS.iterdir()} == {plan_of(mutant.name).name for mutant in PLANNED}


@pytest.mark.parametrize("mutant", PLANNED, ids=named)
def test_the_sound_code_holds(mutant: Mutant) -> None:
    """Nothing is found against it in the run that convicts the mutant."""
    with quiet():
        verdict = carried_out(msgspec.json.decode(plan_of(mutant.name).read_bytes(), type=Plan))
    assert verdict.findings == []
    assert verdict.done > 5


@pytest.mark.parametrize("mutant", SMALL, ids=named)
def test_small_windows_are_no_fault(mutant: Mutant) -> None:
    """The sound code holds with windows of a few stamps, which such a mutant needs to show."""
    assert findings_of(plan_of(mutant.name), (SMALL_WINDOW,)) == []


@pytest.mark.parametrize("mutant", BATCHED, ids=named)
def test_small_batches_are_no_fault(mutant: Mutant) -> None:
    """The sound code holds where a partition is settled row by row, which such a mutant needs to show."""
    assert findings_of(plan_of(mutant.name), (SMALL_BATCHES,)) == []


@pytest.mark.parametrize("mutant", ENDING, ids=named)
def test_marks_that_end_are_no_fault(mutant: Mutant) -> None:
    """The sound code holds where the mark on an absent row lives for a second, which such a mutant needs to show."""
    assert findings_of(plan_of(mutant.name), (ABSENT_MARKS_END,)) == []


@pytest.mark.parametrize("mutant", SOON, ids=named)
def test_early_compactions_are_no_fault(mutant: Mutant) -> None:
    """The sound code holds where cells are compacted after a second, which such a mutant needs to show."""
    assert findings_of(plan_of(mutant.name), COMPACT_SOON) == []


@pytest.mark.parametrize("mutant", SHADOWED, ids=named)
def test_one_rule_covers_for_the_other(mutant: Mutant) -> None:
    """Where two rules see to the same, either may go: nothing is found until both have gone."""
    path = plan_of(mutant.name)
    assert findings_of(path, mutant.edits) == []
    assert findings_of(path, mutant.covering) == []
    assert findings_of(path, mutant.applied)
