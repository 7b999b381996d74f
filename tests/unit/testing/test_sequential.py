"""The judge of operations under a lock convicts what it is there to convict, and nothing else.

Goal: a simulated run that passes means something. Method: small histories written by hand, legal ones with calls of unknown outcome in all
the ways in which they may have gone, then illegal ones with one fault each.
"""

import pytest

from polysite.testing.judging.sequential import judge_sequential
from tests.support.scripts import FULL, Script, locked


def findings(script: Script) -> list[str]:
    return list(judge_sequential(script.calls))


LEGAL = {
    "what was put is read by the next": locked(1).put(1, FULL).acquire(2).read(2, FULL),
    "a partial put leaves the other column": locked(1).put(1, FULL).put(1, {"a": "2"}).read(1, {"a": "2", "b": "1"}),
    "a null takes the value away, not the row": locked(1).put(1, FULL).put(1, {"a": None, "b": None}).read(1, {}),
    "what was deleted is not there": locked(1).put(1, FULL).write(1, ["delete", ""]).acquire(2).read(2, None),
    "an unanswered put was made": locked(1).put(1, FULL, outcome="unknown").acquire(2).read(2, FULL).read(2, FULL),
    "an unanswered put was not made": locked(1).put(1, FULL, outcome="unknown").acquire(2).read(2, None).read(2, None),
    "an unanswered put shows behind a later one of another column": locked(1)
    .put(1, {"a": "2"}, outcome="unknown")
    .put(1, {"b": "3"})
    .acquire(2)
    .read(2, {"a": "2", "b": "3"}),
    "an unanswered batch was made in one row and not in the other": locked(1)
    .write(1, ["put", "x", FULL], ["put", "y", FULL], outcome="unknown")
    .acquire(2)
    .read(2, FULL, row="x")
    .read(2, None, row="y"),
    "a refused put was not made": locked(1).put(1, FULL, outcome="refused").acquire(2).read(2, None),
    "a late answer belongs to its tenure": locked(1, 2)
    .put(2, FULL)
    .put(1, {"a": "z"}, outcome="unknown")
    .read(2, FULL),
    "ranges": locked(1)
    .write(1, ["put", "x", FULL], ["put", "y", FULL])
    .range(1, [["x", FULL]], high="y")
    .write(1, ["range", "y", None])
    .range(1, [["x", FULL]]),
    "a section of unknown outcome that was made": Script().section(None, FULL).section(4, {"a": "2"}, read=FULL),
    "a section of unknown outcome that was not made": Script().section(None, FULL).section(3, {"a": "2"}),
    "a section of unknown outcome that is made later": Script()
    .section(None, FULL)
    .section(2, {"a": "2"})
    .section(9, {"a": "3"}, read=FULL),
    "who was promoted writes behind the readers that were beside it": locked(1, 2)
    .read(2, None)
    .promote(1)
    .put(1, FULL)
    .acquire(3)
    .read(3, FULL),
}

ILLEGAL = {
    "an acknowledged put is lost": locked(1).put(1, FULL).acquire(2).read(2, None),
    "half a put is lost": locked(1).put(1, FULL).acquire(2).read(2, {"a": "1"}),
    "a deleted row is back": locked(1).put(1, FULL).write(1, ["delete", ""]).acquire(2).read(2, FULL),
    "what nobody wrote is read": locked(1).read(1, FULL),
    "a refused put shows": locked(1).put(1, FULL, outcome="refused").acquire(2).read(2, FULL),
    "a value moves under its reader": locked(1).put(1, FULL, outcome="unknown").acquire(2).read(2, None).read(2, FULL),
    "a value moves between tenures": locked(1)
    .put(1, FULL, outcome="unknown")
    .acquire(2)
    .read(2, None)
    .acquire(3)
    .read(3, FULL),
    "a zombie's put shows": locked(1)
    .read(1, None)
    .acquire(2)
    .put(2, FULL)
    .put(1, {"a": "z"}, outcome="unknown")
    .acquire(3)
    .read(3, {"a": "z", "b": "1"}),
    "a row of a range is missing": locked(1).put(1, FULL, row="x").range(1, []),
    "a range shows what was deleted": locked(1)
    .put(1, FULL, row="x")
    .write(1, ["range", None, None])
    .acquire(2)
    .range(2, [["x", FULL]]),
    "a section read an older state": Script()
    .section(1, FULL)
    .section(2, {"a": "2"}, read=FULL)
    .section(3, {"a": "3"}, read=FULL),
    "an answered section is lost": Script().section(1, FULL).section(2, {"a": "2"}),
    "a promoted writer's put is lost": locked(1, 2).promote(1).put(1, FULL).acquire(3).read(3, None),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal(name: str) -> None:
    """Nothing is found."""
    assert findings(LEGAL[name]) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal(name: str) -> None:
    """One thing is found, and it names the call and what was possible."""
    (finding,) = findings(ILLEGAL[name])
    assert "where only" in finding


def test_one_fault_is_told_once() -> None:
    """What follows from a fault is judged by what was read."""
    script = locked(1).put(1, FULL).acquire(2).read(2, None).read(2, None).acquire(3).read(3, None)
    assert len(findings(script)) == 1


def test_too_much_is_possible() -> None:
    """The judge says that it gives up, which is no acquittal."""
    script = locked(1)
    for number in range(14):
        script.put(1, {f"c{number}": "1"}, outcome="unknown")
    (finding,) = findings(script)
    assert finding.startswith("unknown:")


def test_ten_thousand_operations() -> None:
    """A long history of one key is judged while one waits."""
    script = Script()
    for ticket in range(1, 2_501):
        script.acquire(ticket).read(ticket, {"a": str(ticket - 1)} if ticket > 1 else None)
        script.put(ticket, {"a": str(ticket)}).put(ticket, {"b": "x"}, outcome="refused")
    assert findings(script) == []
