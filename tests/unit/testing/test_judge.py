"""The judge of the drills convicts what it is there to convict.

Goal: a drill that passes means something. Method: small histories written by hand, first a right one, then the same with
one planted fault each; the finding names what is wrong.
"""

import itertools
from typing import Any

import pytest

from polysite.testing.history import Call, History, ReferenceMark
from polysite.testing.judge import judge

KEY = ["locked", "ana"]


def call(number: int, verb: str, start_s: float, end_s: float | None = None, **told: Any) -> Call:
    """A call; `ticket` makes its reference, and without an `end_s` it lasted half a second."""
    ticket = told.pop("ticket", None)
    marks = () if ticket is None else (ReferenceMark("drill", "locked", ("YW5h",), ticket),)
    told.setdefault("outcome", "done")
    if "writes" in told:
        told["argument"] = {"value": told.pop("writes")}
    return Call(
        call_id=f"c-{number}",
        site="local",
        process="test",
        client="test",
        verb=verb,
        key=told.pop("key", KEY),
        start_s=start_s,
        end_s=start_s + 0.5 if end_s is None else end_s,
        references=marks,
        **told,
    )


def findings(*rows: dict[str, Any], plain: tuple[str, ...] = ()) -> list[str]:
    numbers = itertools.count(1)
    return judge(History(call(next(numbers), **row) for row in rows), plain=plain)


def acquired(ticket: int, start_s: float) -> dict[str, Any]:
    return {"verb": "acquire", "start_s": start_s, "ticket": ticket}


def put(value: str, start_s: float, **told: Any) -> dict[str, Any]:
    return {"verb": "put", "start_s": start_s, "writes": value, **told}


def got(value: str | None, start_s: float, **told: Any) -> dict[str, Any]:
    return {"verb": "get", "start_s": start_s, "value": value, **told}


def section(value: str, start_s: float, *, read: str | None = None, ticket: int = 0, **told: Any) -> dict[str, Any]:
    answer = None if told.get("outcome") == "unknown" else {"read": read, "ticket": ticket}
    return {"verb": "section", "start_s": start_s, "writes": value, "value": answer, **told}


RIGHT = (
    acquired(1, 1),
    got(None, 2, ticket=1),
    put("a", 3, ticket=1),
    put("b", 4, ticket=1, outcome="unknown", end_s=20),
    acquired(2, 6),
    got("b", 7, ticket=2),
    put("c", 8, ticket=2),
    put("z", 9, ticket=1, outcome="refused"),
    {"verb": "release", "start_s": 10, "ticket": 1, "outcome": "refused", "code": "lock_lost"},
    got("c", 11),
    {"verb": "release", "start_s": 12, "ticket": 2},
    {"verb": "queue", "start_s": 13, "value": []},
    section("d", 14, read="c", ticket=3),
    section("e", 15, outcome="unknown"),
    section("f", 16, read="e", ticket=5),
    got("f", 17),
)


def test_a_right_history_has_no_findings() -> None:
    """Tenures, an unknown put that was carried out, a zombie that was refused, sections of which one was not answered."""
    assert findings(*RIGHT) == []


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (acquired(2, 18), "was given to"),
        (acquired(4, 18), "was asked for after ticket 5"),
        (put("y", 9, ticket=1), "though it began after ticket 2 was given"),
        (got("c", 9, ticket=1), "though it began after ticket 2 was given"),
        ({"verb": "release", "start_s": 9, "ticket": 1}, "though it began after ticket 2 was given"),
        ({"verb": "queue", "start_s": 13, "value": [2]}, "in the queue after its release"),
        (got("a", 8.6, ticket=2), "later value"),
        (got("b", 8.6, ticket=2), "later value"),
        (got("z", 18), "was refused"),
        (got("nothing", 18), "which nobody wrote"),
        (got("b", 18), "later value"),
        (got(None, 18), "later value"),
        (got("f", 7.1, ticket=2), "before it was written"),
        (section("g", 18, read="d", ticket=6), "later value"),
        (section("g", 18, read="e", ticket=6), "later value"),
        (section("g", 18, read="c", ticket=6), "later value"),
        (put("a", 18, ticket=5), "written by two calls"),
    ],
)
def test_a_planted_fault_is_found(fault: dict[str, Any], what: str) -> None:
    """The right history and one call more."""
    assert any(what in finding for finding in findings(*RIGHT, fault)), findings(*RIGHT, fault)


def test_an_unknown_put_is_carried_out_for_good_or_never() -> None:
    """Ticket 2 read the row before an unanswered put of ticket 1; ticket 3 then reads that put."""
    early = (acquired(1, 1), put("a", 2, ticket=1), put("b", 3, ticket=1, outcome="unknown"), acquired(2, 5))
    assert findings(*early, got("a", 6, ticket=2), acquired(3, 7), got("a", 8, ticket=3)) == []
    assert "later value" in findings(*early, got("b", 6, ticket=2), acquired(3, 7), got("a", 8, ticket=3))[0]
    for late in (got("b", 8, ticket=3), got("b", 8)):
        replaced = findings(*early, got("a", 6, ticket=2), acquired(3, 7), late)
        assert "took the place of what" in replaced[0]
    back = findings(*early, got("a", 6, ticket=2), put("c", 6.6, ticket=2), acquired(3, 8), got("b", 9, ticket=3))
    assert "later value" in back[0]


def test_rows_without_locks() -> None:
    """One writer: its last answered value or a later unknown one is read."""
    key = ["plain", "bob"]
    rows = (
        put("a", 1, key=key),
        put("b", 2, key=key),
        put("c", 3, key=key, outcome="unknown"),
        put("d", 4, key=key, outcome="refused"),
    )
    for value in ("b", "c"):
        assert findings(*rows, got(value, 5, key=key), plain=("plain",)) == []
    wrong: list[tuple[str | None, str]] = [
        ("a", "later value"),
        (None, "later value"),
        ("d", "was refused"),
        ("x", "nobody wrote"),
    ]
    for bad, what in wrong:
        assert what in findings(*rows, got(bad, 5, key=key), plain=("plain",))[0]
    assert "before it was written" in findings(*rows, got("b", 1.1, end_s=1.2, key=key), plain=("plain",))[0]
