"""What a mutant is: a named small change of the production code, with the rule that it leaves out."""

from typing import NamedTuple

from polysite.testing.mutants.applying import Edit


class Mutant(NamedTuple):
    """`source`: where the rule that it leaves out comes from; `table` says what the words mean. `shadowed_by`: why no history can show the
    `edits` alone, where another rule covers for the one left out; `covering` takes that one away as well, and both together are convicted."""

    name: str
    source: str
    edits: tuple[Edit, ...]
    covering: tuple[Edit, ...] = ()
    shadowed_by: str = ""

    @property
    def applied(self) -> tuple[Edit, ...]:
        """What is changed for its conviction."""
        return self.edits + self.covering


def one(name: str, source: str, module: str, old: str, new: str, *others: Edit) -> Mutant:
    """A mutant that is one change of one module, with whatever else must change for it to come through."""
    return Mutant(name, source, (Edit(module, old, new), *others))
