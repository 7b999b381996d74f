"""The row verbs of the coordinator: which road a read or write takes, by its level and by how its table is written."""

from collections.abc import Sequence
from typing import Any

import msgspec

from polysite.api import (
    LEASE_MS_DEFAULT,
    SECTION_STEPS_MAX,
    Columns,
    Condition,
    KeyName,
    Level,
    PageAnswer,
    RowAnswer,
    RowDelete,
    RowExpectation,
    RowGet,
    RowPut,
    RowWrite,
    SectionAnswer,
    Step,
    WriteAnswer,
)
from polysite.core import lock_cell
from polysite.core.one_shot import ExpectStep, GetStep, SectionStep
from polysite.core.plans import DeleteIntent, Intent, PutIntent, RangeIntent
from polysite.errors import BadRequest, OutcomeUnknown, TooLarge, Unavailable, UnknownKey
from polysite.site.context import SiteContext
from polysite.site.critical import Critical
from polysite.site.idempotency import (
    Record,
    Requests,
    carried_by,
    digest_of,
    done_record,
    encode,
    record_in,
)
from polysite.site.keys import KeyTable
from polysite.site.lock_verbs import LockVerbs
from polysite.site.locks import Locks
from polysite.site.once import SectionsOnce, done_of
from polysite.site.peers import to_wire
from polysite.site.plain import PlainWrites, check_locks, check_plain, check_transactional
from polysite.site.rows import cells_of, check_life, row_of, stamps_of
from polysite.site.sections import SectionDone, Sections
from polysite.site.selects import (
    PartitionRead,
    decode_cursor,
    encode_cursor,
    plan_range,
    plan_select,
    selection_digest,
)
from polysite.site.sessions import Sessions
from polysite.site.tenures import Tenures
from polysite.stores.contract import BATCH_WRITES_MAX, PAGE_ROWS_MAX, TableWrites
from polysite.values.keys import LockKey, RowKey
from polysite.values.rows import StoredRow
from polysite.values.tables import RESERVED_KEYSPACE, TableSpec


class RowVerbs:
    """get, put, delete, batch, select, section."""

    def __init__(
        self,
        context: SiteContext,
        keys: KeyTable,
        sessions: Sessions,
        critical: Critical,
        locks: Locks,
        tenures: Tenures,
        requests: Requests,
        sections: Sections,
        lock_verbs: LockVerbs,
        plain: PlainWrites,
    ) -> None:
        self._context = context
        self._keys = keys
        self._store = context.store
        self._sessions = sessions
        self._critical = critical
        self._locks = locks
        self._tenures = tenures
        self._requests = requests
        self._sections = sections
        self._once = SectionsOnce(context, requests, sections)
        self._lock_verbs = lock_verbs
        self._plain = plain

    async def _spec(self, keyspace: str, table: str) -> TableSpec:
        if keyspace == RESERVED_KEYSPACE:
            raise UnknownKey(f"keyspace {RESERVED_KEYSPACE} is reserved")
        return await self._store.table(keyspace, table)

    # reads

    async def get(self, name: KeyName, *, level: Level, reference: str | None, stamps: bool) -> RowAnswer:
        spec = await self._spec(name.keyspace, name.table)
        key = spec.row_key(name.key)
        costs = self._store.costs
        if level in {"eventual", "quorum"}:
            _no_reference(reference, level)
            quorum = level == "quorum"
            row = await self._store.read(spec, key, "majority" if quorum else "local")
            trips = costs.read_majority if quorum else costs.read_local
        elif level == "critical":
            check_locks(spec)
            lock = spec.lock_key_of(key)
            own = self._lock_verbs.own(reference, lock)
            if own is not None:
                row, trips = await self._tenures.get_own(own, spec, key)
            else:
                found = await self._tenures.get(await self._lock_verbs.covering(reference, lock), spec, key)
                row, trips = found.row, found.round_trips
        elif level == "atomic":
            check_locks(spec)
            _no_reference(reference, level)
            done = await self._run(spec, spec.lock_key_of(key), [GetStep(key)])
            result = done.results[0]
            assert result is not None
            row, trips = result, done.round_trips
        else:
            raise BadRequest("level is eventual, quorum, critical or atomic")
        values = row_of(spec, row)
        return RowAnswer(
            row=values, stamps=stamps_of(row) if stamps and values is not None else None, round_trips=trips
        )

    async def select(
        self,
        keyspace: str,
        table: str,
        *,
        where: Sequence[Condition],
        level: Level,
        reference: str | None,
        limit: int,
        cursor: str | None,
    ) -> PageAnswer:
        spec = await self._spec(keyspace, table)
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise BadRequest(f"limit is from 1 to {PAGE_ROWS_MAX}")
        selection = plan_select(spec, where, ranges_max=self._context.settings.select_ranges_max)
        reads = len(selection) if isinstance(selection, list) else 1
        digest = selection_digest(spec, selection)
        index, inner = (0, None) if cursor is None else decode_cursor(digest, cursor, reads)
        if level in {"critical", "atomic"}:
            check_locks(spec)
            check_transactional(spec, ranges=True)
            return await self._select_locked(spec, selection, digest, level, reference, limit, index, inner)
        if level not in {"eventual", "quorum"}:
            raise BadRequest("level is eventual, quorum, critical or atomic")
        _no_reference(reference, level)
        store_level: Any = "majority" if level == "quorum" else "local"
        cost = self._store.costs.read_majority if level == "quorum" else self._store.costs.read_local
        rows: list[StoredRow] = []
        trips = 0.0
        while index < reads and len(rows) < limit:
            left = limit - len(rows)
            if isinstance(selection, list):
                read = selection[index]
                page = await self._store.read_partition(
                    spec, read.partition, store_level, slice=read.slice, limit=left, cursor=inner
                )
            else:
                page = await self._store.scan(spec, store_level, index=selection.by_index, limit=left, cursor=inner)
            trips += cost
            rows.extend(page.rows)
            inner = page.cursor
            if inner is None:
                index += 1
        more = index < reads
        return PageAnswer(
            rows=_shown(spec, rows),
            cursor=encode_cursor(digest, index, inner or b"") if more else None,
            round_trips=trips,
        )

    async def _select_locked(
        self,
        spec: TableSpec,
        selection: Any,
        digest: bytes,
        level: Level,
        reference: str | None,
        limit: int,
        index: int,
        inner: bytes | None,
    ) -> PageAnswer:
        if not isinstance(selection, list) or len({read.partition for read in selection}) != 1:
            raise BadRequest(f"a select at level {level} reads one partition: every partition column by eq")
        key = spec.lock_key_of_partition(selection[0].partition)
        if level == "critical":
            held = await self._lock_verbs.covering(reference, key)

            async def page_of(read: PartitionRead, left: int, cursor: bytes | None) -> Any:
                return await self._tenures.select(held, spec, read.partition, read.slice, left, cursor)

            return await self._pages(spec, selection, digest, limit, index, inner, page_of)
        _no_reference(reference, level)
        acquired = await self._locks.hold(
            spec, key, wait_s=self._context.settings.section_wait_ms / 1000, lease_ms=LEASE_MS_DEFAULT, owner=None
        )
        live = acquired.live
        live.open_calls += 1
        try:

            async def page_here(read: PartitionRead, left: int, cursor: bytes | None) -> Any:
                return await self._tenures.select(live.reference, spec, read.partition, read.slice, left, cursor)

            answer = await self._pages(spec, selection, digest, limit, index, inner, page_here)
        finally:
            live.open_calls -= 1
            self._sessions.release_later(live)
        return msgspec.structs.replace(answer, round_trips=answer.round_trips + acquired.round_trips)

    async def _pages(
        self,
        spec: TableSpec,
        selection: list[PartitionRead],
        digest: bytes,
        limit: int,
        index: int,
        inner: Any,
        page_of: Any,
    ) -> PageAnswer:
        rows: list[StoredRow] = []
        trips = 0.0
        while index < len(selection) and len(rows) < limit:
            page = await page_of(selection[index], limit - len(rows), inner)
            rows.extend(page.rows)
            trips += page.round_trips
            inner = page.cursor
            if inner is None:
                index += 1
        more = index < len(selection)
        return PageAnswer(
            rows=_shown(spec, rows),
            cursor=encode_cursor(digest, index, inner or b"") if more else None,
            round_trips=trips,
        )

    # writes

    async def put(
        self,
        name: KeyName,
        columns: Columns,
        *,
        level: Level,
        reference: str | None,
        expires_ms: int | None,
        idempotency_key: str | None,
    ) -> WriteAnswer:
        spec = self._store.known_table(name.keyspace, name.table)
        if spec is None or name.keyspace == RESERVED_KEYSPACE:
            spec = await self._spec(name.keyspace, name.table)
        life_ms = None if expires_ms is None else self._life(expires_ms)
        intent = PutIntent(spec.row_key(name.key), cells_of(spec, columns), life_ms)
        return await self._write(spec, [intent], level, reference, idempotency_key)

    async def delete(
        self, name: KeyName, *, level: Level, reference: str | None, idempotency_key: str | None
    ) -> WriteAnswer:
        spec = await self._spec(name.keyspace, name.table)
        return await self._write(spec, [DeleteIntent(spec.row_key(name.key))], level, reference, idempotency_key)

    async def batch(
        self,
        keyspace: str,
        table: str,
        writes: Sequence[RowWrite],
        *,
        level: Level,
        reference: str | None,
        expect: Sequence[RowExpectation],
        idempotency_key: str | None,
    ) -> WriteAnswer:
        spec = await self._spec(keyspace, table)
        if len(writes) > BATCH_WRITES_MAX or len(expect) > BATCH_WRITES_MAX:
            raise TooLarge(f"a batch has at most {BATCH_WRITES_MAX} writes")
        if not writes and not (expect and spec.writes == "conditional"):
            raise BadRequest("a batch has at least one write")
        intents = [self._intent(spec, write) for write in writes]
        if len({_partition_of(intent) for intent in intents}) > 1:
            raise BadRequest("a batch is of one partition")
        if spec.writes == "conditional":
            if level not in {"eventual", "quorum"} or reference is not None:
                raise BadRequest("batches of a conditional table are ordered by the engine: no level, no lock")
            return await self._conditional(spec, intents, expect, idempotency_key)
        if expect:
            raise BadRequest("expectations are for tables with writes = conditional, and for sections")
        return await self._write(spec, intents, level, reference, idempotency_key)

    async def _conditional(
        self, spec: TableSpec, intents: list[Intent], expect: Sequence[RowExpectation], idempotency_key: str | None
    ) -> WriteAnswer:
        if idempotency_key is None:
            _, trips = await self._plain.conditional(spec, intents, expect)
            return WriteAnswer(round_trips=trips)
        expected = [(item.key and spec.row_key(item.key), item.exists, cells_of(spec, item.equals)) for item in expect]
        digest = digest_of("conditional", spec.keyspace, spec.name, spec.making, to_wire(intents), expected)
        requests = self._requests
        async with requests.alone(idempotency_key):
            record = await requests.find(idempotency_key, digest)
            if record is None and "joint" in self._store.capabilities:
                # The record is made in the step that judges the expectations, so that whoever comes second finds it.
                receipt = requests.written(idempotency_key, Record(digest, b""))
                found, trips = await self._plain.conditional(spec, intents, expect, receipt)
                if found is None:
                    return WriteAnswer(round_trips=trips)
                record = record_in(found, digest)
            if record is not None:
                if record.answer is None:
                    raise OutcomeUnknown("the request was sent before, and what became of it is not known")
                return WriteAnswer()
            async with requests.pending(idempotency_key):
                await requests.write(idempotency_key, Record(digest, None))
                _, trips = await self._plain.conditional(spec, intents, expect)
            await requests.done(idempotency_key, Record(digest, None))
            return WriteAnswer(round_trips=trips + 2 * self._store.costs.write_majority)

    async def _write(
        self,
        spec: TableSpec,
        intents: list[Intent],
        level: Level,
        reference: str | None,
        idempotency_key: str | None,
    ) -> WriteAnswer:
        if level in {"eventual", "quorum"}:
            _no_reference(reference, level)
            check_plain(spec)
            if spec.writes == "mixed":
                key = spec.lock_key_of_partition(_partition_of(intents[0]))
                if await self._ever_locked(key):
                    return await self._write_atomic(spec, intents, idempotency_key, _plain_digest(spec, intents))
            return await self._write_plain(spec, intents, quorum=level == "quorum", idempotency_key=idempotency_key)
        check_locks(spec)
        ranges = any(isinstance(intent, RangeIntent) for intent in intents)
        check_transactional(spec, ranges=ranges, idempotency_key=idempotency_key)
        if level == "critical":
            key = spec.lock_key_of_partition(_partition_of(intents[0]))
            own = self._lock_verbs.own(reference, key) if idempotency_key is None else None
            if own is not None:
                stamp, trips = await self._tenures.write_own(own, spec, intents)
                return WriteAnswer(stamp=stamp, round_trips=trips)
            held = await self._lock_verbs.covering(reference, key)
            written = await self._tenures.write(held, spec, intents, idempotency_key)
            return WriteAnswer(stamp=written.stamp, round_trips=written.round_trips)
        if level != "atomic":
            raise BadRequest("level is eventual, quorum, critical or atomic")
        _no_reference(reference, level)
        return await self._write_atomic(spec, intents, idempotency_key)

    async def write_at(self, name: KeyName, write: RowPut | RowDelete, stamp: int, *, quorum: bool) -> WriteAnswer:
        """A write without a lock, at a stamp that its author chose. Refused where a section was before: every stamp of a section
        is above it, so it would change nothing."""
        spec = await self._spec(name.keyspace, name.table)
        check_plain(spec)
        intent = self._intent(spec, msgspec.structs.replace(write, key=name.key))
        if spec.writes == "mixed" and await self._ever_locked(spec.lock_key_of_partition(_partition_of(intent))):
            raise BadRequest(
                "the key was locked before: its writes are ordered by the lock, not by a stamp of one's own"
            )
        used, trips = await self._plain.write(spec, [intent], quorum=quorum, stamp=stamp)
        return WriteAnswer(stamp=used, round_trips=trips)

    async def _write_plain(
        self, spec: TableSpec, intents: list[Intent], *, quorum: bool, idempotency_key: str | None
    ) -> WriteAnswer:
        if idempotency_key is None:
            stamp, trips = await self._plain.write(spec, intents, quorum=quorum)
            return WriteAnswer(stamp=stamp, round_trips=trips)
        requests = self._requests
        digest = _plain_digest(spec, intents)
        async with requests.alone(idempotency_key):
            known = await requests.answer_of(idempotency_key, digest)
            if known is not None:
                return WriteAnswer(stamp=done_of(known).stamp)
            writes, stamp = self._plain.stamped(intents)
            asked = Record(digest, None, spec.keyspace, spec.name, carried_by(writes), stamp, encode(stamp))
            done = done_record(asked)
            if self._context.joint:
                item, absent = requests.receipt(idempotency_key, done)
                joint, _ = await self._store.joint(None, [TableWrites(spec, writes), item], absent=absent)
                trips = self._store.costs.write_majority
                if joint.applied:
                    return WriteAnswer(stamp=stamp, round_trips=trips)
                # Another process was handed the same key, or an earlier sending came late: its record has the answer.
                known = await requests.answer_of(idempotency_key, digest)
                if known is None:
                    raise Unavailable("the record of this idempotency key has just expired")
                return WriteAnswer(stamp=done_of(known).stamp, round_trips=trips)
            async with requests.pending(idempotency_key):
                await requests.write(idempotency_key, asked)
                await self._store.write(spec, writes, "majority" if quorum else "local")
            await requests.done(idempotency_key, asked)
            return WriteAnswer(stamp=stamp, round_trips=3 * self._store.costs.write_majority)

    async def _write_atomic(
        self, spec: TableSpec, intents: list[Intent], idempotency_key: str | None, digest: bytes | None = None
    ) -> WriteAnswer:
        """A section of its own around the writes; `digest`: of the write without a lock that was asked for."""
        key = spec.lock_key_of_partition(_partition_of(intents[0]))
        steps = [intent for intent in intents if not isinstance(intent, RangeIntent)]
        if len(steps) == len(intents):
            done = await self._run_once(spec, key, steps, idempotency_key, digest)
            return WriteAnswer(stamp=done.stamp, round_trips=done.round_trips)
        digest = digest or digest_of("atomic", key.encode(), spec.making, to_wire(intents))
        if idempotency_key is not None:
            async with self._requests.alone(idempotency_key):
                known = await self._requests.answer_of(idempotency_key, digest)
            if known is not None:
                return WriteAnswer(stamp=done_of(known).stamp)
        acquired = await self._locks.hold(
            spec, key, wait_s=self._context.settings.section_wait_ms / 1000, lease_ms=LEASE_MS_DEFAULT, owner=None
        )
        live = acquired.live
        live.open_calls += 1
        try:
            if idempotency_key is None:
                written = await self._tenures.write(live.reference, spec, intents, None)
            else:
                written = await self._tenures.write_once(live, intents, idempotency_key, digest)
        finally:
            live.open_calls -= 1
            self._sessions.release_later(live)
        return WriteAnswer(stamp=written.stamp, round_trips=written.round_trips + acquired.round_trips)

    async def _ever_locked(self, key: LockKey) -> bool:
        """Whether this process knows that the key was ever locked, or its site's view says so: that may be an older one."""
        encoded = key.encode()
        state = self._keys.known(encoded)
        if state is not None and state.version >= 0 and state.cell.issued > 0:
            return True
        view = await self._context.cells.read_local(encoded)
        return lock_cell.decode(view.content).issued > 0

    # sections

    async def section(
        self,
        name: KeyName,
        steps: Sequence[Step],
        *,
        wait_ms: int,
        lease_ms: int,
        validate: bool,
        owner: str | None,
        idempotency_key: str | None,
    ) -> SectionAnswer:
        spec = await self._spec(name.keyspace, name.table)
        check_locks(spec)
        self._lock_verbs.check_lease(lease_ms)
        self._lock_verbs.check_wait(wait_ms)
        if not 1 <= len(steps) <= SECTION_STEPS_MAX:
            raise BadRequest(f"a section has 1 to {SECTION_STEPS_MAX} steps")
        key, row_key = spec.keys_of(name.key)
        parsed = self._steps(spec, key, name.key, row_key, steps)
        wait_s = wait_ms / 1000
        if idempotency_key is None:
            done = await self._sections.run(
                spec, key, parsed, wait_s=wait_s, lease_ms=lease_ms, validate=validate, owner=owner
            )
        else:
            done = await self._once.run(
                spec, key, parsed, idempotency_key, wait_s=wait_s, lease_ms=lease_ms, validate=validate, owner=owner
            )
        results = [None if row is None else row_of(spec, row) for row in done.results]
        return SectionAnswer(
            results=results, fencing_token=done.ticket, validated=done.validated, round_trips=done.round_trips
        )

    async def _run(self, spec: TableSpec, key: LockKey, steps: Sequence[SectionStep]) -> SectionDone:
        wait_s = self._context.settings.section_wait_ms / 1000
        return await self._sections.run(spec, key, steps, wait_s=wait_s, lease_ms=LEASE_MS_DEFAULT)

    async def _run_once(
        self,
        spec: TableSpec,
        key: LockKey,
        steps: Sequence[SectionStep],
        idempotency_key: str | None,
        digest: bytes | None,
    ) -> SectionDone:
        wait_s = self._context.settings.section_wait_ms / 1000
        return await self._once.run(
            spec, key, steps, idempotency_key, digest=digest, wait_s=wait_s, lease_ms=LEASE_MS_DEFAULT
        )

    # parts

    def _life(self, expires_ms: int | None) -> int | None:
        if expires_ms is not None and not self._context.expiry:
            raise BadRequest("this engine has no expiry")
        return check_life(expires_ms)

    def _intent(self, spec: TableSpec, write: RowWrite) -> Intent:
        if isinstance(write, RowPut | RowDelete):
            if write.key is None:
                raise BadRequest("each write of a batch names its row's key")
            key = spec.row_key(write.key)
            if isinstance(write, RowDelete):
                return DeleteIntent(key)
            return PutIntent(key, cells_of(spec, write.columns), self._life(write.expires_ms))
        planned = plan_range(spec, write.where)
        return RangeIntent(planned.partition, planned.slice)

    def _steps(
        self,
        spec: TableSpec,
        key: LockKey,
        default: dict[str, Any],
        named: RowKey | None,
        steps: Sequence[Step],
    ) -> list[SectionStep]:
        """The steps with their rows; those that name none are of the row `default`, whose row key is `named` if it has one."""
        parsed: list[SectionStep] = []
        for step in steps:
            if step.key is not None:
                row_key = spec.row_key(step.key)
                if spec.lock_key_of(row_key) != key:
                    raise BadRequest("every step of a section is of a row that its lock key covers")
            elif named is not None:
                row_key = named
            else:
                row_key = spec.row_key(default)  # says what is missing
            parsed.append(self._step(spec, row_key, step))
        return parsed

    def _step(self, spec: TableSpec, row_key: RowKey, step: Step) -> SectionStep:
        if isinstance(step, RowGet):
            return GetStep(row_key)
        if isinstance(step, RowPut):
            return PutIntent(row_key, cells_of(spec, step.columns), self._life(step.expires_ms))
        if isinstance(step, RowDelete):
            return DeleteIntent(row_key)
        return ExpectStep(row_key, step.exists, cells_of(spec, step.equals))


def _no_reference(reference: str | None, level: str) -> None:
    if reference is not None:
        raise BadRequest(f"a lock reference goes with level critical, not {level}")


def _partition_of(intent: Intent) -> tuple[bytes, ...]:
    return intent.partition if isinstance(intent, RangeIntent) else intent.key.partition


def _plain_digest(spec: TableSpec, intents: list[Intent]) -> bytes:
    """Of a write without a lock. On a `mixed` table it goes as a section once its key was ever locked, and is the same request."""
    return digest_of("plain", spec.keyspace, spec.name, spec.making, to_wire(intents))


def _shown(spec: TableSpec, rows: Sequence[StoredRow]) -> list[dict[str, Any]]:
    return [row for stored in rows if (row := row_of(spec, stored)) is not None]
