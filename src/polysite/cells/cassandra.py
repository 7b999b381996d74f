"""Lock cells as rows of one Cassandra table, changed by conditional writes on Paxos v2.

    "polysite_cells".cells (key blob PRIMARY KEY, version bigint, content blob)

The agreement is over all sites (SERIAL), or within one where the keyspace is pinned to it (LOCAL_SERIAL). What was agreed is
committed at LOCAL_QUORUM or LOCAL_ONE: the other sites get it on the way, and half a round trip later their local reads see it.
"""

from typing import ClassVar

from polysite.cells.contract import NEVER_WRITTEN, CellAnswer, CellCapability, CellCosts, Cells, CellView
from polysite.clock import Clock
from polysite.engines.cassandra import NOTHING, CassandraPort, Conditional, Consistency, Page, Statement
from polysite.engines.cassandra.checks import ServerChecked, check_server, ensure_keyspace, ensure_table
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.values.types import parse_type

KEYSPACE = "polysite_cells"
TABLE = "cells"
COLUMNS = {"key": "blob", "version": "bigint", "content": "blob"}

SEVERAL_SITES = CellCosts(read_local=0, read=1, compare_and_set=2, compare_and_set_refused=1)
"""Measured on three sites, 50 and 100 ms apart: Paxos v2, purging `repaired`, commit LOCAL_ONE or LOCAL_QUORUM, quiet key."""

_BLOB, _BIGINT = parse_type("blob"), parse_type("bigint")
_GIVES = {"key": _BLOB, "version": _BIGINT, "content": _BLOB}
_VERSION_BYTES = 8


class CassandraCells(Cells):
    """The cells of one Cassandra cluster, through its Cassandra nodes at this site."""

    name = "cassandra"
    table: ClassVar[str] = TABLE
    accord: ClassVar[bool] = False
    several_sites: ClassVar[CellCosts] = SEVERAL_SITES

    def __init__(self, port: CassandraPort, settings: CassandraSettings, *, clock: Clock) -> None:
        self._port = port
        self._settings = settings
        self._clock = clock
        self._serial = settings.serial
        self._commit = settings.commit_level
        self.costs = CellCosts() if len(settings.replication) == 1 else self.several_sites
        self.capabilities: frozenset[CellCapability] = frozenset({"local_view"})
        keyspace = settings.keyspace(KEYSPACE)
        where = f'"{keyspace}"."{self.table}"'
        self._keyspace = keyspace
        self._find = Statement(f"SELECT version, content FROM {where} WHERE key = ?", (_BLOB,), _GIVES)  # noqa: S608
        self._make = Statement(
            f"INSERT INTO {where} (key, version, content) VALUES (?, ?, ?) IF NOT EXISTS",  # noqa: S608
            (_BLOB, _BIGINT, _BLOB),
            _GIVES,
        )
        # A refusal shows the columns of the conditions: the second one, which always holds, is there to be told the content.
        self._change = Statement(
            f"UPDATE {where} SET version = ?, content = ? WHERE key = ? IF version = ? AND content != null",  # noqa: S608
            (_BIGINT, _BLOB, _BLOB, _BIGINT),
            _GIVES,
        )
        self._first_keys = Statement(f"SELECT key FROM {where} LIMIT ?", (parse_type("int"),), _GIVES)  # noqa: S608
        self._more_keys = Statement(
            f"SELECT key FROM {where} WHERE token(key) > token(?) LIMIT ?",  # noqa: S608
            (_BLOB, parse_type("int")),
            _GIVES,
        )

    async def start(self) -> None:
        """Connect, check the server, and see that keyspace and table are there. BadRequest says what to set otherwise."""
        await self._port.connect()
        checked = await self._check()
        await ensure_keyspace(self._port, self._settings, self._clock, self._keyspace, self._settings.replication)
        await ensure_table(
            self._port, self._settings, self._clock, self._keyspace, self.table, COLUMNS, accord=self.accord
        )
        if checked.is_durable:
            self.capabilities |= {"durable"}

    async def _check(self) -> ServerChecked:
        """Whether the server can hold these cells; BadRequest says what to set otherwise."""
        return await check_server(self._port, self._settings)

    async def close(self) -> None:
        await self._port.close()

    async def read_local(self, key: bytes) -> CellView:
        return _view(await self._port.read(self._find, [key], consistency=Consistency.LOCAL_ONE))

    async def read(self, key: bytes) -> CellView:
        """At SERIAL: it finishes a change that a majority may have accepted, and its ballot keeps older ones from being accepted.

        The coordinator of a change left unanswered may still begin it anew, within the server's time limit, but looks at the
        version again when it does.
        """
        return _view(await self._port.read(self._find, [key], consistency=self._serial))

    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        version = _bytes(expected_version + 1)
        if expected_version == 0:
            writes = [(self._make, [key, version, content])]
        else:
            writes = [(self._change, [version, content, key, _bytes(expected_version)])]
        answer: Conditional = await self._port.write_if(writes, commit=self._commit, serial=self._serial)
        if answer.applied:
            return CellAnswer(True, CellView(expected_version + 1, content))
        return CellAnswer(False, _view(answer.found))

    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        """In the order of their tokens, at LOCAL_ONE."""
        count = limit.to_bytes(4, "big")
        if after:
            page = await self._port.read(self._more_keys, [after, count], consistency=Consistency.LOCAL_ONE)
        else:
            page = await self._port.read(self._first_keys, [count], consistency=Consistency.LOCAL_ONE)
        return [row[0] for row in page.rows if row[0] is not None]


def _bytes(version: int) -> bytes:
    return version.to_bytes(_VERSION_BYTES, "big")


def _view(page: Page) -> CellView:
    """The cell in an answer; a row that is not there, or of which nothing is shown, was never written."""
    if page is NOTHING or not page.rows:
        return NEVER_WRITTEN
    row = dict(zip(page.names, page.rows[0], strict=True))
    version, content = row["version"], row["content"]
    if version is None:
        return NEVER_WRITTEN
    return CellView(int.from_bytes(version, "big"), content or b"")
