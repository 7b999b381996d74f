"""cassandra-driver's errors as plain `Failure`s."""

import re
from typing import Any

import cassandra
from cassandra import cluster, connection, pool, protocol

from polysite.engines.cassandra.outcomes import Failure, Kind
from polysite.engines.cassandra.port import Consistency

DETAIL_LENGTH_MAX = 300
CAS_WRITE_UNKNOWN = 0x1700

NOT_SENT_WORDS = ("Host has been marked down or removed", "Pool is shutdown", "Pool for ")
"""What `ResponseFuture._query` and `borrow_connection` say of a connection they did not get (driver 3.30)."""

MISSING = re.compile(r"does ?n[o']t exist|unconfigured|undefined column|unknown keyspace|no keyspace", re.IGNORECASE)
NOT_OPEN = "Unknown CF "
"""In what Cassandra calls a failure of its own (5.0, `Keyspace.getColumnFamilyStore`): its schema has a table that it has yet to open."""

TOO_LARGE = re.compile(r"too large|oversized|longer than maximum|exceeds? (?:the|allowed) maximum", re.IGNORECASE)

BY_TYPE: list[tuple[type[BaseException], Kind]] = [
    (protocol.OverloadedErrorMessage, "server_overloaded"),
    (protocol.IsBootstrappingErrorMessage, "server_starting"),
    (protocol.BadCredentials, "unauthenticated"),
    (protocol.SyntaxException, "invalid"),
    (protocol.ConfigurationException, "invalid"),
    (cassandra.AuthenticationFailed, "unauthenticated"),
    (cassandra.Unauthorized, "forbidden"),
    (cassandra.AlreadyExists, "exists"),
    (cassandra.OperationTimedOut, "client_timeout"),
    (connection.ConnectionException, "connection_lost"),
    (protocol.ErrorMessage, "server_error"),
]
"""First that fits; what the server counted is read by `failure_of` before."""


def failure_of(error: BaseException) -> Failure:
    """What the driver's error says. The driver's and server's words are kept only for refusals, which show no value."""
    match error:
        case cassandra.Unavailable():
            return _counted("too_few_replicas", error, error.alive_replicas, error.required_replicas)
        case cassandra.WriteTimeout():
            return _answered("write_timeout", error)
        case cassandra.ReadTimeout():
            return _answered("read_timeout", error)
        case cassandra.WriteFailure():
            return _answered("write_failure", error)
        case cassandra.ReadFailure():
            return _answered("read_failure", error)
        case cassandra.InvalidRequest():
            return refusal(str(error))
        case protocol.ErrorMessage() if error.code == CAS_WRITE_UNKNOWN:
            return Failure("cas_unknown")
        case protocol.ServerError() if NOT_OPEN in str(error.message):
            return Failure("not_open")
        case protocol.SyntaxException() | protocol.ConfigurationException():
            return Failure("invalid", _short(error.message))
        case cluster.NoHostAvailable():
            return Failure(_unsent(error.errors))
    for error_type, kind in BY_TYPE:
        if isinstance(error, error_type):
            return Failure(kind)
    return Failure("unclear")


def refusal(words: str) -> Failure:
    """A request that the server calls invalid, by what it says of it. Of one too large it quotes keys, so that is kept back."""
    if (at := words.find('message="')) >= 0:
        words = words[at + 9 :].rstrip('"')
    if TOO_LARGE.search(words):
        return Failure("too_large")
    return Failure("missing" if MISSING.search(words) else "invalid", _short(words))


def _unsent(errors: Any) -> Kind:
    """Why no host took a request: nothing was tried, every connection was refused before sending, or one was lost."""
    found = list(errors.values()) if isinstance(errors, dict) else list(errors)
    if found and all(isinstance(each, (pool.NoConnectionsAvailable, connection.ConnectionBusy)) for each in found):
        return "too_many"
    if all(_is_before_sending(each) for each in found):
        return "not_sent"
    return "connection_lost"


def _is_before_sending(error: Any) -> bool:
    if isinstance(error, (pool.NoConnectionsAvailable, connection.ConnectionBusy)):
        return True
    return type(error) is connection.ConnectionException and str(error).startswith(NOT_SENT_WORDS)


def _answered(kind: Kind, error: Any) -> Failure:
    return _counted(kind, error, error.received_responses, error.required_responses)


def _counted(kind: Kind, error: Any, received: int, required: int) -> Failure:
    write_type = getattr(error, "write_type", None)
    return Failure(
        kind,
        consistency=_level(error.consistency),
        write_type="" if write_type is None else cassandra.WriteType.value_to_name.get(write_type, ""),
        received=received,
        required=required,
    )


def _level(number: int | None) -> Consistency | None:
    try:
        return None if number is None else Consistency(number)
    except ValueError:
        return None


def _short(words: str) -> str:
    return words if len(words) <= DETAIL_LENGTH_MAX else words[:DETAIL_LENGTH_MAX] + "…"
