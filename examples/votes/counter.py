"""One client process: its tasks count their batches, each in a critical section, and settle every unknown outcome."""

import argparse
import asyncio
import contextlib
from collections.abc import Iterable, Mapping

import polysite
from polysite.client import Site, Table
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError, SiteUnreachable
from polysite.testing.history import Recorder

from .ballots import Batch
from .tasks import AGAIN_S, AWAY_S, KEYSPACE, TABLE, BatchTask, count, parsed

LEASE_S = 3.0
WAIT_S = 20.0


class Task(BatchTask):
    """A task that speaks `/v3` through polysite's own client."""

    def __init__(self, name: str, work: list[Batch], table: Table, recorder: Recorder) -> None:
        super().__init__(name, work, recorder)
        self.table = table

    async def attempt(self, batch: Batch, attempt: int) -> bool:
        """One section for the batch; True when it is known to be counted."""
        argument = {"task": self.name, "batch": batch.number, "ballots": batch.ballots}
        call = self.recorder.begin(client=self.name, verb="section", key=batch.choice, argument=argument)
        sent: tuple[str, dict[str, object], str] | None = None
        refusal: PolysiteError | None = None
        try:
            async with self.table.section(batch.choice, lease_s=LEASE_S, wait_s=WAIT_S, owner=self.name) as section:
                row = await section.get()
                counted = dict(row["counted"] or {}) if row else {}
                if counted.get(self.name, 0) >= batch.number:
                    self.settled_by_row += 1
                    call.end("done", value={"found": True})
                    return True
                counted[self.name] = batch.number
                columns = {"votes": (row["votes"] if row else 0) + batch.ballots, "counted": counted}
                # An attempt has its own key: what it puts depends on what it read.
                sent = (section.reference, columns, f"{self.run_name}-{batch.number}-{attempt}")
                try:
                    await section.put(columns, idempotency_key=sent[2])
                except PolysiteError as error:
                    refusal = error if error.outcome == "refused" else None
                    raise
                self.sections += 1
                call.end("done", value={"votes": columns["votes"]})
                return True
        except PolysiteError as error:
            self.rest_s = AWAY_S if isinstance(error, SiteUnreachable | OutcomeUnknown) else AGAIN_S
            if call.ended:  # the put was answered `done`; only the release after it failed, which takes nothing back
                return True
            if sent is None or refusal is not None:
                call.end("refused", code=error.code)
                return False
            # Also when the lock was lost while the put was under way: nobody heard its answer.
            call.end("unknown", code=error.code)
            self.unknown += 1
            return await self.settle(*sent, batch)

    async def settle(self, reference: str, columns: dict[str, object], idempotency_key: str, batch: Batch) -> bool:
        """Ask again with the same idempotency key until the answer is done, refused, or unknown for good.

        False: the next section looks in the row itself, which every earlier write has reached or never will.
        """
        for _ in range(50):
            try:
                await self.table.put(
                    batch.choice, columns, level="critical", reference=reference, idempotency_key=idempotency_key
                )
            except (OutcomeUnknown, LockLost) as error:
                if error.attributes.get("reason") == "not_answered":
                    await asyncio.sleep(self.chance.uniform(*AWAY_S))  # the server is away; it will be back
                    continue
                return False
            except PolysiteError as error:
                if error.retry:
                    await asyncio.sleep(self.chance.uniform(*AWAY_S))
                    continue
                return False
            self.settled_by_key += 1
            await self.let_go(reference)
            return True
        return False

    async def let_go(self, reference: str) -> None:
        """Release a lock whose section was left without an answer; if that fails, its lease ends it."""
        with contextlib.suppress(PolysiteError):
            await self.table.site.coordinator.release(reference, validate=False)


class V3:
    """The count's table at one site."""

    def __init__(self, site: Site) -> None:
        self._table = site.table(KEYSPACE, TABLE)

    def task(self, name: str, work: list[Batch], recorder: Recorder) -> Task:
        return Task(name, work, self._table, recorder)

    async def counted(self) -> Iterable[Mapping[str, int]] | None:
        try:
            return [row["counted"] or {} async for row in self._table.rows()]
        except PolysiteError as error:
            if not error.retry and not isinstance(error, OutcomeUnknown):
                raise
            return None


async def run(arguments: argparse.Namespace) -> None:
    async with polysite.connect(arguments.url) as site:
        await count(V3(site), arguments)


if __name__ == "__main__":
    asyncio.run(run(parsed(__doc__)))
