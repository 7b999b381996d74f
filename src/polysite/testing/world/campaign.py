"""Many runs, on all processors: what was injected, what was survived, and what was found."""

import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from polysite.testing.world.running import Plan, Verdict, carried_out

CHUNK = 8
"""Runs that a processor is given at once."""


class Total(msgspec.Struct):
    """What a campaign came to. `faults`: how often each was injected."""

    runs: int = 0
    calls: int = 0
    done: int = 0
    refused: int = 0
    unknown: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    illegal: list[Verdict] = msgspec.field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.calls += verdict.calls
        self.done += verdict.done
        self.refused += verdict.refused
        self.unknown += verdict.unknown
        self.faults.update(verdict.faults)
        if verdict.findings:
            self.illegal.append(verdict)


def verdicts(plans: Sequence[Plan], *, jobs: int | None = None) -> Iterator[Verdict]:
    """The verdicts of those plans, in their order, without their histories. `jobs` None: one per processor."""
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1 or len(plans) <= 1:
        with quiet():
            yield from map(_briefly, plans)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=_be_quiet) as pool:
        yield from pool.imap(_briefly, plans, chunksize=max(1, min(CHUNK, len(plans) // jobs)))


def total(found: Iterable[Verdict]) -> Total:
    """All of them together."""
    whole = Total()
    for verdict in found:
        whole.add(verdict)
    return whole


def _briefly(plan: Plan) -> Verdict:
    return msgspec.structs.replace(carried_out(plan), history=None)


def _be_quiet() -> None:
    """What processes of a bad world warn of is no news."""
    logging.disable(logging.CRITICAL)


class quiet:  # noqa: N801
    """Without the warnings of a bad world; as it was before, afterwards."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        _be_quiet()

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
