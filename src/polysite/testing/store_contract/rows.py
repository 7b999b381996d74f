"""Single rows: cells by stamp, ties, tombstones, batches."""

import pytest

from polysite.errors import BadRequest, TooLarge, UnknownKey
from polysite.stores.contract import BATCH_WRITES_MAX, VALUE_BYTES_MAX, Store
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
from polysite.values.keys import RowKey
from polysite.values.rows import DeleteRow, Put, Write


class RowSuite(StoreSuite):
    """Per cell the higher stamp wins, whenever it arrives."""

    async def test_a_row_that_was_never_written_is_not_there(self, store: Store) -> None:
        """It is a row with `present` false."""
        await made(store, FLAT)
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.key, row.cells, row.present, row.row_stamp, row.absent) == (flat("a"), {}, False, 0, False)

    async def test_what_was_written_is_read_with_its_stamps(self, store: Store) -> None:
        """Both levels, values as bytes, the stamp of each cell."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red", size=7)], "majority")
        await store.write(FLAT, [put(flat("a"), 6, size=8)], "local")
        for level in ("local", "majority"):
            row = await store.read(FLAT, flat("a"), level)
            assert row.present
            assert {name: (cell.value, cell.stamp, cell.life_ms) for name, cell in row.cells.items()} == {
                "colour": (text("red"), 5, None),
                "size": (number(8), 6, None),
            }

    async def test_a_lower_stamp_loses_cell_by_cell(self, store: Store) -> None:
        """A later write with a lower stamp changes only the cells that have a still lower one."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 9, colour="red")], "majority")
        await store.write(FLAT, [put(flat("a"), 4, colour="blue", size=1)], "majority")
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"colour": "red", "size": 1}

    @pytest.mark.parametrize("swapped", [False, True])
    async def test_ties(self, store: Store, swapped: bool) -> None:
        """At one stamp the larger bytes win over the smaller, and a tombstone over both, in either order."""
        await made(store, FLAT)
        values: list[Write] = [put(flat("v"), 5, colour="red"), put(flat("v"), 5, colour="sable")]
        nulls: list[Write] = [put(flat("n"), 5, colour="red"), put(flat("n"), 5, colour=None)]
        rows: list[Write] = [put(flat("r"), 5, colour="red"), DeleteRow(key=flat("r"), stamp=5)]
        whole: list[Write] = [put(flat("w"), 5, colour="red", size=2), put(flat("w"), 5, colour="sable", size=1)]
        for pair in (values, nulls, rows, whole):
            for write in pair[::-1] if swapped else pair:
                await store.write(FLAT, [write], "majority")
        assert shown(await store.read(FLAT, flat("v"), "majority")) == {"colour": "sable"}
        assert shown(await store.read(FLAT, flat("w"), "majority")) == {"colour": "sable", "size": 2}
        assert shown(await store.read(FLAT, flat("n"), "majority")) == {}
        assert (await store.read(FLAT, flat("n"), "majority")).present
        assert not (await store.read(FLAT, flat("r"), "majority")).present

    async def test_the_same_write_again_changes_nothing(self, store: Store) -> None:
        """A put delivered after its own deletion stays deleted."""
        await made(store, FLAT)
        write = put(flat("a"), 5, colour="red")
        await store.write(FLAT, [write], "majority")
        await store.write(FLAT, [DeleteRow(key=flat("a"), stamp=6)], "majority")
        await store.write(FLAT, [write], "majority")
        assert not (await store.read(FLAT, flat("a"), "majority")).present

    async def test_the_marker_alone_makes_a_row(self, store: Store) -> None:
        """With a marker a row of nulls exists; without one it exists only while a cell has a value."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour=None, size=None)], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).present
        await store.write(FLAT, [put(flat("b"), 5, marker=False, colour="red")], "majority")
        assert (await store.read(FLAT, flat("b"), "majority")).present
        await store.write(FLAT, [put(flat("b"), 6, marker=False, colour=None)], "majority")
        assert not (await store.read(FLAT, flat("b"), "majority")).present
        await store.write(FLAT, [put(flat("c"), 5)], "majority")
        assert (await store.read(FLAT, flat("c"), "majority")).present

    async def test_a_row_tombstone_hides_what_is_at_or_below_it(self, store: Store) -> None:
        """Cells above it stay, whichever came first; the marker goes with what it was written with."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", 1), 9, marker=False, size=9)], "majority")
        await store.write(WIDE, [DeleteRow(key=wide("a", 1), stamp=7)], "majority")
        await store.write(WIDE, [put(wide("a", 1), 7, colour="red", size=1)], "majority")
        assert shown(await store.read(WIDE, wide("a", 1), "majority")) == {"size": 9}
        await store.write(WIDE, [put(wide("a", 1), 10, marker=False, size=None)], "majority")
        assert not (await store.read(WIDE, wide("a", 1), "majority")).present

    async def test_a_whole_put_does_not_forget_a_tombstone_it_stands_on(self, store: Store) -> None:
        """Deleted at 10, all columns put at 20: a mark that arrives late with stamp 5 stays hidden."""
        await made(store, FLAT)
        await store.write(FLAT, [DeleteRow(key=flat("a"), stamp=10)], "majority")
        await store.write(FLAT, [put(flat("a"), 20, colour="red", size=1)], "majority")
        late = Put(key=flat("a"), cells={}, stamp=5, marker=False, row_stamp=5, absent=True)
        await store.write(FLAT, [late], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (shown(row), row.row_stamp, row.absent) == ({"colour": "red", "size": 1}, 0, False)

    async def test_a_batch_is_carried_out_whole(self, store: Store) -> None:
        """Rows of one partition, deleted and put in one batch; of one row the later stamp wins, not the later place."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", year), 5, size=year) for year in range(5)], "majority")
        batch: list[Write] = [
            put(wide("a", 0), 8, size=80),
            put(wide("a", 0), 7, size=70),
            DeleteRow(key=wide("a", 1), stamp=6),
            put(wide("a", 9), 6, size=9),
        ]
        await store.write(WIDE, batch, "majority")
        page = await store.read_partition(WIDE, (text("a"),), "majority", limit=10)
        assert [shown(row)["size"] for row in page.rows] == [9, 4, 3, 2, 80]

    async def test_refused_writes_change_nothing(self, store: Store) -> None:
        """A batch with one bad write among good ones: none of it is there."""
        await made(store, WIDE)
        good = put(wide("a", 1), 5, size=1)
        bad: list[tuple[type[Exception], Put | DeleteRow]] = [
            (BadRequest, put(wide("b", 2), 5, size=1)),
            (UnknownKey, Put(key=wide("a", 2), cells={"weight": number(1)}, stamp=5)),
            (BadRequest, Put(key=wide("a", 2), cells={"year": number(1)}, stamp=5)),
            (BadRequest, put(wide("a", 2), 0, size=1)),
            (BadRequest, put(wide("a", 2), 2**63, size=1)),
            (BadRequest, put(wide("a", 2), 5, life_ms=0, size=1)),
            (BadRequest, put(RowKey((text("a"),), (number(1),)), 5, size=1)),
            (BadRequest, DeleteRow(key=RowKey((text("a"), text("b")), (number(1), text("t"))), stamp=5)),
            (TooLarge, Put(key=wide("a", 2), cells={"colour": b"x" * (VALUE_BYTES_MAX + 1)}, stamp=5)),
            (TooLarge, put(wide("a", 1, "x" * 5000), 5, size=1)),
        ]
        for error, write in bad:
            with pytest.raises(error):
                await store.write(WIDE, [good, write], "majority")
        with pytest.raises(TooLarge):
            await store.write(WIDE, [put(wide("a", n), 5, size=n) for n in range(BATCH_WRITES_MAX + 1)], "majority")
        assert (await store.read_partition(WIDE, (text("a"),), "majority", limit=10)).rows == []

    async def test_large_values_and_batches_up_to_the_bound(self, store: Store) -> None:
        """The largest value and the longest batch are taken."""
        await made(store, WIDE)
        value = b"v" * VALUE_BYTES_MAX
        await store.write(WIDE, [Put(key=wide("a", 1), cells={"colour": value}, stamp=5)], "majority")
        assert (await store.read(WIDE, wide("a", 1), "majority")).cells["colour"].value == value
        await store.write(WIDE, [put(wide("b", n), 5, size=n) for n in range(BATCH_WRITES_MAX)], "majority")
        page = await store.read_partition(WIDE, (text("b"),), "majority", limit=10_000)
        assert years(page.rows) == list(reversed(range(BATCH_WRITES_MAX)))

    async def test_keys_of_any_bytes(self, store: Store) -> None:
        """Empty, zero bytes, the highest bytes, a key that looks like two: each is its own row."""
        await made(store, WIDE)
        titles = ["", "\x00", "\x00\x00", "a\x00", "a", "a\x00b", "\U0010ffff", "é", "'; drop table x --"]
        names = ["n", "n\x00", "\x00n", *([""] if "empty_partition" in store.capabilities else [])]
        for name in names:
            writes = [put(wide(name, 1, title), 5, colour=name + title) for title in titles]
            await store.write(WIDE, writes, "majority")
        for name in names:
            page = await store.read_partition(WIDE, (text(name),), "majority", limit=100)
            found = [row.key.clustering[1] for row in page.rows]
            assert found == sorted(text(title) for title in titles)
            assert [row.cells["colour"].value for row in page.rows] == [text(name) + title for title in found]

    async def test_an_empty_partition_key_is_taken_or_refused(self, store: Store) -> None:
        """Where it cannot be it is refused by every verb, as a bad request; where it can it is a key like others, also beside others."""
        await made(store, WIDE)
        write = put(wide("", 1), 5, size=1)
        if "empty_partition" not in store.capabilities:
            for asked in (
                store.write(WIDE, [write], "majority"),
                store.read(WIDE, write.key, "majority"),
                store.read_partition(WIDE, write.key.partition, "majority", limit=10),
            ):
                with pytest.raises(BadRequest, match="empty"):
                    await asked
            return
        await store.write(WIDE, [write], "majority")
        assert shown(await store.read(WIDE, write.key, "majority")) == {"size": 1}
        assert [row.key for row in (await store.scan(WIDE, "majority", limit=10)).rows] == [write.key]
