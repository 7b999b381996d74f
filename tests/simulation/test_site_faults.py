"""Lost answers, races and restarts: nothing acknowledged is lost, nothing happens twice."""

import asyncio
from typing import Any

import pytest

from polysite.api import RowExpectation, RowGet, RowPut, Step
from polysite.cells.contract import CONTENDED
from polysite.core.lock_cell import recent_changes
from polysite.errors import (
    AcquireTimeout,
    CompareFailed,
    LockLost,
    OutcomeUnknown,
    Overloaded,
    PolysiteError,
    Unavailable,
)
from polysite.site.combining import READ_AGAIN_S, READ_ATTEMPTS_MAX
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from tests.support.sites import Process, until, world_of

OPERATIONS: tuple[Any, ...] = ("compare_and_set", "joint")


@seeded(seeds=10)
async def test_lost_answers_of_changes(seed: int) -> None:
    """Goal: a compare-and-set without an answer is resolved, never doubled (I16, I18). Method: lose the answer of each change
    of a lock's life, before and after its effect; tickets and counts must be as if nothing had been lost."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        for expected, after_effect in enumerate((True, False), start=1):
            one.faults.lose_next("compare_and_set", after_effect=after_effect)
            lock = await site.acquire([row], read=True)
            assert lock.held
            assert lock.fencing_token == expected
            one.faults.lose_next("write", after_effect=after_effect)
            await site.put(row, {"count": expected}, level="critical", reference=lock.reference)
            assert (await site.get(row, level="critical", reference=lock.reference)).row == {
                "id": "a",
                "count": expected,
                "note": None,
            }
            one.faults.lose_next("compare_and_set", after_effect=after_effect)
            assert (await site.release(lock.reference)).validated
        assert (await site.queue(row)).entries == []


@seeded(seeds=10)
async def test_lost_answers_of_joint_sections(seed: int) -> None:
    """Goal: a section in one step whose answer is lost counts once. Method: lose it before and after its effect."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        for number, after_effect in enumerate((True, False, True, False), start=1):
            one.faults.lose_next("joint", after_effect=after_effect)
            answer = await site.section(row, [RowGet(), RowPut(columns={"count": number})])
            assert answer.fencing_token == number
        assert (await site.get(row)).row == {"id": "a", "count": 4, "note": None}


@seeded(seeds=10)
async def test_engine_down(seed: int) -> None:
    """Goal: with the engine away every verb is refused, to be tried again, and a release is carried out when it is back.

    Method: take the engine away with a lock held; release in the background; bring it back.
    """
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        lock = await site.acquire([row], lease_ms=60_000)
        one.faults.down = True
        for call in (
            site.put(row, {"count": 1}, level="critical", reference=lock.reference),
            site.acquire([world.row("b")]),
            site.section(world.row("c"), [RowPut(columns={"count": 1})]),
        ):
            with pytest.raises(Unavailable):
                await call
        await site.release(lock.reference, validate=False)
        await asyncio.sleep(2.0)
        one.faults.down = False
        await asyncio.sleep(6.0)
        assert (await site.queue(row)).entries == []


@seeded(seeds=5)
async def test_a_cell_that_others_change_is_read_again(seed: int) -> None:
    """Goal: whoever needs the cell as it is now is not told that others stood in his way for a moment; where they do so for long he is
    told within some seconds, and the engine does not count as away: what others ask for is still carried.

    Method: preempt a holder while the reads of the cell are superseded, less often than they are tried, and always; look at who would
    still carry wishes; then once while the engine is away, which is told at once.
    """
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        for times, ends_well in ((READ_ATTEMPTS_MAX - 1, True), (READ_ATTEMPTS_MAX, False)):
            await site.acquire([row], lease_ms=60_000)
            before_s, reads = one.clock.monotonic_s(), one.faults.calls.get("read", 0)
            for _ in range(times):
                one.faults.contend_next("read")
            if ends_well:
                answer = await site.preempt(row)
                assert answer.entries == []
            else:
                with pytest.raises(Unavailable) as told:
                    await site.preempt(row)
                assert told.value.reason == CONTENDED
                assert one.faults.calls["read"] - reads == READ_ATTEMPTS_MAX
            assert one.clock.monotonic_s() - before_s < READ_AGAIN_S + 1.0
            assert not site._sessions.combiner.stewards.engine_is_away
        reads = one.faults.calls["read"]
        one.faults.down = True
        with pytest.raises(Unavailable):
            await site.preempt(row)
        assert one.faults.calls["read"] - reads == 1
        assert site._sessions.combiner.stewards.engine_is_away
        one.faults.down = False


@seeded(seeds=5)
async def test_a_set_is_released_as_far_as_it_can_be(seed: int) -> None:
    """Goal: one lock of a set that cannot be released keeps none of the others, and the error says what was released.

    Method: refuse the engine's answer for the second of three, look at the queues; then for all of them.
    """
    async with world_of(seed) as world:
        one = world.processes[0]
        site, rows = one.coordinator, [world.row(key) for key in "abc"]
        lock = await site.acquire(rows, lease_ms=60_000)
        one.faults.refuse_after("compare_and_set", 1)
        with pytest.raises(OutcomeUnknown) as told:
            await site.release(lock.reference)
        assert told.value.reason == "partly_released"
        tokens = {held.key["id"]: held.fencing_token for held in lock.keys}
        assert told.value.released == [
            {"keyspace": "ks", "table": "votes", "key": {"id": key}, "fencing_token": tokens[key]} for key in "ac"
        ]
        assert [len((await site.queue(row)).entries) for row in rows] == [0, 1, 0]
        await asyncio.sleep(2.0)
        lock = await site.acquire(rows, lease_ms=60_000)
        one.faults.down = True
        with pytest.raises(Unavailable):
            await site.release(lock.reference)
        one.faults.down = False


@seeded(seeds=10)
async def test_dirty_release(seed: int) -> None:
    """Goal: a write without an answer is settled for the next holder, whatever became of it. Method: lose a put for good in
    both ways; the next holder's gets agree with each other and with what is stored."""
    for after_effect in (True, False):
        async with world_of(seed, joint=False) as world:
            one = world.processes[0]
            site, row = one.coordinator, world.row("a")
            lock = await site.acquire([row])
            for _ in range(3):
                one.faults.lose_next("write", after_effect=after_effect)
            with pytest.raises(OutcomeUnknown):
                await site.put(row, {"count": 1}, level="critical", reference=lock.reference)
            await site.release(lock.reference)
            after = await site.acquire([row], read=True)
            seen = (await site.get(row, level="critical", reference=after.reference, stamps=True)).row
            assert after.rows == [seen]
            assert (seen is not None) == after_effect
            await site.release(after.reference)


async def _add(process: Process, row: Any, tally: dict[str, int], tokens: list[int]) -> None:
    """One more on the counter: in a section that checks what was read, or under a held lock."""
    site = process.coordinator
    try:
        if process.runtime.randomness.uniform(0, 1) < 0.5:
            before = (await site.get(row, level="quorum")).row
            count = 0 if before is None else before["count"]
            steps: list[Step] = [
                RowExpectation(exists=False) if before is None else RowExpectation(equals={"count": count}),
                RowPut(columns={"count": count + 1}),
            ]
            answer = await site.section(row, steps, wait_ms=20_000, lease_ms=2_000)
            tokens.append(answer.fencing_token)
            tally["done"] += 1
            return
        lock = await site.acquire([row], lease_ms=2_000, wait_ms=20_000, read=True)
        if not lock.held:
            await site.release(lock.reference, validate=False)
            return
        assert lock.rows is not None
        count = 0 if lock.rows[0] is None else lock.rows[0]["count"]
        try:
            await site.put(row, {"count": count + 1}, level="critical", reference=lock.reference)
            tally["done"] += 1
            tokens.append(lock.fencing_token)
        finally:
            await site.release(lock.reference, validate=False)
    except OutcomeUnknown:
        tally["unknown"] += 1
    except (CompareFailed, AcquireTimeout, LockLost, Unavailable):
        tally["refused"] += 1


@seeded(seeds=30, limit_s=20_000, limit_steps=5_000_000)
async def test_counting_under_faults(seed: int) -> None:
    """Goal: with lost answers, delays and two processes, mixed roads and kills, every `done` counts once and no more than the
    unknown ones are added. Method: clients add to two counters; at the end done <= count <= done + unknown."""
    async with world_of(seed, "one", "two", joint=seed % 3 != 0) as world:
        if seed % 2:
            # The second process takes the general road on the same keys.
            await world.processes[1].close()
            world.processes.pop()
            await world.process("three", joint=False)
        tallies = {key: {"done": 0, "unknown": 0, "refused": 0} for key in ("a", "b")}
        tokens: dict[str, list[int]] = {"a": [], "b": []}
        for process in world.processes:
            process.faults.rates = FaultRates(
                lost_after=0.03, lost_before=0.03, late=0.03, stale=0.2, refused=0.02, delay_s=0.02
            )

        async def client(process: Process) -> None:
            for _ in range(12):
                key = "a" if process.runtime.randomness.uniform(0, 1) < 0.7 else "b"
                await _add(process, world.row(key), tallies[key], tokens[key])

        victims: set[Process] = set()
        clients = {process: [asyncio.ensure_future(client(process)) for _ in range(4)] for process in world.processes}
        if seed % 5 == 0:
            await asyncio.sleep(1.0)
            victim = world.processes[0]
            victims.add(victim)
            for task in clients[victim]:
                task.cancel()
            lost = await asyncio.gather(*clients.pop(victim), return_exceptions=True)
            assert all(isinstance(item, asyncio.CancelledError) or item is None for item in lost)
            for tally in tallies.values():
                tally["unknown"] += 4
            await victim.kill()
        for tasks in clients.values():
            await asyncio.gather(*tasks)
        for process in world.processes:
            process.faults.rates = FaultRates()
        reader = next(process for process in world.processes if process not in victims)
        for key, tally in tallies.items():
            answer = await reader.coordinator.section(
                world.row(key), [RowGet(), RowPut(columns={"note": "end"})], wait_ms=60_000
            )
            row = answer.results[0]
            count = 0 if row is None else row["count"] or 0
            assert tally["done"] <= count <= tally["done"] + tally["unknown"], (key, count, tally)
            assert len(set(tokens[key])) == len(tokens[key])
        assert sum(tally["done"] for tally in tallies.values()) > 10, tallies


@seeded(seeds=3, limit_steps=5_000_000)
async def test_many_waiters(seed: int) -> None:
    """Goal: 250 waiters on one key hold in the order of their tickets, cost no polling, and the next is refused as
    Overloaded. Method: queue them, watch the reads while nothing happens, then let each release."""
    async with world_of(seed) as world:
        one = world.processes[0]
        site, row = one.coordinator, world.row("a")
        first = await site.acquire([row], lease_ms=600_000)
        order: list[int] = []

        async def hold() -> None:
            lock = await site.acquire([row], lease_ms=600_000, wait_ms=300_000)
            assert lock.held
            order.append(lock.fencing_token)
            await site.release(lock.reference)

        tasks = [asyncio.ensure_future(hold()) for _ in range(250)]
        await until(lambda: len(one.coordinator._keys.in_use()[0].cell.queue) == 251)
        reads = one.faults.calls.get("read", 0)
        await asyncio.sleep(60.0)
        assert one.faults.calls.get("read", 0) - reads <= 65
        for _ in range(5):
            await site.acquire([row], wait_ms=0, lease_ms=600_000)
        with pytest.raises(Overloaded):
            await site.acquire([row], wait_ms=0)
        changes = one.faults.calls["compare_and_set"]
        await site.release(first.reference)
        await asyncio.gather(*tasks)
        assert order == sorted(order)
        assert one.faults.calls["compare_and_set"] - changes <= 260
        queue = await site.queue(row)
        for entry in queue.entries:
            await site.preempt(row, fencing_token=entry.fencing_token)


@seeded(seeds=5)
async def test_combining(seed: int) -> None:
    """Goal: what is asked of one key at once goes into few changes. Method: 60 shared acquires side by side."""
    async with world_of(seed) as world:
        one = world.processes[0]
        before = one.faults.calls.get("compare_and_set", 0)
        locks = await asyncio.gather(*(one.coordinator.acquire([world.row("a")], kind="shared") for _ in range(60)))
        assert all(lock.held for lock in locks)
        assert one.faults.calls["compare_and_set"] - before <= 8
        assert sorted(lock.fencing_token for lock in locks) == list(range(1, 61))
        await asyncio.gather(*(one.coordinator.release(lock.reference) for lock in locks))
        assert one.faults.calls["compare_and_set"] - before <= 24


@seeded(seeds=5)
async def test_two_commits(seed: int) -> None:
    """Goal: an uncontended general section waits for two commits: the enqueue, and the put. Method: hold back every later
    change; the section answers all the same."""
    async with world_of(seed, joint=False) as world:
        one = world.processes[0]
        changes = one.faults.calls.get("compare_and_set", 0)
        gates = []
        done = await one.coordinator.section(world.row("a"), [RowGet(), RowPut(columns={"count": 1})])
        gates.append(one.faults.hold("compare_and_set"))
        assert not done.validated
        assert one.faults.calls["compare_and_set"] - changes <= 2
        assert one.faults.calls["write"] >= 1
        gates[0].set_result(None)


@seeded(seeds=10)
async def test_lock_sets_do_not_wait_in_a_ring(seed: int) -> None:
    """Goal: sets in any order never wait for each other in a ring. Method: clients of two processes take random sets."""
    async with world_of(seed, "one", "two") as world:
        taken = 0

        async def client(process: Process) -> None:
            nonlocal taken
            for _ in range(5):
                keys = [key for key in "abcd" if process.runtime.randomness.uniform(0, 1) < 0.6] or ["a"]
                if process.runtime.randomness.uniform(0, 1) < 0.5:
                    keys.reverse()
                lock = await process.coordinator.acquire([world.row(key) for key in keys], wait_ms=60_000)
                assert lock.held
                taken += 1
                await asyncio.sleep(0.01)
                await process.coordinator.release(lock.reference)

        await asyncio.gather(*(client(process) for process in world.processes for _ in range(4)))
        assert taken == 40


@seeded(seeds=10)
async def test_requests_survive_a_restart(seed: int) -> None:
    """Goal: a request sent again after its process was killed has one effect and the same answer (both roads).

    Method: section and put with idempotency keys, kill, restart, send again.
    """
    for joint in (True, False):
        async with world_of(seed, joint=joint) as world:
            one, row = world.processes[0], world.row("a")
            steps: list[Step] = [RowGet(), RowPut(columns={"count": 1})]
            first = await one.coordinator.section(row, steps, idempotency_key="s")
            lock = await one.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference, "idempotency_key": "p"}
            put = await one.coordinator.put(row, {"count": 2}, **options)
            await one.kill()
            two = await world.process("one", joint=joint)
            again = await two.coordinator.section(row, steps, idempotency_key="s")
            assert (again.fencing_token, again.results) == (first.fencing_token, first.results)
            assert (await two.coordinator.put(row, {"count": 2}, **options)).stamp == put.stamp
            same = await two.coordinator.acquire([row], idempotency_key="l", lease_ms=60_000)
            assert same.reference == lock.reference
            assert same.held
            await two.coordinator.put(row, {"count": 3}, level="critical", reference=same.reference)
            assert (await two.coordinator.put(row, {"count": 2}, **options)).stamp == put.stamp
            assert (await two.coordinator.release(same.reference)).validated
            assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 3, "note": None}


@seeded(seeds=10)
async def test_request_killed_in_the_middle(seed: int) -> None:
    """Goal: a section sent again after a kill at any moment counts once or says that nobody knows. Method: kill while the
    section waits for its engine, start again, send again until it is settled."""
    for joint in (True, False):
        async with world_of(seed, joint=joint) as world:
            one, row = world.processes[0], world.row("a")
            one.faults.rates = FaultRates(delay_s=0.05)
            steps: list[Step] = [RowGet(), RowExpectation(exists=False), RowPut(columns={"count": 1})]
            asked = asyncio.ensure_future(one.coordinator.section(row, steps, idempotency_key="s", lease_ms=1_000))
            await asyncio.sleep(one.runtime.randomness.uniform(0.0, 0.3))
            asked.cancel()
            settled = await asyncio.gather(asked, return_exceptions=True)
            await one.kill()
            two = await world.process("one", joint=joint)
            outcome = "done"
            try:
                await two.coordinator.section(row, steps, idempotency_key="s", lease_ms=1_000)
            except OutcomeUnknown:
                outcome = "unknown"
            except CompareFailed:
                outcome = "counted twice"
            assert outcome == "done" or (outcome == "unknown" and not joint), settled
            stored = (await two.coordinator.get(row, level="quorum")).row
            assert stored is not None or outcome == "unknown"


@seeded(seeds=10)
async def test_nothing_is_kept(seed: int) -> None:
    """Goal: keys that nobody uses leave nothing behind in the process but a bounded number of views. Method: lock 300."""
    async with world_of(seed, views_max=16) as world:
        site = world.processes[0].coordinator
        for number in range(300):
            lock = await site.acquire([world.row(f"k{number}")])
            await site.put(world.row(f"k{number}"), {"count": 1}, level="critical", reference=lock.reference)
            await site.release(lock.reference, validate=number % 2 == 0)
            await site.section(world.row(f"k{number}"), [RowGet()])
        await asyncio.sleep(1.0)
        assert len(site._keys) == 0
        assert site._sessions.count == 0
        assert len(site._keys._idle) <= 16


@seeded(seeds=3)
async def test_idle_cells_are_compacted(seed: int) -> None:
    """Goal: a cell that was idle for long forgets its changes and nothing else. Method: use a key, wait an hour."""
    async with world_of(seed) as world:
        site, row = world.processes[0].coordinator, world.row("a")
        await site.section(row, [RowPut(columns={"count": 1})])
        before = await site.queue(row)
        await asyncio.sleep(3_000.0)
        state = site._keys.take(world_key(world, "a"), world_key(world, "a").encode())
        await site._sessions.combiner.look(state)
        assert len(recent_changes(state.cell)) <= 1
        assert state.cell.departed == b""
        site._keys.drop(state)
        assert (await site.queue(row)).issued == before.issued
        answer = await site.section(row, [RowGet()])
        assert answer.results[0] == {"id": "a", "count": 1, "note": None}


def world_key(world: Any, key: str) -> Any:
    from polysite.values.keys import LockKey

    return LockKey("ks", "votes", (key.encode(),))


@seeded(seeds=5)
async def test_errors_are_polysites(seed: int) -> None:
    """Goal: whatever goes wrong below, callers see errors of polysite only. Method: everything fails half of the time."""
    async with world_of(seed, "one", "two") as world:
        for process in world.processes:
            process.faults.rates = FaultRates(
                lost_after=0.2, lost_before=0.1, late=0.1, stale=0.3, refused=0.2, delay_s=0.05
            )
        tallies = {"done": 0, "unknown": 0, "refused": 0}

        async def client(process: Process) -> None:
            for _ in range(6):
                try:
                    await _add(process, world.row("a"), tallies, [])
                except PolysiteError:
                    tallies["refused"] += 1

        await asyncio.gather(*(client(process) for process in world.processes for _ in range(2)))
        for process in world.processes:
            process.faults.rates = FaultRates()
        assert sum(tallies.values()) > 0
