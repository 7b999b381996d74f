"""The hand that stops processes at the right moment, and lets them go on."""

import time
from collections.abc import Sequence

from .laboratory import ENGINE_OF_ROWS, POLYSITE_PROCESS, Laboratory
from .provoked import SHORT_LEASE_MS
from .samples import Reached, Record

LATE_AT = 0.96
"""The part of a lease after which the stopped process goes on: behind lease minus margin (10 % and 50 ms), and within the lease."""


LATE_WAKES = 3
"""Puts that are late together are one sample in truth: all begin at the moment in which their process goes on, and wait for whatever it does then."""


def provoke(lab: Laboratory, *, turn: int, repeats: int) -> list[Record]:
    """Every such path from every site, one site after the other."""
    told: list[Record] = []
    for site in lab.sites:
        others = [name for name in lab.sites if name != site]
        told += _unsettled(lab, site, others, turn=turn, repeats=repeats)
        for wake in range(LATE_WAKES):
            few = max(1, repeats // LATE_WAKES)
            told += _late(lab, site, others, turn=turn * LATE_WAKES + wake, repeats=few)
    told += lab.everywhere("refused", turn=turn, repeats=repeats)
    return told


def _unsettled(lab: Laboratory, site: str, others: Sequence[str], *, turn: int, repeats: int) -> list[Record]:
    client = lab.start(site, "unsettled", turn=turn, repeats=repeats)
    try:
        _of(client.hear())
        lab.stop(others, ENGINE_OF_ROWS)
        client.cue(time.monotonic())
        _of(client.hear())
    finally:
        lab.go_on(others, ENGINE_OF_ROWS)
    client.cue(time.monotonic())
    return client.records()


def _late(lab: Laboratory, site: str, others: Sequence[str], *, turn: int, repeats: int) -> list[Record]:
    client = lab.start(site, "late", turn=turn, repeats=repeats)
    try:
        asked_s = _of(client.hear()).since_s
        lab.stop(others, ENGINE_OF_ROWS)
        client.cue(time.monotonic())
        _of(client.hear())
        lab.stop([site], POLYSITE_PROCESS)
        lab.go_on(others, ENGINE_OF_ROWS)
        time.sleep(max(0.0, asked_s + LATE_AT * SHORT_LEASE_MS / 1000 - time.monotonic()))
    finally:
        went_on_s = time.monotonic()
        lab.go_on([site], POLYSITE_PROCESS)
        lab.go_on(others, ENGINE_OF_ROWS)
    client.cue(went_on_s)
    return client.records()


def _of(record: Record) -> Reached:
    assert isinstance(record, Reached), record
    return record
