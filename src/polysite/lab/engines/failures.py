"""What keeps an engine from being installed or started, each with what would help."""

from polysite.errors import Refused, Unavailable


class CapabilityMissing(Refused):
    """This machine lacks something that the engine needs; `capability` names it."""

    def __init__(self, capability: str, remedy: str) -> None:
        """`capability` is what is missing (`java 11 to 17`), `remedy` a sentence on what would help."""
        super().__init__(f"capability missing: {capability}; {remedy}", capability=capability)

    def __reduce__(self) -> tuple[object, ...]:
        return CapabilityMissing, (self.attributes["capability"], self.message.partition("; ")[2])


class WrongJars(Refused):
    """What was fetched is not what the pinned list says; nothing was installed."""


class FetchFailed(Unavailable):
    """The jars could not be fetched; nothing was installed."""


class EngineEnded(Unavailable):
    """The engine ended, or did not answer within its limit."""
