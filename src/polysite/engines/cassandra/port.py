"""What polysite asks of a Cassandra driver: about ten methods, plain values, and outcomes instead of a driver's errors.

Values are bytes in CQL serialisation in both directions, so that nothing is converted on the way and ties break by bytes.
A `Statement` says besides its text which CQL types it takes and gives: a driver that can bind no raw bytes needs them.

    find = Statement("SELECT v, c FROM ks.t WHERE k = ?", takes=(BLOB,), gives={"v": BIGINT, "c": BLOB})
    page = await port.read(find, [b"key"], consistency=Consistency.LOCAL_ONE)
    page.rows        # [[bytes.fromhex("0000000000000001"), b"content"]]

Statements are prepared once by their text and again by themselves when a server does not know them (any more). No write is
ever sent twice: no driver retries, none executes speculatively. A read is asked once more if a replica failed under it. Only the contact points are spoken to, for control as well.

What may be raised, and with which outcome (the table is `outcomes`):

    read            Unavailable, QuorumUnavailable, Overloaded               nothing happened
    write, write_batch, write_if                                             as read: certainly not carried out
                    OutcomeUnknown                                           sent, and not or not certainly answered
    all             BadRequest, TooLarge, UnknownKey, AlreadyExists, Unauthenticated, Forbidden     refused by the server
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple, TypeAlias

from polysite.values.types import CqlType


class Consistency(IntEnum):
    """How many replicas must have answered; the numbers are those of the native protocol."""

    ANY = 0
    ONE = 1
    QUORUM = 4
    ALL = 5
    LOCAL_QUORUM = 6
    SERIAL = 8
    LOCAL_SERIAL = 9
    LOCAL_ONE = 10


class Unset(Enum):
    """The one value that is none: the column stays as it is, and no tombstone is written."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

Value: TypeAlias = "bytes | Unset | None"
"""Serialised bytes, null (a tombstone where it is written), or UNSET."""

Row: TypeAlias = "list[bytes | None]"


class Statement(NamedTuple):
    """A CQL statement with `?` for its values. The text alone is what it is known by.

    `takes`: the type of each `?`. `gives`: the type of each column that an answer may hold, by its name or alias
    (`[applied]` need not be named); name what is computed: `writetime(v) AS stamp`.
    """

    text: str
    takes: tuple[CqlType, ...] = ()
    gives: Mapping[str, CqlType] = {}


Bound: TypeAlias = "tuple[Statement, Sequence[Value]]"
"""A statement and as many values as it takes."""


class Page(NamedTuple):
    """Rows in the server's order, the names of their columns, and where to go on; `paging_state` None: this was the last."""

    names: Sequence[str]
    rows: list[Row]
    paging_state: bytes | None = None


NOTHING = Page((), [])


class Conditional(NamedTuple):
    """Whether a conditional statement applied; if not, `found` has the rows that stood against it.

    `found` holds the columns Cassandra shows (the primary key and those of the conditions; all columns after IF NOT EXISTS)
    without `[applied]`, and no row at all where there was none.
    """

    applied: bool
    found: Page = NOTHING


class ServerFacts(NamedTuple):
    """What the Cassandra node asked says of itself (system.local)."""

    release: str
    """As "5.0.9"."""
    cluster: str
    data_center: str
    data_centers: frozenset[str]
    """Its own and those of the peers it knows."""


class CassandraPort(ABC):
    """One process's road to its site's Cassandra nodes. All of it is used from one event loop, any number of tasks at once."""

    driver: str
    """The name of the library that carries it."""

    @abstractmethod
    async def connect(self) -> None:
        """Open the connections. Unavailable: no contact point answers; Unauthenticated: it does not take the credentials.

        A connection that is lost later is opened again by itself, half a second after each failure; meanwhile calls are
        `Unavailable` at once. A second `connect` of a connected port does nothing.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connections; calls under way end with `OutcomeUnknown` (writes) or `Unavailable` (reads)."""

    @abstractmethod
    async def read(
        self,
        statement: Statement,
        values: Sequence[Value] = (),
        *,
        consistency: Consistency,
        page_rows: int = 0,
        paging_state: bytes | None = None,
    ) -> Page:
        """Execute a SELECT. At most `page_rows` rows (0: the server's answer in one piece), after where `paging_state` left off.

        With SERIAL or LOCAL_SERIAL it is linearizable with the conditional writes of that scope. Never OutcomeUnknown:
        whatever a read fails with, it is asked again without harm. A paging state is only good for the same statement and
        values, and for the driver that made it.
        """

    @abstractmethod
    async def write(self, statement: Statement, values: Sequence[Value] = (), *, consistency: Consistency) -> None:
        """Execute an INSERT, UPDATE or DELETE; done when as many replicas as `consistency` says acknowledged it.

        Say USING TIMESTAMP: without it the stamp is of the server's clock or the driver's.

        OutcomeUnknown for every write time-out and failure: the coordinator had sent it to the replicas (engines may also
        deliver it later from a hint), and for every connection lost before the answer.
        """

    @abstractmethod
    async def write_batch(self, writes: Sequence[Bound], *, consistency: Consistency, logged: bool = False) -> None:
        """Execute several writes as one batch: atomic and isolated where all are of one partition of one table.

        `logged`: all of them some day even if they are of several partitions. Outcomes as `write`.
        """

    @abstractmethod
    async def write_if(self, writes: Sequence[Bound], *, commit: Consistency, serial: Consistency) -> Conditional:
        """Execute one conditional statement, or a batch of one partition of which at least one is conditional.

        `serial` is the scope of the agreement (SERIAL: all sites, LOCAL_SERIAL: this one), `commit` who must have stored the
        result when it returns (LOCAL_ONE, LOCAL_QUORUM). A time-out of the commit is done: it was agreed, and a later SERIAL
        read or conditional write finishes it. OutcomeUnknown: agreed or not, now or by a later contender.
        """

    async def transact(self, statement: Statement, values: Sequence[Value] = ()) -> Page:
        """Execute a transaction (BEGIN TRANSACTION … COMMIT TRANSACTION, Cassandra 6 with Accord): the rows of its SELECT, as
        they were before what it wrote. Outcomes as `write_if`; a time-out is always unknown."""
        raise NotImplementedError(f"{self.driver} carries no transactions")

    @abstractmethod
    async def define(self, text: str) -> None:
        """Execute a schema statement (CREATE, ALTER, DROP, TRUNCATE) without waiting for the other replicas: see `schema_agreed`.

        AlreadyExists: it is there; UnknownKey: what it names is not; OutcomeUnknown: not answered, look at the schema.
        """

    @abstractmethod
    async def schema_agreed(self) -> bool:
        """Whether every Cassandra node that the local one knows had its schema version when asked; Unavailable: no answer.

        A Cassandra node that is down keeps the version it had, so bound the waiting for it and go on.
        """

    @abstractmethod
    async def server(self) -> ServerFacts:
        """Ask the Cassandra node who it is. Unavailable: it does not answer."""

    @abstractmethod
    async def server_settings(self, names: Sequence[str]) -> dict[str, str | None]:
        """What is in force at the Cassandra node asked, by the names of cassandra.yaml (`system_views.settings`): None is null there;
        a name it does not know is absent."""
