"""What the bench of three sites and that of the drivers make of what they measured; labs and engines are not here."""

import sys
from collections.abc import Callable

import pytest

from benchmarks import cassandra_drivers as drivers
from benchmarks.figures import Figure
from benchmarks.sites import __main__ as command
from benchmarks.sites.judging import carried, flat
from benchmarks.sites.lab import Logged, Spent, loud_lines
from benchmarks.sites.records import AllCells, CellBytes, Record, Sections, Tenth, Tombstones
from benchmarks.wan.samples import Failure
from polysite.cli import exits
from polysite.lab.network import capability

LOG = """\
23:04:11.100 INFO  [main] Config - Node configuration:[tombstone_failure_threshold=100000; tombstone_warn_threshold=1000]
23:04:12.200 WARN  [main] StartupChecks - jemalloc shared library could not be preloaded
\tat org.apache.cassandra.Something WARN tombstone
23:05:13.300 WARN  [ReadStage-2] ReadCommand - Read 0 live rows and 1001 tombstone cells for query SELECT * FROM wan.locked
"""


TENTHS = 10
SPENT_S = [100 + 0.5 * at for at in range(TENTHS + 1)]
PACE_MS = [1.5] * TENTHS


def tenths(*, one: float = 1.0, each: float = 1.0, busy: float = 1.0) -> list[Record]:
    """A hundred cycles of 10 ms, a read of 2 ms beside each; in the last tenth they take so many times as long, and everything takes
    `busy` times as long. One in each tenth takes much longer."""

    def took(ms: float) -> list[float]:
        return [ms * (50 if at == 3 else 1) for at in range(10)]

    last = Tenth(one_ms=took(10 * one * busy), each_ms=took(10 * each * busy), resting_ms=took(2 * busy))
    return [*[Tenth(one_ms=took(10), each_ms=took(10), resting_ms=took(2))] * (TENTHS - 1), last]


def told(
    change: Callable[[list[Record]], None] = lambda _: None, *, cycles: list[Record] | None = None
) -> list[Record]:
    """What is told where nothing is wrong, changed."""
    records: list[Record] = [
        *(CellBytes(cycles=10 * at, length=2_000 if at else 130) for at in range(TENTHS + 1)),
        AllCells(number=100, shortest=120, longest=130),
        Tombstones(site="ams", table="system.paxos", reads=10, most=3.0),
    ]
    change(records)
    return [*(cycles or tenths()), *records]


def missed(figures: list[Figure]) -> list[str]:
    return [figure.name for figure in figures if not figure.kept]


def put(at: int, record: Record) -> Callable[[list[Record]], None]:
    def change(records: list[Record]) -> None:
        records[at] = record

    return change


@pytest.mark.parametrize("busy", [1.0, 1.5, 0.7])
def test_nothing_is_missed_where_nothing_grows(busy: float) -> None:
    """Goal: outliers, a machine that gets busier or quieter, and what a cell remembers of its first changes are no growth. Method:
    figures as they should be."""
    assert missed(flat(told(cycles=tenths(busy=busy)), Logged(10, 2, []), SPENT_S, PACE_MS)) == []


@pytest.mark.parametrize("times", [1.2, 0.8])
def test_cycles_that_change_are_missed(times: float) -> None:
    """Goal: cycles that get slower are missed, of either kind, and those that get faster too: they were not warm. So is work that
    grows. Method: one of them by a fifth."""
    name = "100 lock cycles on {}: last tenth against first"
    assert missed(flat(told(cycles=tenths(one=times)), Logged(10, 2, []), SPENT_S, PACE_MS)) == [name.format("one key")]
    assert missed(flat(told(cycles=tenths(each=times)), Logged(10, 2, []), SPENT_S, PACE_MS)) == [
        name.format("100 keys")
    ]
    (work,) = missed(flat(told(), Logged(10, 2, []), [*SPENT_S[:-1], SPENT_S[-2] + 0.5 * times], PACE_MS))
    assert "processor time" in work


def test_what_the_machine_became_slower_by_is_told_and_excuses_nothing() -> None:
    """Goal: work that takes more processor time is missed, also where all does; whether all does is told beside it. Method: a machine that is a third
    slower in the end."""
    slow_ms = [*PACE_MS[:-1], 2.0]
    found = flat(told(), Logged(10, 2, []), [*SPENT_S[:-1], SPENT_S[-2] + 0.5 * 2.0 / 1.5], slow_ms)
    (work,) = missed(found)
    assert "processor time" in work
    assert any(figure.detail.startswith("1.00 against the loop") for figure in found)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (put(10, CellBytes(cycles=100, length=2_040)), "one key: bytes its cell gained after the first tenth"),
        (put(3, CellBytes(cycles=30, length=3_000)), "one key: the most bytes its cell had"),
        (put(11, AllCells(number=100, shortest=120, longest=3_000)), "the longest cell of them all"),
        (put(12, Tombstones(site="bei", table="t", reads=1, most=11)), "tombstones that one read met, at most"),
    ],
)
def test_whatever_grows_is_missed(change: Callable[[list[Record]], None], wrong: str) -> None:
    """Goal: each line convicts what it is there for, and nothing else. Method: one wrong record."""
    assert missed(flat(told(change), Logged(10, 2, []), SPENT_S, PACE_MS)) == [wrong]


def test_warnings_of_tombstones() -> None:
    """Goal: a warning in an engine's log is found, and its settings are no warning. Method: a log with both."""
    loud = loud_lines(LOG)
    assert len(loud) == 2
    assert "1001 tombstone cells" in loud[1]
    found = flat(told(), Logged(4, 2, loud[1:]), SPENT_S, PACE_MS)
    assert missed(found) == ["warnings of tombstones in the engines' logs"]
    assert "1001 tombstone cells" in found[-1].detail


def test_what_sites_carry() -> None:
    """Goal: sections of all sites together, by the second, and processor time by the section; an error is missed. Method: two sites."""
    sections: list[Record] = [
        Sections(site="ams", took_ms=[100.0] * 30, client_cpu_s=0.01),
        Sections(site="bei", took_ms=[300.0] * 10, client_cpu_s=0.01),
    ]
    services = {site: {"cassandra": 0.4, "polysite": 0.02} for site in ("ams", "bei")}
    found = carried("x", sections, Spent(services, 2.0, 2.0), seconds=2.0)
    values = {figure.name.removeprefix("x: "): figure.value for figure in found}
    assert values["sections"] == 20
    assert (values["a section takes, p50"], found[1].detail) == (100, "p99 300 ms")
    assert values["polysite's processor time"] == pytest.approx(1_000)
    assert values["the machine's"] == pytest.approx(50)
    assert missed(found) == []
    lost = Failure(site="ams", client="ams-1", outcome="unknown", code="outcome_unknown", message="")
    assert missed(carried("x", [*sections, lost], Spent(services, 2.0, 2.0), seconds=2.0)) == ["x: errors"]


@pytest.mark.parametrize(
    ("fast_us", "asked", "wrong"),
    [
        (110, 4, []),
        (110.5, 4, ["acsylla takes less"]),
        (110, 5, ["requests that a section makes"]),
    ],
)
def test_the_fast_driver(fast_us: float, asked: float, wrong: list[str]) -> None:
    """Goal: three times less, of what is left when tasks and loop are taken off, and no request too many; the least of the rounds
    counts. Method: known costs."""
    costs = [
        drivers.Cost(name, driver, value * (1 + at))
        for at in (1, 0, 2)
        for name, driver, value in (
            ("requests", drivers.NOBODY, 10),
            ("requests", drivers.PLAIN, 510),
            ("requests", drivers.DEFAULT, 310),
            ("requests", drivers.FAST, fast_us),
            ("section", drivers.DEFAULT, 600),
            ("section", drivers.FAST, 300),
            ("asked", drivers.DEFAULT, 4),
            ("asked", drivers.FAST, asked),
        )
    ]
    assert missed(drivers.judged(costs)) == wrong


def test_a_machine_without_the_means(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: no figures and no success where sites cannot be apart; the missing capability is named. Method: no root."""
    monkeypatch.setattr(sys, "argv", ["bench-sites"])
    monkeypatch.setattr(capability, "missing", lambda: "root")
    assert command.main() == exits.REFUSED
    assert "capability missing: root" in capsys.readouterr().err
