"""A history seen by tenures: who held which key from when to when, and which ended well. Decisions only."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from polysite.testing.history import Call, History
from polysite.testing.recorded import LOCKED


class Tenure(NamedTuple):
    """One granted lock: moments in seconds since the load began. `put_s`: when its write was answered, None if it was not done.
    `released_s`: when its release was asked for, None if it never was."""

    site: str
    key: Any
    ticket: int
    asked_s: float
    held_s: float
    put_s: float | None
    released_s: float | None

    @property
    def ended_well(self) -> bool:
        return self.put_s is not None


def tenures(history: History, began_s: float) -> list[Tenure]:
    """Every tenure that a client was granted, in the order they were granted."""
    by_ticket: dict[tuple[str, int], dict[str, Call]] = defaultdict(dict)
    for call in history:
        if call.key[0] == LOCKED and call.references and call.verb in ("acquire", "write", "release"):
            by_ticket[call.key[1], call.references[0].ticket].setdefault(call.verb, call)
    found = [_tenure(ticket, calls, began_s) for (_, ticket), calls in by_ticket.items() if "acquire" in calls]
    return sorted(found, key=lambda tenure: tenure.held_s)


def _tenure(ticket: int, calls: dict[str, Call], began_s: float) -> Tenure:
    acquire, put, release = calls["acquire"], calls.get("write"), calls.get("release")
    assert acquire.end_s is not None
    done = put is not None and put.outcome == "done" and put.end_s is not None
    return Tenure(
        site=acquire.site,
        key=acquire.key[1],
        ticket=ticket,
        asked_s=acquire.start_s - began_s,
        held_s=acquire.end_s - began_s,
        put_s=(put.end_s or 0) - began_s if put is not None and done else None,
        released_s=release.start_s - began_s if release is not None else None,
    )


def hand_overs_s(found: list[Tenure]) -> Iterator[float]:
    """How long it took from the call of a release until a waiter at another site held, for each time that happened."""
    by_key: dict[Any, list[Tenure]] = defaultdict(list)
    for tenure in found:
        by_key[tenure.key].append(tenure)
    for of_key in by_key.values():
        in_order = sorted(of_key, key=lambda tenure: tenure.ticket)
        for before, after in pairwise(in_order):
            released_s = before.released_s
            if before.site != after.site and released_s is not None and after.asked_s < released_s < after.held_s:
                yield after.held_s - released_s


def longest_gap_s(moments: list[float], begin_s: float, end_s: float) -> float:
    """The longest span between begin and end without any of the moments."""
    inside = [begin_s, *sorted(moment for moment in moments if begin_s < moment < end_s), end_s]
    return max(after - before for before, after in pairwise(inside))
