"""Locks that fence and tables that converge, for services that run at several sites."""

__version__ = "0.1.0.dev0"
