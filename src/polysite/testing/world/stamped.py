"""Clients of a simulated world whose writes are told by their stamps: without a lock, under one, with lives, asked again.

They work on rows by themselves, of a table without locks, of a `mixed` one, where a key may be locked never or now and then, and of one that
is written in sections only. What they write down is judged by `polysite.testing.judging.stamped`. After the faults they wait until every process has heard
the others' time, write once more, and read what is everywhere.
"""

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeAlias

from polysite.api import KeyName, WriteAnswer
from polysite.errors import AcquireTimeout, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site import SiteCoordinator
from polysite.testing.history import Recorder
from polysite.testing.world.asking import PAUSE_S, WAIT_MS, Asker, name_of
from polysite.testing.world.clients import COLUMNS
from polysite.testing.world.traffic import KEYSPACE
from polysite.testing.world.world import World
from polysite.values.tables import ColumnSpec, TableSpec, Writes

Row: TypeAlias = tuple[str, str]
"""Table and id."""

FREE, LOOSE, STRICT = "free", "loose", "strict"
_WRITES: dict[str, Writes] = {FREE: "eventual", LOOSE: "mixed", STRICT: "sections"}
TABLES = tuple(
    TableSpec(
        keyspace=KEYSPACE,
        name=name,
        columns=(ColumnSpec("id", "text"), *(ColumnSpec(column, "text") for column in COLUMNS)),
        partition_key=("id",),
        writes=writes,
    )
    for name, writes in _WRITES.items()
)
OPEN, NEVER, HELD = (FREE, "x"), (LOOSE, "never"), (STRICT, "x")
BOTH = tuple((LOOSE, f"both{number}") for number in range(3))
"""Of a table without locks; of a mixed one, never locked; of a table with locks only. And of a mixed one, now and then locked: one after the
other, since what is worth seeing there is the first lock."""
TURN_S = 7.0
"""How long each of the rows that are both is worked on."""

LIVES_MS = (1_000, 1_500, 3_000, 6_000)
CALM_S = 36.0
"""After the faults: by then every process has asked every other one for the time (`SiteSettings.hello_s`)."""
TOLD_S = 6.0
"""Between what is done in the end: by then every replica has what was sent to it, and each site has read what a majority has."""


class Manner(NamedTuple):
    """What such clients do beside reading and writing."""

    rows: tuple[Row, ...]
    lives: float = 0.0
    """Share of the puts that end by themselves."""
    requests: float = 0.0
    """Share of the writes that carry an idempotency key, and are asked again."""


class StampedClient(Asker):
    """One such client of a site."""

    def __init__(self, world: World, site: str, manner: Manner, recorder: Recorder) -> None:
        super().__init__(world, site, "-".join(("stamps", *(key for _, key in manner.rows))), recorder)
        self._manner = manner

    async def run(self) -> None:
        began_s = self.now_s()
        turns = [row for row in self._manner.rows if row in BOTH]
        while not self.ended:
            row = self.pick(self._manner.rows)
            try:
                if row in BOTH:
                    row = turns[min(int((self.now_s() - began_s) / TURN_S), len(turns) - 1)]
                if row[0] == STRICT or (row in BOTH and self.happens(0.4)):
                    await self._tenure(row)
                else:
                    await self._without_lock(row)
            except PolysiteError:
                await self.pause(1.0)
            await self.pause(PAUSE_S)

    async def _without_lock(self, row: Row) -> None:
        level = self.pick(("eventual", "quorum"))
        if self.happens(0.5):
            await self._show(row, level)
        else:
            await self._write(row, level)

    async def _tenure(self, row: Row) -> None:
        reference = await self._acquire(row)
        for _ in range(1 + self.chance.below(3)):
            if self.happens(0.6):
                await self._show(row, "critical", reference)
            else:
                await self._write(row, "critical", reference)
        if not self.happens(0.1):
            with self.begin("release", list(row), None, reference):
                await self.ask(lambda site: site.release(reference, validate=True))

    # in the end

    async def settle(self) -> None:
        """Every lock is had. What was written is everywhere, and the same, once everything had time to arrive."""
        began_s = self.now_s()
        for row in self._manner.rows:
            if row[0] == STRICT or row in BOTH:
                await self.surely(lambda row=row: self._lock_is_had(row), f"no lock of {row}")  # type: ignore[misc]
        await self.until(began_s + CALM_S)
        for row in self._manner.rows:
            if row[0] != STRICT:
                with contextlib.suppress(PolysiteError):  # its clock is off
                    await self._write(row, "eventual", calm=True)
        for round_, levels in enumerate((("quorum",), ("quorum", "eventual")), 1):
            await self.until(began_s + CALM_S + round_ * TOLD_S)
            for row in self._manner.rows:
                for level in levels:
                    await self._show(row, level, last=round_ == 2)

    async def _lock_is_had(self, row: Row) -> None:
        reference = await self._acquire(row)
        await self._show(row, "critical", reference)
        with self.begin("release", list(row), None, reference):
            await self.ask(lambda site: site.release(reference, validate=True))

    # what it asks

    async def _acquire(self, row: Row) -> str:
        """The reference of a lock that is held. AcquireTimeout: it is not."""
        process = self.process()
        lease_ms = self.pick((1_000, 2_000, 5_000))
        with self.begin("acquire", list(row), {"lease_ms": lease_ms, "by": name_of(process)}) as call:
            answer = await self.ask(
                lambda site: site.acquire([_key(row)], lease_ms=lease_ms, wait_ms=WAIT_MS),
                of=process,
                limit_s=WAIT_MS / 1000 + 10,
            )
            if answer.held:
                call.answer(None, reference=answer.reference)
                return answer.reference
            call.end("refused", code="waiting")
        await self.ask(lambda site: site.release(answer.reference, validate=False))
        raise AcquireTimeout

    async def _show(self, row: Row, level: Any, reference: str | None = None, *, last: bool = False) -> None:
        with self.begin("show", list(row), {"level": "last" if last else level}, reference) as call:
            answer = await self.ask(lambda site: site.get(_key(row), level=level, reference=reference))
            found = answer.row
            call.answer(None if found is None else {name: found[name] for name in COLUMNS if found[name] is not None})

    async def _write(self, row: Row, level: Any, reference: str | None = None, *, calm: bool = False) -> None:
        request = self.value() if not calm and self.happens(self._manner.requests) else None
        told: dict[str, Any] = (
            {"level": level} | ({"request": request} if request else {}) | ({"calm": True} if calm else {})
        )
        if not calm and self.happens(0.2):
            verb = "erase"

            def work(site: SiteCoordinator) -> Coroutine[Any, Any, WriteAnswer]:
                return site.delete(_key(row), level=level, reference=reference, idempotency_key=request)

        else:
            verb = "assign"
            columns = self._some_values()
            life_ms = self.pick(LIVES_MS) if not calm and self.happens(self._manner.lives) else None
            told |= {"columns": columns} | ({"life_ms": life_ms} if life_ms else {})

            def work(site: SiteCoordinator) -> Coroutine[Any, Any, WriteAnswer]:
                return site.put(
                    _key(row),
                    columns,
                    level=level,
                    reference=reference,
                    expires_ms=life_ms,
                    idempotency_key=request,
                )

        await self._sent(verb, row, told, reference, work, request is not None)

    async def _sent(
        self,
        verb: str,
        row: Row,
        told: dict[str, Any],
        reference: str | None,
        work: Callable[[SiteCoordinator], Coroutine[Any, Any, WriteAnswer]],
        has_request: bool,
    ) -> None:
        """Ask; with a request id perhaps again, of whatever process, whether or not there was an answer."""
        while True:
            process = self.process()
            failure: PolysiteError | None = None
            with self.begin(verb, list(row), {**told, "by": name_of(process)}, reference) as call:
                try:
                    answer = await self.ask(work, of=process)
                except PolysiteError as error:
                    failure = error
                    call.end(error.outcome, code=error.code)
                else:
                    call.answer({"stamp": answer.stamp})
            again = 0.3 if failure is None else 0.8 if isinstance(failure, OutcomeUnknown | Unavailable) else 0.0
            if not has_request or self.ended or not self.happens(again):
                break
            await self.pause(2.0)
        if failure is not None:
            raise failure

    def _some_values(self) -> dict[str, Any]:
        chosen = COLUMNS if self.happens(0.4) else (self.pick(COLUMNS),)
        return {name: None if self.happens(0.1) else self.value() for name in chosen}


def _key(row: Row) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table=row[0], key={"id": row[1]})
