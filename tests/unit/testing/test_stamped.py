"""The judge of writes that are told by their stamps convicts what it is there to convict, and nothing else.

Goal: a run with rows without locks, mixed ones, lives and requests asked again means something when it passes. Method: small histories
written by hand, legal ones first, then illegal ones with one fault each.
"""

from typing import Any

import pytest

from polysite.core.stamps import STAMP_BASE
from polysite.testing.history import Call, History, ReferenceMark
from polysite.testing.judging.judge import judge

SECTION = STAMP_BASE + 1_000


class Script:
    """Calls about one row, each at its second and half a second long."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(self, at: float, verb: str, ticket: int | None = None, **told: Any) -> "Script":
        marks = () if ticket is None else (ReferenceMark("ks", "t", ("YQ==",), ticket),)
        told = {"outcome": "done", "end_s": at + 0.5, "site": "s", **told}
        if told["outcome"] != "done":
            told["value"] = None
        self.calls.append(
            Call(
                call_id=f"c{len(self.calls) + 1}",
                process="p",
                client="c",
                verb=verb,
                key=["t", "x"],
                references=marks,
                start_s=at,
                **told,
            )
        )
        return self

    def assign(self, at: float, value: Any, stamp: int = 0, level: str = "eventual", **told: Any) -> "Script":
        argument = {"columns": {"a": value}, "level": level, "by": "p1", **told.pop("also", {})}
        return self.call(at, "assign", argument=argument, value={"stamp": stamp}, **told)

    def erase(self, at: float, stamp: int = 0, level: str = "eventual", **told: Any) -> "Script":
        return self.call(at, "erase", argument={"level": level, "by": "p1"}, value={"stamp": stamp}, **told)

    def show(self, at: float, value: Any, level: str = "last", **told: Any) -> "Script":
        shown = None if value is None else {"a": value}
        return self.call(at, "show", argument={"level": level}, value=shown, **told)

    def acquire(self, at: float, ticket: int, by: str = "p9") -> "Script":
        return self.call(at, "acquire", ticket, argument={"lease_ms": 1_000, "by": by})

    @property
    def findings(self) -> list[str]:
        return judge(History(self.calls))


def found(script: Script, what: str) -> bool:
    """Whether there is a finding, and it says that."""
    assert any(what in finding for finding in script.findings), script.findings
    return True


def two_writes() -> Script:
    return Script().assign(1, "v1", 10).assign(2, "v2", 20)


def test_without_locks_the_last_stamp_counts_in_the_end() -> None:
    """The value of the highest acknowledged stamp, or of a write without an answer; never an older one, and everywhere the same."""
    assert two_writes().show(9, "v2").findings == []
    assert Script().assign(1, "v1", 20).assign(2, "v2", 10).show(9, "v1").findings == []
    assert two_writes().assign(3, "v3", outcome="unknown").show(9, "v3").findings == []
    assert two_writes().assign(3, "v3", outcome="unknown").show(9, "v2").findings == []
    assert found(two_writes().show(9, "v1"), "a later value")
    assert found(two_writes().show(9, None), "had written it")
    assert found(two_writes().assign(3, "v3", outcome="unknown").show(9, "v2").show(9, "v3"), "in the end")


def test_what_was_never_written() -> None:
    """Neither a refused value, nor one of the future, nor one of nobody is ever read, at whatever level."""
    for level in ("eventual", "quorum", "last"):
        assert found(two_writes().show(9, "v7", level), "nobody wrote")
        assert found(two_writes().assign(3, "v3", outcome="refused").show(9, "v3", level), "was refused")
        assert found(two_writes().show(0.2, "v1", level), "before it was written")


def test_an_eventual_read_may_be_old() -> None:
    """The nearest replica has not heard yet."""
    for value in ("v1", "v2", None):
        assert two_writes().show(9, value, "eventual").findings == []


def test_a_deleted_row_is_gone() -> None:
    """A deletion with a higher stamp; with a lower one the row stays."""
    assert two_writes().erase(3, 30).show(9, None).findings == []
    assert two_writes().erase(3, 15).show(9, "v2").findings == []
    assert found(two_writes().erase(3, 30).show(9, "v2"), "a later value")
    assert found(two_writes().erase(3, 15).show(9, None), "had written it")
    assert found(
        Script().assign(1, None, 10).erase(3, 30).call(9, "show", argument={"level": "last"}, value={}), "erased"
    )


def test_a_quorum_read_sees_quorum_writes() -> None:
    """What a majority had before it began; what one replica has, or had not been answered, it need not see."""
    quorum = Script().assign(1, "v1", 10, "quorum").assign(2, "v2", 20, "quorum")
    assert quorum.show(2.2, "v1", "quorum").findings == []
    assert found(quorum.show(9, "v1", "quorum"), "a later value")
    assert two_writes().show(9, "v1", "quorum").findings == []


def test_a_clock_that_is_off() -> None:
    """Once all had time to ask each other, those that still write agree about the time."""
    calm: dict[str, Any] = {"also": {"calm": True}}
    right = Script().assign(50, "v1", 1_050_000_000, **calm).assign(51, "v2", 1_051_400_000, **calm)
    assert right.findings == []
    wrong = Script().assign(50, "v1", 1_050_000_000, **calm).assign(51, "v2", 1_061_000_000, **calm)
    assert found(wrong, "a clock is off")


def test_under_a_lock() -> None:
    """A holder reads what was acknowledged before it asked for the lock, and its own; what a holder has read does not go back."""
    first = Script().acquire(1, 1).assign(2, "v1", SECTION, "critical", ticket=1)
    assert first.show(3, "v1", "critical", ticket=1).findings == []
    second = Script().acquire(1, 1).assign(2, "v1", SECTION, "critical", ticket=1).acquire(3, 2)
    assert found(second.show(4, None, "critical", ticket=2), "had written it")
    unknown = Script().acquire(1, 1).assign(2, "v1", SECTION, "critical", ticket=1)
    unknown.assign(3, "v2", 0, "critical", ticket=1, outcome="unknown").acquire(4, 2)
    assert unknown.show(5, "v2", "critical", ticket=2).findings == []
    unknown.acquire(6, 3).show(7, "v1", "critical", ticket=3)
    assert found(unknown, "a holder had read 'v2' in its place")


def test_both_with_and_without_a_lock() -> None:
    """Writes that did not know of the lock may be hidden by it, but do not change what a holder has read; those that did are seen."""
    start = Script().assign(1, "v1", 10).acquire(2, 1).show(3, "v1", "critical", ticket=1)
    start.assign(2.5, "late", 20, site="t")
    assert start.show(9, "v1").findings == []
    assert found(start.show(9.5, "late"), "took the place of what a holder had read")
    majority = Script().assign(1, "v1", 10, "quorum").acquire(2, 1)
    assert found(majority.show(3, None, "critical", ticket=1), "had written it")
    section = Script().acquire(1, 1).assign(2, "v1", SECTION).acquire(3, 2)
    assert found(section.show(4, None, "critical", ticket=2), "had written it")


def test_a_process_that_knows_the_lock() -> None:
    """It writes under one, and so at a stamp that says so."""
    assert Script().acquire(1, 1, by="p1").assign(2, "v1", SECTION).findings == []
    assert Script().acquire(1, 1, by="p2").assign(2, "v1", 10).findings == []
    assert found(Script().acquire(1, 1, by="p1").assign(2, "v1", 10), "without a lock")


@pytest.mark.parametrize("locked", [False, True])
def test_lives(locked: bool) -> None:
    """A value is there until its life is over, and then gone with what it hid; a holder may let its last second go."""
    lived: dict[str, Any] = {"also": {"life_ms": 3_000}}
    level = "quorum"

    def script() -> Script:
        made = Script().assign(1, "v1", SECTION - 1, level).assign(2, "v2", SECTION, level, **lived)
        return made.acquire(2.6, 1) if locked else made

    assert script().show(4, None, level).findings == [] if locked else found(script().show(4.4, None, level), "written")
    assert found(script().show(3, None, level), "had written it")
    assert script().show(3, "v2", level).findings == []
    assert script().show(5.3, "v2", level).findings == []
    assert script().show(5.3, None, level).findings == []
    assert found(script().show(6, "v2", level), "whose life was over")
    assert found(script().show(6, "v1", level), "a later value")


def test_a_holder_that_rewrites_the_row_takes_its_time() -> None:
    """What is left of the life is measured when the row is read, and counts from when it is written: the life may last as much longer."""
    held = Script().assign(2, "v2", SECTION, "quorum", also={"life_ms": 3_000}).acquire(2.6, 1)
    held.show(3, "v2", "critical", ticket=1, end_s=4.5)
    assert held.show(6.5, "v2", "quorum").findings == []
    assert found(held.show(7.1, "v2", "quorum"), "whose life was over")


def test_requests_asked_again() -> None:
    """One effect and one answer, also when the lock is gone by then; a refusal because it could not be asked is none."""
    again: dict[str, Any] = {"also": {"request": "r"}}
    lost = (
        Script()
        .assign(1, "v1", 10, outcome="unknown", **again)
        .assign(2, "v1", 10, **again)
        .assign(3, "v1", 10, **again)
    )
    assert lost.show(9, "v1").findings == []
    away = Script().assign(1, "v1", 10, **again).assign(2, "v1", outcome="refused", code="unavailable", **again)
    assert away.show(9, "v1").findings == []
    assert found(Script().assign(1, "v1", 10, **again).assign(2, "v1", 12, **again), "the same request r")
    for code in ("lock_lost", "idempotency_mismatch"):
        refused = Script().assign(1, "v1", 10, **again).assign(2, "v1", outcome="refused", code=code, **again)
        assert found(refused, "asks the request r again")
    overwritten = (
        Script().assign(1, "v1", 10, "quorum", **again).assign(2, "v2", 20, "quorum").assign(3, "v1", 10, **again)
    )
    assert found(overwritten.show(9, "v1"), "a later value")
    held = Script().acquire(1, 1).assign(2, "v1", SECTION, "critical", ticket=1, **again).acquire(3, 2)
    assert held.assign(4, "v1", SECTION, "critical", ticket=1, **again).findings == []
