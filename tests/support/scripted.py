"""A site that answers from a script: the function behind a transport."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from polysite.client import NotAnswered, NotSent, Request, Response
from polysite.errors import PolysiteError

Step = Response | Exception | Callable[[Request], Response]

VOTES: dict[str, Any] = {
    "keyspace": "voting",
    "name": "votes",
    "columns": [
        {"name": "name", "type": "text"},
        {"name": "count", "type": "int"},
        {"name": "total", "type": "decimal"},
    ],
    "partition_key": ["name"],
    "clustering_key": [],
    "lock_columns": [],
    "writes": "sections",
    "indexes": [],
}


def answer(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(status, {"content-type": "application/json", **(headers or {})}, msgspec.json.encode(body))


def refusal(error: PolysiteError, *, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    """Problem details that tell `error`."""
    body = {
        "type": f"urn:polysite:problem:{error.code}",
        "title": error.code,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "outcome": error.outcome,
        "retry": error.retry,
        "request": "r1",
        "attributes": error.attributes,
    }
    return answer(body, status=status, headers=headers)


class ScriptedSite:
    """Answers each request by the next step of the script, and keeps what was asked.

    Requests for the table's spec are answered beside the script, unless it names them itself.
    """

    def __init__(self, *steps: Step, spec: dict[str, Any] | None = None, schema: str = "s1") -> None:
        self.steps = deque(steps)
        self.spec = spec if spec is not None else VOTES
        self.schema = schema
        self.asked: list[Request] = []
        self.specs_asked = 0

    def answer(self, request: Request) -> Response:
        if (
            request.method == "GET"
            and request.target == f"/v3/keyspaces/{self.spec['keyspace']}/tables/{self.spec['name']}"
        ):
            self.specs_asked += 1
            return answer(self.spec, headers={"polysite-schema": self.schema})
        self.asked.append(request)
        assert self.steps, f"nothing was expected any more, and {request.method} {request.target} came"
        step = self.steps.popleft()
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Response) else step(request)

    async def answer_async(self, request: Request) -> Response:
        return self.answer(request)

    @property
    def last_body(self) -> Any:
        """The JSON body of the last request."""
        return msgspec.json.decode(self.asked[-1].body)


UNSENT = NotSent("connection refused")
UNANSWERED = NotAnswered("the connection broke")
