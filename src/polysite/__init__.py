"""Locks that fence and tables that converge, for services that run at several sites.

    async with polysite.connect("http://127.0.0.1:8390") as site:      # or polysite.open("state.db"), in this process
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=10) as section:
            row = await section.get()
            await section.put({"count": (row["count"] if row else 0) + 1})

`polysite.sync` has the same names without await. Names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polysite import sync as sync
    from polysite._open import open as open  # noqa: A004
    from polysite.api import Condition as Condition
    from polysite.api import Coordinator as Coordinator
    from polysite.api import Event as Event
    from polysite.api import RangeDelete as RangeDelete
    from polysite.api import RowDelete as RowDelete
    from polysite.api import RowExpectation as RowExpectation
    from polysite.api import RowGet as RowGet
    from polysite.api import RowPut as RowPut
    from polysite.client import LockSet as LockSet
    from polysite.client import Section as Section
    from polysite.client import Site as Site
    from polysite.client import Table as Table
    from polysite.client import connect as connect
    from polysite.errors import AcquireTimeout as AcquireTimeout
    from polysite.errors import AlreadyExists as AlreadyExists
    from polysite.errors import BadRequest as BadRequest
    from polysite.errors import CellExhausted as CellExhausted
    from polysite.errors import CompareFailed as CompareFailed
    from polysite.errors import Expired as Expired
    from polysite.errors import Forbidden as Forbidden
    from polysite.errors import IdempotencyMismatch as IdempotencyMismatch
    from polysite.errors import LockLost as LockLost
    from polysite.errors import NotHolder as NotHolder
    from polysite.errors import NotOwner as NotOwner
    from polysite.errors import OutcomeUnknown as OutcomeUnknown
    from polysite.errors import Overloaded as Overloaded
    from polysite.errors import PolysiteError as PolysiteError
    from polysite.errors import QuorumUnavailable as QuorumUnavailable
    from polysite.errors import Refused as Refused
    from polysite.errors import SiteUnreachable as SiteUnreachable
    from polysite.errors import StaleToken as StaleToken
    from polysite.errors import StoreFull as StoreFull
    from polysite.errors import TooLarge as TooLarge
    from polysite.errors import Unauthenticated as Unauthenticated
    from polysite.errors import Unavailable as Unavailable
    from polysite.errors import UnknownCellFormat as UnknownCellFormat
    from polysite.errors import UnknownKey as UnknownKey

__version__ = "0.1.0.dev0"

_PLACES = {
    "polysite": ("sync",),
    "polysite._open": ("open",),
    "polysite.api": (
        "Condition", "Coordinator", "Event", "RangeDelete", "RowDelete", "RowExpectation", "RowGet", "RowPut",
    ),
    "polysite.client": ("LockSet", "Section", "Site", "Table", "connect"),
    "polysite.errors": (
        "AcquireTimeout", "AlreadyExists", "BadRequest", "CellExhausted", "CompareFailed", "Expired", "Forbidden",
        "IdempotencyMismatch", "LockLost", "NotHolder", "NotOwner", "OutcomeUnknown", "Overloaded", "PolysiteError",
        "QuorumUnavailable", "Refused", "SiteUnreachable", "StaleToken", "StoreFull", "TooLarge", "Unauthenticated",
        "Unavailable", "UnknownCellFormat", "UnknownKey",
    ),
}  # fmt: skip
_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # noqa: PLE0604
    "__version__",
    *sorted(_PLACE_OF),  # pyright: ignore[reportUnsupportedDunderAll]
]


def __getattr__(name: str) -> Any:
    module = _PLACE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'polysite' has no attribute {name!r}")
    if module == "polysite":
        return importlib.import_module(f"polysite.{name}")
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE_OF})
