"""Losing a lock is told: the body is cancelled, and what leaves is `LockLost`, unless somebody else cancelled it.

Method: the keeper alone, on the seeded loop, with a sign of life that the test scripts.
"""
# ruff: noqa: PT012  # what raises is the end of the section's block

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from polysite.client.keeping import AsyncKeeper, Keeper
from polysite.client.pacing import AsyncPace, Pace
from polysite.errors import LockLost, NotHolder, OutcomeUnknown, SiteUnreachable
from polysite.testing.loop import current_loop, run, simulated_runtime

LEASE_S = 9.0
Beat = Callable[[], Coroutine[Any, Any, object]]


class Body:
    """A section without a coordinator: enter, run, leave."""

    def __init__(self, renew: Beat, on_lost: Callable[[LockLost], None] | None = None) -> None:
        self.keeper = AsyncKeeper(AsyncPace(simulated_runtime(1)), on_lost)
        self._renew = renew

    async def __aenter__(self) -> AsyncKeeper:
        self.keeper.start(self._renew, LEASE_S)
        return self.keeper

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.keeper.stop()
        lost = self.keeper.verdict(error)
        if lost is not None:
            raise lost from error


def beats(*outcomes: Exception | None, times: list[float] | None = None) -> Beat:
    """A sign of life that goes as the outcomes say, one after the other; the last one for ever."""
    left = list(outcomes)

    async def renew() -> None:
        if times is not None:
            times.append(current_loop().time())
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if outcome is not None:
            raise outcome

    return renew


@pytest.mark.parametrize("seed", range(5))
def test_signs_of_life_come_every_third_of_the_lease(seed: int) -> None:
    """As long as the body runs, and not once longer."""
    times: list[float] = []

    async def main() -> None:
        async with Body(beats(None, times=times)):
            await asyncio.sleep(10)
        await asyncio.sleep(100)

    run(main, seed=seed)
    assert times == [3, 6, 9]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("error", [LockLost("preempted"), NotHolder("it waits")])
def test_the_body_is_cancelled_when_the_lock_is_lost(error: Exception, seed: int) -> None:
    """It ends at the await where it stands, and `LockLost` leaves; the task itself is not cancelled afterwards."""
    reached: list[str] = []

    async def main() -> None:
        with pytest.raises(LockLost, match=str(error)):
            async with Body(beats(None, error)):
                await asyncio.sleep(1000)
                reached.append("the end of the body")
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert current_loop().time() == 6

    run(main, seed=seed)
    assert reached == []


def test_silence_for_a_lease_is_a_loss() -> None:
    """The site may have let go by then, so the body must not go on; until then signs are sent more often."""
    times: list[float] = []

    async def main() -> float:
        with pytest.raises(LockLost) as caught:
            async with Body(beats(SiteUnreachable(), times=times)):
                await asyncio.sleep(1000)
        assert caught.value.reason == "no_answer"
        return current_loop().time()

    assert run(main, seed=1) == LEASE_S
    assert len(times) > 5


def test_a_sign_that_hangs_is_a_loss_too() -> None:
    """The answer to a sign may never come; the lease is counted from the last sign that was answered, from its sending."""

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> float:
        with pytest.raises(LockLost):
            async with Body(never):
                await asyncio.sleep(1000)
        return current_loop().time()

    assert run(main, seed=1) == LEASE_S


@pytest.mark.parametrize(("waited_s", "first_s", "lost_s"), [(0.0, 3.0, 9.0), (2.0, 1.0, 7.0), (100.0, 0.0, 6.0)])
def test_the_lease_counts_from_the_sending(waited_s: float, first_s: float, lost_s: float) -> None:
    """Goal: the lease counts from when the granted call was sent, as the site may have counted; after a long wait, whose end at
    the site is not known, a sign goes out at once. Method: a site that answers nothing more, after waits of several lengths."""
    times: list[float] = []

    async def main() -> None:
        pace = AsyncPace(simulated_runtime(1))
        keeper = AsyncKeeper(pace)
        keeper.start(beats(SiteUnreachable(), times=times), LEASE_S, pace.monotonic_s() - waited_s)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        assert keeper.is_silent
        assert current_loop().time() == pytest.approx(lost_s)

    run(main, seed=1)
    assert times[0] == pytest.approx(first_s)


def test_a_short_silence_is_none() -> None:
    """After an answer the lease starts anew."""
    outcomes = [SiteUnreachable(), OutcomeUnknown(), None, SiteUnreachable(), None, None, None, SiteUnreachable(), None]

    async def main() -> None:
        async with Body(beats(*outcomes)):
            await asyncio.sleep(100)

    run(main, seed=1)


@pytest.mark.parametrize("seed", range(10))
def test_a_cancellation_from_outside_stays_one(seed: int) -> None:
    """Also when the lock is lost in the same moment: whoever cancelled the task waits for it to be cancelled."""

    async def both() -> None:
        inner: list[AsyncKeeper] = []

        async def lost_and_cancelled() -> None:
            async with Body(beats(None)) as keeper:
                inner.append(keeper)
                await asyncio.sleep(1000)

        task = asyncio.ensure_future(lost_and_cancelled())
        await asyncio.sleep(1)
        inner[0].lose(LockLost())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(both, seed=seed)


def test_a_body_that_fails_by_itself_keeps_its_error() -> None:
    """What went wrong in the body is not hidden by the loss that came on top."""

    async def main() -> None:
        with pytest.raises(ValueError, match="mine"):
            async with Body(beats(None)) as keeper:
                keeper.lose(LockLost())
                raise ValueError("mine")

    run(main, seed=1)


def test_a_body_that_swallows_the_cancellation_is_told() -> None:
    """It went on without the lock; that does not end as if nothing had happened, and the task can go on."""

    async def main() -> None:
        with pytest.raises(LockLost):
            async with Body(beats(LockLost())):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)
        await asyncio.sleep(1)

    run(main, seed=1)


def test_a_section_in_a_deadline_and_a_group() -> None:
    """`asyncio.timeout` and `TaskGroup` around and inside a section see what they expect."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5), Body(beats(None)):
                await asyncio.sleep(1000)
        with pytest.raises(LockLost):
            async with Body(beats(LockLost())), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1000))
                group.create_task(asyncio.sleep(2000))

    run(main, seed=1)


def test_who_asked_is_told_before_the_body() -> None:
    """The callback hears of the loss once, with the reason."""
    told: list[str] = []

    async def main() -> None:
        with pytest.raises(LockLost):
            async with Body(beats(LockLost("preempted")), on_lost=lambda error: told.append(str(error))) as keeper:
                try:
                    await asyncio.sleep(1000)
                finally:
                    told.append("body")
                    keeper.lose(LockLost("again"))

    run(main, seed=1)
    assert told == ["preempted", "body"]


def test_what_was_asked_for_is_undone_if_nobody_waits() -> None:
    """A wish whose caller is cancelled goes on to its answer, and is then given up."""
    undone: list[str] = []

    async def main() -> None:
        keeper = AsyncKeeper(AsyncPace(simulated_runtime(1)))

        async def acquire() -> str:
            await asyncio.sleep(5)
            return "reference"

        async def release(reference: str) -> None:
            undone.append(reference)

        task = asyncio.ensure_future(keeper.guard(acquire, release))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert undone == []
        await asyncio.sleep(10)

    run(main, seed=1)
    assert undone == ["reference"]


def test_a_thread_is_told_at_its_next_call() -> None:
    """A blocking body cannot be cancelled: the event is set, the callback called, and the next check raises."""
    told: list[LockLost] = []
    seen = threading.Event()

    def lost(error: LockLost) -> None:
        told.append(error)
        seen.set()

    def renew() -> None:
        raise LockLost("preempted")

    keeper = Keeper(Pace(), lost)
    keeper.start(renew, 0.03)
    assert seen.wait(10)
    with pytest.raises(LockLost, match="preempted"):
        keeper.check()
    assert len(told) == 1
    error = keeper.verdict(None)
    assert error is not None
    assert error.message == "preempted"
    assert keeper.verdict(ValueError()) is None


def test_a_thread_whose_sign_hangs_is_told() -> None:
    """The sign of life is under way without an answer for longer than the lease: the next call is refused."""
    clock = [0.0]
    begun, end = threading.Event(), threading.Event()

    class StoppedPace(Pace):
        def monotonic_s(self) -> float:
            return clock[0]

    def renew() -> None:
        begun.set()
        end.wait(10)

    keeper = Keeper(StoppedPace())
    keeper.start(renew, 0.03)
    assert begun.wait(10)
    keeper.check()
    clock[0] = 1.0
    with pytest.raises(LockLost):
        keeper.check()
    keeper.stop()
    end.set()


def test_a_thread_whose_sign_hangs_is_told_without_asking() -> None:
    """Goal: `lost` is set and the callback called when the lease has passed, though the sign of life is still under way and the
    body makes no call. Method: a sign that hangs until the test has been told."""
    told: list[LockLost] = []
    end = threading.Event()
    keeper = Keeper(Pace(), told.append)
    keeper.start(lambda: end.wait(30), 0.1)
    try:
        assert keeper.lost.wait(10)
    finally:
        end.set()
    assert keeper.is_silent
    keeper.stop()
    assert [error.attributes["reason"] for error in told] == ["no_answer"]
