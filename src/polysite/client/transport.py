"""The seam between the client and the network: a request goes in, a response comes out, or one of two failures.

The two failures are kept apart because they mean different things to a caller who writes: `NotSent` says that no byte of
the request left, so nothing happened; `NotAnswered` says that it may have arrived, so anything may have happened.

A transport talks to one process of a site. Whoever writes one (or hands a function to `FunctionTransport`) raises
nothing else.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

ANSWER_S_DEFAULT = 30.0
"""How long an answer is waited for, beyond what the request itself asks the server to wait."""

CONNECT_S_DEFAULT = 5.0
IDLE_S_MAX = 4.0
"""An idle connection is let go before the server would (5 s is a common default there), so that a request is not sent
into a connection that is being closed: such a request would be `NotAnswered` for no good reason."""

CONNECTIONS_MAX = 256
LINE_BYTES_MAX = 1024 * 1024


class Request(NamedTuple):
    """One request. `target` is the raw path with its query, percent-encoded; header names are lower case.

    `answer_s` bounds the time from sending to the end of the answer.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    answer_s: float = ANSWER_S_DEFAULT


class Response(NamedTuple):
    """One response, read to its end; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Exception):
    """No byte of the request left this process: nothing happened."""


class NotAnswered(Exception):
    """The request was sent, at least in part, and no whole answer came back."""


class AsyncTransport(Protocol):
    """Carries requests to one process of a site."""

    async def send(self, request: Request) -> Response:
        """The response; NotSent or NotAnswered."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Response | bytes]:
        """First the response (its body empty if the status is 200), then the lines of its body without their ends.

        Ends when the server ends it; NotSent or NotAnswered otherwise. The time between lines is not bounded.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class Transport(Protocol):
    """As `AsyncTransport`, for callers that block; may be called from several threads at once."""

    def send(self, request: Request) -> Response: ...

    def stream(self, request: Request) -> Iterator[Response | bytes]: ...

    def close(self) -> None: ...


class AsyncFunctionTransport:
    """A transport over a function from request to response, for tests and for callers with carriers of their own."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def send(self, request: Request) -> Response:
        return await self._answer(request)

    async def stream(self, request: Request) -> AsyncIterator[Response | bytes]:
        response = await self._answer(request)
        yield response
        for line in response.body.split(b"\n"):
            yield line

    async def close(self) -> None:
        """Nothing to let go of."""


class FunctionTransport:
    """As `AsyncFunctionTransport`, for callers that block."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self._answer = answer

    def send(self, request: Request) -> Response:
        return self._answer(request)

    def stream(self, request: Request) -> Iterator[Response | bytes]:
        response = self._answer(request)
        yield response
        yield from response.body.split(b"\n")

    def close(self) -> None:
        """Nothing to let go of."""
