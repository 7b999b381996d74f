"""Errors on the wire: one table, complete, and what a client makes of it."""

import gc

import msgspec
import pytest

from polysite.errors import BadRequest, OutcomeUnknown, PolysiteError, all_codes, from_code
from polysite.server import problems


def test_every_code_has_a_status_and_no_status_is_left_over() -> None:
    """The table and the error tree name the same codes."""
    assert set(problems.STATUS) == set(all_codes())


@pytest.mark.parametrize("code", sorted(problems.STATUS))
def test_a_client_reads_back_what_was_told(code: str) -> None:
    """The problem of an error of each code leads to the same class, message and attributes on the other side."""
    error = from_code(code, "why", {"reason": "x"})
    problem = msgspec.json.decode(
        problems.encode(problems.problem_of(error, status=problems.status_of(error), request="r-1"))
    )
    again = from_code(problem["code"], problem["detail"], problem["attributes"])
    assert type(again) is type(error) is all_codes()[code]
    assert (again.message, again.attributes) == (error.message, error.attributes)
    assert (problem["outcome"], problem["retry"]) == (error.outcome, error.retry)
    assert 400 <= problem["status"] <= 507


def test_statuses_do_not_contradict_outcomes() -> None:
    """An unknown outcome is never a status that something between retries by itself; errors worth a retry are told apart."""
    for code, error_type in all_codes().items():
        if error_type.outcome == "unknown":
            assert problems.STATUS[code] == 504
        if problems.STATUS[code] in (503, 507):
            assert error_type.retry


def test_a_class_without_a_line_has_the_status_of_the_one_above() -> None:
    """An error class made elsewhere, under a code of its own."""

    class Local(BadRequest):
        """Only here."""

        code = "local_to_a_test"

    try:
        assert problems.status_of(Local()) == 400
    finally:
        del Local
        gc.collect()  # a class that lives on would be a code of everybody's
        assert "local_to_a_test" not in all_codes()


def test_what_nobody_foresaw_tells_only_its_outcome() -> None:
    """A write may have happened, a read did not."""
    assert isinstance(problems.unexpected(may_have_happened=True), OutcomeUnknown)
    told = problems.unexpected(may_have_happened=False)
    assert type(told) is PolysiteError
    assert told.outcome == "refused"


def test_an_attribute_that_json_cannot_hold_is_told_by_its_type() -> None:
    """An error must not fail while it is told."""
    error = BadRequest("why", odd=object())
    assert b'"odd":"object"' in problems.encode(problems.problem_of(error, status=400, request="r"))
