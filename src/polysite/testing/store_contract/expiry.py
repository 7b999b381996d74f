"""Lives: what expires, when, and what it leaves."""

import pytest

from polysite.stores.contract import Store
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract.support import (
    FLAT,
    StoreSuite,
    flat,
    made,
    need,
    number,
    put,
    settable,
    shown,
    text,
)
from polysite.values.rows import DeleteRow, Put


class ExpirySuite(StoreSuite):
    """A write may carry a life; its cells, its marker and its hidden columns end with it."""

    @pytest.fixture(autouse=True)
    def skipped_without_expiry(self, request: pytest.FixtureRequest) -> None:
        if "store" in request.fixturenames and request.node.name.startswith("test_life"):
            need(request.getfixturevalue("store"), "expiry")

    async def test_life_ends(self, store: Store, clock: SteppedClock | None) -> None:
        """The rest of the life is told while it lasts; then the cell, the marker and the row are gone."""
        stepped = settable(clock)
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red", life_ms=3_000)], "majority")
        stepped.advance_s(1)
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.cells["colour"].life_ms, row.marker_life_ms) == (2_000, 2_000)
        stepped.advance_s(1.999)
        assert (await store.read(FLAT, flat("a"), "majority")).present
        stepped.advance_s(0.001)
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.present, row.cells, row.marker_life_ms) == (False, {}, None)
        assert (await store.scan(FLAT, "majority", limit=10)).rows == []

    async def test_life_is_of_the_cells_of_its_write(self, store: Store, clock: SteppedClock | None) -> None:
        """Other cells and a marker for ever stay; a new write ends an old life."""
        stepped = settable(clock)
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")
        await store.write(FLAT, [put(flat("a"), 6, size=1, life_ms=1_000, marker=False)], "majority")
        await store.write(FLAT, [put(flat("b"), 5, size=1, life_ms=1_000)], "majority")
        await store.write(FLAT, [put(flat("b"), 6, size=2)], "majority")
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.cells["colour"].life_ms, row.cells["size"].life_ms, row.marker_life_ms) == (None, 1_000, None)
        stepped.advance_s(5)
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"colour": "red"}
        assert shown(await store.read(FLAT, flat("b"), "majority")) == {"size": 2}

    async def test_life_over_still_beats_lower_stamps(self, store: Store, clock: SteppedClock | None) -> None:
        """What expired is a tombstone at its stamp: an older value does not come back, a newer one does."""
        stepped = settable(clock)
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red", life_ms=1_000)], "majority")
        stepped.advance_s(2)
        await store.write(FLAT, [put(flat("a"), 4, colour="blue", marker=False)], "majority")
        assert not (await store.read(FLAT, flat("a"), "majority")).present
        await store.write(FLAT, [put(flat("a"), 6, colour="blue", marker=False)], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).present

    @pytest.mark.parametrize("swapped", [False, True])
    async def test_life_ties(self, store: Store, clock: SteppedClock | None, swapped: bool) -> None:
        """At one stamp: null beats a value with a life, which beats one without; of two lives the longer wins, whatever
        the bytes; and that stays so when the life is over (Cassandra 5, `Cells.resolveRegular`)."""
        stepped = settable(clock)
        await made(store, FLAT)
        pairs = {
            "null": [put(flat("null"), 5, colour="red", life_ms=9_000), put(flat("null"), 5, colour=None)],
            "ever": [put(flat("ever"), 5, colour="sable"), put(flat("ever"), 5, colour="red", life_ms=2_000)],
            "long": [
                put(flat("long"), 5, colour="sable", life_ms=2_000),
                put(flat("long"), 5, colour="red", life_ms=4_000),
            ],
            "same": [
                put(flat("same"), 5, colour="sable", life_ms=2_000),
                put(flat("same"), 5, colour="red", life_ms=2_000),
            ],
        }
        for pair in pairs.values():
            for write in reversed(pair) if swapped else pair:
                await store.write(FLAT, [write], "majority")
        wanted: list[tuple[float, dict[str, object]]] = [
            (0, {"null": {}, "ever": {"colour": "red"}, "long": {"colour": "red"}, "same": {"colour": "sable"}}),
            (2, {"null": {}, "ever": {}, "long": {"colour": "red"}, "same": {}}),
            (2, {"null": {}, "ever": {}, "long": {}, "same": {}}),
        ]
        for passed_s, states in wanted:
            stepped.advance_s(passed_s)
            assert {name: shown(await store.read(FLAT, flat(name), "majority")) for name in pairs} == states

    async def test_life_of_the_hidden_columns(self, store: Store, clock: SteppedClock | None) -> None:
        """Row stamp and mark end with the life of their write; what a row tombstone hid stays hidden."""
        stepped = settable(clock)
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")
        mark = Put(key=flat("a"), cells={}, stamp=11, marker=False, row_stamp=11, absent=True, life_ms=1_000)
        await store.write(FLAT, [DeleteRow(key=flat("a"), stamp=10), mark], "majority")
        assert (await store.read(FLAT, flat("a"), "majority")).absent
        stepped.advance_s(1)
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.present, row.absent, row.row_stamp) == (False, False, 0)

    async def test_life_of_a_null(self, store: Store, clock: SteppedClock | None) -> None:
        """A null written with a life is a null for good: nothing older comes back when the life is over."""
        stepped = settable(clock)
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")
        write = Put(key=flat("a"), cells={"colour": None, "size": number(1)}, stamp=6, life_ms=1_000, marker=False)
        await store.write(FLAT, [write], "majority")
        stepped.advance_s(2)
        row = await store.read(FLAT, flat("a"), "majority")
        assert (row.present, row.cells) == (True, {})
        await store.write(FLAT, [Put(key=flat("a"), cells={"colour": text("x")}, stamp=6)], "majority")
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {}
