"""The one flat JSON object that everything here is answered with, and how failures are told in it.

    {"status": "SUCCESS", "message": …, "result": {"row 0": {…}}}      {"status": "FAILURE", "error": …}

A failure is status 400, as clients expect. What became of the request stands in the headers `Polysite-Code` and
`Polysite-Outcome` (done, refused, unknown), since the envelope has no place for it; the text of an unknown outcome says so too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from polysite.errors import OutcomeUnknown, PolysiteError
from polysite.server.exchange import JSON, Headers, Reply, Stream

SUCCESS, FAILURE = "SUCCESS", "FAILURE"
INCOMPLETE = "Incomplete Request body. Please correct your input request and retry."
MISSING_INPUT = "Please check to make sure all inputs are valid."
NO_DATA = "No data found"

_encode = msgspec.json.Encoder().encode


class Failure(Exception):
    """A request that is answered with FAILURE. `error` None: the status alone, or `members` say why."""

    def __init__(
        self,
        error: str | None,
        *,
        status: int = 400,
        cause: PolysiteError | None = None,
        headers: Headers = (),
        bare: Mapping[str, Any] | None = None,
        **members: Any,
    ) -> None:
        """`bare`: the whole body, without an envelope."""
        super().__init__(error)
        self.error = error
        self.status = status
        self.cause = cause
        self.headers = headers
        self.members = members
        self.bare = bare

    def reply(self) -> Reply:
        """The answer."""
        if self.bare is not None:
            return Reply(self.status, _encode(self.bare), headers=self.headers)
        body = {"status": FAILURE, **({} if self.error is None else {"error": self.error}), **self.members}
        headers = self.headers
        if self.cause is not None:
            headers = (*headers, *outcome_headers(self.cause))
        round_trips = self.cause.attributes.get("round_trips", 0) if self.cause is not None else 0
        return Reply(self.status, _encode(body), round_trips, headers)


def success(*, round_trips: float = 0, **members: Any) -> Reply:
    """SUCCESS with the members that are not None."""
    body = {"status": SUCCESS, **{name: member for name, member in members.items() if member is not None}}
    return Reply(200, _encode(body), round_trips)


def bare(body: Mapping[str, Any], *, status: int = 200) -> Reply:
    """An answer that has no `status` member, or one of its own."""
    return Reply(status, _encode(body))


def rows_found(rows: Sequence[Mapping[str, Any]], *, round_trips: float, says_none: bool = True) -> Reply:
    """`result` with the rows in their order; none at all is SUCCESS too, with an `error` that says so."""
    result = {f"row {number}": row for number, row in enumerate(rows)}
    error = NO_DATA if not rows and says_none else None
    return success(result=result, error=error, round_trips=round_trips)


def rows_streamed(
    rows: list[dict[str, Any]],
    cursor: str | None,
    page: Callable[[str | None], Awaitable[tuple[list[dict[str, Any]], str | None]]],
    *,
    enveloped: bool,
) -> Stream:
    """As `rows_found`, page by page: the first page and where the next begins, and how that is had. A page that cannot be had cuts
    the connection, so that nobody takes what was sent for the whole. Not `enveloped`: the rows alone."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"status":"SUCCESS","result":{' if enveloped else b"{"
        found, following, number = rows, cursor, 0
        while True:
            if found:
                comma = b"," if number else b""
                yield comma + _encode({f"row {number + place}": row for place, row in enumerate(found)})[1:-1]
                number += len(found)
            if following is None:
                break
            found, following = await page(following)
        yield b"}}" if enveloped else b"}"

    return Stream(JSON, chunks())


def told(error: PolysiteError) -> str:
    """The text of an error."""
    if isinstance(error, OutcomeUnknown):
        return f"It is not known whether this was done: {error.message}"
    return error.message


def failure_of(error: PolysiteError, *, before: str = "") -> Failure:
    """The failure that an error is told as; `before`: what the original says in front of the reason."""
    return Failure(before + told(error), cause=error)


def outcome_headers(error: PolysiteError) -> Headers:
    """Code and outcome of an error, for programs."""
    return ((b"polysite-code", error.code.encode()), (b"polysite-outcome", error.outcome.encode()))
