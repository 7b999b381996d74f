"""Finds owners of locks that wait for each other in a ring, over all sites.

Every entry with an owner is listed in a table of ours, by the table of its key, before its author looks at the list: of two that
close a ring at the same time at least one sees the other. What is listed is only where to look; who waits is read from the cells.
"""

from polysite.core.rings import waits_in_ring, waits_of
from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.site.keys import KeyTable
from polysite.site.sessions import Sessions
from polysite.values.keys import LockKey, RowKey
from polysite.values.rows import DeleteRow, Put
from polysite.values.tables import RESERVED_KEYSPACE, ClusteringColumn, ColumnSpec, TableSpec

OWNERS = TableSpec(
    keyspace=RESERVED_KEYSPACE,
    name="owners",
    columns=(
        ColumnSpec("keyspace", "text"),
        ColumnSpec("table", "text"),
        ColumnSpec("lock", "blob"),
        ColumnSpec("ticket", "bigint"),
        ColumnSpec("owner", "text"),
    ),
    partition_key=("keyspace", "table"),
    clustering_key=(ClusteringColumn("lock"), ClusteringColumn("ticket")),
    writes="eventual",
)
LIFE_MS = 86_400_000
"""How long an entry is listed at most; it is taken off the list when it is seen to be gone."""
PAGE_ROWS = 1_000


class Owners:
    """The list of entries with owners, and who waits for whom."""

    def __init__(self, context: SiteContext, keys: KeyTable, sessions: Sessions) -> None:
        self._context = context
        self._store = context.store
        self._keys = keys
        self._sessions = sessions
        self._last_stamp = 0

    async def list_entry(self, key: LockKey, ticket: int, owner: str) -> float:
        """Put an entry on the list, where a majority sees it. The round trips."""
        cells: dict[str, bytes | None] = {"owner": OWNERS.types["owner"].serialise(owner)}
        life_ms = LIFE_MS if self._context.expiry else None
        put = Put(key=_row_key(key, ticket), cells=cells, stamp=self._next_stamp(), life_ms=life_ms)
        await self._store.write(OWNERS, [put], "majority")
        return self._store.costs.write_majority

    def take_off(self, key: LockKey, ticket: int) -> None:
        """Take an entry off the list, in the background."""
        delete = DeleteRow(key=_row_key(key, ticket), stamp=self._next_stamp())
        self._context.background(self._quietly(delete), name="site-owners")

    async def _quietly(self, delete: DeleteRow) -> None:
        try:
            await self._store.write(OWNERS, [delete], "local")
        except PolysiteError:
            return  # it is taken off by whoever finds it gone, or when its life is over

    async def waits_for_itself(self, key: LockKey, owner: str) -> tuple[bool, float]:
        """Whether an owner waits in a ring over keys of this key's table, and the round trips of finding that out."""
        types = OWNERS.types
        partition = (types["keyspace"].serialise(key.keyspace), types["table"].serialise(key.table))
        listed: dict[bytes, set[int]] = {}
        trips, cursor = 0.0, None
        while True:
            page = await self._store.read_partition(OWNERS, partition, "majority", limit=PAGE_ROWS, cursor=cursor)
            trips += self._store.costs.read_majority
            for row in page.rows:
                lock, ticket = row.key.clustering
                listed.setdefault(lock, set()).add(int.from_bytes(ticket, "big"))
            cursor = page.cursor
            if cursor is None:
                break
        # A view of this site may show who has let go since: a ring found in views is looked for in the cells themselves.
        for linearizable in (False, True):
            pairs: set[tuple[str, str]] = set()
            for encoded, tickets in listed.items():
                found, cost = await self._waits(LockKey.decode(encoded), encoded, tickets, linearizable=linearizable)
                pairs |= found
                trips += cost
            if not waits_in_ring(pairs, owner):
                return False, trips
        return True, trips

    async def _waits(
        self, key: LockKey, encoded: bytes, tickets: set[int], *, linearizable: bool
    ) -> tuple[set[tuple[str, str]], float]:
        state = self._keys.take(key, encoded)
        try:
            trips = await self._sessions.combiner.look(state, linearizable=linearizable)
            if not linearizable and state.cell.issued < max(tickets):
                # This site's view is older than the entry.
                trips += await self._sessions.combiner.look(state, linearizable=True)
            for ticket in tickets - {entry.ticket for entry in state.cell.queue}:
                self.take_off(key, ticket)
            return waits_of(state.cell), trips
        finally:
            self._keys.drop(state)

    def _next_stamp(self) -> int:
        self._last_stamp = max(self._context.clock.wall_us(), self._last_stamp + 1)
        return self._last_stamp


def _row_key(key: LockKey, ticket: int) -> RowKey:
    types = OWNERS.types
    partition = (types["keyspace"].serialise(key.keyspace), types["table"].serialise(key.table))
    return RowKey(partition, (key.encode(), types["ticket"].serialise(ticket)))
