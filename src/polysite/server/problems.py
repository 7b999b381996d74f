"""Problem details (RFC 9457): how an error looks on the wire, and the one table from error code to status.

    {"type": "urn:polysite:problem:lock_lost", "title": "…", "status": 410, "detail": "…",
     "code": "lock_lost", "outcome": "refused", "retry": false, "request": "…", "attributes": {…}}

A client decides by `code`, `outcome` and `retry`; the status is for what stands between. `detail` and `attributes`
never hold a path of this machine, a credential, or a value out of a query.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from polysite.errors import BadRequest, OutcomeUnknown, PolysiteError, all_codes

STATUS: Mapping[str, int] = {
    "error": 500,
    "refused": 400,
    "bad_request": 400,
    "too_large": 413,
    "unknown_key": 404,
    "already_exists": 409,
    "not_holder": 409,
    "lock_lost": 410,
    "stale_token": 409,
    "compare_failed": 412,
    "not_owner": 409,
    "acquire_timeout": 423,
    "unauthenticated": 401,
    "forbidden": 403,
    "idempotency_mismatch": 422,
    "cell_exhausted": 409,
    "unknown_cell_format": 409,
    "unavailable": 503,
    "quorum_unavailable": 503,
    "site_unreachable": 503,
    "overloaded": 503,
    "store_full": 507,
    "expired": 503,
    "outcome_unknown": 504,
}
"""Every code of `errors` has its line here. 504 for an unknown outcome, because what stands between retries a 503."""

TYPE_BASE = "urn:polysite:problem:"
MEDIA_TYPE = b"application/problem+json"
RETRY_AFTER_S = 1


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, what became of the request, and whether sending it again may help."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    outcome: str
    retry: bool
    request: str
    attributes: dict[str, Any] = {}


class HttpRefusal(Exception):
    """A request refused for its form, before any verb: `error` as usual, with a status (and headers) of HTTP's own."""

    def __init__(self, status: int, error: PolysiteError, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers


def refuse(
    message: str, *, status: int = 400, headers: tuple[tuple[bytes, bytes], ...] = (), **attributes: Any
) -> HttpRefusal:
    """A refusal with the code `bad_request`."""
    return HttpRefusal(status, BadRequest(message, **attributes), headers)


def status_of(error: PolysiteError) -> int:
    """The status of an error; a class without a line in the table has that of the nearest one above it."""
    for error_type in type(error).__mro__:
        status = STATUS.get(getattr(error_type, "code", ""))
        if status is not None:
            return status
    return 500


def problem_of(error: PolysiteError, *, status: int, request: str) -> Problem:
    """The error as problem details."""
    return Problem(
        type=TYPE_BASE + error.code,
        title=title_of(error.code),
        status=status,
        detail=error.message,
        code=error.code,
        outcome=error.outcome,
        retry=error.retry,
        request=request,
        attributes=error.attributes,
    )


def title_of(code: str) -> str:
    """The first line of the docstring of the code's class."""
    error_type = all_codes().get(code, PolysiteError)
    return (error_type.__doc__ or "").split("\n", 1)[0]


def unexpected(*, may_have_happened: bool) -> PolysiteError:
    """What a client is told of an exception that nobody foresaw: nothing but its outcome."""
    if may_have_happened:
        return OutcomeUnknown(
            "the server failed while it carried out the request; its log has the details", reason="internal"
        )
    return PolysiteError("the server failed; its log has the details")


encode = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__).encode
"""Problem details as JSON. An attribute that JSON cannot hold is told by its type alone."""
