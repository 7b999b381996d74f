# Generated from src/polysite/client/_async/site.py by scripts/generate_sync.py; change that file, not this one.
"""What users hold: a site, and its tables. Over any coordinator, in this process or over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from polysite.api import (
    SELECT_LIMIT_DEFAULT,
    Columns,
    Event,
    Health,
    Kind,
    Level,
    PageAnswer,
    QueueAnswer,
    RowAnswer,
    RowExpectation,
    RowWrite,
    SectionAnswer,
    Step,
    WriteAnswer,
)
from polysite.client._sync.base import SiteBase
from polysite.client._sync.section import LockSet, LostCallback, Section
from polysite.client.naming import Key, Where, conditions, key_name, milliseconds, milliseconds_or_none, write_level
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, KeyspaceSpec, TableSpec, Writes, check_table

LEASE_S_DEFAULT = 10.0
WAIT_S_DEFAULT = 10.0


class Site(SiteBase):
    """One site. `with` closes it at the end; so does `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        self.coordinator.close()

    def create_keyspace(self, name: str, *, replicas: Mapping[str, int] | None = None) -> bool:
        """True: made now. False: it was there already, and equal. AlreadyExists: there, and different.

        `replicas`: copies that each site keeps; None: one at every site.
        """
        spec = KeyspaceSpec(name=name, replicas=dict(replicas) if replicas is not None else None)
        return self.coordinator.create_keyspace(spec)

    def drop_keyspace(self, name: str) -> bool:
        """Drop it with its tables. False: there was none."""
        return self.coordinator.drop_keyspace(name)

    def keyspaces(self) -> list[KeyspaceSpec]:
        return self.coordinator.keyspaces()

    def create_table(
        self,
        keyspace: str,
        name: str,
        columns: Mapping[str, str],
        *,
        partition_key: str | Sequence[str],
        clustering_key: Sequence[str | tuple[str, Literal["asc", "desc"]]] = (),
        lock_columns: Sequence[str] = (),
        writes: Writes = "sections",
        indexes: Mapping[str, str] | None = None,
    ) -> bool:
        """Make a table; the answer is as `create_keyspace`'s. `columns`: name to CQL type. `indexes`: name to column.

        site.create_table("voting", "votes", {"name": "text", "count": "int"}, partition_key="name")
        """
        spec = table_spec(
            keyspace,
            name,
            columns,
            partition_key=partition_key,
            clustering_key=clustering_key,
            lock_columns=lock_columns,
            writes=writes,
            indexes=indexes,
        )
        return self.coordinator.create_table(spec)

    def drop_table(self, keyspace: str, name: str) -> bool:
        """Drop it with its rows; the tickets of its keys go on from where they were if it is made again."""
        return self.coordinator.drop_table(keyspace, name)

    def tables(self, keyspace: str) -> list[TableSpec]:
        return self.coordinator.tables(keyspace)

    def table(self, keyspace: str, name: str) -> "Table":
        """The table by that name. Nothing is asked yet; a table that does not exist is told by the first call."""
        return Table(self, keyspace, name)

    def lock_set(
        self,
        keys: Sequence[tuple["Table", Key]],
        *,
        lease_s: float = LEASE_S_DEFAULT,
        wait_s: float = WAIT_S_DEFAULT,
        kind: Kind = "exclusive",
        validate: bool = False,
        owner: str | None = None,
        on_lost: LostCallback | None = None,
    ) -> LockSet:
        """Locks on 1 to 64 keys, all held inside the `with` or AcquireTimeout. They are taken in one order that
        is the same everywhere, so that two sets never wait for each other. Arguments as `Table.section`."""
        return LockSet(
            self,
            keys,
            kind=kind,
            lease_s=lease_s,
            wait_s=wait_s,
            validate=validate,
            owner=owner,
            on_lost=on_lost,
        )

    def events(self, *, keyspace: str | None = None, table: str | None = None) -> Iterator[Event]:
        """What happens at this site from now on; an event of kind `gap` stands for what a slow reader missed."""
        return self.coordinator.events(keyspace=keyspace, table=table)

    def health(self) -> Health:
        return self.coordinator.health()


class Table:
    """One table of a site. Keys are given by position (a tuple), by column name (a mapping), or bare if there is one."""

    def __init__(self, site: Site, keyspace: str, name: str) -> None:
        self.site = site
        self.keyspace = keyspace
        self.name = name

    def __repr__(self) -> str:
        return f"Table({self.keyspace}/{self.name})"

    def spec(self) -> TableSpec:
        """What the table is made of; UnknownKey if there is no such table."""
        return self.site.coordinator.table(self.keyspace, self.name)

    def create_index(self, name: str, column: str) -> bool:
        """True: made now. False: it was there already, and equal."""
        return self.site.coordinator.create_index(self.keyspace, self.name, IndexSpec(name=name, column=column))

    def drop_index(self, name: str) -> bool:
        return self.site.coordinator.drop_index(self.keyspace, self.name, name)

    def get(self, key: Key, *, level: Level = "eventual", reference: str | None = None) -> dict[str, Any] | None:
        """The row, None if there is none. `level` eventual: from the nearest replica, perhaps a little old; quorum: from a
        majority; critical: under the held lock `reference`; atomic: in a section opened and closed around this call."""
        return (self.read(key, level=level, reference=reference)).row

    def read(
        self, key: Key, *, level: Level = "eventual", reference: str | None = None, stamps: bool = False
    ) -> RowAnswer:
        """As `get`, with what it cost, and the stamp of each column if asked for."""
        row = key_name(self.spec(), key)
        answer = self.site.coordinator.get(row, level=level, reference=reference, stamps=stamps)
        self.site.round_trips += answer.round_trips
        return answer

    def put(
        self,
        key: Key,
        columns: Columns,
        *,
        level: Level | None = None,
        reference: str | None = None,
        expires_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Write the named columns; the others stay. `level` None: critical with a `reference`, else atomic on tables
        written in sections, else eventual. OutcomeUnknown: it may have happened; the same call with the same
        `idempotency_key` finds out without doing it twice."""
        spec = self.spec()
        answer = self.site.coordinator.put(
            key_name(spec, key),
            columns,
            level=_level(spec, level, reference),
            reference=reference,
            expires_ms=milliseconds_or_none(expires_s),
            idempotency_key=idempotency_key,
        )
        self.site.round_trips += answer.round_trips
        return answer

    def delete(
        self,
        key: Key,
        *,
        level: Level | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Delete the row, there or not. Arguments as `put`."""
        spec = self.spec()
        answer = self.site.coordinator.delete(
            key_name(spec, key),
            level=_level(spec, level, reference),
            reference=reference,
            idempotency_key=idempotency_key,
        )
        self.site.round_trips += answer.round_trips
        return answer

    def batch(
        self,
        writes: Sequence[RowWrite],
        *,
        level: Level | None = None,
        reference: str | None = None,
        expect: Sequence[RowExpectation] = (),
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        """Writes to one partition, all or none. `expect` is for tables written conditionally: CompareFailed, with what
        was found in `rows`, if one does not hold."""
        spec = self.spec()
        answer = self.site.coordinator.batch(
            self.keyspace,
            self.name,
            writes,
            level=_level(spec, level, reference),
            reference=reference,
            expect=expect,
            idempotency_key=idempotency_key,
        )
        self.site.round_trips += answer.round_trips
        return answer

    def select(
        self,
        where: Where | None = None,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        limit: int = SELECT_LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> PageAnswer:
        """A page of rows: of one partition, of an index, or of the whole table (`where` None). The next one is asked for
        with its `cursor`, which is None when this was the last."""
        answer = self.site.coordinator.select(
            self.keyspace,
            self.name,
            where=conditions(where),
            level=level,
            reference=reference,
            limit=limit,
            cursor=cursor,
        )
        self.site.round_trips += answer.round_trips
        return answer

    def rows(
        self,
        where: Where | None = None,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        page_rows: int = SELECT_LIMIT_DEFAULT,
    ) -> Iterator[dict[str, Any]]:
        """As `select`, row by row; pages of `page_rows` are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = self.select(where, level=level, reference=reference, limit=page_rows, cursor=cursor)
            for row in page.rows:
                yield row
            cursor = page.cursor
            if cursor is None:
                return

    def section(
        self,
        key: Key,
        *,
        lease_s: float = LEASE_S_DEFAULT,
        wait_s: float | None = WAIT_S_DEFAULT,
        shared: bool = False,
        validate: bool = False,
        owner: str | None = None,
        read: bool = True,
        on_lost: LostCallback | None = None,
    ) -> Section:
        """A critical section on `key` (at least the lock columns), for `with`.

        `lease_s`: how long after this client's last sign of life the lock may be given to the next; signs are sent by
        themselves. `wait_s`: how long to wait for the lock (None: for ever), then AcquireTimeout. `validate`: wait at
        the end for the release to be applied, which proves every write of the section without any clock, and raises
        LockLost if it was not. `owner`: a name for the queue. `read`: fetch the row beside the acquire, so that the first
        get costs nothing. `on_lost`: called when the lock is lost, before the body is told.
        """
        return Section(
            self.site,
            self,
            key,
            kind="shared" if shared else "exclusive",
            lease_s=lease_s,
            wait_s=wait_s,
            validate=validate,
            owner=owner,
            read=read,
            on_lost=on_lost,
        )

    def run(
        self,
        key: Key,
        steps: Sequence[Step],
        *,
        lease_s: float = LEASE_S_DEFAULT,
        wait_s: float = WAIT_S_DEFAULT,
        validate: bool = False,
        owner: str | None = None,
        idempotency_key: str | None = None,
    ) -> SectionAnswer:
        """A whole section in one request: lock, the steps in order, release. CompareFailed: an expectation did not hold
        and nothing was written."""
        answer = self.site.coordinator.section(
            key_name(self.spec(), key),
            steps,
            wait_ms=milliseconds(wait_s),
            lease_ms=milliseconds(lease_s),
            validate=validate,
            owner=owner,
            idempotency_key=idempotency_key,
        )
        self.site.round_trips += answer.round_trips
        return answer

    def queue(self, key: Key) -> QueueAnswer:
        """Who holds the lock on `key` and who waits, as this site sees it."""
        answer = self.site.coordinator.queue(key_name(self.spec(), key))
        self.site.round_trips += answer.round_trips
        return answer

    def preempt(self, key: Key, *, fencing_token: int | None = None) -> QueueAnswer:
        """Drop the holder (or the entry with that fencing token) at once, without waiting for its lease. Answers `done`
        that it was given meanwhile may be belied by this; it is for administrators."""
        answer = self.site.coordinator.preempt(key_name(self.spec(), key), fencing_token=fencing_token)
        self.site.round_trips += answer.round_trips
        return answer


def table_spec(
    keyspace: str,
    name: str,
    columns: Mapping[str, str],
    *,
    partition_key: str | Sequence[str],
    clustering_key: Sequence[str | tuple[str, Literal["asc", "desc"]]] = (),
    lock_columns: Sequence[str] = (),
    writes: Writes = "sections",
    indexes: Mapping[str, str] | None = None,
) -> TableSpec:
    """The spec of a table, checked; BadRequest says what would be right."""
    return check_table(
        TableSpec(
            keyspace=keyspace,
            name=name,
            columns=tuple(ColumnSpec(column, cql_type) for column, cql_type in columns.items()),
            partition_key=(partition_key,) if isinstance(partition_key, str) else tuple(partition_key),
            clustering_key=tuple(
                ClusteringColumn(item) if isinstance(item, str) else ClusteringColumn(item[0], item[1])
                for item in clustering_key
            ),
            lock_columns=tuple(lock_columns),
            writes=writes,
            indexes=tuple(IndexSpec(name=index, column=column) for index, column in (indexes or {}).items()),
        )
    )


def _level(spec: TableSpec, level: Level | None, reference: str | None) -> Level:
    if level is not None:
        return level
    return "critical" if reference is not None else write_level(spec)
