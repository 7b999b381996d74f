"""One client process that knows only REST v2. An answer of v2 does not say what became of a write that failed, and there are no
idempotency keys: whatever was put and not answered SUCCESS is looked for in the row, under the next lock."""

import argparse
import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from polysite.testing.history import OpenCall, Recorder

from .ballots import Batch
from .tasks import AGAIN_S, AWAY_S, KEYSPACE, TABLE, BatchTask, count, parsed
from .v2 import V2, Away, Refused

FIELDS = {"choice": "text", "votes": "bigint", "counted": "map<text, int>"}
ROWS = f"keyspaces/{KEYSPACE}/tables/{TABLE}/rows"
WAIT_S = 60.0


class Task(BatchTask):
    """A task that creates a lock, polls until it holds, reads, writes and releases."""

    def __init__(self, name: str, work: list[Batch], v2: V2, recorder: Recorder) -> None:
        super().__init__(name, work, recorder)
        self.v2 = v2

    async def attempt(self, batch: Batch, attempt: int) -> bool:
        argument = {"task": self.name, "batch": batch.number, "ballots": batch.ballots, "attempt": attempt}
        call = self.recorder.begin(client=self.name, verb="section", key=batch.choice, argument=argument)
        try:
            lock_id = await self.v2.create_lock(f"{KEYSPACE}.{TABLE}.{batch.choice}")
        except (Refused, Away) as error:
            self._failed(call, error, "refused")
            return False
        try:
            return await self._count(batch, lock_id, call)
        finally:
            with contextlib.suppress(Refused, Away):  # its lease ends a lock that cannot be released
                await self.v2.release(lock_id)

    async def _count(self, batch: Batch, lock_id: str, call: OpenCall) -> bool:
        """Count the batch under its lock, if it holds in time, unless the row shows that it is counted already."""
        where = {"choice": batch.choice}
        try:
            if not await self.v2.acquire(lock_id, WAIT_S):
                call.end("refused", code="waited")
                return False
            row = await self.v2.critical_get(ROWS, where, lock_id)
        except (Refused, Away) as error:
            self._failed(call, error, "refused")
            return False
        counted = dict(row["counted"]) if row else {}
        if counted.get(self.name, 0) >= batch.number:
            self.settled_by_row += 1
            call.end("done", value={"found": True})
            return True
        counted[self.name] = batch.number
        values = {"votes": (row["votes"] if row else 0) + batch.ballots, "counted": counted}
        try:
            await self.v2.critical_put(ROWS, where, values, lock_id)
        except (Refused, Away) as error:
            self.unknown += 1
            self._failed(call, error, "unknown")
            return False
        self.sections += 1
        call.end("done", value={"votes": values["votes"]})
        return True

    def _failed(self, call: OpenCall, error: Exception, outcome: str) -> None:
        self.rest_s = AWAY_S if isinstance(error, Away) else AGAIN_S
        call.end("unknown" if outcome == "unknown" else "refused", code=type(error).__name__.lower())


class Rest:
    """The count's table at one server."""

    def __init__(self, v2: V2) -> None:
        self._v2 = v2

    def task(self, name: str, work: list[Batch], recorder: Recorder) -> Task:
        return Task(name, work, self._v2, recorder)

    async def counted(self) -> Iterable[Mapping[str, int]] | None:
        try:
            return [row["counted"] for row in await self._v2.rows(KEYSPACE, TABLE)]
        except Away:
            return None


async def run(arguments: argparse.Namespace) -> None:
    async with contextlib.aclosing(V2(arguments.url)) as v2:
        await count(Rest(v2), arguments)


if __name__ == "__main__":
    asyncio.run(run(parsed(__doc__)))
