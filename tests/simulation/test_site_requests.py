"""Idempotency records: what was never legitimate is never answered done, and of processes that are handed one key at once
one carries the request out."""

import asyncio
from collections.abc import Awaitable, Callable
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
    WriteAnswer,
)
from polysite.errors import (
    AcquireTimeout,
    CompareFailed,
    IdempotencyMismatch,
    LockLost,
    OutcomeUnknown,
    PolysiteError,
)
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec
from tests.support.sites import World, table_of, until, world_of

Ask = Callable[[Coordinator], Awaitable[Any]]


async def at_once(world: World, first: Ask, second: Ask, between: Ask) -> list[Any]:
    """Have two processes come as far as their commit; the first one commits, a third call is made, the second one commits.
    What both answered, errors too."""
    gates = [process.faults.hold("joint") for process in world.processes]
    before = [process.faults.calls.get("joint", 0) for process in world.processes]
    asked = [
        asyncio.ensure_future(ask(process.coordinator))
        for process, ask in zip(world.processes, (first, second), strict=True)
    ]
    for process, calls in zip(world.processes, before, strict=True):
        await until(lambda process=process, calls=calls: process.faults.calls.get("joint", 0) > calls)  # type: ignore[misc]
    gates[0].set_result(None)
    await asyncio.wait(asked[:1])
    await between(world.processes[0].coordinator)
    gates[1].set_result(None)
    return await asyncio.gather(*asked, return_exceptions=True)


@seeded(seeds=5)
async def test_a_late_put_is_not_done_because_its_record_is_there(seed: int) -> None:
    """Goal: a put that reached the store after its holder was preempted is never answered done, not even to a retry with its
    idempotency key, although record and effect went into one commit.

    Method: hold back the commit of a holder's put; another process waits out the lease, reads, writes and releases; then the
    late commit goes through. The first answer and the retry at the other process must both not be done.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=500)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "late"}
        gate = one.faults.hold("joint")
        late = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, **options))
        await until(lambda: one.faults.calls.get("joint", 0) > 0)
        one.faults.down = True
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 2})]
        section = await two.coordinator.section(row, steps, wait_ms=60_000)
        assert section.fencing_token == lock.fencing_token + 1
        one.faults.down = False
        gate.set_result(None)
        (answer,) = await asyncio.gather(late, return_exceptions=True)
        assert isinstance(answer, PolysiteError), answer
        try:
            again: Any = await two.coordinator.put(row, {"count": 1}, **options)
        except PolysiteError as error:
            again = error
        assert isinstance(again, OutcomeUnknown), (
            "it is there, so it was not refused; nobody can read it, so it is not done"
        )
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_a_record_counts_while_the_fence_lies_below(seed: int) -> None:
    """Goal: a put that was stored in time counts as done for a retry, even if others have written since and the process died
    before its record said so. Method: kill right after the commit; end the tenure clean from another process; write; retry."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "p"}
        first = await one.coordinator.put(row, {"count": 1}, **options)
        await one.kill()
        again = await two.coordinator.put(row, {"count": 1}, **options)
        assert again.stamp == first.stamp
        await two.coordinator.put(row, {"count": 2}, level="critical", reference=lock.reference)
        assert (await two.coordinator.put(row, {"count": 1}, **options)).stamp == first.stamp
        await two.coordinator.release(lock.reference)
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_a_record_answers_when_the_lock_is_gone(seed: int) -> None:
    """Goal: a put that was stored in time is never answered "refused" to a retry, though its lock is gone and its record does
    not say yet that it was done. Method: let the record stay pending, release, let another write; retry here and elsewhere, and
    retry one that was never sent."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        one.faults.refuse_next("write")
        first = await one.coordinator.put(row, {"count": 1}, idempotency_key="p", **options)
        assert (await one.coordinator.release(lock.reference)).validated
        await two.coordinator.section(row, [RowPut(columns={"count": 2})])
        for process in (two, one):
            again = await process.coordinator.put(row, {"count": 1}, idempotency_key="p", **options)
            assert again.stamp == first.stamp
            with pytest.raises(LockLost):
                await process.coordinator.put(row, {"count": 1}, idempotency_key="never sent", **options)
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_a_record_is_completed_by_a_process_whose_clock_is_behind(seed: int) -> None:
    """Goal: what was found to be done stays done, though the record that says so is written by a process whose clock is behind
    that of the one which wrote it first. Method: kill right after the commit; send again elsewhere, write, send again."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        one.clock.step_wall_us(400_000)
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "p"}
        one.faults.hold("write")  # so that it does not come to say itself that it is done
        first = await one.coordinator.put(row, {"count": 1}, **options)
        await one.kill()
        assert (await two.coordinator.put(row, {"count": 1}, **options)).stamp == first.stamp
        await two.coordinator.preempt(row)
        await two.coordinator.put(row, {"count": 2}, level="atomic")
        assert (await two.coordinator.put(row, {"count": 1}, **options)).stamp == first.stamp
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_acquire_again_at_another_process(seed: int) -> None:
    """Goal: an acquire sent again to another process is the same entry: answered by the process that serves it, or taken over
    once that one is dead. Method: acquire at one, again at two; kill one; again at two."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
        again = await two.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
        assert (again.reference, again.held) == (lock.reference, True)
        assert [entry.process for entry in (await two.coordinator.queue(row)).entries] == ["p1"]
        await one.kill()
        third = await two.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
        assert (third.reference, third.held) == (lock.reference, True)
        assert len((await two.coordinator.queue(row)).entries) == 1
        await two.coordinator.release(third.reference)


@seeded(seeds=3)
async def test_more_writes_than_a_window(seed: int) -> None:
    """Goal: a holder that used half of its window gets a further one once, in the background. Method: make the window small by
    using it up, and count the changes."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=600_000)
        await asyncio.sleep(0.1)
        (state,) = site._keys.in_use()
        (live,) = state.sessions.values()
        live.core._use_stamps(2**19)
        changes = one.faults.calls["compare_and_set"]
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        await asyncio.gather(*(site.put(row, {"count": number}, **options) for number in range(20)))
        await asyncio.sleep(0.1)
        assert one.faults.calls["compare_and_set"] == changes + 1
        before = await site.put(row, {"count": 1}, **options)
        for power in range(21, -1, -1):
            if live.core._has_stamps(2**power):
                live.core._use_stamps(2**power)
        after = await site.put(row, {"count": 2}, **options)
        assert before.stamp is not None
        assert after.stamp is not None
        assert after.stamp > before.stamp
        assert (await site.release(lock.reference)).validated


@seeded(seeds=5)
async def test_section_that_ends_in_the_middle(seed: int) -> None:
    """Goal: a section over several partitions that stored some of its writes is unknown, not refused, and is not carried out
    a second time. Method: a lock key with two partitions, held first so that the general road is taken; the second batch is
    refused; sent again."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site = one.coordinator
        columns = (ColumnSpec("a", "text"), ColumnSpec("b", "text"), ColumnSpec("count", "int"))
        await site.create_table(
            TableSpec(keyspace="ks", name="wide", columns=columns, partition_key=("a", "b"), lock_columns=("a",))
        )
        key = KeyName(keyspace="ks", table="wide", key={"a": "x"})
        lock = await site.acquire([key])
        rows = [{"a": "x", "b": "1"}, {"a": "x", "b": "2"}]
        steps: list[Step] = [RowPut(key=row, columns={"count": 1}) for row in rows]
        asked = asyncio.ensure_future(site.section(key, steps, idempotency_key="wide"))
        await asyncio.sleep(0.1)
        gate = one.faults.hold("joint")
        calls = one.faults.calls.get("joint", 0)
        await site.release(lock.reference)
        await until(lambda: one.faults.calls.get("joint", 0) == calls + 1)
        one.faults.refuse_after("joint", 1)
        gate.set_result(None)
        with pytest.raises(OutcomeUnknown) as told:
            await asked
        assert told.value.steps_done == 1
        with pytest.raises(OutcomeUnknown):
            await site.section(key, steps, idempotency_key="wide")
        found = [await site.get(KeyName(keyspace="ks", table="wide", key=row), level="quorum") for row in rows]
        assert [answer.row is None for answer in found] == [False, True]


@seeded(seeds=5)
async def test_a_late_put_is_not_done_because_its_row_shows_it(seed: int) -> None:
    """Goal: a put that came to the store after its holder was preempted is not answered done to a retry because the row happens to
    show it: the next holder has read the row before, and is about to write again what it read.

    Method: hold back the commit beyond the lease; let the next holder read, and hold back its re-stamp; let the late commit through;
    retry; let the re-stamp through.
    """
    for joint in (True, False):
        async with world_of(seed, "one", "two", "three", joint=joint) as world:
            one, two, three = world.processes
            row = world.row("a")
            await two.coordinator.section(row, [RowPut(columns={"count": 0})])
            lock = await one.coordinator.acquire([row], lease_ms=500)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "late"}
            gate = one.faults.hold("joint" if joint else "write")
            late = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, **options))
            await asyncio.sleep(0.1)
            if not joint:
                # The first write is that of the record.
                record, gate = gate, one.faults.hold("write")
                record.set_result(None)
                await asyncio.sleep(0.1)
            one.faults.down = True
            restamp = two.faults.hold("write")
            successor = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, read=True))
            writes = two.faults.calls["write"]
            await until(lambda calls=two.faults.calls, before=writes: calls["write"] > before)  # type: ignore[misc]
            one.faults.down = False
            gate.set_result(None)
            await asyncio.sleep(0.1)
            assert (await three.coordinator.get(row)).row == {"id": "a", "count": 1, "note": None}
            with pytest.raises(OutcomeUnknown):
                await three.coordinator.put(row, {"count": 1}, **options)
            restamp.set_result(None)
            assert (await successor).rows == [{"id": "a", "count": 0, "note": None}]
            with pytest.raises(OutcomeUnknown):
                await late
            assert (await three.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 0, "note": None}
            await two.coordinator.release((await successor).reference)


@seeded(seeds=5)
async def test_a_plain_put_at_two_processes_at_once(seed: int) -> None:
    """Goal: two processes that are handed one idempotency key at once make one effect between them, and give one answer.

    Method: both have found no record and are about to commit; the first commits, another client writes the row, the second
    commits. A second effect would undo what the other client wrote, for the second process's clock is ahead.
    """
    async with world_of(seed, "one", "two") as world:
        row = world.row("a", "mixed")
        world.processes[1].clock.step_wall_us(300_000)

        async def ask(site: Coordinator) -> WriteAnswer:
            return await site.put(row, {"count": 1}, idempotency_key="p")

        answers = await at_once(world, ask, ask, lambda site: site.put(row, {"count": 2}))
        assert answers[0].stamp == answers[1].stamp
        for process in world.processes:
            assert (await process.coordinator.get(row)).row == {"id": "a", "count": 2, "note": None}
            assert (await ask(process.coordinator)).stamp == answers[0].stamp


@seeded(seeds=5)
async def test_one_key_for_two_requests_at_once(seed: int) -> None:
    """Goal: of two different requests that are given one idempotency key at two processes at once, one is refused as a
    mismatch and leaves nothing. Method: on the brink of their commits, as plain writes, under locks and as sections."""
    async with world_of(seed, "one", "two") as world:
        one, two = (process.coordinator for process in world.processes)

        async def nothing(_: Coordinator) -> None:
            """No third client."""

        def plain(name: str, key: str) -> Ask:
            return lambda site: site.put(world.row(name, "mixed"), {"count": 1}, idempotency_key=key)

        def atomic(name: str, key: str) -> Ask:
            return lambda site: site.put(world.row(name), {"count": 1}, level="atomic", idempotency_key=key)

        def locked(name: str, key: str, reference: str) -> Ask:
            options: dict[str, Any] = {"level": "critical", "reference": reference, "idempotency_key": key}
            return lambda site: site.put(world.row(name), {"count": 1}, **options)

        held = [(await site.acquire([world.row(name)])).reference for site, name in ((one, "e"), (two, "f"))]
        rounds = [
            ("mixed", "ab", plain("a", "1"), plain("b", "1")),
            ("votes", "cd", atomic("c", "2"), atomic("d", "2")),
            ("votes", "ef", locked("e", "3", held[0]), locked("f", "3", held[1])),
        ]
        for table, names, first, second in rounds:
            answers = await at_once(world, first, second, nothing)
            assert answers[0].stamp is not None
            assert isinstance(answers[1], IdempotencyMismatch), (names, answers)
            found = [(await one.get(world.row(name, table), level="quorum")).row for name in names]
            assert [row is None for row in found] == [False, True]
        (state,) = [state for state in two._keys.in_use() if state.key.table == "votes"]
        for site, reference in zip((one, two), held, strict=True):
            assert (await site.release(reference)).validated
        assert state.cell.fence == 0, "what was refused left the tenure with an unanswered write"


@pytest.mark.parametrize("busy", [False, True], ids=["one-step", "general"])
@seeded(seeds=5)
async def test_a_section_whose_first_sending_gave_up(seed: int, busy: bool) -> None:
    """Goal: a section that was not carried out at first is carried out once, though two processes are asked again at once.

    Method: its first sending finds the lock held and gives up, which leaves its request id in the cell and no record; both
    processes conclude from that that it may run. Between their commits another client writes. `busy`: the lock is held
    while they are asked, so that they queue up.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        steps: list[Step] = [RowGet(), RowPut(columns={"count": 1})]
        lock = await one.coordinator.acquire([row])
        with pytest.raises(AcquireTimeout):
            await one.coordinator.section(row, steps, wait_ms=10, idempotency_key="s")
        await asyncio.sleep(0.1)

        async def ask(site: Coordinator) -> Any:
            return await site.section(row, steps, idempotency_key="s")

        if busy:
            asked = [asyncio.ensure_future(ask(process.coordinator)) for process in (one, two)]
            await asyncio.sleep(0.1)
            await one.coordinator.release(lock.reference)
            answers = await asyncio.gather(*asked)
        else:
            await one.coordinator.release(lock.reference)
            answers = await at_once(
                world, ask, ask, lambda site: site.section(row, [RowPut(columns={"count": 2})], idempotency_key="other")
            )
            assert two.faults.calls["joint"] == 1, "it was tried again though its record is there"
        assert answers[0].fencing_token == answers[1].fencing_token, answers
        assert [answer.results[0] for answer in answers] == [None, None]
        expected = 1 if busy else 2
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": expected, "note": None}


@seeded(seeds=5)
async def test_a_lost_answer_does_not_hinder_its_own_retry(seed: int) -> None:
    """Goal: a write under a lock whose answer was lost is sent again, finds its own record and is done; the tenure knows that
    it is, and ends clean. Method: lose the answer of the commit, before and after its effect, and look at the fence."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        for after_effect in (True, False):
            lock = await site.acquire([row])
            one.faults.lose_next("joint", after_effect=after_effect)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            calls = one.faults.calls.get("joint", 0)
            answer = await site.put(row, {"count": 1}, idempotency_key=f"p{after_effect}", **options)
            assert one.faults.calls["joint"] == calls + 2
            (state,) = [state for state in site._keys.in_use() if state.key.table == row.table]
            fence = state.cell.fence
            assert (await site.release(lock.reference)).validated
            assert state.cell.fence == fence
            assert (await site.get(row, level="quorum", stamps=True)).stamps == {"count": answer.stamp}


@seeded(seeds=20)
async def test_a_conditional_batch_at_two_processes_at_once(seed: int) -> None:
    """Goal: an expectation that a request fulfilled itself is never told it as failed, and its record stays.

    Method: a batch that wants its row absent, sent to two processes at once over engines of uneven speed.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        await one.coordinator.create_table(table_of("once", "conditional"))
        row = world.row("a", "once")
        for process in world.processes:
            process.faults.rates = FaultRates(delay_s=0.02)

        async def ask(site: Coordinator) -> Any:
            writes = [RowPut(key=row.key, columns={"count": 1})]
            expect = [RowExpectation(key=row.key, exists=False)]
            try:
                return await site.batch("ks", "once", writes, expect=expect, idempotency_key="c")
            except (CompareFailed, OutcomeUnknown) as error:
                return error

        answers = await asyncio.gather(ask(one.coordinator), ask(two.coordinator))
        assert all(isinstance(answer, WriteAnswer) for answer in answers), answers
        assert isinstance(await ask(two.coordinator), WriteAnswer)


@seeded(seeds=3)
async def test_a_put_is_the_same_request_on_either_road(seed: int) -> None:
    """Goal: a put without a lock that is sent again once its key was locked is answered, not refused as another request: on a
    `mixed` table it goes as a section then. Method: send it before and after a lock, at either process; the same with a batch
    that deletes a range; the other way round where two processes are asked while the first lock is made."""
    async with world_of(seed, "one", "two") as world:
        one, two = (process.coordinator for process in world.processes)
        columns = (ColumnSpec("id", "text"), ColumnSpec("at", "int"), ColumnSpec("count", "int"))
        await one.create_table(
            TableSpec(
                keyspace="ks", name="logs", columns=columns, partition_key=("id",), clustering_key=(ClusteringColumn("at"),), writes="mixed"
            )
        )  # fmt: skip
        row, entry = world.row("a", "mixed"), KeyName(keyspace="ks", table="logs", key={"id": "a"})
        range_ = [RangeDelete(where=[Condition(column="id", comparison="eq", value="a")])]

        async def put(site: Coordinator) -> WriteAnswer:
            return await site.put(row, {"count": 1}, idempotency_key="p")

        async def trim(site: Coordinator) -> WriteAnswer:
            return await site.batch("ks", "logs", range_, idempotency_key="t")

        for ask, name in ((put, row), (trim, entry)):
            first = await ask(one)
            await one.release((await one.acquire([name])).reference)
            assert [(await ask(site)).stamp for site in (one, two)] == [first.stamp] * 2
        with pytest.raises(IdempotencyMismatch):
            await one.put(row, {"count": 3}, idempotency_key="p")

        other = world.row("b", "mixed")

        async def ask_other(site: Coordinator) -> WriteAnswer:
            return await site.put(other, {"count": 1}, idempotency_key="o")

        gate = world.processes[0].faults.hold("joint")
        calls = world.processes[0].faults.calls["joint"]
        plain = asyncio.ensure_future(ask_other(one))
        await until(lambda: world.processes[0].faults.calls["joint"] > calls)
        await two.release((await two.acquire([other])).reference)
        section = await ask_other(two)
        gate.set_result(None)
        assert (await plain).stamp == section.stamp


@pytest.mark.parametrize("joint", [True, False])
@seeded(seeds=3)
async def test_a_refused_request_sent_again_where_the_clock_is_behind(seed: int, joint: bool) -> None:
    """Goal: a request that was refused may be sent again, and is carried out once. Method: a conditional batch refused at a
    process whose clock is ahead, which withdraws its record; then it holds, at the other process, and is sent once more after
    somebody else has written."""
    async with world_of(seed, "one", "two", joint=joint) as world:
        one, two = (process.coordinator for process in world.processes)
        for site in (one, two):
            if not joint:
                # As over an engine that cannot make the record in one step with the batch.
                site._store.capabilities -= {"joint"}
        world.processes[0].clock.step_wall_us(400_000)
        await one.create_table(table_of("once", "conditional"))
        row = world.row("a", "once")

        async def write(site: Coordinator, count: int, **options: Any) -> WriteAnswer:
            return await site.batch("ks", "once", [RowPut(key=row.key, columns={"count": count})], **options)

        options: dict[str, Any] = {"expect": [RowExpectation(key=row.key, exists=True)], "idempotency_key": "c"}
        for _ in range(2):
            with pytest.raises(CompareFailed):
                await write(one, 2, **options)
        await write(one, 1)
        await write(two, 2, **options)
        await write(one, 3)
        for site in (two, one):
            await write(site, 2, **options)
        assert (await two.get(row, level="quorum")).row == {"id": "a", "count": 3, "note": None}


@seeded(seeds=3)
async def test_a_record_withdrawn_while_another_process_makes_it(seed: int) -> None:
    """Goal: a record that is made while another process, whose clock is ahead, withdraws its own is there. Method: hold back
    the making of the one until the other was refused; then somebody else writes, and the request is sent again."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        one.clock.step_wall_us(400_000)
        await one.coordinator.create_table(table_of("once", "conditional"))
        row = world.row("a", "once")

        async def write(site: Coordinator, count: int, **options: Any) -> WriteAnswer:
            return await site.batch("ks", "once", [RowPut(key=row.key, columns={"count": count})], **options)

        options: dict[str, Any] = {"expect": [RowExpectation(key=row.key, exists=True)], "idempotency_key": "c"}
        gate, calls = two.faults.hold("write"), two.faults.calls.get("write", 0)
        asked = asyncio.ensure_future(write(two.coordinator, 2, **options))
        await until(lambda: two.faults.calls.get("write", 0) > calls)
        with pytest.raises(CompareFailed):
            await write(one.coordinator, 2, **options)
        await write(one.coordinator, 1)
        gate.set_result(None)
        await asked
        await write(one.coordinator, 3)
        await write(two.coordinator, 2, **options)
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 3, "note": None}
