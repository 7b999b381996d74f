"""A look at a site's Cassandra node beside polysite: the lengths of lock cells, and the tombstones that reads met."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import unpack
from urllib.parse import urlsplit

from benchmarks.wan.tables import KEYSPACE
from polysite.cells.cassandra import KEYSPACE as CELLS
from polysite.cells.cassandra import TABLE
from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.values.types import parse_type

from .records import Tombstones

BLOB, TEXT, BIGINT, DOUBLE = (parse_type(name) for name in ("blob", "text", "bigint", "double"))
CELL = Statement(
    f'SELECT content FROM "{CELLS}"."{TABLE}" WHERE key = ?',
    (BLOB,),
    {"content": BLOB},
)
ALL_CELLS = Statement(f'SELECT key, content FROM "{CELLS}"."{TABLE}"', gives={"key": BLOB, "content": BLOB})
MET = Statement(
    "SELECT keyspace_name, table_name, count, max FROM system_views.tombstones_per_read",
    gives={"keyspace_name": TEXT, "table_name": TEXT, "count": BIGINT, "max": DOUBLE},
)
PAGE_ROWS = 1_000
OURS = (b"polysite", KEYSPACE.encode())
PAXOS = (b"system", b"paxos")


@asynccontextmanager
async def looked_at(url: str, data_center: str) -> AsyncIterator[CassandraPort]:
    """A port to the Cassandra node of the site whose polysite is at `url`: the lab gives both one address."""
    address = urlsplit(url).hostname
    port = cassandra_port(cassandra_settings_from({"contact_points": [address], "data_center": data_center}))
    await port.connect()
    try:
        yield port
    finally:
        await port.close()


async def cell_lengths(port: CassandraPort, part: bytes) -> dict[bytes, int]:
    """Key of a cell → bytes of its content, of all cells that have `part` in their key."""
    found: dict[bytes, int] = {}
    state = None
    while True:
        page = await port.read(ALL_CELLS, consistency=Consistency.LOCAL_ONE, page_rows=PAGE_ROWS, paging_state=state)
        for key, content in page.rows:
            if key is not None and part in key:
                found[key] = len(content or b"")
        state = page.paging_state
        if state is None:
            return found


async def cell_length(port: CassandraPort, key: bytes) -> int:
    """Bytes of one cell, by its key."""
    page = await port.read(CELL, [key], consistency=Consistency.LOCAL_ONE)
    return len(page.rows[0][0] or b"")


async def tombstones(port: CassandraPort, site: str) -> list[Tombstones]:
    """Of every table of ours that was read, and of where Cassandra remembers what was agreed."""
    page = await port.read(MET, consistency=Consistency.ONE)
    found = []
    for keyspace, table, count, most in page.rows:
        if not _bytes(keyspace).startswith(OURS) and (keyspace, table) != PAXOS:
            continue
        name = f"{_bytes(keyspace).decode()}.{_bytes(table).decode()}"
        if reads := int.from_bytes(_bytes(count), "big"):
            found.append(Tombstones(site=site, table=name, reads=reads, most=unpack(">d", _bytes(most))[0]))
    return found


def _bytes(value: bytes | None) -> bytes:
    """Of a column that is never null."""
    assert value is not None
    return value
