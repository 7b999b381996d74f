"""One site's coordinator in this process: puts the parts together, starts and ends them, and offers the verbs of `api`."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec

from polysite import __version__
from polysite.api import (
    LEASE_MS_DEFAULT,
    SELECT_LIMIT_DEFAULT,
    WAIT_MS_DEFAULT,
    Columns,
    Condition,
    Event,
    Health,
    KeyName,
    Kind,
    Level,
    LockAnswer,
    PageAnswer,
    QueueAnswer,
    ReleaseAnswer,
    RowAnswer,
    RowDelete,
    RowExpectation,
    RowPut,
    RowWrite,
    SectionAnswer,
    Step,
    Ticket,
    WriteAnswer,
)
from polysite.cells.contract import Cells
from polysite.clock import Runtime
from polysite.core import lock_cell
from polysite.core.lock_cell import Author
from polysite.errors import BadRequest, PolysiteError, Unavailable
from polysite.site import peers
from polysite.site.clock_watch import ClockWatch
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.idempotency import Requests
from polysite.site.janitor import Janitor
from polysite.site.keys import KeyState, KeyTable
from polysite.site.lock_verbs import LockVerbs
from polysite.site.locks import Locks
from polysite.site.naming import NAME_IS_DOUBLED, Naming
from polysite.site.owners import Owners
from polysite.site.peers import AliveMessage, Hello, PeerChannel, Push, SettleMessage, WishMessage
from polysite.site.plain import CLOCK_AGREES, CLOCK_IS_OFF, PlainWrites
from polysite.site.processes import LoneSlots, ProcessSlot, ProcessSlots, Registry
from polysite.site.readiness import refusal_of
from polysite.site.row_verbs import RowVerbs
from polysite.site.schema import Schema
from polysite.site.sections import Sections
from polysite.site.sessions import Sessions
from polysite.site.settings import SiteSettings
from polysite.site.starting import patiently, settle_in
from polysite.site.tenures import Tenures
from polysite.site.tickets import Tickets
from polysite.stores.contract import Store
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

_log = logging.getLogger(__name__)

CLOSE_LOOK_S = 0.005


class SiteCoordinator:
    """The verbs of `api.Coordinator` in process. Between `start` and `close`; the engines are started and closed with it."""

    def __init__(
        self,
        store: Store,
        cells: Cells,
        runtime: Runtime,
        settings: SiteSettings | None = None,
        *,
        slots: ProcessSlots | None = None,
        channel: PeerChannel | None = None,
    ) -> None:
        """`slots` None: the engine is this process's alone. `channel` None: other processes cannot be asked."""
        self.settings = settings or SiteSettings()
        self._store = store
        self._cells = cells
        self._slots: ProcessSlots = slots or LoneSlots()
        self._slot: ProcessSlot | None = None
        self._context = SiteContext(store, cells, runtime, self.settings)
        self._keys = KeyTable(self.settings.views_max)
        self._sessions = Sessions(self._context, self._keys)
        self._critical = Critical(self._context, self._sessions)
        self._locks = Locks(self._context, self._keys, self._sessions, self._critical)
        self._requests = Requests(self._context)
        self._tenures = Tenures(self._context, self._keys, self._sessions, self._critical, self._locks, self._requests)
        self._tenures.channel = channel
        self._tenures.slots = self._slots
        self._sections = Sections(self._context, self._keys, self._sessions, self._critical, self._locks)
        self._plain = PlainWrites(self._context)
        self._lock_verbs = LockVerbs(
            self._context, self._keys, self._sessions, self._critical, self._locks, self._tenures, self._requests
        )
        self._row_verbs = RowVerbs(
            self._context,
            self._keys,
            self._sessions,
            self._critical,
            self._locks,
            self._tenures,
            self._requests,
            self._sections,
            self._lock_verbs,
            self._plain,
        )
        self._tickets = Tickets(self._context, self._keys, self._sessions)
        self._owners = Owners(self._context, self._keys, self._sessions)
        self._schema = Schema(self._context, self._sessions, self._locks)
        self._registry: Registry | None = None
        self._clocks: ClockWatch | None = None
        self._sessions.combiner.changed = self._head_changed
        stewards = self._sessions.combiner.stewards
        stewards.channel = lambda: self._tenures.channel
        stewards.address_of = self._tenures.address_of
        stewards.own_address = lambda: None if self._registry is None else self._registry.address
        self._started: list[Store | Cells] = []
        self._stopping = False

    # life

    async def start(self) -> None:
        """Start the engines, take a slot among the site's processes and say that this one is here."""
        for engine in (self._store, self._cells):
            await patiently(self._context, engine.start)
            self._started.append(engine)
        naming = Naming(self._context, self._slots, lambda: self._tenures.channel)
        registry = await naming.take(self._use_slot, partial(settle_in, self._context, naming))
        registry.on_doubled = self._name_is_doubled
        Janitor(self._context, self._keys, self._sessions, registry).start()
        self._clocks = ClockWatch(
            self._context,
            registry,
            self._slots,
            channel=lambda: self._tenures.channel,
            tell=self.note_clock_difference,
        )
        self._plain.is_alone = self._clocks.is_alone
        self._plain.clock_was_set = self._clocks.was_set
        self._clocks.start()

    def _use_slot(self, slot: ProcessSlot) -> Registry:
        """Go by the slot's name from now on."""
        self._slot = slot
        self._context.author = Author(self.settings.site, slot.process, str(slot.incarnation))
        self._registry = self._tenures.registry = Registry(
            self._store,
            self._context.clock,
            site=self.settings.site,
            slot=slot,
            address=self.settings.address,
            watched=self._slots.lettered,
        )
        return self._registry

    def _name_is_doubled(self) -> None:
        """Somebody else goes by the name of this process, with a newer incarnation or an equal one, so that others may take this one to be
        dead: it lets go of everything and takes no more calls. The next start takes another name."""
        _log.error(NAME_IS_DOUBLED, extra={"shown": {"process": self._context.author.process}})
        self._slots.rename()
        if self._stopping:
            return
        self._release_all(waiting_only=False, detail=NAME_IS_DOUBLED)
        self._context.events.tell_health(NAME_IS_DOUBLED)

    async def close(self) -> None:
        """Release what is held, wait a while for what is under way, say farewell and let go of the engines."""
        if self._context.closing or self._stopping:
            return
        self._stopping = True
        limit_s = self._context.clock.monotonic_s() + self.settings.close_wait_s
        self._release_all(waiting_only=True)
        while self._keys.calls_under_way() and self._context.clock.monotonic_s() < limit_s:
            await self._context.clock.sleep_s(CLOSE_LOOK_S)
        self._release_all(waiting_only=False)
        if self._started and self._slot is not None:
            await self._until_idle(max(1.0, limit_s - self._context.clock.monotonic_s()))
        self._context.closing = True
        await self._context.timers.close()
        await self._context.end_background()
        self._sessions.combiner.close()
        self._context.events.close()
        if self._registry is not None:
            with contextlib.suppress(PolysiteError):
                await self._registry.beat(farewell=True)
        if self._slot is not None:
            self._slot.release()
        for engine in reversed(self._started):
            await engine.close()
        self._started.clear()

    def _release_all(self, *, waiting_only: bool, detail: str = "the process stops") -> None:
        """Let go of every reference; `waiting_only`: of those that hold only if no call is under way on them."""
        for state in self._keys.in_use():
            for live in list(state.sessions.values()):
                if not (waiting_only and live.holds and live.open_calls):
                    self._sessions.release_later(live, detail=detail)

    async def _until_idle(self, wait_s: float) -> None:
        """Wait until no session is left, at most `wait_s`: what is left then is for the lease."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        limit = self._context.timers.after(wait_s, lambda: None if done.done() else done.set_result(None))
        self._sessions.emptied = done
        if not self._sessions.count and not done.done():
            done.set_result(None)
        await done
        self._sessions.emptied = None
        limit.cancel()

    async def abandon(self) -> None:
        """Stop at once, as a killed process does: nothing is released, nothing is said. For tests of recovery."""
        self._context.closing = True
        await self._context.timers.close()
        await self._context.end_background()
        self._sessions.combiner.close()
        self._context.events.close()
        if self._slot is not None:
            self._slot.release()
        for engine in reversed(self._started):
            await engine.close()
        self._started.clear()

    @property
    def is_wide(self) -> bool:
        """Whether there are other sites: then a change of a lock is a round trip to them."""
        return self._context.is_wide

    @property
    def lease_ms_min(self) -> int:
        """The least lease that the distances between the sites allow."""
        return self._context.lease_ms_min

    def address_is(self, address: str) -> None:
        """Other processes reach this one at `address` from now on."""
        if self._registry is not None:
            self._registry.moved_to(address)
            self._context.background(self._registry.beat(), name="site-registry")

    def use_channel(self, channel: PeerChannel) -> None:
        """Reach other processes over `channel` from now on."""
        self._tenures.channel = channel
        if self._clocks is not None:
            self._clocks.ask()

    def _open(self) -> None:
        if self._stopping or self._context.closing or self._slot is None:
            raise Unavailable("this process is not serving")
        if self._registry is not None and self._registry.doubled:
            raise Unavailable(NAME_IS_DOUBLED)

    # other processes

    async def handle_peer_message(self, kind: str, body: bytes) -> bytes:
        """Answer a message of another process of ours; a PolysiteError is for its sender."""
        self._open()
        try:
            if kind == "forward":
                return peers.encode(await self._tenures.answer_call(peers.decode_call(body)))
            if kind == "push":
                push = msgspec.msgpack.decode(body, type=Push)
                self._take_push(push)
                return b""
            if kind == "settle":
                await self._tenures.settle(msgspec.msgpack.decode(body, type=SettleMessage))
                return b""
            if kind == "wish":
                message = msgspec.msgpack.decode(body, type=WishMessage)
                if message.push is not None and message.push.key == message.key:
                    with contextlib.suppress(PolysiteError):  # a cell that cannot be read here tells nothing
                        self._take_push(message.push)
                return peers.encode(await self._sessions.combiner.stewards.note(message))
            if kind == "alive":
                return peers.encode(
                    self._locks.waiting.vouching.answer(msgspec.msgpack.decode(body, type=AliveMessage))
                )
            if kind == "hello":
                hello = msgspec.msgpack.decode(body, type=Hello)
                if self._clocks is not None:
                    self._clocks.heard(hello)
                author = self._context.author
                return peers.encode(Hello(author.site, author.process, self._context.clock.wall_us()))
        except msgspec.DecodeError:
            raise BadRequest("a message that this version does not understand") from None
        raise BadRequest(f"there is no peer message of kind {kind[:32]!r}")

    def note_clock_difference(self, difference_ms: float) -> None:
        """What was measured on the peer channel; beyond `skew_ms_max` eventual writes are refused. Above 0 this clock is ahead."""
        was_skewed = self._plain.skewed
        self._plain.skew_ms = difference_ms
        if self._plain.skewed != was_skewed:
            self._context.events.tell_health(CLOCK_AGREES if was_skewed else CLOCK_IS_OFF)

    def _take_push(self, push: Push) -> None:
        state = self._keys.find(push.key)
        if state is None:
            return
        self._sessions.combiner.take(state, push.version, push.content)
        for live in list(state.sessions.values()):
            # Rows of a table that was dropped and made again are gone with it.
            if live.core.table.making == push.making:
                for row in push.rows:
                    live.core.pushed(row.key, row, push.version)

    def _head_changed(self, state: KeyState, ticket_before: int, authors: list[str]) -> None:
        """A change of ours gave the key a new head: tell the cell, and the rows if they are known, to the process that serves it,
        and the cell to those whose wishes it carried."""
        head = lock_cell.head(state.cell)
        author = self._context.author
        parting, state.parting = state.parting, None
        if self._tenures.channel is None or self._context.closing:
            return
        targets = [
            entry
            for entry in lock_cell.holders(state.cell)
            if (entry.process, entry.incarnation, entry.site) != (author.process, author.incarnation, author.site)
        ]
        if head is not None and targets:
            # One message per process, however many of its entries hold together.
            by_process = {(entry.site, entry.process, entry.incarnation): entry for entry in targets}
            push = Push(state.encoded, state.version, lock_cell.encode(state.cell))
            if parting is not None and parting.ticket == ticket_before:
                push = Push(push.key, push.version, push.content, parting.rows, parting.making)
            state.told = push
            self._context.background(self._push(state, list(by_process.values()), push, authors), name="site-push")
        elif authors:
            self._sessions.combiner.stewards.tell(state, authors)

    async def _push(self, state: KeyState, entries: list[lock_cell.Entry], push: Push, authors: list[str]) -> None:
        stewards = self._sessions.combiner.stewards
        heads: list[str] = []
        for entry in entries:
            with contextlib.suppress(PolysiteError):  # it looks at its cell now and then
                address = await self._tenures.address_of(entry)
                heads += [] if address is None else [address]
        stewards.tell(state, heads, push)
        stewards.tell(
            state, [address for address in authors if address not in heads], Push(push.key, push.version, push.content)
        )

    # keyspaces and tables

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        self._open()
        return await self._schema.create_keyspace(spec)

    async def drop_keyspace(self, keyspace: str) -> bool:
        self._open()
        return await self._schema.drop_keyspace(keyspace)

    async def keyspaces(self) -> list[KeyspaceSpec]:
        self._open()
        return await self._schema.keyspaces()

    async def create_table(self, spec: TableSpec) -> bool:
        self._open()
        return await self._schema.create_table(spec)

    async def drop_table(self, keyspace: str, table: str) -> bool:
        self._open()
        return await self._schema.drop_table(keyspace, table)

    async def tables(self, keyspace: str) -> list[TableSpec]:
        self._open()
        return await self._schema.tables(keyspace)

    async def table(self, keyspace: str, table: str) -> TableSpec:
        self._open()
        return await self._schema.table(keyspace, table)

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        self._open()
        return await self._schema.create_index(keyspace, table, index)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        self._open()
        return await self._schema.drop_index(keyspace, table, index_name)

    # rows

    async def get(
        self, row: KeyName, *, level: Level = "eventual", reference: str | None = None, stamps: bool = False
    ) -> RowAnswer:
        self._open()
        return await self._row_verbs.get(row, level=level, reference=reference, stamps=stamps)

    async def put(
        self,
        row: KeyName,
        columns: Columns,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        expires_ms: int | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        self._open()
        return await self._row_verbs.put(
            row, columns, level=level, reference=reference, expires_ms=expires_ms, idempotency_key=idempotency_key
        )

    async def delete(
        self,
        row: KeyName,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        self._open()
        return await self._row_verbs.delete(row, level=level, reference=reference, idempotency_key=idempotency_key)

    async def write_at(
        self, row: KeyName, write: RowPut | RowDelete, stamp: int, *, quorum: bool = False
    ) -> WriteAnswer:
        """A write at level eventual (or quorum) with a stamp of its author's choice. Not part of the protocol."""
        self._open()
        return await self._row_verbs.write_at(row, write, stamp, quorum=quorum)

    async def select(
        self,
        keyspace: str,
        table: str,
        *,
        where: Sequence[Condition] = (),
        level: Level = "eventual",
        reference: str | None = None,
        limit: int = SELECT_LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> PageAnswer:
        self._open()
        return await self._row_verbs.select(
            keyspace, table, where=where, level=level, reference=reference, limit=limit, cursor=cursor
        )

    async def batch(
        self,
        keyspace: str,
        table: str,
        writes: Sequence[RowWrite],
        *,
        level: Level = "eventual",
        reference: str | None = None,
        expect: Sequence[RowExpectation] = (),
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        self._open()
        return await self._row_verbs.batch(
            keyspace,
            table,
            writes,
            level=level,
            reference=reference,
            expect=expect,
            idempotency_key=idempotency_key,
        )

    # locks

    async def acquire(
        self,
        keys: Sequence[KeyName],
        *,
        kind: Kind = "exclusive",
        lease_ms: int = LEASE_MS_DEFAULT,
        wait_ms: int = WAIT_MS_DEFAULT,
        owner: str | None = None,
        read: bool = False,
        idempotency_key: str | None = None,
    ) -> LockAnswer:
        self._open()
        return await self._lock_verbs.acquire(
            keys,
            kind=kind,
            lease_ms=lease_ms,
            wait_ms=wait_ms,
            owner=owner,
            read=read,
            idempotency_key=idempotency_key,
        )

    async def wait(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT, read: bool = False) -> LockAnswer:
        self._open()
        return await self._lock_verbs.wait(reference, wait_ms=wait_ms, read=read)

    async def renew(self, reference: str) -> LockAnswer:
        self._open()
        return await self._lock_verbs.renew(reference)

    async def note_owner(self, key: KeyName, number: int, owner: str, *, waits: bool) -> tuple[bool, float]:
        """Note whose an entry is; whether its owner now waits for itself over keys of the table, which only an entry that waits can
        bring about, and the round trips. Not part of the protocol."""
        self._open()
        lock = (await self._store.table(key.keyspace, key.table)).lock_key(key.key)
        trips = await self._owners.list_entry(lock, number, owner)
        if not waits:
            return False, trips
        rings, cost = await self._owners.waits_for_itself(lock, owner)
        return rings, trips + cost

    async def forget_owner(self, key: KeyName, number: int) -> None:
        """The entry is gone, or will be."""
        self._owners.take_off((await self._store.table(key.keyspace, key.table)).lock_key(key.key), number)

    async def set_lease(self, reference: str, lease_ms: int) -> LockAnswer:
        """Give a reference another lease; otherwise as `renew`. Not part of the protocol."""
        self._open()
        return await self._lock_verbs.renew(reference, lease_ms)

    async def promote(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT) -> LockAnswer:
        self._open()
        return await self._lock_verbs.promote(reference, wait_ms=wait_ms)

    async def promote_until_held(self, reference: str, *, wait_ms: int) -> LockAnswer:
        """As `promote`, but the promotion is not taken back after the wait: the answer's kind is then `promoting`, and the caller
        asks again. Not part of the protocol."""
        self._open()
        return await self._lock_verbs.promote(reference, wait_ms=wait_ms, stays=True)

    async def release(self, reference: str, *, validate: bool = True) -> ReleaseAnswer:
        self._open()
        return await self._lock_verbs.release(reference, validate=validate)

    async def queue(self, key: KeyName) -> QueueAnswer:
        self._open()
        return await self._lock_verbs.queue(key)

    async def ticket(self, key: KeyName, number: int) -> Ticket | None:
        """The entry of a key with this ticket and its reference, None if there is none any more. Not part of the protocol: only
        for interfaces whose lock ids are tickets."""
        self._open()
        return await self._tickets.find(key, number)

    async def preempt(
        self, key: KeyName, *, fencing_token: int | None = None, ordered_by: str | None = None
    ) -> QueueAnswer:
        self._open()
        return await self._lock_verbs.preempt(key, fencing_token=fencing_token, ordered_by=ordered_by)

    async def section(
        self,
        key: KeyName,
        steps: Sequence[Step],
        *,
        wait_ms: int = WAIT_MS_DEFAULT,
        lease_ms: int = LEASE_MS_DEFAULT,
        validate: bool = False,
        owner: str | None = None,
        idempotency_key: str | None = None,
    ) -> SectionAnswer:
        self._open()
        return await self._row_verbs.section(
            key,
            steps,
            wait_ms=wait_ms,
            lease_ms=lease_ms,
            validate=validate,
            owner=owner,
            idempotency_key=idempotency_key,
        )

    def events(self, *, keyspace: str | None = None, table: str | None = None) -> AsyncIterator[Event]:
        return self._context.events.listen(keyspace, table)

    async def health(self) -> Health:
        reasons: list[str] = []
        if self._stopping or self._context.closing:
            reasons.append("the process stops")
        elif self._slot is None:
            reasons.append("the process has not started")
        else:
            refusal = await refusal_of(self._store, self._context)
            if refusal is not None:
                reasons.append(f"the store does not answer: {refusal.code}")
        reasons += self._plain.reasons
        if self._registry is not None and self._registry.doubled:
            reasons.append(NAME_IS_DOUBLED)
        author = self._context.author
        return Health(
            ready=not reasons,
            site=self.settings.site,
            process=author.process,
            version=__version__,
            reasons=reasons,
            sites=[] if self._clocks is None else self._clocks.reach(),
            majority_rtt_ms=round(self._context.rtt_s * 1000),
        )
