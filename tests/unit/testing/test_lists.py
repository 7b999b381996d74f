"""The judge of lists convicts what it is there to convict, and nothing else.

Goal: a run in which lists are appended to under several locks means something when it passes. Method: small histories written by hand, legal
ones first, then illegal ones with one fault each.
"""

import base64
from typing import Any

import pytest

from polysite.testing.history import Call, History, ReferenceMark
from polysite.testing.judging.judge import judge

Tickets = dict[str, int]


class Script:
    """Calls one after the other, each half a second."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(self, verb: str, key: str, tickets: Tickets | None = None, **told: Any) -> "Script":
        marks = tuple(
            ReferenceMark("ks", "lists", (base64.b64encode(name.encode()).decode(),), ticket)
            for name, ticket in (tickets or {}).items()
        )
        at = float(told.pop("at", len(self.calls) + 1))
        told = {"outcome": "done", "end_s": at + 0.5, **told}
        self.calls.append(
            Call(
                call_id=f"c{len(self.calls) + 1}",
                site="s",
                process="p",
                client="c",
                verb=verb,
                key=["lists", key],
                references=marks,
                start_s=at,
                **told,
            )
        )
        return self

    def hold(self, **tickets: int) -> "Script":
        return self.call("hold", "+".join(sorted(tickets)), tickets)

    def read(self, key: str, members: str, **tickets: int) -> "Script":
        return self.call("list", key, tickets, value=list(members) or None)

    def append(self, key: str, element: str, tickets: Tickets, request: str = "", **told: Any) -> "Script":
        argument = {"element": element} | ({"request": request} if request else {})
        return self.call("append", key, tickets, argument=argument, **told)

    def extend(self, key: str, element: str, after: str, ticket: int, request: str = "", **told: Any) -> "Script":
        argument = {"element": element, "after": list(after)} | ({"request": request} if request else {})
        value = {"ticket": ticket} if told.get("outcome", "done") == "done" else None
        return self.call("extend", key, argument=argument, value=value, **told)

    @property
    def findings(self) -> list[str]:
        return judge(History(self.calls))


def found(script: Script, what: str) -> bool:
    """Whether there is a finding, and it says that."""
    assert any(what in finding for finding in script.findings), script.findings
    return True


def one() -> Script:
    """A tenure that left "a" in p."""
    return Script().hold(p=1).read("p", "", p=1).append("p", "a", {"p": 1})


def test_a_right_history() -> None:
    """Tenures over one and two keys, an append without an answer that happened and one that did not, a section, a refused append."""
    script = one().hold(p=2, q=1).read("p", "a", p=2, q=1).append("q", "b", {"p": 2, "q": 1})
    script.append("p", "c", {"p": 2, "q": 1}, outcome="unknown").append("q", "d", {"p": 2, "q": 1}, outcome="unknown")
    script.extend("q", "e", "b", 2).hold(p=3, q=3).read("p", "ac", p=3, q=3).read("q", "be", p=3, q=3)
    script.append("q", "z", {"p": 3, "q": 3}, outcome="refused").extend("p", "f", "ac", 0, outcome="unknown")
    script.hold(p=5, q=4).read("p", "acf", p=5, q=4).read("q", "be", p=5, q=4)
    assert script.findings == []


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ("", "without 'a' that c3 had appended"),
        ("ay", "was never appended"),
        ("aa", "with one element twice"),
        ("az", "c4 of 'z' was refused"),
        ("al", "before it was appended"),
    ],
)
def test_a_wrong_read(members: str, what: str) -> None:
    """A later tenure reads a list that cannot be."""
    script = one().append("p", "z", {"p": 1}, outcome="refused").hold(p=2).read("p", members, p=2)
    script.append("p", "l", {"p": 2})
    assert found(script, what)


def test_an_append_that_nobody_ever_reads_is_lost() -> None:
    """It was acknowledged, and the next tenure's list goes on without it."""
    script = one().hold(p=2).append("p", "b", {"p": 2}).hold(p=3).read("p", "a", p=3).append("p", "c", {"p": 3})
    assert found(script.hold(p=4).read("p", "ac", p=4), "without 'b'")


def test_its_own_append() -> None:
    """A tenure reads what it has appended itself."""
    assert one().read("p", "a", p=1).findings == []
    assert found(one().read("p", "", p=1), "without 'a'")


def test_another_order() -> None:
    """What was read is a beginning of what is read later."""
    script = one().append("p", "b", {"p": 1}).hold(p=2).read("p", "ab", p=2).hold(p=3).read("p", "bac", p=3)
    assert found(script, "no beginning of")


def test_a_write_of_a_later_tenure() -> None:
    """It is not seen by an earlier one."""
    script = Script().hold(p=1).hold(p=2).append("p", "a", {"p": 2}).read("p", "a", p=1)
    assert found(script, "of the later tenure of ticket 2")
    assert found(script, "though it began after ticket 2 was given")


def test_one_ticket_twice() -> None:
    """Two tenures at once."""
    assert found(one().hold(p=1, q=7), "was given to")


def test_a_cycle_over_keys() -> None:
    """On each key by itself there is an order, but not on both: each of two tenures comes before the other."""
    first, second = {"p": 1, "q": 2}, {"p": 2, "q": 1}
    script = Script().call("hold", "p+q", first, at=1, end_s=1.2).call("hold", "p+q", second, at=1, end_s=1.2)
    script.call("list", "p", first, at=1.1, value=None).call("list", "q", second, at=1.1, value=None)
    assert found(script, "no order of these tenures")
    assert not any("list '" in finding for finding in script.findings)


def test_a_tenure_that_had_ended() -> None:
    """A section of another key had ended before the lock was asked for; who read before it comes before it, by its key."""
    script = Script().call("hold", "p", {"p": 5}, at=1, end_s=1.2).extend("q", "x", "", 1, at=2)
    script.call("hold", "p+q", {"p": 3, "q": 4}, at=4)
    assert found(script, "no order of these tenures")


def test_a_section_asked_again() -> None:
    """It has its answer and its effect once; refused for what it has done itself it would be asked again for ever."""
    script = (
        one()
        .extend("p", "b", "a", 2, "r", outcome="unknown")
        .extend("p", "b", "a", 2, "r")
        .extend("p", "b", "a", 2, "r")
    )
    assert script.hold(p=3).read("p", "ab", p=3).findings == []
    refused = (
        one().extend("p", "b", "a", 2, "r").extend("p", "b", "a", 2, "r", outcome="refused", code="compare_failed")
    )
    assert found(refused, "asks the request r again")
    assert found(one().extend("p", "b", "a", 2, "r").extend("p", "b", "a", 3, "r"), "the same request r")
