"""Engines that lose answers, are slow or are gone: wrappers around a store and cells, driven by a seed or by hand.

faults = Faults(runtime)
cells = FaultyCells(EmbeddedCells(engine), faults)
faults.lose_next("compare_and_set", after_effect=True)     # applied, but the caller is told OutcomeUnknown
faults.rates = FaultRates(lost_after=0.1, lost_before=0.1, delay_s=0.02)
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from polysite.cells.contract import CONTENDED, CellAnswer, Cells, CellView
from polysite.clock import Runtime
from polysite.errors import OutcomeUnknown, PolysiteError, Unavailable
from polysite.stores.contract import (
    CellChange,
    CellEffect,
    Conditional,
    Decide,
    Joint,
    Level,
    Predicate,
    Store,
    StoredPage,
    TableWrites,
)
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Slice, StoredRow, Write
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

T = TypeVar("T")

STALE_STATES = 8
"""How many states of a cell a stale local read may go back."""

Operation = Literal["compare_and_set", "write", "joint", "read"]


@dataclass(frozen=True)
class FaultRates:
    """How often: `lost_after` the effect happened and its answer was lost, `lost_before` it never happened and that is not
    known, `late` no answer came and the effect happens up to `late_s` afterwards, `refused` it was not sent. `delay_s`: each
    call takes up to this long before and after its effect. `stale`: a local read of a cell shows an older state."""

    lost_after: float = 0.0
    lost_before: float = 0.0
    late: float = 0.0
    late_s: float = 1.0
    stale: float = 0.0
    refused: float = 0.0
    delay_s: float = 0.0


class Faults:
    """What goes wrong. `down` makes every call fail with Unavailable."""

    def __init__(self, runtime: Runtime) -> None:
        self._randomness = runtime.randomness
        self._clock = runtime.clock
        self._spawner = runtime.spawner
        self.rates = FaultRates()
        self.down = False
        self.calls: dict[str, int] = {}
        """How often each operation was called."""
        self._next: list[tuple[Operation, str]] = []
        self._held: dict[Operation, asyncio.Future[None]] = {}

    def lose_next(self, operation: Operation, *, after_effect: bool) -> None:
        """The next call of that operation gets no answer; `after_effect`: though it took effect."""
        self._next.append((operation, "after" if after_effect else "before"))

    def refuse_next(self, operation: Operation) -> None:
        """The next call of that operation is not sent."""
        self._next.append((operation, "refused"))

    def contend_next(self, operation: Operation) -> None:
        """Changes of others stand in the way of the next call of that operation."""
        self._next.append((operation, "contended"))

    def refuse_after(self, operation: Operation, count: int) -> None:
        """The call of that operation that follows the next `count` ones is not sent."""
        self._next.extend([(operation, "done")] * count + [(operation, "refused")])

    def hold(self, operation: Operation) -> "asyncio.Future[None]":
        """Calls of that operation wait before their effect until the future is given a result."""
        gate = self._held[operation] = asyncio.get_running_loop().create_future()
        return gate

    async def carry(
        self,
        operation: Operation,
        call: Callable[[], Awaitable[T]],
        late: tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]] | None = None,
    ) -> T:
        """Carry out a call with what is to go wrong with it; `late`: what of a late one happens now, and what later."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        gate = self._held.get(operation)
        if gate is not None:
            await asyncio.shield(gate)
        fate = self._fate(operation)
        if fate == "refused":
            raise Unavailable("the engine is down")
        if fate == "contended":
            raise Unavailable("others changed the cell at the same time", reason=CONTENDED)
        await self._delay()
        if fate == "late":
            if late is not None:
                await late[0]()
            self._spawner.spawn(self._later(call if late is None else late[1]), name="late-effect")
        if fate in {"before", "late"}:
            raise OutcomeUnknown("no answer came")
        answer = await call()
        await self._delay()
        if fate == "after":
            raise OutcomeUnknown("no answer came")
        return answer

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Carry on with something in the way of the world: nobody who dies takes it along."""
        self._spawner.spawn(work, name=name)

    async def _later(self, call: Callable[[], Awaitable[Any]]) -> None:
        await self._clock.sleep_s(self._randomness.uniform(0.0, self.rates.late_s))
        with contextlib.suppress(PolysiteError):
            await call()

    def is_stale(self) -> bool:
        """Whether a local read shows an older state now."""
        return self._randomness.uniform(0.0, 1.0) < self.rates.stale

    def pick(self, count: int) -> int:
        """A number from 0 up to, and without, `count`."""
        return min(count - 1, int(self._randomness.uniform(0.0, count)))

    def _fate(self, operation: Operation) -> str:
        for index, (named, fate) in enumerate(self._next):
            if named == operation:
                del self._next[index]
                return fate
        if self.down:
            return "refused"
        drawn = self._randomness.uniform(0.0, 1.0)
        rates = self.rates
        if drawn < rates.refused:
            return "refused"
        if operation == "read":
            return "done"
        drawn -= rates.refused
        if drawn < rates.lost_before:
            return "before"
        drawn -= rates.lost_before
        if drawn < rates.late:
            return "late"
        return "after" if drawn < rates.late + rates.lost_after else "done"

    async def _delay(self) -> None:
        if self.rates.delay_s:
            await self._clock.sleep_s(self._randomness.uniform(0.0, self.rates.delay_s))


class FaultyCells(Cells):
    """Cells behind faults."""

    def __init__(self, cells: Cells, faults: Faults) -> None:
        self._cells = cells
        self._faults = faults
        self._seen: dict[bytes, list[CellView]] = {}
        self.name = cells.name
        self.capabilities = cells.capabilities
        self.costs = cells.costs
        self.begins = cells.begins

    async def start(self) -> None:
        await self._cells.start()

    async def close(self) -> None:
        await self._cells.close()

    async def read_local(self, key: bytes) -> CellView:
        view = await self._faults.carry("read", lambda: self._cells.read_local(key))
        seen = self._seen.setdefault(key, [CellView(0, b"")])
        if seen[-1].version < view.version:
            seen.append(view)
            del seen[:-STALE_STATES]
        return seen[self._faults.pick(len(seen))] if self._faults.is_stale() else view

    async def read(self, key: bytes) -> CellView:
        return await self._faults.carry("read", lambda: self._cells.read(key))

    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        return await self._faults.carry(
            "compare_and_set", lambda: self._cells.compare_and_set(key, expected_version, content)
        )

    def begin(
        self,
        key: bytes,
        expected_version: int,
        content: bytes,
        answered: Callable[[CellAnswer | BaseException], None],
    ) -> None:
        async def carry() -> None:
            try:
                answer: CellAnswer | BaseException = await self.compare_and_set(key, expected_version, content)
            except PolysiteError as error:
                answer = error
            answered(answer)

        self._faults.spawn(carry(), name="begun-change")

    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        return await self._cells.keys(after, limit)


class FaultyStore(Store):
    """A store behind faults; changes of schema are spared."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self.name = store.name
        self.capabilities = store.capabilities
        self.costs = store.costs
        self.indexed_bytes_max = store.indexed_bytes_max

    async def start(self) -> None:
        await self._store.start()

    async def close(self) -> None:
        await self._store.close()

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        return await self._store.create_keyspace(spec)

    async def drop_keyspace(self, name: str) -> bool:
        return await self._store.drop_keyspace(name)

    async def keyspaces(self) -> list[KeyspaceSpec]:
        return await self._store.keyspaces()

    async def create_table(self, spec: TableSpec) -> bool:
        return await self._store.create_table(spec)

    async def drop_table(self, keyspace: str, name: str) -> bool:
        return await self._store.drop_table(keyspace, name)

    async def tables(self, keyspace: str) -> list[TableSpec]:
        return await self._store.tables(keyspace)

    async def table(self, keyspace: str, name: str) -> TableSpec:
        return await self._store.table(keyspace, name)

    def known_table(self, keyspace: str, name: str) -> TableSpec | None:
        return self._store.known_table(keyspace, name)

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        return await self._store.create_index(keyspace, table, index)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        return await self._store.drop_index(keyspace, table, index_name)

    async def read(self, table: TableSpec, key: RowKey, level: Level) -> StoredRow:
        return await self._faults.carry("read", lambda: self._store.read(table, key, level))

    async def read_partition(
        self,
        table: TableSpec,
        partition: tuple[bytes, ...],
        level: Level,
        *,
        slice: Slice = WHOLE_PARTITION,
        limit: int,
        cursor: bytes | None = None,
        reverse: bool = False,
    ) -> StoredPage:
        return await self._faults.carry(
            "read",
            lambda: self._store.read_partition(
                table, partition, level, slice=slice, limit=limit, cursor=cursor, reverse=reverse
            ),
        )

    async def scan(
        self,
        table: TableSpec,
        level: Level,
        *,
        index: tuple[str, bytes] | None = None,
        limit: int,
        cursor: bytes | None = None,
    ) -> StoredPage:
        return await self._faults.carry(
            "read", lambda: self._store.scan(table, level, index=index, limit=limit, cursor=cursor)
        )

    async def write(self, table: TableSpec, writes: Sequence[Write], level: Level) -> None:
        await self._faults.carry("write", lambda: self._store.write(table, writes, level))

    async def write_if(
        self,
        table: TableSpec,
        expect: Sequence[Predicate],
        writes: Sequence[Write],
        *,
        once: TableWrites | None = None,
    ) -> Conditional:
        return await self._faults.carry("write", lambda: self._store.write_if(table, expect, writes, once=once))

    async def joint(
        self,
        change: CellChange | None,
        writes: Sequence[TableWrites],
        reads: Sequence[tuple[TableSpec, RowKey]] = (),
        *,
        absent: Sequence[tuple[TableSpec, RowKey]] = (),
    ) -> tuple[Joint, list[StoredRow]]:
        return await self._faults.carry("joint", lambda: self._store.joint(change, writes, reads, absent=absent))

    async def joint_step(self, key: bytes, reads: Sequence[tuple[TableSpec, RowKey]], decide: Decide) -> bool:
        """A late effect is decided now and carried out later, if the cell has not moved by then."""
        decided: list[tuple[int, list[StoredRow], CellEffect]] = []

        def only_decide(version: int, content: bytes, rows: list[StoredRow]) -> None:
            effect = decide(version, content, rows)
            if effect is not None:
                decided.append((version, rows, effect))

        async def late() -> None:
            for version, rows, effect in decided:
                if effect.content is not None:
                    await self._store.joint(CellChange(key, version, effect.content), effect.writes)
                else:
                    await self._store.joint_step(key, reads, _if_still(version, rows, effect))

        async def decide_now() -> None:
            await self._store.joint_step(key, reads, only_decide)

        return await self._faults.carry(
            "joint", lambda: self._store.joint_step(key, reads, decide), late=(decide_now, late)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _if_still(expected_version: int, expected: list[StoredRow], effect: CellEffect) -> Decide:
    """Carries out what was decided on a cell and rows, if they are still that."""
    return lambda version, _content, rows: effect if (version, rows) == (expected_version, expected) else None
