"""The joint step: a cell and rows in one."""

import asyncio

import pytest

from polysite.cells.contract import NEVER_WRITTEN, Cells, CellView
from polysite.errors import BadRequest, UnknownKey
from polysite.stores.contract import CellChange, CellEffect, Joint, Store, TableWrites
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract.support import (
    FLAT,
    WIDE,
    StoreSuite,
    flat,
    made,
    need,
    number,
    put,
    settable,
    shown,
    wide,
)
from polysite.values.rows import DeleteRow, Put, StoredRow

KEY = b"contract/joint"


class JointSuite(StoreSuite):
    """The cell changes and the rows are written, or neither."""

    async def test_applied_and_not_applied(self, store: Store, cells: Cells) -> None:
        """Over two tables and three partitions; the rows read are as before the step, whether it applied or not."""
        need(store, "joint")
        await made(store, FLAT)
        await made(store, WIDE)
        writes = [
            TableWrites(FLAT, [put(flat("a"), 5, size=1)]),
            TableWrites(FLAT, [put(flat("b"), 5, size=2)]),
            TableWrites(WIDE, [put(wide("a", 1), 5, size=3), put(wide("a", 2), 6, size=4)]),
        ]
        reads = [(FLAT, flat("a")), (WIDE, wide("a", 2))]
        answer, before = await store.joint(CellChange(KEY, 0, b"one"), writes, reads)
        assert answer == Joint(True, 1, b"one")
        assert [(row.key, row.present) for row in before] == [(flat("a"), False), (wide("a", 2), False)]
        assert await cells.read(KEY) == CellView(1, b"one")
        stale = [TableWrites(FLAT, [put(flat("a"), 9, size=9)])]
        answer, before = await store.joint(CellChange(KEY, 0, b"two"), stale, reads)
        assert answer == Joint(False, 1, b"one")
        assert [shown(row) for row in before] == [{"size": 1}, {"size": 4}]
        assert await cells.read(KEY) == CellView(1, b"one")
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"size": 1}
        assert shown(await store.read(FLAT, flat("b"), "majority")) == {"size": 2}

    async def test_without_a_cell_it_always_applies(self, store: Store) -> None:
        """The writes alone are one step."""
        need(store, "joint")
        await made(store, FLAT)
        writes = [TableWrites(FLAT, [put(flat(name), 5, size=1)]) for name in "ab"]
        answer, before = await store.joint(None, writes, [(FLAT, flat("a"))])
        assert (answer, before[0].present) == (Joint(True, 0, b""), False)
        assert (await store.read(FLAT, flat("b"), "majority")).present

    async def test_without_writes_it_is_a_compare_and_set(self, store: Store, cells: Cells) -> None:
        """A cell that was never written has version 0 and no content, told also when the step expects another."""
        need(store, "joint")
        await made(store, FLAT)
        answer, _ = await store.joint(CellChange(KEY, 3, b"x"), [])
        assert answer == Joint(False, 0, b"")
        assert await cells.read(KEY) == NEVER_WRITTEN
        answer, _ = await store.joint(CellChange(KEY, 0, b"x"), [])
        assert answer == Joint(True, 1, b"x")

    async def test_stamps_count_as_ever(self, store: Store) -> None:
        """A row that has a higher stamp keeps it, though the step applies."""
        need(store, "joint")
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 9, size=9)], "majority")
        answer, _ = await store.joint(CellChange(KEY, 0, b"x"), [TableWrites(FLAT, [put(flat("a"), 5, size=5)])])
        assert answer.applied
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"size": 9}

    async def test_a_refused_step_changes_nothing(self, store: Store, cells: Cells) -> None:
        """A write that is malformed, or to a table that is gone: neither the cell nor another row changed."""
        need(store, "joint")
        await made(store, FLAT)
        await made(store, WIDE)
        good = TableWrites(FLAT, [put(flat("a"), 5, size=1)])
        with pytest.raises(BadRequest):
            await store.joint(CellChange(KEY, 0, b"x"), [good, TableWrites(WIDE, [put(wide("a", 1), 0, size=1)])])
        await store.drop_table(WIDE.keyspace, WIDE.name)
        with pytest.raises(UnknownKey):
            await store.joint(CellChange(KEY, 0, b"x"), [good, TableWrites(WIDE, [put(wide("a", 1), 5, size=1)])])
        assert await cells.read(KEY) == NEVER_WRITTEN
        assert not (await store.read(FLAT, flat("a"), "majority")).present

    async def test_rows_that_must_be_absent(self, store: Store, cells: Cells) -> None:
        """A row that is there keeps the whole step from being made, with a cell, with one that has moved on and without;
        one that is elsewhere, was deleted or is marked absent does not. The cell is told as it is."""
        need(store, "joint")
        await made(store, FLAT)
        await made(store, WIDE)
        writes = [TableWrites(FLAT, [put(flat("a"), 5, size=1)]), TableWrites(WIDE, [put(wide("a", 1), 5, size=2)])]
        absent = [(FLAT, flat("a")), (WIDE, wide("a", 1))]
        answer, before = await store.joint(CellChange(KEY, 0, b"one"), writes, absent, absent=absent)
        assert (answer, [row.present for row in before]) == (Joint(True, 1, b"one"), [False, False])
        later = [TableWrites(FLAT, [put(flat("b"), 9, size=9)])]
        for expected in (1, 0):
            answer, before = await store.joint(CellChange(KEY, expected, b"two"), later, absent[1:], absent=absent[1:])
            assert answer == Joint(False, 1, b"one", present=True)
            assert [shown(row) for row in before] == [{"size": 2}]
        answer, _ = await store.joint(CellChange(b"another", 3, b"x"), later, absent=absent)
        assert answer == Joint(False, 0, b"", present=True)
        answer, _ = await store.joint(None, later, absent=[(FLAT, flat("c")), absent[1]])
        assert answer == Joint(False, 0, b"", present=True)
        assert not (await store.read(FLAT, flat("b"), "majority")).present
        assert await cells.read(KEY) == CellView(1, b"one")
        await store.write(FLAT, [DeleteRow(key=flat("a"), stamp=6)], "majority")
        await store.write(WIDE, [Put(key=wide("a", 1), cells={}, stamp=7, marker=False, absent=True)], "majority")
        answer, _ = await store.joint(CellChange(KEY, 0, b"two"), later, absent=absent)
        assert answer == Joint(False, 1, b"one")
        answer, _ = await store.joint(CellChange(KEY, 1, b"two"), later, absent=absent)
        assert answer == Joint(True, 2, b"two")
        assert shown(await store.read(FLAT, flat("b"), "majority")) == {"size": 9}

    async def test_an_expired_row_is_absent(self, store: Store, clock: SteppedClock | None) -> None:
        """A row with a life stands in the way while it lasts, and no longer."""
        need(store, "joint", "expiry")
        stepped = settable(clock)
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, life_ms=1_000, size=1)], "majority")
        writes = [TableWrites(FLAT, [put(flat("a"), 6, size=2)])]
        answer, _ = await store.joint(None, writes, absent=[(FLAT, flat("a"))])
        assert answer == Joint(False, 0, b"", present=True)
        stepped.advance_s(1.001)
        answer, _ = await store.joint(None, writes, absent=[(FLAT, flat("a"))])
        assert answer == Joint(True, 0, b"")

    async def test_one_of_many_steps_makes_an_absent_row(self, store: Store) -> None:
        """Tasks race to make the same row, each sending its step twice: one step was made, and its other row with it."""
        need(store, "joint")
        await made(store, FLAT)

        async def make(name: str) -> list[bool]:
            writes = [TableWrites(FLAT, [put(flat(key), 5, colour=name)]) for key in ("made", name)]
            steps = [store.joint(None, writes, absent=[(FLAT, flat("made"))]) for _ in range(2)]
            return [answer.applied for answer, _ in await asyncio.gather(*steps)]

        names = [f"task{number}" for number in range(10)]
        applied = await asyncio.gather(*(make(name) for name in names))
        winners = [name for name, answers in zip(names, applied, strict=True) if any(answers)]
        assert sum(sum(answers) for answers in applied) == 1
        rows = [await store.read(FLAT, flat(name), "majority") for name in names]
        assert [name for name, row in zip(names, rows, strict=True) if row.present] == winners
        assert shown(await store.read(FLAT, flat("made"), "majority")) == {"colour": winners[0]}

    async def test_the_step_and_the_general_path_on_one_key(self, store: Store, cells: Cells) -> None:
        """Half of the tasks count by joint steps, half by compare-and-set followed by a write: versions are never given
        twice, and a row holds what the winner of the highest version wrote."""
        need(store, "joint")
        await made(store, FLAT)
        won: list[int] = []

        async def jointly() -> None:
            view = await cells.read(KEY)
            for _ in range(20):
                stamp = view.version + 1
                writes = [TableWrites(FLAT, [put(flat("a"), stamp, size=stamp)])]
                answer, _ = await store.joint(CellChange(KEY, view.version, number(stamp)), writes)
                if answer.applied:
                    won.append(answer.version)
                view = CellView(answer.version, answer.content)

        async def generally() -> None:
            view = await cells.read_local(KEY)
            for _ in range(20):
                answer = await cells.compare_and_set(KEY, view.version, number(view.version + 1))
                view = answer.view
                if answer.applied:
                    won.append(view.version)
                    await store.write(FLAT, [put(flat("a"), view.version, size=view.version)], "majority")

        await asyncio.gather(*(task() for _ in range(5) for task in (jointly, generally)))
        last = await cells.read(KEY)
        assert sorted(won) == list(range(1, last.version + 1))
        assert last.content == number(last.version)
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"size": last.version}

    async def test_a_step_is_decided_where_nothing_comes_between(self, store: Store, cells: Cells) -> None:
        """Fifty steps at once each add one to what they read of cell and row: none is lost, and each is decided on
        what the one before left."""
        need(store, "joint")
        await made(store, FLAT)

        def add_one(version: int, content: bytes, rows: list[StoredRow]) -> CellEffect:
            assert content == (number(version) if version else b"")
            assert shown(rows[0]) == ({"size": version} if version else {})
            stamp = version + 1
            return CellEffect(number(stamp), [TableWrites(FLAT, [put(flat("a"), stamp, size=stamp)])])

        done = await asyncio.gather(*(store.joint_step(KEY, [(FLAT, flat("a"))], add_one) for _ in range(50)))
        assert all(done)
        assert await cells.read(KEY) == CellView(50, number(50))
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"size": 50}

    async def test_a_step_that_decides_against_it_changes_nothing(self, store: Store, cells: Cells) -> None:
        """None: the version stays; what it saw is what is there."""
        need(store, "joint")
        await made(store, FLAT)
        await store.joint(CellChange(KEY, 0, b"x"), [TableWrites(FLAT, [put(flat("a"), 5, size=5)])])
        seen: list[tuple[int, bytes, object]] = []

        def look(version: int, content: bytes, rows: list[StoredRow]) -> None:
            seen.append((version, content, shown(rows[0])))

        assert not await store.joint_step(KEY, [(FLAT, flat("a"))], look)
        assert seen[-1] == (1, b"x", {"size": 5})
        assert await cells.read(KEY) == CellView(1, b"x")

    async def test_a_step_that_cannot_be_carried_out_changes_nothing(self, store: Store, cells: Cells) -> None:
        """An error of the decision itself and a malformed write are told to the caller; steps beside it do not suffer."""
        need(store, "joint")
        await made(store, FLAT)

        def fails(_version: int, _content: bytes, _rows: list[StoredRow]) -> CellEffect:
            raise BadRequest("no")

        def malformed(_version: int, _content: bytes, _rows: list[StoredRow]) -> CellEffect:
            return CellEffect(b"y", [TableWrites(FLAT, [put(flat("a"), 0, size=1)])])

        def good(version: int, _content: bytes, _rows: list[StoredRow]) -> CellEffect:
            return CellEffect(b"good", [TableWrites(FLAT, [put(flat("b"), version + 1, size=2)])])

        steps = [store.joint_step(KEY, [], decide) for decide in (fails, malformed, good)]
        answers = await asyncio.gather(*steps, return_exceptions=True)
        assert [type(answer) for answer in answers] == [BadRequest, BadRequest, bool]
        assert await cells.read(KEY) == CellView(1, b"good")
        assert not (await store.read(FLAT, flat("a"), "majority")).present
        assert shown(await store.read(FLAT, flat("b"), "majority")) == {"size": 2}
