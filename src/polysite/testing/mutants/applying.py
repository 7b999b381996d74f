"""A mutant in a process of its own: modules are changed as they are imported, and nowhere else.

Nothing of polysite that a mutant may change is imported here, so that `apply` can come first in a fresh process.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import CodeType
from typing import Any, NamedTuple


class Edit(NamedTuple):
    """`old`, which is in the module's text exactly once, becomes `new`."""

    module: str
    old: str
    new: str


class NotThere(AssertionError):
    """The text that a mutant changes is not in the module, or more than once, or the module was imported already."""


def changed(source: str, edits: Sequence[Edit]) -> str:
    """The text with all edits. NotThere: one does not fit."""
    for edit in edits:
        if source.count(edit.old) != 1:
            raise NotThere(f"{edit.module} has this {source.count(edit.old)} times, not once: {edit.old!r}")
        source = source.replace(edit.old, edit.new)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with its edits; nothing of it is cached."""

    def __init__(self, fullname: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(fullname, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        return self.source_to_code(changed(source, self._edits).encode(), path)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self._by_module: dict[str, list[Edit]] = {}
        for edit in edits:
            self._by_module.setdefault(edit.module, []).append(edit)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
        edits = self._by_module.get(fullname)
        if edits is None:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            raise NotThere(f"there is no module {fullname}")
        found.loader = _Loader(fullname, found.origin, edits)
        return found


def apply(edits: Sequence[Edit]) -> None:
    """From now on modules are imported with these edits. NotThere: one of them was imported before."""
    for edit in edits:
        if edit.module in sys.modules:
            raise NotThere(f"{edit.module} was imported before it could be changed")
    sys.meta_path.insert(0, _Finder(edits))
