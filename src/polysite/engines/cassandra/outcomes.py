"""What a failure of Cassandra means for what was asked: the one table of done, refused and unknown.

Adapters turn their library's errors into a `Failure`; `judged` looks it up in `TABLE` by the kind of work it befell. The rule
behind the rows: Unavailable only when the request was certainly not executed, unknown for whatever was sent and not certainly
answered. Sources: Cassandra 5.0 (`Paxos`, `StorageProxy`, native protocol v5, section 9), and measurements on three sites.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

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

Work = Literal["read", "write", "conditional", "define"]
"""write: plain ones and batches of them. conditional: compare-and-set. define: schema statements."""

Kind = Literal[
    "too_few_replicas",  # the coordinator knew of too few live replicas and did nothing
    "commit_unavailable",  # the same, said of the commit level of a conditional write
    "read_timeout",
    "read_failure",
    "write_timeout",  # a plain write, or a conditional one that was not agreed in time
    "contention",  # a conditional write or a read at SERIAL, superseded by others: not slow, too many at once
    "commit_timeout",  # a conditional write was agreed, and its commit not acknowledged in time
    "commit_failure",  # a conditional write was agreed, and too few replicas were there to commit it
    "write_failure",
    "cas_unknown",  # native code 0x1700
    "server_overloaded",
    "server_starting",
    "server_error",
    "not_sent",  # no connection took it
    "too_many",  # our own bound of requests under way, or no stream was free
    "connection_lost",  # sent, and the connection ended before the answer
    "client_timeout",  # sent, and not answered within our own limit
    "invalid",
    "missing",  # keyspace, table or column that is not there
    "not_open",  # a table that is in the server's schema, and not open at the server: it is being made or dropped
    "exists",
    "too_large",
    "unauthenticated",
    "forbidden",
    "unclear",  # anything else
]


class Failure(NamedTuple):
    """What a driver's error says, as plain values. `consistency`, `write_type` and the counts only where the server told them."""

    kind: Kind
    detail: str = ""
    """The server's own words where they help (they name no value), else empty."""
    consistency: Consistency | None = None
    write_type: str = ""
    received: int | None = None
    required: int | None = None


DONE: Final = "done"
Meaning: TypeAlias = "type[PolysiteError] | Literal['done']"


class Judgement(NamedTuple):
    """What the failure means for each kind of work, and the words for it."""

    read: Meaning
    write: Meaning
    conditional: Meaning
    define: Meaning
    words: str


TABLE: dict[Kind, Judgement] = {
    "too_few_replicas": Judgement(
        QuorumUnavailable, QuorumUnavailable, QuorumUnavailable, QuorumUnavailable, "too few replicas are up"
    ),
    # Paxos v1 looks for the replicas of the commit only after it has agreed on the write.
    "commit_unavailable": Judgement(
        QuorumUnavailable, QuorumUnavailable, OutcomeUnknown, OutcomeUnknown, "too few replicas are up for the commit"
    ),
    "read_timeout": Judgement(
        QuorumUnavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "too few replicas answered in time"
    ),
    "read_failure": Judgement(QuorumUnavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "a replica failed"),
    "write_timeout": Judgement(
        QuorumUnavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "too few replicas acknowledged it in time"
    ),
    "contention": Judgement(
        Unavailable,
        OutcomeUnknown,
        OutcomeUnknown,
        OutcomeUnknown,
        "others changed the same rows at the same time",
    ),
    # Thrown only after a majority accepted the proposal: whoever reads at SERIAL next finishes it.
    "commit_timeout": Judgement(
        QuorumUnavailable, OutcomeUnknown, DONE, OutcomeUnknown, "the commit was not acknowledged in time"
    ),
    # Tried on 5.0: a commit level that cannot be met is no Unavailable, but this, after the agreement.
    "commit_failure": Judgement(
        QuorumUnavailable, OutcomeUnknown, DONE, OutcomeUnknown, "too few replicas acknowledged the commit"
    ),
    "write_failure": Judgement(QuorumUnavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "a replica failed"),
    "cas_unknown": Judgement(
        Unavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "the engine does not know whether it was agreed"
    ),
    # May come after the batch log or some of the replicas have it.
    "server_overloaded": Judgement(
        Overloaded, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "the Cassandra node is overloaded"
    ),
    "server_starting": Judgement(
        Unavailable, Unavailable, Unavailable, Unavailable, "the Cassandra node has not joined its cluster yet"
    ),
    "server_error": Judgement(
        Unavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "the Cassandra node failed: see its log"
    ),
    "not_sent": Judgement(
        Unavailable, Unavailable, Unavailable, Unavailable, "no Cassandra node of this site can be reached"
    ),
    "too_many": Judgement(
        Overloaded, Overloaded, Overloaded, Overloaded, "too many requests to Cassandra are under way"
    ),
    "connection_lost": Judgement(
        Unavailable, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "the connection to Cassandra was lost"
    ),
    "client_timeout": Judgement(
        Unavailable,
        OutcomeUnknown,
        OutcomeUnknown,
        OutcomeUnknown,
        "Cassandra did not answer within the request's limit",
    ),
    "invalid": Judgement(BadRequest, BadRequest, BadRequest, BadRequest, "Cassandra refused the request"),
    "missing": Judgement(
        UnknownKey, UnknownKey, UnknownKey, UnknownKey, "Cassandra has no such keyspace, table or column"
    ),
    # A write may reach replicas where it is open.
    "not_open": Judgement(
        UnknownKey, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "Cassandra is making or dropping that table"
    ),
    "exists": Judgement(AlreadyExists, AlreadyExists, AlreadyExists, AlreadyExists, "it exists already"),
    "too_large": Judgement(TooLarge, TooLarge, TooLarge, TooLarge, "Cassandra refused it for its size"),
    "unauthenticated": Judgement(
        Unauthenticated, Unauthenticated, Unauthenticated, Unauthenticated, "Cassandra does not take the credentials"
    ),
    "forbidden": Judgement(
        Forbidden, Forbidden, Forbidden, Forbidden, "the credentials for Cassandra lack the right to do this"
    ),
    "unclear": Judgement(
        Unavailable,
        OutcomeUnknown,
        OutcomeUnknown,
        OutcomeUnknown,
        "the Cassandra driver failed in a way it should not",
    ),
}

OF_THE_COMMIT: dict[Kind, Kind] = {"write_timeout": "commit_timeout", "write_failure": "commit_failure"}
SERIAL_LEVELS = (Consistency.SERIAL, Consistency.LOCAL_SERIAL)


def kind_for(failure: Failure, work: Work) -> Kind:
    """The row of the table: for conditional work and reads at SERIAL a time-out says by its level and counts which phase it befell."""
    serial = failure.consistency in SERIAL_LEVELS
    if work == "read":
        # Reads at SERIAL propose, too, and only they end as a write's time-out; who is superseded until the limit, as a read's.
        ends_so = failure.kind == "write_timeout" or (failure.kind == "read_timeout" and serial)
        return "contention" if ends_so and failure.received == 0 else failure.kind
    if work != "conditional" or failure.consistency is None:
        return failure.kind
    if failure.kind == "too_few_replicas" and not serial:
        return "commit_unavailable"
    # What Accord carries is sent at ANY: it has no commit of its own, so its time-out says nothing of an agreement.
    if not serial and failure.write_type == "CAS" and failure.consistency is not Consistency.ANY:
        # `Paxos.cas` names the commit's level only where the proposal was accepted and the commit was awaited.
        return OF_THE_COMMIT.get(failure.kind, failure.kind)
    if failure.kind == "write_timeout" and serial and failure.received == 0:
        return "contention"
    return failure.kind


def judged(failure: Failure, work: Work) -> PolysiteError | None:
    """The error to raise for a failure that befell `work`; None: it is done all the same.

    OutcomeUnknown and the errors of a read that failed or was superseded carry the row's name as `reason`; errors of replicas carry how
    many answered and were needed.
    """
    kind = kind_for(failure, work)
    judgement = TABLE[kind]
    meaning: Meaning = getattr(judgement, work)
    if meaning == DONE:
        return None
    attributes: dict[str, object] = {}
    if meaning is OutcomeUnknown or kind in {"read_failure", "contention"}:
        attributes["reason"] = kind
    if failure.required is not None:
        attributes |= {"replicas_answered": failure.received, "replicas_needed": failure.required}
    words = f"{judgement.words}: {failure.detail}" if failure.detail else judgement.words
    return meaning(words, **attributes)


def certain(error: PolysiteError | None) -> PolysiteError:
    """The error of a judgement that cannot be "done": only conditional work is done despite a failure that says so."""
    assert error is not None, "a failure without its level was judged as done"
    return error
