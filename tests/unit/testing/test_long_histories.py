"""Long histories are judged in time that grows with their length, not with its square.

Goal: a history of ten thousand operations is judged in seconds. Method: count the lines of Python that the judge carries out for a legal
history and for one four times as long, which no machine's speed changes.
"""

import sys
from types import FrameType
from typing import Any

import pytest

from polysite.testing.history import History
from polysite.testing.judging.judge import judge
from tests.support.long_histories import legal_history


def lines_to_judge(history: History) -> int:
    """How many lines of the judge it takes to find nothing."""
    lines = 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count if "polysite/testing" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(count)
    try:
        found = judge(history)
    finally:
        sys.settrace(before)
    assert found == []
    return lines


@pytest.mark.parametrize("keys", [1, 40])
def test_it_grows_with_the_length(keys: int) -> None:
    """Four times the operations, at most six times the lines: n log n, not n²."""
    short, long = (lines_to_judge(legal_history(operations, keys=keys)) for operations in (800, 3_200))
    assert long < 6 * short


def test_a_fault_at_the_end_is_found() -> None:
    """A long history is judged to its end: its last read shows what an earlier tenure had written."""
    history = legal_history(2_000)
    reads = [call for call in history if call.verb == "read"]
    written = next(call.argument["writes"][0][2] for call in history if call.verb == "write" and call.outcome == "done")
    bad = [call for call in history if call is not reads[-1]]
    bad.append(
        type(reads[-1])(
            **{**{name: getattr(reads[-1], name) for name in reads[-1].__struct_fields__}, "value": written}
        )
    )
    assert any(reads[-1].call_id in finding for finding in judge(History(bad)))
