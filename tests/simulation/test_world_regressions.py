"""Runs in which sound code was found not to be: each is its plan, with what was wrong.

Goal: what was found once stays mended. Method: the same run again.
"""

import pytest

from polysite.testing.world.campaign import quiet
from polysite.testing.world.faults import Fault
from polysite.testing.world.running import Plan, carried_out
from polysite.testing.world.traffic import FLAT, MIXED, WIDE, Traffic


def steady(lasts_s: float, *names: str) -> tuple[Fault, ...]:
    """These faults, at their worst, for all of a run."""
    return tuple(Fault(at_s=0.0, lasts_s=lasts_s, name=name, site="ams", other="bei", amount=1.0) for name in names)


IMPATIENT = Traffic(
    keys=((WIDE, "x"),),
    rows=2,
    clients=1,
    readers=0,
    sections=0,
    steps=10,
    reads=0.6,
    ranges=0.9,
    deletes=0.2,
    forgotten=0.0,
    dawdles=0.0,
    persists=1.0,
    hurried=0.5,
    hurry_s=0.04,
)
"""One partition, range gets, writes that are not waited for."""


@pytest.mark.parametrize("seed", [20, 38])
def test_a_settle_comes_with_its_rows_or_not_at_all(seed: int) -> None:
    """A partition that was settled in one batch had its old rows hidden by a tombstone of the whole partition. Reads of other rows brought that
    tombstone to replicas that had missed the batch, and the rows were gone there."""
    faults = steady(6.0, "messages jitter", "writes missed", "no hints")
    with quiet():
        assert carried_out(Plan(seed=seed, lasts_s=6.0, faults=faults, traffic=IMPATIENT)).findings == []


HURRIED_READERS = Traffic(
    keys=((FLAT, "x"),),
    clients=3,
    tenures=1,
    readers=4,
    sections=0,
    leases_ms=(2_000,),
    steps=1,
    reads=0.1,
    read_first=0.0,
    at_once=0.0,
    batches=0.0,
    deletes=0.0,
    partial=0.0,
    promotions=0.0,
    dawdles=0.0,
    forgotten=0.0,
    unproven=1.0,
    hurried=0.9,
    hurried_reads=1.0,
    hurry_s=0.3,
    persists=1.0,
    pause_s=0.02,
)
"""Many readers of one row, who do not wait long."""


def test_a_process_that_ends_cuts_off_who_asked_it() -> None:
    """A reader asked the first of its run in another process to settle the row, and gave up; that process ended, and the message was still seen to.
    That was the world's fault: a server cuts its connections when it has ended."""
    faults = steady(10.0, "messages jitter", "no hints", "writes missed")
    with quiet():
        verdict = carried_out(
            Plan(seed=75, lasts_s=10.0, faults=faults, traffic=HURRIED_READERS, company=(), served=False)
        )
    assert verdict.findings == []


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_no_stamp_is_ahead_once_the_clock_is_set_right(seed: int) -> None:
    """A process that wrote without a lock before it noticed that its clock was ahead went on above that stamp when its clock was right again, and what
    others wrote was hidden."""
    faults = tuple(
        Fault(at_s=at_s, lasts_s=0.0, name="clock steps", site="ams", other="bei", amount=amount)
        for at_s, amount in ((2.0, 1.0), (4.0, -1.0), (8.0, 1.0), (11.0, -1.0), (14.0, 1.0), (17.0, -1.0))
    )
    with quiet():
        assert carried_out(Plan(seed=seed, faults=faults, company=("rows without locks",), served=False)).findings == []


READERS_BESIDE = Traffic(
    processes=2,
    keys=((MIXED, "x"),),
    at_once=0.6,
    reads_beside=1.0,
    deletes=0.0,
    partial=0.0,
    dawdles=0.0,
    forgotten=0.0,
    keyed=0.5,
)
"""Rows of one key, read beside what is written."""


def test_a_client_is_at_home_where_it_asked_for_its_lock() -> None:
    """A process that began while a client waited for its lock was taken for the one that serves it: a read that was asked for beside a write went through
    another process, came before it, and the judge took it for a later one. That was the world's fault."""
    faults = (
        Fault(at_s=10.379, lasts_s=4.294, name="messages jitter", site="irv", other="ams", amount=0.317),
        Fault(at_s=12.621, lasts_s=0.28, name="another process", site="ams", other="irv", amount=0.0),
    )
    with quiet():
        found = carried_out(
            Plan(seed=2, lasts_s=14.671, faults=faults, traffic=READERS_BESIDE, company=(), served=False)
        ).findings
    assert found == []


def test_no_set_is_held_of_which_a_lock_was_lost_meanwhile() -> None:
    """A client of a site that was cut off held one key of a set while it waited for the next; the first was given to another after its lease, and the
    set was told as held all the same, once the second was had."""
    faults = (Fault(at_s=0.131, lasts_s=2.703, name="site cut off", site="bei", other="ams", amount=1.0),)
    keys = ((FLAT, "x"), (WIDE, "x"))
    with quiet():
        found = carried_out(
            Plan(seed=2226, lasts_s=3.633, faults=faults, traffic=Traffic(keys=keys), company=("lists",), served=False)
        ).findings
    assert found == []


def test_what_a_holder_left_is_not_pushed_with_a_later_cell() -> None:
    """A release whose answer was lost was found to have been made, two holders later: the rows as its holder had known them were pushed with the newest
    cell, to a holder who took them for his, and read what was long overwritten."""
    with quiet():
        assert carried_out(Plan(seed=62, lasts_s=10.0)).findings == []


def test_a_clock_that_is_off_is_noticed_though_the_dead_had_another() -> None:
    """Three processes of a site died with a clock that had been set back; what they had answered outvoted the one that lived there by then, whose clock
    was right, and so another site, whose clock was off, took its own for the middle one, and gave stamps by it."""
    with quiet():
        assert carried_out(Plan(seed=180, lasts_s=10.0)).findings == []


def test_calls_of_a_frozen_process_begin_in_their_order() -> None:
    """The world's own fault: two writes that were not waited for and a read after them came to a frozen process, and the read began first when it went
    on."""
    with quiet():
        assert carried_out(Plan(seed=2268)).findings == []


def test_what_is_handed_on_to_a_process_that_is_not_heard_is_carried() -> None:
    """A steward noted two wishes, was outrun, and handed them on to the next over a link that was cut; their author, for whom answers had been slow,
    waited for them until his call was over."""
    with quiet():
        assert carried_out(Plan(seed=1066, lasts_s=10.0)).findings == []


def test_a_steward_that_is_outrun_makes_no_long_pauses() -> None:
    """A site came back from a cut as the steward of wishes that it went on noting, while it paused for up to 3 s after each change that came too late:
    the others changed the cell beside it meanwhile, and a promotion and a release waited there for 12 s."""
    with quiet():
        assert carried_out(Plan(seed=4195)).findings == []
