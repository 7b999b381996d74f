"""What a finding is about is read from its sentence."""

import pytest

from polysite.testing.history import Call, History
from polysite.testing.judging.findings import key_of, kind_of, named_by

READ = "['flat', 'x']: ams-55 (read, ticket 17) read {'a': 'ams-1/2'} in row 'r3', where only {'a': 'bei-0/3'} or None is possible"
LATE = "['flat', 'x']: put ams-7 of ticket 3 was done though it began after ticket 4 was given"
ENDED = (
    "the run ended with AssertionError: ams-1: no lock of flat/x within 60 s (clients.py:147 settle < runs.py:60 run)"
)


def history() -> History:
    return History(
        Call(
            call_id=call_id,
            site="ams",
            process="ams",
            client="ams-1",
            verb="read",
            key=["flat", "x"],
            start_s=1.0,
            end_s=2.0,
            outcome="done",
        )
        for call_id in ("ams-1", "ams-55", "ams-7", "bei-0")
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            READ,
            "['wide', 'y']: bei-1 (section, ticket 2) read None, where only {'b': 'irv-0/1', 'a': '4'} … is possible",
        ),
        (LATE, "['wide', 'y']: range bei-8 of ticket 30 was done though it began after ticket 41 was given"),
        (ENDED, "the run ended with AssertionError: irv-0: lock_lost at the end (clients.py:151 settle < x.py:1 y)"),
    ],
)
def test_one_kind(one: str, other: str) -> None:
    """Goal: the same fault elsewhere is known as the same. Method: other keys, calls, values and numbers; another call that is late."""
    assert kind_of(one) == kind_of(other)


def test_other_kinds() -> None:
    """Goal: different faults are told apart. Method: one sentence of each kind; one error from two places."""
    told = [
        READ,
        LATE,
        ENDED,
        ENDED.replace("settle", "run"),
        "['flat', 'x']: ticket 7 was given to ams-1 and to bei-2",
    ]
    assert len({kind_of(finding) for finding in told}) == len(told)


def test_the_calls_that_are_named() -> None:
    """Goal: a value or a client that looks like a call is none. Method: `ams-1/2` and `bei-0/3` are values, `ams-1` a client."""
    assert named_by(READ, history()) == {"ams-55"}
    assert named_by(LATE, history()) == {"ams-7"}
    assert named_by(ENDED, history()) == set()


def test_the_key() -> None:
    """A finding begins with its key; the end of a run is about none."""
    assert key_of(READ, history()) == ["flat", "x"]
    assert key_of(ENDED, history()) is None
