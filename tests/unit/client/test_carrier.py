"""What is sent again, what is not, and what a caller is told: the rules on which the truth of an outcome rests.

Method: a script of answers and failures stands behind the transport; pauses are those of the seeded loop, so nothing sleeps.
"""

import pytest

from polysite.client import AsyncFunctionTransport, Request, Response
from polysite.client._async.carrier import Carrier, Effect
from polysite.client._sync.carrier import Carrier as BlockingCarrier
from polysite.client.pacing import AsyncPace
from polysite.client.transport import FunctionTransport
from polysite.errors import (
    AcquireTimeout,
    BadRequest,
    IdempotencyMismatch,
    LockLost,
    OutcomeUnknown,
    Overloaded,
    PolysiteError,
    SiteUnreachable,
    StoreFull,
)
from polysite.testing.loop import current_loop, run, simulated_runtime
from tests.support.scripted import UNANSWERED, UNSENT, ScriptedSite, Step, answer, refusal

DONE = answer({"stamp": 1})


def send(
    *scripts: ScriptedSite, effect: Effect, retries: int = 2, bearer: str | None = None
) -> tuple[Response | PolysiteError, float]:
    """One request to the processes that the scripts play; the answer or error, and the virtual seconds it took."""

    async def main() -> tuple[Response | PolysiteError, float]:
        transports = [AsyncFunctionTransport(script.answer_async) for script in scripts]
        carrier = Carrier(transports, retries=retries, bearer=bearer, pace=AsyncPace(simulated_runtime(1)))
        began_s = current_loop().time()
        try:
            found: Response | PolysiteError = await carrier.send("PUT", "/v3/x", effect=effect, body={})
        except PolysiteError as error:
            found = error
        return found, current_loop().time() - began_s

    return run(main, seed=1)


@pytest.mark.parametrize("effect", ["none", "same", "once"])
def test_a_request_that_was_never_sent_is_sent_again(effect: Effect) -> None:
    """Nothing left this process, so even a write without a key may go out anew."""
    site = ScriptedSite(UNSENT, DONE)
    found, took_s = send(site, effect=effect)
    assert found is DONE
    assert took_s > 0


def test_never_reached_is_refused() -> None:
    """After the last attempt the caller learns that nothing happened and that trying again may help."""
    found, _ = send(ScriptedSite(UNSENT, UNSENT, UNSENT), effect="once")
    assert isinstance(found, SiteUnreachable)
    assert (found.outcome, found.retry) == ("refused", True)


def test_a_write_without_a_key_is_sent_once() -> None:
    """Sent and not answered: it may have happened, and a second sending could make it happen twice."""
    site = ScriptedSite(UNANSWERED)
    found, took_s = send(site, effect="once")
    assert isinstance(found, OutcomeUnknown)
    assert found.reason == "not_answered"
    assert (len(site.asked), took_s) == (1, 0)


def test_a_write_under_a_key_is_sent_again() -> None:
    """The same request with the same key has no second effect, so it is how the client finds out."""
    site = ScriptedSite(UNANSWERED, UNANSWERED, DONE)
    assert send(site, effect="same")[0] is DONE
    assert len({request.body for request in site.asked}) == 1


def test_unknown_to_the_end() -> None:
    """Attempts are bounded, and then the outcome is told as unknown."""
    site = ScriptedSite(UNANSWERED, UNANSWERED, UNANSWERED)
    assert isinstance(send(site, effect="same")[0], OutcomeUnknown)
    assert not site.steps


@pytest.mark.parametrize(
    "later",
    [UNSENT, refusal(LockLost(), status=410), refusal(BadRequest()), refusal(IdempotencyMismatch(), status=422)],
)
def test_a_refusal_after_doubt_is_no_refusal(later: Step) -> None:
    """The first attempt may have happened: what a later one is told says nothing about it."""
    found, _ = send(ScriptedSite(UNANSWERED, later, later, later), effect="same", retries=1)
    assert isinstance(found, OutcomeUnknown)
    assert found.reason == "not_answered"


def test_a_read_that_was_not_answered_is_sent_again() -> None:
    """A read has no effect; when no attempt is answered, the site counts as unreachable and nothing is unknown."""
    assert send(ScriptedSite(UNANSWERED, DONE), effect="none")[0] is DONE
    found, _ = send(ScriptedSite(UNANSWERED, UNANSWERED, UNANSWERED), effect="none")
    assert isinstance(found, SiteUnreachable)


@pytest.mark.parametrize("error", [Overloaded(), StoreFull()])
def test_refused_for_a_passing_reason_is_sent_again(error: PolysiteError) -> None:
    """It certainly did not happen, so it may be sent again whatever it does; at the end the reason is told."""
    site = ScriptedSite(refusal(error, status=503), DONE)
    assert send(site, effect="once")[0] is DONE
    found, _ = send(ScriptedSite(*[refusal(error, status=503)] * 3), effect="once")
    assert type(found) is type(error)


@pytest.mark.parametrize("error", [BadRequest("no"), LockLost("gone"), AcquireTimeout("late")])
def test_a_refusal_is_told_at_once(error: PolysiteError) -> None:
    """The same again would give the same (or wait the same again, which is for the caller to decide)."""
    site = ScriptedSite(refusal(error, status=409))
    found, took_s = send(site, effect="same")
    assert (type(found), str(found), took_s) == (type(error), str(error), 0)


def test_the_pause_the_server_asks_for_is_kept() -> None:
    """Retry-After is a lower bound of the pause, itself bounded."""
    waited = send(ScriptedSite(refusal(Overloaded(), status=503, headers={"retry-after": "3"}), DONE), effect="once")[1]
    assert 3 <= waited < 4
    endless = send(
        ScriptedSite(refusal(Overloaded(), status=503, headers={"retry-after": "9999"}), DONE), effect="once"
    )[1]
    assert endless < 10


def test_another_process_is_asked_at_once() -> None:
    """One that cannot be reached costs no pause and no retry while another is untried, and is not asked first again."""
    away, here = ScriptedSite(UNSENT), ScriptedSite(DONE)
    found, took_s = send(away, here, effect="once", retries=0)
    assert (found, took_s) == (DONE, 0)


def test_all_processes_away() -> None:
    """Each is tried once per round, and the rounds are bounded."""
    first, second = ScriptedSite(*[UNSENT] * 3), ScriptedSite(*[UNSENT] * 3)
    found, _ = send(first, second, effect="once", retries=1)
    assert isinstance(found, SiteUnreachable)
    assert len(first.asked) + len(second.asked) == 3


@pytest.mark.parametrize(
    "foreign",
    [
        Response(502, {}, b"<html>Bad gateway</html>"),
        Response(500, {}, b""),
        answer({"error": "x"}, status=503),
        answer({"code": "code_of_a_later_version", "detail": "?"}, status=409),
    ],
)
def test_an_answer_that_is_not_ours_says_nothing(foreign: Response) -> None:
    """A proxy's page or an unknown code must not read as `it did not happen`."""
    found, _ = send(ScriptedSite(foreign), effect="once")
    assert isinstance(found, OutcomeUnknown)
    assert isinstance(send(ScriptedSite(foreign, DONE), effect="none")[0], Response)


def test_attributes_and_credentials_arrive() -> None:
    """What an error carries reaches the caller; the bearer goes with every request."""
    site = ScriptedSite(refusal(LockLost("gone", reason="preempted", fencing_token=7), status=410))
    found, _ = send(site, effect="same", bearer="open sesame")
    assert isinstance(found, LockLost)
    assert (found.reason, found.fencing_token) == ("preempted", 7)
    assert site.asked[0].headers["authorization"] == "Bearer open sesame"


def test_the_blocking_carrier_keeps_the_same_rules() -> None:
    """It is generated from the other; one rule of each kind shows that the generation kept its sense."""

    def blocking(*steps: Step, effect: Effect) -> Response:
        return BlockingCarrier([FunctionTransport(ScriptedSite(*steps).answer)], retries=1).send(
            "PUT", "/v3/x", effect=effect, body={}
        )

    assert blocking(UNANSWERED, DONE, effect="same") is DONE
    with pytest.raises(OutcomeUnknown):
        blocking(UNANSWERED, effect="once")
    with pytest.raises(OutcomeUnknown):
        blocking(UNANSWERED, refusal(LockLost(), status=410), effect="same")


def test_the_wait_is_added_to_the_bound_of_the_answer() -> None:
    """A long poll must not be taken for a lost answer."""
    seen: list[float] = []

    def note(request: Request) -> Response:
        seen.append(request.answer_s)
        return DONE

    async def main() -> None:
        transport = AsyncFunctionTransport(ScriptedSite(note).answer_async)
        await Carrier([transport], answer_s=5).send("POST", "/v3/locks", effect="same", wait_ms=60_000)

    run(main, seed=1)
    assert seen == [65]
