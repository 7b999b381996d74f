"""The lock verbs of the coordinator: one key or a lock set, from names and texts to sessions and back."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from polysite.api import (
    LOCK_SET_KEYS_MAX,
    HeldKey,
    KeyName,
    LockAnswer,
    QueueAnswer,
    QueueEntry,
    ReleaseAnswer,
)
from polysite.core import lock_cell
from polysite.errors import AcquireTimeout, BadRequest, LockLost, NotHolder, OutcomeUnknown, PolysiteError
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.idempotency import Record, Requests, decode_number, digest_of, encode, request_id_of
from polysite.site.keys import KeyState, KeyTable
from polysite.site.locks import Acquired, Locks, ServedElsewhere
from polysite.site.peers import Status
from polysite.site.plain import check_locks
from polysite.site.rows import row_of
from polysite.site.sessions import LiveSession, Sessions
from polysite.site.tenures import Tenures, status_of
from polysite.values.keys import LockKey, Reference, ReferenceSet, RowKey, parse_reference
from polysite.values.tables import TableSpec

OWNER_BYTES_MAX = 1_024
_RELEASED_OR_LOST = "The reference no longer holds its lock: an earlier release has ended it, also one that was not answered, or it was lost."


class Wanted(msgspec.Struct, frozen=True):
    """One key of an acquire."""

    encoded: bytes
    name: KeyName
    spec: TableSpec
    key: LockKey
    row: RowKey | None


class Keyed(NamedTuple):
    """The idempotency key of a request for locks. `attempt`: how many attempts ended with every lock let go, as the record says."""

    idempotency_key: str
    digest: bytes
    attempt: int

    def request_id(self, item: Wanted) -> bytes:
        """The id of the entry that this attempt makes for a key: those of earlier attempts are used up."""
        return request_id_of(self.idempotency_key, item.encoded, *([b"%d" % self.attempt] if self.attempt else []))


class Late(NamedTuple):
    """A lock that was lost before anybody was told of it, because its entry could not be renewed within its lease."""

    error: LockLost
    round_trips: float


class LockVerbs:
    """acquire, wait, renew, promote, release, queue, preempt."""

    def __init__(
        self,
        context: SiteContext,
        keys: KeyTable,
        sessions: Sessions,
        critical: Critical,
        locks: Locks,
        tenures: Tenures,
        requests: Requests,
    ) -> None:
        self._context = context
        self._keys = keys
        self._store = context.store
        self._sessions = sessions
        self._critical = critical
        self._locks = locks
        self._tenures = tenures
        self._requests = requests

    async def acquire(
        self,
        keys: Sequence[KeyName],
        *,
        kind: str,
        lease_ms: int,
        wait_ms: int,
        owner: str | None,
        read: bool,
        idempotency_key: str | None,
    ) -> LockAnswer:
        if not 1 <= len(keys) <= LOCK_SET_KEYS_MAX:
            raise BadRequest(f"a lock is on 1 to {LOCK_SET_KEYS_MAX} keys")
        if kind not in {"exclusive", "shared"}:
            raise BadRequest("kind is exclusive or shared")
        self.check_lease(lease_ms)
        self.check_wait(wait_ms)
        if owner is not None and len(owner.encode()) > OWNER_BYTES_MAX:
            raise BadRequest(f"owner is at most {OWNER_BYTES_MAX} bytes")
        wanted: list[Wanted] = []
        for name in keys:
            spec = self._store.known_table(name.keyspace, name.table)
            if spec is None:
                spec = await self._store.table(name.keyspace, name.table)
            wanted.append(_wanted(spec, name, read=read))
        if idempotency_key is None:
            if len(wanted) == 1:
                return await self._acquire_one(wanted[0], kind, lease_ms, wait_ms, owner, None)
            return await self._acquire_set(wanted, kind, lease_ms, wait_ms, owner, None)
        # The entry's request id makes the effect happen once; the record tells a retry from another request.
        digest = digest_of(
            "acquire", [(item.encoded, item.spec.making) for item in wanted], kind, lease_ms, owner, read
        )
        async with self._requests.alone(idempotency_key):
            record = await self._requests.find(idempotency_key, digest)
            if record is None:
                await self._requests.write(idempotency_key, Record(digest, b""))
        keyed = Keyed(
            idempotency_key, digest, 0 if record is None or not record.answer else decode_number(record.answer)
        )
        if len(wanted) == 1:
            return await self._acquire_one(wanted[0], kind, lease_ms, wait_ms, owner, keyed)
        return await self._acquire_set(wanted, kind, lease_ms, wait_ms, owner, keyed)

    async def _acquire_one(
        self, item: Wanted, kind: str, lease_ms: int, wait_ms: int, owner: str | None, keyed: Keyed | None
    ) -> LockAnswer:
        """A place that was lost because its renewals came too late is asked for anew, at the end of the queue, as long as the caller waits. Neither it nor
        another call with the same idempotency key was told of one, so none has lost any: a key has one answer (seed 3403)."""
        clock = self._context.clock
        deadline_s, left_ms, trips = clock.monotonic_s() + wait_ms / 1000, wait_ms, 0.0
        while True:
            answer = await self._acquire_once(item, kind, lease_ms, left_ms, owner, keyed)
            if isinstance(answer, LockAnswer):
                return msgspec.structs.replace(answer, round_trips=answer.round_trips + trips) if trips else answer
            trips += answer.round_trips
            left_ms = round((deadline_s - clock.monotonic_s()) * 1000)
            if left_ms <= 0:
                raise answer.error
            if keyed is not None:
                keyed = keyed._replace(attempt=keyed.attempt + 1)
                record = Record(keyed.digest, encode(keyed.attempt))
                try:
                    await self._requests.write(keyed.idempotency_key, record)
                except PolysiteError:
                    raise answer.error from None

    async def _acquire_once(
        self, item: Wanted, kind: str, lease_ms: int, wait_ms: int, owner: str | None, keyed: Keyed | None
    ) -> LockAnswer | Late:
        request_id = None if keyed is None else keyed.request_id(item)
        try:
            acquired = await self._locks.enqueue(
                item.spec,
                item.key,
                item.encoded,
                kind=kind,
                lease_ms=lease_ms,
                owner=owner,
                request_id=request_id,
                read=item.row,
                stays=keyed is not None,
            )
        except ServedElsewhere as found:
            return await self.wait(str(found.reference), wait_ms=wait_ms, read=item.row is not None)
        live, trips = acquired.live, acquired.round_trips
        try:
            held = live.holds or await self._locks.waiting.until_held(live, wait_ms / 1000)
            rows: list[dict[str, Any] | None] | None = None
            if held and item.row is not None:
                row, cost = await self._first_row(item, acquired)
                trips += cost
                rows = [row]
        except asyncio.CancelledError:
            # With an idempotency key the caller may come back for it; the client's silence ends it otherwise.
            if keyed is None:
                self._sessions.release_later(live)
            raise
        except PolysiteError as error:
            if keyed is None:
                self._sessions.release_later(live)
            told = acquired.repeated or acquired.shared or live.text
            if isinstance(error, LockLost) and not told and self._came_too_late(live):
                return Late(error, trips)
            raise
        status = status_of(live)
        held_key = _held_key(item, live.reference.ticket, status.ahead)
        return LockAnswer(
            reference=self._sessions.hand_out(live),
            held=status.held,
            kind=status.kind,
            lease_ms=lease_ms,
            keys=[held_key],
            rows=rows,
            round_trips=trips,
        )

    def _came_too_late(self, live: LiveSession) -> bool:
        """Whether the entry was dropped for want of renewals; one that was renewed within its lease was taken away, which is for its client to know."""
        until_s = live.core.done_until_s
        return live.lost and (until_s is None or self._context.clock.monotonic_s() >= until_s)

    async def _acquire_set(
        self,
        wanted: list[Wanted],
        kind: str,
        lease_ms: int,
        wait_ms: int,
        owner: str | None,
        keyed: Keyed | None,
    ) -> LockAnswer:
        """All keys or none, taken in the order of their bytes, so that two sets never wait for each other in a ring."""
        ordered, clock = _in_order(wanted), self._context.clock
        deadline_s = clock.monotonic_s() + wait_ms / 1000
        asked: dict[str, Any] = {"kind": kind, "lease_ms": lease_ms, "owner": owner}
        lives: list[LiveSession] = []
        own: list[LiveSession] = []
        trips = 0.0
        rows: dict[bytes, dict[str, Any] | None] = {}
        try:
            for item in ordered:
                request_id = None if keyed is None else keyed.request_id(item)
                acquired = await self._locks.enqueue(
                    item.spec, item.key, item.encoded, request_id=request_id, read=item.row, **asked
                )
                live = acquired.live
                lives.append(live)
                if not acquired.shared:
                    own.append(live)
                live.open_calls += 1
                trips += acquired.round_trips
                left_s = max(0.0, deadline_s - clock.monotonic_s())
                if not live.holds and not await self._locks.waiting.until_held(live, left_s):
                    raise AcquireTimeout("not every lock of the set was granted within the wait; none is held")
                if item.row is not None:
                    rows[item.encoded], cost = await self._first_row(item, acquired)
                    trips += cost
            trips += await self._still_held(lives)
        except BaseException as error:
            # What another call with the same key has taken is left to it.
            for live in own:
                self._sessions.release_later(live)
            if keyed is not None and len(own) == len(lives):
                await self._attempt_ended(keyed, error, began=bool(own))
            raise
        finally:
            now_s = clock.monotonic_s()
            for live in lives:
                live.open_calls -= 1
                live.life.sign(now_s)
        tickets = {item.encoded: live.reference.ticket for item, live in zip(ordered, lives, strict=True)}
        return LockAnswer(
            reference=str(ReferenceSet(tuple(live.reference for live in lives))),
            held=True,
            kind=kind,
            lease_ms=lease_ms,
            keys=[_held_key(item, tickets[item.encoded], 0) for item in wanted],
            rows=[rows.get(item.encoded) for item in wanted] if wanted[0].row is not None else None,
            round_trips=trips,
        )

    async def _still_held(self, lives: list[LiveSession]) -> float:
        """Renew those of a set whose lease has passed while later ones were waited for: somebody else may hold them by now, though nobody here
        was told. The round trips; LockLost if one is gone."""
        trips = 0.0
        for live in lives[:-1]:
            if live.holds and not live.core.may_answer_done(self._context.clock.monotonic_s()):
                trips += (await self._sessions.renew_now(live)).round_trips
        lost = next((live for live in lives if not live.holds), None)
        if lost is not None:
            raise lost.lost_error()
        return trips

    async def _attempt_ended(self, keyed: Keyed, error: BaseException, *, began: bool) -> None:
        """All entries of an attempt are let go: if the request is sent again it takes the keys anew, under other request ids."""
        record = Record(keyed.digest, encode(keyed.attempt + 1))
        if isinstance(error, asyncio.CancelledError):
            self._context.background(self._requests.write(keyed.idempotency_key, record), name="site-request-ended")
        elif began:
            with contextlib.suppress(PolysiteError):
                await self._requests.write(keyed.idempotency_key, record)

    async def _first_row(self, item: Wanted, acquired: Acquired) -> tuple[dict[str, Any] | None, float]:
        """The row that the lock was asked with: read beside the enqueue if that serves, else got now."""
        assert item.row is not None
        live = acquired.live
        # The client waits for the row: it lives, however long the lease takes to be renewed first.
        live.open_calls += 1
        try:
            if acquired.row is not None:
                row, trips = await self._critical.finish_speculative(live, acquired.row)
            else:
                row, trips = await self._critical.get(live, item.row)
        finally:
            live.open_calls -= 1
            live.life.sign(self._context.clock.monotonic_s())
        return row_of(item.spec, row), trips

    # calls with a reference

    async def wait(self, text: str, *, wait_ms: int, read: bool) -> LockAnswer:
        self.check_wait(wait_ms)
        references = _references(text)
        trips, deadline_s = 0.0, self._context.clock.monotonic_s() + wait_ms / 1000
        statuses: list[Status] = []
        for reference in references:
            left_ms = max(0, round((deadline_s - self._context.clock.monotonic_s()) * 1000))
            status = await self._tenures.wait(reference, left_ms)
            trips += status.round_trips
            statuses.append(status)
        answer = await self._lock_answer(text, references, statuses, trips)
        if not read or not answer.held:
            return answer
        rows: list[dict[str, Any] | None] = []
        for reference in references:
            spec = await self._store.table(reference.key.keyspace, reference.key.table)
            found = await self._tenures.get(reference, spec, _row_of_lock(spec, reference.key))
            trips += found.round_trips
            rows.append(row_of(spec, found.row))
        return LockAnswer(
            reference=answer.reference,
            held=True,
            kind=answer.kind,
            lease_ms=answer.lease_ms,
            keys=answer.keys,
            rows=rows,
            round_trips=trips,
        )

    async def renew(self, text: str, lease_ms: int | None = None) -> LockAnswer:
        """`lease_ms`: the lease from now on; None: as it is."""
        if lease_ms is not None:
            self.check_lease(lease_ms)
        references = _references(text)
        statuses = [await self._tenures.renew(reference, lease_ms) for reference in references]
        return await self._lock_answer(text, references, statuses, sum(status.round_trips for status in statuses))

    async def promote(self, text: str, *, wait_ms: int, stays: bool = False) -> LockAnswer:
        self.check_wait(wait_ms)
        references = _references(text)
        if len(references) != 1:
            raise BadRequest("a lock set cannot be promoted")
        status = await self._tenures.promote(references[0], wait_ms, stays=stays)
        return await self._lock_answer(text, references, [status], status.round_trips)

    async def release(self, text: str, *, validate: bool) -> ReleaseAnswer:
        """Release every lock of the reference, whatever becomes of one of them.

        What failed is told afterwards: what may still be held before what was lost. A refusal says that nothing happened,
        so it is OutcomeUnknown (`released` names those) once another lock of the set was released.
        """
        own = None if validate else self._sessions.by_text(text)
        if own is not None:
            own.life.sign(self._context.clock.monotonic_s())
            self._sessions.release_later(own)
            return ReleaseAnswer(validated=False, round_trips=0.0)
        references = _references(text)
        trips = 0.0
        released: list[Reference] = []
        failures: list[PolysiteError] = []
        for reference in reversed(references):
            try:
                answer = await self._tenures.release(reference, validate=validate)
            except PolysiteError as error:
                failures.append(error)
            else:
                released.append(reference)
                trips = max(trips, answer.round_trips)
        if not failures:
            return ReleaseAnswer(validated=validate, round_trips=trips)
        failure = next((error for error in failures if not isinstance(error, LockLost)), failures[0])
        if isinstance(failure, LockLost):
            raise LockLost(_RELEASED_OR_LOST, **failure.attributes) from failure
        if not released or failure.outcome == "unknown":
            raise failure
        raise OutcomeUnknown(
            f"{len(released)} locks of the set were released and {len(failures)} were not: {failure.message}",
            reason="partly_released",
            released=[await self._told(reference) for reference in reversed(released)],
        ) from failure

    async def _told(self, reference: Reference) -> dict[str, Any]:
        """The key of a reference and its fencing token in JSON form, for the attributes of an error."""
        key = reference.key
        told: dict[str, Any] = {"keyspace": key.keyspace, "table": key.table, "fencing_token": reference.ticket}
        with contextlib.suppress(PolysiteError):  # the table may be gone by now; that is not what is to be told
            spec = await self._store.table(key.keyspace, key.table)
            types = [(name, spec.types[name]) for name in spec.locked_names]
            told["key"] = {
                name: cql_type.to_json(cql_type.deserialise(data))
                for (name, cql_type), data in zip(types, key.columns, strict=True)
            }
        return told

    def own(self, text: str | None, key: LockKey) -> LiveSession | None:
        """The session of a reference that covers a lock key, if this process handed that reference out and still serves it; the
        call is a sign of life. LockLost if it has ended. None: find it in the ordinary way (`covering`)."""
        live = None if text is None else self._sessions.by_text(text)
        if live is None or live.reference.key != key:
            return None
        if live.ended:
            raise live.lost_error()
        live.life.sign(self._context.clock.monotonic_s())
        return live

    async def covering(self, text: str | None, key: LockKey) -> Reference:
        """The reference (of a set: its member) that covers a lock key. BadRequest if it covers another."""
        if text is None:
            raise BadRequest("level critical needs the reference of a held lock")
        for reference in _references(text):
            if reference.key == key:
                return reference
        raise BadRequest("the lock reference does not cover this row")

    # without a reference

    async def queue(self, name: KeyName) -> QueueAnswer:
        spec = await self._store.table(name.keyspace, name.table)
        check_locks(spec)
        state = self._take(spec.lock_key(name.key))
        try:
            trips = await self._sessions.combiner.look(state)
            return _queue_answer(state, trips)
        finally:
            self._keys.drop(state)

    async def preempt(self, name: KeyName, *, fencing_token: int | None, ordered_by: str | None) -> QueueAnswer:
        spec = await self._store.table(name.keyspace, name.table)
        check_locks(spec)
        state = self._take(spec.lock_key(name.key))
        try:
            by = ordered_by or "administrator"
            dropped, trips = await self._locks.preempt(state, ticket=fencing_token, ordered_by=by)
            for ticket in dropped:
                self._context.events.tell_preempted(spec, state.key, ticket, f"by order of {by}")
            return _queue_answer(state, trips, dropped)
        finally:
            self._keys.drop(state)

    # parts

    def _take(self, key: LockKey) -> KeyState:
        return self._keys.take(key, key.encode())

    async def _lock_answer(
        self, text: str, references: Sequence[Reference], statuses: Sequence[Status], trips: float
    ) -> LockAnswer:
        keys: list[HeldKey] = []
        for reference, status in zip(references, statuses, strict=True):
            spec = await self._store.table(reference.key.keyspace, reference.key.table)
            values = {
                name: spec.types[name].deserialise(data)
                for name, data in zip(spec.locked_names, reference.key.columns, strict=True)
            }
            keys.append(
                HeldKey(
                    keyspace=spec.keyspace,
                    table=spec.name,
                    key=values,
                    fencing_token=reference.ticket,
                    ahead=status.ahead,
                )
            )
        return LockAnswer(
            reference=text,
            held=all(status.held for status in statuses),
            kind=statuses[0].kind,
            lease_ms=statuses[0].lease_ms,
            keys=keys,
            round_trips=trips,
        )

    def check_lease(self, lease_ms: int) -> None:
        least, most = self._context.lease_ms_min, self._context.settings.lease_ms_max
        if not least <= lease_ms <= most:
            raise BadRequest(f"lease_ms is from {least} to {most} here")

    def check_wait(self, wait_ms: int) -> None:
        if not 0 <= wait_ms <= self._context.settings.wait_ms_max:
            raise BadRequest(f"wait_ms is from 0 to {self._context.settings.wait_ms_max}")


def _wanted(spec: TableSpec, name: KeyName, *, read: bool) -> Wanted:
    check_locks(spec)
    key, row_key = spec.keys_of(name.key)
    if read and row_key is None:
        row_key = spec.row_key(name.key)  # says what is missing
    return Wanted(key.encode(), name, spec, key, row_key if read else None)


def _in_order(wanted: list[Wanted]) -> list[Wanted]:
    """The keys of a lock set in the order in which they are taken. BadRequest if one is named twice."""
    ordered = sorted(wanted, key=lambda item: item.encoded)
    if len({item.encoded for item in ordered}) != len(ordered):
        raise BadRequest("a lock set names each lock key once")
    return ordered


def _references(text: str) -> tuple[Reference, ...]:
    parsed = parse_reference(text)
    return parsed.references if isinstance(parsed, ReferenceSet) else (parsed,)


def _row_of_lock(spec: TableSpec, key: LockKey) -> RowKey:
    if spec.key_names != spec.locked_names:
        raise BadRequest("rows can be read with the lock only where the lock columns are the whole primary key")
    return spec.row_key_from_bytes(key.columns)


def _held_key(item: Wanted, ticket: int, ahead: int) -> HeldKey:
    values = item.name.key
    if len(values) != len(item.spec.locked_names):
        values = {name: values[name] for name in item.spec.locked_names}
    return HeldKey(keyspace=item.spec.keyspace, table=item.spec.name, key=values, fencing_token=ticket, ahead=ahead)


def _queue_answer(state: KeyState, trips: float, dropped: Sequence[int] = ()) -> QueueAnswer:
    holding = {entry.ticket for entry in lock_cell.holders(state.cell)}
    entries = [
        QueueEntry(
            fencing_token=entry.ticket,
            kind=entry.kind,
            held=entry.ticket in holding,
            site=entry.site,
            process=entry.process,
            lease_ms=entry.lease_ms,
            owner=entry.owner,
        )
        for entry in state.cell.queue
    ]
    return QueueAnswer(entries=entries, issued=state.cell.issued, dropped=list(dropped), round_trips=trips)


__all__ = ["LockVerbs", "NotHolder"]
