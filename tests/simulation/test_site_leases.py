"""Leases: zombies are fenced, dead clients and dead processes lose their locks, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from polysite.api import Condition, Event, RowGet, RowPut
from polysite.cells.contract import CellCosts
from polysite.core.lease import answer_limit_s
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError, SiteUnreachable, Unavailable
from polysite.testing.loop import seeded
from polysite.values.keys import LockKey
from tests.support.sites import until, world_of

LEASE_MS = 1_000


@seeded(seeds=20)
async def test_zombie_process(seed: int) -> None:
    """Goal: a process that slept past its lease cannot disturb its successor and is never told `done`.

    Method: the holder's process loses contact with its engine and its clock stands; another process waits out the lease,
    writes; the old one wakes up in the middle of a put it sent before, and writes again.
    """
    async with world_of(seed, "old", "new") as world:
        old, new = world.processes
        row = world.row("a")
        lock = await old.coordinator.acquire([row], lease_ms=LEASE_MS, read=True)
        await old.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        gates = [old.faults.hold(name) for name in ("compare_and_set", "write", "joint", "read")]
        late = asyncio.ensure_future(
            old.coordinator.put(row, {"count": 99}, level="critical", reference=lock.reference)
        )
        successor = await new.coordinator.acquire([row], lease_ms=LEASE_MS, wait_ms=60_000, read=True)
        assert successor.held
        assert successor.fencing_token > lock.fencing_token
        assert successor.rows == [{"id": "a", "count": 1, "note": None}]
        await new.coordinator.put(row, {"count": 2}, level="critical", reference=successor.reference)
        for gate in gates:
            gate.set_result(None)
        with pytest.raises((OutcomeUnknown, LockLost)) as told:
            await late
        if isinstance(told.value, OutcomeUnknown):
            assert told.value.reason == "lock_lost"
        with pytest.raises((LockLost, OutcomeUnknown)):
            await old.coordinator.put(row, {"count": 98}, level="critical", reference=lock.reference)
        with pytest.raises(LockLost):
            await old.coordinator.release(lock.reference)
        for process in (old, new):
            assert (await process.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 2, "note": None}
        answer = await new.coordinator.get(row, level="critical", reference=successor.reference)
        assert answer.row == {"id": "a", "count": 2, "note": None}
        assert (await new.coordinator.release(successor.reference)).validated


@seeded(seeds=5)
async def test_a_late_put_waits_for_the_beat_that_is_under_way(seed: int) -> None:
    """Goal: a put that is answered when the lease has nearly passed waits for one change of the cell, not for two (I15): the beat that
    was sent meanwhile counts. So it is for a process that was stopped, whose beat is due the moment it goes on. Method: hold back the
    put and the beat, let the put be answered first, and ask what was waited for where
    a change costs two round trips."""
    async with world_of(seed) as world:
        one = world.processes[0]
        one.coordinator._cells.costs = CellCosts(compare_and_set=2)
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        before = one.faults.calls.get("compare_and_set", 0)
        write, change = one.faults.hold("write"), one.faults.hold("compare_and_set")
        put = asyncio.ensure_future(one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference))
        await until(lambda: one.faults.calls.get("compare_and_set", 0) > before)
        await asyncio.sleep(0.6)
        write.set_result(None)
        await asyncio.sleep(0.05)
        assert not put.done()
        change.set_result(None)
        assert (await put).round_trips == 2
        assert (await one.coordinator.release(lock.reference)).validated


@seeded(seeds=10)
async def test_late_answer_is_not_done(seed: int) -> None:
    """Goal: a put whose answer comes after the lease is not answered `done` unless a renewal proves it (I15).

    Method: the client is silent otherwise; the store answers late; with nobody preempting, the renewal succeeds and the put is
    done; with a preemption in between it is `OutcomeUnknown`.
    """
    for preempted in (False, True):
        async with world_of(seed) as world:
            one = world.processes[0]
            row = world.row("a")
            lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
            write, change = one.faults.hold("write"), one.faults.hold("compare_and_set")
            put = asyncio.ensure_future(
                one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
            )
            await asyncio.sleep(3.0)
            change.set_result(None)
            if preempted:
                await one.coordinator.preempt(row)
            write.set_result(None)
            if preempted:
                with pytest.raises(OutcomeUnknown) as told:
                    await put
                assert told.value.reason == "lock_lost"
            else:
                await put
                assert (await one.coordinator.release(lock.reference)).validated


@seeded(seeds=10)
async def test_silent_client(seed: int) -> None:
    """Goal: a client that shows no life loses its lock after its lease, a waiting one its place; one that calls keeps it.

    Method: one holder renews, one waiter is silent; then the holder falls silent too.
    """
    async with world_of(seed) as world:
        site = world.processes[0].coordinator
        row = world.row("a")
        holder = await site.acquire([row], lease_ms=LEASE_MS)
        await site.acquire([row], lease_ms=LEASE_MS, wait_ms=0)
        for _ in range(10):
            await asyncio.sleep(0.5)
            assert (await site.renew(holder.reference)).held
        assert len((await site.queue(row)).entries) == 1
        await asyncio.sleep(3.0)
        assert (await site.queue(row)).entries == []
        with pytest.raises(LockLost):
            await site.renew(holder.reference)


@seeded(seeds=10)
async def test_dead_process(seed: int) -> None:
    """Goal: the lock of a killed process goes to a waiter after its lease; its unanswered write does not come back.

    Method: kill the holder's process while another process waits.
    """
    async with world_of(seed, "old", "new") as world:
        old, new = world.processes
        row = world.row("a")
        lock = await old.coordinator.acquire([row], lease_ms=LEASE_MS)
        await old.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        waiting = asyncio.ensure_future(new.coordinator.acquire([row], lease_ms=LEASE_MS, wait_ms=30_000, read=True))
        await asyncio.sleep(0.1)
        await old.kill()
        started_s = asyncio.get_running_loop().time()
        granted = await waiting
        assert granted.held
        assert granted.rows == [{"id": "a", "count": 1, "note": None}]
        assert LEASE_MS / 1000 <= asyncio.get_running_loop().time() - started_s + 1.0 <= 3.0
        await new.coordinator.release(granted.reference)


@seeded(seeds=10)
async def test_take_over(seed: int) -> None:
    """Goal: the client of a killed process goes on with its reference at another process, with all it was answered.

    Method: hold and write at one process, kill it, get, put and release at another; then the same with the process alive
    (its session stays where it is, the call is forwarded).
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        await two.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        assert (await one.coordinator.get(row, level="critical", reference=lock.reference)).row == {
            "id": "a",
            "count": 1,
            "note": None,
        }
        assert (await two.coordinator.renew(lock.reference)).held
        assert any(kind == "forward" for _, kind in world.channel.sent)
        await one.kill()
        answer = await two.coordinator.get(row, level="critical", reference=lock.reference)
        assert answer.row == {"id": "a", "count": 1, "note": None}
        await two.coordinator.put(row, {"count": 2}, level="critical", reference=lock.reference)
        assert (await two.coordinator.release(lock.reference)).validated
        assert (await two.coordinator.get(row)).row == {"id": "a", "count": 2, "note": None}


@seeded(seeds=10)
async def test_take_over_of_a_cut_process(seed: int) -> None:
    """Goal: a process that cannot be reached is taken over only after its lease was seen to pass; then it has lost.

    Method: cut it off from its peers and from the engine; calls at the other process are refused, then served.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        world.channel.cut.add(one.address)
        one.faults.down = True
        refused = 0
        while True:
            try:
                await two.coordinator.put(row, {"count": 5}, level="critical", reference=lock.reference)
                break
            except Unavailable:
                refused += 1
                await asyncio.sleep(0.2)
        assert refused >= 4
        one.faults.down = False
        with pytest.raises(PolysiteError):
            await one.coordinator.put(row, {"count": 6}, level="critical", reference=lock.reference)
        assert (await two.coordinator.release(lock.reference)).validated
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 5, "note": None}


@seeded(seeds=10)
async def test_no_take_over_by_a_process_that_was_stopped(seed: int) -> None:
    """Goal: a session that beat all along is not taken over by a process that slept through its beats (I4), so that what the
    session answered `done` stays. Method: one serves a client that renews; two, cut off from it, watches the entry, is stopped
    for longer than the lease, and is asked again the moment it goes on."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=10_000)
        options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
        world.channel.cut.add(one.address)

        async def client() -> None:
            while True:
                await one.coordinator.renew(lock.reference)
                await asyncio.sleep(1.0)

        keeping = asyncio.ensure_future(client())
        with pytest.raises(SiteUnreachable):
            await two.coordinator.get(row, **options)
        await asyncio.sleep(0.5)
        two.clock.set_rate(0.0)
        await asyncio.sleep(15.0)
        two.clock.set_rate(1.0)
        two.clock.step_monotonic_s(15.0)
        with pytest.raises(SiteUnreachable):
            await two.coordinator.get(row, **options)
        await one.coordinator.put(row, {"count": 7}, **options)
        keeping.cancel()
        assert (await one.coordinator.release(lock.reference)).validated
        assert (await two.coordinator.get(row, level="quorum")).row == {"id": "a", "count": 7, "note": None}


@seeded(seeds=5)
async def test_restarted_process(seed: int) -> None:
    """Goal: a restarted process does not go on as if its old sessions were its own: it takes them over (I1).

    Method: kill, start again under the same slot, use the old reference: a new window, and the old writes stand.
    """
    async with world_of(seed) as world:
        one = world.processes[0]
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        first = await one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        await one.kill()
        again = await world.process("one")
        second = await again.coordinator.put(row, {"count": 2}, level="critical", reference=lock.reference)
        assert first.stamp is not None
        assert second.stamp is not None
        assert second.stamp >= first.stamp + 2**20 - 1
        await again.coordinator.release(lock.reference)
        answer = await again.coordinator.section(row, [RowGet(), RowPut(columns={"count": 3})])
        assert answer.results[0] == {"id": "a", "count": 2, "note": None}


@seeded(seeds=5)
async def test_restarted_process_with_an_earlier_clock(seed: int) -> None:
    """Goal: a process is reached though the one that had its slot before had a wall clock that was ahead. Method: let the first
    run on, kill it; the next begins with the clock the first began with; call it by way of another."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        await asyncio.sleep(100.0)
        await one.kill()
        again = await world.process("one")
        assert again.clock.wall_us() < two.clock.wall_us()
        lock = await again.coordinator.acquire([world.row("a")], lease_ms=60_000)
        assert (await two.coordinator.renew(lock.reference)).held
        await again.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_hand_over_to_another_process(seed: int) -> None:
    """Goal: the process of the next holder is told at once, not at its next look. Method: release, measure virtual time."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row])
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], wait_ms=30_000))
        await asyncio.sleep(0.1)
        released_s = asyncio.get_running_loop().time()
        await one.coordinator.release(lock.reference)
        granted = await waiting
        assert granted.held
        assert asyncio.get_running_loop().time() - released_s < 0.001
        await two.coordinator.release(granted.reference)


@seeded(seeds=5)
async def test_close_releases(seed: int) -> None:
    """Goal: a process that stops lets go of its locks at once. Method: close it while another waits."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await one.coordinator.acquire([row], lease_ms=60_000)
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], wait_ms=30_000))
        await asyncio.sleep(0.1)
        await one.close()
        granted = await waiting
        assert granted.held
        await two.coordinator.release(granted.reference)


@seeded(seeds=10)
async def test_shared_readers_of_two_processes(seed: int) -> None:
    """Goal: a reader that may not settle a row itself has the first of its run do it, in another process too, also where there
    is no row (I12). Method: preempt a writer, so that the fence stands above every row; read in the second process only."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        for key, written in (("a", True), ("b", False)):
            row = world.row(key)
            writer = await one.coordinator.acquire([row])
            if written:
                await one.coordinator.put(row, {"count": 1}, level="critical", reference=writer.reference)
            await one.coordinator.preempt(row)
            first = await one.coordinator.acquire([row], kind="shared", lease_ms=60_000)
            second = await two.coordinator.acquire([row], kind="shared", lease_ms=60_000)
            assert first.held
            assert second.held
            seen = (await two.coordinator.get(row, level="critical", reference=second.reference)).row
            assert seen == ({"id": "a", "count": 1, "note": None} if written else None)
            assert (await one.coordinator.get(row, level="critical", reference=first.reference)).row == seen
            await one.coordinator.release(first.reference)
            assert (await two.coordinator.get(row, level="critical", reference=second.reference)).row == seen
            await two.coordinator.release(second.reference)
        assert any(kind == "settle" for _, kind in world.channel.sent)


@seeded(seeds=10)
async def test_lease_runs_from_the_first_sending(seed: int) -> None:
    """Goal: a change whose answer was lost counts from when it was first sent, however late and on whatever road it was found
    that it had applied (I15): its entry has been seen since then.

    Method: lose the answer of an enqueue and hold up the look that would tell, so that the enqueue is sent again much later;
    then let no renewal through. Another process preempts when the first sending's lease is over; a put after that must not be
    done.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await asyncio.sleep(0.1)
        await one.coordinator.queue(row)
        one.faults.lose_next("compare_and_set", after_effect=True)
        one.faults.refuse_next("read")
        gate = one.faults.hold("read")
        asked = asyncio.ensure_future(one.coordinator.acquire([row], lease_ms=LEASE_MS))
        await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, wait_ms=60_000, read=True))
        await asyncio.sleep(0.7)
        one.faults.refuse_after("compare_and_set", 1)
        for _ in range(50):
            one.faults.refuse_next("compare_and_set")
        gate.set_result(None)
        lock = await asked
        assert (lock.held, lock.fencing_token) == (True, 1)
        successor = await waiting
        assert successor.rows == [None]
        with pytest.raises(OutcomeUnknown) as told:
            await one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        assert told.value.reason == "lock_lost"
        await two.coordinator.release(successor.reference)


@seeded(seeds=10)
async def test_the_first_beat_is_due_a_third_after_the_sending(seed: int) -> None:
    """Goal: an entry whose enqueue was long on its way is renewed in time: others have seen it since the change applied.
    Method: hold back the answer of an enqueue for most of a lease while another process watches the entry; nobody preempts."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        await asyncio.sleep(0.1)
        await one.coordinator.queue(row)
        one.faults.lose_next("compare_and_set", after_effect=True)
        gate = one.faults.hold("read")
        asked = asyncio.ensure_future(one.coordinator.acquire([row], lease_ms=LEASE_MS))
        await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, wait_ms=3_000))
        await asyncio.sleep(0.8)
        gate.set_result(None)
        lock = await asked
        for _ in range(6):
            await asyncio.sleep(0.5)
            assert (await one.coordinator.renew(lock.reference)).held
        assert not (await waiting).held
        await one.coordinator.release(lock.reference)


@seeded(seeds=5)
async def test_a_renewal_counts_from_its_sending(seed: int) -> None:
    """Goal: a renewal that was found to have applied long after it was sent proves the lease from its sending only (I15).

    Method: lose the answer of a renewal (a beat; one that a call waits for) and hold up the look that tells; let no other
    through. When another process has seen the entry unchanged for its lease it preempts; a put after that is not done.
    """
    for beats_refused in (0, 7):
        async with world_of(seed, "one", "two") as world:
            one, two = world.processes
            row = world.row("a")
            lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
            waiting = asyncio.ensure_future(two.coordinator.acquire([row], lease_ms=60_000, wait_ms=60_000, read=True))
            await asyncio.sleep(0.1)
            assert len((await one.coordinator.queue(row)).entries) == 2
            for _ in range(beats_refused):
                one.faults.refuse_next("compare_and_set")
            one.faults.lose_next("compare_and_set", after_effect=True)
            for _ in range(50):
                one.faults.refuse_next("compare_and_set")
            gate = one.faults.hold("read")
            await asyncio.sleep(0.6)
            assert (await one.coordinator.renew(lock.reference)).round_trips == 0
            await asyncio.sleep(0.2)
            renewal = asyncio.ensure_future(one.coordinator.renew(lock.reference)) if beats_refused else None
            await asyncio.sleep(0.7 if beats_refused else 0.2)
            gate.set_result(None)
            if renewal is not None:
                assert (await renewal).held
            successor = await waiting
            assert successor.rows == [None]
            with pytest.raises(OutcomeUnknown) as told:
                await one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
            assert told.value.reason == "lock_lost"
            await two.coordinator.release(successor.reference)


@seeded(seeds=5)
async def test_whose_lease_ran_out_is_told(seed: int) -> None:
    """Goal: the event of a preemption names the entry that was dropped, not the one that waited for it.

    Method: cut the holder's process off; whoever listens at the waiter's process reads the events up to the grant.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lost = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        events = two.coordinator.events(keyspace="ks")
        world.channel.cut.add(one.address)
        one.faults.down = True
        granted = await two.coordinator.acquire([row], wait_ms=60_000)
        told = {event.kind: event async for event in take(events, 2)}
        assert set(told) == {"preempted", "granted"}
        assert told["preempted"].fencing_token == lost.fencing_token
        assert told["preempted"].key == {"id": "a"}
        assert told["granted"].fencing_token == granted.fencing_token
        one.faults.down = False
        await two.coordinator.release(granted.reference)


async def take(events: AsyncIterator[Event], count: int) -> AsyncIterator[Event]:
    for _ in range(count):
        yield await anext(events)


@seeded(seeds=10)
async def test_a_get_after_the_lease_is_not_answered_from_the_store(seed: int) -> None:
    """Goal: a holder that slept past its lease is told that it lost the lock, and not what its successor wrote.

    Method: stop a process past the lease; let another client get the lock through another process, and write; wake the first and
    get a row, and a range, that its session has no copy of, before it has looked at the cell.
    """
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        one.clock.set_rate(0.0)
        successor = await two.coordinator.acquire([row], lease_ms=60_000, wait_ms=60_000)
        await two.coordinator.put(row, {"count": 1}, level="critical", reference=successor.reference)
        gate = one.faults.hold("compare_and_set")
        one.clock.set_rate(1.0)
        one.clock.step_monotonic_s(3.0)
        where = [Condition(column="id", comparison="eq", value="a")]
        asked = [
            asyncio.ensure_future(one.coordinator.get(row, level="critical", reference=lock.reference)),
            asyncio.ensure_future(
                one.coordinator.select("ks", "votes", where=where, level="critical", reference=lock.reference)
            ),
        ]
        await asyncio.sleep(0.1)
        gate.set_result(None)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LockLost, LockLost], answers
        await two.coordinator.release(successor.reference)


@seeded(seeds=3)
async def test_a_process_stopped_right_after_sending(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the lease counts from before the enqueue was sent, also if the process is stopped right behind that (I15). Method: let its
    clock go on by a quarter of the lease, when no beat is due yet, between the sending and whatever comes next."""
    async with world_of(seed) as world:
        one, row = world.processes[0], world.row("a")
        await one.coordinator.queue(row)
        cells, encoded = one.coordinator._context.cells, LockKey("ks", "votes", (b"a",)).encode()
        send, sent_s = cells.begin, []

        def stopped_behind(key: bytes, *arguments: Any) -> None:
            if key == encoded:
                sent_s.append(one.clock.monotonic_s())
            send(key, *arguments)
            if key == encoded:
                one.clock.step_monotonic_s(LEASE_MS / 4000)

        monkeypatch.setattr(cells, "begin", stopped_behind)
        lock = await one.coordinator.acquire([row], lease_ms=LEASE_MS)
        monkeypatch.undo()
        (state,) = (state for state in one.coordinator._keys.in_use() if state.key.columns == (b"a",))
        (live,) = state.sessions.values()
        assert live.core.done_until_s == pytest.approx(sent_s[0] + answer_limit_s(LEASE_MS / 1000))
        await one.coordinator.release(lock.reference)
