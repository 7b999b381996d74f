"""What was answered against what the registers of a world hold: they remember every state that their lock cells had.

Two answers leave no trace in what is read, and are wrong all the same: a release that is told of a lock which was preempted, and a request that
was carried out twice, whose second entry nobody serves, so that all wait for its lease.
"""

from collections.abc import Iterator

from polysite.core.lock_cell import decode, recent_changes
from polysite.core.wishes import Preempted
from polysite.testing.history import History
from polysite.testing.world.cells import Register, Registers
from polysite.testing.world.traffic import FLAT, KEYSPACE, MIXED, WIDE
from polysite.values.keys import LockKey


def belied(registers: Registers, history: History) -> list[str]:
    """What the registers say against the history, of the keys that the clients share."""
    found: list[str] = []
    for encoded, register in registers.registers.items():
        name = LockKey.decode(encoded)
        if name.keyspace == KEYSPACE and name.table in (FLAT, WIDE, MIXED):
            key = [name.table, name.columns[0].decode()]
            found += [
                f"{key}: {finding}" for finding in (*_released(history.for_key(key), register), *_doubled(register))
            ]
    return found


def _released(calls: History, register: Register) -> Iterator[str]:
    """A release is told as done only if the lock did not go by a preemption."""
    preempted = set(_preempted(register))
    for call in calls:
        if call.verb == "release" and call.outcome == "done" and call.references[0].ticket in preempted:
            yield f"release {call.call_id} of ticket {call.references[0].ticket} was done though the lock was preempted"


def _doubled(register: Register) -> Iterator[str]:
    """No request has two entries in a queue at the same time."""
    for view in register.states:
        queue = decode(view.content).queue
        for made in ([entry.nonce for entry in queue], [entry.request_id for entry in queue if entry.request_id]):
            if len(set(made)) < len(made):
                yield f"a request has two entries in the queue of version {view.version}"
                return


def _preempted(register: Register) -> Iterator[int]:
    """The tickets that were dropped, by the record of the change that dropped each."""
    for view in register.states:
        for change in recent_changes(decode(view.content)):
            if change.version == view.version:
                for _, result in change.results:
                    if isinstance(result, Preempted):
                        yield from result.dropped


__all__ = ["belied"]
