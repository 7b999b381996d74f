# Generated from src/polysite/client/_async/carrier.py by scripts/generate_sync.py; change that file, not this one.
"""Requests to one site: which of its processes is asked, what is sent again, and what a failure means."""

from collections.abc import Iterator, Sequence
from typing import Literal

from polysite.client import wire
from polysite.client.pacing import Pace
from polysite.client.transport import ANSWER_S_DEFAULT, NotAnswered, NotSent, Request, Response, Transport
from polysite.errors import OutcomeUnknown, PolysiteError, SiteUnreachable, Unavailable

Effect = Literal["none", "same", "once"]
"""What a request does: nothing; the same however often it is sent; something that must not happen twice."""

RETRIES_DEFAULT = 2
RETRY_AFTER_S_MAX = 5.0


class Carrier:
    """Sends requests to the processes of one site, one at a time, and sends again what is safe to send again.

    Safe is: whatever has no effect or the same effect each time; and anything at all after an answer or failure that
    says it did not happen for a passing reason. A request that may have happened is told as `OutcomeUnknown`, and once
    one attempt may have happened, no later refusal makes the whole a refusal: only an answer `done` settles it.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        *,
        bearer: str | None = None,
        retries: int = RETRIES_DEFAULT,
        answer_s: float = ANSWER_S_DEFAULT,
        pace: Pace | None = None,
    ) -> None:
        """`retries` counts attempts after the first; a process that cannot be reached costs none while others are untried."""
        self._transports = list(transports)
        self._current = 0
        self._retries = retries
        self._answer_s = answer_s
        self.pace: Pace = pace if pace is not None else Pace()
        self._headers = {"accept": "application/json"}
        if bearer is not None:
            self._headers["authorization"] = f"Bearer {bearer}"

    def send(
        self,
        method: str,
        target: str,
        *,
        effect: Effect,
        body: object = None,
        headers: dict[str, str] | None = None,
        wait_ms: int = 0,
        fine: frozenset[int] = frozenset(),
    ) -> Response:
        """The answer, if its status says done or is one of `fine`; else the error it tells.

        `wait_ms` is what the server was asked to wait.
        """
        request = self._request(method, target, body=body, headers=headers, answer_s=self._answer_s + wait_ms / 1000)
        doubt: PolysiteError | None = None
        attempt = untried = 0
        while True:
            error = self._attempt(request, effect, fine)
            if isinstance(error, Response):
                return error
            if error.outcome == "unknown":
                if effect != "same" or attempt >= self._retries:
                    raise error
                doubt = error
            elif not isinstance(error, Unavailable):
                raise _in_doubt(doubt, error)
            if isinstance(error.__cause__, NotSent) and untried < len(self._transports) - 1:
                untried += 1
                continue
            if attempt >= self._retries:
                raise _in_doubt(doubt, error)
            attempt += 1
            self.pace.sleep_s(max(self.pace.retry_s(attempt), _asked_s(error)))

    def stream(self, target: str) -> Iterator[bytes]:
        """The lines of an answer that goes on; SiteUnreachable when it breaks."""
        request = self._request("GET", target, headers={"accept": "text/event-stream"}, answer_s=self._answer_s)
        lines = self._transports[self._current].stream(request)
        try:
            for item in lines:
                if isinstance(item, bytes):
                    yield item
                elif item.status != 200:
                    raise wire.problem(item)
        except (NotSent, NotAnswered) as error:
            self._next()
            raise SiteUnreachable(str(error)) from error

    def close(self) -> None:
        for transport in self._transports:
            transport.close()

    def _attempt(self, request: Request, effect: Effect, fine: frozenset[int]) -> Response | PolysiteError:
        asked = self._current
        error: PolysiteError
        try:
            response = self._transports[asked].send(request)
        except NotSent as failure:
            self._leave(asked)
            error = SiteUnreachable(str(failure))
            error.__cause__ = failure
            return error
        except NotAnswered as failure:
            self._leave(asked)
            if effect == "none":
                error = SiteUnreachable(str(failure))
            else:
                error = OutcomeUnknown(str(failure), reason="not_answered")
            error.__cause__ = failure
            return error
        if response.status < 400 or response.status in fine:
            return response
        error = wire.problem(response)
        if error.outcome == "unknown" and effect == "none":
            error = SiteUnreachable(error.message, **error.attributes)
        after = response.headers.get("retry-after", "")
        if after.isdigit():
            error.attributes.setdefault("retry_after_s", int(after))
        return error

    def _request(
        self,
        method: str,
        target: str,
        *,
        answer_s: float,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Request:
        named = dict(self._headers)
        if headers:
            named.update(headers)
        if body is None:
            return Request(method, target, named, b"", answer_s)
        named["content-type"] = "application/json"
        return Request(method, target, named, wire.encode(body), answer_s)

    def _leave(self, asked: int) -> None:
        """Ask another process from now on, unless somebody has moved on already."""
        if asked == self._current:
            self._next()

    def _next(self) -> None:
        self._current = (self._current + 1) % len(self._transports)


def _in_doubt(doubt: PolysiteError | None, error: PolysiteError) -> PolysiteError:
    """`error`, unless an earlier attempt may have happened: then that is what is known, and `error` is its cause."""
    if doubt is None:
        return error
    told = OutcomeUnknown(
        f"an attempt was not answered, and sending it again gave: {error.message}",
        **{**error.attributes, "reason": doubt.attributes.get("reason", "not_answered"), "then": error.code},
    )
    told.__cause__ = error
    return told


def _asked_s(error: PolysiteError) -> float:
    """How long the server asked to be left alone, bounded."""
    asked = error.attributes.get("retry_after_s", 0)
    return min(float(asked), RETRY_AFTER_S_MAX) if isinstance(asked, int | float) else 0.0
