"""What the clients of a simulated world do is data: it is drawn from the seed, and done as it says.

Goal: that a run does what its traffic asks for, so that it can be looked for. Method: short runs without faults, and what their histories show.
"""

from collections import Counter
from typing import Any

import pytest

from polysite.testing.history import History
from polysite.testing.world.campaign import quiet
from polysite.testing.world.running import Plan, carried_out
from polysite.testing.world.traffic import DRAWN, FLAT, Traffic, drawn

CASES = [(name, value) for name, values in DRAWN.items() for value in values]


def history_of(**traffic: Any) -> History:
    """Of a short run without faults, against which nothing is found."""
    with quiet():
        verdict = carried_out(Plan(seed=3, faults=(), lasts_s=6.0, traffic=Traffic(**traffic)))
    assert verdict.findings == []
    assert verdict.history is not None
    return verdict.history


def kinds(history: History) -> Counter[str]:
    """How often each kind of write was asked for."""
    return Counter(write[0] for call in history if call.verb == "write" for write in call.argument["writes"])


def test_it_is_drawn_from_the_seed() -> None:
    """Equal seeds give equal traffic, others give others, and each of what may be drawn is; somebody always does something."""
    found = [drawn(seed) for seed in range(300)]
    assert found[7] == drawn(7)
    for name, values in DRAWN.items():
        assert {*values} <= {getattr(traffic, name) for traffic in found}
    assert all(traffic.tenures + traffic.readers + traffic.sections for traffic in found)


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)])
def test_each_alone(name: str, value: Any) -> None:
    """Without faults nothing is found against it."""
    assert len(history_of(**{name: value})) > 10


def test_shares_are_kept() -> None:
    """Deletes, reads and rows are as many as the traffic says, from none to all."""
    assert set(kinds(history_of(deletes=0.0))) == {"put"}
    assert set(kinds(history_of(deletes=1.0, at_once=0.0, ranges=0.0))) == {"delete"}
    verbs = Counter(call.verb for call in history_of(reads=1.0, sections=0, keys=((FLAT, "x"),)))
    assert verbs["read"] > 10
    assert not verbs["write"] + verbs["range"] + verbs["section"]


def test_who_is_in_a_hurry_does_not_know() -> None:
    """Writes that are not waited for end as unknown; without hurry and faults none does."""
    outcomes = [
        Counter(call.outcome for call in history_of(hurried=share, hurry_s=0.01, dawdles=0.0) if call.verb == "write")
        for share in (0.0, 1.0)
    ]
    assert outcomes[0]["unknown"] == 0
    assert outcomes[1]["unknown"] > 10
