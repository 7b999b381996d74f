"""What calls leave behind is freed at once, not by the garbage collector: its walks would cost every section a tenth of its time."""

import asyncio
import gc

from polysite.site.locks import _Asking
from polysite.site.sessions import LiveSession
from polysite.site.wishing import PendingWish
from polysite.testing.loop import seeded
from tests.support.sites import world_of


@seeded(seeds=2)
async def test_a_section_leaves_no_ring_of_objects(seed: int) -> None:
    """Goal: sessions, wishes and whoever asked for them hold each other no longer than they are needed. Method: sections with the
    garbage collector off; then nothing of them is there."""
    async with world_of(seed, joint=False) as world:
        site = world.processes[0].coordinator

        async def section(number: int) -> None:
            row = world.row(f"k{number % 3}")
            lock = await site.acquire([row], read=number % 2 == 0)
            await site.put(row, {"count": number}, level="critical", reference=lock.reference)
            await site.release(lock.reference, validate=number % 2 == 1)

        await section(0)
        await asyncio.sleep(1.0)
        gc.collect()
        gc.disable()
        try:
            for number in range(20):
                await section(number)
            await asyncio.sleep(1.0)
            left = [
                type(item).__name__
                for item in gc.get_objects()
                if isinstance(item, _Asking | LiveSession | PendingWish)
            ]
        finally:
            gc.enable()
        assert left == []
