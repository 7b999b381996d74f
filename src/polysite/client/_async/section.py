"""Critical sections: a lock taken on the way in, kept alive inside, released on the way out.

async with votes.section("ana", lease_s=10) as section:
    row = await section.get()
    await section.put({"count": (row["count"] if row else 0) + 1})
"""

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from polysite.api import (
    SELECT_LIMIT_DEFAULT,
    WAIT_MS_MAX,
    Columns,
    HeldKey,
    KeyName,
    Kind,
    LockAnswer,
    PageAnswer,
    ReleaseAnswer,
    RowWrite,
    WriteAnswer,
)
from polysite.client._async.base import SiteBase, Specified
from polysite.client.keeping import AsyncKeeper
from polysite.client.naming import Key, Where, conditions, key_by_name, key_name, milliseconds, milliseconds_or_none
from polysite.errors import AcquireTimeout, BadRequest, LockLost
from polysite.values.tables import TableSpec

WAIT_MS_ONCE = 60_000
"""A longer wait is asked for in pieces, so that a dead connection is noticed."""

LostCallback = Callable[[LockLost], None]


class Lock:
    """What sections and lock sets have in common: one reference, from acquire to release."""

    def __init__(
        self,
        site: SiteBase,
        *,
        kind: Kind,
        lease_s: float,
        wait_s: float | None,
        validate: bool,
        owner: str | None,
        on_lost: LostCallback | None,
    ) -> None:
        self._site = site
        self._coordinator = site.coordinator
        self._kind: Kind = kind
        self._lease_ms = milliseconds(lease_s)
        self._wait_ms = milliseconds_or_none(wait_s)
        self._validate = validate
        self._owner = owner
        self._keeper = AsyncKeeper(site.pace, on_lost)
        self._answer: LockAnswer | None = None
        self._released = False
        self._entered = False
        self._asked_s: float | None = None
        """When the call was sent that the grant answered."""
        self.round_trips: float = 0
        """Wide-area round trips waited for so far, from the acquire on."""

    @property
    def reference(self) -> str:
        """The lock reference: whoever has it may use the lock. For other processes of the same program."""
        return self._held().reference

    @property
    def fencing_token(self) -> int:
        """Give it to resources outside the store; they refuse whoever comes with a lower one."""
        return self._held().fencing_token

    @property
    def held_keys(self) -> list[HeldKey]:
        return self._held().keys

    @property
    def is_lost(self) -> bool:
        """Whether the lock is known to be lost."""
        return self._keeper.is_lost

    @property
    def lost_error(self) -> LockLost | None:
        """Why the lock was lost; None while it is not known to be."""
        return self._keeper.error

    async def renew(self) -> None:
        """A sign of life now. LockLost if the lock is gone. It is also sent by itself, every third of the lease."""
        self._keeper.check()
        try:
            self._count(await self._coordinator.renew(self.reference))
        except LockLost as error:
            self._keeper.lose(error)
            raise

    async def release(self, *, validate: bool = True) -> ReleaseAnswer:
        """Release before the body ends. `validate` waits until it is applied: that proves every write answered under
        this lock; LockLost if it was not. Afterwards the section's verbs are refused."""
        if self._released:
            raise BadRequest("the lock was released before")
        self._keeper.stop()
        self._keeper.check()
        self._released = True
        reference = self.reference
        answer = await self._keeper.finish(lambda: self._coordinator.release(reference, validate=validate))
        self._add(answer.round_trips)
        return answer

    async def _enter(self, keys: Sequence[KeyName], *, read: bool) -> LockAnswer:
        """Acquire, wait until it is held, and start to keep it alive; AcquireTimeout leaves nothing in the queue."""
        if self._entered:
            raise BadRequest("a section is entered once; make another one")
        self._entered = True
        answer = await self._acquire(keys, read=read)
        self._answer = answer
        reference = answer.reference
        self._keeper.start(lambda: self._coordinator.renew(reference), answer.lease_ms / 1000, self._asked_s)
        return answer

    async def _acquire(self, keys: Sequence[KeyName], *, read: bool) -> LockAnswer:
        pace = self._site.pace
        until_s = None if self._wait_ms is None else pace.monotonic_s() + self._wait_ms / 1000
        # One key: ask for the place in the queue first and wait for it afterwards, so that the reference is known, and
        # can be given up, all the while. A set is all or nothing; its wish has no reference before it is granted.
        first_ms = 0
        if len(keys) > 1:
            first_ms = WAIT_MS_MAX if self._wait_ms is None else min(self._wait_ms, WAIT_MS_MAX)
        self._asked_s = pace.monotonic_s()
        answer = await self._keeper.guard(
            lambda: self._coordinator.acquire(
                keys,
                kind=self._kind,
                lease_ms=self._lease_ms,
                wait_ms=first_ms,
                owner=self._owner,
                read=read,
                idempotency_key=pace.new_key(),
            ),
            lambda late: self._coordinator.release(late.reference, validate=False),
        )
        self._count(answer)
        try:
            while not answer.held:
                left_ms = None if until_s is None else int((until_s - pace.monotonic_s()) * 1000)
                if left_ms is not None and left_ms <= 0:
                    raise AcquireTimeout(
                        "the lock was not granted within the wait; the wish was cancelled",
                        ahead=max(held.ahead for held in answer.keys),
                    )
                once_ms = WAIT_MS_ONCE if left_ms is None else min(left_ms, WAIT_MS_ONCE)
                self._asked_s = pace.monotonic_s()
                answer = await self._coordinator.wait(answer.reference, wait_ms=once_ms, read=read)
                self._count(answer)
        except BaseException as error:
            # Whoever is told that the wish was cancelled finds it gone from the queue; others are in a hurry.
            await self._give_up(answer.reference, applied=isinstance(error, AcquireTimeout))
            raise
        return answer

    async def _leave(self, error: BaseException | None) -> None:
        """Release; LockLost if the body ended because of the loss, or a validated release was not applied."""
        self._keeper.stop()
        if self._keeper.is_silent and not self._released:
            # The site may still hold the lock for us; whoever waits for it should not have to wait for the lease.
            reference = self.reference
            self._keeper.detached(lambda: self._coordinator.release(reference, validate=False))
        lost = self._keeper.verdict(error)
        if lost is not None:
            raise lost from error
        if self._released or self._keeper.is_lost:
            return
        self._released = True
        if self._validate and error is None:
            reference = self.reference
            # A cancelled request might not reach the site, and the lock would stay until its lease has passed.
            answer = await self._keeper.finish(lambda: self._coordinator.release(reference, validate=True))
            self._add(answer.round_trips)
            return
        await self._give_up(self.reference)

    async def _give_up(self, reference: str, *, applied: bool = False) -> None:
        """Let go; `applied`: wait until that is carried out. If the site cannot be told, the lease ends the tenure."""
        await self._keeper.background(lambda: self._coordinator.release(reference, validate=applied))

    def _held(self) -> LockAnswer:
        if self._answer is None:
            raise BadRequest("the lock is not held: use it inside `async with`")
        return self._answer

    def _use(self) -> str:
        """The reference, for a call under the lock; LockLost if it is known to be lost."""
        reference = self._held().reference
        self._keeper.check()
        if self._released:
            raise BadRequest("the lock was released before")
        return reference

    def _noticed(self, error: LockLost) -> LockLost:
        """A call learnt of the loss before the keeper did."""
        self._keeper.lose(error)
        return error

    def _count(self, answer: LockAnswer) -> None:
        self._add(answer.round_trips)

    def _add(self, round_trips: float) -> None:
        self.round_trips += round_trips
        self._site.round_trips += round_trips

    async def _get(self, row: KeyName) -> dict[str, Any] | None:
        try:
            answer = await self._coordinator.get(row, level="critical", reference=self._use())
        except LockLost as error:
            raise self._noticed(error) from None
        self._add(answer.round_trips)
        return answer.row

    async def _put(
        self, row: KeyName, columns: Columns, *, expires_s: float | None, idempotency_key: str | None
    ) -> WriteAnswer:
        try:
            answer = await self._coordinator.put(
                row,
                columns,
                level="critical",
                reference=self._use(),
                expires_ms=milliseconds_or_none(expires_s),
                idempotency_key=idempotency_key,
            )
        except LockLost as error:
            raise self._noticed(error) from None
        self._add(answer.round_trips)
        return answer

    async def _delete(self, row: KeyName, *, idempotency_key: str | None) -> WriteAnswer:
        try:
            answer = await self._coordinator.delete(
                row, level="critical", reference=self._use(), idempotency_key=idempotency_key
            )
        except LockLost as error:
            raise self._noticed(error) from None
        self._add(answer.round_trips)
        return answer


class Section(Lock):
    """A critical section on one key of a table. Made by `Table.section`; its verbs work inside `async with`.

    If the lock is lost the body is cancelled and `LockLost` leaves the section. Whatever the body raises, the lock is
    released. Losing the lock after the body's last write takes nothing back that was answered `done`.
    """

    def __init__(
        self,
        site: SiteBase,
        table: Specified,
        key: Key,
        *,
        kind: Kind,
        lease_s: float,
        wait_s: float | None,
        validate: bool,
        owner: str | None,
        read: bool,
        on_lost: LostCallback | None,
    ) -> None:
        super().__init__(
            site, kind=kind, lease_s=lease_s, wait_s=wait_s, validate=validate, owner=owner, on_lost=on_lost
        )
        self._table = table
        self._asked_key = key
        self._read = read
        self._spec: TableSpec | None = None
        self._key: dict[str, Any] = {}
        self._first: tuple[dict[str, Any] | None] | None = None

    async def __aenter__(self) -> Self:
        self._spec = spec = await self._table.spec()
        self._key = key_by_name(spec, self._asked_key)
        # The row read beside the acquire is the first get, for nothing.
        read = self._read and self._key.keys() == set(spec.key_names)
        answer = await self._enter([key_name(spec, self._key)], read=read)
        if read and answer.rows is not None:
            self._first = (answer.rows[0],)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def get(self, key: Key = None) -> dict[str, Any] | None:
        """The latest row, None if there is none. `key` None: the row that the section's key names; else as in `put`."""
        row = self._row(key)
        if self._first is not None and row.key == self._key:
            self._use()
            (first,), self._first = self._first, None
            return first
        return await self._get(row)

    async def put(
        self,
        columns: Columns,
        *,
        key: Key = None,
        expires_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Write the named columns; the others stay. `key` names another row that this lock covers: whole, or only the
        columns after the section's own. OutcomeUnknown with reason `lock_lost`: it may have happened, and the lock is gone."""
        self._first = None
        return await self._put(self._row(key), columns, expires_s=expires_s, idempotency_key=idempotency_key)

    async def delete(self, key: Key = None, *, idempotency_key: str | None = None) -> WriteAnswer:
        """Delete the row; `key` as in `put`."""
        self._first = None
        return await self._delete(self._row(key), idempotency_key=idempotency_key)

    async def batch(self, writes: Sequence[RowWrite], *, idempotency_key: str | None = None) -> WriteAnswer:
        """Several writes to one partition, all or none."""
        self._first = None
        spec = self._named()
        try:
            answer = await self._coordinator.batch(
                spec.keyspace,
                spec.name,
                writes,
                level="critical",
                reference=self._use(),
                idempotency_key=idempotency_key,
            )
        except LockLost as error:
            raise self._noticed(error) from None
        self._add(answer.round_trips)
        return answer

    async def select(
        self, where: Where | None = None, *, limit: int = SELECT_LIMIT_DEFAULT, cursor: str | None = None
    ) -> PageAnswer:
        """A page of the partition's latest rows. `where` None: all rows of the partition that the section's key names."""
        spec = self._named()
        if where is None:
            where = {name: self._key[name] for name in spec.partition_key if name in self._key}
        try:
            answer = await self._coordinator.select(
                spec.keyspace,
                spec.name,
                where=conditions(where),
                level="critical",
                reference=self._use(),
                limit=limit,
                cursor=cursor,
            )
        except LockLost as error:
            raise self._noticed(error) from None
        self._add(answer.round_trips)
        return answer

    async def rows(self, where: Where | None = None) -> AsyncIterator[dict[str, Any]]:
        """As `select`, row by row over all pages."""
        cursor: str | None = None
        while True:
            page = await self.select(where, cursor=cursor)
            for row in page.rows:
                yield row
            cursor = page.cursor
            if cursor is None:
                return

    async def promote(self, *, wait_s: float = 10.0) -> None:
        """Make a shared lock exclusive once the others of its run have left. CompareFailed: another promotion of the run
        is under way. AcquireTimeout: it was withdrawn; the lock is shared as before."""
        reference = self._use()
        try:
            answer = await self._coordinator.promote(reference, wait_ms=milliseconds(wait_s))
        except LockLost as error:
            raise self._noticed(error) from None
        self._count(answer)
        self._first = None
        self._answer = answer

    def _named(self) -> TableSpec:
        if self._spec is None:
            raise BadRequest("the lock is not held: use it inside `async with`")
        return self._spec

    def _row(self, key: Key) -> KeyName:
        spec = self._named()
        return key_name(spec, self._key if key is None else key, within=self._key)


class LockSet(Lock):
    """Locks on several keys, all held or none. Made by `Site.lock_set`; rows are named by table and key."""

    def __init__(
        self,
        site: SiteBase,
        keys: Sequence[tuple[Specified, Key]],
        *,
        kind: Kind,
        lease_s: float,
        wait_s: float | None,
        validate: bool,
        owner: str | None,
        on_lost: LostCallback | None,
    ) -> None:
        super().__init__(
            site, kind=kind, lease_s=lease_s, wait_s=wait_s, validate=validate, owner=owner, on_lost=on_lost
        )
        self._asked_keys = list(keys)

    async def __aenter__(self) -> Self:
        names = [key_name(await table.spec(), key) for table, key in self._asked_keys]
        await self._enter(names, read=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def get(self, table: Specified, key: Key) -> dict[str, Any] | None:
        """The latest row, None if there is none."""
        return await self._get(key_name(await table.spec(), key))

    async def put(
        self,
        table: Specified,
        key: Key,
        columns: Columns,
        *,
        expires_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Write the named columns of a row that one of the locks covers."""
        row = key_name(await table.spec(), key)
        return await self._put(row, columns, expires_s=expires_s, idempotency_key=idempotency_key)

    async def delete(self, table: Specified, key: Key, *, idempotency_key: str | None = None) -> WriteAnswer:
        """Delete a row that one of the locks covers."""
        return await self._delete(key_name(await table.spec(), key), idempotency_key=idempotency_key)
