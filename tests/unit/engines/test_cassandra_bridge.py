"""Answers from a driver's threads reach the futures that wait for them, however they come and whoever gave up."""

import asyncio
import gc
from collections.abc import Callable
from threading import Event, Thread

import pytest

from polysite.engines.cassandra.bridge import Bridge, beside_the_loop

pytestmark = pytest.mark.anyio


class CountingLoop:
    """The running loop, counting how often it is woken."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wakes = 0

    def create_future(self) -> "asyncio.Future[int]":
        return self.loop.create_future()

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        self.wakes += 1
        self.loop.call_soon_threadsafe(function)


def in_a_thread(work: Callable[[], object]) -> None:
    thread = Thread(target=work)
    thread.start()
    thread.join()


async def test_many_answers_wake_the_loop_once() -> None:
    """A thousand answers come while the loop is busy: one wake-up carries them all, each to its own future."""
    loop = CountingLoop()
    bridge: Bridge[int] = Bridge(loop)  # type: ignore[arg-type]  # what a bridge uses of a loop
    futures = [bridge.expect() for _ in range(1_000)]
    assert len(bridge) == 1_000

    def answer() -> None:
        for at, future in enumerate(futures):
            bridge.answered(at, future)

    in_a_thread(answer)
    assert await asyncio.gather(*futures) == list(range(1_000))
    assert loop.wakes == 1
    assert len(bridge) == 0


async def test_one_batch_after_the_other() -> None:
    """After a wake-up the next answer wakes the loop again: three rounds, each awaited before the next begins."""
    loop = CountingLoop()
    bridge: Bridge[int] = Bridge(loop)  # type: ignore[arg-type]
    for at in range(3):
        future = bridge.expect()
        in_a_thread(lambda at=at, future=future: bridge.answered(at, future))  # type: ignore[misc]
        async with asyncio.timeout(10):
            assert await future == at
    assert loop.wakes == 3


async def test_none_is_left_behind() -> None:
    """Three threads answer at their own pace while the loop takes turns: every future ends, and nothing is counted as under way."""
    bridge: Bridge[int] = Bridge(asyncio.get_running_loop())
    futures = [bridge.expect() for _ in range(3_000)]

    def answer(part: int) -> None:
        for at in range(part, len(futures), 3):
            bridge.answered(at, futures[at])

    threads = [Thread(target=answer, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*futures) == list(range(3_000))
    for thread in threads:
        thread.join()
    assert len(bridge) == 0


async def test_a_failure_is_raised_where_it_is_waited_for() -> None:
    """One request fails, the other is answered with None, which is an answer."""
    bridge: Bridge[int | None] = Bridge(asyncio.get_running_loop())
    lost, done = bridge.expect(), bridge.expect()

    def answer() -> None:
        bridge.failed(ValueError("lost"), lost)
        bridge.answered(None, done)

    in_a_thread(answer)
    with pytest.raises(ValueError, match="lost"):
        await lost
    assert await done is None


async def test_an_answer_nobody_waits_for_any_more() -> None:
    """A request given up is under way until its answer comes, which then disturbs nobody."""
    bridge: Bridge[int] = Bridge(asyncio.get_running_loop())
    given_up, other = bridge.expect(), bridge.expect()
    given_up.cancel()
    assert len(bridge) == 2

    def answer() -> None:
        bridge.failed(ValueError(), given_up)
        bridge.answered(2, other)

    in_a_thread(answer)
    assert await other == 2
    assert len(bridge) == 0


async def test_what_is_still_under_way_at_the_end() -> None:
    """At the end answers that came are told, the rest fails; nothing is reported as an error that nobody looked at."""
    bridge: Bridge[int] = Bridge(asyncio.get_running_loop())
    came, missing, unwatched = bridge.expect(), bridge.expect(), bridge.expect()
    bridge.answered(1, came)
    bridge.fail_all(ConnectionError("closed"))
    assert await came == 1
    with pytest.raises(ConnectionError):
        await missing
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    del unwatched, missing
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
    assert len(bridge) == 0


async def test_blocking_work_beside_the_loop() -> None:
    """The loop goes on while a function blocks on its own thread; its result or its error comes back."""
    may_end = Event()

    def block() -> int:
        assert may_end.wait(20)
        return 7

    blocked = asyncio.ensure_future(beside_the_loop(block, name="blocked"))
    await asyncio.sleep(0)
    may_end.set()
    assert await blocked == 7

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await beside_the_loop(fail, name="failing")
