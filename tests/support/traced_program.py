"""A program with every kind of waiting in it, whose trace hash two processes must agree on.

Run as a command (`python -m tests.support.traced_program SEED JUNK`) it prints the hash; JUNK objects are made first, so that
nothing later lies at the address it would otherwise have.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator

from polysite.testing.loop import current_loop, run_traced, simulated_runtime


async def _worker(number: int, lock: asyncio.Lock, queue: "asyncio.Queue[int]") -> None:
    async with lock:
        await asyncio.sleep(number % 3)
    await queue.put(number)
    await asyncio.sleep(10)


async def _fail_first(queue: "asyncio.Queue[int]") -> None:
    for _ in range(10):
        current_loop().note(f"took {await queue.get()}")
    raise ValueError("the group falls apart, and is cancelled in the order of a set of tasks")


async def _numbers() -> AsyncIterator[int]:
    try:
        for number in range(100):
            yield number
            await asyncio.sleep(0)
    finally:
        current_loop().note("generator closed")


async def _abandon() -> None:
    numbers = _numbers()
    circle: list[object] = [numbers]
    circle.append(circle)  # only the garbage collector finds it
    async for number in numbers:
        if number == 3:
            break


async def _note_when(future: "asyncio.Future[None]", number: int) -> None:
    await future
    current_loop().note(f"future {number} of the set, {hash(future)}")


async def main() -> None:
    runtime = simulated_runtime(current_loop().seed)
    lock = asyncio.Lock()
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    await _abandon()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(_worker(number, lock, queue))
            group.create_task(_fail_first(queue), name=f"reader {object()!r}")
    except* ValueError:
        pass
    sleepers = {asyncio.ensure_future(runtime.clock.sleep_s(1 + number % 4)) for number in range(30)}
    while sleepers:
        done, sleepers = await asyncio.wait(sleepers, return_when=asyncio.FIRST_COMPLETED)
        current_loop().note(f"{len(done)} done, {runtime.randomness.random_bytes(4).hex()}")
    futures = {current_loop().create_future() for _ in range(30)}
    waiting = [asyncio.create_task(_note_when(future, number)) for number, future in enumerate(futures)]
    for future in futures:
        future.set_result(None)
    await asyncio.gather(*waiting)
    for _ in range(3_000):
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.5))


if __name__ == "__main__":
    junk = [[object() for _ in range(number % 7)] for number in range(int(sys.argv[2]))]
    gc.set_threshold(100 + int(sys.argv[2]))
    print(run_traced(main, seed=int(sys.argv[1])).trace_hash)
