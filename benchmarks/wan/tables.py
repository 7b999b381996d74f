"""The tables of the bench and the rows that are there before anything is measured."""

import asyncio
from collections.abc import Sequence

from polysite.api import Coordinator, KeyName, RowPut
from polysite.client import Site
from polysite.values.tables import Writes

KEYSPACE = "wan"
LOCKED, PLAIN, MIXED, PARTS, MIXED_PARTS = "locked", "plain", "mixed", "parts", "mixed_parts"
V2 = "v2"
"""Made by REST v2, which makes it as `MIXED` is."""
TEXT = "x" * 100
CONTENDED = "contended"
PREPARED_AT_ONCE = 8
OWNERS = ("a", "b", "c")
KEYS_PER_OWNER = 24


def owned(site: int, turn: int) -> list[str]:
    """The keys of a site in a turn: each turn another site has them, so that nobody measures only what it changed itself."""
    owner = OWNERS[(site + turn) % len(OWNERS)]
    return [f"{owner}-{number}" for number in range(KEYS_PER_OWNER)]


async def prepare(site: Site) -> None:
    """Make the tables, and the rows of `LOCKED` under locks, so that each is covered whole."""
    await site.create_keyspace(KEYSPACE)
    columns = {"k": "text", "v": "text", "n": "int"}
    rows: dict[str, Writes] = {LOCKED: "sections", PLAIN: "eventual", MIXED: "mixed"}
    for name, writes in rows.items():
        await site.create_table(KEYSPACE, name, columns, partition_key="k", writes=writes)
    partitions: dict[str, Writes] = {PARTS: "sections", MIXED_PARTS: "mixed"}
    for name, writes in partitions.items():
        columns = {"k": "text", "c": "int", "v": "text"}
        await site.create_table(KEYSPACE, name, columns, partition_key="k", clustering_key=["c"], writes=writes)
    names = [f"{owner}-{number}" for owner in OWNERS for number in range(KEYS_PER_OWNER)]
    await write_whole(site.coordinator, LOCKED, [*names, CONTENDED])


async def prepare_v2(site: Site) -> None:
    """As `prepare`, for the table of REST v2, which is there."""
    names = [f"{owner}-{number}" for owner in OWNERS for number in range(KEYS_PER_OWNER)]
    await write_whole(site.coordinator, V2, [*names, CONTENDED])


async def write_whole(coordinator: Coordinator, table: str, names: Sequence[str]) -> None:
    """Write each row whole in a section of its own."""
    enough = asyncio.Semaphore(PREPARED_AT_ONCE)

    async def one(name: str) -> None:
        async with enough:
            key = KeyName(keyspace=KEYSPACE, table=table, key={"k": name})
            await coordinator.section(key, [RowPut(columns={"v": TEXT, "n": 0})], validate=True)

    await asyncio.gather(*(one(name) for name in names))
