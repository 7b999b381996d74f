"""Writes without a lock, and the engine's own conditional writes: what each kind of table takes, and with which stamps."""

from collections.abc import Callable, Sequence
from typing import Any

from polysite.api import RowExpectation
from polysite.core.plans import DeleteIntent, Intent, PutIntent
from polysite.errors import BadRequest, CompareFailed, Unavailable
from polysite.site.context import SiteContext
from polysite.site.rows import cells_of, row_of
from polysite.stores.contract import Predicate, TableWrites
from polysite.values.rows import PLAIN_STAMP_MAX, DeleteRange, DeleteRow, Put, StoredRow, Write
from polysite.values.tables import TableSpec

CLOCK_IS_OFF = "this process's clock is too far off those of its peers"
CLOCK_WAS_AHEAD = "this process's clock was ahead, was set back, and has not reached the stamps that it gave"
CLOCK_WAS_SET = "this process's clock was set, and is being compared with those of its peers"
CLOCK_AGREES = "this process's clock agrees with those of its peers again"
_NO_PLAIN = {
    "sections": "it is written in critical sections only (level critical or atomic); a write without the lock could be lost",
    "conditional": "it is written by batch with expectations only; other writes would not be ordered with those",
    "transactional": "it is written in critical sections only (level critical or atomic), which are transactions of the engine",
}
_NO_LOCKS = {
    "eventual": "it has no locks: it was made with writes = eventual",
    "conditional": "it has no locks: its batches are conditional writes of the engine",
}


def check_plain(spec: TableSpec) -> None:
    """BadRequest with the reason if the table takes no write at level eventual or quorum."""
    reason = _NO_PLAIN.get(spec.writes)
    if reason is not None:
        raise BadRequest(f"table {spec.keyspace}.{spec.name} refuses this write: {reason}")


def check_locks(spec: TableSpec) -> None:
    """BadRequest with the reason if the table's keys cannot be locked."""
    reason = _NO_LOCKS.get(spec.writes)
    if reason is not None:
        raise BadRequest(f"table {spec.keyspace}.{spec.name} cannot be locked: {reason}")


def check_transactional(spec: TableSpec, *, ranges: bool = False, idempotency_key: str | None = None) -> None:
    """BadRequest with the reason if the table is transactional and cannot do what others can."""
    if spec.writes != "transactional":
        return
    if ranges:
        raise BadRequest(
            f"table {spec.keyspace}.{spec.name} is transactional: ranges are neither read nor deleted under its locks"
        )
    if idempotency_key is not None:
        raise BadRequest(
            f"table {spec.keyspace}.{spec.name} is transactional and takes no idempotency key: its record is of another kind than the "
            "rows, and no transaction spans both"
        )


class PlainWrites:
    """Stamps and sends writes without a lock."""

    def __init__(self, context: SiteContext) -> None:
        self._context = context
        self._store = context.store
        self._last_stamp = 0
        self.skew_ms = 0.0
        """How far this process's clock is off those of its peers, as measured on the peer channel."""
        self.is_alone: Callable[[], bool] = lambda: True
        """Whether no other process writes beside this one."""
        self.clock_was_set: Callable[[], bool] = lambda: False
        """Whether the wall clock was set since it was compared with those of the others last. Asking has it compared."""

    @property
    def skewed(self) -> bool:
        return abs(self.skew_ms) > self._context.settings.skew_ms_max

    @property
    def early_ms(self) -> float:
        """By how much the next stamp would lie ahead of this process's clock, because that was set back since the last one; 0 if it
        is little, or nobody else writes. What others write meanwhile would be hidden by it."""
        ahead_ms = (self._last_stamp + 1 - self._context.clock.wall_us()) / 1000
        return ahead_ms if ahead_ms > self._context.settings.skew_ms_max and not self.is_alone() else 0.0

    @property
    def reasons(self) -> list[str]:
        """Why writes without a lock are refused, as health says it."""
        if self.skewed:
            return [CLOCK_IS_OFF]
        return [CLOCK_WAS_SET] if self.clock_was_set() else [CLOCK_WAS_AHEAD] if self.early_ms else []

    def next_stamp(self, count: int = 1) -> int:
        """The first of `count` stamps: the wall clock, or one above the last one given. Unavailable if the clock is off, may be because it
        was just set, or was off and has not caught up with the stamps that it gave."""
        if self.skewed:
            raise Unavailable("this process's clock is too far off those of its peers to order writes without a lock")
        if self.clock_was_set():
            raise Unavailable(
                "this process's clock was just set; it is being compared with those of its peers: try again"
            )
        if early_ms := self.early_ms:
            raise Unavailable(
                "this process's clock was ahead and was set back; writes without a lock are refused until it has reached the stamps "
                f"that it gave, in {early_ms / 1000:.0f} s"
            )
        first = max(self._context.clock.wall_us(), self._last_stamp + 1, 0)
        if first + count > PLAIN_STAMP_MAX:
            raise Unavailable("this process's clock is beyond what stamps can say")
        self._last_stamp = first + count - 1
        return first

    def stamped(self, intents: Sequence[Intent], stamp: int | None = None) -> tuple[list[Write], int]:
        """The writes with consecutive stamps, and the last of them. `stamp`: the first one, None: from the clock."""
        if stamp is None:
            stamp = self.next_stamp(len(intents))
        elif not 0 <= stamp < PLAIN_STAMP_MAX - len(intents):
            raise BadRequest(f"the stamp of a write without a lock is from 0 to {PLAIN_STAMP_MAX - len(intents) - 1}")
        writes: list[Write] = []
        for intent in intents:
            if isinstance(intent, PutIntent):
                writes.append(Put(key=intent.key, cells=intent.cells, stamp=stamp, life_ms=intent.life_ms))
            elif isinstance(intent, DeleteIntent):
                writes.append(DeleteRow(key=intent.key, stamp=stamp))
            else:
                writes.append(DeleteRange(partition=intent.partition, slice=intent.slice, stamp=stamp))
            stamp += 1
        return writes, stamp - 1

    async def write(
        self, spec: TableSpec, intents: Sequence[Intent], *, quorum: bool, stamp: int | None = None
    ) -> tuple[int, float]:
        """Carry out writes of one partition; the last stamp and the round trips. `stamp`: the first one, None: from the clock."""
        writes, stamp = self.stamped(intents, stamp)
        await self._store.write(spec, writes, "majority" if quorum else "local")
        costs = self._store.costs
        return stamp, costs.write_majority if quorum else costs.write_local

    async def conditional(
        self,
        spec: TableSpec,
        intents: Sequence[Intent],
        expect: Sequence[RowExpectation],
        once: TableWrites | None = None,
    ) -> tuple[StoredRow | None, float]:
        """All writes if every expectation holds, else none and CompareFailed with the rows found.

        `once`: the row that goes with them; the answer has it if it was there already, and then nothing was done.
        """
        predicates = [predicate_of(spec, item) for item in expect]
        writes = [
            Put(key=intent.key, cells=intent.cells, stamp=0, life_ms=intent.life_ms)
            if isinstance(intent, PutIntent)
            else DeleteRow(key=intent.key, stamp=0)
            if isinstance(intent, DeleteIntent)
            else DeleteRange(partition=intent.partition, slice=intent.slice, stamp=0)
            for intent in intents
        ]
        answer = await self._store.write_if(spec, predicates, writes, once=once)
        if answer.found is not None:
            return answer.found, self._store.costs.conditional_refused
        if not answer.applied:
            found: list[dict[str, Any] | None] = [row_of(spec, row) for row in answer.rows]
            raise CompareFailed(rows=found)
        return None, self._store.costs.conditional


def predicate_of(spec: TableSpec, item: RowExpectation) -> Predicate:
    """An expectation as stores take it."""
    if item.key is None:
        raise BadRequest("an expectation of a batch names its row's key")
    return Predicate(key=spec.row_key(item.key), exists=item.exists, equals=cells_of(spec, item.equals))
