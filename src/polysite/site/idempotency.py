"""Records of requests that carry an idempotency key: the effect happens once, the answer can be given again.

One record per (site, key), kept a day, in the reserved keyspace. Engines that can change several places in one commit
write it together with the effect, so that its absence proves that nothing happened, and only if no record of that key is
there, so that of several processes that are handed the key at once one carries it out. Others write it before the effect.
It is `pending` (with the stamps that the effect carries) until the effect is known to be done: what is in the store may
have come from a holder that was preempted, and nobody reads it. One that is found pending later is resolved by looking
whether the effect is stored (the rows carry those stamps, unless it was one commit) and the lock's fence is still below
it, else the outcome stays unknown.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from polysite.core import lock_cell
from polysite.core.requests import proves_done
from polysite.errors import BadRequest, IdempotencyMismatch, OutcomeUnknown, PolysiteError
from polysite.site.context import SiteContext
from polysite.stores.contract import TableWrites
from polysite.values.keys import RowKey
from polysite.values.rows import Put, StoredRow, Write
from polysite.values.tables import RESERVED_KEYSPACE, ColumnSpec, TableSpec

T = TypeVar("T")

RECORDS = TableSpec(
    keyspace=RESERVED_KEYSPACE,
    name="idempotency",
    columns=(
        ColumnSpec("site", "text"),
        ColumnSpec("request", "text"),
        ColumnSpec("record", "blob"),
        ColumnSpec("made_us", "bigint"),
    ),
    partition_key=("site", "request"),
    writes="eventual",
)
KEY_BYTES_MAX = 256


class Carried(msgspec.Struct, frozen=True, array_like=True):
    """Columns of a row that carry `stamp` if the write was done."""

    key: RowKey
    columns: tuple[str, ...]
    stamp: int


class Record(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a request. `answer` None: pending. `carried`: what a pending effect would have left; `answer_if_found`
    is the answer if it did."""

    digest: bytes
    answer: bytes | None
    keyspace: str = ""
    table: str = ""
    carried: tuple[Carried, ...] = ()
    stamp: int = 0
    answer_if_found: bytes = b""
    lock: bytes = b""
    """The encoded lock key, if the effect counts only if it was stored while that lock was held."""
    stored: bool = False
    """The effect was stored in one commit with this record."""


class RequestRecorded(Exception):
    """A record with this idempotency key is there by now: nothing of this attempt was stored."""


class Receipt(NamedTuple):
    """A record as it goes into one commit with the effect it tells of."""

    item: TableWrites
    absent: tuple[tuple[TableSpec, RowKey], ...]
    """The record's row, which must not be there yet; none where an earlier commit of this attempt has made it."""

    def is_there(self, found: Sequence[StoredRow]) -> bool:
        """Whether `found`, the rows of `absent`, show that an earlier sending of this very record was stored."""
        (write,) = self.item.writes
        assert isinstance(write, Put)
        cells = [row.cells.get("record") for row in found]
        return any(
            cell is not None and (cell.stamp, cell.value) == (write.stamp, write.cells["record"]) for cell in cells
        )


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Record)


encode = _encoder.encode


def decode_number(answer: bytes) -> int:
    """The number that an answer consists of."""
    return msgspec.msgpack.decode(answer, type=int)


def decode_stamp(answer: bytes) -> int:
    """The stamp that the answer of a write consists of."""
    return decode_number(answer)


def done_record(pending: Record) -> Record:
    """The record of a request that turned out to be done."""
    return msgspec.structs.replace(pending, answer=pending.answer_if_found)


def digest_of(*parts: Any) -> bytes:
    """What tells one request from another."""
    return hashlib.blake2b(_encoder.encode(parts), digest_size=16).digest()


def request_id_of(idempotency_key: str, *parts: bytes) -> bytes:
    """The request id of the entry that a request with this key enqueues."""
    digest = hashlib.blake2b(idempotency_key.encode(), digest_size=16, person=b"request")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


def carried_by(writes: Sequence[Write]) -> tuple[Carried, ...]:
    """What writes leave behind that a later read can tell: the stamps of columns that get a value."""
    return tuple(
        Carried(write.key, tuple(name for name, value in write.cells.items() if value is not None), write.stamp)
        for write in writes
        if isinstance(write, Put)
    )


def record_in(stored: StoredRow, digest: bytes) -> Record | None:
    """The record of this request that a row of `RECORDS` holds. IdempotencyMismatch if it is of another request."""
    cell = stored.cells.get("record")
    if not stored.present or cell is None:
        return None
    record = _decoder.decode(cell.value)
    if record.digest != digest:
        raise IdempotencyMismatch
    return record


class Requests:
    """The records of this site: requests are sent again to the site they were sent to, so no other one is waited for."""

    def __init__(self, context: SiteContext) -> None:
        self._context = context
        self._store = context.store
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._last_stamp = 0
        self._pending: dict[str, int] = {}
        """Stamps of the records that attempts under way have made, or may have made, before their effect (see `pending`)."""

    def _key(self, key: str) -> RowKey:
        text = RECORDS.types["site"]
        return RowKey((text.serialise(self._context.settings.site), text.serialise(key)))

    @contextlib.asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """One request per key at a time in this process: the second finds the record of the first."""
        if not key or len(key.encode()) > KEY_BYTES_MAX:
            raise BadRequest(f"an idempotency key is 1 to {KEY_BYTES_MAX} bytes")
        while (under_way := self._under_way.get(key)) is not None:
            await asyncio.shield(under_way)
        done = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._under_way[key]
            done.set_result(None)

    async def find(self, key: str, digest: bytes) -> Record | None:
        """The record of this request. IdempotencyMismatch if the key was used for another one."""
        stored = await self._store.read(RECORDS, self._key(key), "site")
        cell = stored.cells.get("record")
        # What replaces it must lie above it, also if the process that made it, or withdrew it, has a clock that is ahead.
        self._last_stamp = max(self._last_stamp, stored.row_stamp, 0 if cell is None else cell.stamp)
        return record_in(stored, digest)

    def next_stamp(self) -> int:
        """A stamp above those of all records written here or seen before."""
        self._last_stamp = stamp = max(self._context.clock.wall_us(), self._last_stamp + 1)
        return stamp

    def written(self, key: str, record: Record, stamp: int | None = None) -> TableWrites:
        """The write that makes a record; `stamp` if it was drawn before."""
        cells: dict[str, bytes | None] = {
            "record": _encoder.encode(record),
            "made_us": RECORDS.types["made_us"].serialise(self._context.clock.wall_us()),
        }
        stamp = self.next_stamp() if stamp is None else stamp
        return TableWrites(
            RECORDS, [Put(key=self._key(key), cells=cells, stamp=stamp, absent=False, life_ms=self._life_ms)]
        )

    @property
    def _life_ms(self) -> int | None:
        return int(self._context.settings.idempotency_life_s * 1000) if self._context.expiry else None

    def receipt(self, key: str, record: Record, *, first: bool = True, stamp: int | None = None) -> Receipt:
        """A record for one commit with the effect; `first`: it counts only if no record of the key is there. `stamp` if it was
        drawn before."""
        return Receipt(self.written(key, record, stamp), (self.place(key),) if first else ())

    def place(self, key: str) -> tuple[TableSpec, RowKey]:
        """Where the record of a key is."""
        return RECORDS, self._key(key)

    async def answer_of(self, key: str, digest: bytes) -> bytes | None:
        """The answer of a request that was carried out before, None if it has no record. Else as `find` and `resolve`."""
        record = await self.find(key, digest)
        if record is None or record.answer is not None:
            return None if record is None else record.answer
        return await self.resolve(key, record)

    async def write(self, key: str, record: Record) -> None:
        """Make a record in a commit of its own."""
        stamp = self.next_stamp()
        item = self.written(key, record, stamp)
        is_there = True
        try:
            await self._store.write(item.table, item.writes, "site")
        except PolysiteError as error:
            is_there = error.outcome == "unknown"
            raise
        finally:
            if record.answer is None and is_there:
                self._pending[key] = stamp

    async def done(self, key: str, pending: Record) -> None:
        """Say that a pending request is done. It is done, whether that can be said or not: else its record stays pending."""
        with contextlib.suppress(PolysiteError):
            await self.write(key, done_record(pending))

    def done_later(self, key: str, pending: Record) -> None:
        """Say in the background that a pending request is done: until that is stored, the stamps of its rows tell."""
        self._context.background(self.write(key, done_record(pending)), name="site-request-done")

    @contextlib.asynccontextmanager
    async def pending(self, key: str) -> AsyncIterator[None]:
        """A pending record is withdrawn if its request turns out to be refused: it may be sent again, and be carried out.

        The row is marked absent, with a row stamp, which tells those who make it anew what they have to lie above; a deletion
        would hide their record from everybody, if their clock is behind. Only what this attempt has made is withdrawn: a
        record that another process made above it stays. OutcomeUnknown if it cannot be withdrawn: what has a record that
        says that it was sent is not refused.
        """
        try:
            yield
        except PolysiteError as error:
            stamp = self._pending.get(key)
            if error.outcome == "refused" and stamp is not None:
                stamp += 1
                withdrawn = Put(
                    key=self._key(key),
                    cells=dict.fromkeys(("record", "made_us")),
                    stamp=stamp,
                    marker=False,
                    row_stamp=stamp,
                    absent=True,
                    life_ms=self._life_ms,
                )
                try:
                    await self._store.write(RECORDS, [withdrawn], "site")
                except PolysiteError as failure:
                    raise OutcomeUnknown(
                        "the request was refused, but its record says that it was sent", reason=error.code
                    ) from failure
            raise
        finally:
            self._pending.pop(key, None)

    async def resolve(self, key: str, record: Record) -> bytes:
        """The answer of a pending request that turns out to be done; OutcomeUnknown if that cannot be told."""
        message = "the request was sent before, and what became of it is not known"
        try:
            answer = await self.proven(key, record)
        except PolysiteError as error:
            # That it cannot be looked up now says nothing about the request: it is not refused.
            raise OutcomeUnknown(message, stamp=record.stamp) from error
        if answer is None:
            raise OutcomeUnknown(message, stamp=record.stamp)
        return answer

    async def proven(self, key: str, record: Record) -> bytes | None:
        """The answer of a pending request if it is known to be done. Proven nothing: it may be done, or come to be."""
        if not record.stored and not await self._is_there(record):
            return None
        # Stored is not enough: the next holder may have read the row before, and write again what it read.
        if record.lock and not await self._was_in_time(record):
            return None
        await self.done(key, record)
        return record.answer_if_found

    async def _was_in_time(self, record: Record) -> bool:
        """Whether a write that is known to be stored is known to have been made under its lock."""
        view = await self._context.cells.read(record.lock)
        return proves_done(record.stamp, lock_cell.decode(view.content))

    async def _is_there(self, record: Record) -> bool:
        """Whether every column of the write is what a majority shows now. No match means nothing: others may have written since."""
        carried = [item for item in record.carried if item.columns]
        if not carried:
            return False
        spec = await self._store.table(record.keyspace, record.table)
        for item in carried:
            row = await self._store.read(spec, item.key, "majority")
            if any((cell := row.cells.get(name)) is None or cell.stamp != item.stamp for name in item.columns):
                return False
        return True
