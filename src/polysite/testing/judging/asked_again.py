"""Requests that are asked more than once: one effect, and one answer."""

from collections.abc import Iterator, Mapping, Sequence

from polysite.testing.history import Call

PASSING = frozenset(("unavailable", "quorum_unavailable", "site_unreachable", "overloaded", "store_full", "expired"))
"""Refusals that say nothing about a request: it could not be asked."""


def judge_asked_again(requests: Mapping[str, Sequence[Call]]) -> Iterator[str]:
    """What cannot be in the calls of each request: once it was answered, it has that answer, and it is no other one's."""
    for request, asked in requests.items():
        done = [call for call in asked if call.outcome == "done"]
        for other in done[1:]:
            if other.value != done[0].value:
                yield f"{other.call_id} was answered {other.value}, and {done[0].call_id}, the same request {request}, {done[0].value}"
        for call in asked:
            after = bool(done) and call.start_s >= (done[0].end_s or 0.0)
            wrong = call.code == "idempotency_mismatch" or (after and call.code not in PASSING)
            if call.outcome == "refused" and wrong:
                yield f"{call.call_id} was refused ({call.code}), though it asks the request {request} again"
