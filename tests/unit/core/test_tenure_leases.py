"""A lease that changes while it runs: no answer is `done` later than the shortest lease that the cell may say.

Method: a tenure of the cell's own entry; changes are asked, applied, refused or not answered, in any order that the rules allow.
"""

from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.core.lease import answer_limit_s
from polysite.core.tenure import Tenure
from tests.unit.core.factories import MIXED_WIDE, nonce, queue_of


def tenure() -> Tenure:
    """Exclusive under a lease of 10 s, renewed at 0."""
    found = Tenure(table=MIXED_WIDE, ticket=1, nonce=nonce(1), version=1, cell=queue_of("exclusive"))
    found.lease_applied(0.0)
    return found


def test_a_shorter_lease_counts_from_when_it_is_asked() -> None:
    """It may be in the cell before its answer comes, so it is reckoned with at once."""
    one = tenure()
    assert one.done_until_s == answer_limit_s(10.0)
    one.lease_asked(1.0)
    assert one.done_until_s == answer_limit_s(1.0)
    assert not one.may_answer_done(2.0)
    one.lease_answered(1.0, 5.0, applied=True)
    assert one.done_until_s == 5.0 + answer_limit_s(1.0)


def test_a_longer_lease_counts_from_when_it_is_answered() -> None:
    """Until then the old one does."""
    one = tenure()
    one.lease_asked(60.0)
    assert one.done_until_s == answer_limit_s(10.0)
    one.lease_answered(60.0, 5.0, applied=True)
    assert one.done_until_s == 5.0 + answer_limit_s(60.0)


def test_a_change_that_was_refused_leaves_the_lease() -> None:
    """It never will be in the cell: the old lease, from the old renewal."""
    one = tenure()
    for lease_s in (1.0, 60.0):
        one.lease_asked(lease_s)
        one.lease_answered(lease_s, 5.0, applied=False)
        assert (one.lease_s, one.done_until_s) == (10.0, answer_limit_s(10.0))


def test_a_change_that_was_not_answered_counts_for_ever() -> None:
    """It may be applied at any time; another change afterwards does not make it good."""
    one = tenure()
    one.lease_asked(1.0)
    one.lease_asked(60.0)
    one.lease_answered(60.0, 5.0, applied=True)
    assert one.done_until_s == 5.0 + answer_limit_s(1.0)


STEPS = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 10.0, 60.0]), st.sampled_from(["applied", "refused", "lost", "late"])),
    max_size=6,
)


def check_never_too_late(steps: list[tuple[float, str]]) -> None:
    """Changes one after the other, each with its fate; `lost` and `late` ones are not answered, and late ones are applied at any time."""
    one, now_s = tenure(), 0.0
    cell_lease_s, renewed_s, may_come = 10.0, 0.0, []
    for lease_s, fate in steps:
        one.lease_asked(lease_s)
        sent_s = now_s
        if fate == "applied":
            cell_lease_s, renewed_s = lease_s, sent_s
            now_s += 0.1
            one.lease_answered(lease_s, sent_s, applied=True)
        elif fate == "refused":
            now_s += 0.1
            one.lease_answered(lease_s, sent_s, applied=False)
        elif fate == "late":
            may_come.append(lease_s)
        shortest_s = min([cell_lease_s, *may_come])
        assert one.done_until_s is not None
        assert one.done_until_s <= renewed_s + answer_limit_s(shortest_s), "an answer may come after the lease is over"
        now_s += 0.3


@given(steps=STEPS)
def test_never_later_than_the_shortest_lease_allows(steps: list[tuple[float, str]]) -> None:
    """Any order of changes and fates."""
    check_never_too_late(steps)


def longest(self: Any) -> float:
    lease_s: float = max(self._lease_s, *self._leases_asked, 0.0)
    return lease_s


def answered_only(self: Any) -> float:
    lease_s: float = self._lease_s
    return lease_s


@pytest.mark.parametrize("mutant", [longest, answered_only])
def test_a_broken_rule_is_noticed(mutant: Any) -> None:
    """The longest of the leases in question, or only the one that was answered, is found to be too long."""
    with mock.patch.object(Tenure, "lease_s", property(mutant)), pytest.raises(AssertionError):
        check_never_too_late([(1.0, "late"), (60.0, "applied")])
