"""The same names as `polysite`, without await, for programs that block.

    with polysite.sync.connect("http://127.0.0.1:8390") as site:
        votes = site.table("voting", "votes")
        with votes.section("ana", lease_s=10) as section:
            row = section.get()
            section.put({"count": (row["count"] if row else 0) + 1})

A thread cannot be cancelled: when a section's lock is lost, its next call raises `LockLost`, `is_lost` turns true, and
the callback `on_lost` is called from another thread.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from os import PathLike
from typing import Any, cast

from polysite.client._sync.connecting import connect
from polysite.client._sync.protocol import Coordinator
from polysite.client._sync.section import LockSet, Section
from polysite.client._sync.site import Site, Table, table_spec

__all__ = ["Coordinator", "LockSet", "Section", "Site", "Table", "connect", "open", "table_spec"]


def open(path: str | PathLike[str] = ":memory:", **settings: Any) -> Site:  # noqa: A001
    """A site in this process, as `polysite.open`; its coordinator runs on a thread of its own until the site is closed.

    The site is open when this returns.
    """
    from polysite._open import start_embedded

    loop = _LoopThread()
    try:
        coordinator = loop.run(start_embedded(path, **settings))
    except BaseException:
        loop.stop()
        raise
    return Site(cast(Coordinator, _Bridge(coordinator, loop)))


class _LoopThread:
    """An event loop that runs on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="polysite.loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of `work`, carried out on the loop; given up if the waiting thread is interrupted."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class _Bridge:
    """A coordinator on a loop, for callers that block: every verb waits for its result."""

    def __init__(self, coordinator: Any, loop: _LoopThread) -> None:
        self._coordinator = coordinator
        self._loop = loop
        self._closed = False

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        carried = getattr(self._coordinator, verb)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._loop.run(carried(*args, **kwargs))

        return call

    def events(self, **chosen: Any) -> Iterator[Any]:
        """Events, one at a time."""
        events = self._coordinator.events(**chosen)
        try:
            while (event := self._loop.run(_next(events))) is not None:
                yield event
        finally:
            with contextlib.suppress(RuntimeError):
                self._loop.run(events.aclose())

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._loop.run(self._coordinator.close())
            finally:
                self._loop.stop()


async def _next(events: Any) -> Any:
    """The next event, None at their end."""
    return await anext(events, None)
