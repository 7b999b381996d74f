"""From a driver's thread to the event loop: one wake-up of the loop for as many answers as came in meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Bridge(Generic[Answer]):
    """Carries answers to the futures that wait for them. `answered` and `failed` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[asyncio.Future[Answer], Answer | None, BaseException | None]] = deque()
        self._called = False
        self._waiting: set[asyncio.Future[Answer]] = set()

    def __len__(self) -> int:
        """How many are under way: sent and neither answered nor failed, whether somebody still waits for them or not."""
        return len(self._waiting)

    def expect(self) -> "asyncio.Future[Answer]":
        """A future for one request that is about to be sent (from the loop's thread)."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.add(future)
        return future

    def answered(self, answer: Answer, future: "asyncio.Future[Answer]") -> None:
        self._arrived.append((future, answer, None))
        self._call()

    def failed(self, error: BaseException, future: "asyncio.Future[Answer]") -> None:
        self._arrived.append((future, None, error))
        self._call()

    def fail_all(self, error: BaseException) -> None:
        """Fail whatever is still under way (from the loop's thread), because no answer can come any more."""
        self._tell()
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # looked at: whoever gave up waiting is not told again by the loop
        self._waiting.clear()

    def _call(self) -> None:
        # Appended before the flag is looked at, and the flag is cleared before the queue is emptied: none is left behind.
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._called = False
        arrived = self._arrived
        while arrived:
            future, answer, error = arrived.popleft()
            self._waiting.discard(future)
            if future.done():  # given up by whoever waited
                continue
            if error is None:
                future.set_result(answer)  # type: ignore[arg-type]  # an answer that is None is one
            else:
                future.set_exception(error)


Made = TypeVar("Made")


async def beside_the_loop(function: Callable[[], Made], *, name: str) -> Made:
    """Run what blocks (connecting, closing) on a thread of its own and wait for it. Never used for a request.

    Cancelled, it waits no longer; the thread ends by itself when the function returns.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Made] = loop.create_future()

    def tell(made: Made | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(made)  # type: ignore[arg-type]  # None where the function makes nothing
        else:
            future.set_exception(error)

    def run() -> None:
        made, failure = None, None
        try:
            made = function()
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits
            failure = error
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, made, failure)

    Thread(target=run, name=name, daemon=True).start()
    return await future
