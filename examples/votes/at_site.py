"""What `sites` has done at one site, inside its network: make the table, look how far the counting is, read the totals."""

import argparse
import asyncio
import json

import polysite
from polysite.errors import PolysiteError

from .interfaces import COLUMNS
from .tasks import KEYSPACE, TABLE

AGAIN_S = 1.0


async def make(site: polysite.Site) -> None:
    await site.create_keyspace(KEYSPACE)
    await site.create_table(KEYSPACE, TABLE, columns=COLUMNS, partition_key=["choice"])


async def votes(site: polysite.Site) -> None:
    print(sum([row["votes"] or 0 async for row in site.table(KEYSPACE, TABLE).rows()]))


async def totals(site: polysite.Site) -> None:
    """Each count as the next holder would get it: read under the key's lock."""
    table = site.table(KEYSPACE, TABLE)
    choices = [row["choice"] async for row in table.rows(level="quorum")]
    found = {choice: (await table.get(choice, level="atomic") or {}).get("votes") for choice in choices}
    print(json.dumps(found))


async def run(arguments: argparse.Namespace) -> None:
    while True:
        try:
            async with polysite.connect(arguments.url) as site:
                return await {"make": make, "votes": votes, "totals": totals}[arguments.what](site)
        except PolysiteError as error:
            if not error.retry:
                raise
            await asyncio.sleep(AGAIN_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "votes", "totals"))
    parser.add_argument("--url", required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
