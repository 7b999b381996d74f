"""Drills on labs that are up, and three sites on real engines.

Method: the real command and processes; scenarios short enough for a test, made of the faults that the named ones are made of.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from polysite.lab.drills.checks import checks
from polysite.lab.drills.conductor import Conductor, read_run
from polysite.lab.faults import Cut, Kill
from polysite.lab.network import capability
from polysite.lab.scenarios import Expected, Scenario, Step
from polysite.testing.history import History
from tests.support.labs import Lab, running_lab, traces

MISSING = capability.missing()
UP_S = 60.0
"""From `up` until three sites on engines are ready, on two cores."""


def drilled(lab: Lab, scenario: Scenario) -> dict[str, str]:
    """Carry it out, and judge it from what it wrote down: check → verdict and finding."""
    conductor = Conductor(lab.control, scenario, lambda _: None)
    run = conductor.run()
    assert read_run(conductor.folder) == run
    history = History.read(*conductor.histories)
    return {check.name: f"{check.verdict}: {check.finding}" for check in checks(run, history)}


@pytest.mark.slow
def test_a_site_is_killed_under_load(tmp_path: Path) -> None:
    """Goal: clients of a site that is killed and started again are told the truth, and a drill shows it. Method: one site on the
    embedded engine, on loopback, killed for two seconds; the same drill is judged again by the command."""
    fault = Kill(site="ams")
    scenario = Scenario(
        name="short-kill",
        about="ams is killed for two seconds",
        steps=(Step(at_s=2.0, do="inject", fault=fault), Step(at_s=4.0, do="heal", fault=fault)),
        lasts_s=6.0,
        expected=Expected(struck="ams", recovery_s=3.0),
    )
    with running_lab(tmp_path / "lab", "--loopback", "--sites", "ams") as lab:
        found = drilled(lab, scenario)
    assert len(found) == 5
    assert all(verdict.startswith("ok") for verdict in found.values()), found
    again = lab_judge(tmp_path / "lab" / "drills" / "short-kill-1")
    assert {check["verdict"] for check in again["checks"]} == {"ok"}
    kinds = {event["heals"] for event in again["run"]["events"]}
    assert kinds == {True, False}


def lab_judge(folder: Path) -> Any:
    """What the command says of a drill of before."""
    command = [sys.executable, "-m", "polysite.cli", "lab", "judge", str(folder), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.engine("cassandra")
@pytest.mark.timeout(400)
@pytest.mark.skipif(MISSING is not None, reason=f"missing: {MISSING}")
def test_three_sites_on_cassandra(tmp_path: Path) -> None:
    """Goal: three sites on engines are ready within a minute; what one writes under a lock the others read; one that is cut off harms
    nobody and comes back; nothing is left of the engines after `down`. Method: three sites 20 ms apart, each with its own data
    center; a section at each; then a short drill that cuts one off; a look at the machine before and after."""
    before, began_s = traces(tmp_path / "lab"), time.monotonic()
    with running_lab(tmp_path / "lab", "--store", "cassandra", "--rtt-ms", "20") as lab:
        assert time.monotonic() - began_s < UP_S
        assert len(traces(tmp_path / "lab").keepers) > 6, "three engines and three processes, beside the keeper"

        def at(site: str, *command: str) -> str:
            return lab.run("exec", site, "--", "polysite", *command).out

        at("ams", "keyspace", "create", "voting")
        at("ams", "table", "create", "voting/votes", "name:text", "count:int", "--key", "name")
        for count, site in enumerate(("ams", "bei", "irv"), 1):
            at(site, "section", "voting/votes/ana", "--get", "--put", f"count={count}", "--validate")
        row = json.loads(at("bei", "get", "voting/votes/ana", "--level", "quorum", "--json"))
        assert row == {"name": "ana", "count": 3}
        fault = Cut(sites=("irv",))
        scenario = Scenario(
            name="short-cut",
            about="irv is cut off for five seconds",
            steps=(Step(at_s=4.0, do="inject", fault=fault), Step(at_s=9.0, do="heal", fault=fault)),
            lasts_s=16.0,
            expected=Expected(struck="irv", calm=("ams", "bei"), plain_goes_on=True),
            clients=2,
        )
        found = drilled(lab, scenario)
    assert traces(tmp_path / "lab") == before
    assert len(found) == 10
    assert all(verdict.startswith("ok") for verdict in found.values()), found
