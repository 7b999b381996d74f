"""A process of its own that counts in one cell of a database file, and tells on its standard output what was answered.

    python -m tests.support.counting_process FILE NAME COUNT

It adds COUNT to the cell from a few tasks, half by compare-and-set and half by joint steps that also write a row, and
prints `cas VERSION` or `row KEY` for each change that was answered applied, `seen TABLE` once it finds the table
`late`, and `end`.
"""

import asyncio
import sys
from pathlib import Path

from polysite.cells.contract import CellView
from polysite.cells.embedded import EmbeddedCells
from polysite.engines.sqlite import SqliteEngine
from polysite.errors import UnknownKey
from polysite.stores.contract import CellChange, TableWrites
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.store_contract.support import FLAT, KEYSPACE, flat, put

KEY = b"counted"
TASKS = 4


def tell(*words: object) -> None:
    print(*words, flush=True)


async def main(path: Path, name: str, count: int) -> None:
    engine = SqliteEngine(path)
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    await store.start()
    await cells.start()
    left = count
    number = 0

    async def add(*, jointly: bool) -> None:
        nonlocal left, number
        view = await cells.read(KEY)
        while left > 0:
            left -= 1
            while True:
                content = b"%d" % (int(view.content or b"0") + 1)
                number += 1
                key = f"{name}-{number}"
                if jointly:
                    writes = [TableWrites(FLAT, [put(flat(key), view.version + 1, size=number)])]
                    answer, _ = await store.joint(CellChange(KEY, view.version, content), writes)
                    applied, view = answer.applied, CellView(answer.version, answer.content)
                else:
                    applied, view = await cells.compare_and_set(KEY, view.version, content)
                if applied:
                    tell("cas", view.version)
                    if jointly:
                        tell("row", key)
                    break

    await asyncio.gather(*(add(jointly=at % 2 == 0) for at in range(TASKS)))
    try:
        await store.table(KEYSPACE, "late")
        tell("seen", "late")
    except UnknownKey:
        tell("missed", "late")
    await store.close()
    await cells.close()
    tell("end")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
