"""Every error of polysite, shaped by what a caller can do next.

    PolysiteError
    ├── Refused                   it did not happen; sending the same again gives the same
    │   ├── BadRequest            the request is malformed or not allowed; the message says what would be right
    │   │   └── TooLarge          a key, value, body, batch or range is over its bound
    │   ├── UnknownKey            keyspace, table, index, column, queue or key that does not exist
    │   ├── AlreadyExists         it exists and differs from what was asked for
    │   ├── NotHolder             the reference is known, but it waits: it is not (yet) the holder
    │   ├── LockLost              the reference no longer holds its lock: released, lease over, or preempted
    │   ├── StaleToken            the fencing token is lower than one seen before
    │   ├── CompareFailed         a condition did not hold; carries what was found
    │   ├── NotOwner              somebody else owns the partition
    │   ├── AcquireTimeout        the lock was not granted within `wait_s`; the wish was cancelled
    │   ├── Unauthenticated       no valid credentials
    │   ├── Forbidden             valid credentials without the right
    │   ├── IdempotencyMismatch   the idempotency key was used before for another request
    │   ├── CellExhausted         a lock cell whose stamps or tickets ran out
    │   └── UnknownCellFormat     a lock cell written by a newer version of polysite; it is never overwritten
    ├── Unavailable               it did not happen, for a passing reason: try again
    │   ├── QuorumUnavailable     too few replicas are up
    │   ├── SiteUnreachable       the site or the process asked cannot be reached
    │   ├── Overloaded            a bounded queue is full
    │   ├── StoreFull             the engine has no room to write (disk full)
    │   └── Expired               a wish is older than what the cell remembers; its author reads and asks again
    └── OutcomeUnknown            it may have happened; `reason` says why it is not known

`outcome` is one of done, refused, unknown; `code` is stable, appears on the wire and has an entry in docs/errors.md;
`retry` says whether sending the same request again may succeed.
"""

from typing import Any, ClassVar, Literal

Outcome = Literal["done", "refused", "unknown"]


class PolysiteError(Exception):
    """Something went wrong in polysite."""

    code: ClassVar[str] = "error"
    outcome: ClassVar[Outcome] = "refused"
    retry: ClassVar[bool] = False

    def __init__(self, message: str | None = None, **attributes: Any) -> None:
        """Keep `attributes` (key, reference, holder, site, reason … JSON values, never secrets) for whoever handles it.

        Without `message` the first line of the class's docstring is the message.
        """
        self.message: str = message if message is not None else (type(self).__doc__ or "").split("\n", 1)[0]
        self.attributes = attributes
        super().__init__(self.message)

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__.get("attributes")
        if attributes is not None and name in attributes:
            return attributes[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.attributes)


def _rebuild(error_type: type[PolysiteError], message: str, attributes: dict[str, Any]) -> PolysiteError:
    return error_type(message, **attributes)


class Refused(PolysiteError):
    """It did not happen."""

    code = "refused"


class BadRequest(Refused):
    """The request is malformed or not allowed."""

    code = "bad_request"


class TooLarge(BadRequest):
    """A key, value, body, batch or range is over its bound."""

    code = "too_large"


class UnknownKey(Refused):
    """There is no such keyspace, table, index, column or key."""

    code = "unknown_key"


class AlreadyExists(Refused):
    """It exists already and differs from what was asked for."""

    code = "already_exists"


class NotHolder(Refused):
    """The reference waits in the queue and is not the holder."""

    code = "not_holder"


class LockLost(Refused):
    """The reference no longer holds its lock."""

    code = "lock_lost"


class StaleToken(Refused):
    """The fencing token is lower than one seen before."""

    code = "stale_token"


class CompareFailed(Refused):
    """A condition did not hold."""

    code = "compare_failed"


class NotOwner(Refused):
    """Somebody else owns the partition."""

    code = "not_owner"


class AcquireTimeout(Refused):
    """The lock was not granted within the wait; the wish was cancelled."""

    code = "acquire_timeout"
    retry = True


class Unauthenticated(Refused):
    """No valid credentials came with the request."""

    code = "unauthenticated"


class Forbidden(Refused):
    """The credentials do not carry the right to do this."""

    code = "forbidden"


class IdempotencyMismatch(Refused):
    """The idempotency key was used before for a different request."""

    code = "idempotency_mismatch"


class CellExhausted(Refused):
    """The lock cell has no stamps or tickets left."""

    code = "cell_exhausted"


class UnknownCellFormat(Refused):
    """The lock cell was written in a format that this version of polysite does not know."""

    code = "unknown_cell_format"


class Unavailable(PolysiteError):
    """It did not happen, for a passing reason."""

    code = "unavailable"
    retry = True


class QuorumUnavailable(Unavailable):
    """Too few replicas can be reached."""

    code = "quorum_unavailable"


class SiteUnreachable(Unavailable):
    """The site or process cannot be reached."""

    code = "site_unreachable"


class Overloaded(Unavailable):
    """A bounded queue is full."""

    code = "overloaded"


class StoreFull(Unavailable):
    """The engine has no room left to write."""

    code = "store_full"


class Expired(Unavailable):
    """The wish is older than what the cell remembers."""

    code = "expired"


class OutcomeUnknown(PolysiteError):
    """It was sent and not answered: it may have happened."""

    code = "outcome_unknown"
    outcome: ClassVar[Outcome] = "unknown"


def all_codes() -> dict[str, type[PolysiteError]]:
    """Every code and its class, most general first; a subclass without a code of its own does not stand for its parent's."""
    found: dict[str, type[PolysiteError]] = {}
    pending: list[type[PolysiteError]] = [PolysiteError]
    while pending:
        error_type = pending.pop(0)
        found.setdefault(error_type.code, error_type)
        pending.extend(error_type.__subclasses__())
    return found


def from_code(code: str, message: str, attributes: dict[str, Any]) -> PolysiteError:
    """The error that a peer or server told by its code; an unknown code counts as an unknown outcome.

    A code this version does not know says nothing about what happened, so it must not read as refused.
    """
    error_type = all_codes().get(code)
    if error_type is None:
        return OutcomeUnknown(f"the server answered with the unknown error code {code!r}: {message}", **attributes)
    return error_type(message, **attributes)
