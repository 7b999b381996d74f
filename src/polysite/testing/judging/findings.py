"""What a finding of the judge is about: its kind, the calls that it names, the key that it is of.

A finding is a sentence. Two are of one kind if they differ in names, numbers and values alone; so a smaller run can be known to show the
same thing.
"""

import re
from collections.abc import Iterable
from typing import Any

from polysite.testing.history import Call, History

_ENDED = re.compile(r"the run ended with (\w+): .*?(?:\((\S+):\d+ (\w+)|$)", re.DOTALL)
"""How a run tells an error that ended it: the error, and the innermost place that it came from."""

_VARIABLE = re.compile(
    r"\([^)]*\)|\{[^}]*\}|\[[^\]]*\]|'[^']*'|\b\d[\w./-]*|\b[\w./@]+-\d[\w./@-]*|\bNone\b|\bor\b|\bin row\b|…"
)
_CALLED = re.compile(r"\w+ \S+ of(?= ticket )")
"""A call by its verb: which one it was makes no difference."""

_BETWEEN = re.compile(r"[\s,;:()\[\]{}]+")


def kind_of(finding: str) -> str:
    """The words of a finding without names, numbers and values; of an error that ended a run, which it was and where it came from."""
    if found := _ENDED.search(finding):
        return " ".join(word for word in ("the run ended with", *found.groups()) if word)
    return " ".join(re.findall(r"[A-Za-z]+", _VARIABLE.sub(" ", _CALLED.sub("call of", finding))))


def key_of(finding: str, history: History) -> Any:
    """The key that the finding begins with; None: it is about none of the history's."""
    keys = [key for key in history.keys() if finding.startswith(f"{key}: ")]  # noqa: SIM118 - not a mapping
    return keys[0] if keys else None


def named_by(finding: str, calls: Iterable[Call]) -> set[str]:
    """The `call_id` of each call that the finding names. An error that ended the run names none."""
    if _ENDED.search(finding):
        return set()
    words = words_of(finding)
    return {call.call_id for call in calls if call.call_id in words}


def words_of(finding: str) -> set[str]:
    """Its words; a value of text stands in quotes and is none."""
    return set(_BETWEEN.split(finding))


__all__ = ["key_of", "kind_of", "named_by", "words_of"]
