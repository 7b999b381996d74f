"""A full disk is told as refused, never as done: what a caller was told is what a reopened file shows.

Twice: with a bound on the pages of the file, and on a file system that really has no room (where one can be mounted).
"""

import asyncio
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from polysite.cells.embedded import EmbeddedCells
from polysite.engines.sqlite import SqliteEngine
from polysite.errors import PolysiteError, StoreFull
from polysite.stores.contract import CellChange, TableWrites
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.store_contract.support import FLAT, flat, made, put
from polysite.values.rows import DeleteRow

BIG = "x" * 20_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(where), b"tmpfs", 0, b"size=2m") != 0:
        pytest.skip(f"the right to mount a small file system is missing ({os.strerror(ctypes.get_errno())})")
    yield where
    libc.umount2(os.fsencode(where), 2)


async def fill(engine: SqliteEngine) -> tuple[set[str], int]:
    """Write rows, and jointly rows with a cell, in groups until the disk is full; (what was answered done, refusals)."""
    store = EmbeddedStore(engine)
    await store.start()
    await made(store, FLAT)
    done: set[str] = set()
    refusals: list[PolysiteError] = []

    async def write(name: str) -> None:
        writes = [put(flat(name), 5, colour=BIG)]
        try:
            if name.startswith("j"):
                await store.joint(CellChange(name.encode(), 0, b"there"), [TableWrites(FLAT, writes)])
            else:
                await store.write(FLAT, writes, "majority")
            done.add(name)
        except PolysiteError as error:
            refusals.append(error)

    for group in range(60):
        await asyncio.gather(*(write(f"{kind}{group}-{at}") for kind in "jw" for at in range(2)))
    assert {type(error) for error in refusals} == {StoreFull}
    assert all(error.outcome == "refused" and error.retry for error in refusals)
    await store.close()
    return done, len(refusals)


async def check_reopened(path: Path, done: set[str]) -> None:
    """Exactly what was answered done is there, rows and cells; and once there is room, writes work again."""
    engine = SqliteEngine(path)
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    await store.start()
    await cells.start()
    page = await store.scan(FLAT, "majority", limit=10_000)
    rows = set()
    while True:
        rows |= {row.key.partition[0].decode() for row in page.rows}
        if page.cursor is None:
            break
        page = await store.scan(FLAT, "majority", limit=10_000, cursor=page.cursor)
    assert rows == done
    assert {key.decode() for key in await cells.keys(b"", 10_000)} == {name for name in done if name.startswith("j")}
    await store.close()
    await cells.close()


@pytest.mark.parametrize("inline", [False, True])
async def test_a_file_that_may_not_grow(tmp_path: Path, inline: bool) -> None:
    """A bound of 300 pages: some writes are done, the others refused, and a reopened file shows exactly the former."""
    path = tmp_path / "polysite.db"
    done, refused = await fill(SqliteEngine(path, inline=inline, pages_max=300))
    assert done
    assert refused
    await check_reopened(path, done)


async def test_a_disk_without_room(small_disk: Path) -> None:
    """The same on a real small file system."""
    path = small_disk / "polysite.db"
    done, refused = await fill(SqliteEngine(path))
    assert done
    assert refused
    await check_reopened(path, done)


async def test_room_can_be_made(tmp_path: Path) -> None:
    """At the bound, deleting rows makes room, and the engine goes on without being opened anew."""
    engine = SqliteEngine(tmp_path / "polysite.db", pages_max=300)
    store = EmbeddedStore(engine)
    await store.start()
    await made(store, FLAT)
    names = [f"k{at}" for at in range(100)]
    written = []
    for name in names:
        try:
            await store.write(FLAT, [put(flat(name), 5, colour=BIG)], "majority")
            written.append(name)
        except StoreFull:
            break
    assert 0 < len(written) < len(names)
    for name in written[:5]:
        await store.write(FLAT, [DeleteRow(key=flat(name), stamp=6)], "majority")
    await store.write(FLAT, [put(flat("again"), 5, colour=BIG)], "majority")
    assert (await store.read(FLAT, flat("again"), "majority")).present
    await store.close()
