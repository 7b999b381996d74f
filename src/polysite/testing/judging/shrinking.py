"""From a history that cannot be to the few calls that show it.

    short = shrunk(history, finding, judged=judge)

Calls are left out as long as the judge says the very same sentence of what remains, and nothing that it did not say of the whole
history: so no call is left out whose absence would be a fault of its own, such as the write of a value that is still read.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from polysite.testing.history import Call, History
from polysite.testing.judging.findings import key_of, named_by

T = TypeVar("T")
Judged = Callable[[History], list[str]]

CALLS_JUDGED_MAX = 200_000
"""So many calls are judged at most, all tries together."""


def shrunk(history: History, finding: str, judged: Judged, *, calls_judged_max: int = CALLS_JUDGED_MAX) -> History:
    """The calls that the finding needs, with the acquires of their tenures: of its key, or of all if it begins with none. A finding that
    the judge does not say of these calls alone: the history as it is."""
    key = key_of(finding, history)
    of_key = history if key is None else history.for_key(key)
    if not named_by(finding, of_key) or finding not in (found := judged(of_key)):
        return history
    trial = _Trial(finding, frozenset(found), judged, calls_judged_max - len(of_key))
    named = named_by(finding, of_key)
    kept = [call for call in of_key if call.call_id in named]
    kept += [call for call in of_key if call not in kept and any(_wrote(call, _values(other.value)) for other in kept)]
    rest = [call for call in of_key if call not in kept]
    # What began after all that the finding names had ended can hardly matter.
    last_s = max((call.end_s or call.start_s for call in of_key if call.call_id in named), default=0.0)
    before = [call for call in rest if call.start_s <= last_s]
    if trial.holds([*kept, *before]):
        rest = before
    kept += minimal(rest, lambda part: trial.holds([*kept, *part]))
    return History(_with_acquires(kept, of_key, trial))


def minimal(parts: Sequence[T], holds: Callable[[Sequence[T]], bool]) -> list[T]:
    """As few of the parts as still hold: no single one of them can be left out, unless `holds` gives up on the way and says no.

    Delta debugging (Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002). `holds` is true of all parts together.
    """
    kept = list(parts)
    if kept and holds([]):
        return []
    pieces = 2
    while len(kept) >= 2:
        size = -(-len(kept) // pieces)
        for start in range(0, len(kept), size):
            without = kept[:start] + kept[start + size :]
            if holds(without):
                kept = without
                pieces = max(pieces - 1, 2)
                break
        else:
            if pieces >= len(kept):
                break
            pieces = min(2 * pieces, len(kept))
    return kept


class _Trial:
    """Whether some calls alone still show the finding and nothing new; no, once too much was judged."""

    def __init__(self, finding: str, known: frozenset[str], judged: Judged, calls_left: int) -> None:
        self._finding = finding
        self._known = known
        self._judged = judged
        self._calls_left = calls_left

    def holds(self, calls: Sequence[Call]) -> bool:
        self._calls_left -= len(calls)
        if self._calls_left < 0:
            return False
        found = set(self._judged(History(calls)))
        return self._finding in found and found <= self._known


def _with_acquires(kept: list[Call], of_key: History, trial: _Trial) -> list[Call]:
    """The calls with the acquires of their tickets, which tell a reader when each tenure began."""
    tickets = {mark.ticket for call in kept for mark in call.references}
    missing = [
        call
        for call in of_key
        if call.verb == "acquire" and call not in kept and any(mark.ticket in tickets for mark in call.references)
    ]
    return [*kept, *missing] if missing and trial.holds([*kept, *missing]) else kept


def _values(told: Any) -> set[Any]:
    """The texts and numbers in what a read told."""
    if isinstance(told, dict):
        return {value for member in told.values() for value in _values(member)}
    if isinstance(told, list):
        return {value for member in told for value in _values(member)}
    return set() if told is None or isinstance(told, bool) else {told}


def _wrote(call: Call, values: set[Any]) -> bool:
    """Whether the call asked for one of the values to be written."""
    return isinstance(call.argument, dict) and bool(_values(_written(call.argument)) & values)


def _written(argument: dict[str, Any]) -> Any:
    return [write[2] for write in argument.get("writes", ()) if len(write) > 2] or argument.get("value")


__all__ = ["CALLS_JUDGED_MAX", "Judged", "minimal", "shrunk"]
