"""The first table: what a section costs on a quiet key, with the bounds it must keep."""

from collections.abc import Sequence
from typing import NamedTuple

from . import operations, published
from .bounds import Bounds, alike, groups
from .judging import Measured, measured
from .published import Published
from .samples import Sample


class Line(NamedTuple):
    """One operation, what is allowed, and what others need."""

    operation: str
    bounds: Bounds
    before: Published = Published()

    def bound(self, group: str) -> float:
        return self.bounds.of(group)


LINES = (
    Line(operations.SECTION, Bounds(3, 2, 3), published.CALLS),
    Line(operations.ONE_REQUEST, Bounds(3, 2, 3), published.CALLS),
    Line(operations.VALIDATED, Bounds(5, 3, 5), published.CALLS),
    Line(operations.ONE_REQUEST_VALIDATED, Bounds(5, 3, 5), published.CALLS),
    Line(operations.LOCK_GET, Bounds(2, 1, 2), published.LOCK),
    Line(operations.PUT, alike(1), published.ONE_PUT),
    Line(operations.PIPELINED, alike(1), published.TEN_PUTS),
    Line(operations.BATCHED, alike(1), published.TEN_PUTS),
    Line(operations.SECOND_GET, alike(0), published.ONE_GET),
    Line(operations.EVENTUAL_GET, alike(0)),
    Line(operations.EVENTUAL_PUT, alike(0)),
    Line(operations.BACKGROUND, alike(0), published.RELEASE),
)


def leader(samples: Sequence[Sample]) -> str | None:
    """The site that claims a lock for one round trip: its ZooKeeper leads. None: no site does."""
    locks = [sample for sample in samples if sample.operation == operations.LOCK_GET]
    sites = {sample.site for sample in locks}
    leading = {site for site in sites if all(sample.claimed <= 1 for sample in locks if sample.site == site)}
    return leading.pop() if len(leading) == 1 else None


def table(samples: Sequence[Sample], leads: str | None) -> list[tuple[Line, Measured]]:
    """Every line, for every group that has samples of it."""
    found = []
    for line in LINES:
        for group, members in groups(samples, leads).items():
            of_line = [sample for sample in members if sample.operation == line.operation]
            if of_line:
                found.append((line, measured(line.operation, group, of_line)))
    return found


def printed(lines: Sequence[tuple[Line, Measured]]) -> list[str]:
    """Medians at the smaller distance beside those of others."""
    near = min(min(found.medians) for _, found in lines)
    head = f"{'median ms at W = ' + format(near, 'g'):<52}{'polysite':>10}{'original':>10}{'ZooKeeper lock':>16}"
    told = [head]
    for line, found in lines:
        name = f"{line.operation} ({found.group})" if found.group else line.operation
        told.append(f"{name:<52}{found.medians[near]:>10.0f}{line.before.original:>10}{line.before.zookeeper:>16}")
    return [*told, f"original: {published.SOURCE}; ZooKeeper's lock recipe: leader's site / other site"]
