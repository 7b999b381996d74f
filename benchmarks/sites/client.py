"""A client at one site of the lab: `polysite lab exec SITE -- python -m benchmarks.sites.client JOB PLAN`, PLAN as JSON."""

import asyncio
import os
import sys

import msgspec

import polysite
from benchmarks.wan.tables import KEYSPACE, LOCKED, PLAIN, TEXT
from polysite.client import Site
from polysite.values.tables import Writes

from .cycles import again_and_again
from .engine import looked_at, tombstones
from .records import tell
from .sections import at_once

TABLES: dict[str, Writes] = {LOCKED: "sections", PLAIN: "eventual"}
FOLLOWS_S, ASKS_S = 120, 0.5
W_SPARE_MS = 40


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`begin_s` of the machine's monotonic clock; from then on so long clients warm up, and are measured."""

    site: str
    rtt_ms: float = 0
    cycles: int = 0
    warm_up: int = 0
    clients: int = 0
    begin_s: float = 0
    warm_s: float = 0
    lasts_s: float = 0


async def tables(_plan: Plan, site: Site) -> None:
    """Make what is measured on."""
    await site.create_keyspace(KEYSPACE)
    for name, writes in TABLES.items():
        await site.create_table(KEYSPACE, name, {"k": "text", "v": "text"}, partition_key="k", writes=writes)


async def cycles(plan: Plan, site: Site) -> None:
    """Lock cycles on one key, and on as many keys as there are cycles."""
    async with looked_at(os.environ["POLYSITE_URL"], plan.site) as port:
        await again_and_again(site.coordinator, port, cycles=plan.cycles, warm_up=plan.warm_up)


async def engine(plan: Plan, _site: Site) -> None:
    """What this site's Cassandra node counted."""
    async with looked_at(os.environ["POLYSITE_URL"], plan.site) as port:
        tell(await tombstones(port, plan.site))


async def sections(plan: Plan, site: Site) -> None:
    """Sections on distinct keys."""
    tell(
        await at_once(
            site.coordinator,
            site=plan.site,
            clients=plan.clients,
            from_s=plan.begin_s + plan.warm_s,
            until_s=plan.begin_s + plan.warm_s + plan.lasts_s,
            text=TEXT,
        )
    )


async def follow(plan: Plan, site: Site) -> None:
    """End when the site's process knows how far the others are: until then it reckons with more."""
    async with asyncio.timeout(FOLLOWS_S):
        while True:
            if (await site.coordinator.health()).majority_rtt_ms <= plan.rtt_ms + W_SPARE_MS:
                return
            await asyncio.sleep(ASKS_S)


JOBS = {"tables": tables, "cycles": cycles, "engine": engine, "sections": sections, "follow": follow}


async def run(job: str, plan: Plan) -> None:
    async with polysite.connect(os.environ["POLYSITE_URL"], answer_s=60) as site:
        await JOBS[job](plan, site)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Plan)))
