"""The protocol of this colour; the blocking client has its own, made from it."""

from polysite.api import Coordinator

__all__ = ["Coordinator"]
