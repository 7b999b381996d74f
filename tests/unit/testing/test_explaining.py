"""Findings with their pictures."""

from polysite.testing.history import History
from polysite.testing.judging.explaining import LAST_CALLS, explained
from polysite.testing.judging.judge import judge
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


def test_what_remains_too_long() -> None:
    """Goal: a picture is never longer than a page or two. Method: a judge for which every call matters; the named one is there all the same."""
    script = locked(*range(1, 200)).read(50, None)
    finding = f"['t']: {script.calls[-1].call_id} (read) is wrong"

    def judged(history: History) -> list[str]:
        return [finding] if len(history) == len(script.calls) else []

    line, *picture = [*explained(script.history, [finding], judged)][1:]
    assert line.startswith(f"{LAST_CALLS + 1} of 200 calls show")
    assert sum("acquire" in line for line in picture) == LAST_CALLS
    assert sum("*read" in line for line in picture) == 1


def test_a_finding_about_several_keys() -> None:
    """Goal: also what is found over all keys is brought down to what it takes. Method: a judge that wants one call of each of two keys."""
    script = locked(*range(1, 50)).acquire(60, key=["u"]).acquire(70, key=["v"])
    needed = {call.call_id for call in script.calls[-2:]}
    finding = f"{' and '.join(sorted(needed))} cannot both be"

    def judged(history: History) -> list[str]:
        return [finding] if needed <= {call.call_id for call in history} else []

    told = [*explained(script.history, [finding], judged)]
    assert told[1].startswith("2 of 51 calls show")
