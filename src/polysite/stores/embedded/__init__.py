"""Rows in the database file of the embedded engine."""

from polysite.stores.embedded.collecting import Collected
from polysite.stores.embedded.store import EmbeddedStore

__all__ = ["Collected", "EmbeddedStore"]
