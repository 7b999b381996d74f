"""What ZooKeeper's errors mean: what stood against a request, what was certainly not carried out, what may have been.

The rule of ZooKeeper 3.9: a request is checked before it becomes a transaction (`PrepRequestProcessor`: session, rights,
quota, versions), so an error that a server answers tells that nothing was changed. Connection loss is told by the client
alone, to everything sent and unanswered, and to what it had not yet sent as well: it cannot say which.
"""

from enum import Enum
from typing import Any

from kazoo import exceptions as zk

from polysite.errors import OutcomeUnknown, Overloaded, PolysiteError, StoreFull, Unavailable


class Against(Enum):
    """What stood against a request that was refused as it may be."""

    ABSENT = "there is nothing under this path, or nothing above it"
    EXISTS = "there is something under this path already"
    MOVED = "its version is another one"


AGAINST: dict[type[BaseException], Against] = {
    zk.NoNodeError: Against.ABSENT,
    zk.NodeExistsError: Against.EXISTS,
    zk.BadVersionError: Against.MOVED,
}

NOT_DONE: dict[type[BaseException], tuple[type[PolysiteError], str]] = {
    zk.SessionExpiredError: (Unavailable, "the session with ZooKeeper had ended"),
    zk.SessionMovedError: (Unavailable, "the session with ZooKeeper had moved to another server"),
    zk.AuthFailedError: (Unavailable, "ZooKeeper does not accept the user: see zookeeper.user and its password"),
    zk.NoAuthError: (
        Unavailable,
        "ZooKeeper lets this user not do that: see zookeeper.user, and who made zookeeper.folder",
    ),
    zk.InvalidACLError: (Unavailable, "ZooKeeper wants a user before anything is made: see zookeeper.user"),
    zk.SessionClosedRequireSaslError: (Unavailable, "ZooKeeper wants SASL, which is not spoken here"),
    zk.NotReadOnlyCallError: (Unavailable, "the ZooKeeper server has lost its quorum and only reads"),
    zk.QuotaExceededError: (StoreFull, "the quota that ZooKeeper has for zookeeper.folder is used up"),
    zk.ThrottledOpError: (Overloaded, "the ZooKeeper server has too much to do"),
}
"""Errors that a server answers before it makes a transaction, and those of a request that was never sent."""


def told(error: BaseException, *, changes: bool) -> Against | PolysiteError:
    """What an error of the client means for a request; `changes`: it would have changed something.

    By the exact type: `ConnectionClosedError` is made a kind of `SessionExpiredError` by kazoo 2.11, but is also told to
    requests that had been queued for sending.
    """
    if isinstance(error, PolysiteError):
        return error
    against = AGAINST.get(type(error))
    if against is not None:
        return against
    found = NOT_DONE.get(type(error))
    if found is not None:
        return _with_cause(found[0](found[1], engine_error=type(error).__name__), error)
    return _with_cause(unanswered("connection_lost", changes=changes, engine_error=type(error).__name__), error)


_WHY = {
    "connection_lost": "the connection to ZooKeeper was lost before the answer came",
    "no_answer": "ZooKeeper did not answer in time",
    "closing": "the process let go of ZooKeeper before the answer came",
}


def unanswered(reason: str, *, changes: bool, **attributes: Any) -> PolysiteError:
    """The error of a request that was sent, or may have been, and has no answer."""
    if changes:
        return OutcomeUnknown(_WHY[reason], reason=reason, **attributes)
    return Unavailable(_WHY[reason], **attributes)


def _with_cause(error: PolysiteError, cause: BaseException) -> PolysiteError:
    error.__cause__ = cause
    return error
