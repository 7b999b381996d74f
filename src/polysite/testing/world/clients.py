"""Clients of a simulated world: what they ask, in what order, and what they write down of it.

Each client is one thread of control at one site. It takes locks, reads, writes values that nobody else writes, dawdles (now and then
longer than its lease), forgets to release, and goes on after every error; how much of each says its `Traffic`. A process that dies is
replaced by the next one of the site, with the same reference. The words it writes down are those of `polysite.testing.judging.sequential`.
"""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from polysite.api import (
    Condition,
    KeyName,
    LockAnswer,
    RangeDelete,
    RowDelete,
    RowGet,
    RowPut,
    RowWrite,
    SectionAnswer,
    Step,
)
from polysite.errors import LockLost, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site import SiteCoordinator
from polysite.testing.history import OpenCall, Recorder
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.processes import Process
from polysite.testing.world.traffic import FLAT, KEYSPACE, MIXED, WIDE, Line, Traffic
from polysite.testing.world.world import World
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec

T = TypeVar("T")

COLUMNS = ("a", "b")
ROWS = ("r0", "r1", "r2", "r3")
TABLES = (
    TableSpec(
        keyspace=KEYSPACE,
        name=FLAT,
        columns=(ColumnSpec("id", "text"), *(ColumnSpec(name, "text") for name in COLUMNS)),
        partition_key=("id",),
        writes="sections",
    ),
    *(
        TableSpec(
            keyspace=KEYSPACE,
            name=name,
            columns=(ColumnSpec("id", "text"), ColumnSpec("r", "text"), *(ColumnSpec(of, "text") for of in COLUMNS)),
            partition_key=("id",),
            clustering_key=(ClusteringColumn("r"),),
            writes="sections" if name == WIDE else "mixed",
        )
        for name in (WIDE, MIXED)
    ),
)
CALL_S = 20.0
"""The longest a call may take; locks are waited for less."""

BESIDE_S = 0.001
"""What is asked for beside something else, and after it, is asked for so much later."""

SETTLED_S = 60.0
"""After the last fault a lock must be had within this."""
GRACE_S = 5.0
"""So long after it may wait no longer a call must have ended, where no fault holds it up."""
KEYED_ATTEMPTS_MAX = 5


class Client:
    """One client of a site."""

    def __init__(self, world: World, site: str, number: int, traffic: Traffic, recorder: Recorder) -> None:
        self._world = world
        self._site = site
        self.traffic = traffic
        self._recorder = recorder
        self.name = f"{site}-{number}"
        self._chance = SeededRandomness(f"{world.seed}/client {self.name}")
        self._values = itertools.count(1)
        self.ended = False
        """Set from outside: begin nothing more."""
        self.hurry_s: float | None = None
        """How long the answer is waited for, where a script says so."""
        self.quiet_s = math.inf
        """Set from outside: when the last fault has ended."""
        self.overdue: list[str] = []
        """Calls that did not end though no fault was left that could have held them up."""

    async def run(self) -> None:
        """Work until it is told to end."""
        of = self.traffic
        if of.script:
            await self._follow([line for line in of.script if line.client == self.name])
            return
        roads = (
            *of.tenures * (self._tenure,),
            *of.readers * (self._readers,),
            *of.sections * (self._section,),
        )
        while not self.ended:
            table, key = self.pick(of.keys)
            try:
                await self.pick(roads)(Work(self, table, key))
            except PolysiteError:
                await self._pause(0.5)
            await self._pause(of.pause_s)

    # what it does

    async def _follow(self, script: list[Line]) -> None:
        """Do as the script says; what fails is passed over."""
        began_s = self._world.now_s()
        work = Work(self, *self.traffic.keys[0])
        for line in script:
            await asyncio.sleep(max(0.0, began_s + line.at_s - self._world.now_s()))
            self.hurry_s = line.hurry_s
            try:
                await self._do(work, line)
            except PolysiteError:
                continue
            finally:
                self.hurry_s = None

    async def _do(self, work: "Work", line: Line) -> None:
        if line.does == "put":
            await work.write(["put", line.row, {name: self.value() for name in COLUMNS}])
        elif line.does == "read":
            await work.read(line.row)
        elif line.does == "range":
            await work.read_range(whole=True)
        elif line.does == "release":
            await work.release(validate=False)
        else:
            kind = "shared" if line.does == "acquire shared" else "exclusive"
            await work.acquire(self.traffic.leases_ms[0], kind=kind)

    async def _tenure(self, work: "Work") -> None:
        """A lock, some reads and writes, and a release that may be forgotten."""
        if await work.acquire(self.pick(self.traffic.leases_ms), read=self.happens(self.traffic.read_first)):
            for _ in range(self._steps()):
                await self._dawdle(work)
                await self._step(work, self._write_or_read)
            await self._leave(work)

    async def _readers(self, work: "Work") -> None:
        """A shared lock, some reads, perhaps a promotion and writes."""
        if await work.acquire(self.pick(self.traffic.leases_ms), kind="shared"):
            for _ in range(self._steps()):
                await self._dawdle(work)
                await self._step(work, self._read)
            if self.happens(self.traffic.promotions):
                await work.promote()
                for _ in range(self._steps()):
                    await self._step(work, self._write_or_read)
            await self._leave(work)

    async def _section(self, work: "Work") -> None:
        await work.section()

    async def _step(self, work: "Work", step: Callable[["Work"], Awaitable[None]]) -> None:
        """One thing under the lock; perhaps the client goes on though it fails."""
        try:
            work.look_for_home()
            await step(work)
        except LockLost:
            raise
        except PolysiteError:
            if not (work.is_at_home and self.happens(self.traffic.persists)):
                raise

    async def _write_or_read(self, work: "Work") -> None:
        if self.happens(self.traffic.reads):
            await self._read(work)
        elif self.happens(self.traffic.at_once):
            calls: list[Awaitable[None]] = [work.write(write) for write in work.writes_apart()]
            if work.is_at_home and self.happens(self.traffic.reads_beside):
                calls.append(_after(BESIDE_S, work.read(work.some_row())))
            await _all(calls)
        elif self.happens(self.traffic.batches):
            await work.write(work.one_write(), work.one_write())
        else:
            await work.write(work.one_write())

    async def _read(self, work: "Work") -> None:
        if work.is_wide and self.happens(self.traffic.ranges):
            await work.read_range()
        else:
            await work.read(work.some_row())

    async def _dawdle(self, work: "Work") -> None:
        if self.happens(self.traffic.dawdles):
            await asyncio.sleep(self._chance.uniform(0.0, self.traffic.dawdle_leases * work.lease_ms / 1000))

    async def _leave(self, work: "Work") -> None:
        if self.happens(self.traffic.forgotten):
            return
        validate = not self.happens(self.traffic.unproven)
        if self.happens(self.traffic.lets_go):
            await _all([work.write(work.one_write()), self._soon(work.release(validate=validate))])
        else:
            await work.release(validate=validate)

    async def _soon(self, then: Awaitable[None]) -> None:
        await self._pause(0.1)
        await then

    async def settle(self, table: str, key: str) -> None:
        """After the faults: a lock must be had, and what is read then is the last word."""
        until_s = self._world.now_s() + SETTLED_S
        while True:
            work = Work(self, table, key)
            try:
                if await work.acquire(5_000):
                    await (work.read_range(whole=True) if work.is_wide else work.read(""))
                    await work.read(work.some_row())
                    await work.release(validate=True)
                    return
            except PolysiteError as error:
                if self._world.now_s() > until_s:
                    raise AssertionError(f"{self.name}: {error.code} at the end of all faults") from error
            if self._world.now_s() > until_s:
                raise AssertionError(f"{self.name}: no lock of {table}/{key} within {SETTLED_S:g} s of the last fault")
            await self._pause(0.5)

    # how it asks

    def process(self) -> Process | None:
        """The process that is asked, unless a call hops."""
        return self._world.process(self._site)

    async def ask(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]], limit_s: float = CALL_S) -> T:
        """The answer of a process of the site: the newest, or now and then another."""
        process = self.process()
        if process is not None and self.happens(self.traffic.hops):
            process = self.pick(tuple(self._world.living(self._site)))
        if process is None:
            await self._pause(0.2)
            raise Unavailable("no process of the site runs")
        began_s = self._world.now_s()
        try:
            return await process.call(work, limit_s=limit_s)
        except OutcomeUnknown as error:
            undisturbed_s = self._world.now_s() - max(began_s, self.quiet_s)
            if error.attributes.get("reason") == "limit" and undisturbed_s >= self.traffic.wait_ms / 1000 + GRACE_S:
                self.overdue.append(
                    f"{self.name}: a call that began at {began_s:.3f} s did not end within {limit_s:g} s"
                )
            raise

    def begin(self, verb: str, key: list[str], argument: object = None, reference: str | None = None) -> OpenCall:
        return self._recorder.begin(client=self.name, verb=verb, key=key, argument=argument, reference=reference)

    def value(self) -> str:
        """One that nobody else writes."""
        return f"{self.name}/{next(self._values)}"

    async def ask_to_write(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]]) -> T:
        """The answer, if the client has the patience for it."""
        return await self.ask(work, self._patience_s(self.traffic.hurried))

    async def ask_to_read(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]]) -> T:
        """As `ask_to_write`; the last word is waited for."""
        return await self.ask(work, self._patience_s(0.0 if self.ended else self.traffic.hurried_reads))

    def _patience_s(self, hurried: float) -> float:
        if self.hurry_s is not None:
            return self.hurry_s
        return self.traffic.hurry_s if self.happens(hurried) else CALL_S

    async def ask_until_known(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]], limit_s: float) -> T:
        """The answer to a request with an idempotency key, asked for again and again. One that is refused later may have been carried out
        by an attempt before, or may yet be: its outcome is not known."""
        for attempt in range(KEYED_ATTEMPTS_MAX):
            try:
                return await self.ask(work, limit_s)
            except (OutcomeUnknown, Unavailable):
                await self._pause(1.0)
            except PolysiteError as error:
                if attempt == 0:
                    raise
                raise OutcomeUnknown("an earlier attempt may have been carried out", reason=error.code) from error
        raise OutcomeUnknown("no attempt was answered", reason="attempts")

    def _steps(self) -> int:
        return self._chance.below(self.traffic.steps + 1)

    def happens(self, share: float) -> bool:
        return bool(share) and self._chance.uniform(0.0, 1.0) < share

    def pick(self, of: tuple[T, ...]) -> T:
        return of[self._chance.below(len(of))]

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, most_s))


class Work:
    """What a client does about one lock key."""

    def __init__(self, client: Client, table: str, key: str) -> None:
        self._client = client
        self._traffic = client.traffic
        self._rows = ROWS[: client.traffic.rows]
        self._table = table
        self._key = key
        self._named = [table, key]
        self.is_wide = table != FLAT
        self.lease_ms = self._traffic.leases_ms[0]
        self._reference = ""
        self._home: Process | None = None
        """The process that was asked for the lock, which is not always the newest once it is granted. None: it is not known."""

    @property
    def is_at_home(self) -> bool:
        """Whether calls go straight to the process that serves the lock: what another one was to hand on may come after what is asked next,
        and then nothing more may be asked."""
        if self._traffic.hops or self._home is None:
            return False
        return self._home.gate.dead or self._client.process() is self._home

    def look_for_home(self) -> None:
        """If the process that served the lock is dead, whoever is asked next takes it over."""
        if self._home is not None and self._home.gate.dead:
            self._home = self._client.process() or self._home

    async def acquire(self, lease_ms: int, *, kind: Any = "exclusive", read: bool = False) -> bool:
        """Whether it holds."""
        self.lease_ms = lease_ms
        read = read and not self.is_wide
        request = self._client.value() if self._client.happens(self._traffic.asked_again) else None

        def asked(site: SiteCoordinator) -> Coroutine[Any, Any, LockAnswer]:
            return site.acquire(
                [self._lock()],
                kind=kind,
                lease_ms=lease_ms,
                wait_ms=self._traffic.wait_ms,
                read=read,
                idempotency_key=request,
            )

        with self._client.begin("acquire", self._named, {"kind": kind, "lease_ms": lease_ms}) as call:
            home = self._client.process()
            try:
                answer = await self._client.ask(asked, self._traffic.wait_ms / 1000 + 10)
            except (OutcomeUnknown, Unavailable):
                if request is None:
                    raise
                now = self._client.process()
                home = now if home is None or home is now or home.gate.dead else None
                answer = await self._client.ask(asked, self._traffic.wait_ms / 1000 + 10)
            if answer.held:
                self._reference = answer.reference
                self._home = home
                rows = answer.rows
                told = None if rows is None else {"read": _columns(rows[0])}
                call.answer(told, reference=answer.reference)
                return True
            call.end("refused", code="waiting")
        await self._client.ask(lambda site: site.release(answer.reference, validate=False))
        return False

    async def promote(self) -> None:
        with self._client.begin("promote", self._named, None, self._reference):
            await self._client.ask(
                lambda site: site.promote(self._reference, wait_ms=self._traffic.wait_ms),
                self._traffic.wait_ms / 1000 + 10,
            )

    async def release(self, *, validate: bool) -> None:
        if not validate:
            await self._client.ask(lambda site: site.release(self._reference, validate=False))
            return
        with self._client.begin("release", self._named, None, self._reference):
            await self._client.ask(lambda site: site.release(self._reference, validate=True))

    async def write(self, *writes: list[Any]) -> None:
        asked = [self._asked(write) for write in writes]
        with self._client.begin("write", self._named, {"writes": list(writes)}, self._reference):
            if len(asked) == 1 and isinstance(asked[0], RowPut):
                put = asked[0]
                await self._client.ask_to_write(
                    lambda site: site.put(
                        self._row(writes[0][1]), put.columns, level="critical", reference=self._reference
                    )
                )
            elif len(asked) == 1 and isinstance(asked[0], RowDelete):
                await self._client.ask_to_write(
                    lambda site: site.delete(self._row(writes[0][1]), level="critical", reference=self._reference)
                )
            else:
                await self._client.ask_to_write(
                    lambda site: site.batch(KEYSPACE, self._table, asked, level="critical", reference=self._reference)
                )

    async def read(self, row: str) -> None:
        with self._client.begin("read", self._named, {"row": row}, self._reference) as call:
            answer = await self._client.ask_to_read(
                lambda site: site.get(self._row(row), level="critical", reference=self._reference)
            )
            call.answer(_columns(answer.row))

    async def read_range(self, *, whole: bool = False) -> None:
        low, high = (None, None) if whole else self._some_range()
        with self._client.begin("range", self._named, {"low": low, "high": high}, self._reference) as call:
            answer = await self._client.ask_to_read(
                lambda site: site.select(
                    KEYSPACE, self._table, where=self._where(low, high), level="critical", reference=self._reference
                )
            )
            call.answer([[row["r"], _columns(row)] for row in answer.rows])

    async def section(self) -> None:
        """Read a row and write it, in one call."""
        row = self.some_row()
        columns = self._some_columns()
        steps: list[Step] = [RowGet(key=self._row(row).key), RowPut(key=self._row(row).key, columns=columns)]
        argument = {"row": row, "writes": [["put", row, columns]]}
        request = self._client.value() if self._client.happens(self._traffic.keyed) else None

        def asked(site: SiteCoordinator) -> Coroutine[Any, Any, SectionAnswer]:
            return site.section(
                self._lock(), steps, wait_ms=self._traffic.wait_ms, lease_ms=2_000, idempotency_key=request
            )

        with self._client.begin("section", self._named, argument) as call:
            if request is None:
                answer = await self._client.ask(asked, self._traffic.wait_ms / 1000 + 10)
            else:
                answer = await self._client.ask_until_known(asked, self._traffic.wait_ms / 1000 + 10)
            call.answer({"row": _columns(answer.results[0]), "ticket": answer.fencing_token})

    # what is written

    def one_write(self) -> list[Any]:
        row = self.some_row()
        if not self._client.happens(self._traffic.deletes):
            return ["put", row, self._some_columns()]
        if self.is_wide and self._client.happens(self._traffic.ranges):
            return ["range", *self._some_range()]
        return ["delete", row]

    def writes_apart(self) -> list[list[Any]]:
        """Writes that may be made at once, because their order does not matter: of different rows, or of different columns."""
        if self.is_wide:
            return [["put", row, self._some_columns()] for row in self._rows if self._client.happens(0.6)]
        return [["put", "", {name: self._client.value()}] for name in COLUMNS]

    def some_row(self) -> str:
        return self._client.pick(self._rows) if self.is_wide else ""

    def _some_range(self) -> tuple[str | None, str | None]:
        low = self._client.pick((None, *self._rows))
        high = self._client.pick((None, *self._rows))
        return (low, high) if low is None or high is None or low < high else (high, low)

    def _some_columns(self) -> dict[str, Any]:
        """All of the columns or one, now and then one as null."""
        chosen = (self._client.pick(COLUMNS),) if self._client.happens(self._traffic.partial) else COLUMNS
        return {name: None if self._client.happens(self._traffic.nulls) else self._client.value() for name in chosen}

    # as the coordinator has it

    def _lock(self) -> KeyName:
        return KeyName(keyspace=KEYSPACE, table=self._table, key={"id": self._key})

    def _row(self, row: str) -> KeyName:
        key = {"id": self._key, "r": row} if self.is_wide else {"id": self._key}
        return KeyName(keyspace=KEYSPACE, table=self._table, key=key)

    def _where(self, low: str | None, high: str | None) -> list[Condition]:
        where = [Condition(column="id", comparison="eq", value=self._key)]
        if low is not None:
            where.append(Condition(column="r", comparison="ge", value=low))
        if high is not None:
            where.append(Condition(column="r", comparison="lt", value=high))
        return where

    def _asked(self, write: list[Any]) -> RowWrite:
        if write[0] == "put":
            return RowPut(key=self._row(write[1]).key, columns=write[2])
        if write[0] == "delete":
            return RowDelete(key=self._row(write[1]).key)
        return RangeDelete(where=self._where(write[1], write[2]))


async def _after(pause_s: float, work: Awaitable[None]) -> None:
    await asyncio.sleep(pause_s)
    await work


async def _all(works: list[Awaitable[None]]) -> None:
    """Do them at once; the first error, once all have ended."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _columns(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """The columns of a row that have a value."""
    return None if row is None else {name: row[name] for name in COLUMNS if row[name] is not None}
