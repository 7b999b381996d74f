"""What servers answered to requests that carry an idempotency key: one request has one answer, however often it is sent.

It hears every answer as the server gives it, so also those that were lost on the way, to requests that were sent again or came twice.
"""

from typing import Any

import msgspec

from polysite.client.transport import Request, Response
from polysite.values.keys import Reference, parse_reference

KEY = "idempotency-key"
_ANSWER = ("stamp", "results", "fencing_token", "reference")
"""What of an answer must not differ; what it has cost, and whether a lock is held by now, may."""


class Witness:
    """Compares the answers of one world."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self.repeated = 0
        """Answers that were compared with an earlier one."""
        self._first: dict[str, tuple[str, dict[str, Any]]] = {}

    def note(self, process: str, request: Request, response: Response) -> None:
        """A process answers a request."""
        key = request.headers.get(KEY)
        if key is None:
            return
        found = msgspec.json.decode(response.body) if response.body else {}
        where = f"{request.method} {request.target} at {process}"
        if response.status == 422 and found.get("code") == "idempotency_mismatch":
            self.findings.append(f"{where}: the same request is taken for another one")
        if response.status not in (200, 201, 202):
            return
        told = {name: found[name] for name in _ANSWER if name in found}
        if key not in self._first:
            self._first[key] = where, told
            return
        self.repeated += 1
        before, first = self._first[key]
        if told != first:
            self.findings.append(f"{where} answered {_shown(told)}, where {before} had answered {_shown(first)}")


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    """As it may be shown: references are secrets also where they open nothing."""
    return {name: _ticket_of(value) if name == "reference" else value for name, value in told.items()}


def _ticket_of(reference: str) -> str:
    """The ticket of a reference."""
    parsed = parse_reference(reference)
    return f"ticket {parsed.ticket}" if isinstance(parsed, Reference) else "a set"
