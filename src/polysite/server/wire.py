"""The bodies of `/v3`: every request and every answer as a struct.

Answers are the structs of `polysite.api`, their values in JSON form; they are written out again here only where the wire
differs. Requests are strict: an unknown member is refused by its name, a number outside its bounds with the bounds.
Column values are whatever JSON can hold until `convert` reads them by the column's type.
"""

from typing import Annotated, Any, Literal

import msgspec

from polysite import api
from polysite.values.tables import ClusteringColumn, ColumnSpec, Direction, IndexSpec, KeyspaceSpec, TableSpec, Writes

LIMIT_MAX = 10_000
EXPIRES_MS_MAX = 20 * 365 * 86_400_000
"""The longest life Cassandra takes."""
TICKET_MAX = 2**63 - 1

WaitMs = Annotated[int, msgspec.Meta(ge=0, le=api.WAIT_MS_MAX, description="how long to wait, in milliseconds")]
LeaseMs = Annotated[int, msgspec.Meta(ge=1, le=api.LEASE_MS_MAX, description="lease in milliseconds")]
ExpiresMs = Annotated[
    int, msgspec.Meta(ge=1, le=EXPIRES_MS_MAX, description="life of what is written, in milliseconds")
]
Limit = Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="rows in one answer")]
Owner = Annotated[str, msgspec.Meta(max_length=256, description="a name that the queue shows")]
Ticket = Annotated[int, msgspec.Meta(ge=1, le=TICKET_MAX, description="a fencing token")]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=1024 * 1024, description="a lock reference")]
Cursor = Annotated[str, msgspec.Meta(max_length=16 * 1024, description="where the page before ended")]
Name = Annotated[str, msgspec.Meta(max_length=1024)]
Comparison = api.Comparison
Triple = tuple[Name, Comparison, Any]
"""A condition: column, comparison, value (a list for `in`)."""


class Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request body."""

    def members_min(self) -> int:
        """How many members the body's JSON has at least, as far as that is seen at once."""
        return 0


class Empty(Body):
    """Nothing, or an empty object."""


class KeyspaceBody(Body):
    """A keyspace, named by the path. `replicas`: site to number of copies; null: one at every site."""

    replicas: dict[str, Annotated[int, msgspec.Meta(ge=1, le=100)]] | None = None

    def spec(self, name: str) -> KeyspaceSpec:
        return KeyspaceSpec(name=name, replicas=self.replicas)


class ColumnBody(Body):
    """A column's name and CQL type."""

    name: Name
    type: Name


class ClusteringBody(Body):
    """A clustering column and its direction."""

    name: Name
    direction: Direction = "asc"


class IndexBody(Body):
    """An index, named by the path."""

    column: Name


class NamedIndexBody(Body):
    """An index of a table that is made with it."""

    name: Name
    column: Name


class TableBody(Body):
    """A table, named by the path. `columns` is a list of {name, type}, or an object from name to type."""

    columns: list[ColumnBody] | dict[str, str]
    partition_key: list[Name]
    clustering_key: list[ClusteringBody | str] = []
    lock_columns: list[Name] = []
    writes: Writes = "sections"
    indexes: list[NamedIndexBody] = []

    def spec(self, keyspace: str, name: str) -> TableSpec:
        if isinstance(self.columns, dict):
            columns = tuple(ColumnSpec(column, cql_type) for column, cql_type in self.columns.items())
        else:
            columns = tuple(ColumnSpec(column.name, column.type) for column in self.columns)
        clustering = tuple(
            ClusteringColumn(column) if isinstance(column, str) else ClusteringColumn(column.name, column.direction)
            for column in self.clustering_key
        )
        return TableSpec(
            keyspace=keyspace,
            name=name,
            columns=columns,
            partition_key=tuple(self.partition_key),
            clustering_key=clustering,
            lock_columns=tuple(self.lock_columns),
            writes=self.writes,
            indexes=tuple(IndexSpec(name=index.name, column=index.column) for index in self.indexes),
        )


class PutBody(Body):
    """The columns to write (null: null; the others stay) and how long they live (null: for ever)."""

    columns: dict[str, Any]
    expires_ms: ExpiresMs | None = None

    def members_min(self) -> int:
        return 1 + len(self.columns) + (self.expires_ms is not None)


class RowGetBody(Body):
    """A row by its key, for keys that a path cannot carry."""

    key: dict[str, Any]


class RowPutBody(Body):
    """As `PutBody`, for keys that a path cannot carry."""

    key: dict[str, Any]
    columns: dict[str, Any]
    expires_ms: ExpiresMs | None = None


class RowDeleteBody(Body):
    """As `RowGetBody`, to delete the row."""

    key: dict[str, Any]


class SelectBody(Body):
    """A selection of rows, for conditions that a query cannot carry."""

    where: list[Triple] = []
    limit: Limit = api.SELECT_LIMIT_DEFAULT
    cursor: Cursor | None = None


class PutWrite(Body, tag_field="op", tag="put"):
    """A write of the named columns of one row. In a section the key may be left out: the row that its key names."""

    columns: dict[str, Any]
    key: dict[str, Any] | None = None
    expires_ms: ExpiresMs | None = None


class DeleteWrite(Body, tag_field="op", tag="delete"):
    """A deletion of one row."""

    key: dict[str, Any] | None = None


class RangeWrite(Body, tag_field="op", tag="delete_range"):
    """A deletion of a slice of a partition."""

    where: list[Triple]


class GetStep(Body, tag_field="op", tag="get"):
    """A read of one row."""

    key: dict[str, Any] | None = None


class ExpectStep(Body, tag_field="op", tag="expect"):
    """What must hold of a row: that it exists or not, or that columns have these values (null: null)."""

    key: dict[str, Any] | None = None
    exists: bool | None = None
    equals: dict[str, Any] = {}


class Expectation(Body):
    """As the step `expect`; the row's key is given."""

    key: dict[str, Any]
    op: Literal["expect"] = "expect"
    exists: bool | None = None
    equals: dict[str, Any] = {}


class BatchBody(Body):
    """Writes to one partition, all or none. `expect` is for tables with `writes` = conditional; with it there may be no
    write, which only looks whether it holds."""

    writes: Annotated[list[PutWrite | DeleteWrite | RangeWrite], msgspec.Meta(max_length=1_000)] = []
    level: api.Level | None = None
    lock: Reference | None = None
    expect: Annotated[list[Expectation], msgspec.Meta(max_length=1_000)] = []


class KeyBody(Body):
    """A key by keyspace, table and the values of its columns."""

    keyspace: Name
    table: Name
    key: dict[str, Any]


class AcquireBody(Body):
    """The wish for a lock on 1 to 64 keys."""

    keys: Annotated[list[KeyBody], msgspec.Meta(min_length=1, max_length=api.LOCK_SET_KEYS_MAX)]
    kind: api.Kind = "exclusive"
    lease_ms: LeaseMs = api.LEASE_MS_DEFAULT
    wait_ms: WaitMs = api.WAIT_MS_DEFAULT
    owner: Owner | None = None
    read: bool = False


class WaitBody(Body):
    """How long to wait for a waiting reference, and whether to read the rows once it holds."""

    wait_ms: WaitMs = api.WAIT_MS_DEFAULT
    read: bool = False


class PromoteBody(Body):
    """How long to wait for the others of a shared run to leave."""

    wait_ms: WaitMs = api.WAIT_MS_DEFAULT


class QueueBody(Body):
    """A key whose queue is asked for."""

    key: KeyBody


class PreemptBody(Body):
    """A key whose holder (or whose entry with that fencing token) is dropped. `ordered_by`: a name for the event that tells
    of it; with bearer tokens it is that of the token."""

    key: KeyBody
    fencing_token: Ticket | None = None
    ordered_by: Owner | None = None


class SectionBody(Body):
    """A whole critical section: lock, carry out the steps in order, release."""

    key: KeyBody
    steps: Annotated[
        list[GetStep | PutWrite | DeleteWrite | ExpectStep],
        msgspec.Meta(min_length=1, max_length=api.SECTION_STEPS_MAX),
    ]
    wait_ms: WaitMs = api.WAIT_MS_DEFAULT
    lease_ms: LeaseMs = api.LEASE_MS_DEFAULT
    validate: bool = False
    owner: Owner | None = None


class Keyspaces(msgspec.Struct, frozen=True):
    """All keyspaces the caller may read."""

    keyspaces: list[KeyspaceSpec]


class Tables(msgspec.Struct, frozen=True):
    """All tables of a keyspace."""

    tables: list[TableSpec]


class Dropped(msgspec.Struct, frozen=True):
    """Whether there was one to drop; afterwards there is none."""

    dropped: bool


class Live(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What this server is."""

    name: str
    version: str
    site: str
    process: str
    openapi: str
    wire: int = 3
