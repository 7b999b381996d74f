"""`consistencyInfo`: how a request wants to be carried out."""

from typing import Literal, NamedTuple

from polysite import api
from polysite.errors import BadRequest
from polysite.server.v2.bodies import Body
from polysite.server.v2.envelope import MISSING_INPUT, Failure

Kind = Literal["eventual", "critical", "atomic"]
NULL_RESULT = "Null result - Please Contact admin"
NO_LOCK_ID = "LockId cannot be null. Create lock and acquire lock or use ATOMIC instead of CRITICAL"

_KINDS: dict[str, Kind] = {
    "eventual": "eventual",
    "eventual_nb": "eventual",
    "critical": "critical",
    "atomic": "atomic",
    "atomic_delete_lock": "atomic",
}
"""`eventual_nb` is there because an eventual write could be hidden by a section before it; here none is. `atomic_delete_lock`
removed the lock's bookkeeping afterwards; here nothing is left to remove."""

_NEAREST = frozenset({"ANY", "ONE", "LOCAL_ONE"})
_MAJORITY = frozenset({"TWO", "THREE", "QUORUM", "LOCAL_QUORUM", "EACH_QUORUM", "ALL"})
_SERIAL = frozenset({"SERIAL", "LOCAL_SERIAL"})


class Wanted(NamedTuple):
    """How to carry a request out. `lock_id`: with `critical`."""

    kind: Kind
    level: api.Level
    lock_id: str | None


def check_consistency(info: Body) -> api.Level:
    """The level of an eventual request: nearest replica, or a majority where more than one replica was asked for. Failure if
    `consistency` names no level of Cassandra."""
    text = info.text("consistency")
    if text is None:
        return "eventual"
    name = text.upper()
    if name in _SERIAL:
        return "eventual"
    if name not in _NEAREST and name not in _MAJORITY:
        raise Failure("Invalid Consistency type")
    return "quorum" if name in _MAJORITY else "eventual"


def wanted_write(body: Body) -> Wanted:
    """How a write is to be carried out."""
    info = _info(body)
    kind = _KINDS.get((info.text("type") or "").lower())
    if "type" not in info:
        raise Failure(f"consistencyInfo has no type. {MISSING_INPUT}")
    if kind is None:
        raise Failure(NULL_RESULT)
    return _wanted(kind, info)


def wanted_read(body: Body) -> Wanted:
    """How a locked read is to be carried out; without a lock there is none."""
    info = _info(body)
    if "type" not in info:
        raise Failure(f"consistencyInfo has no type. {MISSING_INPUT}")
    kind = _KINDS.get((info.text("type") or "").lower())
    if kind is None:
        raise Failure(NULL_RESULT)
    if kind == "eventual":
        raise Failure("A locked read is of type critical or atomic; use GET rows for an eventual one")
    return _wanted(kind, info)


def _info(body: Body) -> Body:
    members = body.mapping("consistencyInfo")
    if members is None:
        raise Failure(f"consistencyInfo is missing. {MISSING_INPUT}")
    return Body(members)


def _wanted(kind: Kind, info: Body) -> Wanted:
    if kind == "critical":
        lock_id = info.text("lockId")
        if lock_id is None:
            raise Failure(NO_LOCK_ID)
        return Wanted(kind, "critical", lock_id)
    if kind == "atomic":
        return Wanted(kind, "atomic", None)
    level = check_consistency(info)
    if (info.text("consistency") or "").upper() in _SERIAL:
        raise BadRequest("Query Exception: You must use conditional updates for serializable writes")
    return Wanted(kind, level, None)
