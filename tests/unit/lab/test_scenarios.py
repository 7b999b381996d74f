"""Scenarios as data.

Method: every named scenario for every site of a lab, looked at as a value.
"""

import msgspec
import pytest

from polysite.errors import BadRequest
from polysite.lab.faults import FAULTS
from polysite.lab.scenarios import SCENARIOS, Scenario, scenario

SITES = ("ams", "bei", "irv")
every = pytest.mark.parametrize("name", list(SCENARIOS))


@every
def test_it_can_be_written_down_and_read_back(name: str) -> None:
    """Goal: a drill that failed can be run again from what it wrote down. Method: JSON and back."""
    made = scenario(name, "bei", SITES)
    assert made.name == name
    assert msgspec.json.decode(msgspec.json.encode(made), type=Scenario) == made


@every
def test_it_heals_what_it_breaks(name: str) -> None:
    """Goal: after a drill the lab is as before. Method: the last step of each kind of fault heals; steps are in order, within the
    load, which goes on long enough to see the recovery."""
    made = scenario(name, "irv", SITES)
    last = {type(step.fault): step for step in made.steps}
    assert all(step.do == "heal" for step in last.values())
    moments = [step.at_s for step in made.steps]
    assert moments == sorted(moments)
    assert made.steps == () or moments[-1] + (made.expected.recovery_s or 0) < made.lasts_s
    assert made.expected.struck == "irv"
    assert "irv" not in made.expected.calm or not made.steps


@every
def test_its_calls_end_before_they_count_as_hung(name: str) -> None:
    """Goal: no drill condemns a call that was allowed to wait. Method: the longest wait, with ten seconds for the answer."""
    made = scenario(name, "ams", SITES)
    assert made.wait_ms / 1000 + 10 < made.expected.call_s
    assert made.lease_ms < made.wait_ms, "who waits behind a dead holder is served before he gives up"


@pytest.mark.parametrize("w_s", [0.0, 0.05, 0.18, 1.0])
def test_a_holder_is_frozen_past_its_lease(w_s: float) -> None:
    """Goal: as many rounds as asked for, in each of which the holder sleeps longer than its lease, which is one that the service
    takes. Method: several distances."""
    made = scenario("freeze-holder", "bei", SITES, rounds=200, w_s=w_s)
    steps = list(zip(made.steps[::2], made.steps[1::2], strict=True))
    assert len(steps) == 200
    assert all((frozen.do, woken.do) == ("inject", "heal") for frozen, woken in steps)
    # Observers wait for each other, two round trips for each place in the queue.
    assert all(woken.at_s - frozen.at_s >= made.lease_ms / 1000 + 4 * w_s for frozen, woken in steps)
    assert made.lease_ms >= 1000 * 10 * w_s + 100
    assert made.lasts_s < 15 * 60 or w_s > 0.05
    with pytest.raises(BadRequest, match="freeze-holder"):
        scenario("cut-site", "bei", SITES, rounds=3)


def test_faults_have_their_names() -> None:
    """Goal: a fault in a file is told by the name that people use. Method: the tag of each."""
    for name, fault in FAULTS.items():
        assert fault.__struct_config__.tag == name


def test_what_cannot_be_drilled() -> None:
    """Goal: a wrong name, a site that is not there, or a cut with nobody to be cut from is refused in words."""
    with pytest.raises(BadRequest, match="cut-site"):
        scenario("earthquake", "ams", SITES)
    with pytest.raises(BadRequest, match="ams, bei, irv"):
        scenario("cut-site", "nyc", SITES)
    with pytest.raises(BadRequest, match="at least two"):
        scenario("cut-site", "ams", ("ams",))
    assert scenario("kill-site", "ams", ("ams",)).expected.calm == ()
