"""A history that cannot be is brought down to the calls that show it, and to no others.

Method: small histories written by hand, with one fault and much beside it.
"""

from collections.abc import Sequence

import pytest

from polysite.testing.judging.judge import judge
from polysite.testing.judging.shrinking import minimal, shrunk
from tests.support.scripts import FULL, Script, locked


@pytest.mark.parametrize("wanted", [set(), {3}, {0, 19}, {2, 3, 11, 17}, set(range(20))])
def test_minimal(wanted: set[int]) -> None:
    """Goal: what is needed remains, and nothing else. Method: twenty parts of which some must be there together."""
    assert set(minimal(range(20), lambda parts: wanted <= set(parts))) == wanted


def test_minimal_when_one_gives_up() -> None:
    """Goal: where no more tries are made, what is left is what was last known to hold. Method: five tries."""
    tries = 0

    def holds(parts: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return tries <= 5 and {0, 13} <= set(parts)

    kept = minimal(range(20), holds)
    assert {0, 13} <= set(kept)
    assert len(kept) < 20


def short(script: Script, *, number: int = 0, **limits: int) -> list[str]:
    """What remains of the calls for the finding of that number, by verb and ticket."""
    history = script.history
    finding = judge(history)[number]
    calls = shrunk(history, finding, judge, **limits).calls
    return [f"{call.verb} {call.references[0].ticket}" if call.references else call.verb for call in calls]


def noisy(*tickets: int) -> Script:
    """Tenures that read, write other rows and release."""
    script = Script()
    for ticket in tickets:
        script.acquire(ticket).put(ticket, {"a": f"n{ticket}"}, row="noise").read(
            ticket, {"a": f"n{ticket}"}, row="noise"
        )
        script.call("release", ticket)
    return script


def test_a_lost_write() -> None:
    """Goal: the write, the read that does not show it, and when both had the lock."""
    script = noisy(1, 2, 3).acquire(4).put(4, FULL).acquire(5).read(5, None)
    script.acquire(6).read(6, None).put(6, {"a": "later"})
    assert short(script) == ["acquire 4", "write 4", "acquire 5", "read 5"]


def test_a_missing_write_is_no_fault_of_the_history() -> None:
    """Goal: no write is left out whose absence would look like the same fault. Method: a row that was deleted and written again is read as
    if it were not there; without the second write the first one would do, if its delete were left out."""
    script = locked(1).put(1, {"a": "first"}).write(1, ["delete", ""]).put(1, {"a": "second"}).acquire(2).read(2, None)
    history = script.history
    (finding,) = judge(history)
    kept = shrunk(history, finding, judge)
    assert judge(kept) == [finding]
    written = [write for call in kept if call.verb == "write" for write in call.argument["writes"]]
    assert ["put", "", {"a": "second"}] in written


def test_the_write_of_what_was_read_stays() -> None:
    """Goal: a reader sees where an old value comes from, though the judge does not need it. Method: a zombie's value is read."""
    script = noisy(1).acquire(2).put(2, {"a": "old"}).acquire(3).put(3, {"a": "new"}).acquire(4).read(4, {"a": "old"})
    assert short(script) == ["acquire 2", "write 2", "acquire 3", "write 3", "acquire 4", "read 4"]


def test_a_read_that_settled_an_unknown_write() -> None:
    """Goal: what makes a later read impossible stays. Method: an unanswered write that was read, and then is not there."""
    script = (
        locked(1).put(1, FULL, outcome="unknown").acquire(2).read(2, FULL).acquire(3).put(3, {}, row="x").read(3, None)
    )
    assert short(script) == ["acquire 1", "write 1", "acquire 2", "read 2", "acquire 3", "read 3"]


def test_nothing_new_is_found() -> None:
    """Goal: what remains shows what the whole showed, and nothing else. Method: two faults of one key, each brought down alone."""
    script = (
        noisy(1, 2).acquire(3).put(3, FULL).acquire(4).read(4, {"a": "1"}).put(4, {"b": "2"}).acquire(5).read(5, None)
    )
    history = script.history
    findings = judge(history)
    assert len(findings) == 2
    for finding in findings:
        kept = shrunk(history, finding, judge)
        assert finding in judge(kept)
        assert set(judge(kept)) <= set(findings)
        assert len(kept) < len(history)


def test_one_of_two_findings() -> None:
    """Goal: what remains shows the finding that was asked for, not another one. Method: the other's calls come behind its first."""
    script = (
        locked(1)
        .put(1, {"a": "x"}, row="x")
        .acquire(2)
        .put(2, FULL, row="y")
        .read(2, None, row="y")
        .read(2, None, row="x")
    )
    for finding in judge(script.history):
        assert judge(shrunk(script.history, finding, judge)) == [finding]


def test_the_bound_on_work() -> None:
    """Goal: a long history is given back whole rather than judged for ever. Method: nothing may be judged."""
    script = noisy(1, 2, 3).acquire(4).put(4, FULL).acquire(5).read(5, None)
    assert len(short(script, calls_judged_max=0)) == len(script.history)


def test_what_is_about_no_key() -> None:
    """An error that ended a run leaves the history as it is."""
    history = noisy(1).history
    assert shrunk(history, "the run ended with Stuck: x", judge) is history
