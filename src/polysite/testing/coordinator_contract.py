"""The coordinator protocol as tests: the same cases over the coordinator in process and over HTTP.

    from polysite.testing.coordinator_contract import CoordinatorContract

    class TestMine(CoordinatorContract):
        @pytest.fixture
        async def coordinator(self):
            coordinator = …
            yield coordinator
            await coordinator.close()

Tests are coroutines for anyio's pytest plugin. Each works in a keyspace of its own, so one coordinator may serve many.
Nothing here depends on how long something takes: waits are for events, with a limit.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import pytest

from polysite.api import (
    Condition,
    Coordinator,
    KeyName,
    RangeDelete,
    RowDelete,
    RowExpectation,
    RowGet,
    RowPut,
    Step,
)
from polysite.errors import (
    AcquireTimeout,
    AlreadyExists,
    BadRequest,
    CompareFailed,
    IdempotencyMismatch,
    LockLost,
    NotHolder,
    UnknownKey,
)
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, KeyspaceSpec, TableSpec, Writes

T = TypeVar("T")

LIMIT_S = 20.0
_numbers = itertools.count(1)


async def within(work: Awaitable[T], limit_s: float = LIMIT_S) -> T:
    """What `work` gives, or a failure if it takes too long."""
    return await asyncio.wait_for(work, limit_s)


class Place:
    """A keyspace with one table per way of writing."""

    def __init__(self, coordinator: Coordinator, keyspace: str) -> None:
        self.coordinator = coordinator
        self.keyspace = keyspace

    def row(self, key: str, table: str = "votes") -> KeyName:
        return KeyName(keyspace=self.keyspace, table=table, key={"id": key})

    def line(self, key: str, number: int, table: str = "lines") -> KeyName:
        return KeyName(keyspace=self.keyspace, table=table, key={"id": key, "number": number})

    async def count(self, key: str, level: Any = "eventual", table: str = "votes", **more: Any) -> int | None:
        row = (await self.coordinator.get(self.row(key, table), level=level, **more)).row
        return None if row is None else row["count"]


def table_spec(keyspace: str, name: str, writes: Writes) -> TableSpec:
    """A table with one key column."""
    columns = (ColumnSpec("id", "text"), ColumnSpec("count", "int"), ColumnSpec("note", "text"))
    return TableSpec(keyspace=keyspace, name=name, columns=columns, partition_key=("id",), writes=writes)


def lines_spec(keyspace: str, name: str = "lines", writes: Writes = "sections") -> TableSpec:
    """A table with rows in order, an index, and one lock per partition."""
    return TableSpec(
        keyspace=keyspace,
        name=name,
        columns=(ColumnSpec("id", "text"), ColumnSpec("number", "int"), ColumnSpec("text", "text")),
        partition_key=("id",),
        clustering_key=(ClusteringColumn("number"),),
        indexes=(IndexSpec(name="by_text", column="text"),),
        writes=writes,
    )


class CoordinatorSuite:
    """What the cases share: the fixture `coordinator` comes from whoever runs them."""

    @pytest.fixture
    async def place(self, coordinator: Coordinator) -> AsyncIterator[Place]:
        keyspace = f"contract{next(_numbers)}"
        assert await coordinator.create_keyspace(KeyspaceSpec(name=keyspace))
        for name, writes in (("votes", "sections"), ("mixed", "mixed"), ("plain", "eventual"), ("cas", "conditional")):
            assert await coordinator.create_table(table_spec(keyspace, name, writes))  # type: ignore[arg-type]
        assert await coordinator.create_table(lines_spec(keyspace))
        assert await coordinator.create_table(lines_spec(keyspace, "notes", "eventual"))
        yield Place(coordinator, keyspace)
        await coordinator.drop_keyspace(keyspace)


class SchemaSuite(CoordinatorSuite):
    """Keyspaces, tables, indexes."""

    async def test_create_again(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: the same again is fine, another under the same name is refused. Method: create twice, then differently."""
        spec = table_spec(place.keyspace, "votes", "sections")
        assert await coordinator.create_keyspace(KeyspaceSpec(name=place.keyspace)) is False
        assert await coordinator.create_table(spec) is False
        with pytest.raises(AlreadyExists):
            await coordinator.create_table(table_spec(place.keyspace, "votes", "mixed"))

    async def test_what_is_there(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: what was made is listed, what was dropped is not. Method: list, drop, list."""
        assert place.keyspace in {spec.name for spec in await coordinator.keyspaces()}
        names = {spec.name for spec in await coordinator.tables(place.keyspace)}
        assert names == {"votes", "mixed", "plain", "cas", "lines", "notes"}
        assert (await coordinator.table(place.keyspace, "votes")).writes == "sections"
        assert await coordinator.drop_table(place.keyspace, "plain")
        assert not await coordinator.drop_table(place.keyspace, "plain")
        with pytest.raises(UnknownKey):
            await coordinator.table(place.keyspace, "plain")

    async def test_reserved(self, coordinator: Coordinator) -> None:
        """Goal: the reserved keyspace is out of reach. Method: make a table and a keyspace there."""
        with pytest.raises(BadRequest):
            await coordinator.create_keyspace(KeyspaceSpec(name="polysite"))
        with pytest.raises(BadRequest):
            await coordinator.create_table(table_spec("polysite", "mine", "eventual"))
        assert "polysite" not in {spec.name for spec in await coordinator.keyspaces()}

    async def test_index(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: an index made later finds earlier rows; without it the condition is refused. Method: write, make, select."""
        for number in range(3):
            await coordinator.put(place.row(f"k{number}", "plain"), {"count": number % 2})
        where = [Condition(column="count", comparison="eq", value=0)]
        with pytest.raises(BadRequest):
            await coordinator.select(place.keyspace, "plain", where=where)
        assert await coordinator.create_index(place.keyspace, "plain", IndexSpec(name="by_count", column="count"))
        page = await coordinator.select(place.keyspace, "plain", where=where)
        assert sorted(row["id"] for row in page.rows) == ["k0", "k2"]
        assert await coordinator.drop_index(place.keyspace, "plain", "by_count")

    async def test_tickets_go_on(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a table made again does not start its tickets anew, so old fencing tokens stay old. Method: drop and make."""
        first = await coordinator.section(place.row("a"), [RowPut(columns={"count": 1})])
        await coordinator.drop_table(place.keyspace, "votes")
        await coordinator.create_table(table_spec(place.keyspace, "votes", "sections"))
        again = await coordinator.section(place.row("a"), [RowGet(), RowPut(columns={"count": 2})])
        assert again.results[0] is None
        assert again.fencing_token > first.fencing_token


class LockSuite(CoordinatorSuite):
    """One key: acquire, wait, release, queue, preempt, shared locks."""

    async def test_hold_read_write_release(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: the plain life of a lock. Method: acquire with read, get, put, get, release; then the value is there."""
        lock = await coordinator.acquire([place.row("a")], read=True)
        assert lock.held
        assert lock.rows == [None]
        assert lock.keys[0].fencing_token == lock.fencing_token >= 1
        written = await coordinator.put(place.row("a"), {"count": 7}, level="critical", reference=lock.reference)
        assert written.stamp is not None
        assert await place.count("a", "critical", reference=lock.reference) == 7
        assert (await coordinator.release(lock.reference)).validated
        assert await place.count("a", "quorum") == 7

    async def test_waiting_and_order(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: who asked first holds first, and a waiter is told at once. Method: three references, released in turn."""
        first = await coordinator.acquire([place.row("a")])
        second = await coordinator.acquire([place.row("a")], wait_ms=0)
        third = await coordinator.acquire([place.row("a")], wait_ms=0)
        assert [second.held, third.held] == [False, False]
        assert [second.keys[0].ahead, third.keys[0].ahead] == [1, 2]
        with pytest.raises(NotHolder):
            await coordinator.put(place.row("a"), {"count": 1}, level="critical", reference=second.reference)
        waits = [asyncio.ensure_future(coordinator.wait(lock.reference, wait_ms=15_000)) for lock in (third, second)]
        await coordinator.release(first.reference)
        assert (await within(waits[1])).held
        assert not waits[0].done()
        await coordinator.release(second.reference)
        assert (await within(waits[0])).held
        await coordinator.release(third.reference)
        assert first.fencing_token < second.fencing_token < third.fencing_token

    async def test_give_up_waiting(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a waiting reference can be given up; the next in line takes its place. Method: release the second of three."""
        first = await coordinator.acquire([place.row("a")])
        second = await coordinator.acquire([place.row("a")], wait_ms=0)
        third = await coordinator.acquire([place.row("a")], wait_ms=0)
        await coordinator.release(second.reference)
        with pytest.raises(LockLost):
            await coordinator.wait(second.reference, wait_ms=0)
        await coordinator.release(first.reference)
        assert (await within(coordinator.wait(third.reference))).held
        await coordinator.release(third.reference)

    async def test_after_release(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a released reference is of no use. Method: every verb with it."""
        lock = await coordinator.acquire([place.row("a")])
        await coordinator.release(lock.reference)
        for call in (
            coordinator.get(place.row("a"), level="critical", reference=lock.reference),
            coordinator.put(place.row("a"), {"count": 1}, level="critical", reference=lock.reference),
            coordinator.renew(lock.reference),
            coordinator.wait(lock.reference, wait_ms=0),
            coordinator.release(lock.reference),
        ):
            with pytest.raises(LockLost):
                await call
        assert await place.count("a") is None

    async def test_reference_of_another_key(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a reference covers its key only, and a text that is none is refused. Method: use it elsewhere."""
        lock = await coordinator.acquire([place.row("a")])
        with pytest.raises(BadRequest):
            await coordinator.put(place.row("b"), {"count": 1}, level="critical", reference=lock.reference)
        with pytest.raises(BadRequest):
            await coordinator.renew("1.nonsense")
        with pytest.raises(BadRequest):
            await coordinator.get(place.row("a"), level="critical")
        with pytest.raises(BadRequest):
            await coordinator.get(place.row("a"), level="quorum", reference=lock.reference)
        await coordinator.release(lock.reference)

    async def test_queue_and_preempt(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: the queue tells who holds; a preempted holder is fenced. Method: preempt, then let the old holder write."""
        old = await coordinator.acquire([place.row("a")], owner="old")
        await coordinator.put(place.row("a"), {"count": 1}, level="critical", reference=old.reference)
        new = await coordinator.acquire([place.row("a")], owner="new", wait_ms=0)
        queue = await coordinator.queue(place.row("a"))
        assert [(entry.owner, entry.held) for entry in queue.entries] == [("old", True), ("new", False)]
        assert queue.issued == new.fencing_token
        after = await coordinator.preempt(place.row("a"))
        assert [entry.owner for entry in after.entries] == ["new"]
        assert (await within(coordinator.wait(new.reference))).held
        with pytest.raises(LockLost):
            await coordinator.put(place.row("a"), {"count": 99}, level="critical", reference=old.reference)
        with pytest.raises(LockLost):
            await coordinator.release(old.reference)
        assert await place.count("a", "critical", reference=new.reference) == 1
        await coordinator.release(new.reference)

    async def test_shared(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: shared holders read together and do not write; a writer waits for both. Method: two readers, one writer."""
        await coordinator.section(place.row("a"), [RowPut(columns={"count": 5})])
        readers = [await coordinator.acquire([place.row("a")], kind="shared") for _ in range(2)]
        assert all(reader.held for reader in readers)
        writer = await coordinator.acquire([place.row("a")], wait_ms=0)
        assert not writer.held
        for reader in readers:
            assert await place.count("a", "critical", reference=reader.reference) == 5
        with pytest.raises((NotHolder, BadRequest)):
            await coordinator.put(place.row("a"), {"count": 6}, level="critical", reference=readers[0].reference)
        wait = asyncio.ensure_future(coordinator.wait(writer.reference, wait_ms=15_000))
        await coordinator.release(readers[1].reference)
        assert not wait.done()
        await coordinator.release(readers[0].reference)
        assert (await within(wait)).held
        await coordinator.release(writer.reference)

    async def test_promote(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a reader becomes the writer once alone; a second promotion is refused at once. Method: two readers promote."""
        one = await coordinator.acquire([place.row("a")], kind="shared")
        two = await coordinator.acquire([place.row("a")], kind="shared")
        promotion = asyncio.ensure_future(coordinator.promote(one.reference, wait_ms=15_000))
        await within(self._until_promoting(coordinator, place))
        with pytest.raises(CompareFailed):
            await coordinator.promote(two.reference, wait_ms=0)
        await coordinator.release(two.reference)
        assert (await within(promotion)).held
        await coordinator.put(place.row("a"), {"count": 8}, level="critical", reference=one.reference)
        assert (await coordinator.release(one.reference)).validated
        assert await place.count("a", "quorum") == 8

    async def _until_promoting(self, coordinator: Coordinator, place: Place) -> None:
        while all(entry.kind != "promoting" for entry in (await coordinator.queue(place.row("a"))).entries):
            await asyncio.sleep(0)

    async def test_promotion_withdrawn(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a promotion that is not granted in time is withdrawn, and the reader stays. Method: do not let the other go."""
        one = await coordinator.acquire([place.row("a")], kind="shared")
        two = await coordinator.acquire([place.row("a")], kind="shared")
        with pytest.raises(AcquireTimeout):
            await coordinator.promote(one.reference, wait_ms=0)
        assert (await coordinator.renew(one.reference)).kind == "shared"
        for lock in (one, two):
            await coordinator.release(lock.reference)

    async def test_cancelled_acquire(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a caller who gives up leaves no entry behind. Method: cancel a waiting acquire, then release and look."""
        holder = await coordinator.acquire([place.row("a")])
        asked = asyncio.ensure_future(coordinator.acquire([place.row("a")], wait_ms=15_000))
        while len((await coordinator.queue(place.row("a"))).entries) < 2:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

        async def gone() -> None:
            while len((await coordinator.queue(place.row("a"))).entries) > 1:
                await asyncio.sleep(0)

        await within(gone())
        await coordinator.release(holder.reference)

    async def test_lock_set(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a set is taken whole, in one order, and covers each of its keys. Method: two sets in opposite order."""
        names = [place.row("b"), place.row("a")]
        one = await coordinator.acquire(names, read=True)
        assert one.held
        assert one.rows == [None, None]
        assert [held.key["id"] for held in one.keys] == ["b", "a"]
        with pytest.raises(AcquireTimeout):
            await coordinator.acquire(list(reversed(names)), wait_ms=0)
        for key in ("a", "b"):
            await coordinator.put(place.row(key), {"count": 3}, level="critical", reference=one.reference)
        assert (await coordinator.renew(one.reference)).held
        await coordinator.release(one.reference)
        two = await coordinator.acquire(list(reversed(names)), read=True)
        assert two.rows is not None
        assert [row and row["count"] for row in two.rows] == [3, 3]
        await coordinator.release(two.reference)
        with pytest.raises(BadRequest):
            await coordinator.acquire([place.row("a"), place.row("a")])

    async def test_bad_locks(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: what cannot be locked is refused with the reason. Method: wrong tables, leases and waits."""
        for table in ("plain", "cas"):
            with pytest.raises(BadRequest):
                await coordinator.acquire([place.row("a", table)])
        with pytest.raises(BadRequest):
            await coordinator.acquire([place.row("a")], lease_ms=1)
        with pytest.raises(BadRequest):
            await coordinator.acquire([place.row("a")], wait_ms=-1)
        with pytest.raises(BadRequest):
            await coordinator.acquire([])
        with pytest.raises(UnknownKey):
            await coordinator.acquire([place.row("a", "nothing")])

    async def test_events(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: grants and releases are told, in order, to whoever listens to their keyspace. Method: listen, lock, read."""
        events = coordinator.events(keyspace=place.keyspace)
        first = asyncio.ensure_future(anext(events))
        for _ in range(10):
            await asyncio.sleep(0)
        lock = await coordinator.acquire([place.row("a")])
        await coordinator.release(lock.reference)
        granted = await within(first)
        released = await within(anext(events))
        assert (granted.kind, released.kind) == ("granted", "released")
        assert granted.key == {"id": "a"}
        assert granted.fencing_token == released.fencing_token == lock.fencing_token
        await events.aclose()  # type: ignore[attr-defined]


class SectionSuite(CoordinatorSuite):
    """Whole sections in one call."""

    async def test_counting(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: concurrent sections lose no update. Method: many read-check-write sections on few keys, retried on refusal."""

        async def add(key: str) -> None:
            while True:
                count = await place.count(key)
                steps: list[Step] = [
                    RowExpectation(exists=False) if count is None else RowExpectation(equals={"count": count}),
                    RowPut(columns={"count": (count or 0) + 1}),
                ]
                try:
                    await coordinator.section(place.row(key), steps)
                    return
                except CompareFailed:
                    continue

        await within(asyncio.gather(*(add(f"k{number % 3}") for number in range(30))), 60.0)
        assert [await place.count(f"k{number}", "quorum") for number in range(3)] == [10, 10, 10]

    async def test_steps_see_earlier_steps(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a step sees what earlier ones wrote. Method: get, put, get, expect, delete, get in one section."""
        answer = await coordinator.section(
            place.row("a"),
            [
                RowGet(),
                RowPut(columns={"count": 1}),
                RowGet(),
                RowExpectation(equals={"count": 1, "note": None}),
                RowDelete(),
                RowGet(),
            ],
            validate=True,
        )
        assert answer.validated
        assert answer.results == [None, None, {"id": "a", "count": 1, "note": None}, None, None, None]
        assert await place.count("a") is None

    async def test_expectation_fails(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a failed expectation writes nothing, wherever it stands. Method: put, then expect what does not hold."""
        with pytest.raises(CompareFailed):
            await coordinator.section(
                place.row("a"), [RowPut(columns={"count": 1}), RowExpectation(equals={"count": 2})]
            )
        assert await place.count("a", "quorum") is None

    async def test_waits_for_the_holder(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a section waits its turn, or gives up and leaves nothing. Method: hold the key, run two sections."""
        lock = await coordinator.acquire([place.row("a")])
        with pytest.raises(AcquireTimeout):
            await coordinator.section(place.row("a"), [RowPut(columns={"count": 1})], wait_ms=0)
        waiting = asyncio.ensure_future(
            coordinator.section(place.row("a"), [RowGet(), RowPut(columns={"count": 2})], wait_ms=15_000)
        )
        await coordinator.put(place.row("a"), {"count": 1}, level="critical", reference=lock.reference)
        await coordinator.release(lock.reference)
        answer = await within(waiting)
        assert answer.results[0] == {"id": "a", "count": 1, "note": None}
        assert answer.fencing_token > lock.fencing_token

    async def test_lines_of_a_partition(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: one lock covers all rows of its partition, and no other. Method: steps with keys."""
        key = KeyName(keyspace=place.keyspace, table="lines", key={"id": "a"})
        steps: list[Step] = [RowPut(key={"id": "a", "number": n}, columns={"text": f"line {n}"}) for n in range(4)]
        await coordinator.section(key, steps)
        page = await coordinator.select(
            place.keyspace, "lines", where=[Condition(column="id", comparison="eq", value="a")], level="quorum"
        )
        assert [row["number"] for row in page.rows] == [0, 1, 2, 3]
        with pytest.raises(BadRequest):
            await coordinator.section(key, [RowPut(key={"id": "b", "number": 1}, columns={"text": "x"})])


class RowSuite(CoordinatorSuite):
    """Rows at each level and for each way of writing, selects, requests with an idempotency key."""

    async def test_plain(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: eventual tables take plain writes and no locks. Method: put, overwrite, delete, stamps grow."""
        one = await coordinator.put(place.row("a", "plain"), {"count": 1, "note": "x"})
        two = await coordinator.put(place.row("a", "plain"), {"count": 2}, level="quorum")
        assert one.stamp is not None
        assert two.stamp is not None
        assert one.stamp < two.stamp < 2**52
        answer = await coordinator.get(place.row("a", "plain"), level="quorum", stamps=True)
        assert answer.row == {"id": "a", "count": 2, "note": "x"}
        assert answer.stamps == {"count": two.stamp, "note": one.stamp}
        await coordinator.delete(place.row("a", "plain"))
        assert (await coordinator.get(place.row("a", "plain"))).row is None
        with pytest.raises(BadRequest):
            await coordinator.put(place.row("a", "plain"), {"count": 1}, level="atomic")

    async def test_refused_levels(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a write that could be lost is refused with the reason. Method: plain writes to the other kinds of tables."""
        for table in ("votes", "cas"):
            for level in ("eventual", "quorum"):
                with pytest.raises(BadRequest):
                    await coordinator.put(place.row("a", table), {"count": 1}, level=level)  # type: ignore[arg-type]
        with pytest.raises(BadRequest):
            await coordinator.put(place.row("a"), {"count": 1}, level="sometimes")  # type: ignore[arg-type]

    async def test_mixed(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: on mixed tables a plain write after a section is seen. Method: plain, section, plain, section."""
        plain = await coordinator.put(place.row("a", "mixed"), {"count": 1})
        assert plain.stamp is not None
        assert plain.stamp < 2**52
        answer = await coordinator.section(place.row("a", "mixed"), [RowGet(), RowPut(columns={"count": 2})])
        assert answer.results[0] == {"id": "a", "count": 1, "note": None}
        later = await coordinator.put(place.row("a", "mixed"), {"count": 3})
        assert later.stamp is not None
        assert later.stamp >= 2**52
        assert await place.count("a", "atomic", "mixed") == 3

    async def test_atomic(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: level atomic is a section around the call. Method: put, get, delete, batch with a range, select."""
        await coordinator.put(place.row("a"), {"count": 4}, level="atomic")
        assert await place.count("a", "atomic") == 4
        await coordinator.delete(place.row("a"), level="atomic")
        assert await place.count("a", "atomic") is None
        writes = [RowPut(key={"id": "a", "number": n}, columns={"text": "x"}) for n in range(3)]
        await coordinator.batch(place.keyspace, "lines", writes, level="atomic")
        one = Condition(column="id", comparison="eq", value="a")
        from_one = Condition(column="number", comparison="ge", value=1)
        await coordinator.batch(place.keyspace, "lines", [RangeDelete(where=[one, from_one])], level="atomic")
        page = await coordinator.select(place.keyspace, "lines", where=[one], level="atomic")
        assert [row["number"] for row in page.rows] == [0]

    async def test_conditional(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: conditional tables apply all or nothing and tell what was found. Method: insert twice, update by value."""
        put = RowPut(key={"id": "a"}, columns={"count": 1})
        absent = RowExpectation(key={"id": "a"}, exists=False)
        await coordinator.batch(place.keyspace, "cas", [put], expect=[absent])
        with pytest.raises(CompareFailed) as refused:
            await coordinator.batch(place.keyspace, "cas", [put], expect=[absent])
        assert refused.value.rows[0]["count"] == 1
        update = RowPut(key={"id": "a"}, columns={"count": 2})
        held = RowExpectation(key={"id": "a"}, equals={"count": 1})
        await coordinator.batch(place.keyspace, "cas", [update], expect=[held])
        assert await place.count("a", "quorum", "cas") == 2

    async def test_critical_batch_and_select(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a holder writes and reads a whole partition. Method: batch, range delete, pages under the lock."""
        key = KeyName(keyspace=place.keyspace, table="lines", key={"id": "a"})
        lock = await coordinator.acquire([key])
        writes = [RowPut(key={"id": "a", "number": n}, columns={"text": f"t{n}"}) for n in range(5)]
        await coordinator.batch(place.keyspace, "lines", writes, level="critical", reference=lock.reference)
        await coordinator.delete(place.line("a", 3), level="critical", reference=lock.reference)
        where = [Condition(column="id", comparison="eq", value="a")]
        seen: list[int] = []
        cursor: str | None = None
        while True:
            page = await coordinator.select(
                place.keyspace,
                "lines",
                where=where,
                level="critical",
                reference=lock.reference,
                limit=2,
                cursor=cursor,
            )
            seen += [row["number"] for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == [0, 1, 2, 4]
        with pytest.raises(BadRequest):
            await coordinator.select(place.keyspace, "lines", level="critical", reference=lock.reference)
        await coordinator.release(lock.reference)

    async def test_selects(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: slices, indexes and pages as documented; what would need filtering is refused. Method: one small partition."""
        for n in range(6):
            await coordinator.put(place.line("a", n, "notes"), {"text": "even" if n % 2 == 0 else "odd"})
        await coordinator.put(place.line("b", 0, "notes"), {"text": "even"})

        async def numbers(*where: tuple[str, Any, Any]) -> list[int]:
            conditions = [Condition(column=c, comparison=o, value=v) for c, o, v in where]
            page = await coordinator.select(place.keyspace, "notes", where=conditions)
            return [row["number"] for row in page.rows]

        assert await numbers(("id", "eq", "a"), ("number", "gt", 1), ("number", "le", 4)) == [2, 3, 4]
        assert await numbers(("id", "eq", "a"), ("number", "eq", 3)) == [3]
        assert await numbers(("id", "eq", "a"), ("number", "in", [5, 0, 9])) == [0, 5]
        assert sorted(await numbers(("text", "eq", "even"))) == [0, 0, 2, 4]
        assert len(await numbers()) == 7
        for bad in ([("number", "eq", 1)], [("id", "gt", "a")], [("id", "eq", "a"), ("text", "eq", "odd")]):
            with pytest.raises(BadRequest):
                await numbers(*bad)  # type: ignore[arg-type]
        whole = [Condition(column="id", comparison="eq", value="a")]
        first = await coordinator.select(place.keyspace, "notes", where=whole, limit=4)
        assert first.cursor is not None
        with pytest.raises(BadRequest):
            await coordinator.select(place.keyspace, "notes", cursor=first.cursor)
        rest = await coordinator.select(place.keyspace, "notes", where=whole, cursor=first.cursor)
        assert [row["number"] for row in first.rows + rest.rows] == [0, 1, 2, 3, 4, 5]

    async def test_bad_rows(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: wrong keys, columns and values are refused, never turned into nulls. Method: one of each."""
        row = place.row("a", "plain")
        with pytest.raises(UnknownKey):
            await coordinator.put(row, {"nothing": 1})
        with pytest.raises(BadRequest):
            await coordinator.put(row, {"count": "many"})
        with pytest.raises(BadRequest):
            await coordinator.put(row, {"id": "b"})
        with pytest.raises(BadRequest):
            await coordinator.put(KeyName(keyspace=place.keyspace, table="plain", key={}), {"count": 1})
        with pytest.raises(BadRequest):
            await coordinator.put(row, {"count": 1}, expires_ms=0)
        assert (await coordinator.get(row)).row is None

    async def test_repeated_writes(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a request with an idempotency key has one effect and one answer. Method: send each kind twice, with another
        write between."""
        lock = await coordinator.acquire([place.row("a")])
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        first = await coordinator.put(place.row("a"), {"count": 1}, idempotency_key="put-1" + place.keyspace, **options)
        await coordinator.put(place.row("a"), {"count": 2}, **options)
        again = await coordinator.put(place.row("a"), {"count": 1}, idempotency_key="put-1" + place.keyspace, **options)
        assert again.stamp == first.stamp
        assert await place.count("a", "critical", reference=lock.reference) == 2
        with pytest.raises(IdempotencyMismatch):
            await coordinator.put(place.row("a"), {"count": 3}, idempotency_key="put-1" + place.keyspace, **options)
        await coordinator.release(lock.reference)
        plain = [
            await coordinator.put(place.row("a", "plain"), {"count": 1}, idempotency_key="put-2" + place.keyspace)
            for _ in range(2)
        ]
        assert plain[0].stamp == plain[1].stamp

    async def test_repeated_sections_and_locks(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a section sent twice counts once; an acquire sent twice is one entry. Method: send both twice."""
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 1, "note": "x"})]
        name = "section" + place.keyspace
        answers = [await coordinator.section(place.row("a"), steps, idempotency_key=name) for _ in range(2)]
        assert answers[0].fencing_token == answers[1].fencing_token
        assert answers[0].results == answers[1].results == [None, None]
        with pytest.raises(IdempotencyMismatch):
            await coordinator.section(place.row("b"), steps, idempotency_key=name)
        locks = [await coordinator.acquire([place.row("b")], idempotency_key="lock" + place.keyspace) for _ in range(2)]
        assert locks[0].reference == locks[1].reference
        assert locks[1].held
        await coordinator.release(locks[0].reference)

    async def test_health(self, coordinator: Coordinator) -> None:
        """Goal: a serving process says so. Method: ask it."""
        health = await coordinator.health()
        assert health.ready
        assert health.reasons == []


class CoordinatorContract(SchemaSuite, LockSuite, SectionSuite, RowSuite):
    """Every sentence of `polysite.api`."""
