"""What a bench answers: figures, each with the bound it must keep."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value; `at_least` or `at_most` None: told, not judged. `detail` says how it came about."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def kept(self) -> bool:
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def line(self) -> str:
        low = f">= {self.at_least:g}" if self.at_least is not None else ""
        high = f"<= {self.at_most:g}" if self.at_most is not None else ""
        bound = " ".join(filter(None, (low, high)))
        mark = "" if not bound else "ok" if self.kept else "MISSED"
        return f"{self.name:<64} {self.value:>10.3f} {self.unit:<10} {bound:<15} {mark:<7} {self.detail}"


def told(figures: Sequence[Figure]) -> str:
    """The figures as one JSON line: what a bench process hands to the command that started it."""
    return json.dumps([asdict(figure) for figure in figures])


def heard(line: str) -> list[Figure]:
    """Inverse of `told`."""
    return [Figure(**member) for member in json.loads(line)]


def spread(values: Sequence[float]) -> str:
    """Minimum, median, maximum."""
    return f"{min(values):.0f} / {statistics.median(values):.0f} / {max(values):.0f}"


def ratios(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the pairwise ratios: run i against the base run beside it, so that drift of the machine cancels."""
    return statistics.median(value / against for value, against in zip(values, base, strict=True))
