"""What every adapter does with its reads: those that are asked again, and those that ask the server about itself."""

from abc import abstractmethod
from collections.abc import Sequence

from polysite.engines.cassandra.port import CassandraPort, Consistency, Page, ServerFacts, Statement, Value
from polysite.errors import QuorumUnavailable
from polysite.values.types import parse_type

_TEXT = parse_type("text")
_UUID = parse_type("uuid")

_LOCAL = Statement(
    "SELECT release_version, cluster_name, data_center FROM system.local WHERE key = 'local'",
    gives={"release_version": _TEXT, "cluster_name": _TEXT, "data_center": _TEXT},
)
_PEERS = Statement("SELECT data_center FROM system.peers_v2", gives={"data_center": _TEXT})
_LOCAL_SCHEMA = Statement(
    "SELECT schema_version FROM system.local WHERE key = 'local'", gives={"schema_version": _UUID}
)
_PEER_SCHEMAS = Statement("SELECT schema_version FROM system.peers_v2", gives={"schema_version": _UUID})
_SETTING = Statement("SELECT value FROM system_views.settings WHERE name = ?", takes=(_TEXT,), gives={"value": _TEXT})


class AskingPort(CassandraPort):
    """A port that asks again where that helps, and answers the questions about the server with its own `read`."""

    async def read(
        self,
        statement: Statement,
        values: Sequence[Value] = (),
        *,
        consistency: Consistency,
        page_rows: int = 0,
        paging_state: bytes | None = None,
    ) -> Page:
        try:
            return await self.read_once(
                statement, values, consistency=consistency, page_rows=page_rows, paging_state=paging_state
            )
        except QuorumUnavailable as error:
            if error.attributes.get("reason") != "read_failure":
                raise
        # The coordinator asks as few replicas as the level needs. When it finds out that one of them died (which fails the read at once,
        # though the others live) it does not ask that one again.
        return await self.read_once(
            statement, values, consistency=consistency, page_rows=page_rows, paging_state=paging_state
        )

    @abstractmethod
    async def read_once(
        self,
        statement: Statement,
        values: Sequence[Value] = (),
        *,
        consistency: Consistency,
        page_rows: int = 0,
        paging_state: bytes | None = None,
    ) -> Page:
        """As `read`; never sent twice."""

    async def schema_agreed(self) -> bool:
        mine = await self.read(_LOCAL_SCHEMA, consistency=Consistency.ONE)
        theirs = await self.read(_PEER_SCHEMAS, consistency=Consistency.ONE)
        return len({row[0] for row in mine.rows + theirs.rows}) == 1

    async def server(self) -> ServerFacts:
        local = await self.read(_LOCAL, consistency=Consistency.ONE)
        peers = await self.read(_PEERS, consistency=Consistency.ONE)
        release, cluster, data_center = ((value or b"").decode() for value in local.rows[0])
        others = {row[0].decode() for row in peers.rows if row[0] is not None}
        return ServerFacts(release, cluster, data_center, frozenset(others | {data_center}))

    async def server_settings(self, names: Sequence[str]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name in names:
            page = await self.read(_SETTING, [name.encode()], consistency=Consistency.ONE)
            for (value,) in page.rows:
                found[name] = None if value is None else value.decode()
        return found
