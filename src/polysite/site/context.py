"""What every part of one process's coordinator stands on."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from polysite.cells.contract import Cells
from polysite.clock import Runtime
from polysite.core.distance import Distances
from polysite.core.lease import lease_s_min
from polysite.core.lock_cell import Author
from polysite.core.session import SessionSettings
from polysite.core.stamps import now_stamp
from polysite.core.wishes import ID_BYTES, QUEUE_MAX
from polysite.errors import PolysiteError
from polysite.site.events import EventHub
from polysite.site.settings import SiteSettings
from polysite.site.timers import Timers
from polysite.stores.contract import Store

_log = logging.getLogger(__name__)


class SiteContext:
    """Engines, clocks, chance, timers and this process's name; `author` is set when the process has its slot."""

    def __init__(self, store: Store, cells: Cells, runtime: Runtime, settings: SiteSettings) -> None:
        self.store = store
        self.cells = cells
        self.clock = runtime.clock
        self.randomness = runtime.randomness
        self.spawner = runtime.spawner
        self.settings = settings
        self.timers = Timers(runtime)
        self.events = EventHub(settings.site, runtime.clock, settings.events_max)
        self.author = Author(settings.site, "", "")
        self.distances = Distances(settings.other_sites, settings.site_count)
        """The ways to the other sites, as they are measured while the process runs."""
        self.is_wide = settings.site_count > 1 or bool(settings.majority_rtt_ms)
        """Whether there are ways that take time: what only concerns several sites is not looked at otherwise."""
        self.site_limit = max(1, QUEUE_MAX // settings.site_count)
        self.joint = settings.joint and "joint" in store.capabilities and "joint" in cells.capabilities
        self.expiry = "expiry" in store.capabilities
        self.session_settings = SessionSettings(
            settle_rows_max=settings.settle_rows_max,
            settle_bytes_max=settings.settle_bytes_max,
            absent_life_ms=864_000_000 if self.expiry else None,
        )
        self.closing = False
        self._prefix = runtime.randomness.random_bytes(ID_BYTES - 8)
        self._count = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def trip_s(self, site: str) -> float:
        """About how long a message to a site and its answer take: as measured, else twice W."""
        measured = self.distances.trip_s(site) if site in self.settings.other_sites else None
        return 2 * self.rtt_s if measured is None else measured

    @property
    def rtt_s(self) -> float:
        """W, the round trip to the nearest majority of sites: the one that is set, else as it is measured by now."""
        set_ms = self.settings.majority_rtt_ms
        return self.distances.rtt_s if set_ms is None else set_ms / 1000

    @property
    def lease_ms_min(self) -> int:
        """The shortest lease that is granted now."""
        return round(1000 * lease_s_min(self.rtt_s))

    def new_id(self) -> bytes:
        """A fresh id of a wish or change: unique among all processes, and cheap. No secret."""
        self._count += 1
        return self._prefix + self._count.to_bytes(8, "big")

    def new_secret(self) -> bytes:
        """A fresh secret or nonce, made in memory by this run of the process."""
        return self.randomness.random_bytes(ID_BYTES)

    def now_stamp(self) -> int:
        """The stamp of this moment."""
        return now_stamp(self.clock.wall_us())

    def background(self, work: Coroutine[Any, Any, Any], *, name: str) -> "asyncio.Task[Any]":
        """Carry on with something nobody waits for; its failure is logged, `close` waits for it or cancels it."""
        task = self.spawner.spawn(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if isinstance(error, PolysiteError):
            _log.info("background work %s ended with %s", task.get_name(), error.code)
        else:
            _log.error("background work %s failed", task.get_name(), exc_info=error)

    async def end_background(self) -> None:
        """Cancel what still goes on."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
