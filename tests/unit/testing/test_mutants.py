"""Every mutant still fits the code that it changes.

Goal: a mutant that no longer changes anything must not count as one that the simulation lets live. That each is convicted is for
`polysite sim mutants`; here it is seen once, in a process of its own, that a mutant is applied at all.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from polysite.testing.mutants import convicting
from polysite.testing.mutants.applying import Edit, NotThere, changed
from polysite.testing.mutants.convicting import recorded
from polysite.testing.mutants.mutant import Mutant
from polysite.testing.mutants.table import MUTANTS


def source_of(module: str) -> str:
    found = importlib.util.find_spec(module)
    assert found is not None and found.origin is not None
    return Path(found.origin).read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_fits(mutant: Mutant) -> None:
    """Each text is there once, and what comes out is a program."""
    for module in {edit.module for edit in mutant.applied}:
        edits = [edit for edit in mutant.applied if edit.module == module]
        compile(changed(source_of(module), edits), module, "exec")


def test_names_are_told_apart() -> None:
    """Seeds are kept by name."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert set(recorded()) <= set(names)


def test_a_text_that_is_not_there() -> None:
    """Neither a missing text nor one that is there twice is changed."""
    for old in ("absent", "there"):
        with pytest.raises(NotThere, match="not once"):
            changed("there and there", [Edit("m", old, "x")])


def test_a_module_that_was_imported_before() -> None:
    """It cannot be changed any more."""
    script = (
        "import polysite.core.stamps; from polysite.testing.mutants.applying import apply, Edit, NotThere\n"
        "try: apply([Edit('polysite.core.stamps', 'WINDOW = 2**20', 'WINDOW = 12')])\n"
        "except NotThere as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "imported before" in done.stdout


def test_it_is_applied() -> None:
    """In a process that has imported nothing yet, the changed module is the one that is used."""
    script = (
        "from polysite.testing.mutants.applying import apply, Edit\n"
        "apply([Edit('polysite.core.stamps', 'WINDOW = 2**20', 'WINDOW = 12')])\n"
        "from polysite.core.transitions import WINDOW; print(WINDOW)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "12"


def test_seeds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each belongs: in the plan of a mutant that has one, else in the table of seeds, whose others stay."""
    plans, seeds = tmp_path / "plans", tmp_path / "seeds.json"
    plans.mkdir()
    monkeypatch.setattr(convicting, "PLANS", plans)
    monkeypatch.setattr(convicting, "SEEDS", seeds)
    planned, drawn, other = (mutant.name for mutant in MUTANTS[:3])
    seeds.write_text(json.dumps({drawn: 1, other: 2}), encoding="utf-8")
    convicting.plan_of(planned).write_text(json.dumps({"seed": 3, "lasts_s": 8.0}), encoding="utf-8")
    convicting.record({planned: 4, drawn: 5})
    assert json.loads(convicting.plan_of(planned).read_text(encoding="utf-8")) == {"seed": 4, "lasts_s": 8.0}
    assert recorded() == {drawn: 5, other: 2}
