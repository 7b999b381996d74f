# Generated from src/polysite/api.py by scripts/generate_sync.py; change that file, not this one.
"""The coordinator protocol for callers that block: the same verbs, values and errors as `polysite.api`."""

from collections.abc import Iterator, Sequence
from typing import Protocol

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
    RowExpectation,
    RowWrite,
    SectionAnswer,
    Step,
    WriteAnswer,
)
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec


class Coordinator(Protocol):
    """One site's coordinator, in this process or over HTTP."""

    def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        """True: made now. False: there already, and equal. AlreadyExists: there, and different."""
        ...

    def drop_keyspace(self, keyspace: str) -> bool:
        """Drop it with its tables. False: there was none."""
        ...

    def keyspaces(self) -> list[KeyspaceSpec]: ...

    def create_table(self, spec: TableSpec) -> bool:
        """As `create_keyspace`."""
        ...

    def drop_table(self, keyspace: str, table: str) -> bool:
        """Drop it with its rows. Tickets of its keys go on from where they were if it is made again."""
        ...

    def tables(self, keyspace: str) -> list[TableSpec]: ...

    def table(self, keyspace: str, table: str) -> TableSpec: ...

    def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        """As `create_keyspace`."""
        ...

    def drop_index(self, keyspace: str, table: str, index_name: str) -> bool: ...

    def get(
        self, row: KeyName, *, level: Level = "eventual", reference: str | None = None, stamps: bool = False
    ) -> RowAnswer:
        """The row. `critical` needs a held `reference` that covers it: NotHolder while it waits, LockLost when it is gone."""
        ...

    def put(
        self,
        row: KeyName,
        columns: Columns,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        expires_ms: int | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Write the named columns; the row exists afterwards. Refused with BadRequest where the table's `writes` does not
        allow the level. Critical: NotHolder, LockLost (nothing was sent), or OutcomeUnknown with reason `lock_lost`."""
        ...

    def delete(
        self,
        row: KeyName,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Delete the row; one that is not there is deleted all the same. Refusals as `put`."""
        ...

    def select(
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
        """Rows of one partition (all partition columns by eq, clustering columns by a leading run of eq and one range), of an
        index (eq on an indexed column), or of the whole table (no condition). Anything else is BadRequest: nothing is
        filtered behind the scenes. A critical select needs one partition that the reference covers."""
        ...

    def batch(
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
        """Writes to one partition, all or none, with consecutive stamps. `expect` only on `conditional` tables (CompareFailed
        if one does not hold, with the attribute `rows`), and those tables take no other write. With `expect` there may be no
        write: it is done if everything holds."""
        ...

    def acquire(
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
        """Enqueue, and wait up to `wait_ms` to hold. One key: the answer may be a waiting reference (`wait` for it, or
        `release` to give it up). Several (1 to 64, taken in the order of their serialised bytes): all are held, or none is
        and it raises AcquireTimeout. `read` answers the rows of the keys, which must then be whole primary keys.
        Overloaded: the queue is full. An entry whose client shows no sign of life for its lease is dropped; one that is dropped
        while this call waits, because its process was late to renew it, is asked for anew at the end of the queue."""
        ...

    def wait(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT, read: bool = False) -> LockAnswer:
        """Wait up to `wait_ms` for a waiting reference to hold; a sign of life. LockLost if it is gone."""
        ...

    def renew(self, reference: str) -> LockAnswer:
        """A sign of life; the state of the reference. LockLost if it is gone."""
        ...

    def promote(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT) -> LockAnswer:
        """Make a shared holder exclusive once the others of its run have left; CompareFailed if another promotion is under
        way in the run, AcquireTimeout if it was withdrawn after `wait_ms`."""
        ...

    def release(self, reference: str, *, validate: bool = True) -> ReleaseAnswer:
        """Release a held reference or give up a waiting one. `validate` waits until it is applied; LockLost if it was not,
        which leaves writes acknowledged before unproven. Without it the release is carried out in the background.

        Of a set, every lock is tried. OutcomeUnknown with reason `partly_released` and `released` (keys and fencing tokens):
        some are released and another may be held; release again."""
        ...

    def queue(self, key: KeyName) -> QueueAnswer:
        """The queue of a lock key as this site sees it."""
        ...

    def preempt(self, key: KeyName, *, fencing_token: int | None = None, ordered_by: str | None = None) -> QueueAnswer:
        """Drop the holder (or the entry with that token) at once, without waiting for its lease, and raise the fence. Done
        answers of the dropped holder given meanwhile may be belied by this; it is for administrators.

        `ordered_by`: a name for the event that tells of it; a server that asks for credentials tells their name instead.
        The answer's `dropped` is empty if there was no holder. CompareFailed: no entry has that token."""
        ...

    def section(
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
        """Lock, carry out the steps in order, release. A step sees what earlier steps wrote. CompareFailed if an expectation
        does not hold: then no write was made. AcquireTimeout if the lock was not held within `wait_ms`. All writes are of
        rows that the lock key covers and, if there are several partitions, not atomic across them; a LockLost or
        OutcomeUnknown carries `steps_done`."""
        ...

    def events(self, *, keyspace: str | None = None, table: str | None = None) -> Iterator[Event]:
        """Events from now on. A reader that falls behind gets one event of kind `gap` in place of what it missed."""
        ...

    def health(self) -> Health: ...

    def close(self) -> None:
        """Finish what is under way, let go of everything."""
        ...
