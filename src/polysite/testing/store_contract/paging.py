"""Pages and cursors."""

import pytest

from polysite.errors import BadRequest
from polysite.stores.contract import Store
from polysite.testing.store_contract.support import (
    BY_COLOUR,
    FLAT,
    KEYSPACE,
    WIDE,
    StoreSuite,
    flat,
    made,
    number,
    put,
    text,
    wide,
    years,
)
from polysite.values.rows import Bound, DeleteRange, DeleteRow, Slice

PARTITION = (text("a"),)


class PagingSuite(StoreSuite):
    """A cursor goes on where its page ended."""

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("limit", [1, 3, 7, 20, 21])
    async def test_pages_of_a_partition_have_every_row_once(self, store: Store, limit: int, reverse: bool) -> None:
        """Pages of any size, in either direction; the last one, and only it, has no cursor."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", year), 5, size=year) for year in range(21)], "majority")
        found: list[int] = []
        cursor = None
        while True:
            page = await store.read_partition(WIDE, PARTITION, "majority", limit=limit, cursor=cursor, reverse=reverse)
            assert len(page.rows) <= limit
            found += years(page.rows)
            cursor = page.cursor
            if cursor is None:
                break
            assert len(found) < 21
        assert found == (list(range(21)) if reverse else list(reversed(range(21))))

    async def test_pages_of_a_slice_stay_in_it(self, store: Store) -> None:
        """The last page ends where the slice ends, though the partition goes on."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", year), 5) for year in range(10)], "majority")
        part = Slice(Bound((number(7),), True), Bound((number(4),), True))
        page = await store.read_partition(WIDE, PARTITION, "majority", slice=part, limit=3)
        assert years(page.rows) == [7, 6, 5]
        page = await store.read_partition(WIDE, PARTITION, "majority", slice=part, limit=3, cursor=page.cursor)
        assert (years(page.rows), page.cursor) == ([4], None)

    async def test_pages_while_rows_come_and_go(self, store: Store) -> None:
        """Rows written or deleted behind the cursor do not move it; nothing is seen twice, what stays is seen."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", year), 5) for year in range(0, 20, 2)], "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=4)
        assert years(page.rows) == [18, 16, 14, 12]
        await store.write(WIDE, [put(wide("a", 15), 5), put(wide("a", 7), 5)], "majority")
        gone = [DeleteRow(key=wide("a", 12), stamp=6), DeleteRow(key=wide("a", 8), stamp=6)]
        await store.write(WIDE, gone, "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=4, cursor=page.cursor)
        assert years(page.rows) == [10, 7, 6, 4]
        rest = Slice(Bound((number(4),), True), None)
        await store.write(WIDE, [DeleteRange(partition=PARTITION, slice=rest, stamp=6)], "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=4, cursor=page.cursor)
        assert (page.rows, page.cursor) == ([], None)

    @pytest.mark.parametrize("limit", [1, 4, 500])
    async def test_a_scan_has_every_row_once(self, store: Store, limit: int) -> None:
        """Pages over many partitions, while others are written."""
        await made(store, WIDE)
        for at in range(12):
            await store.write(WIDE, [put(wide(f"p{at}", year), 5, size=year) for year in range(at % 3 + 1)], "majority")
        found = []
        cursor = None
        while True:
            page = await store.scan(WIDE, "majority", limit=limit, cursor=cursor)
            assert len(page.rows) <= limit
            found += [row.key for row in page.rows]
            if len(found) < 15:  # for ever would be a race with the scan
                await store.write(WIDE, [put(wide(f"new{len(found)}", 1), 5)], "majority")
            cursor = page.cursor
            if cursor is None:
                break
        assert len(found) == len(set(found))
        assert {wide(f"p{at}", year) for at in range(12) for year in range(at % 3 + 1)} <= set(found)

    async def test_a_long_run_of_deleted_rows_is_passed_over(self, store: Store) -> None:
        """Two thousand rows that are gone between two that are there: one page, no cursor."""
        await made(store, WIDE)
        for start in range(1, 2001, 500):
            await store.write(WIDE, [put(wide("a", year), 5) for year in range(start, start + 500)], "majority")
            await store.write(
                WIDE, [DeleteRow(key=wide("a", year), stamp=6) for year in range(start, start + 500)], "majority"
            )
        await store.write(WIDE, [put(wide("a", 0), 5), put(wide("a", 5000), 5)], "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=2)
        assert (years(page.rows), page.cursor) == ([5000, 0], None)
        page = await store.scan(WIDE, "majority", limit=2)
        assert (years(page.rows), page.cursor) == ([5000, 0], None)

    async def test_large_pages(self, store: Store) -> None:
        """Thousands of rows in one page."""
        await made(store, WIDE)
        for start in (0, 1_000):
            await store.write(WIDE, [put(wide("a", year), 5) for year in range(start, start + 1_000)], "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=2_000)
        assert (years(page.rows), page.cursor) == (list(reversed(range(2_000))), None)
        page = await store.scan(WIDE, "majority", limit=1_999)
        assert len(page.rows) == 1_999
        assert page.cursor is not None

    async def test_what_is_no_cursor_is_refused(self, store: Store) -> None:
        """Nonsense, a changed byte, a cursor of another partition, slice, direction, table or index."""
        await made(store, FLAT)
        await made(store, WIDE)
        await store.create_index(KEYSPACE, "wide", BY_COLOUR)
        wide_now = await store.table(KEYSPACE, "wide")
        await store.write(wide_now, [put(wide("a", year), 5, colour="red") for year in range(5)], "majority")
        for at in range(3):
            await store.write(FLAT, [put(flat(f"k{at}"), 5)], "majority")
        cursor = (await store.read_partition(wide_now, PARTITION, "majority", limit=2)).cursor
        of_scan = (await store.scan(wide_now, "majority", limit=2)).cursor
        of_index = (await store.scan(wide_now, "majority", index=("colour", text("red")), limit=2)).cursor
        assert cursor is not None
        assert of_scan is not None
        assert of_index is not None
        changed = bytes((*cursor[:-1], cursor[-1] ^ 1))
        for wrong in (b"", b"x", cursor[:-1], cursor + b"x", changed, of_scan):
            with pytest.raises(BadRequest):
                await store.read_partition(wide_now, PARTITION, "majority", limit=2, cursor=wrong)
        with pytest.raises(BadRequest):
            await store.read_partition(wide_now, (text("b"),), "majority", limit=2, cursor=cursor)
        with pytest.raises(BadRequest):
            await store.read_partition(wide_now, PARTITION, "majority", limit=2, cursor=cursor, reverse=True)
        part = Slice(Bound((number(4),), True), None)
        with pytest.raises(BadRequest):
            await store.read_partition(wide_now, PARTITION, "majority", slice=part, limit=2, cursor=cursor)
        for wrong in (b"x", cursor, of_index):
            with pytest.raises(BadRequest):
                await store.scan(wide_now, "majority", limit=2, cursor=wrong)
        with pytest.raises(BadRequest):
            await store.scan(FLAT, "majority", limit=2, cursor=of_scan)
        with pytest.raises(BadRequest):
            await store.scan(wide_now, "majority", index=("colour", text("blue")), limit=2, cursor=of_index)
