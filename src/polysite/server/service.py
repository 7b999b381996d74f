"""What every route works with: the coordinator and what the server keeps beside it."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from polysite.api import Coordinator, KeyName
from polysite.clock import Runtime
from polysite.errors import PolysiteError, Unavailable
from polysite.server.auth import Access
from polysite.server.convert import Codec, Codecs, decode_segment
from polysite.server.exchange import ClientGone, Exchange
from polysite.server.metrics import Metrics
from polysite.server.settings import Settings
from polysite.values.keys import Reference, ReferenceSet, parse_reference

T = TypeVar("T")

WATCH_AFTER_S = 0.02
"""A wait that is over sooner costs no watcher for a client that hangs up."""
REFERENCES_KEPT_MIN = 1_024
REFERENCES_ENDED_MAX = 4_096


class Stopping:
    """Whether the server stops, and the waits and streams that are to be told."""

    def __init__(self) -> None:
        self.begun = False
        self._waits: set[asyncio.Task[Any]] = set()
        self._told: set[asyncio.Task[Any]] = set()
        self.moment = asyncio.Event()

    def begin(self) -> None:
        """End every wait; what begins something new is refused from now on."""
        self.begun = True
        self.moment.set()
        for task in list(self._waits):
            self._told.add(task)
            task.cancel()

    def check(self) -> None:
        """Unavailable if the server stops."""
        if self.begun:
            raise Unavailable("this process stops; another process of the site, or this one after its start, answers")

    def enter(self, task: "asyncio.Task[Any]") -> None:
        self._waits.add(task)

    def leave(self, task: "asyncio.Task[Any]") -> bool:
        """The wait is over; True if it was ended by `begin`."""
        self._waits.discard(task)
        if task in self._told:
            self._told.discard(task)
            return True
        return False


class Tenures:
    """References granted through this server that may still be in use: what a graceful stop waits for.

    A reference counts until it is released or lost, or until its client was silent for its lease. A loss that no call was
    told of is found by `look`.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._clock = runtime.clock
        self._until_s: dict[str, tuple[float, float]] = {}
        self._ended: dict[str, None] = {}
        """Those that were released or told to be lost last, oldest first."""
        self._prune_at = REFERENCES_KEPT_MIN

    def seen(self, reference: str, lease_ms: int) -> None:
        """The reference is in use under this lease."""
        lease_s = lease_ms / 1000
        self._until_s[reference] = (self._clock.monotonic_s() + lease_s, lease_s)
        if len(self._until_s) > self._prune_at:
            self._prune()

    def used(self, reference: str) -> None:
        """A call was made under the reference."""
        known = self._until_s.get(reference)
        if known is not None:
            self._until_s[reference] = (self._clock.monotonic_s() + known[1], known[1])

    def gone(self, reference: str) -> None:
        """It was released, or its loss was told."""
        self._until_s.pop(reference, None)
        self._ended[reference] = None
        if len(self._ended) > REFERENCES_ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def lost(self, reference: str) -> bool:
        """A call is told that the reference is lost. False: that is no news, or it was released here."""
        if reference in self._ended:
            return False
        self.gone(reference)
        return True

    def count(self) -> int:
        """References that may still be in use."""
        self._prune()
        return len(self._until_s)

    async def look(self, coordinator: Coordinator) -> None:
        """Forget the references that stand in no queue any more. No sign of life is given for those that do."""
        for text in list(self._until_s):
            parsed = parse_reference(text)
            members = parsed.references if isinstance(parsed, ReferenceSet) else (parsed,)
            with contextlib.suppress(PolysiteError):  # what cannot be looked up now may still be in use
                if not any([await _stands(coordinator, member) for member in members]):
                    self._until_s.pop(text, None)

    def _prune(self) -> None:
        now_s = self._clock.monotonic_s()
        self._until_s = {reference: times for reference, times in self._until_s.items() if times[0] > now_s}
        self._prune_at = max(REFERENCES_KEPT_MIN, 2 * len(self._until_s))


async def _stands(coordinator: Coordinator, reference: Reference) -> bool:
    """Whether the reference has an entry in the queue of its key."""
    key = reference.key
    spec = await coordinator.table(key.keyspace, key.table)
    columns = zip(spec.locked_names, key.columns, strict=True)
    values = {name: spec.types[name].deserialise(data) for name, data in columns}
    queue = await coordinator.queue(KeyName(keyspace=key.keyspace, table=key.table, key=values))
    return any(entry.fencing_token == reference.ticket for entry in queue.entries)


class Service:
    """One server's coordinator, settings and state."""

    def __init__(self, coordinator: Coordinator, settings: Settings, *, runtime: Runtime, logger: Any) -> None:
        self.coordinator = coordinator
        self.settings = settings
        self.runtime = runtime
        self.logger = logger
        self.access = Access(settings)
        self.codecs = Codecs()
        self.metrics = Metrics()
        self.stopping = Stopping()
        self.tenures = Tenures(runtime)
        self.streams = 0
        self.requests = 0
        self.describe: Callable[[], bytes] = lambda: b"{}"
        self.metrics.watch("polysite_requests_under_way", "Requests under way", lambda: self.requests)
        self.metrics.watch("polysite_event_streams", "Open event streams", lambda: self.streams)
        self.metrics.watch("polysite_references", "Lock references that may be in use", self.tenures.count)

    async def codec(self, exchange: Exchange, keyspace: str, table: str) -> Codec:
        """The codec of a table as it is now; errors of this request are written with it."""
        codec = exchange.codec = self.codecs.of(await self.coordinator.table(keyspace, table))
        return codec

    async def table_in_path(self, exchange: Exchange) -> Codec:
        """The codec of the table that the path names."""
        keyspace, table = exchange.captured[0].decode("latin-1"), exchange.captured[1].decode("latin-1")
        if "%" in keyspace or "%" in table:
            keyspace, table = decode_segment(exchange.captured[0]), decode_segment(exchange.captured[1])
        codec = exchange.codec = self.codecs.of(await self.coordinator.table(keyspace, table))
        return codec

    async def wait_for(self, exchange: Exchange, work: Coroutine[Any, Any, T], *, watch_client: bool = True) -> T:
        """Await what may take long. Given up when the server stops (Unavailable) and, with `watch_client`, when the
        client hangs up (ClientGone); the coordinator withdraws what is given up."""
        task = asyncio.current_task()
        assert task is not None
        if self.stopping.begun:
            work.close()
            self.stopping.check()
        watcher: asyncio.Task[None] | None = None
        gone = False

        async def watch() -> None:
            nonlocal gone
            await exchange.hung_up()
            gone = True
            task.cancel()

        def start_watching() -> None:
            nonlocal watcher
            watcher = self.runtime.spawner.spawn(watch(), name="server: watch the client of a wait")

        timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, start_watching) if watch_client else None
        self.stopping.enter(task)
        ended = False
        try:
            return await work
        except asyncio.CancelledError:
            ended = self.stopping.leave(task)
            if gone:
                task.uncancel()
                raise ClientGone from None
            if ended:
                task.uncancel()
                raise Unavailable("this process stops; the wait was given up") from None
            raise
        finally:
            self.stopping.leave(task)
            if timer is not None:
                timer.cancel()
            if watcher is not None:
                watcher.cancel()
