"""From what clients told to figures."""

import statistics
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.figures import Figure
from benchmarks.wan.samples import Failure

from .lab import Logged, Spent
from .records import AllCells, CellBytes, Record, Sections, Tenth, Tombstones

APART = 0.15
"""How far the median of the last tenth may be from that of the first, either way: cycles that get faster were not warm at first."""
CELL_BYTES_MOST = 2_500
"""A cell remembers its last 16 changes (448 bytes) and who left last, 64 entries (1,536 bytes); its queue is short here."""
GROWS_BYTES = 32
"""What numbers in a cell may grow by between the first tenth and the end: the ticket is written shorter while it is small."""
TOMBSTONES_MOST = 10
"""In one read; Cassandra warns from 1,000 on."""


def flat(told: Sequence[Record], logged: Logged, spent_s: Sequence[float], pace_ms: Sequence[float]) -> list[Figure]:
    """Lock cycles that stay as they were. `spent_s`: processor seconds of engines and polysite at the start, and after each tenth; `pace_ms`: the
    processor time of a loop that is always the same, in each tenth."""
    tenths = [one for one in told if isinstance(one, Tenth)]
    resting = [statistics.median(one.resting_ms) for one in tenths]
    cycles = sum(len(one.one_ms) for one in tenths)
    found = [
        Figure(
            "a read of a row that rests: last tenth against first",
            resting[-1] / resting[0],
            "times",
            detail=_ms(resting),
        ),
        _flat(f"{cycles} lock cycles on one key", [statistics.median(one.one_ms) for one in tenths], resting),
        _flat(f"{cycles} lock cycles on {cycles} keys", [statistics.median(one.each_ms) for one in tenths], resting),
        Figure(
            "processor time of a loop that is always the same: last tenth against first",
            pace_ms[-1] / pace_ms[0],
            "times",
            detail=_ms(pace_ms),
        ),
        _work([(after - before) / cycles * len(tenths) * 1e3 for before, after in pairwise(spent_s)], pace_ms),
    ]
    found += _cells([one for one in told if isinstance(one, CellBytes)])
    for one in told:
        if isinstance(one, AllCells):
            detail = f"{one.number} cells used once, from {one.shortest} bytes on"
            found.append(
                Figure("the longest cell of them all", one.longest, "bytes", at_most=CELL_BYTES_MOST, detail=detail)
            )
    return [*found, *_tombstones([one for one in told if isinstance(one, Tombstones)], logged)]


def _flat(name: str, medians: Sequence[float], resting: Sequence[float]) -> Figure:
    """Medians by tenths, the last against the first, each against the yardstick of its tenth, so that drift of the machine cancels."""
    plain = medians[-1] / medians[0]
    ratio = plain / (resting[-1] / resting[0])
    detail = f"{plain:.2f} by the clock alone; {_ms(medians)}"
    return Figure(
        f"{name}: last tenth against first", ratio, "times", at_least=1 - APART, at_most=1 + APART, detail=detail
    )


def _work(each_ms: Sequence[float], pace_ms: Sequence[float]) -> Figure:
    """Judged as it is; what the loop says of the machine is told beside it."""
    ratio = each_ms[-1] / each_ms[0]
    name = "processor time of two cycles, all sites: last tenth against first"
    detail = f"{ratio / (pace_ms[-1] / pace_ms[0]):.2f} against the loop; {_ms(each_ms)}"
    return Figure(name, ratio, "times", at_least=1 - APART, at_most=1 + APART, detail=detail)


def _ms(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values) + " ms"


def _cells(lengths: Sequence[CellBytes]) -> list[Figure]:
    first, *later = sorted(lengths, key=lambda one: one.cycles)
    detail = f"{first.length} after one cycle, then " + " ".join(str(one.length) for one in later)
    grown = later[-1].length - later[0].length
    return [
        Figure(
            "one key: the most bytes its cell had",
            max(one.length for one in lengths),
            "bytes",
            at_most=CELL_BYTES_MOST,
            detail=detail,
        ),
        Figure("one key: bytes its cell gained after the first tenth", grown, "bytes", at_most=GROWS_BYTES),
    ]


def _tombstones(found: Sequence[Tombstones], logged: Logged) -> list[Figure]:
    worst = max(found, key=lambda one: one.most)
    reads = sum(one.reads for one in found)
    sites = len({one.site for one in found})
    detail = f"{worst.table} at {worst.site}; {reads} reads at {sites} sites"
    lines = f"{logged.lines} lines, {logged.warnings} warnings of other kinds" if not logged.tombstones else ""
    return [
        Figure("tombstones that one read met, at most", worst.most, "", at_most=TOMBSTONES_MOST, detail=detail),
        Figure(
            "warnings of tombstones in the engines' logs",
            len(logged.tombstones),
            "",
            at_most=0,
            detail=lines or logged.tombstones[0],
        ),
    ]


def carried(name: str, told: Sequence[Record], spent: Spent, *, seconds: float) -> list[Figure]:
    """Sections of distinct keys: how many, how long, for how much of the processors."""
    sections = [one for one in told if isinstance(one, Sections)]
    failures = [one for one in told if isinstance(one, Failure)]
    took_ms = sorted(took for one in sections for took in one.took_ms)
    number = len(took_ms)
    shares = ", ".join(f"{one.site} {len(one.took_ms) / seconds:.1f}" for one in sections)
    p50, p99 = took_ms[number // 2], took_ms[number * 99 // 100]
    engines, ours = spent.of("cassandra"), spent.of("polysite")
    clients = sum(one.client_cpu_s for one in sections)
    rest = spent.machine_s - engines - ours - clients
    share = spent.machine_s / spent.span_s
    each = " + ".join(
        f"{what} {cpu / number * 1e3:.2f}"
        for what, cpu in (("Cassandra", engines), ("polysite", ours), ("clients", clients), ("all else", rest))
    )
    codes = ", ".join(sorted({one.code for one in failures}))
    return [
        Figure(f"{name}: sections", number / seconds, "per second", detail=shares),
        Figure(f"{name}: a section takes, p50", p50, "ms", detail=f"p99 {p99:.0f} ms"),
        Figure(f"{name}: polysite's processor time", ours / number * 1e6, "µs each"),
        Figure(f"{name}: the machine's", spent.machine_s / number * 1e3, "ms each", detail=f"{each}; {share:.2f} busy"),
        Figure(f"{name}: errors", len(failures), "", at_most=0, detail=codes),
    ]
