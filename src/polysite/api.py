"""The coordinator protocol: the handful of verbs that everything else speaks.

The coordinator in this process (`site`) and the HTTP client (`client`) both implement it, so whatever stands on it
(recipes, console, command line, the tables of `polysite.open`) runs over either.

Column values are Python values of the column's CQL type as `values.types` defines them. Lock references are opaque
texts. Every answer carries `round_trips`: the wide-area round trips the caller waited for, added along the critical path.

Every verb may raise BadRequest or UnknownKey (refused, nothing changed) and Unavailable (refused, try again). A verb that
writes may raise OutcomeUnknown. What else a verb raises stands in its docstring.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

Level = Literal["eventual", "quorum", "critical", "atomic"]
"""eventual: nearest replica. quorum: a majority. critical: under a held reference. atomic: a section around this call."""

Kind = Literal["exclusive", "shared"]
Comparison = Literal["eq", "in", "lt", "le", "gt", "ge"]
Columns = Mapping[str, Any]

LEASE_MS_DEFAULT = 10_000
LEASE_MS_MAX = 3_600_000
"""The lowest lease is 10 W + 100 ms; with one site W is 0."""
WAIT_MS_DEFAULT = 10_000
WAIT_MS_MAX = 300_000
LOCK_SET_KEYS_MAX = 64
SECTION_STEPS_MAX = 1_000
SELECT_LIMIT_DEFAULT = 1_000


class KeyName(msgspec.Struct, frozen=True, kw_only=True):
    """A key by the names of its columns: a lock key (at least the lock columns) or a row key (the whole primary key)."""

    keyspace: str
    table: str
    key: dict[str, Any]


class RowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One row, None if it is not there. `stamps` (only if asked for): column name to stamp, for columns with a value."""

    row: dict[str, Any] | None
    stamps: dict[str, int] | None = None
    round_trips: float = 0


class WriteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The write is done. `stamp` is the highest stamp it used, None where the engine orders writes itself."""

    stamp: int | None = None
    round_trips: float = 0


class PageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a select and the cursor of the next page, None when this was the last."""

    rows: list[dict[str, Any]]
    cursor: str | None = None
    round_trips: float = 0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A selection by one column; `value` is a list for `in`."""

    column: str
    comparison: Comparison
    value: Any


class RowExpectation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="expect"):
    """What must hold of a row: `exists`, or each column of `equals` having that value (None: null).

    `key` None in a section: the row that the section's key names.
    """

    key: dict[str, Any] | None = None
    exists: bool | None = None
    equals: dict[str, Any] = {}


class RowGet(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="get"):
    """A step that reads a row; its result is the row or None. `key` None: the row that the section's key names."""

    key: dict[str, Any] | None = None


class RowPut(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="put"):
    """A write of the named columns (None: null); the others stay. `expires_ms` None: for ever."""

    columns: dict[str, Any]
    key: dict[str, Any] | None = None
    expires_ms: int | None = None


class RowDelete(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="delete"):
    """A deletion of one row."""

    key: dict[str, Any] | None = None


class RangeDelete(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="delete_range"):
    """A deletion of the rows of one partition that satisfy `where`: every partition column by eq, then a leading run of
    clustering columns by eq, then at most one more clustering column by lt / le / gt / ge."""

    where: list[Condition]


RowWrite = RowPut | RowDelete | RangeDelete
Step = RowGet | RowPut | RowDelete | RowExpectation


class HeldKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a lock: its ticket is the fencing token; `ahead` counts the entries before it in the queue."""

    keyspace: str
    table: str
    key: dict[str, Any]
    fencing_token: int
    ahead: int = 0


class LockAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a lock reference: `held`, or waiting. `rows` (only if asked for and held): one per key, None if absent."""

    reference: str
    held: bool
    kind: str
    lease_ms: int
    keys: list[HeldKey]
    rows: list[dict[str, Any] | None] | None = None
    round_trips: float = 0

    @property
    def fencing_token(self) -> int:
        """The ticket of the first key."""
        return self.keys[0].fencing_token


class ReleaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`validated`: the release was applied, which proves every write acknowledged under the reference was made as its
    legitimate holder. Not validated: it is carried out in the background."""

    validated: bool
    round_trips: float = 0


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a key's queue, without its secret."""

    fencing_token: int
    kind: str
    held: bool
    site: str
    process: str
    lease_ms: int
    owner: str | None = None


class QueueAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of one key, holder first, and the highest ticket ever issued for it. `dropped`: the fencing tokens of the
    entries that this call preempted."""

    entries: list[QueueEntry]
    issued: int
    dropped: list[int] = []
    round_trips: float = 0


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a queue and its lock reference, for interfaces that know locks by key and ticket. The reference is as good as
    the lock."""

    reference: str
    fencing_token: int
    kind: str
    held: bool
    lease_ms: int
    owner: str | None = None
    round_trips: float = 0

    def __repr__(self) -> str:
        return f"Ticket(fencing_token={self.fencing_token}, held={self.held})"


class SectionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole section, done: `results` has one item per step (a row or None for a get, None otherwise)."""

    results: list[dict[str, Any] | None]
    fencing_token: int
    validated: bool
    round_trips: float = 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at this site. `at_us`: wall clock, microseconds since 1970, of the process that tells it."""

    kind: Literal["granted", "lost", "preempted", "released", "ownership", "health", "gap"]
    at_us: int
    site: str
    keyspace: str | None = None
    table: str | None = None
    key: dict[str, Any] | None = None
    fencing_token: int | None = None
    detail: str | None = None


class SiteReach(msgspec.Struct, frozen=True, kw_only=True):
    """How another site is reached. `answers`: it did in one of the last rounds; `rtt_ms`: the round trip to it, None if not.

    `reason`: why it does not answer, if that is known and somebody must mend it, as a certificate that is not trusted.
    """

    site: str
    answers: bool
    rtt_ms: float | None = None
    reason: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the process can serve: `ready` false comes with the reasons.

    For information: `sites`, how the other sites are reached (one that does not answer makes this one no less ready), and
    `majority_rtt_ms`, the round trip to the nearest majority of sites that leases and waits are reckoned with.
    """

    ready: bool
    site: str
    process: str
    version: str
    reasons: list[str] = []
    sites: list[SiteReach] = []
    majority_rtt_ms: int = 0


class Coordinator(Protocol):
    """One site's coordinator, in this process or over HTTP."""

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        """True: made now. False: there already, and equal. AlreadyExists: there, and different."""
        ...

    async def drop_keyspace(self, keyspace: str) -> bool:
        """Drop it with its tables. False: there was none."""
        ...

    async def keyspaces(self) -> list[KeyspaceSpec]: ...

    async def create_table(self, spec: TableSpec) -> bool:
        """As `create_keyspace`."""
        ...

    async def drop_table(self, keyspace: str, table: str) -> bool:
        """Drop it with its rows. Tickets of its keys go on from where they were if it is made again."""
        ...

    async def tables(self, keyspace: str) -> list[TableSpec]: ...

    async def table(self, keyspace: str, table: str) -> TableSpec: ...

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        """As `create_keyspace`."""
        ...

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool: ...

    async def get(
        self, row: KeyName, *, level: Level = "eventual", reference: str | None = None, stamps: bool = False
    ) -> RowAnswer:
        """The row. `critical` needs a held `reference` that covers it: NotHolder while it waits, LockLost when it is gone."""
        ...

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
        """Write the named columns; the row exists afterwards. Refused with BadRequest where the table's `writes` does not
        allow the level. Critical: NotHolder, LockLost (nothing was sent), or OutcomeUnknown with reason `lock_lost`."""
        ...

    async def delete(
        self,
        row: KeyName,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Delete the row; one that is not there is deleted all the same. Refusals as `put`."""
        ...

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
        """Rows of one partition (all partition columns by eq, clustering columns by a leading run of eq and one range), of an
        index (eq on an indexed column), or of the whole table (no condition). Anything else is BadRequest: nothing is
        filtered behind the scenes. A critical select needs one partition that the reference covers."""
        ...

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
        """Writes to one partition, all or none, with consecutive stamps. `expect` only on `conditional` tables (CompareFailed
        if one does not hold, with the attribute `rows`), and those tables take no other write. With `expect` there may be no
        write: it is done if everything holds."""
        ...

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
        """Enqueue, and wait up to `wait_ms` to hold. One key: the answer may be a waiting reference (`wait` for it, or
        `release` to give it up). Several (1 to 64, taken in the order of their serialised bytes): all are held, or none is
        and it raises AcquireTimeout. `read` answers the rows of the keys, which must then be whole primary keys.
        Overloaded: the queue is full. An entry whose client shows no sign of life for its lease is dropped; one that is dropped
        while this call waits, because its process was late to renew it, is asked for anew at the end of the queue."""
        ...

    async def wait(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT, read: bool = False) -> LockAnswer:
        """Wait up to `wait_ms` for a waiting reference to hold; a sign of life. LockLost if it is gone."""
        ...

    async def renew(self, reference: str) -> LockAnswer:
        """A sign of life; the state of the reference. LockLost if it is gone."""
        ...

    async def promote(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT) -> LockAnswer:
        """Make a shared holder exclusive once the others of its run have left; CompareFailed if another promotion is under
        way in the run, AcquireTimeout if it was withdrawn after `wait_ms`."""
        ...

    async def release(self, reference: str, *, validate: bool = True) -> ReleaseAnswer:
        """Release a held reference or give up a waiting one. `validate` waits until it is applied; LockLost if it was not,
        which leaves writes acknowledged before unproven. Without it the release is carried out in the background.

        Of a set, every lock is tried. OutcomeUnknown with reason `partly_released` and `released` (keys and fencing tokens):
        some are released and another may be held; release again."""
        ...

    async def queue(self, key: KeyName) -> QueueAnswer:
        """The queue of a lock key as this site sees it."""
        ...

    async def preempt(
        self, key: KeyName, *, fencing_token: int | None = None, ordered_by: str | None = None
    ) -> QueueAnswer:
        """Drop the holder (or the entry with that token) at once, without waiting for its lease, and raise the fence. Done
        answers of the dropped holder given meanwhile may be belied by this; it is for administrators.

        `ordered_by`: a name for the event that tells of it; a server that asks for credentials tells their name instead.
        The answer's `dropped` is empty if there was no holder. CompareFailed: no entry has that token."""
        ...

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
        """Lock, carry out the steps in order, release. A step sees what earlier steps wrote. CompareFailed if an expectation
        does not hold: then no write was made. AcquireTimeout if the lock was not held within `wait_ms`. All writes are of
        rows that the lock key covers and, if there are several partitions, not atomic across them; a LockLost or
        OutcomeUnknown carries `steps_done`."""
        ...

    def events(self, *, keyspace: str | None = None, table: str | None = None) -> AsyncIterator[Event]:
        """Events from now on. A reader that falls behind gets one event of kind `gap` in place of what it missed."""
        ...

    async def health(self) -> Health: ...

    async def close(self) -> None:
        """Finish what is under way, let go of everything."""
        ...
