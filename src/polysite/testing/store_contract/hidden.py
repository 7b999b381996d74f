"""The hidden columns: row stamp, the mark of absence, the part stamp."""

import pytest

from polysite.errors import BadRequest
from polysite.stores.contract import Store
from polysite.testing.store_contract.support import FLAT, WIDE, StoreSuite, flat, made, number, put, shown, text, wide
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, DeleteRow, Put, SetPartStamp, Slice


def covering(stamp: int, *, absent: bool | None = False, marker: bool = True) -> Put:
    """A put of every column that also sets the row stamp."""
    cells: dict[str, bytes | None] = {"colour": text("red"), "size": number(stamp)}
    return Put(key=flat("a"), cells=cells, stamp=stamp, row_stamp=stamp, absent=absent, marker=marker)


class HiddenSuite(StoreSuite):
    """What polysite keeps beside the columns of a row."""

    async def test_a_cell_below_the_row_stamp_is_null(self, store: Store) -> None:
        """A cell that is stamped lower than its row's row stamp does not count, at it does."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")
        bare = Put(key=flat("a"), cells={"size": number(1)}, stamp=8, marker=False, row_stamp=8)
        await store.write(FLAT, [bare], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (shown(row), row.row_stamp, row.present) == ({"size": 1}, 8, True)

    async def test_the_row_stamp_is_told_and_stays(self, store: Store) -> None:
        """A partial put leaves it; a covering one with a higher stamp replaces it; one with a lower stamp does not."""
        await made(store, FLAT)
        await store.write(FLAT, [covering(10)], "majority")
        await store.write(FLAT, [put(flat("a"), 12, colour="blue")], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).row_stamp == 10
        await store.write(FLAT, [covering(9)], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).row_stamp == 10
        await store.write(FLAT, [covering(20)], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.row_stamp, shown(row)) == (20, {"colour": "red", "size": 20})

    async def test_the_row_stamp_is_a_value_of_its_own(self, store: Store) -> None:
        """It may be lower than the stamp that it was written with, and says so."""
        await made(store, FLAT)
        write = Put(key=flat("a"), cells={"colour": text("x")}, stamp=30, row_stamp=25)
        await store.write(FLAT, [write], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).row_stamp == 25

    async def test_a_row_tombstone_hides_the_hidden_columns(self, store: Store) -> None:
        """Row stamp and mark at or below it are gone."""
        await made(store, FLAT)
        await store.write(FLAT, [covering(10)], "majority")
        await store.write(FLAT, [DeleteRow(key=flat("a"), stamp=10)], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.present, row.row_stamp, row.absent) == (False, 0, False)

    async def test_a_row_marked_absent_is_not_shown_but_told(self, store: Store) -> None:
        """Tombstone and mark, as a re-stamp of an absent row writes them: no row, but its row stamp."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")
        mark = Put(key=flat("a"), cells={}, stamp=11, marker=False, row_stamp=11, absent=True)
        await store.write(FLAT, [DeleteRow(key=flat("a"), stamp=10), mark], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.present, row.absent, row.row_stamp, row.cells) == (False, True, 11, {})
        assert (await store.scan(FLAT, "majority", limit=10)).rows == []

    async def test_the_mark_ends_with_a_put_that_writes_it_as_null(self, store: Store) -> None:
        """`absent` False ends it; None leaves it, and the row stays hidden; a late True loses."""
        await made(store, FLAT)
        mark = Put(key=flat("a"), cells={}, stamp=11, marker=False, row_stamp=11, absent=True)
        await store.write(FLAT, [mark], "majority")
        await store.write(FLAT, [put(flat("a"), 12, colour="red")], "majority")
        assert not (await store.read(FLAT, flat("a"), "majority")).present
        await store.write(FLAT, [Put(key=flat("a"), cells={"size": number(1)}, stamp=13, absent=False)], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.present, row.absent, shown(row)) == (True, False, {"colour": "red", "size": 1})
        await store.write(FLAT, [mark], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).present

    async def test_absent_rows_do_not_count_against_a_limit(self, store: Store) -> None:
        """Of rows, absent rows and deleted ones a page of two has two that are there."""
        await made(store, WIDE)
        for year in range(9):
            await store.write(WIDE, [put(wide("a", year), 5, size=year)], "majority")
        for year in (8, 6, 5):
            mark = Put(key=wide("a", year), cells={}, stamp=11, marker=False, row_stamp=11, absent=True)
            await store.write(WIDE, [mark], "majority")
        await store.write(WIDE, [DeleteRow(key=wide("a", 4), stamp=11)], "majority")
        page = await store.read_partition(WIDE, (text("a"),), "majority", limit=2)
        assert [shown(row) for row in page.rows] == [{"size": 7}, {"size": 3}]
        page = await store.scan(WIDE, "majority", limit=2)
        assert [shown(row) for row in page.rows] == [{"size": 7}, {"size": 3}]

    async def test_the_part_stamp_belongs_to_the_partition(self, store: Store) -> None:
        """Told by every read of the partition, of rows and of none; a partition with nothing else shows no row."""
        await made(store, WIDE)
        partition = (text("a"),)
        await store.write(WIDE, [SetPartStamp(partition=partition, part_stamp=40, stamp=50)], "majority")
        assert (await store.read(WIDE, wide("a", 1), "majority")).part_stamp == 40
        page = await store.read_partition(WIDE, partition, "majority", limit=10)
        assert (page.rows, page.part_stamp) == ([], 40)
        assert (await store.scan(WIDE, "majority", limit=10)).rows == []
        await store.write(WIDE, [put(wide("a", 1), 5, size=1), put(wide("a", 2), 5, size=2)], "majority")
        page = await store.read_partition(WIDE, partition, "majority", limit=10)
        assert [row.part_stamp for row in page.rows] == [40, 40]
        assert (await store.read_partition(WIDE, (text("b"),), "majority", limit=10)).part_stamp == 0
        await store.write(WIDE, [SetPartStamp(partition=partition, part_stamp=99, stamp=49)], "majority")
        assert (await store.read(WIDE, wide("a", 1), "majority")).part_stamp == 40

    @pytest.mark.parametrize("late", [False, True])
    async def test_a_deletion_of_the_whole_partition_hides_the_part_stamp(self, store: Store, late: bool) -> None:
        """At or below its stamp, in either order; a deletion of a part of it does not."""
        await made(store, WIDE)
        partition = (text("a"),)
        static = SetPartStamp(partition=partition, part_stamp=40, stamp=50)
        whole = DeleteRange(partition=partition, slice=WHOLE_PARTITION, stamp=50)
        for write in (whole, static) if late else (static, whole):
            await store.write(WIDE, [write], "majority")
        assert (await store.read_partition(WIDE, partition, "majority", limit=10)).part_stamp == 0
        await store.write(WIDE, [SetPartStamp(partition=partition, part_stamp=41, stamp=51)], "majority")
        part = Slice(Bound((number(5),), True), None)
        await store.write(WIDE, [DeleteRange(partition=partition, slice=part, stamp=60)], "majority")
        assert (await store.read_partition(WIDE, partition, "majority", limit=10)).part_stamp == 41

    async def test_a_table_without_clustering_columns_has_no_part_stamp(self, store: Store) -> None:
        """It is refused, since its row has a row stamp."""
        await made(store, FLAT)
        with pytest.raises(BadRequest):
            await store.write(FLAT, [SetPartStamp(partition=(text("a"),), part_stamp=4, stamp=5)], "majority")
        await store.write(FLAT, [put(flat("a"), 5, size=1)], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).part_stamp == 0
