"""What it costs to stand on an old view of a key."""

import asyncio

import pytest

from polysite.testing.loop import seeded
from tests.support.wide import wide_world

RTT_S = 0.05


@seeded(seeds=5)
async def test_a_change_on_a_stale_view(seed: int) -> None:
    """Goal: a process that serves sessions of a key does not always look at it before it makes a change; where another site changed the key
    without telling, the change is refused, made again, and the answer claims both. Method: beside a shared holder here, another site drops an
    entry of its own by order, which goes no way over the steward; then a further shared lock is taken here, by claim and by clock. Once the
    view is 10 W old it is looked at first, at the nearest replica, and nothing is refused."""
    async with wide_world(seed) as world:
        loop = asyncio.get_running_loop()
        site, other, row = world.sites["ams"], world.sites["bei"], world.row("a")

        async def taken() -> tuple[float, float, str]:
            began_s = loop.time()
            lock = await site.acquire([row], kind="shared", lease_ms=60_000)
            assert lock.held
            return lock.round_trips, (loop.time() - began_s) / RTT_S, lock.reference

        claimed, took, first = await taken()
        assert claimed == 2
        assert took == pytest.approx(2, abs=0.1)
        theirs = await other.acquire([row], kind="shared", lease_ms=60_000)
        await other.preempt(row, fencing_token=theirs.fencing_token)
        await asyncio.sleep(4 * RTT_S)
        claimed, took, second = await taken()
        assert claimed == 3
        assert took == pytest.approx(3, abs=0.1)
        theirs = await other.acquire([row], kind="shared", lease_ms=60_000)
        await other.preempt(row, fencing_token=theirs.fencing_token)
        await asyncio.sleep(12 * RTT_S)
        claimed, took, last = await taken()
        assert claimed == 2
        assert took == pytest.approx(2, abs=0.1)
        for reference in (first, second, last):
            await site.release(reference)
