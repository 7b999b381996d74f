"""What was measured, in lines: the share that succeeds, where each failure came from, and what it was measured with."""

from collections.abc import Iterator
from typing import Any

import msgspec

from polysite.testing.nines.estimate import Estimate
from polysite.testing.nines.measuring import Measured
from polysite.testing.nines.requests import SLOW_S

ORIGINS_MAX = 20


def told(measured: Measured) -> Iterator[str]:
    """A setting, line by line."""
    setting, estimate = measured.setting, measured.estimate
    site = setting.site
    yield f"{setting.name}: each is down {site.down:.2%} of the time, for {_long(site.outage_s)} every {_long(site.between_s)}"
    yield f"  {1 - estimate.value:.6%} of the requests succeed within 2 s"
    yield f"  unavailability {estimate.value:.2e} +- {estimate.half_width:.1e} (95 %, {estimate.half_width / estimate.value:.0%} of it)"
    without = estimate.value - estimate.with_majority
    yield f"    {without:.2e} of requests that began while no majority of the sites was up, which is {setting.bound:.2e} of the time"
    yield f"    {estimate.with_majority:.2e} of requests that began while one was: with the bound of the arithmetic {estimate.with_majority + setting.bound:.2e}"
    yield f"  {_verdict(measured)}"
    yield "  where the failures came from:"
    yield from _origins(estimate)
    yield "  strata: share of the time, runs, requests, failed, tried again, slowest"
    yield from _strata(estimate)
    yield from _effort(measured)


def shown(measured: Measured) -> dict[str, Any]:
    """The same for machines."""
    estimate, setting = measured.estimate, measured.setting
    return {
        "setting": setting.name,
        "seed": measured.seed,
        "unavailability": estimate.value,
        "half_width": estimate.half_width,
        "with_majority": estimate.with_majority,
        "bound": setting.bound,
        "kept": measured.is_kept,
        "sure": measured.is_sure,
        "origins": [{"part": part, "stratum": name, "cause": cause} for part, name, cause in estimate.origins()],
        "strata": [
            {**msgspec.to_builtins(sample), "runs": sample.runs, "shares": None, "cpu_s": None}
            for sample in estimate.samples
        ],
        "cpu_s": sum(sample.cpu_s for sample in estimate.samples),
        "took_s": measured.took_s,
    }


def _verdict(measured: Measured) -> str:
    setting = measured.setting
    held = []
    if setting.unavailability_max is not None:
        held.append(f"at most {setting.unavailability_max:.0e} in all")
    if setting.with_majority_max is not None:
        held.append(f"at most {setting.with_majority_max:.0e} on top of the bound")
    sure = "" if measured.is_sure else "; the half-width is not yet below a fifth"
    return f"held to {' and '.join(held)}: {'kept' if measured.is_kept else 'MISSED'}{sure}"


def _origins(estimate: Estimate) -> Iterator[str]:
    origins = estimate.origins()
    for part, stratum, cause in origins[:ORIGINS_MAX]:
        yield f"    {part / estimate.value:6.1%}  {part:.2e}  {stratum}; {cause}"
    if rest := sum(part for part, _, _ in origins[ORIGINS_MAX:]):
        yield f"    {rest / estimate.value:6.1%}  {rest:.2e}  {len(origins) - ORIGINS_MAX} others"


def _strata(estimate: Estimate) -> Iterator[str]:
    for sample in sorted(estimate.samples, key=lambda sample: -sample.weight):
        yield (
            f"    {sample.weight:.2e} {sample.runs:5} {sample.requests:8} {sample.failed:7} {sample.again:6}"
            f" {sample.slowest_s:5.2f} s  {sample.name}"
        )


def _effort(measured: Measured) -> Iterator[str]:
    samples = measured.estimate.samples
    runs, requests = sum(sample.runs for sample in samples), sum(sample.requests for sample in samples)
    cpu_s = sum(sample.cpu_s for sample in samples)
    yield f"  {runs} runs, {requests} requests, {cpu_s:.0f} s of processors in {measured.took_s:.0f} s, seed {measured.seed}"
    steady = [sample for sample in samples if sample.steady]
    requests, failed = sum(sample.requests for sample in steady), sum(sample.failed for sample in steady)
    slow, slowest_s = sum(sample.slow for sample in steady), max(sample.slowest_s for sample in steady)
    yield (
        f"  in steady states with a majority {failed} of {requests} requests failed, {slow} took longer than {SLOW_S:g} s, the slowest {slowest_s:.2f} s;"
        f" by their number alone {measured.estimate.not_excluded:.1e} is not excluded"
    )


def _long(duration_s: float) -> str:
    for unit, size_s in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if duration_s >= size_s:
            return f"{duration_s / size_s:.1f} {unit}"
    return f"{duration_s:.0f} s"
