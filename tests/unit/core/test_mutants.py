"""Every rule that can be broken in this layer is broken once, and its check notices."""

import pytest

from tests.unit.core.mutants import MUTANTS, NOT_EXPRESSIBLE, Convicted, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_check_convicts_the_mutant_and_not_the_rules(mutant: Mutant) -> None:
    """Goal: no rule is there without a check. Method: run the check with the rule broken, then (the very run that convicted,
    or the whole exact check) with the rules as they are."""
    with mutant.patch(), pytest.raises(AssertionError) as caught:
        mutant.check()
    if isinstance(caught.value, Convicted):
        caught.value.again()
    else:
        mutant.check()


def test_names_are_unique_and_the_rest_is_accounted_for() -> None:
    """Goal: the list reads as a table. Method: no name twice, a reason for everything left to other rooms."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))
    assert all(NOT_EXPRESSIBLE.values())
