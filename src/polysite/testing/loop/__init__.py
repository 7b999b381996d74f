"""An asyncio event loop whose run is decided by a seed: virtual time, seeded order, no outside world.

    async def main() -> str:
        await asyncio.sleep(3600)          # an hour of virtual time, no real time
        return "done"

    run(main, seed=17, limit_s=7200)       # 'done'

`run` carries one coroutine through a fresh `SeededLoop` and insists on a clean end; `seeded` does the same for a test
function and names the seed when it fails. The loop says when code cannot go on (`Stuck`) in place of hanging, tells tasks
that were left behind (`Leaked`) and errors that nobody saw (`Unretrieved`).

Same seed, same code, same Python version: same order of steps and same `trace_hash`, in every process. What code must not
do for that to hold: read the real clock or real chance, order things by `id()` or by the hash of text (sets of strings),
or put an object's address into the name of a task. Futures and tasks made by the loop hash by their number, so that sets
of them (as `asyncio.TaskGroup` and `asyncio.wait` keep) are walked in the same order in every run.
"""

from polysite.testing.loop.event_loop import Leaked, OutsideWorld, SeededLoop, Stuck, Unretrieved, current_loop
from polysite.testing.loop.runs import Run, run, run_traced, seeded
from polysite.testing.simulated import SeededRandomness, SimulatedClock, simulated_runtime

__all__ = [
    "Leaked",
    "OutsideWorld",
    "Run",
    "SeededLoop",
    "SeededRandomness",
    "SimulatedClock",
    "Stuck",
    "Unretrieved",
    "current_loop",
    "run",
    "run_traced",
    "seeded",
    "simulated_runtime",
]
