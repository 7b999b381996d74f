"""Callers that give up in the middle, and sendings that fail after others went unanswered: nothing is stuck afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polysite.errors import OutcomeUnknown
from polysite.testing.loop import seeded
from tests.support.sites import Process, until, world_of


async def told(call: Awaitable[Any]) -> Any:
    """What the call answers, or the error it ends with."""
    return (await asyncio.gather(call, return_exceptions=True))[0]


def begun(process: Process, operation: str) -> Callable[[], bool]:
    """Whether the process has called that operation of its engine since now."""
    calls = process.faults.calls.get(operation, 0)
    return lambda: process.faults.calls.get(operation, 0) > calls


async def give_up(task: "asyncio.Task[Any] | asyncio.Future[Any]", gate: "asyncio.Future[None] | None" = None) -> None:
    """Cancel a call that had time to begin; then let go on what it waited for."""
    await asyncio.sleep(0.1)
    task.cancel()
    assert isinstance(await told(task), asyncio.CancelledError)
    if gate is not None:
        gate.set_result(None)


@seeded(seeds=5)
async def test_write_that_fails_at_its_second_sending(seed: int) -> None:
    """Goal: a write that was not answered once is unanswered, however its second sending ends: later gets settle the row, none
    waits for it for ever. Method: lose a put, and refuse or cancel what is sent after it."""
    for cancelled in (False, True):
        async with world_of(seed, joint=False) as world:
            one, row = world.processes[0], world.row("a")
            site = one.coordinator
            lock = await site.acquire([row], lease_ms=60_000)
            options: dict[str, Any] = {"level": "critical", "reference": lock.reference}
            one.faults.lose_next("write", after_effect=True)
            if cancelled:
                gate, sent = one.faults.hold("write"), begun(one, "write")
                put = asyncio.ensure_future(site.put(row, {"count": 1}, **options))
                await until(sent)
                second = one.faults.hold("write")
                gate.set_result(None)
                await give_up(put, second)
            else:
                for _ in range(2):
                    one.faults.refuse_next("write")
                with pytest.raises(OutcomeUnknown):
                    await site.put(row, {"count": 1}, **options)
            seen = (await asyncio.wait_for(site.get(row, **options), 30)).row
            assert seen == {"id": "a", "count": 1, "note": None}
            assert (await site.release(lock.reference)).validated
