"""References: who may use them, and where they lead when views are old and entries have moved."""

import asyncio
from typing import Any

import pytest

from polysite.api import LockAnswer
from polysite.core.lock_cell import Entry
from polysite.errors import Forbidden, LockLost, SiteUnreachable
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from polysite.values.keys import Reference, parse_reference
from tests.support.sites import Process, World, world_of


def forged(text: str) -> str:
    """The same reference with another secret."""
    reference = parse_reference(text)
    assert isinstance(reference, Reference)
    return str(Reference(reference.key, reference.ticket, bytes(byte ^ 1 for byte in reference.secret)))


@seeded(seeds=5)
async def test_a_reference_with_another_secret_is_of_no_use(seed: int) -> None:
    """Goal: who knows key and ticket, but not the secret, can do nothing with the lock, wherever its session lives. Method: forge a
    reference; use it where the lock is held, at another process, at one that cannot reach the first, and to take over from the dead."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        wrong = forged(lock.reference)

        async def refused(process: Process) -> None:
            site = process.coordinator
            options: dict[str, Any] = {"level": "critical", "reference": wrong}
            for call in (
                site.get(row, **options),
                site.put(row, {"count": 9}, **options),
                site.put(row, {"count": 9}, idempotency_key="forged", **options),
                site.renew(wrong),
                site.wait(wrong, wait_ms=0),
                site.release(wrong),
                site.release(wrong, validate=False),
            ):
                with pytest.raises(Forbidden):
                    await call

        await refused(one)
        await refused(two)
        world.channel.cut.add(one.address)
        await refused(two)
        await one.kill()
        await refused(two)
        queue = await two.coordinator.queue(row)
        assert [(entry.fencing_token, entry.process) for entry in queue.entries] == [(1, "p1")]
        assert (await two.coordinator.renew(lock.reference)).held
        await refused(two)
        await two.coordinator.release(lock.reference)
        assert (await two.coordinator.get(row, level="quorum")).row is None


@seeded
async def test_what_a_session_looks_like_in_a_log_is_of_no_use(seed: int) -> None:
    """Goal: neither a secret nor a reference gets into a log by way of what is on the stack. Method: look at a session, its key and
    the wish that made it, on a slow engine."""
    async with world_of(seed) as world:
        one, row = world.processes[0], world.row("a")
        gate = one.faults.hold("compare_and_set")
        asked = asyncio.ensure_future(one.coordinator.acquire([row], lease_ms=60_000))
        await asyncio.sleep(0.1)
        (state,) = (state for state in one.coordinator._keys.in_use() if state.key.columns == (b"a",))
        (pending,) = state.pending
        gate.set_result(None)
        lock = await asked
        reference = parse_reference(lock.reference)
        assert isinstance(reference, Reference)
        for shown in map(repr, (pending, state, state.sessions[reference.ticket])):
            assert lock.reference not in shown
            assert repr(reference.secret) not in shown


async def _with_old_views(process: Process) -> None:
    """Let the process know nothing of its keys but what an old replica tells."""
    await asyncio.sleep(0.1)
    process.coordinator._keys.forget_views()
    process.faults.rates = FaultRates(stale=1.0)


@seeded(seeds=20)
async def test_an_old_view_of_an_own_entry_decides_nothing(seed: int) -> None:
    """Goal: a process whose replica still shows an entry of its own, which it serves no more, asks the cell itself. Method: old
    views only; the lock was released: it is lost; it was taken over by another process: the call goes there."""
    async with world_of(seed, "one", "two") as world:
        one, two = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=500)
        await one.coordinator.queue(row)
        await one.coordinator.release(lock.reference)
        for _ in range(5):
            await _with_old_views(one)
            with pytest.raises(LockLost):
                await one.coordinator.renew(lock.reference)
        one.faults.rates = FaultRates()
        lock = await one.coordinator.acquire([row], lease_ms=500)
        await one.coordinator.queue(row)
        await _moved(world, lock.reference)
        for _ in range(5):
            await _with_old_views(one)
            await one.coordinator.put(row, {"count": 1}, level="critical", reference=lock.reference)
        assert (await two.coordinator.release(lock.reference)).validated


@seeded(seeds=20)
async def test_a_call_before_the_answer_of_a_take_over_waits_for_it(seed: int) -> None:
    """Goal: a process that has taken an entry over and has no answer to that yet does not call the lock lost. Method: kill the
    holder; on slow engines, two others are called with the reference side by side, each several times."""
    async with world_of(seed, "one", "two", "three") as world:
        row = world.row("a")
        lock = await world.processes[0].coordinator.acquire([row], lease_ms=60_000)
        await world.processes[0].kill()
        others = world.processes[1:]

        async def call(process: Process, number: int) -> LockAnswer:
            await asyncio.sleep(number * 0.02)
            return await process.coordinator.renew(lock.reference)

        for process in others:
            process.faults.rates = FaultRates(delay_s=0.05)
        calls = [call(process, number) for process in others for number in range(5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, LockAnswer | SiteUnreachable) for answer in answers), answers
        assert any(isinstance(answer, LockAnswer) for answer in answers)
        assert (await others[1].coordinator.renew(lock.reference)).held


@seeded(seeds=20)
async def test_a_request_sent_to_two_processes_at_once_is_not_told_of_a_loss(seed: int) -> None:
    """Goal: a process that finds the entry of a request in the cell asks the one that makes it, which may have no answer yet: the
    lock is not lost. Method: on slow engines, acquire under one idempotency key at two processes at once."""
    async with world_of(seed, "one", "two") as world:
        row = world.row("a")
        for process in world.processes:
            process.faults.rates = FaultRates(delay_s=0.05)
        calls = [
            process.coordinator.acquire([row], lease_ms=60_000, wait_ms=1_000, idempotency_key="k")
            for process in (*world.processes, world.processes[1])
        ]
        answers = await asyncio.gather(*calls)
        assert {answer.reference for answer in answers} == {answers[0].reference}
        assert all(answer.held for answer in answers)


async def _taken_over(process: Process, reference: str) -> None:
    """Call until the process serves the reference."""
    for _ in range(100):
        (answer,) = await asyncio.gather(process.coordinator.renew(reference), return_exceptions=True)
        if not isinstance(answer, BaseException):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it was not taken over")


async def _moved(world: World, reference: str) -> None:
    """Have the second process take the entry over, and the first learn of it."""
    one, two = world.processes
    world.channel.cut.add(one.address)
    one.faults.down = True
    await _taken_over(two, reference)
    one.faults.down = False
    world.channel.cut.clear()
    with pytest.raises(LockLost):
        await one.coordinator.release(reference)


@seeded(seeds=5)
async def test_a_waiter_whose_entry_moved_is_told(seed: int) -> None:
    """Goal: who waits at a process that another one took the entry over from learns it at once, not when the entry comes to hold.
    Method: two processes; a third holds; cut the first off, go on with the reference at the second; mend the cut."""
    async with world_of(seed, "one", "two", "three") as world:
        one, two, three = world.processes
        row = world.row("a")
        await three.coordinator.acquire([row], lease_ms=600_000)
        lock = await one.coordinator.acquire([row], lease_ms=1_000, wait_ms=0)
        waiting = asyncio.ensure_future(one.coordinator.wait(lock.reference, wait_ms=100_000))
        await asyncio.sleep(0.1)
        world.channel.cut.add(one.address)
        one.faults.down = True
        await _taken_over(two, lock.reference)
        one.faults.down = False
        await asyncio.sleep(0.8)
        assert waiting.done()
        with pytest.raises(LockLost):
            await waiting
        assert not (await two.coordinator.renew(lock.reference)).held


@seeded
async def test_who_is_dead(seed: int) -> None:
    """Goal: only a newer incarnation, a farewell of that very one or a freed slot says that a process is dead. Method: entries of
    every kind, asked of a process that sees no slots and of one that does."""
    async with world_of(seed, "one", "two", "three") as world:
        one, two, three = world.processes

        def entry(process: str, incarnation: str, site: str = "local") -> Entry:
            return Entry(1, b"", b"", b"", "exclusive", site, process, incarnation, 1_000)

        await three.kill()
        three = await world.process("three")
        tenures = one.coordinator._tenures
        slots, tenures.slots = tenures.slots, None
        expected = {
            entry("p1", "1"): False,
            entry("p1", "0"): True,
            entry("p1", "2"): False,
            entry("p2", "1"): False,
            entry("p2", "0"): True,
            entry("p2", "2"): False,
            entry("p3", "1"): True,
            entry("p3", "2"): False,
            entry("p9", "1"): False,
            entry("p2", "0", "elsewhere"): False,
            entry("p2", "x"): False,
        }
        for who, dead in expected.items():
            assert await tenures.is_dead(who) == dead, who
        await two.close()
        assert await tenures.is_dead(entry("p2", "1"))
        assert not await tenures.is_dead(entry("p2", "2"))
        await three.kill()
        assert not await tenures.is_dead(entry("p3", "2"))
        tenures.slots = slots
        assert await tenures.is_dead(entry("p3", "2"))


@seeded(seeds=20)
async def test_a_process_that_dies_during_a_call(seed: int) -> None:
    """Goal: a call that was on its way to a process when that died is served by a take-over at once; of several who take over, one
    does and the others find it there. Method: kill the process when the message is sent; call from two others side by side."""
    async with world_of(seed, "one", "two", "three") as world:
        one, two, three = world.processes
        row = world.row("a")
        lock = await one.coordinator.acquire([row], lease_ms=60_000)
        send = world.channel.send

        async def killing(address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:
            if world.channel.send is not send:
                world.channel.send = send  # type: ignore[method-assign]
                await one.kill()
            return await send(address, kind, body, answer_s=answer_s)

        world.channel.send = killing  # type: ignore[method-assign]
        assert (await two.coordinator.renew(lock.reference)).held
        await two.kill()
        calls = [process.coordinator.renew(lock.reference) for process in (three, await world.process("four"))]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, LockAnswer | SiteUnreachable) for answer in answers), answers
        assert any(isinstance(answer, LockAnswer) for answer in answers)
        for process in (three, world.processes[-1]):
            assert (await process.coordinator.renew(lock.reference)).held
        assert (await three.coordinator.release(lock.reference)).validated
