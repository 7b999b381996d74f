"""Findings of a judge as a person can read them: the sentence, and a picture of the calls that it needs. Decisions only."""

from collections.abc import Iterator, Sequence

from polysite.testing.findings import kind_of, named_by, words_of
from polysite.testing.history import Call, History
from polysite.testing.shrinking import Judged, shrunk
from polysite.testing.timeline import Strike, timeline

LAST_CALLS = 24
"""So many are shown where a finding names none: the last ones."""


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
        if short is history and not named_by(finding, history):
            short = _last(history, finding)
        yield ""
        yield f"{len(short)} of {len(history)} calls show: {finding}"
        yield from timeline(short, sites=sites, strikes=strikes, named=named_by(finding, short), origin_s=origin_s)


def _last(history: History, finding: str) -> History:
    """The last calls before a run ended, of the key that is spoken of if there is one."""
    words = words_of(finding)
    spoken_of = [call for call in history if _spelled(call) in words]
    calls = sorted(spoken_of or history, key=lambda call: call.end_s or call.start_s)
    return History(calls[-LAST_CALLS:])


def _spelled(call: Call) -> str:
    return "/".join(map(str, call.key)) if isinstance(call.key, list) else str(call.key)


__all__ = ["explained"]
