"""What the wide-area bench makes of samples; the lab it needs is not here."""

import sys
from itertools import product

import pytest

from benchmarks.wan import __main__ as command
from benchmarks.wan import contention, first_table, operations, paths, profile, provoked, v2
from benchmarks.wan.judging import judged, measured
from benchmarks.wan.samples import Failure, Record, Sample, Tenure, Ways
from polysite.cli import exits
from polysite.lab.network import capability


def samples(operation: str, *, claimed: float, trips: float, busy_ms: float = 30.0, site: str = "ams") -> list[Sample]:
    """An operation that takes so many round trips, what the machine adds, and now and then much more."""
    return [
        Sample(operation=operation, site=site, rtt_ms=rtt_ms, took_ms=trips * rtt_ms + busy_ms + late, claimed=claimed)
        for rtt_ms, late in product((50.0, 100.0), (0.0, 1.0, 2.0, 3.0, 400.0))
    ]


def tenure(
    ticket: int, *, read: int, site: str = "ams", asked_s: float = 0.0, held_s: float, lasts_s: float = 0.1
) -> Tenure:
    return Tenure(
        site=site,
        client=f"{site}-0",
        ticket=ticket,
        read=read,
        asked_s=asked_s,
        held_s=held_s,
        release_s=held_s + lasts_s,
        ended_s=held_s + lasts_s,
    )


@pytest.mark.parametrize(
    ("claimed", "trips", "bound", "kept"),
    [(3, 3, 3, [True, True]), (3, 3.4, 3, [True, False]), (3, 2.6, 3, [True, False]), (4, 4, 3, [False, True])],
)
def test_round_trips_by_the_slope(claimed: float, trips: float, bound: float, kept: list[bool]) -> None:
    """Goal: what the machine adds, the same near and far, and outliers do not count; a claim above its bound, and a clock that tells
    another number than the claim, up or down, are missed. Method: samples of known round trips."""
    found = measured("an operation", "", samples("an operation", claimed=claimed, trips=trips))
    assert found.slope == pytest.approx(trips)
    assert [figure.kept for figure in judged(found, bound)] == kept


def test_who_stands_alike() -> None:
    """Goal: with locks in ZooKeeper the leader's site has bounds of its own. Method: one site claims a lock for one round trip, two
    claim two; when two sites claim to lead, none does."""
    locks = [
        *samples(operations.LOCK_GET, claimed=1, trips=1, site="bei"),
        *samples(operations.LOCK_GET, claimed=2, trips=2, site="ams"),
        *samples(operations.LOCK_GET, claimed=2, trips=2, site="irv"),
    ]
    assert first_table.leader(locks) == "bei"
    found = first_table.table(locks, "bei")
    assert [(line.bound(one.group), sorted(one.slopes)) for line, one in found] == [(1, ["bei"]), (2, ["ams", "irv"])]
    assert first_table.leader([*locks, *samples(operations.LOCK_GET, claimed=1, trips=1, site="cph")]) is None


PROFILE = "beijing-amsterdam-irvine"
CITIES = {"ams": 150.0, "irv": 150.0, "bei": 180.0}


def of_cities(*, late_ms: float = 30.0, w_ms: int = 160, claimed: float = 1) -> list[Record]:
    """What each site tells when a round trip is the one to its nearest other site, and the machine adds a little."""
    told: list[Record] = []
    for site, near in CITIES.items():
        told.append(Ways(site=site, majority_rtt_ms=round(near) - 150 + w_ms, rtt_ms={}))
        for operation in profile.COVERED:
            took_ms = near * claimed + late_ms
            told += [
                Sample(operation=operation, site=site, rtt_ms=200, took_ms=took_ms + late, claimed=claimed)
                for late in (0.0, 1.0, 900.0)
            ]
    return told


def test_sites_as_far_apart_as_cities() -> None:
    """Goal: at each site a round trip is the one to its nearest other site, as measured and as waited for; more and less is missed. Method: what
    three sites tell, once right, once with a W of another site, once with operations that are slower or quicker than they claim."""
    assert {site: profile.nearest_ms(PROFILE, site) for site in CITIES} == CITIES
    assert profile.longest_ms(PROFILE) == 200

    def missed(told: list[Record]) -> set[str]:
        return {figure.name.partition(": ")[2] for figure in profile.judged(PROFILE, told) if not figure.kept}

    assert len(profile.judged(PROFILE, of_cities())) == len(CITIES) * (1 + len(profile.COVERED))
    assert missed(of_cities()) == set()
    assert missed(of_cities(w_ms=200)) == {"W"}
    assert missed(of_cities(w_ms=140)) == {"W"}
    assert missed(of_cities(late_ms=70)) == missed(of_cities(late_ms=-20)) == set(profile.COVERED)


def judge(told: list[Record]) -> dict[str, bool]:
    figures = contention.judged("key", told, clients=2, rtt_ms=50)
    return {figure.name.removeprefix("key: "): figure.kept for figure in figures}


def test_a_contended_key_that_is_as_it_must_be() -> None:
    """Goal: nothing is missed where nothing is wrong. Method: two sites in turn, five tenures a second, each counting one up."""
    told: list[Record] = [
        tenure(at, read=at, site="ams" if at % 2 else "bei", asked_s=at * 0.2 - 0.3, held_s=at * 0.2)
        for at in range(40)
    ]
    assert set(judge(told).values()) == {True}


@pytest.mark.parametrize(
    ("missed", "wrong"),
    [
        ("lost updates", tenure(40, read=38, site="ams", held_s=8.0)),
        ("lost updates", tenure(40, read=41, site="ams", held_s=8.0)),
        ("served out of turn", tenure(40, read=40, site="ams", held_s=7.7)),
        ("unknown outcomes shown", Failure(site="ams", client="ams-0", outcome="unknown", code="x", message="")),
        ("other errors", Failure(site="ams", client="ams-0", outcome="refused", code="x", message="")),
    ],
)
def test_what_is_wrong_with_a_contended_key(missed: str, wrong: Record) -> None:
    """Goal: each check convicts what it is there for, and nothing else. Method: one record that must not be."""
    told: list[Record] = [
        tenure(at, read=at, site="ams" if at % 2 else "bei", asked_s=at * 0.2 - 0.3, held_s=at * 0.2)
        for at in range(40)
    ]
    assert [name for name, kept in judge([*told, wrong]).items() if not kept] == [missed]


def test_an_update_of_unknown_outcome_is_not_a_lost_one() -> None:
    """Goal: a put that may have happened may be seen by the next holder. Method: a gap of one, and one unknown outcome."""
    rows = [tenure(1, read=0, held_s=0.0), tenure(3, read=2, held_s=0.2)]
    assert contention.lost_updates(rows, unknown=1) == 0
    assert contention.lost_updates(rows, unknown=0) == 1


def test_slow_tenures_and_hand_overs() -> None:
    """Goal: less than four tenures a second, and hand-overs beyond 3 W, are missed. Method: one every 0.4 s, of which 0.3 s pass
    between a release and the next holder; who asked only after the release counts for no hand-over."""
    told: list[Record] = [
        tenure(at, read=at, site="ams" if at % 2 else "bei", asked_s=at * 0.4 - 0.8, held_s=at * 0.4)
        for at in range(40)
    ]
    assert [name for name, kept in judge(told).items() if not kept] == ["tenures", "hand-over to another site"]
    late = [tenure(1, read=0, held_s=0.0), tenure(2, read=1, site="bei", asked_s=0.2, held_s=0.6)]
    assert contention.hand_overs(late, 50) == []


def test_bounds_that_nothing_is_held_against() -> None:
    """Goal: what was not measured is missed, not passed over. Method: no tenure at all, tenures of one site, and samples of which one
    site has none at one distance."""
    assert judge([]) == {"tenures": False}
    alone: list[Record] = [tenure(at, read=at, held_s=at * 0.2) for at in range(40)]
    assert not judge(alone)["hand-over to another site"]
    names = [line.operation for line in first_table.LINES]
    names += [path.operation for path in paths.PATHS] + list(provoked.BOUNDS) + list(v2.BOUNDS)
    found = [one for name in names for site in command.SITES for one in samples(name, claimed=1, trips=1, site=site)]
    assert command.without_samples(found).kept
    few = [one for one in found if (one.operation, one.site, one.rtt_ms) != (operations.PUT, "irv", 50.0)]
    missed = command.without_samples(few)
    assert (missed.kept, missed.detail) == (False, operations.PUT)


@pytest.mark.parametrize(
    ("missed", "more", "total"),
    [
        ([], [], 40),
        (["total beyond the tenures"], [], 41),
        (["lost updates", "total beyond the tenures"], [tenure(40, read=39, site="irv", held_s=8.0)], 40),
        (["numbers given twice", "lost updates"], [tenure(39, read=39, site="irv", held_s=8.0)], 41),
        (["failures"], [Failure(site="irv", client="irv", outcome="unknown", code="failure", message="m")], 40),
        (["served out of turn"], [tenure(40, read=40, site="irv", held_s=7.7)], 41),
    ],
)
def test_a_key_that_clients_of_v2_want(missed: list[str], more: list[Record], total: int) -> None:
    """Goal: each check convicts what it is there for. Method: three sites in turn, and what must not be; `total` is read at the end."""
    told: list[Record] = [tenure(at, read=at, site=command.SITES[at % 3], held_s=at * 0.2) for at in range(40)]
    last: list[Record] = [tenure(99, read=total, held_s=99.0)]
    figures = v2.judged([*told, *more], last, 3)
    assert [figure.name.rpartition(": ")[2] for figure in figures if not figure.kept] == missed
    assert not all(figure.kept for figure in v2.judged(told[:1], [tenure(99, read=1, held_s=99.0)], 3))
    assert not all(figure.kept for figure in v2.judged([], last, 3))


def test_paths_that_were_provoked() -> None:
    """Goal: what goes wrong may cost a compare-and-set or two more, and at ZooKeeper's leader less than elsewhere. Method: claims at
    and above the bounds."""
    told = [
        *samples(provoked.LATE, claimed=1, trips=1, site="bei"),
        *samples(provoked.LATE, claimed=3, trips=3, site="ams"),
        *samples(provoked.REFUSED, claimed=4, trips=4, site="bei"),
        *samples(provoked.REFUSED, claimed=5, trips=5, site="ams"),
    ]
    by_site = {
        (found.operation, *found.slopes): [figure.kept for figure in judged(found, bound)]
        for bound, found in provoked.table(told, "bei")
    }
    assert by_site == {
        (provoked.LATE, "bei"): [True, True],
        (provoked.LATE, "ams"): [False, True],
        (provoked.REFUSED, "bei"): [False, True],
        (provoked.REFUSED, "ams"): [True, True],
    }


def test_a_machine_without_the_means(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: no figures and no success where sites cannot be apart; the missing capability is named. Method: no root."""
    monkeypatch.setattr(sys, "argv", ["bench-wan"])
    monkeypatch.setattr(capability, "missing", lambda: "root")
    assert command.main() == exits.REFUSED
    assert "capability missing: root" in capsys.readouterr().err
