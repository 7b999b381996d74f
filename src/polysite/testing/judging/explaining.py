"""Findings of a judge as a person can read them: the sentence, and a picture of the calls that it needs. Decisions only."""

import math
from collections.abc import Iterator, Sequence

from polysite.testing.history import Call, History
from polysite.testing.judging.findings import kind_of, named_by, words_of
from polysite.testing.judging.shrinking import Judged, shrunk
from polysite.testing.judging.timeline import Strike, timeline

LAST_CALLS = 24
"""So many are shown beside those that a finding names, where more would be too many or it names none: the last ones."""

CALLS_DRAWN_MAX = 80


def explained(
    history: History,
    findings: Sequence[str],
    judged: Judged,
    *,
    kinds_max: int = 1,
    sites: Sequence[str] = (),
    strikes: Sequence[Strike] = (),
    origin_s: float = 0.0,
) -> Iterator[str]:
    """The first finding of each kind, of so many kinds, each with its picture."""
    firsts = list({kind_of(finding): finding for finding in reversed(findings)}.values())[::-1]
    for finding in firsts[:kinds_max]:
        short = shrunk(history, finding, judged)
        if len(short) > CALLS_DRAWN_MAX or not named_by(finding, history):
            short = _last(short, finding)
        yield ""
        yield f"{len(short)} of {len(history)} calls show: {finding}"
        yield from timeline(short, sites=sites, strikes=strikes, named=named_by(finding, short), origin_s=origin_s)


def _last(history: History, finding: str) -> History:
    """The last calls of those that it may take: up to the ones that are named and with them, else of the key that is spoken of."""
    words = words_of(finding)
    named = named_by(finding, history)
    told = [call for call in history if call.call_id in named]
    until_s = max((_end_s(call) for call in told), default=math.inf)
    spoken_of = [call for call in history if _spelled(call) in words]
    before = sorted((call for call in spoken_of or history if call not in told and _end_s(call) <= until_s), key=_end_s)
    return History([*told, *before[-LAST_CALLS:]])


def _end_s(call: Call) -> float:
    return call.start_s if call.end_s is None else call.end_s


def _spelled(call: Call) -> str:
    return "/".join(map(str, call.key)) if isinstance(call.key, list) else str(call.key)


__all__ = ["explained"]
