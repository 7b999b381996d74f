"""A code on the wire names one class, whatever else is loaded in the process that reads it.

Method: load the rooms that have errors of their own use, and build an error from each code as a client or peer does.
"""

import pytest

import polysite.site  # noqa: F401  # brings errors that refine those of the wire
from polysite import errors


@pytest.mark.parametrize("code", sorted(errors.all_codes()))
def test_a_code_gives_the_class_that_defines_it(code: str) -> None:
    """A class that only inherits its code does not take it over: its constructor may want what no wire carries."""
    error = errors.from_code(code, "told", {"site": "there"})
    assert "code" in vars(type(error))
    assert type(error).__module__ == errors.__name__
    assert (error.code, error.message, error.site) == (code, "told", "there")
