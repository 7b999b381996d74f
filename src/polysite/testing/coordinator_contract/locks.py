"""One key and sets: acquire, wait, release, queue, preempt, shared locks, events."""

import asyncio

import pytest

from polysite.api import (
    Coordinator,
    RowPut,
)
from polysite.errors import (
    AcquireTimeout,
    BadRequest,
    CompareFailed,
    LockLost,
    NotHolder,
    UnknownKey,
)
from polysite.testing.coordinator_contract.support import (
    CoordinatorSuite,
    Place,
    eventually,
    within,
)


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
            with pytest.raises(LockLost) as told:
                await call
            # A renewal is sent, and so is a release.
            assert "sent" not in told.value.message
        with pytest.raises(LockLost, match="an earlier release"):
            await coordinator.release(lock.reference)
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

        async def is_promoting() -> bool:
            return any(entry.kind == "promoting" for entry in (await coordinator.queue(place.row("a"))).entries)

        await eventually(is_promoting)
        with pytest.raises(CompareFailed):
            await coordinator.promote(two.reference, wait_ms=0)
        await coordinator.release(two.reference)
        assert (await within(promotion)).held
        await coordinator.put(place.row("a"), {"count": 8}, level="critical", reference=one.reference)
        assert (await coordinator.release(one.reference)).validated
        assert await place.count("a", "quorum") == 8

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

        async def entries() -> int:
            return len((await coordinator.queue(place.row("a"))).entries)

        async def is_queued() -> bool:
            return await entries() == 2

        await eventually(is_queued)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

        async def is_gone() -> bool:
            return await entries() == 1

        await eventually(is_gone)
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

    async def test_preemptions_are_told(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a preemption is told with the fencing token it dropped, and none where nobody was dropped. Method: preempt a
        free key, the holder, and a waiter of another; read events up to the grant of a last key."""
        events = coordinator.events(keyspace=place.keyspace)
        first = asyncio.ensure_future(anext(events))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (await coordinator.preempt(place.row("a"))).dropped == []
        locks = [await coordinator.acquire([place.row("a")], wait_ms=0) for _ in range(3)]
        holder, waiter = locks[0].fencing_token, locks[2].fencing_token
        assert (await coordinator.preempt(place.row("a"), ordered_by="ana")).dropped == [holder]
        assert (await coordinator.preempt(place.row("a"), fencing_token=waiter)).dropped == [waiter]
        with pytest.raises(CompareFailed):
            await coordinator.preempt(place.row("a"), fencing_token=waiter)
        assert (await coordinator.queue(place.row("a"))).dropped == []
        last = await coordinator.acquire([place.row("z")])
        told = [await within(first)]
        while told[-1].key != {"id": "z"}:
            told.append(await within(anext(events)))
        preempted = [event for event in told if event.kind == "preempted"]
        assert [(event.key, event.fencing_token) for event in preempted] == [
            ({"id": "a"}, holder),
            ({"id": "a"}, waiter),
        ]
        assert [event.detail for event in preempted] == ["by order of ana", "by order of administrator"]
        for lock in (locks[1], last):
            await coordinator.release(lock.reference)
        await events.aclose()  # type: ignore[attr-defined]
