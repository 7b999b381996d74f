"""The registers of a simulated world belie what was answered where it is not true, and only there.

Goal: two wrong answers that leave no trace in any row are findings: a release that is told of a preempted lock, a request that was carried out twice.
Method: the states of a register, made change by change as processes make them, beside small histories.
"""

from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from polysite.cells.contract import CellView
from polysite.core.combine import AskedWish, build_change
from polysite.core.lock_cell import NO_REQUEST, LockCell, decode, encode
from polysite.core.wishes import Identity, Observed, Preempt, ReleaseClean, Wish
from polysite.testing.history import Call, History, ReferenceMark
from polysite.testing.world.belying import belied
from polysite.testing.world.cells import Register
from polysite.values.keys import LockKey
from tests.unit.core.factories import AUTHOR, NOW, enqueue, nonce, number


class Cell:
    """A register whose states are made one change after the other."""

    def __init__(self) -> None:
        self.register = Register()

    @property
    def cell(self) -> LockCell:
        return decode(self.register.view.content)

    def change(self, *wishes: Wish) -> "Cell":
        """Have these wishes carried out in one change."""
        version = self.register.view.version
        asked = [AskedWish(number(100 * version + place), version, wish) for place, wish in enumerate(wishes)]
        change = build_change(self.cell, version, asked, change_id=number(9_000 + version), author=AUTHOR, now=NOW)
        assert change.effective
        return self.become(change.cell)

    def become(self, cell: LockCell) -> "Cell":
        """Let this be the next state, whether or not any wish makes it."""
        self.register.view = CellView(self.register.view.version + 1, encode(cell))
        self.register.states.append(self.register.view)
        return self


class Known(NamedTuple):
    """What is looked at of the registers of a world."""

    registers: dict[bytes, Register]


def found(cell: Cell, *calls: Call, keyspace: str = "ks", table: str = "flat") -> list[str]:
    """What the register, as that of the key x of a table, says against the calls."""
    known: Any = Known({LockKey(keyspace, table, (b"x",)).encode(): cell.register})
    return belied(known, History(calls))


def release(ticket: int, outcome: Any = "done", key: str = "x") -> Call:
    """One that was answered so."""
    mark = ReferenceMark("ks", "flat", ("eA==",), ticket)
    return Call(
        call_id=f"c{ticket}",
        site="s",
        process="p",
        client="c",
        verb="release",
        key=["flat", key],
        start_s=1.0,
        end_s=2.0,
        outcome=outcome,
        references=(mark,),
    )


def two() -> Cell:
    """One holds, and one waits."""
    return Cell().change(enqueue(1)).change(enqueue(2))


SILENT = Preempt(observed=(Observed(1, nonce(1), 0),))
ORDERED = Preempt(forced=Identity(1, nonce(1)), ordered_by="somebody")


@pytest.mark.parametrize("preempt", [SILENT, ORDERED], ids=["silent", "ordered"])
def test_a_release_of_a_preempted_lock(preempt: Preempt) -> None:
    """It was not done, however the lock was preempted, and whatever else came of the same change or after it."""
    (finding,) = found(two().change(enqueue(3), preempt).change(enqueue(4)), release(1))
    assert finding == "['flat', 'x']: release c1 of ticket 1 was done though the lock was preempted"


@pytest.mark.parametrize("outcome", ["refused", "unknown"])
def test_a_release_that_says_so(outcome: str) -> None:
    """Who is told that the lock was lost, or that nobody knows, is told the truth."""
    assert found(two().change(SILENT), release(1, outcome)) == []


def test_a_release_that_was_made() -> None:
    """That of a holder who was there; also if a waiter was preempted before."""
    assert found(two().change(ReleaseClean(1, nonce(1), None)), release(1)) == []
    dropped = two().change(Preempt(observed=(Observed(2, nonce(2), 0),)))
    assert found(dropped.change(ReleaseClean(1, nonce(1), None)), release(1)) == []


def test_a_release_of_another_key() -> None:
    """Tickets are counted for each key."""
    assert found(two().change(SILENT), release(1, key="y")) == []


def twice(**changes: Any) -> Cell:
    """A register in which the first entry stands a second time, with these changes."""
    cell = Cell().change(enqueue(1))
    (entry,) = cell.cell.queue
    return cell.become(replace(cell.cell, issued=2, queue=(entry, replace(entry, ticket=2, **changes))))


@pytest.mark.parametrize("changes", [{"nonce": nonce(2)}, {"request_id": number(7)}], ids=["by request", "by nonce"])
def test_a_request_in_the_queue_twice(changes: dict[str, Any]) -> None:
    """Whether its request id or its nonce tells; and it is told once, though the next state shows it too."""
    cell = twice(**changes)
    cell.become(replace(cell.cell, floor=cell.cell.floor + 1))
    assert found(cell) == ["['flat', 'x']: a request has two entries in the queue of version 2"]


def test_requests_without_an_id() -> None:
    """Their nonces tell them apart."""
    cell = Cell().change(enqueue(1, request_id=NO_REQUEST)).change(enqueue(2, request_id=NO_REQUEST))
    assert found(cell) == []


def test_a_request_that_comes_again_after_it_left() -> None:
    """Two entries of one request that never stand in the queue together are not the same lock twice."""
    cell = Cell().change(enqueue(1))
    (entry,) = cell.cell.queue
    cell.change(ReleaseClean(1, nonce(1), None))
    assert found(cell.become(replace(cell.cell, issued=2, queue=(replace(entry, ticket=2),)))) == []


def test_registers_of_other_tables() -> None:
    """Of what the clients do not share nothing is said."""
    assert found(twice(nonce=nonce(2)), keyspace="other") == []
    assert found(twice(nonce=nonce(2)), table="else") == []
