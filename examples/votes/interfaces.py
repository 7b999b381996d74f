"""The interfaces that the ballots can be counted over: what a client process runs, how the table is made, and how it is read."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

import polysite

from .counter_v2 import FIELDS
from .tasks import KEYSPACE, TABLE
from .v2 import V2

COLUMNS = {"choice": "text", "votes": "bigint", "counted": "map<text, int>"}


class Way(NamedTuple):
    """`counter`: the module of a client process. `variables`: settings of the server. `totals`: the counts as they are now."""

    counter: str
    variables: Mapping[str, str]
    make: Callable[[str], Awaitable[None]]
    totals: Callable[[str], Awaitable[Counter[str]]]


async def _make(url: str) -> None:
    async with polysite.connect(url) as site:
        await site.create_keyspace(KEYSPACE)
        await site.create_table(KEYSPACE, TABLE, columns=COLUMNS, partition_key=["choice"])


async def _totals(url: str) -> Counter[str]:
    async with polysite.connect(url) as site:
        return Counter({row["choice"]: row["votes"] async for row in site.table(KEYSPACE, TABLE).rows()})


async def _make_v2(url: str) -> None:
    async with aclosing(V2(url)) as v2:
        await v2.make_table(KEYSPACE, TABLE, FIELDS, "choice")


async def _totals_v2(url: str) -> Counter[str]:
    async with aclosing(V2(url)) as v2:
        return Counter({row["choice"]: row["votes"] for row in await v2.rows(KEYSPACE, TABLE)})


WAYS = {
    "v3": Way("examples.votes.counter", {}, _make, _totals),
    # A lock of v2 has the server's lease: one that its client left behind is to be gone soon.
    "v2": Way("examples.votes.counter_v2", {"POLYSITE_V2_LEASE_MS": "3000"}, _make_v2, _totals_v2),
}
