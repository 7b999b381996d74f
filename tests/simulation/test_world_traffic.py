"""What the clients of a simulated world do is data: it is drawn from the seed, and done as it says.

Goal: that a run does what its traffic asks for, so that it can be looked for. Method: short runs without faults, and what their histories show.
"""

import asyncio
from collections import Counter
from typing import Any

import pytest

from polysite.errors import OutcomeUnknown
from polysite.testing.history import History
from polysite.testing.world.campaign import quiet
from polysite.testing.world.clients import GRACE_S, Client
from polysite.testing.world.faults import NO_READ_REPAIR
from polysite.testing.world.running import Plan, carried_out
from polysite.testing.world.traffic import DRAWN, FLAT, Line, Traffic, drawn

CASES = [(name, value) for name, values in DRAWN.items() for value in values]


def history_of(**traffic: Any) -> History:
    """Of a short run without faults, against which nothing is found."""
    with quiet():
        verdict = carried_out(
            Plan(seed=3, faults=(), lasts_s=6.0, traffic=Traffic(**traffic), company=(), served=False)
        )
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


def test_no_shared_locks_without_read_repair() -> None:
    """They count on it (decision 16), so a run has one of the two; and each is drawn."""
    seen = set()
    for seed in range(200):
        plan = Plan(seed=seed)
        repaired = all(fault.name != NO_READ_REPAIR for fault in plan.schedule)
        seen.add((repaired, plan.clients_do.readers > 0))
    assert seen == {(True, True), (True, False), (False, False)}


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


@pytest.mark.parametrize(("knob", "verb"), [("hurried", "write"), ("hurried_reads", "read")])
def test_who_is_in_a_hurry_does_not_know(knob: str, verb: str) -> None:
    """Calls that are not waited for end as unknown; without hurry and faults none does."""
    often: dict[str, Any] = {
        "reads": 0.5,
        "ranges": 0.0,
        "read_first": 0.0,
        "hurry_s": 0.01,
        "dawdles": 0.0,
        "sections": 0,
        "leases_ms": (700,),
    }
    outcomes = [
        Counter(call.outcome for call in history_of(**{knob: share}, **often) if call.verb == verb)
        for share in (0.0, 1.0)
    ]
    assert outcomes[0]["unknown"] == 0
    assert outcomes[1]["unknown"] > 10


def test_who_persists_goes_on() -> None:
    """After a write of unknown outcome more is asked under the same lock; else nothing is."""
    went_on = []
    for share in (0.0, 1.0):
        calls = history_of(persists=share, hurried=1.0, hurry_s=0.01, dawdles=0.0, at_once=0.0, lets_go=0.0)
        ended = {
            call.references: call.end_s or 0.0 for call in calls if call.verb == "write" and call.outcome == "unknown"
        }
        went_on.append([call for call in calls if call.references and call.start_s > ended.get(call.references, 99.0)])
    assert not went_on[0]
    assert len(went_on[1]) > 5


def test_who_lets_go_in_the_middle() -> None:
    """Locks are released while a write under them is under way."""
    calls = history_of(lets_go=1.0, unproven=0.0, forgotten=0.0)
    releases = {call.references: call.start_s for call in calls if call.verb == "release"}
    began = {
        call.references: call
        for call in calls
        if call.verb == "write" and call.start_s < releases.get(call.references, 0.0)
    }
    assert any((call.end_s or 99.0) > releases[references] for references, call in began.items())


def test_a_script_is_followed() -> None:
    """Each client does its own lines, when they say, and nothing else before the end."""
    lines = (
        Line(at_s=0.5, client="ams-0", does="acquire"),
        Line(at_s=1.0, client="ams-0", does="put", hurry_s=0.01),
        Line(at_s=1.5, client="ams-0", does="read"),
        Line(at_s=2.0, client="ams-0", does="release"),
        Line(at_s=3.0, client="bei-0", does="acquire shared"),
        Line(at_s=3.0, client="bei-0", does="read"),
    )
    calls = list(history_of(clients=1, keys=((FLAT, "x"),), script=lines))
    began_s = calls[0].start_s - 0.5
    done = [
        (call.client, call.verb, call.outcome, round(call.start_s - began_s, 3))
        for call in calls
        if call.start_s < began_s + 6.0
    ]
    assert done[:4] == [
        ("ams-0", "acquire", "done", 0.5),
        ("ams-0", "write", "unknown", 1.0),
        ("ams-0", "read", "done", 1.5),
        ("bei-0", "acquire", "done", 3.0),
    ]
    assert [told[:2] for told in done[4:]] == [("bei-0", "read")]


def test_a_call_that_does_not_end_is_told() -> None:
    """Where no fault is left that could hold a call up, it must end within its limit."""

    class Still:
        seed = 1
        time_s = 0.0

        def process(self, _site: str) -> Any:
            return self

        def now_s(self) -> float:
            return self.time_s

        async def call(self, _work: Any, *, limit_s: float) -> None:
            self.time_s += limit_s
            raise OutcomeUnknown("no answer within the limit", reason="limit")

    still: Any = Still()
    client = Client(still, "ams", 0, Traffic(), None)  # type: ignore[arg-type]
    client.quiet_s = 3.0
    undisturbed_s = Traffic().wait_ms / 1000 + GRACE_S
    for still.time_s, limit_s in ((0.0, undisturbed_s), (5.0, 1.0), (2.0, undisturbed_s + 1.0)):
        with pytest.raises(OutcomeUnknown):
            asyncio.run(client.ask(lambda _site: None, limit_s))  # type: ignore[arg-type, return-value]
    assert client.overdue == ["ams-0: a call that began at 2.000 s did not end within 14 s"]
