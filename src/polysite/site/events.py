"""Events of this process, handed to whoever listens, bounded per listener."""

import asyncio
from collections import deque
from typing import Any, Literal

from polysite.api import Event
from polysite.clock import Clock
from polysite.values.keys import LockKey
from polysite.values.tables import TableSpec


class EventStream:
    """One listener: an async iterator of events from the moment it was made.

    A listener that falls behind by more than `events_max` gets one `gap` in place of what it missed.
    """

    def __init__(self, hub: "EventHub", keyspace: str | None, table: str | None, events_max: int) -> None:
        self._hub = hub
        self._keyspace = keyspace
        self._table = table
        self._events_max = events_max
        self._events: deque[Event] = deque()
        self._missed = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._missed:
                self._missed = False
                return self._hub.make("gap", detail="events were missed")
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()

    async def aclose(self) -> None:
        """Listen no more."""
        self.end()

    def end(self) -> None:
        """What was kept is still handed out, then the iteration ends."""
        self._closed = True
        self._hub.forget(self)
        self._wake()

    def offer(self, event: Event) -> None:
        """Keep an event if it is of what this listener asked for."""
        if self._keyspace is not None and event.keyspace not in {self._keyspace, None}:
            return
        if self._table is not None and event.table not in {self._table, None}:
            return
        if self._missed:
            return
        if len(self._events) >= self._events_max:
            self._missed = True
        else:
            self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EventHub:
    """Where events are told and listened to."""

    def __init__(self, site: str, clock: Clock, events_max: int) -> None:
        self._site = site
        self._clock = clock
        self._events_max = events_max
        self._streams: list[EventStream] = []

    @property
    def heard(self) -> bool:
        """Whether anybody listens: making an event costs more than asking."""
        return bool(self._streams)

    def listen(self, keyspace: str | None, table: str | None) -> EventStream:
        stream = EventStream(self, keyspace, table, self._events_max)
        self._streams.append(stream)
        return stream

    def forget(self, stream: EventStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)

    def make(
        self,
        kind: Literal["granted", "lost", "preempted", "released", "ownership", "health", "gap"],
        *,
        keyspace: str | None = None,
        table: str | None = None,
        key: dict[str, Any] | None = None,
        fencing_token: int | None = None,
        detail: str | None = None,
    ) -> Event:
        """An event of this site, now."""
        return Event(
            kind=kind,
            at_us=self._clock.wall_us(),
            site=self._site,
            keyspace=keyspace,
            table=table,
            key=key,
            fencing_token=fencing_token,
            detail=detail,
        )

    def tell_preempted(self, spec: TableSpec, key: LockKey, ticket: int, detail: str) -> None:
        """An entry of a key's queue was dropped from outside."""
        if not self.heard:
            return
        columns = zip(spec.locked_names, key.columns, strict=True)
        event = self.make(
            "preempted",
            keyspace=spec.keyspace,
            table=spec.name,
            key={name: spec.types[name].deserialise(data) for name, data in columns},
            fencing_token=ticket,
            detail=detail,
        )
        self.tell(event)

    def tell_health(self, detail: str) -> None:
        """This process, or what it sees of another site, changed between well and unwell."""
        if self.heard:
            self.tell(self.make("health", detail=detail))

    def tell(self, event: Event) -> None:
        for stream in list(self._streams):
            stream.offer(event)

    def close(self) -> None:
        for stream in list(self._streams):
            stream.end()
