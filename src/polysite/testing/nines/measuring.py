"""The measurement: runs of every stratum, on all processors, until the half-width is small enough."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from polysite.testing.nines.estimate import RUNS_LEAST, Estimate, Sample, still_needed
from polysite.testing.nines.outages import Site, no_majority
from polysite.testing.nines.running import Outcome, carried_out
from polysite.testing.nines.strata import Stratum, parted, strata
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.campaign import quiet

HALF_WIDTH_SHARE = 0.2
"""The half-width is to be below this part of the unavailability."""

STEADY_RUNS = 24
"""Of each steady state with a majority, at least."""

RUNS_QUICK = 1
ROUNDS_MAX = 8


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A number of sites, what is assumed of each, and what they are held to."""

    name: str
    sites: int
    site: Site
    unavailability_max: float | None = None
    """What the whole may be; None: it is not held to anything."""
    with_majority_max: float | None = None
    """What may come on top of the bound of the arithmetic."""

    @property
    def bound(self) -> float:
        """The share of the time without a majority."""
        return no_majority(self.sites, self.site.down)


SETTINGS = (
    Setting(name="three sites of 99.9 %", sites=3, site=Site(down=0.001), unavailability_max=1e-5),
    Setting(name="five sites of 99 %", sites=5, site=Site(down=0.01), with_majority_max=5e-6),
)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a setting. `took_s` is the time on the wall."""

    setting: Setting
    estimate: Estimate
    seed: int
    took_s: float

    @property
    def is_sure(self) -> bool:
        """Whether the half-width is as small as it is to be."""
        return self.estimate.half_width < HALF_WIDTH_SHARE * self.estimate.value

    @property
    def is_kept(self) -> bool:
        """Whether it is within what the setting is held to, the half-width included."""
        estimate, setting = self.estimate, self.setting
        most, added = setting.unavailability_max, setting.with_majority_max
        return (most is None or estimate.value + estimate.half_width <= most) and (
            added is None or estimate.with_majority + estimate.half_width <= added
        )


class _Job(NamedTuple):
    stratum: Stratum
    number: int
    sites: int
    seed: int


def measure(
    setting: Setting,
    *,
    seed: int = 1,
    jobs: int | None = None,
    quick: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    steady_runs: int = STEADY_RUNS,
) -> Measured:
    """Simulate a setting until its unavailability is known well enough, or with `quick` once over all strata.

    `jobs` None: one process per processor; the figures do not depend on it. `tell` is given a line per round.
    """
    began_s = time.monotonic()
    chosen, dropped = parted(strata(setting.site, setting.sites))
    by_name = {stratum.name: stratum for stratum in chosen}
    samples = {
        stratum.name: Sample(name=stratum.name, weight=stratum.weight, steady=_is_steady(stratum)) for stratum in chosen
    }
    rare = sum(stratum.weight for stratum in dropped)
    estimate = Estimate(samples=list(samples.values()), rare=rare)
    needed = {
        name: RUNS_QUICK if quick else steady_runs if sample.steady else RUNS_LEAST for name, sample in samples.items()
    }
    with _carrier(jobs) as carry_out:
        for number in range(1 if quick else ROUNDS_MAX):
            work = [
                _Job(by_name[name], samples[name].runs + one, setting.sites, seed)
                for name, more in needed.items()
                for one in range(more)
            ]
            for job, (outcome, cpu_s) in zip(work, carry_out(work), strict=True):
                take_in(samples[job.stratum.name], outcome, cpu_s)
            tell(
                f"{setting.name}, round {number + 1}: {len(work)} runs, {estimate.value:.2e} +- {estimate.half_width:.1e}"
            )
            aim = HALF_WIDTH_SHARE * estimate.value
            if estimate.half_width < aim:
                break
            needed = still_needed(samples.values(), 0.95 * aim)
    return Measured(setting=setting, estimate=estimate, seed=seed, took_s=time.monotonic() - began_s)


def take_in(sample: Sample, outcome: Outcome, cpu_s: float) -> None:
    """Add a run to what was measured in its stratum."""
    sample.shares.append(outcome.failed)
    sample.expected += outcome.expected
    sample.requests += outcome.requests
    sample.failed += len(outcome.failures)
    sample.with_majority += sum(failure.had_majority for failure in outcome.failures)
    sample.causes.update(failure.cause for failure in outcome.failures)
    sample.slowest_s = max(sample.slowest_s, outcome.slowest_s)
    sample.slow += outcome.slow
    sample.again += outcome.again
    sample.steps += outcome.steps
    sample.cpu_s += cpu_s


def _is_steady(stratum: Stratum) -> bool:
    """Whether nothing changes, and a majority is up."""
    return stratum.name.startswith("steady") and stratum.name.endswith("down")


def _done(job: _Job) -> tuple[Outcome, float]:
    began_s = time.process_time()
    name = f"nines/{job.seed}/{job.sites}/{job.stratum.name}/{job.number}"
    scenario = job.stratum.draw(SeededRandomness(f"{name}/scenario"))
    return carried_out(scenario, sites=job.sites, seed=name), time.process_time() - began_s


_Carry = Callable[[Sequence[_Job]], Iterable[tuple[Outcome, float]]]


@contextmanager
def _carrier(jobs: int | None) -> Iterator[_Carry]:
    """What carries out runs, in their order."""
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1:
        with quiet():
            yield lambda work: map(_done, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=_be_quiet) as pool:
        yield lambda work: pool.imap(_done, work, chunksize=2)


def _be_quiet() -> None:
    quiet().__enter__()
