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
