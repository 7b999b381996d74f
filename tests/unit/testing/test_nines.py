"""The arithmetic of `polysite sim nines`, and a small run of it."""

import math
import random
from collections import Counter

import pytest
from click.testing import CliRunner

from polysite.cli.sim_nines import nines
from polysite.testing.nines.estimate import RUNS_LEAST, Estimate, Sample, still_needed
from polysite.testing.nines.measuring import SETTINGS, Setting
from polysite.testing.nines.outages import (
    OUTAGES,
    WINDOW_AFTER_S,
    WINDOW_BEFORE_S,
    WINDOW_S,
    Condition,
    Outage,
    Site,
    no_majority,
)
from polysite.testing.nines.running import carried_out
from polysite.testing.nines.strata import Scenario, SiteChange, parted, strata
from polysite.testing.simulated import SeededRandomness

SHORT = Outage(name="stopped", share=1.0, distribution="lognormal", median_s=40.0, spread=0.8)


def test_the_bound_of_the_arithmetic() -> None:
    """Goal: the time without a majority is what a table of all states says. Method: the figures of the design, by hand."""
    assert no_majority(3, 0.001) == pytest.approx(3 * 0.001**2 * 0.999 + 0.001**3)
    assert no_majority(5, 0.01) == pytest.approx(9.85e-6, rel=1e-3)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.sites))
def test_weights_add_up_to_one(setting: Setting) -> None:
    """Goal: every moment is in one stratum. Method: the weights' sum; and the share of time that a site is down, had from them."""
    site, sites = setting.site, setting.sites
    likely = site.conditions()
    assert math.fsum(likely.values()) == pytest.approx(1.0, abs=1e-12)
    assert math.fsum(stratum.weight for stratum in strata(site, sites)) == pytest.approx(1.0, abs=1e-12)
    for outage in OUTAGES:
        # Who is down at the beginning of a window stays so, or returns in it.
        down = sum(likely[Condition(of, outage.name)] for of in ("down", "returns", "again"))
        assert down == pytest.approx(site.down * outage.share * outage.mean_s / site.outage_s, rel=1e-9)
    kept, dropped = parted(strata(site, sites))
    assert len(kept) + len(dropped) == len(strata(site, sites))
    assert 0 < sum(stratum.weight for stratum in dropped) <= 3e-8


def test_conditions_are_those_of_the_process() -> None:
    """Goal: the closed forms are right. Method: simulate one site for a long time, with outages that are often short, and look at
    windows placed at random."""
    site = Site(down=0.3, outages=(SHORT,))
    chance = random.Random(7)
    changes = [0.0]
    while changes[-1] < 4_000_000.0:
        changes.append(changes[-1] + chance.expovariate(1 / site.between_s))
        changes.append(changes[-1] + SHORT.least_s + 40.0 * math.exp(chance.gauss(0.0, 0.8)))
    assert SHORT.mean_s == pytest.approx(changes[-1] * 0.3 / (len(changes) // 2), rel=0.03)
    seen: Counter[str] = Counter()
    count, at = 60_000, 0
    for number in range(count):
        from_s = 1000.0 + number * (3_990_000.0 / count)
        while changes[at + 1] <= from_s:
            at += 1
        inside = sum(change <= from_s + WINDOW_S for change in changes[at + 1 : at + 9])
        is_up = at % 2 == 0
        seen[
            "more" if inside > 2 else (("up", "fails", "")[inside] if is_up else ("down", "returns", "again")[inside])
        ] += 1
    assert seen["more"] == seen[""] == 0
    for condition, likely in site.conditions().items():
        spread = math.sqrt(likely * (1 - likely) / count)
        assert abs(seen[condition.happening] / count - likely) < 5 * spread, condition


def test_scenarios_are_as_their_strata_say() -> None:
    """Goal: what is drawn of a stratum is of that stratum, and counts the requests that see all of its changes. Method: draw many of each."""
    for stratum in strata(SETTINGS[1].site, 5):
        if stratum.name == "more changes":
            continue
        for number in range(30):
            drawn = stratum.draw(SeededRandomness(f"{stratum.name}/{number}"))
            assert len(drawn.changes) == (2 if "two" in stratum.name else 0 if "steady" in stratum.name else 1)
            assert drawn.from_s == (drawn.changes[-1].at_s if drawn.changes else 0.0) - WINDOW_BEFORE_S
            assert drawn.to_s == WINDOW_AFTER_S >= drawn.from_s
            for change in drawn.changes:
                if change.to == "up":
                    assert drawn.down[change.site] == change.outage
            if "stopped site fails, 1 others" in stratum.name:
                assert (len(drawn.down), drawn.changes[0].to, drawn.changes[0].outage) == (1, "down", "stopped")


def test_gaps_between_two_changes() -> None:
    """Goal: of two changes that one window sees, gaps are as likely as there are windows with both. Method: their mean, a third of the window."""
    (two,) = [stratum for stratum in strata(SETTINGS[1].site, 5) if stratum.name == "two changes"]
    gaps = [two.draw(SeededRandomness(f"gap {number}")).changes[1].at_s for number in range(4_000)]
    assert sum(gaps) / len(gaps) == pytest.approx(WINDOW_S / 3, rel=0.05)


def test_a_site_is_no_shorter_down_than_the_window() -> None:
    """Goal: what the formulas assume is checked. Method: an outage that may be shorter, and shares that do not add up."""
    brief = Outage(name="stopped", share=1.0, distribution="exponential", median_s=30.0, least_s=1.0)
    with pytest.raises(ValueError, match="shorter than the window"):
        Site(down=0.01, outages=(brief,)).conditions()
    with pytest.raises(ValueError, match="make one"):
        Site(down=0.01, outages=(brief, brief))


def _runs(sample: Sample, rate: float, runs: int, chance: random.Random, expected: float = 400.0) -> None:
    """Runs with Poisson numbers of failures, added to a sample."""
    for _ in range(runs):
        failed, left = 0, chance.expovariate(1.0)
        while left < rate * expected:
            failed += 1
            left += chance.expovariate(1.0)
        sample.shares.append(failed / expected)
        sample.expected += expected
        sample.failed += failed
        sample.steps += 1000


def test_the_half_width_covers_the_truth() -> None:
    """Goal: the truth is within the half-width about 95 times in a hundred, rare failures included. Method: 400 experiments on three
    strata whose rates are known, one of which fails once in 2,000 requests."""
    truth = {"a": (0.9, 0.0), "b": (0.09, 5e-4), "c": (0.01, 0.5)}
    exact = sum(weight * rate for weight, rate in truth.values())
    covered, chance, found = 0, random.Random(3), []
    for _ in range(400):
        samples = [Sample(name=name, weight=weight, steady=name == "a") for name, (weight, _) in truth.items()]
        for sample in samples:
            _runs(sample, truth[sample.name][1], 6, chance)
        estimate = Estimate(samples=samples)
        found.append(estimate.value)
        covered += abs(estimate.value - exact) <= estimate.half_width
    assert sum(found) / len(found) == pytest.approx(exact, rel=0.01)
    assert 0.92 <= covered / 400 <= 0.995


def test_more_runs_go_where_they_help() -> None:
    """Goal: runs go to the strata that make the estimate unsure, and make it sure. Method: ask for half the half-width, do as told."""
    chance = random.Random(5)
    rates = {"heavy": 1e-3, "light": 1e-3, "still": 0.0}
    samples = [
        Sample(name="heavy", weight=0.1),
        Sample(name="light", weight=0.001),
        Sample(name="still", weight=0.9, steady=True),
    ]
    for sample in samples:
        _runs(sample, rates[sample.name], RUNS_LEAST, chance)
    before = Estimate(samples=samples).half_width
    for _ in range(6):
        more = still_needed(samples, before / 2)
        assert set(more) <= {"heavy"}
        for sample in samples:
            _runs(sample, rates[sample.name], more.get(sample.name, 0), chance)
    assert Estimate(samples=samples).half_width <= before / 2 * 1.05
    assert samples[1].runs == samples[2].runs == RUNS_LEAST


def test_what_was_not_simulated_counts_as_failed() -> None:
    """Goal: nothing is left out of the unavailability. Method: a sample without failures, and rare time."""
    sample = Sample(name="steady, 0 down", weight=1.0, steady=True)
    _runs(sample, 0.0, 3, random.Random(1))
    estimate = Estimate(samples=[sample], rare=2e-8)
    assert estimate.value == estimate.with_majority == 2e-8
    assert estimate.origins() == [(2e-8, "what is too rare to be simulated", "counted as failed")]
    assert estimate.not_excluded == pytest.approx(3 / 1200)


def test_same_seed_same_run() -> None:
    """Goal: a scenario's run is decided by its seed. Method: twice; a site that is cut off while another is stopped, so that sections
    fail and eventual requests do not."""
    scenario = Scenario(
        down={0: "stopped"},
        changes=(SiteChange(at_s=0.0, site=1, outage="cut off", to="down"),),
        from_s=-1.0,
        to_s=3.0,
    )
    one, other = (carried_out(scenario, sites=3, seed="a") for _ in range(2))
    assert one == other
    assert 0 < len(one.failures) < one.requests
    assert {failure.kind for failure in one.failures} == {"section"}
    assert all(failure.began_s > -1.0 for failure in one.failures)
    # Those that began before the cut and met it had a majority then; the rest had none.
    assert {failure.had_majority for failure in one.failures} == {True, False}
    assert {failure.cause for failure in one.failures} == {"section: no majority of the sites is up"}


def test_a_site_that_returns_serves_again() -> None:
    """Goal: a site that went down and came back is used again. Method: two of three are stopped and one returns; what begins 3 s later succeeds."""
    scenario = Scenario(
        down={0: "stopped", 1: "dark"},
        changes=(SiteChange(at_s=0.0, site=1, outage="dark", to="up"),),
        from_s=3.0,
        to_s=6.0,
    )
    outcome = carried_out(scenario, sites=3, seed="b")
    assert outcome.requests > 50
    assert outcome.failures == []


@pytest.mark.slow
def test_the_command_is_quick_if_asked() -> None:
    """Goal: the command tells figures, origins and effort. Method: a quick run of three sites."""
    told = CliRunner().invoke(nines, ["--sites", "3", "--quick", "--jobs", "1"], standalone_mode=False)
    assert told.exception is None
    for words in (
        "of the requests succeed within 2 s",
        "where the failures came from",
        "seed 1",
        "steady, no majority",
    ):
        assert words in told.stdout
