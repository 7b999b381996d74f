"""The judge of the drills convicts what it is there to convict.

Goal: a drill that passes means something. Method: small histories written by hand, first a right one, then the same with
one planted fault each; the finding names what is wrong.
"""

import itertools
from typing import Any

import pytest

from polysite.testing.history import Call, History, ReferenceMark
from polysite.testing.judging.judge import judge

KEY = ["locked", "ana"]


def call(number: int, verb: str, start_s: float, end_s: float | None = None, **told: Any) -> Call:
    """A call; `ticket` makes its reference, and without an `end_s` it lasted half a second."""
    ticket = told.pop("ticket", None)
    marks = () if ticket is None else (ReferenceMark("drill", "locked", ("YW5h",), ticket),)
    told.setdefault("outcome", "done")
    if "writes" in told:
        told["argument"] = {"row": "", "writes": [["put", "", {"value": told.pop("writes")}]]}
    if verb in ("read", "peek"):
        told["argument"] = {"row": ""}
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
    return {"verb": "write", "start_s": start_s, "writes": value, **told}


def row(value: str | None) -> dict[str, str] | None:
    return None if value is None else {"value": value}


def got(value: str | None, start_s: float, **told: Any) -> dict[str, Any]:
    return {"verb": "read", "start_s": start_s, "value": row(value), **told}


def peeked(value: str | None, start_s: float) -> dict[str, Any]:
    return {"verb": "peek", "start_s": start_s, "value": row(value)}


def section(value: str, start_s: float, *, read: str | None = None, ticket: int = 0, **told: Any) -> dict[str, Any]:
    answer = None if told.get("outcome") == "unknown" else {"row": row(read), "ticket": ticket}
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
    peeked("c", 11),
    {"verb": "release", "start_s": 12, "ticket": 2},
    {"verb": "queue", "start_s": 13, "value": []},
    section("d", 14, read="c", ticket=3),
    section("e", 15, outcome="unknown"),
    section("f", 16, read="e", ticket=5),
    peeked("f", 17),
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
        (got("a", 8.6, ticket=2), "where only {'value': 'c'} is possible"),
        (got("b", 8.6, ticket=2), "where only {'value': 'c'} is possible"),
        (got("f", 7.1, ticket=2), "where only {'value': 'b'} is possible"),
        (section("g", 18, read="d", ticket=6), "where only {'value': 'f'} is possible"),
        (section("g", 18, read="e", ticket=6), "where only {'value': 'f'} is possible"),
        (section("g", 18, read="c", ticket=6), "where only {'value': 'f'} is possible"),
        (peeked("z", 18), "was refused"),
        (peeked("nothing", 18), "which nobody wrote"),
        (peeked("b", 18), "later value"),
        (peeked(None, 18), "later value"),
        (peeked("f", 15.2), "before it was written"),
        (put("a", 18, ticket=5), "was written by two calls"),
        (put("e", 18, ticket=5), "which cannot be told apart"),
        ({"verb": "get", "start_s": 18, "value": "a"}, "a word of an older history"),
    ],
)
def test_a_planted_fault_is_found(fault: dict[str, Any], what: str) -> None:
    """The right history and one call more."""
    assert any(what in finding for finding in findings(*RIGHT, fault)), findings(*RIGHT, fault)


def test_an_unknown_put_is_carried_out_for_good_or_never() -> None:
    """Ticket 2 read the row before an unanswered put of ticket 1; ticket 3, or anybody, then reads that put."""
    early = (acquired(1, 1), put("a", 2, ticket=1), put("b", 3, ticket=1, outcome="unknown"), acquired(2, 5))
    for now in (got("a", 8, ticket=3), peeked("a", 8)):
        assert findings(*early, got("a", 6, ticket=2), acquired(3, 7), now) == []
    assert (
        "where only {'value': 'b'}" in findings(*early, got("b", 6, ticket=2), acquired(3, 7), got("a", 8, ticket=3))[0]
    )
    assert "later value" in findings(*early, got("b", 6, ticket=2), acquired(3, 7), peeked("a", 8))[0]
    seen = (*early, got("a", 6, ticket=2), acquired(3, 7))
    assert "where only {'value': 'a'}" in findings(*seen, got("b", 8, ticket=3))[0]
    assert "took the place of what" in findings(*seen, peeked("b", 8))[0]
    assert findings(*seen, peeked("b", 6.2)) == [], "the reader under the lock had not ended"
    (back,) = findings(*early, got("a", 6, ticket=2), put("c", 6.6, ticket=2), acquired(3, 8), got("b", 9, ticket=3))
    assert "where only {'value': 'c'}" in back


def test_who_ended_last_need_not_know_the_most() -> None:
    """A read of ticket 1 that began before ticket 2 was given ends after ticket 2 has written; a peek sees that write."""
    calls = (
        acquired(1, 1),
        put("a", 2, ticket=1),
        got("a", 3, ticket=1, end_s=9),
        acquired(2, 5),
        put("b", 6, ticket=2),
    )
    assert findings(*calls, peeked("b", 10)) == []
    assert "later value" in findings(*calls, peeked("a", 10))[0]


def test_peeks_of_a_section_without_an_answer() -> None:
    """It may be seen or not; once a holder has read it, whoever looks sees it or what came later."""
    asked = (section("a", 1, ticket=1), section("b", 2, outcome="unknown"))
    for value in ("a", "b"):
        assert findings(*asked, peeked(value, 3)) == []
    held = (*asked, acquired(4, 4), got("b", 5, ticket=4))
    assert findings(*held, peeked("b", 6)) == []
    assert "later value" in findings(*held, peeked("a", 6))[0]
    assert "later value" in findings(*held, put("c", 5.6, ticket=4), peeked("b", 7))[0]


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
    torn = {**got(None, 5, key=key), "value": {"value": "b", "twin": "a"}}
    assert "nobody wrote" in findings(*rows, torn, plain=("plain",))[0]
    assert "before it was written" in findings(*rows, got("b", 1.1, end_s=1.2, key=key), plain=("plain",))[0]


def test_a_release_that_is_asked_for_again_was_asked_for_at_first() -> None:
    """Goal: a release whose first answer did not come may be told as done when it is asked for again, though another holds by then; one that
    was not asked for before may not. Method: with the first asking before the next grant, and after it."""
    asked = {"verb": "release", "ticket": 1}
    again = {**asked, "start_s": 7}
    history = acquired(1, 1), acquired(2, 4), again
    assert findings({**asked, "start_s": 3, "outcome": "unknown"}, *history) == []
    assert "though it began after" in findings({**asked, "start_s": 5, "outcome": "unknown"}, *history)[0]
    assert "though it began after" in findings(*history)[0]
