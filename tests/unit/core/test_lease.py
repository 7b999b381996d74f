"""Leases: observed on one's own clock, renewed for clients that live."""

import msgspec
import pytest

from polysite.core.lease import ClientLife, Observation, answer_limit_s, lease_s_min
from polysite.core.lock_cell import Author, Entry
from polysite.core.wishes import Identity, Observed, Renew
from tests.unit.core.checks import make, take_over
from tests.unit.core.factories import nonce, queue_of


def test_limits() -> None:
    """Goal: the figures of the protocol. Method: W of 50 ms, a lease of 10 s."""
    assert lease_s_min(0.05) == pytest.approx(0.6)
    assert answer_limit_s(10.0) == pytest.approx(8.95)


def test_an_entry_is_dead_when_it_was_unchanged_for_its_lease() -> None:
    """Goal: per entry, from when it was first seen so. Method: two entries, one of which beats."""
    watch = Observation()
    assert watch.next_look_s(0.0) is None
    cell = queue_of("exclusive", "exclusive")
    watch.feed(cell.queue, 100.0)
    assert watch.dead(109.9) == ()
    assert watch.next_look_s(104.0) == pytest.approx(6.0)
    beaten = make(cell, Renew((Identity(2, nonce(2)),)))
    watch.feed(beaten.queue, 105.0)
    assert watch.dead(110.0) == (Observed(1, nonce(1), 0),)
    assert watch.next_look_s(111.0) == 0.0
    watch.feed(make(beaten, take_over(beaten, 1, 9)).queue, 111.0)
    assert watch.dead(112.0) == ()
    watch.feed((), 113.0)
    assert watch.next_look_s(113.0) is None


def test_an_entry_is_silent_if_it_is_still_as_it_was_for_its_lease() -> None:
    """Goal: what was observed counts only while the entry is like that (I4). Method: the same entry, beaten, taken over and
    unknown, each after the lease and before."""
    watch = Observation()
    cell = queue_of("exclusive", "exclusive")
    watch.feed(cell.queue, 100.0)
    first, second = cell.queue
    assert watch.silent(first, 109.9) is None
    assert watch.silent(first, 110.0) == Observed(1, nonce(1), 0)
    beaten = make(cell, Renew((Identity(2, nonce(2)),)))
    assert watch.silent(beaten.queue[1], 120.0) is None
    watch.feed(beaten.queue, 120.0)
    assert watch.silent(second, 140.0) is None
    assert watch.silent(beaten.queue[1], 129.9) is None
    assert watch.silent(beaten.queue[1], 130.0) == Observed(2, nonce(2), 1)
    assert watch.silent(make(beaten, take_over(beaten, 1, 9)).queue[0], 140.0) is None
    watch.feed((), 141.0)
    assert watch.silent(first, 160.0) is None


def test_who_asks_for_a_beat_lives() -> None:
    """Goal: an entry whose process asks for a beat is not dead, though the beat is long in coming; another nonce's wish says nothing. Method:
    one entry, asked for before its lease is over; and once more by an older session."""
    cell = queue_of("exclusive")
    (entry,) = cell.queue
    observation = Observation()
    observation.feed(cell.queue, 0.0)
    observation.heard([entry.identity], 0.9 * entry.lease_s)
    assert observation.dead(1.5 * entry.lease_s) == ()
    observation.heard([Identity(entry.ticket, b"other"), Identity(entry.ticket + 1, entry.nonce)], 1.8 * entry.lease_s)
    assert [dead.ticket for dead in observation.dead(1.9 * entry.lease_s)] == [entry.ticket]


def test_observers_are_staggered_by_their_place() -> None:
    """Goal: 4 W each. Method: the third in the queue with a W of 100 ms."""
    watch = Observation()
    watch.feed(queue_of("exclusive").queue, 0.0)
    assert watch.dead(10.7, place=2, rtt_s=0.1) == ()
    assert len(watch.dead(10.81, place=2, rtt_s=0.1)) == 1
    assert watch.next_look_s(10.0, place=2, rtt_s=0.1) == pytest.approx(0.8)


def test_a_place_counts_living_processes_before() -> None:
    """Goal: entries of one process are one observer, and those of a dead one are none. Method: two entries of a process, one of another, and
    one's own, before and after the first were seen unchanged for their lease."""
    watch = Observation()
    first, second = (Author("ams", "p1", "1"), Author("bei", "p1", "1"))
    mine = ("irv", "p1", "1")
    queue = [
        entry_of(1, first),
        entry_of(2, first),
        entry_of(3, second),
        entry_of(4, Author(*mine)),
        entry_of(5, second),
    ]
    watch.feed(queue, 0.0)
    assert watch.place(queue, mine, 5.0) == 2
    assert watch.place(queue, ("irv", "p2", "1"), 5.0) == 3
    watch.feed([queue[0], queue[1], msgspec.structs.replace(queue[2], beat=7), *queue[3:]], 5.0)
    assert watch.place(queue, mine, 10.0) == 1
    assert watch.place(queue, mine, 15.0) == 0
    assert watch.place(queue[3:], mine, 0.0) == 0


def entry_of(ticket: int, process: Author) -> Entry:
    return msgspec.structs.replace(
        queue_of("exclusive").queue[0],
        ticket=ticket,
        nonce=nonce(ticket),
        site=process.site,
        process=process.process,
        incarnation=process.incarnation,
    )


def test_a_client_is_beaten_for_only_while_it_lives() -> None:
    """Goal: a beat every third of the lease while the last sign is younger than the lease. Method: a client that falls silent."""
    life = ClientLife(9.0, last_sign_s=0.0, last_beat_s=0.0)
    assert not life.beat_due(2.9)
    assert life.next_event_s(1.0) == pytest.approx(2.0)
    assert life.beat_due(3.0)
    life.beat_sent(3.0)
    life.sign(4.0)
    life.sign(1.0)
    assert not life.beat_due(5.9)
    assert life.beat_due(12.9)
    assert not life.is_dead(12.9)
    assert life.is_dead(13.0)
    assert not life.beat_due(13.0)
    assert life.next_event_s(14.0) == 0.0


def test_who_is_doubtful_is_named_once_per_beat() -> None:
    """Goal: its process is asked before the lease is over, and not with every look. Method: two entries, one of which beats afterwards."""
    watch = Observation()
    cell = queue_of("exclusive", "exclusive")
    watch.feed(cell.queue, 100.0)
    assert watch.doubtful(109.7, within_s=0.2) == ()
    assert watch.doubtful(109.8, within_s=0.2) == (Identity(1, nonce(1)), Identity(2, nonce(2)))
    assert watch.doubtful(110.0, within_s=0.2) == ()
    watch.feed(make(cell, Renew((Identity(2, nonce(2)),))).queue, 110.0)
    assert watch.doubtful(116.6, within_s=60.0) == ()
    assert watch.doubtful(116.7, within_s=60.0) == (Identity(2, nonce(2)),)


def test_who_is_vouched_for_lives_for_one_lease_more() -> None:
    """Goal: not for ever, and not by another session's word. Method: one entry, vouched for again and again; and by an older nonce."""
    watch = Observation()
    cell = queue_of("exclusive")
    watch.feed(cell.queue, 100.0)
    watch.vouched([Identity(1, nonce(9))], 109.0)
    assert watch.dead(110.0) == (Observed(1, nonce(1), 0),)
    watch.vouched([Identity(1, nonce(1))], 109.0)
    assert watch.dead(118.9) == () and watch.dead(119.0) == (Observed(1, nonce(1), 0),)
    for now_s in range(111, 140):
        watch.vouched([Identity(1, nonce(1))], float(now_s))
    assert watch.dead(119.9) == () and watch.dead(120.0) == (Observed(1, nonce(1), 0),)
