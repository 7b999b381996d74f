"""What a drill is held to.

Goal: a drill that passes means something. Method: a history written by hand in which all is well, then with one fault each.
"""

import itertools
from typing import Any

import msgspec
import pytest

from polysite.lab.drills.checks import checks, figures
from polysite.lab.drills.conductor import majority_rtt_ms
from polysite.lab.drills.record import Check, Event, Run
from polysite.lab.drills.tenures import hand_overs_s, longest_gap_s, tenures
from polysite.lab.drills.timeline import spans, strikes, timeline
from polysite.lab.keeper.links import LinkBook
from polysite.lab.scenarios import Expected, Scenario
from polysite.lab.topology import plan
from polysite.site.plain import CLOCK_IS_OFF
from polysite.testing.history import Call, History, ReferenceMark

BEGAN_S = 1000.0
SITES = ("ams", "bei")


class Story:
    """Calls of a drill at two sites; moments are seconds since the load began."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._numbers = itertools.count(1)
        self._tickets = itertools.count(1)
        self._last: str | None = None

    def call(self, site: str, verb: str, at_s: float, table: str = "locked", name: str = "k", **told: Any) -> Call:
        ticket = told.pop("ticket", None)
        took_s = told.pop("took_s", 0.1)
        marks = () if ticket is None else (ReferenceMark("drill", "locked", ("aw==",), ticket),)
        made = Call(
            **{
                "call_id": f"c-{next(self._numbers)}",
                "site": site,
                "process": f"{site}-load",
                "client": f"{site}-1",
                "verb": verb,
                "key": [table, name],
                "start_s": BEGAN_S + at_s,
                "end_s": None if took_s is None else BEGAN_S + at_s + took_s,
                "outcome": "done",
                "references": marks,
                **told,
            }
        )
        self.calls.append(made)
        return made

    def tenure(self, site: str, at_s: float, *, waits_s: float = 0.1) -> None:
        """Acquire with the row at `at_s`, a write, a release: all done."""
        ticket = next(self._tickets)
        told: dict[str, Any] = {"argument": {"kind": "exclusive"}, "value": {"read": row(self._last)}}
        self.call(site, "acquire", at_s, ticket=ticket, took_s=waits_s, **told)
        self._last = f"{site}/{ticket}"
        self.write(site, at_s + waits_s + 0.1, self._last, ticket=ticket)
        self.call(site, "release", at_s + waits_s + 0.3, ticket=ticket)

    def write(self, site: str, at_s: float, text: str, table: str = "locked", name: str = "k", **told: Any) -> None:
        self.call(site, "write", at_s, table, name, argument={"writes": [["put", "", row(text)]]}, **told)

    def plain(self, site: str, at_s: float, value: str, *, table: str = "plain", **told: Any) -> None:
        self.write(site, at_s, value, table, f"{site}-plain", **told)

    def look(self, site: str, name: str, value: str | None) -> None:
        """What that site shows of a row without locks in the end."""
        table, of = name.split("/")
        self.call(site, "read", 20.0, table, of, process=f"{site}-look", argument={"row": ""}, value=row(value))

    def plain_while_struck(self) -> None:
        """A row of each table without locks, written at bei while it was cut off."""
        self.plain("bei", 5.0, "p1")
        self.plain("bei", 5.2, "m1", table="mixed")

    def health(self, site: str, at_s: float, *reasons: str) -> None:
        self.call(site, "health", at_s, "health", site, value={"ready": not reasons, "reasons": list(reasons)})


def row(value: str | None) -> dict[str, str] | None:
    return None if value is None else {"value": value, "twin": value}


def calm_story() -> Story:
    """Ten seconds in which bei was cut off from 4 to 6, and everything went as it should."""
    story = Story()
    for at_s in range(10):
        story.tenure("ams", at_s)
        if not 4 <= at_s < 6:
            story.tenure("bei", at_s + 0.5)
    story.plain_while_struck()
    for site in SITES:
        story.health(site, 5.0)
    return story


def a_run(**more: Any) -> Run:
    expected = Expected(struck="bei", calm=("ams",), stall_s=2.0, recovery_s=1.5, plain_goes_on=True, call_s=5.0)
    scenario = Scenario(name="x", about="y", steps=(), lasts_s=10.0, expected=expected)
    events = (
        Event(start_s=4.0, end_s=4.1, about="inject cut", heals=False),
        Event(start_s=5.9, end_s=6.0, about="heal cut", heals=True),
    )
    run = Run(
        scenario=scenario,
        sites=SITES,
        majority_rtt_ms=50,
        began_s=BEGAN_S,
        lasted_s=10.0,
        events=events,
        settled_s=11.0,
    )
    return msgspec.structs.replace(run, **more)


def failed(story: Story, run: Run | None = None) -> list[Check]:
    return [check for check in checks(run or a_run(), History(story.calls)) if check.verdict != "ok"]


def test_all_is_well() -> None:
    """Goal: a right drill is acquitted, by every check there is."""
    assert failed(calm_story()) == []
    assert len(checks(a_run(), History(calm_story().calls))) == 10


def test_a_lost_write_fails() -> None:
    """Goal: a write that was acknowledged and is not read by the next tenure is found. Method: a tenure that reads what was before."""
    story = calm_story()
    story.call("ams", "acquire", 10.0, ticket=99, argument={"kind": "exclusive"}, value={"read": row("ams/1")})
    (check,) = failed(story)
    assert check.verdict == "failed"
    assert "acknowledged" in check.name


def test_a_failure_at_a_calm_site_fails() -> None:
    """Goal: a site that nothing happened to has no excuse; the struck one has. Method: the same failure at either."""
    story = calm_story()
    story.call("ams", "acquire", 5.0, outcome="refused", code="unavailable")
    (check,) = failed(story)
    assert check.name == "no call fails at ams"
    assert check.finding == "1 acquire: unavailable"
    story = calm_story()
    story.call("bei", "acquire", 5.0, outcome="refused", code="unavailable")
    assert failed(story) == []


def test_a_stall_at_a_calm_site_fails() -> None:
    """Goal: a site that answers but gets nothing done is no site that goes on. Method: tenures of ams taken out for three seconds."""
    story = Story()
    for at_s in (0, 1, 2, 5, 6, 7, 8, 9):
        story.tenure("ams", at_s)
        story.tenure("bei", at_s + 0.5)
    story.plain_while_struck()
    (check,) = failed(story)
    assert check.name == "ams goes on"
    assert "3.0 s" in check.finding


def test_slow_recovery_fails() -> None:
    """Goal: recovery is counted from when the healing was complete. Method: the first tenure two seconds later; then none."""
    story = Story()
    for at_s in range(10):
        story.tenure("ams", at_s)
        if at_s < 4 or at_s > 7:
            story.tenure("bei", at_s + 0.5)
    story.plain_while_struck()
    (check,) = failed(story)
    assert "recovers" in check.name
    assert "2.80 s" in check.finding
    never = Story()
    for at_s in range(10):
        never.tenure("ams", at_s)
        if at_s < 4:
            never.tenure("bei", at_s + 0.5)
    never.plain_while_struck()
    assert [check.finding for check in failed(never)] == ["no tenure ended well there after healing"]


def test_a_call_that_hangs_fails() -> None:
    """Goal: a call that took longer than any may, or never ended, is found, wherever it was made."""
    story = calm_story()
    story.call("bei", "acquire", 4.0, outcome="unknown", code="outcome_unknown", took_s=5.5)
    assert [check.name for check in failed(story)] == ["no call hangs"]
    story = calm_story()
    story.call("bei", "acquire", 4.0, outcome="unknown", took_s=None)
    assert "1 never ended" in failed(story)[0].finding


def test_rows_without_locks() -> None:
    """Goal: the last acknowledged write is what every site shows in the end; an unanswered one may be shown or not; a failure
    where such calls should go on is told."""
    shown = {"plain/bei-plain": "p1", "mixed/bei-plain": "m1"}
    for name, value in shown.items():
        for seen, verdicts in ((value, []), (None, ["failed"]), ("p0", ["failed"])):
            story = calm_story()
            story.look("ams", name, seen)
            found = failed(story)
            assert [check.verdict for check in found] == verdicts
            assert all("read" in check.finding and check.name.startswith("nothing acknowledged") for check in found)
    story = calm_story()
    story.plain("bei", 5.5, "p2", outcome="unknown", code="outcome_unknown")
    for seen in ("p1", "p2"):
        story.look("ams", "plain/bei-plain", seen)
    (check,) = failed(story)
    assert check.name == "calls without locks go on at bei", "what was not answered is no lost row"
    (check,) = failed(calm_story(), a_run(settled_s=None))
    assert check.name.startswith("rows without locks")


def test_rows_without_locks_cross_after_healing() -> None:
    """Goal: what was written at a site that was cut off is everywhere 30 s after healing, and a drill that wrote nothing of that kind says
    so. Method: alike just in time, just too late, counted from the healing; a row written again later; one of no `mixed` table."""
    assert failed(calm_story(), a_run(settled_s=36.0)) == []
    (check,) = failed(calm_story(), a_run(settled_s=36.1))
    assert check.name == "rows without locks are alike everywhere within 30 s of healing"
    assert failed(calm_story(), expecting(plain_goes_on=False, settled_s=40.0)) == [], "of the load's end elsewhere"
    story = calm_story()
    story.plain("bei", 7.0, "m2", table="mixed")
    found = failed(story)
    assert [(check.verdict, check.finding) for check in found] == [("unknown", "1 rows, of the tables plain")]


def test_what_a_site_says_of_itself() -> None:
    """Goal: a site that nothing happened to and says that it is not ready is found. Method: one such answer at either site."""
    story = calm_story()
    story.health("bei", 5.5, "the store does not answer")
    assert failed(story) == []
    story.health("ams", 5.5, "the store does not answer")
    (check,) = failed(story)
    assert (check.name, check.finding) == ("ams says that it is ready", "1 of 2 times not: the store does not answer")


def expecting(*, settled_s: float = 11.0, **expected: Any) -> Run:
    run = a_run(settled_s=settled_s)
    changed = msgspec.structs.replace(run.scenario.expected, **{"calm": (), "recovery_s": None, **expected})
    return msgspec.structs.replace(run, scenario=msgspec.structs.replace(run.scenario, expected=changed))


def test_a_clock_that_is_off() -> None:
    """Goal: writes without locks are refused soon after the clock is off and until it is right, and the site says why; sections go on.
    Method: a write too early, in time, and after healing; then one that was done in between, none at all, an answer that says
    nothing of the clock, and a failed section."""
    run = expecting(plain_goes_on=False, clock_told_after_s=1.0, locked_goes_on=True)
    story = calm_story()
    story.calls = [call for call in story.calls if call.key[0] not in ("plain", "mixed", "health")]
    story.plain("bei", 4.5, "early")
    story.health("bei", 4.5)
    assert [check.verdict for check in failed(story, run) if check.name.startswith(("writes", "bei says"))] == [
        "unknown", "unknown",
    ]  # fmt: skip
    story.plain("bei", 5.2, "in time", outcome="refused", code="unavailable")
    story.health("bei", 5.2, CLOCK_IS_OFF)
    story.plain("bei", 6.5, "p1")
    assert failed(story, run) == []
    story.plain("bei", 5.4, "slipped through")
    assert [check.finding for check in failed(story, run)] == ["1 of 2 were not"]
    story.calls.pop()
    story.health("bei", 5.4, "something else")
    assert [(check.name, check.finding) for check in failed(story, run)] == [
        ("bei says that its clock is off", "1 of 2 times"),
    ]
    story = calm_story()
    story.call("bei", "acquire", 5.0, outcome="unknown", code="outcome_unknown")
    assert "calls under locks go on at bei" in {check.name for check in failed(story, run)}


def test_speed_is_counted_in_round_trips() -> None:
    """Goal: the same drill is held to the same number of round trips at any distance. Method: one story, two distances, none."""
    story = Story()
    for number in range(50):
        story.tenure(SITES[number % 2], number * 0.35, waits_s=0.4)  # released 50 ms before the next one holds
    run = expecting(tenures_per_w=0.25, hand_over_w=2.0, plain_goes_on=False)
    slow = msgspec.structs.replace(run, majority_rtt_ms=40.0)
    far = msgspec.structs.replace(run, majority_rtt_ms=100.0)
    near = msgspec.structs.replace(run, majority_rtt_ms=0.0)
    assert [check.verdict for check in failed(story, slow)] == ["failed"]
    assert "5.00 per second" in failed(story, slow)[0].finding
    assert failed(story, far) == []
    assert failed(story, near) == []
    (check,) = failed(story, expecting(hand_over_w=0.4, plain_goes_on=False))
    assert check.finding == "1.00 at the median of 49"
    assert "unknown" in {check.verdict for check in failed(calm_story(), far)}, "nobody waited for anybody"


def test_a_drill_without_load_says_nothing() -> None:
    """Goal: nothing is acquitted for want of witnesses. Method: no tenure at one of the sites."""
    story = Story()
    for at_s in range(10):
        story.tenure("ams", at_s)
    story.call("bei", "acquire", 9.0, outcome="refused", code="unavailable")
    verdicts = {check.name: check.verdict for check in failed(story)}
    assert verdicts["there was load"] == "unknown"


def test_a_drill_of_zombies_needs_some() -> None:
    """Goal: a drill in which no former holder wrote says nothing of what becomes of such writes. Method: one such write, of two asked for;
    then another."""
    story, run = calm_story(), expecting(late_writes=2)
    late: dict[str, Any] = {"ticket": 1, "outcome": "refused", "code": "lock_lost"}
    story.write("bei", 5.0, "late", **late)
    (check,) = failed(story, run)
    assert (check.verdict, check.finding) == ("unknown", "1 did")
    story.write("bei", 5.1, "later", **late)
    assert failed(story, run) == []


def test_hand_overs_are_between_sites_that_waited() -> None:
    """Goal: the figure counts from the call of the release to the holding of one who waited already, at another site."""
    story = Story()
    story.tenure("ams", 0.0)  # releases at 0.4
    story.tenure("bei", 0.2, waits_s=0.35)  # holds at 0.55, releases at 0.85
    story.tenure("bei", 0.6, waits_s=0.3)  # the same site
    story.tenure("ams", 5.0)  # did not wait
    found = tenures(History(story.calls), BEGAN_S)
    assert [round(span, 3) for span in hand_overs_s(found)] == [0.15]
    late: dict[str, Any] = {"ticket": 1}
    story.write("ams", 5.0, "late", outcome="refused", code="lock_lost", **late)
    story.write("ams", 5.1, "late", outcome="unknown", code="outcome_unknown", value={"reason": "lock_lost"}, **late)
    story.write("ams", 5.2, "late", outcome="unknown", code="outcome_unknown", value={"reason": "not_answered"}, **late)
    told = {figure.name: figure.value for figure in figures(a_run(), History(story.calls))}
    assert told["writes of holders that had lost their lock"] == 2
    assert told["hand-over, from release call to holding, median"] == 150.0
    assert told["tenures that ended well"] == 4


@pytest.mark.parametrize(("moments", "gap_s"), [([], 10.0), ([2.0, 3.0], 7.0), ([5.0], 5.0), ([0.5, 9.5, 40.0], 9.0)])
def test_the_longest_gap(moments: list[float], gap_s: float) -> None:
    """Goal: the time before the first and after the last moment counts too; moments outside do not."""
    assert longest_gap_s(moments, 0.0, 10.0) == gap_s


def test_the_distance_that_counts() -> None:
    """Goal: W is what the worst placed site waits for a majority that it belongs to itself. Method: three cities, two sites, one."""
    topology = plan(lab="abc", profile="beijing-amsterdam-irvine")
    links = list(LinkBook(topology).status())
    assert majority_rtt_ms(topology.names, links) == 180, "beijing to irvine; the others have a nearer one"
    assert majority_rtt_ms(("ams", "bei"), links) == 200
    assert majority_rtt_ms(("ams",), []) == 0


def test_the_timeline() -> None:
    """Goal: a reader sees what was done when, and what failed where and for how long. Method: failures in two spans."""
    story = calm_story()
    for at_s in (4.0, 4.5, 5.0):
        story.call("bei", "acquire", at_s, outcome="refused", code="unavailable")
    story.write("bei", 9.95, "u", outcome="unknown", code="outcome_unknown", ticket=9)
    lines = list(timeline(a_run(), History(story.calls)))
    assert [line.strip() for line in lines if "—" in line] == ["4.0  — inject cut", "5.9  — heal cut"]
    (row,) = [line for line in lines if line.startswith("     4  ")]
    assert row.split() == ["4", "6", "-", "-", "3", "3", "-"], "a release of before, and the two rows without a lock"
    assert [" ".join(line.split()) for line in spans(a_run(), History(story.calls))] == [
        "bei 4.1 to 5.1 s 3 x acquire: unavailable (locked)",
        "bei 10.1 to 10.1 s 1 x write: outcome_unknown (locked)",
    ]


def test_what_was_done_is_drawn_beside_the_calls() -> None:
    """Goal: a picture of what the judge found shows the faults, from when they were there to when they were healed. Method: one that was
    healed, and one that never was."""
    cut, freeze = (
        '{"type":"cut","sites":["bei"],"one_way":false}',
        '{"type":"freeze","site":"bei","services":["polysite"]}',
    )
    events = (
        Event(start_s=4.0, end_s=4.1, about=f"inject {cut}", heals=False),
        Event(start_s=5.0, end_s=5.1, about=f"inject {freeze}", heals=False),
        Event(start_s=5.9, end_s=6.0, about=f"heal {cut}", heals=True),
    )
    assert strikes(a_run(events=events)) == [
        (BEGAN_S + 4.0, BEGAN_S + 6.0, "cut bei"),
        (BEGAN_S + 5.0, BEGAN_S + 10.0, "freeze bei polysite"),
    ]
