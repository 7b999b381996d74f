"""Conditional writes."""

import asyncio

import pytest

from polysite.errors import BadRequest, UnknownKey
from polysite.stores.contract import Predicate, Store, TableWrites
from polysite.testing.store_contract.support import (
    CONDITIONAL,
    FLAT,
    WIDE,
    StoreSuite,
    flat,
    made,
    need,
    number,
    put,
    shown,
    text,
    wide,
    years,
)
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, DeleteRow, Slice, Write

PARTITION = (text("a"),)


class ConditionalSuite(StoreSuite):
    """If every predicate holds then all writes, else none."""

    async def test_if_not_exists(self, store: Store) -> None:
        """The first insert applies; the second is told the row that is there."""
        need(store, "conditional_write")
        await made(store, CONDITIONAL)
        absent = Predicate(key=wide("a", 1), exists=False)
        assert (await store.write_if(CONDITIONAL, [absent], [put(wide("a", 1), 1, size=1)])).applied
        answer = await store.write_if(CONDITIONAL, [absent], [put(wide("a", 1), 1, size=2)])
        assert not answer.applied
        assert [(row.key, shown(row)) for row in answer.rows] == [(wide("a", 1), {"size": 1})]
        assert (await store.write_if(CONDITIONAL, [Predicate(key=wide("a", 1), exists=True)], [])).applied

    async def test_once(self, store: Store) -> None:
        """What goes beside the writes is made with them or not at all; if it is there already nothing is done, whatever the
        predicates say."""
        need(store, "conditional_write")
        need(store, "joint")
        await made(store, CONDITIONAL)
        await made(store, FLAT)
        absent = Predicate(key=wide("a", 1), exists=False)
        beside = TableWrites(FLAT, [put(flat("r"), 5, size=7)])
        there = Predicate(key=wide("a", 1), exists=True)
        answer = await store.write_if(CONDITIONAL, [there], [put(wide("a", 1), 1, size=1)], once=beside)
        assert (answer.applied, answer.found) == (False, None)
        assert not (await store.read(FLAT, flat("r"), "majority")).present
        answer = await store.write_if(CONDITIONAL, [absent], [put(wide("a", 1), 1, size=1)], once=beside)
        assert (answer.applied, answer.found) == (True, None)
        assert shown(await store.read(FLAT, flat("r"), "majority")) == {"size": 7}
        again = TableWrites(FLAT, [put(flat("r"), 6, size=8)])
        for expect in (absent, there):
            answer = await store.write_if(CONDITIONAL, [expect], [put(wide("a", 1), 1, size=2)], once=again)
            assert not answer.applied
            assert answer.found is not None
            assert shown(answer.found) == {"size": 7}
        assert shown(await store.read(CONDITIONAL, wide("a", 1), "majority")) == {"size": 1}

    async def test_by_value(self, store: Store) -> None:
        """Equal values apply, others do not; null is None, of a row that is not there too."""
        need(store, "conditional_write")
        await made(store, CONDITIONAL)
        nothing = Predicate(key=wide("a", 1), equals={"size": None, "colour": None})
        assert (await store.write_if(CONDITIONAL, [nothing], [put(wide("a", 1), 1, size=1)])).applied
        assert not (await store.write_if(CONDITIONAL, [nothing], [put(wide("a", 1), 1, size=9)])).applied
        one = Predicate(key=wide("a", 1), equals={"size": number(1), "colour": None})
        assert (await store.write_if(CONDITIONAL, [one], [put(wide("a", 1), 1, colour="red")])).applied
        assert not (await store.write_if(CONDITIONAL, [one], [put(wide("a", 1), 1, size=9)])).applied
        assert shown(await store.read(CONDITIONAL, wide("a", 1), "majority")) == {"colour": "red", "size": 1}

    async def test_several_predicates_and_writes(self, store: Store) -> None:
        """One that fails keeps every write away, and every row of a predicate is told, in their order."""
        need(store, "conditional_write")
        await made(store, CONDITIONAL)
        rows = [put(wide("a", year), 1, size=year) for year in range(4)]
        assert (await store.write_if(CONDITIONAL, [], rows)).applied
        expect = [Predicate(key=wide("a", year), equals={"size": number(year)}) for year in (2, 0, 1)]
        writes: list[Write] = [DeleteRow(key=wide("a", 0), stamp=1), put(wide("a", 7), 1, size=7)]
        wrong = [*expect, Predicate(key=wide("a", 9), exists=True)]
        answer = await store.write_if(CONDITIONAL, wrong, writes)
        assert not answer.applied
        assert [row.key for row in answer.rows] == [item.key for item in wrong]
        assert (await store.write_if(CONDITIONAL, expect, writes)).applied
        page = await store.read_partition(CONDITIONAL, PARTITION, "majority", limit=10)
        assert years(page.rows) == [7, 3, 2, 1]

    async def test_a_later_one_always_wins(self, store: Store) -> None:
        """Stamps in the writes are ignored: deleted and made again, ranges too, with the highest and the lowest stamps."""
        need(store, "conditional_write")
        await made(store, CONDITIONAL)
        key = wide("a", 1)
        await store.write_if(CONDITIONAL, [], [put(key, 2**62, size=1)])
        await store.write_if(CONDITIONAL, [], [DeleteRow(key=key, stamp=1)])
        assert not (await store.read(CONDITIONAL, key, "majority")).present
        await store.write_if(CONDITIONAL, [], [put(key, 1, size=2)])
        assert shown(await store.read(CONDITIONAL, key, "majority")) == {"size": 2}
        part = Slice(Bound((number(1),), True), None)
        await store.write_if(CONDITIONAL, [], [DeleteRange(partition=PARTITION, slice=part, stamp=1)])
        assert not (await store.read(CONDITIONAL, key, "majority")).present
        whole = DeleteRange(partition=PARTITION, slice=WHOLE_PARTITION, stamp=1)
        await store.write_if(CONDITIONAL, [], [whole, put(key, 1, size=3)])
        assert shown(await store.read(CONDITIONAL, key, "majority")) == {"size": 3}

    async def test_what_cannot_be_is_refused(self, store: Store) -> None:
        """Two partitions, a table of another mode, a column that is not there: nothing happened."""
        need(store, "conditional_write")
        await made(store, CONDITIONAL)
        await made(store, WIDE)
        with pytest.raises(BadRequest):
            await store.write_if(CONDITIONAL, [Predicate(key=wide("b", 1), exists=False)], [put(wide("a", 1), 1)])
        with pytest.raises(BadRequest):
            await store.write_if(WIDE, [], [put(wide("a", 1), 1)])
        with pytest.raises(UnknownKey):
            await store.write_if(
                CONDITIONAL, [Predicate(key=wide("a", 1), equals={"weight": None})], [put(wide("a", 1), 1)]
            )
        assert (await store.scan(CONDITIONAL, "majority", limit=10)).rows == []

    async def test_counting_at_once(self, store: Store) -> None:
        """Twenty tasks each add one ten times by compare and set: the count is exact, so none was lost or done twice."""
        need(store, "conditional_write")
        await made(store, CONDITIONAL)
        key = wide("a", 1)
        await store.write_if(CONDITIONAL, [], [put(key, 1, size=0)])

        async def add() -> None:
            value = number(0)
            for _ in range(10):
                while True:
                    after = number(int.from_bytes(value) + 1)
                    expect = [Predicate(key=key, equals={"size": value})]
                    answer = await store.write_if(CONDITIONAL, expect, [put(key, 1, size=int.from_bytes(after))])
                    value = after if answer.applied else answer.rows[0].cells["size"].value
                    if answer.applied:
                        break

        await asyncio.gather(*(add() for _ in range(20)))
        assert shown(await store.read(CONDITIONAL, key, "majority")) == {"size": 200}
