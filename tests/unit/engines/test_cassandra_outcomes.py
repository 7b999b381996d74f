"""Failures of Cassandra as outcomes: every row of the one table, by errors as the server and the drivers make them.

Errors of the server are frames of the native protocol as they come over the wire, read by the driver itself; those of the drivers
are their own objects, as recorded on a real Cassandra node that was stopped, killed or cut off.
"""

import io
import struct
from typing import Any, get_args

import cassandra
import pytest
from cassandra import connection, pool, protocol
from cassandra.cluster import NoHostAvailable

from polysite.engines.cassandra.driver_failures import failure_of
from polysite.engines.cassandra.outcomes import DONE, TABLE, Failure, Kind, Work, certain, judged, kind_for
from polysite.engines.cassandra.port import Consistency
from polysite.errors import (
    AlreadyExists,
    BadRequest,
    Forbidden,
    OutcomeUnknown,
    Overloaded,
    PolysiteError,
    QuorumUnavailable,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownKey,
)

NOT_OPEN = "java.lang.IllegalArgumentException: Unknown CF 84492a6c-aea2-5afa-917f-76f064c6d763"
"""As 5.0.9 said it of a table that another process was making."""
SERIAL, LOCAL_SERIAL, LOCAL_QUORUM = Consistency.SERIAL, Consistency.LOCAL_SERIAL, Consistency.LOCAL_QUORUM


def text(words: str) -> bytes:
    return struct.pack(">H", len(words)) + words.encode()


def served(code: int, words: str = "", *rest: bytes) -> Any:
    """The driver's error for an ERROR frame: code, message, and what this code carries besides (protocol v5, section 9)."""
    body = struct.pack(">i", code) + text(words) + b"".join(rest)
    message = protocol.ErrorMessage.recv_body(io.BytesIO(body), 5)
    return message.to_exception()


def counted(level: Consistency, first: int, second: int) -> bytes:
    return struct.pack(">Hii", level, first, second)


def unavailable(level: Consistency) -> Any:
    return served(0x1000, "Cannot achieve consistency level", counted(level, 2, 1))


def write_timeout(level: Consistency, write_type: str, *, received: int = 1) -> Any:
    return served(0x1100, "Operation timed out", counted(level, received, 2), text(write_type))


def write_failure(level: Consistency, write_type: str) -> Any:
    return served(0x1500, "Operation failed", counted(level, 1, 2), struct.pack(">i", 0), text(write_type))


def no_host(*errors: BaseException) -> Any:
    return NoHostAvailable("Unable to complete the operation against any hosts", dict(enumerate(errors)))


READ_TIMEOUT = served(0x1200, "Operation timed out", counted(SERIAL, 1, 2), b"\0")
SUPERSEDED_READ = served(0x1200, "Operation timed out", counted(SERIAL, 0, 2), b"\0")
UNANSWERED_READ = served(0x1200, "Operation timed out", counted(LOCAL_QUORUM, 0, 2), b"\0")
READ_FAILURE = served(0x1300, "Operation failed", counted(LOCAL_QUORUM, 1, 2), struct.pack(">i", 0), b"\0")
DOWN = connection.ConnectionException("Host has been marked down or removed")
SHUT_DOWN = connection.ConnectionException("Pool is shutdown")
LOST = connection.ConnectionShutdown("Connection to 127.0.0.1 was closed")

CASES: list[tuple[str, BaseException, Work, type[PolysiteError] | None, str]] = [
    ("agreed and not committed in time", write_timeout(LOCAL_QUORUM, "CAS"), "conditional", None, ""),
    ("agreed, LOCAL_ONE commit", write_timeout(Consistency.LOCAL_ONE, "CAS"), "conditional", None, ""),
    ("Accord, in time or not", write_timeout(Consistency.ANY, "CAS"), "conditional", OutcomeUnknown, "write_timeout"),
    ("Accord, failed", write_failure(Consistency.ANY, "CAS"), "conditional", OutcomeUnknown, "write_failure"),
    ("not agreed in time", write_timeout(SERIAL, "CAS"), "conditional", OutcomeUnknown, "write_timeout"),
    ("not agreed at one site", write_timeout(LOCAL_SERIAL, "CAS"), "conditional", OutcomeUnknown, "write_timeout"),
    ("superseded", write_timeout(SERIAL, "CAS", received=0), "conditional", OutcomeUnknown, "contention"),
    ("commit of another kind", write_timeout(LOCAL_QUORUM, "SIMPLE"), "conditional", OutcomeUnknown, "write_timeout"),
    ("plain write in time-out", write_timeout(LOCAL_QUORUM, "SIMPLE"), "write", OutcomeUnknown, "write_timeout"),
    (
        "plain write, nobody answered",
        write_timeout(LOCAL_QUORUM, "SIMPLE", received=0),
        "write",
        OutcomeUnknown,
        "write_timeout",
    ),
    ("batch log", write_timeout(LOCAL_QUORUM, "BATCH_LOG"), "write", OutcomeUnknown, "write_timeout"),
    ("too few for a write", unavailable(LOCAL_QUORUM), "write", QuorumUnavailable, ""),
    ("too few to agree", unavailable(SERIAL), "conditional", QuorumUnavailable, ""),
    ("too few to agree at one site", unavailable(LOCAL_SERIAL), "conditional", QuorumUnavailable, ""),
    ("too few to commit", unavailable(LOCAL_QUORUM), "conditional", OutcomeUnknown, "commit_unavailable"),
    ("too few for a read", unavailable(LOCAL_QUORUM), "read", QuorumUnavailable, ""),
    ("read in time-out", READ_TIMEOUT, "read", QuorumUnavailable, ""),
    ("superseded, read", write_timeout(SERIAL, "CAS", received=0), "read", Unavailable, "contention"),
    ("superseded until the limit, read", SUPERSEDED_READ, "read", Unavailable, "contention"),
    ("a proposal of a read in time-out", write_timeout(SERIAL, "CAS"), "read", QuorumUnavailable, ""),
    ("nobody answered a read", UNANSWERED_READ, "read", QuorumUnavailable, ""),
    ("a condition's read in time-out", READ_TIMEOUT, "conditional", OutcomeUnknown, "read_timeout"),
    ("read failure", READ_FAILURE, "read", QuorumUnavailable, "read_failure"),
    ("a condition's read failure", READ_FAILURE, "conditional", OutcomeUnknown, "read_failure"),
    ("write failure", write_failure(LOCAL_QUORUM, "SIMPLE"), "write", OutcomeUnknown, "write_failure"),
    ("failure of the agreement", write_failure(SERIAL, "CAS"), "conditional", OutcomeUnknown, "write_failure"),
    ("failure of the commit", write_failure(LOCAL_QUORUM, "CAS"), "conditional", None, ""),
    (
        "code 0x1700",
        served(0x1700, "CAS operation result is unknown", counted(SERIAL, 1, 2)),
        "conditional",
        OutcomeUnknown,
        "cas_unknown",
    ),
    ("overloaded", served(0x1001), "write", OutcomeUnknown, "server_overloaded"),
    ("overloaded, conditional", served(0x1001), "conditional", OutcomeUnknown, "server_overloaded"),
    ("overloaded, read", served(0x1001), "read", Overloaded, ""),
    ("starting", served(0x1002), "conditional", Unavailable, ""),
    ("server error", served(0x0000, "java.lang.NullPointerException"), "write", OutcomeUnknown, "server_error"),
    ("server error, read", served(0x0000), "read", Unavailable, ""),
    ("a table that is being made", served(0x0000, NOT_OPEN), "read", UnknownKey, ""),
    ("a table that is being made, write", served(0x0000, NOT_OPEN), "write", OutcomeUnknown, "not_open"),
    ("truncate", served(0x1003), "define", OutcomeUnknown, "server_error"),
    ("nobody to ask", no_host(), "write", Unavailable, ""),
    ("marked down", no_host(DOWN), "conditional", Unavailable, ""),
    ("pool closed", no_host(SHUT_DOWN, DOWN), "write", Unavailable, ""),
    ("lost while it was tried", no_host(DOWN, LOST), "conditional", OutcomeUnknown, "connection_lost"),
    ("every stream in use", no_host(pool.NoConnectionsAvailable()), "write", Overloaded, ""),
    ("socket full", no_host(connection.ConnectionBusy("full")), "conditional", Overloaded, ""),
    ("connection lost", LOST, "write", OutcomeUnknown, "connection_lost"),
    ("connection lost, conditional", LOST, "conditional", OutcomeUnknown, "connection_lost"),
    ("connection lost, read", LOST, "read", Unavailable, ""),
    ("no answer", cassandra.OperationTimedOut({}, None), "write", OutcomeUnknown, "client_timeout"),
    ("no answer, conditional", cassandra.OperationTimedOut({}, None), "conditional", OutcomeUnknown, "client_timeout"),
    ("no answer, define", cassandra.OperationTimedOut({}, None), "define", OutcomeUnknown, "client_timeout"),
    ("no answer, read", cassandra.OperationTimedOut({}, None), "read", Unavailable, ""),
    ("invalid", served(0x2200, "Invalid null value for column c"), "write", BadRequest, ""),
    ("no table", served(0x2200, "table t does not exist"), "conditional", UnknownKey, ""),
    ("no keyspace", served(0x2200, "Keyspace 'k' doesn't exist"), "define", UnknownKey, ""),
    ("no column", served(0x2200, "Undefined column name x in table k.t"), "read", UnknownKey, ""),
    (
        "too large",
        served(0x2200, "Encountered an oversized mutation (20/16) for keyspace: k. Top keys are: t.secret"),
        "write",
        TooLarge,
        "",
    ),
    ("long key", served(0x2200, "Key length of 65536 is longer than maximum of 65535"), "write", TooLarge, ""),
    ("syntax", served(0x2000, "line 1:0 no viable alternative at input 'sel'"), "read", BadRequest, ""),
    ("configuration", served(0x2300, "Unrecognized strategy option {bei}"), "define", BadRequest, ""),
    ("there already", served(0x2400, "Cannot add existing table", text("k"), text("t")), "define", AlreadyExists, ""),
    ("wrong password", served(0x0100, "Provided username and/or password are incorrect"), "read", Unauthenticated, ""),
    ("no right", served(0x2100, "User has no MODIFY permission"), "write", Forbidden, ""),
    ("a driver's defect", ValueError("surprise"), "write", OutcomeUnknown, "unclear"),
    ("a driver's defect, read", ValueError("surprise"), "read", Unavailable, ""),
]


@pytest.mark.parametrize(
    ("error", "work", "expected", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_an_error_means(
    error: BaseException, work: Work, expected: type[PolysiteError] | None, reason: str
) -> None:
    """Each recorded error, befallen the work named, is done (None), the one class of refusal, or unknown with its reason."""
    ours = judged(failure_of(error), work)
    if expected is None:
        assert ours is None
        return
    assert ours is not None
    assert type(ours) is expected
    assert ours.attributes.get("reason", "") == reason
    assert "surprise" not in ours.message


def test_the_cases_meet_every_row() -> None:
    """No row of the table is there that no recorded error meets, but for the one that is our own bound."""
    met = {kind_for(failure_of(error), work) for _, error, work, _, _ in CASES} | {"too_many"}
    assert met == set(TABLE) == set(get_args(Kind))


def test_unknown_only_where_something_may_have_happened() -> None:
    """A read never has an unknown outcome, and only a conditional write is ever done despite a failure."""
    for kind, judgement in TABLE.items():
        assert judgement.read is not OutcomeUnknown, kind
        assert DONE not in (judgement.read, judgement.write, judgement.define), kind


def test_what_the_server_counted_is_told() -> None:
    """Whoever handles the error can see how many replicas answered and how many were needed."""
    ours = judged(failure_of(unavailable(SERIAL)), "conditional")
    assert ours is not None
    assert ours.attributes == {"replicas_answered": 1, "replicas_needed": 2}
    ours = judged(failure_of(write_timeout(SERIAL, "CAS", received=0)), "conditional")
    assert ours is not None
    assert ours.attributes == {"reason": "contention", "replicas_answered": 0, "replicas_needed": 2}


def test_the_servers_words_are_kept_short_and_only_for_refusals() -> None:
    """A refusal quotes the server, without the driver's wrapping and not for ever; a failure does not quote it."""
    assert failure_of(served(0x2200, "table t does not exist")) == Failure("missing", "table t does not exist")
    long = failure_of(served(0x2200, "x" * 1_000))
    assert long.detail == "x" * 300 + "…"
    assert failure_of(served(0x0000, "at java.base")).detail == ""
    assert failure_of(served(0x2200, "Encountered an oversized mutation. Top keys are: t.secret")).detail == ""


def test_a_level_that_is_not_ours_is_none() -> None:
    """A server may speak of levels that polysite never asks for; the failure is judged without one."""
    error: Any = unavailable(SERIAL)
    error.consistency = 2
    assert failure_of(error).consistency is None


def test_certain_refuses_done() -> None:
    """What is handed on as an error must be one."""
    with pytest.raises(AssertionError):
        certain(judged(Failure("write_timeout", consistency=LOCAL_QUORUM, write_type="CAS"), "conditional"))
