"""Range tombstones: what they hide, before and after, alone and over each other."""

from polysite.stores.contract import Store
from polysite.testing.store_contract.support import (
    FLAT,
    WIDE,
    StoreSuite,
    flat,
    made,
    number,
    put,
    shown,
    text,
    wide,
    years,
)
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, Slice

PARTITION = (text("a"),)


def since(year: int, stamp: int, *, until: int | None = None) -> DeleteRange:
    """A tombstone over the years from `until` (None: the end of time) down to `year`."""
    lower = None if until is None else Bound((number(until),), True)
    return DeleteRange(partition=PARTITION, slice=Slice(lower, Bound((number(year),), True)), stamp=stamp)


class RangeSuite(StoreSuite):
    """A range tombstone hides what is stamped at or below it, now and later."""

    async def test_rows_written_later_with_a_lower_stamp_stay_hidden(self, store: Store) -> None:
        """At the tombstone's stamp and below it nothing appears, of whole puts either; above it rows do; outside all do."""
        await made(store, WIDE)
        await store.write(WIDE, [since(5, 10)], "majority")
        for year, stamp in ((10, 9), (11, 10)):
            await store.write(WIDE, [put(wide("a", year), stamp, colour="red", size=year)], "majority")
        for year, stamp in ((7, 9), (8, 10), (9, 11), (4, 1)):
            await store.write(WIDE, [put(wide("a", year), stamp, size=year)], "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=10)
        assert years(page.rows) == [9, 4]
        assert not (await store.read(WIDE, wide("a", 8), "majority")).present

    async def test_cells_above_a_tombstone_stay(self, store: Store) -> None:
        """Of a row written twice the higher cells stay and the lower ones go; its marker went with the lower ones."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", 7), 5, colour="red", size=1)], "majority")
        await store.write(WIDE, [put(wide("a", 7), 15, marker=False, size=2)], "majority")
        await store.write(WIDE, [since(5, 10)], "majority")
        assert shown(await store.read(WIDE, wide("a", 7), "majority")) == {"size": 2}
        await store.write(WIDE, [put(wide("a", 7), 16, marker=False, size=None)], "majority")
        assert not (await store.read(WIDE, wide("a", 7), "majority")).present

    async def test_overlapping_tombstones_each_hide_their_own(self, store: Store) -> None:
        """Three that overlap, the highest in the middle, in every order: each year obeys the highest over it."""
        await made(store, WIDE)
        tombstones = [since(2, 10, until=6), since(4, 30, until=5), since(5, 20, until=9)]
        highest = {1: 0, 2: 10, 3: 10, 4: 30, 5: 30, 6: 20, 7: 20, 8: 20, 9: 20, 10: 0}
        for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)):
            await made(store, WIDE)
            for at in order:
                await store.write(WIDE, [tombstones[at]], "majority")
            for year, stamp in highest.items():
                if stamp:
                    await store.write(WIDE, [put(wide("a", year, "at"), stamp, size=1)], "majority")
                await store.write(WIDE, [put(wide("a", year, "above"), stamp + 1, size=1)], "majority")
            page = await store.read_partition(WIDE, PARTITION, "majority", limit=100)
            assert [row.key for row in page.rows] == [wide("a", year, "above") for year in range(10, 0, -1)], order

    async def test_other_partitions_are_not_touched(self, store: Store) -> None:
        """A deletion of one whole partition leaves its neighbours in the order of keys."""
        await made(store, WIDE)
        names = ["a", "a\x00", "aa", *([""] if "empty_partition" in store.capabilities else [])]
        for name in names:
            await store.write(WIDE, [put(wide(name, 1), 5, size=1)], "majority")
        whole = DeleteRange(partition=PARTITION, slice=WHOLE_PARTITION, stamp=50)
        await store.write(WIDE, [whole], "majority")
        for name in names:
            assert (await store.read(WIDE, wide(name, 1), "majority")).present is (name != "a"), name

    async def test_a_partition_without_clustering_columns(self, store: Store) -> None:
        """Its deletion hides its one row."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, size=1)], "majority")
        whole = DeleteRange(partition=PARTITION, slice=WHOLE_PARTITION, stamp=6)
        await store.write(FLAT, [whole], "majority")
        await store.write(FLAT, [put(flat("a"), 6, colour="red")], "majority")
        assert not (await store.read(FLAT, flat("a"), "majority")).present
        await store.write(FLAT, [put(flat("a"), 7, colour="red")], "majority")
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"colour": "red"}

    async def test_settling_a_partition(self, store: Store) -> None:
        """A range tombstone and the rows it covers, written whole above it in the same batch: the rows stay."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", year), 5, size=year) for year in range(4)], "majority")
        whole = DeleteRange(partition=PARTITION, slice=WHOLE_PARTITION, stamp=100)
        rows = [put(wide("a", year), 101 + year, size=year) for year in range(3)]
        await store.write(WIDE, [whole, *rows], "majority")
        page = await store.read_partition(WIDE, PARTITION, "majority", limit=10)
        assert [(shown(row)["size"], row.cells["size"].stamp) for row in page.rows] == [(2, 103), (1, 102), (0, 101)]

    async def test_an_empty_range_hides_nothing(self, store: Store) -> None:
        """A slice whose ends cross."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", 5), 5, size=1)], "majority")
        crossed = Slice(Bound((number(1),), True), Bound((number(9),), True))
        await store.write(WIDE, [DeleteRange(partition=PARTITION, slice=crossed, stamp=50)], "majority")
        await store.write(WIDE, [put(wide("a", 4), 6, size=1)], "majority")
        assert years((await store.read_partition(WIDE, PARTITION, "majority", limit=9)).rows) == [5, 4]
