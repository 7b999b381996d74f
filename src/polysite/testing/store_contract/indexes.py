"""Secondary indexes."""

import pytest

from polysite.errors import AlreadyExists, BadRequest, TooLarge, UnknownKey
from polysite.stores.contract import VALUE_BYTES_MAX, Store
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract.support import (
    BY_COLOUR,
    BY_TITLE,
    KEYSPACE,
    WIDE,
    StoreSuite,
    made,
    need,
    put,
    settable,
    text,
    wide,
    years,
)
from polysite.values.rows import WHOLE_PARTITION, DeleteRange, DeleteRow, Put
from polysite.values.tables import IndexSpec, TableSpec


async def indexed(store: Store, *indexes: IndexSpec) -> TableSpec:
    await made(store, WIDE)
    for index in indexes:
        assert await store.create_index(KEYSPACE, "wide", index)
    return await store.table(KEYSPACE, "wide")


async def coloured(store: Store, table: TableSpec, colour: str) -> list[int]:
    """The years of all rows that an index finds, sorted, read in pages of two."""
    found: list[int] = []
    cursor = None
    while True:
        page = await store.scan(table, "majority", index=("colour", text(colour)), limit=2, cursor=cursor)
        found += years(page.rows)
        cursor = page.cursor
        if cursor is None:
            return sorted(found)


class IndexSuite(StoreSuite):
    """An index finds exactly the rows that have the value now."""

    async def test_indexes_are_made_once(self, store: Store) -> None:
        """Made, there already, another of that name or column, over nothing, over a partition column; dropped."""
        await indexed(store, BY_COLOUR)
        assert not await store.create_index(KEYSPACE, "wide", BY_COLOUR)
        with pytest.raises(AlreadyExists):
            await store.create_index(KEYSPACE, "wide", IndexSpec(name="by_colour", column="size"))
        with pytest.raises(UnknownKey):
            await store.create_index(KEYSPACE, "wide", IndexSpec(name="i", column="weight"))
        with pytest.raises(BadRequest):
            await store.create_index(KEYSPACE, "wide", IndexSpec(name="i", column="name"))
        with pytest.raises(UnknownKey):
            await store.create_index(KEYSPACE, "nothing", BY_COLOUR)
        assert await store.drop_index(KEYSPACE, "wide", "by_colour")
        assert not await store.drop_index(KEYSPACE, "wide", "by_colour")
        assert (await store.table(KEYSPACE, "wide")).indexes == ()

    async def test_rows_that_were_there_are_found(self, store: Store) -> None:
        """Write first, index afterwards; a value that was replaced is not found."""
        await made(store, WIDE)
        for year in range(6):
            await store.write(WIDE, [put(wide(f"p{year}", year), 5, colour="red" if year % 2 else "blue")], "majority")
        await store.write(WIDE, [put(wide("p1", 1), 6, colour="blue")], "majority")
        await store.create_index(KEYSPACE, "wide", BY_COLOUR)
        table = await store.table(KEYSPACE, "wide")
        assert await coloured(store, table, "red") == [3, 5]
        assert await coloured(store, table, "blue") == [0, 1, 2, 4]
        assert await coloured(store, table, "green") == []

    async def test_an_index_follows_every_kind_of_write(self, store: Store) -> None:
        """Changed, lost to a higher stamp, nulled, row deleted, range deleted, marked absent, hidden by a row stamp."""
        table = await indexed(store, BY_COLOUR)
        await store.write(table, [put(wide("a", year), 5, colour="red") for year in range(9)], "majority")
        await store.write(table, [put(wide("a", 0), 6, colour="blue")], "majority")
        await store.write(table, [put(wide("a", 1), 4, colour="blue")], "majority")
        await store.write(table, [put(wide("a", 2), 6, colour=None)], "majority")
        await store.write(table, [DeleteRow(key=wide("a", 3), stamp=6)], "majority")
        mark = Put(key=wide("a", 4), cells={}, stamp=9, marker=False, row_stamp=9, absent=True)
        await store.write(table, [mark], "majority")
        bare = Put(key=wide("a", 5), cells={}, stamp=9, row_stamp=9)
        await store.write(table, [bare], "majority")
        assert await coloured(store, table, "red") == [1, 6, 7, 8]
        assert await coloured(store, table, "blue") == [0]
        await store.write(table, [put(wide("a", 8), 20, colour="red")], "majority")
        whole = DeleteRange(partition=(text("a"),), slice=WHOLE_PARTITION, stamp=10)
        await store.write(table, [whole], "majority")
        assert await coloured(store, table, "red") == [8]
        assert await coloured(store, table, "blue") == []
        await store.write(table, [put(wide("a", 7), 9, colour="red")], "majority")
        assert await coloured(store, table, "red") == [8]

    async def test_an_index_over_a_clustering_column(self, store: Store) -> None:
        """Rows of several partitions by a part of their key, also of values that start alike."""
        table = await indexed(store, BY_TITLE)
        for name in ("a", "b"):
            await store.write(table, [put(wide(name, 1, title), 5) for title in ("x", "xy", "x\x00", "")], "majority")
        await store.write(table, [DeleteRow(key=wide("b", 1, "x"), stamp=6)], "majority")
        page = await store.scan(table, "majority", index=("title", text("x")), limit=10)
        assert [row.key for row in page.rows] == [wide("a", 1, "x")]
        page = await store.scan(table, "majority", index=("title", text("")), limit=10)
        assert [row.key for row in page.rows] == [wide("a", 1, ""), wide("b", 1, "")]

    async def test_long_values(self, store: Store) -> None:
        """Values that are the same for a long way and then differ are told apart; one over the engine's bound is refused."""
        table = await indexed(store, BY_COLOUR)
        long = "x" * min(70_000, store.indexed_bytes_max - 1)
        await store.write(
            table, [put(wide("a", 1), 5, colour=long + "1"), put(wide("a", 2), 5, colour=long + "2")], "majority"
        )
        assert await coloured(store, table, long + "1") == [1]
        assert await coloured(store, table, long + "2") == [2]
        assert await coloured(store, table, long) == []
        if store.indexed_bytes_max < VALUE_BYTES_MAX:
            over = "x" * (store.indexed_bytes_max + 1)
            with pytest.raises(TooLarge):
                await store.write(table, [put(wide("a", 3), 5, colour=over)], "majority")
            assert await coloured(store, table, over) == []

    async def test_values_that_expire_are_no_longer_found(self, store: Store, clock: SteppedClock | None) -> None:
        """Found while it lives, not afterwards."""
        need(store, "expiry")
        stepped = settable(clock)
        table = await indexed(store, BY_COLOUR)
        await store.write(table, [put(wide("a", 1), 5, colour="red", life_ms=2_000)], "majority")
        assert await coloured(store, table, "red") == [1]
        stepped.advance_s(2)
        assert await coloured(store, table, "red") == []

    async def test_without_an_index_nothing_is_filtered(self, store: Store) -> None:
        """A column without an index is refused; so is one whose index was dropped."""
        table = await indexed(store, BY_COLOUR)
        with pytest.raises(UnknownKey):
            await store.scan(table, "majority", index=("size", b"\x00\x00\x00\x01"), limit=10)
        await store.drop_index(KEYSPACE, "wide", "by_colour")
        with pytest.raises(UnknownKey):
            await store.scan(table, "majority", index=("colour", text("red")), limit=10)
        await store.write(table, [put(wide("a", 1), 5, colour="red")], "majority")
        await store.create_index(KEYSPACE, "wide", BY_COLOUR)
        assert await coloured(store, table, "red") == [1]
