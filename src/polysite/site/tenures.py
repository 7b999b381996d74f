"""Calls with a reference, wherever its session lives: here, in another process (one hop), or nowhere any more.

A session whose process is known to be dead, or was seen not to beat for its lease, is taken over with one change.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from polysite.core import lock_cell
from polysite.core.lock_cell import Author, Entry
from polysite.core.plans import Intent
from polysite.core.wishes import Observed
from polysite.errors import (
    CompareFailed,
    IdempotencyMismatch,
    LockLost,
    OutcomeUnknown,
    PolysiteError,
    SiteUnreachable,
    Unavailable,
)
from polysite.site import peers
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.idempotency import (
    Receipt,
    Record,
    RequestRecorded,
    Requests,
    carried_by,
    decode_stamp,
    digest_of,
    encode,
)
from polysite.site.keys import KeyTable
from polysite.site.locks import Locks
from polysite.site.peers import (
    ANSWER_S,
    Call,
    GetCall,
    PeerChannel,
    PromoteCall,
    ReleaseCall,
    Released,
    RenewCall,
    SelectCall,
    SettleMessage,
    Status,
    WaitCall,
    WriteCall,
    Written,
)
from polysite.site.processes import ProcessSlots, Registry
from polysite.site.sessions import LiveSession, Sessions
from polysite.stores.contract import StoredPage
from polysite.values.keys import Reference, RowKey, parse_reference
from polysite.values.rows import Slice, StoredRow
from polysite.values.tables import TableSpec

T = TypeVar("T")


class RowFound(msgspec.Struct, frozen=True):
    row: StoredRow
    round_trips: float


class PageFound(msgspec.Struct, frozen=True):
    rows: list[StoredRow]
    cursor: bytes | None
    part_stamp: int
    round_trips: float


class Tenures:
    """The verbs of one reference."""

    def __init__(
        self,
        context: SiteContext,
        keys: KeyTable,
        sessions: Sessions,
        critical: Critical,
        locks: Locks,
        requests: Requests,
    ) -> None:
        self._context = context
        self._keys = keys
        self._sessions = sessions
        self._critical = critical
        self._locks = locks
        self._requests = requests
        self.channel: PeerChannel | None = None
        self.registry: Registry | None = None
        self.slots: ProcessSlots | None = None
        locks.is_dead = self.is_dead
        self._ask_first_here = critical.ask_first
        critical.ask_first = self._ask_first

    # the verbs

    # Calls on a session of this process, nearly all of them, take the short roads `…_own`; `_serve` finds the others.

    async def get_own(self, live: LiveSession, spec: TableSpec, key: RowKey) -> tuple[StoredRow, float]:
        """A get on a session of this process."""
        self._check_table(live, spec)
        live.open_calls += 1
        try:
            return await self._critical.get(live, key)
        finally:
            live.open_calls -= 1

    async def write_own(self, live: LiveSession, spec: TableSpec, intents: list[Intent]) -> tuple[int, float]:
        """A write on a session of this process, without an idempotency key."""
        self._check_table(live, spec)
        live.open_calls += 1
        try:
            return await self._critical.batch(live, intents)
        finally:
            live.open_calls -= 1

    async def get(self, reference: Reference, spec: TableSpec, key: RowKey) -> RowFound:
        async def here(live: LiveSession) -> RowFound:
            self._check_table(live, spec)
            return RowFound(*await self._critical.get(live, key))

        return await self._serve(reference, here, lambda: GetCall(str(reference), key), RowFound)

    async def write(
        self, reference: Reference, spec: TableSpec, intents: list[Intent], idempotency_key: str | None
    ) -> Written:
        """Carry out one batch of a partition under the reference; with an idempotency key at most once."""
        digest = b"" if idempotency_key is None else _digest(reference, spec, intents)

        async def here(live: LiveSession) -> Written:
            self._check_table(live, spec)
            if idempotency_key is None:
                return Written(*await self._critical.batch(live, intents))
            return await self.write_once(live, intents, idempotency_key, digest)

        def call() -> Call:
            return WriteCall(str(reference), peers.to_wire(intents), idempotency_key)

        if idempotency_key is None:
            return await self._serve(reference, here, call, Written)
        # A retry may come after the lock is gone, or to another process: the record answers it all the same.
        record = await self._requests.find(idempotency_key, digest)
        if record is not None:
            # What is proven now may not be so later: to take the entry over raises the fence.
            answer = record.answer
            if answer is None:
                answer = await self._requests.proven(idempotency_key, record)
            if answer is not None:
                return Written(decode_stamp(answer), self._context.store.costs.read_majority)
        try:
            return await self._serve(reference, here, call, Written)
        except PolysiteError as error:
            if error.outcome != "refused" or isinstance(error, IdempotencyMismatch):
                raise
            # Refused is only what was never sent.
            if record is None:
                record = await self._requests.find(idempotency_key, digest)
            if record is None:
                raise
            return await self._recorded(idempotency_key, record)

    async def select(
        self,
        reference: Reference,
        spec: TableSpec,
        partition: tuple[bytes, ...],
        slice_: Slice,
        limit: int,
        cursor: bytes | None,
    ) -> PageFound:
        async def here(live: LiveSession) -> PageFound:
            self._check_table(live, spec)
            page: StoredPage
            if not live.core.table.clustering_key:
                row, trips = await self._critical.get(live, RowKey(partition))
                return PageFound([row] if row.present else [], None, 0, trips)
            page, trips = await self._critical.select(live, partition, slice_, limit=limit, cursor=cursor)
            return PageFound(page.rows, page.cursor, page.part_stamp, trips)

        def call() -> Call:
            return SelectCall(str(reference), partition, slice_, limit, cursor)

        return await self._serve(reference, here, call, PageFound)

    async def wait(self, reference: Reference, wait_ms: int) -> Status:
        async def here(live: LiveSession) -> Status:
            await self._locks.waiting.until_held(live, wait_ms / 1000)
            return status_of(live)

        return await self._serve(reference, here, lambda: WaitCall(str(reference), wait_ms), Status, waits_ms=wait_ms)

    async def renew(self, reference: Reference, lease_ms: int | None = None) -> Status:
        """The state of a reference; `lease_ms`: its lease from now on, None: as it is."""

        async def here(live: LiveSession) -> Status:
            # The sign of life was noted when the session was found; past its limit the entry itself is asked.
            trips = 0.0
            if lease_ms is not None:
                answer = await self._sessions.set_lease(live, lease_ms)
                trips = 0.0 if answer is None else answer.round_trips
            elif live.holds and not live.core.may_answer_done(self._context.clock.monotonic_s()):
                trips = (await self._sessions.renew_now(live)).round_trips
            return status_of(live, trips)

        return await self._serve(reference, here, lambda: RenewCall(str(reference), lease_ms), Status)

    async def promote(self, reference: Reference, wait_ms: int, *, stays: bool = False) -> Status:
        async def here(live: LiveSession) -> Status:
            return status_of(live, await self._locks.promote(live, wait_ms / 1000, stays=stays))

        return await self._serve(
            reference, here, lambda: PromoteCall(str(reference), wait_ms, stays), Status, waits_ms=wait_ms
        )

    async def release(self, reference: Reference, *, validate: bool) -> Released:
        async def here(live: LiveSession) -> Released:
            if validate:
                return Released(True, (await self._sessions.release(live)).round_trips)
            self._sessions.release_later(live)
            return Released(False, 0.0)

        return await self._serve(reference, here, lambda: ReleaseCall(str(reference), validate), Released, ending=True)

    async def answer_call(self, call: Call) -> Any:
        """Answer a forwarded call, here or not at all."""
        reference = parse_reference(call.reference)
        assert isinstance(reference, Reference)
        live = await self._locks.locate(reference, ending=isinstance(call, ReleaseCall))
        if not isinstance(live, LiveSession):
            self._keys.drop(live.state)
            raise SiteUnreachable("the session has moved to another process")
        match call:
            case GetCall():
                spec = await self._table_of(reference)
                return await self.get(reference, spec, call.key)
            case WriteCall():
                spec = await self._table_of(reference)
                return await self.write(reference, spec, peers.from_wire(call.intents), call.idempotency_key)
            case SelectCall():
                spec = await self._table_of(reference)
                return await self.select(reference, spec, call.partition, call.slice, call.limit, call.cursor)
            case WaitCall():
                return await self.wait(reference, call.wait_ms)
            case RenewCall():
                return await self.renew(reference, call.lease_ms)
            case PromoteCall():
                return await self.promote(reference, call.wait_ms, stays=call.stays)
            case ReleaseCall():
                return await self.release(reference, validate=call.validate)

    async def _table_of(self, reference: Reference) -> TableSpec:
        return await self._context.store.table(reference.key.keyspace, reference.key.table)

    def _check_table(self, live: LiveSession, spec: TableSpec) -> None:
        """End a session whose table was dropped and made again: what it knows is of rows that are gone."""
        if live.core.table.making != spec.making:
            self._sessions.release_later(live, detail="the table was dropped")
            raise live.lost_error()

    # where the session lives

    async def _serve(
        self,
        reference: Reference,
        here: Callable[[LiveSession], Awaitable[T]],
        call: Callable[[], Call],
        answer_type: type[T],
        waits_ms: int = 0,
        *,
        ending: bool = False,
    ) -> T:
        """Have a call served where its session lives. `call` makes the message, which is only needed elsewhere."""
        found = await self._locks.locate(reference, ending=ending)
        if isinstance(found, LiveSession):
            return await self._serve_here(found, here)
        state, entry = found
        try:
            if await self.is_dead(entry):
                live = await self._take_over(reference, state, entry)
                return await self._serve_here(live, here)
            address = await self._address(entry)
            if self.channel is not None and address is not None:
                try:
                    body = await self.channel.send(
                        address, "forward", peers.encode(call()), answer_s=ANSWER_S + waits_ms / 1000
                    )
                    return msgspec.msgpack.decode(body, type=answer_type)
                except SiteUnreachable:
                    if await self.is_dead(entry):
                        live = await self._take_over(reference, state, entry)
                        return await self._serve_here(live, here)
            seen = self._locks.waiting.silent(state, entry.ticket)
            if seen is not None:
                live = await self._take_over(reference, state, entry, seen)
                return await self._serve_here(live, here)
            # Watch it from now on: if it does not beat for its lease, a later call takes it over.
            self._locks.waiting.watch_for_now(state, entry.lease_s)
            raise SiteUnreachable(
                "the process that serves this lock cannot be reached; it may be taken over after its lease"
            )
        finally:
            self._keys.drop(state)

    async def _serve_here(self, live: LiveSession, here: Callable[[LiveSession], Awaitable[T]]) -> T:
        live.open_calls += 1
        try:
            return await here(live)
        finally:
            live.open_calls -= 1

    async def _take_over(
        self, reference: Reference, state: Any, entry: Entry, seen: Observed | None = None
    ) -> LiveSession:
        spec = await self._table_of(reference)
        try:
            return await self._locks.take_over(spec, reference, state, entry, seen)
        except CompareFailed:
            # Somebody else was faster, or it beat after all.
            await self._sessions.combiner.look(state, linearizable=True)
            if lock_cell.entry_by_ticket(state.cell, reference.ticket) is None:
                raise LockLost(fencing_token=reference.ticket) from None
            raise SiteUnreachable("another process serves this lock by now; ask again") from None

    async def _ask_first(self, live: LiveSession, what: RowKey | tuple[bytes, ...]) -> float:
        """Have the first of a shared run settle a row or partition, wherever it lives."""
        queue = live.state.cell.queue
        if queue and queue[0].ticket not in live.state.sessions:
            # Nobody waits for a lock that readers hold together: a dead one among them is noticed by who needs it.
            self._locks.waiting.watch_for_now(live.state, queue[0].lease_s)
        if queue and self.channel is not None and queue[0].ticket not in live.state.sessions:
            address = await self._address(queue[0])
            if address is not None:
                row, partition = (what, ()) if isinstance(what, RowKey) else (None, what)
                message = SettleMessage(live.state.encoded, queue[0].ticket, row, partition)
                with contextlib.suppress(SiteUnreachable, OutcomeUnknown):
                    await self.channel.send(address, "settle", peers.encode(message), answer_s=ANSWER_S)
        return await self._ask_first_here(live, what)

    async def settle(self, message: SettleMessage) -> None:
        """Settle what a reader in another process asks for, if the first of the run is here."""
        state = self._keys.find(message.lock)
        if state is not None:
            what = message.partition if message.row is None else message.row
            await self._critical.settle_as_first(state, message.ticket, what)

    async def is_dead(self, entry: Entry) -> bool:
        """Whether the incarnation that an entry names cannot be running any more. A refused connection proves nothing."""
        author = self._context.author
        if entry.site != author.site or not entry.incarnation.isdigit():
            return False
        if self.registry is not None and self.registry.doubled:
            return False  # what is known of names is known of two folders
        incarnation = int(entry.incarnation)
        if entry.process == author.process:
            return incarnation < int(author.incarnation)
        if self.slots is not None and self.slots.is_dead(entry.process, incarnation):
            return True
        row = None if self.registry is None else await self.registry.find(entry.site, entry.process)
        if row is None:
            return False
        return row.incarnation > incarnation or (row.incarnation == incarnation and row.farewell)

    async def _address(self, entry: Entry | Author) -> str | None:
        row = None if self.registry is None else await self.registry.find(entry.site, entry.process)
        if row is None or str(row.incarnation) != entry.incarnation:
            return None
        return row.address

    async def address_of(self, entry: Entry | Author) -> str | None:
        """Where the process of an entry is reached, None if it is not known."""
        return await self._address(entry)

    # once and only once

    async def write_once(self, live: LiveSession, intents: list[Intent], key: str, digest: bytes) -> Written:
        """Carry out a batch if it was not carried out before; else its answer."""
        requests = self._requests
        async with requests.alone(key):
            record = await requests.find(key, digest)
            if record is not None:
                return await self._recorded(key, record)
            table = live.core.table

            def record_of(writes: Any, stamp: int, *, stored: bool) -> Record:
                carried, lock = () if stored else carried_by(writes), live.state.encoded
                return Record(digest, None, table.keyspace, table.name, carried, stamp, encode(stamp), lock, stored)

            kept: list[Record] = []
            if self._context.joint:

                def beside(planned: Any) -> Receipt:
                    kept.append(record_of(planned.writes, planned.stamp, stored=True))
                    return requests.receipt(key, kept[-1])

                try:
                    stamp, trips = await self._critical.batch(live, intents, beside)
                except RequestRecorded:
                    record = await requests.find(key, digest)
                    if record is None:
                        raise Unavailable("the record of this idempotency key has just expired") from None
                    return await self._recorded(key, record)
                requests.done_later(key, kept[-1])
                return Written(stamp, trips)

            async def before(planned: Any) -> None:
                kept.append(record_of(planned.writes, planned.stamp, stored=False))
                await requests.write(key, kept[0])

            async with requests.pending(key):
                stamp, trips = await self._critical.batch(live, intents, before=before)
            await requests.done(key, kept[0])
            return Written(stamp, trips + 2 * self._context.store.costs.write_majority)

    async def _recorded(self, key: str, record: Record) -> Written:
        """The answer of a batch that was sent before; OutcomeUnknown if nothing tells what became of it."""
        if record.answer is not None:
            return Written(decode_stamp(record.answer), 0.0)
        return Written(decode_stamp(await self._requests.resolve(key, record)), self._context.store.costs.read_majority)


def _digest(reference: Reference, spec: TableSpec, intents: list[Intent]) -> bytes:
    return digest_of("write", str(reference), spec.making, peers.to_wire(intents))


def status_of(live: LiveSession, trips: float = 0.0) -> Status:
    """How a session of this process stands; LockLost if it is over."""
    if live.ended or live.lost:
        raise live.lost_error()
    ahead = lock_cell.position(live.state.cell, live.reference.ticket) or 0
    return Status(live.holds, live.kind, live.lease_ms, 0 if live.holds else ahead, trips)
