"""The exact checks of single rules (`checks`), as tests of their own."""

import inspect
from collections.abc import Callable

import pytest

from tests.unit.core import checks

ALL = [
    function
    for name, function in vars(checks).items()
    if inspect.isfunction(function)
    and function.__module__ == checks.__name__
    and not inspect.signature(function).parameters
]


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__name__)
def test_rule(check: Callable[[], None]) -> None:
    """Goal and method: see the check's docstring."""
    check()


def test_there_are_checks() -> None:
    """Goal: the list is not empty by accident. Method: count."""
    assert len(ALL) >= 20
