"""What the descriptions of several routes share: parameters and the codes they may answer."""

from polysite.server.convert import Codec
from polysite.server.exchange import Exchange, Headers
from polysite.server.problems import refuse
from polysite.server.routing import Parameter

LEVELS = ("eventual", "quorum", "critical", "atomic")
LEVEL = Parameter(
    name="level",
    schema={"type": "string", "enum": list(LEVELS)},
    about="eventual: nearest replica. quorum: a majority. critical: under the reference in the header Polysite-Lock. "
    "atomic: in a section of its own. Left out: critical with that header, else eventual.",
)
STAMPS = Parameter(
    name="stamps", schema={"type": "string", "enum": ["0", "1"]}, about="1: also the stamp of each column."
)
LOCK_HEADER = Parameter(
    name="Polysite-Lock",
    schema={"type": "string"},
    about="The lock reference under which the call is made.",
    place="header",
)
IDEMPOTENCY_HEADER = Parameter(
    name="Idempotency-Key",
    schema={"type": "string", "pattern": "^[!-~]{1,255}$"},
    about="A text that stands for this request: sent again, it has no second effect. Kept for 24 hours.",
    place="header",
)
ALWAYS = ("bad_request", "unauthenticated", "forbidden", "unavailable", "overloaded")
"""Codes that every route may answer."""
OF_TABLE = ("unknown_key", "quorum_unavailable", "site_unreachable")
OF_BODY = ("too_large",)
OF_WRITE = ("store_full", "outcome_unknown", "expired", "cell_exhausted", "unknown_cell_format")
OF_LOCK = ("not_holder", "lock_lost")
OF_KEY = ("idempotency_mismatch",)

KEYSPACE = "voting"
TABLE = "votes"
PATH_EXAMPLES = {"keyspace": KEYSPACE, "table": TABLE, "key": "ana"}


def row_headers(codec: Codec) -> Headers:
    """The header by which a client notices that the table is another one than it knew."""
    return ((b"polysite-schema", codec.digest),)


def one_reference(exchange: Exchange, in_body: str | None) -> str | None:
    """The lock reference, which may stand in the header or in the body, or the same in both."""
    in_header = exchange.reference
    if in_header is not None and in_body is not None and in_header != in_body:
        raise refuse("the header Polysite-Lock and the body name different lock references")
    return in_header if in_header is not None else in_body
