"""The public names, pinned: adding one is a decision, losing one breaks somebody.

Method: compare the lists with what is there, resolve every name, and read the late imports against the typed ones.
"""

import ast

import pytest

import polysite
import polysite.client
import polysite.sync
from polysite import errors
from tests.support.source import SOURCE

PUBLIC = [
    "AcquireTimeout",
    "AlreadyExists",
    "BadRequest",
    "CellExhausted",
    "CompareFailed",
    "Condition",
    "Coordinator",
    "Event",
    "Expired",
    "Forbidden",
    "IdempotencyMismatch",
    "LockLost",
    "LockSet",
    "NotHolder",
    "NotOwner",
    "OutcomeUnknown",
    "Overloaded",
    "PolysiteError",
    "QuorumUnavailable",
    "RangeDelete",
    "Refused",
    "RowDelete",
    "RowExpectation",
    "RowGet",
    "RowPut",
    "Section",
    "Site",
    "SiteUnreachable",
    "StaleToken",
    "StoreFull",
    "Table",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownCellFormat",
    "UnknownKey",
    "__version__",
    "connect",
    "open",
    "sync",
]
PUBLIC_OF_CLIENT = [
    "AsyncFunctionTransport",
    "AsyncTransport",
    "FunctionTransport",
    "HttpCoordinator",
    "LockSet",
    "NotAnswered",
    "NotSent",
    "Request",
    "Response",
    "Section",
    "Site",
    "Table",
    "Transport",
    "connect",
    "table_spec",
]
PUBLIC_OF_SYNC = ["Coordinator", "LockSet", "Section", "Site", "Table", "connect", "open", "table_spec"]


@pytest.mark.parametrize(
    ("module", "names"), [(polysite, PUBLIC), (polysite.client, PUBLIC_OF_CLIENT), (polysite.sync, PUBLIC_OF_SYNC)]
)
def test_public_names(module: object, names: list[str]) -> None:
    """Exactly these, and each can be had."""
    assert sorted(module.__all__) == sorted(names)  # type: ignore[attr-defined]
    assert all(getattr(module, name) is not None for name in names)


def test_type_checkers_see_the_same_names() -> None:
    """The imports for type checkers and the late ones name the same things from the same places."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(part for part in tree.body if isinstance(part, ast.If))
    typed = {
        alias.asname: part.module for part in block.body if isinstance(part, ast.ImportFrom) for alias in part.names
    }
    assert typed == polysite._PLACE_OF


def test_every_error_is_public() -> None:
    """Whoever handles one can name it."""
    ours = {error_type for error_type in errors.all_codes().values() if error_type.__module__ == errors.__name__}
    assert {error_type.__name__ for error_type in ours} <= set(PUBLIC)


def test_an_unknown_name_is_refused() -> None:
    """As any module refuses it."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = polysite.nothing
    assert set(PUBLIC) <= set(dir(polysite))
