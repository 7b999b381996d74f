"""Requests that are sent again with their idempotency key: at most one effect, and nobody is told a refusal that is none."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polysite.api import KeyName, LockAnswer, RowExpectation, RowGet, RowPut, SectionAnswer, Step
from polysite.errors import AcquireTimeout, CompareFailed, IdempotencyMismatch, LockLost, OutcomeUnknown
from polysite.testing.faults import Operation
from polysite.testing.loop import seeded
from polysite.values.tables import ColumnSpec, TableSpec
from tests.support.sites import Process, World, table_of, until, world_of


async def told(call: Awaitable[Any]) -> Any:
    """What the call answers, or the error it ends with."""
    return (await asyncio.gather(call, return_exceptions=True))[0]


def begun(process: Process, operation: str) -> Callable[[], bool]:
    """Whether the process has called that operation of its engine since now."""
    calls = process.faults.calls.get(operation, 0)
    return lambda: process.faults.calls.get(operation, 0) > calls


def mine(world: World, process: Process) -> Awaitable[SectionAnswer]:
    """The request that is sent again and again."""
    return process.coordinator.section(world.row("a"), [RowPut(columns={"note": "mine"})], idempotency_key="k")


async def others(world: World, count: int) -> None:
    """Sections of other requests, by the second process."""
    for _ in range(count):
        await world.processes[1].coordinator.section(world.row("a"), [RowPut(columns={"note": "theirs"})])


async def note(world: World) -> Any:
    row = (await world.processes[1].coordinator.get(world.row("a"), level="quorum")).row
    return None if row is None else row["note"]


@seeded(seeds=5)
async def test_late_attempt_finds_the_record_of_the_retry(seed: int) -> None:
    """Goal: an attempt that comes late does nothing if the request was carried out elsewhere meanwhile, however much the cell
    has forgotten of it; it gives the same answer. Method: hold an attempt before its commit, or where cell, rows and record are no
    one step before its entry is made, so that it gets the lock after all others; send the request again at another process; more
    sections than a cell remembers; let the first go on."""
    for joint in (True, False):
        async with world_of(seed, "one", "two", joint=joint) as world:
            one, two = world.processes
            operation: Operation = "joint" if joint else "compare_and_set"
            gate, sent = one.faults.hold(operation), begun(one, operation)
            first = asyncio.ensure_future(mine(world, one))
            await until(sent)
            again = await mine(world, two)
            await others(world, 66)
            gate.set_result(None)
            assert (await first).fencing_token == again.fencing_token
            assert await note(world) == "theirs"


@seeded(seeds=5)
async def test_late_attempt_after_one_that_wrote_nothing(seed: int) -> None:
    """Goal: the same for a request of which an attempt came and went without an effect. Method: cancel one in the queue; hold
    the next where it begins anew; send the request again at another process, and another section after it."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        held = await one.coordinator.acquire([world.row("a")])
        waiting = asyncio.ensure_future(mine(world, one))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await told(waiting)
        await one.coordinator.release(held.reference)
        gate, sent = one.faults.hold("joint"), begun(one, "joint")
        first = asyncio.ensure_future(mine(world, one))
        await until(sent)
        later, sent = one.faults.hold("joint"), begun(one, "joint")
        gate.set_result(None)
        await until(sent)
        again = await mine(world, two)
        await others(world, 1)
        later.set_result(None)
        assert (await first).fencing_token == again.fencing_token
        assert await note(world) == "theirs"


@seeded(seeds=5)
async def test_retry_of_a_section_that_waits_for_its_lock(seed: int) -> None:
    """Goal: on the general road too the record is looked for when the lock is held. Method: two processes send the request
    while somebody holds the key; whoever comes second answers from the record of the first."""
    for joint in (True, False):
        async with world_of(seed, "one", "two", joint=joint) as world:
            one, two = world.processes
            held = await one.coordinator.acquire([world.row("a")])
            asked = [asyncio.ensure_future(mine(world, process)) for process in (one, two)]
            await asyncio.sleep(0.1)
            await one.coordinator.release(held.reference)
            answers = [await told(call) for call in asked]
            done = [answer for answer in answers if isinstance(answer, SectionAnswer)]
            # Where the record is no part of the commit, it may not tell yet what became of the first.
            assert len(done) == 2 or (
                not joint and len(done) == 1 and any(isinstance(x, OutcomeUnknown) for x in answers)
            )
            assert len({answer.fencing_token for answer in done}) == 1
            stored = await two.coordinator.get(world.row("a"), level="quorum", stamps=True)
            await others(world, 1)
            assert (await mine(world, two)).fencing_token == done[0].fencing_token
            assert await note(world) == "theirs"
            assert stored.row is not None


async def _wide(world: World) -> tuple[KeyName, dict[str, str], dict[str, str]]:
    """A table whose locks cover two partitions: the lock key, and a row of each."""
    columns = (ColumnSpec("a", "text"), ColumnSpec("b", "text"), ColumnSpec("count", "int"))
    await world.processes[0].coordinator.create_table(
        TableSpec(keyspace="ks", name="wide", columns=columns, partition_key=("a", "b"), lock_columns=("a",))
    )
    return KeyName(keyspace="ks", table="wide", key={"a": "x"}), {"a": "x", "b": "1"}, {"a": "x", "b": "2"}


@seeded(seeds=5)
async def test_refused_retry_of_a_section_that_was_lost(seed: int) -> None:
    """Goal: a retry is not called refused while an attempt that lost its lock may still arrive. Method: hold the commit of a
    section under its lock; wait out its lease; change what it expects; send it again; let the commit arrive."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        key, expected, written = await _wide(world)
        steps: list[Step] = [RowExpectation(key=expected, exists=False), RowPut(key=written, columns={"count": 1})]
        lock = await one.coordinator.acquire([key])
        first = asyncio.ensure_future(one.coordinator.section(key, steps, idempotency_key="k", lease_ms=1_000))
        await asyncio.sleep(0.1)
        gate, sent = one.faults.hold("joint"), begun(one, "joint")
        await one.coordinator.release(lock.reference)
        await until(sent)
        one.faults.down = True
        await two.coordinator.section(key, [RowPut(key=expected, columns={"count": 5})], wait_ms=60_000)
        with pytest.raises(OutcomeUnknown):
            await two.coordinator.section(key, steps, idempotency_key="k")
        one.faults.down = False
        gate.set_result(None)
        assert isinstance(await told(first), OutcomeUnknown)
        # The late write is there, and nothing proves that nobody had read the row before it came: it stays unknown.
        with pytest.raises(OutcomeUnknown):
            await two.coordinator.section(key, steps, idempotency_key="k")
        assert (await two.coordinator.section(key, [RowGet(key=written)])).results == [{**written, "count": 1}]


@seeded(seeds=5)
async def test_refused_retry_of_a_section_that_wrote_nothing(seed: int) -> None:
    """Goal: a retry after an attempt of which this process knows that it sent nothing may be refused. Method: time out in the
    queue, then fail an expectation, both with the same key."""
    async with world_of(seed) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        steps: list[Step] = [RowExpectation(exists=True), RowPut(columns={"count": 1})]
        held = await site.acquire([row])
        for _ in range(2):
            with pytest.raises(AcquireTimeout):
                await site.section(row, steps, idempotency_key="k", wait_ms=100)
        await site.release(held.reference)
        with pytest.raises(CompareFailed):
            await site.section(row, steps, idempotency_key="k")


@seeded(seeds=5)
async def test_lock_set_sent_again_after_a_timeout(seed: int) -> None:
    """Goal: a lock set with an idempotency key that was not granted in time, or whose caller gave up, can be sent again, by any
    process; one that was granted and released cannot. Method: each in turn, against a holder of one of its keys."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        rows = [world.row("a"), world.row("b")]

        def ask(process: Process, wait_ms: int) -> Awaitable[LockAnswer]:
            return process.coordinator.acquire(rows, idempotency_key="k", wait_ms=wait_ms, lease_ms=60_000)

        holder = await one.coordinator.acquire([rows[1]])
        for process in (one, two, one):
            with pytest.raises(AcquireTimeout):
                await ask(process, 100)
        waiting = asyncio.ensure_future(ask(two, 60_000))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await told(waiting)
        await one.coordinator.release(holder.reference)
        await asyncio.sleep(0.1)
        lock = await ask(one, 1_000)
        assert lock.held
        assert (await ask(one, 1_000)).reference == lock.reference
        await one.coordinator.release(lock.reference)
        for process in (one, two):
            with pytest.raises(LockLost):
                await ask(process, 1_000)
        assert (await one.coordinator.queue(rows[0])).issued == (await one.coordinator.queue(rows[1])).issued - 1


@seeded(seeds=5)
async def test_table_that_is_dropped_and_made_again(seed: int) -> None:
    """Goal: what was answered of a table is not taken for the table that was made later under its name: a session under way is
    lost, copy and all, and a request sent again is no repetition. Method: another process drops and makes it, with equal
    columns; calls of both processes with the old reference and the old keys, a get or a put first."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        for serving, asked in ((one, one), (one, two), (two, one)):
            number = f"{serving.address} {asked.address}"
            await serving.coordinator.section(row, [RowPut(columns={"count": 1})], idempotency_key=f"s {number}")
            lock = await serving.coordinator.acquire([row])
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            await serving.coordinator.put(row, {"count": 2}, idempotency_key=f"p {number}", **options)
            assert (await serving.coordinator.get(row, **options)).row is not None
            await two.coordinator.drop_table("ks", "votes")
            await two.coordinator.create_table(table_of("votes", "sections"))
            with pytest.raises(IdempotencyMismatch):
                await asked.coordinator.put(row, {"count": 2}, idempotency_key=f"p {number}", **options)
            first = asked.coordinator.get(row, **options), asked.coordinator.put(row, {"count": 3}, **options)
            for call in first if seed % 2 else reversed(first):
                with pytest.raises(LockLost):
                    await call
            with pytest.raises(IdempotencyMismatch):
                await asked.coordinator.section(row, [RowPut(columns={"count": 1})], idempotency_key=f"s {number}")
            assert (await asked.coordinator.section(row, [RowGet()])).results == [None]


@seeded(seeds=5)
async def test_put_with_a_record_is_not_refused_for_want_of_its_process(seed: int) -> None:
    """Goal: a put of which there is a record is not called refused because the process that serves its lock cannot be reached.
    Method: an engine on which the record goes first; lose the put itself, cut its process off, and send it again."""
    async with world_of(seed, "one", "two", joint=False) as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "p"}
        record, sent = one.faults.hold("write"), begun(one, "write")
        put = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, **options))
        await until(sent)
        effect, sent = one.faults.hold("write"), begun(one, "write")
        record.set_result(None)
        await until(sent)
        for _ in range(3):
            one.faults.lose_next("write", after_effect=False)
        effect.set_result(None)
        assert isinstance(await told(put), OutcomeUnknown)
        world.channel.cut.add(one.address)
        assert isinstance(await told(two.coordinator.put(row, {"count": 1}, **options)), OutcomeUnknown)
        await one.coordinator.release(lock.reference)
