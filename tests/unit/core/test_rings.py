"""Owners that wait for each other in a ring: who waits for whom in one queue, and whether pairs close a ring.

Method: queues made by the transitions themselves, against the role that each entry has; rings against a search by matrices; each rule is
broken once and the checks notice.
"""

from collections.abc import Callable
from itertools import product
from unittest import mock

import pytest
from msgspec.structs import replace

from polysite.core import rings
from polysite.core.lock_cell import LockCell, empty, is_holder
from polysite.core.rings import waits_in_ring, waits_of
from polysite.core.transitions import apply
from polysite.core.wishes import Promote
from tests.unit.core.factories import NOW, enqueue, nonce


def owned(*entries: tuple[str, str | None], promotes: int | None = None) -> LockCell:
    """A queue of (kind, owner); the entry of session `promotes` asks to be exclusive."""
    cell = empty()
    for value, (kind, owner) in enumerate(entries, 1):
        cell, _ = apply(cell, enqueue(value, kind=kind, owner=owner), NOW)
    if promotes is not None:
        cell, _ = apply(cell, Promote(promotes, nonce(promotes)), NOW)
    return cell


@pytest.mark.parametrize(
    ("cell", "pairs"),
    [
        (owned(), set()),
        (owned(("exclusive", "x")), set()),
        (owned(("exclusive", "x"), ("exclusive", "y"), ("exclusive", "z")), {("y", "x"), ("z", "x"), ("z", "y")}),
        (owned(("exclusive", "x"), ("exclusive", None), ("exclusive", "z")), {("z", "x")}),
        (owned(("exclusive", None), ("exclusive", None)), set()),
        (owned(("exclusive", "x"), ("exclusive", "x")), {("x", "x")}),
        (owned(("shared", "x"), ("shared", "y")), set()),
        (owned(("shared", "x"), ("shared", "y"), ("exclusive", "z")), {("z", "x"), ("z", "y")}),
        (owned(("exclusive", "x"), ("shared", "y"), ("shared", "z")), {("y", "x"), ("z", "x")}),
        (owned(("shared", "x"), ("exclusive", "y"), ("shared", "z")), {("y", "x"), ("z", "y")}),
        (owned(("shared", "x"), ("shared", "y"), promotes=1), {("x", "y")}),
        (owned(("shared", "x"), ("exclusive", "y"), ("shared", "z"), promotes=1), {("y", "x"), ("z", "x"), ("z", "y")}),
    ],
)  # fmt: skip
def test_who_waits_for_whom(cell: LockCell, pairs: set[tuple[str, str]]) -> None:
    """Each kind of entry behind each other kind, with owners and without."""
    assert waits_of(cell) == pairs


def check_waits(cell: LockCell) -> None:
    """Whoever holds and does not promote waits for nobody; whoever waits, waits for somebody in front that holds."""
    pairs = waits_of(replace(cell, queue=tuple(replace(entry, owner=str(entry.ticket)) for entry in cell.queue)))
    for entry in cell.queue:
        waited_for = {other for owner, other in pairs if owner == str(entry.ticket)}
        holds = is_holder(cell, entry.ticket, entry.nonce)
        if holds and entry.kind == "promoting":
            assert waited_for == {
                str(other.ticket)
                for other in cell.queue
                if other is not entry and is_holder(cell, other.ticket, other.nonce)
            }
        elif holds:
            assert not waited_for
        else:
            holders = {str(other.ticket) for other in cell.queue if is_holder(cell, other.ticket, other.nonce)}
            if entry.kind != "shared":
                assert holders <= waited_for
            assert waited_for, "nobody waits for nothing"
            assert all(int(other) < entry.ticket for other in waited_for)


def test_waits_agree_with_roles() -> None:
    """Over every queue of up to four entries, with each of its promotions and without."""
    for length in range(5):
        for kinds in product(("exclusive", "shared"), repeat=length):
            for promotes in range(length + 1):
                check_waits(owned(*((kind, "x") for kind in kinds), promotes=promotes or None))


def reach(pairs: set[tuple[str, str]], owner: str) -> bool:
    """The ring by brute force: the closure of the relation."""
    closure = set(pairs)
    while more := {(a, d) for (a, b), (c, d) in product(closure, closure) if b == c} - closure:
        closure |= more
    return (owner, owner) in closure


def test_rings_agree_with_the_closure() -> None:
    """Every relation over three owners."""
    every = [(one, other) for one in "xyz" for other in "xyz"]
    for chosen in product((False, True), repeat=len(every)):
        pairs = {pair for pair, is_in in zip(every, chosen, strict=True) if is_in}
        for owner in "xyz":
            assert waits_in_ring(pairs, owner) == reach(pairs, owner)


def test_a_long_ring_is_found() -> None:
    """A ring of two thousand owners, and the same with one link missing."""
    links = [(str(number), str((number + 1) % 2_000)) for number in range(2_000)]
    assert waits_in_ring(links, "7")
    assert not waits_in_ring(links[1:], "7")


def nobody(_cell: LockCell) -> tuple[()]:
    return ()


def one_step(after: dict[str, set[str]], owner: str) -> bool:
    return owner in after.get(owner, ())


def any_ring(after: dict[str, set[str]], owner: str) -> bool:
    return any(reach({(a, b) for a, others in after.items() for b in others}, name) for name in after)


@pytest.mark.parametrize(
    ("name", "mutant", "check"),
    [
        ("holders", nobody, test_waits_agree_with_roles),
        ("holders", lambda cell: cell.queue[:1], test_waits_agree_with_roles),
        ("holders", lambda cell: cell.queue, test_waits_agree_with_roles),
        ("_reaches", one_step, test_rings_agree_with_the_closure),
        ("_reaches", any_ring, test_rings_agree_with_the_closure),
    ],
)
def test_a_broken_rule_is_noticed(name: str, mutant: Callable[..., object], check: Callable[[], None]) -> None:
    """Who holds, and how far is looked, each wrong once."""
    with mock.patch.object(rings, name, mutant), pytest.raises(AssertionError):
        check()
