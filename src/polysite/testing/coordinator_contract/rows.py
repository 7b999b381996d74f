"""Rows at each level, selects, requests that are made once."""

from typing import Any

import pytest

from polysite.api import (
    Condition,
    Coordinator,
    KeyName,
    RangeDelete,
    RowExpectation,
    RowGet,
    RowPut,
    Step,
)
from polysite.errors import (
    BadRequest,
    CompareFailed,
    IdempotencyMismatch,
    UnknownKey,
)
from polysite.testing.coordinator_contract.support import CoordinatorSuite, Place


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
                    await coordinator.put(place.row("a", table), {"count": 1}, level=level)
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

    async def test_expectations_alone(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a batch of a conditional table may only look; one that neither looks nor writes is refused. Method: what
        holds, what does not, and nothing, also on a table without conditions."""
        absent = RowExpectation(key={"id": "a"}, exists=False)
        await coordinator.batch(place.keyspace, "cas", [], expect=[absent])
        await coordinator.batch(place.keyspace, "cas", [RowPut(key={"id": "a"}, columns={"count": 1})])
        await coordinator.batch(
            place.keyspace, "cas", [], expect=[RowExpectation(key={"id": "a"}, equals={"count": 1})]
        )
        with pytest.raises(CompareFailed) as refused:
            await coordinator.batch(place.keyspace, "cas", [], expect=[absent])
        assert refused.value.rows[0]["count"] == 1
        with pytest.raises(BadRequest):
            await coordinator.batch(place.keyspace, "cas", [])
        with pytest.raises(BadRequest):
            await coordinator.batch(place.keyspace, "plain", [], expect=[absent])

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
                await numbers(*bad)
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
