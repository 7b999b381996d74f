"""Findings with their pictures."""

from polysite.testing.explaining import LAST_CALLS, explained
from polysite.testing.judge import judge
from tests.support.scripts import FULL, locked


def test_one_of_each_kind() -> None:
    """Goal: the same fault again is not drawn again, another one is. Method: two lost writes and a late write; one kind asked for, then three."""
    script = locked(1).put(1, FULL).acquire(2).read(2, None).put(2, FULL).acquire(3).read(3, None).put(1, {"a": "late"})
    findings = judge(script.history)
    assert len(findings) == 3
    told = [line for line in explained(script.history, findings, judge) if "calls show" in line]
    assert told == [f"3 of 8 calls show: {findings[0]}"]
    told = [line for line in explained(script.history, findings, judge, kinds_max=3) if "calls show" in line]
    assert len(told) == 2


def test_a_finding_that_names_no_call() -> None:
    """Goal: how a run ended that did not end well. Method: the last calls, of the key that is spoken of."""
    script = locked(*range(1, 60)).acquire(99, key=["flat", "x"])
    for about, count in (("Stuck: nothing", LAST_CALLS), ("AssertionError: s-0: no lock of flat/x", 1)):
        (line, *picture) = [*explained(script.history, [f"the run ended with {about}"], judge)][1:]
        assert line.startswith(f"{count} of 60 calls show")
        assert sum("acquire" in line for line in picture) == count
