"""What the bench of three sites and that of the drivers make of what they measured; labs and engines are not here."""

import sys
from collections.abc import Callable

import pytest

from benchmarks import cassandra_drivers as drivers
from benchmarks.figures import Figure
from benchmarks.sites import __main__ as command
from benchmarks.sites.judging import carried, flat
from benchmarks.sites.lab import Logged, Spent, loud_lines
from benchmarks.sites.records import AllCells, CellBytes, Cycles, Record, Sections, Tombstones
from benchmarks.wan.samples import Failure
from polysite.cli import exits
from polysite.lab.network import capability

LOG = """\
23:04:11.100 INFO  [main] Config - Node configuration:[tombstone_failure_threshold=100000; tombstone_warn_threshold=1000]
23:04:12.200 WARN  [main] StartupChecks - jemalloc shared library could not be preloaded
\tat org.apache.cassandra.Something WARN tombstone
23:05:13.300 WARN  [ReadStage-2] ReadCommand - Read 0 live rows and 1001 tombstone cells for query SELECT * FROM wan.locked
"""


def cycles(last: float, *, keys: int = 1) -> Cycles:
    """A hundred cycles of 10 ms, the last tenth of which takes `last` times as long; one in each tenth takes much longer."""
    took_ms = [10.0 * (last if at >= 90 else 1.0) * (50 if at % 10 == 3 else 1) for at in range(100)]
    return Cycles(keys=keys, took_ms=took_ms)


def told(change: Callable[[list[Record]], None] = lambda _: None) -> list[Record]:
    """What is told where nothing is wrong, changed."""
    records: list[Record] = [
        cycles(1.0),
        cycles(1.0, keys=100),
        *(CellBytes(cycles=10 * at, length=2_000 if at else 130) for at in range(11)),
        AllCells(number=100, shortest=120, longest=130),
        Tombstones(site="ams", table="system.paxos", reads=10, most=3.0),
    ]
    change(records)
    return records


def missed(figures: list[Figure]) -> list[str]:
    return [figure.name for figure in figures if not figure.kept]


def put(at: int, record: Record) -> Callable[[list[Record]], None]:
    def change(records: list[Record]) -> None:
        records[at] = record

    return change


def test_nothing_is_missed_where_nothing_grows() -> None:
    """Goal: outliers do not count, and what a cell remembers of its first changes is no growth. Method: figures as they should be."""
    assert missed(flat(told(), Logged(10, 2, []))) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (put(0, cycles(1.2)), "100 lock cycles on one key: last tenth against first"),
        (put(0, cycles(0.8)), "100 lock cycles on one key: last tenth against first"),
        (put(1, cycles(1.2, keys=100)), "100 lock cycles on 100 keys: last tenth against first"),
        (put(12, CellBytes(cycles=100, length=2_040)), "one key: bytes its cell gained after the first tenth"),
        (put(5, CellBytes(cycles=30, length=3_000)), "one key: the most bytes its cell had"),
        (put(13, AllCells(number=100, shortest=120, longest=3_000)), "the longest cell of them all"),
        (put(14, Tombstones(site="bei", table="t", reads=1, most=11)), "tombstones that one read met, at most"),
    ],
)
def test_whatever_grows_is_missed(change: Callable[[list[Record]], None], wrong: str) -> None:
    """Goal: each line convicts what it is there for, and nothing else; cycles that get faster were not warm. Method: one wrong record."""
    assert missed(flat(told(change), Logged(10, 2, []))) == [wrong]


def test_warnings_of_tombstones() -> None:
    """Goal: a warning in an engine's log is found, and its settings are no warning. Method: a log with both."""
    loud = loud_lines(LOG)
    assert len(loud) == 2
    assert "1001 tombstone cells" in loud[1]
    found = flat(told(), Logged(4, 2, loud[1:]))
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


@pytest.mark.parametrize(("fast_us", "requests", "wrong"), [(110, 4.0, []), (110.5, 4.0, ["acsylla takes less"])])
def test_the_fast_driver(fast_us: float, requests: float, wrong: list[str]) -> None:
    """Goal: three times less, of what is left when tasks and loop are taken off; the least of the rounds counts. Method: known costs."""
    costs = [
        drivers.Cost(name, driver, value * (1 + at))
        for at in (1, 0, 2)
        for name, driver, value in (
            ("requests", drivers.NOBODY, 10),
            ("requests", drivers.DEFAULT, 310),
            ("requests", drivers.FAST, fast_us),
            ("section", drivers.DEFAULT, 600),
            ("section", drivers.FAST, 300),
        )
    ]
    assert missed(drivers.judged(costs, requests)) == wrong
    assert "requests that a section makes" in missed(drivers.judged(costs, 4.1))


def test_a_machine_without_the_means(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: no figures and no success where sites cannot be apart; the missing capability is named. Method: no root."""
    monkeypatch.setattr(sys, "argv", ["bench-sites"])
    monkeypatch.setattr(capability, "missing", lambda: "root")
    assert command.main() == exits.REFUSED
    assert "capability missing: root" in capsys.readouterr().err
