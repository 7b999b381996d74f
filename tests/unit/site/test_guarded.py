"""A read or write under a held reference as the engine's step decides it."""

from typing import Any, NamedTuple, cast

import pytest

from polysite.core import lock_cell
from polysite.core.plans import DeleteIntent, Intent, PutIntent, RangeIntent
from polysite.errors import BadRequest, LockLost
from polysite.site.context import SiteContext
from polysite.site.guarded import Guarded
from polysite.site.sessions import Sessions
from polysite.stores.contract import CellEffect
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, StoredRow
from polysite.values.tables import ColumnSpec, TableSpec

pytestmark = pytest.mark.anyio

TABLE = TableSpec(
    keyspace="ks",
    name="t",
    columns=(ColumnSpec("id", "text"), ColumnSpec("n", "int"), ColumnSpec("count", "text")),
    partition_key=("id",),
    writes="transactional",
)
A, B = RowKey((b"a",)), RowKey((b"b",))
TICKET, NONCE = 7, bytes(15) + b"n"


def cell_of(*entries: tuple[int, bytes]) -> bytes:
    """A cell with these exclusive entries (ticket, nonce), the first of them the head."""
    queue = tuple(
        lock_cell.Entry(ticket, bytes(16), nonce, bytes(16), "exclusive", "s", "p", "1", 5_000)
        for ticket, nonce in entries
    )
    return lock_cell.encode(lock_cell.LockCell(issued=9, floor=2**52, fence=0, queue=queue))


class Core:
    table, ticket, nonce = TABLE, TICKET, NONCE

    def transacts(self, writes: int) -> int:
        return 100 if writes else 0


class State:
    encoded = b"key"

    def __init__(self) -> None:
        self.views: list[int] = []

    def take_view(self, version: int, cell: Any) -> bool:
        self.views.append(version)
        return True


class Live:
    def __init__(self) -> None:
        self.core, self.state = Core(), State()


class Costs(NamedTuple):
    read: float = 1


class Engine:
    """The store, the cells and whoever is told of views; `cells` are what the steps find, one after the other."""

    costs = Costs()

    def __init__(self, *cells: bytes) -> None:
        self._found = cells
        self.reads: list[RowKey] = []
        self.effects: list[CellEffect | None] = []
        self.told = 0

    @property
    def store(self) -> "Engine":
        return self

    cells = store

    async def joint_step(self, key: bytes, reads: Any, decide: Any) -> bool:
        self.reads = [row_key for _, row_key in reads]
        rows = [StoredRow(row_key, {}, False) for row_key in self.reads]
        self.effects = [decide(version, cell, rows) for version, cell in enumerate(self._found, 3)]
        return self.effects[-1] is not None

    def seen(self, _state: Any) -> None:
        self.told += 1


def guarded(engine: Engine) -> Guarded:
    return Guarded(cast(SiteContext, engine), cast(Sessions, engine))


async def test_a_write_expects_the_rows_that_it_writes() -> None:
    """One that was left unanswered and comes late must find another row: so every row that is written is a row that is read."""
    engine, live = Engine(cell_of((TICKET, NONCE))), Live()
    intents: list[Intent] = [PutIntent(A, {"count": b"1"}), DeleteIntent(B), PutIntent(A, {"n": None})]
    stamp, trips = await guarded(engine).batch(cast(Any, live), intents)
    assert (stamp, trips) == (102, 1)
    assert engine.reads == [A, B]
    (effect,) = engine.effects
    assert effect is not None and effect.content is None, "the cell stays as it is"
    assert [write.stamp for item in effect.writes for write in item.writes] == [100, 101, 102]
    assert (live.state.views, engine.told) == ([3], 1)


@pytest.mark.parametrize(
    "cell",
    [cell_of(), cell_of((8, NONCE)), cell_of((TICKET, bytes(16))), cell_of((5, bytes(16)), (TICKET, NONCE))],
    ids=["nobody", "another", "taken over", "waiting"],
)
async def test_whoever_does_not_hold_does_nothing(cell: bytes) -> None:
    """What counts is the cell that the transaction finds, not what was near."""
    engine, live = Engine(cell_of((TICKET, NONCE)), cell), Live()
    with pytest.raises(LockLost):
        await guarded(engine).batch(cast(Any, live), [PutIntent(A, {"count": b"1"})])
    assert engine.effects[-1] is None
    with pytest.raises(LockLost):
        await guarded(engine).get(cast(Any, live), A)


async def test_what_a_get_waits_for() -> None:
    """It is decided on what is near and then on how things stand, which is the one round trip; nothing is written."""
    engine = Engine(cell_of(), cell_of((TICKET, NONCE)))
    row, trips = await guarded(engine).get(cast(Any, Live()), A)
    assert (row.key, trips, engine.effects) == (A, 1, [None, None])


async def test_ranges_are_refused() -> None:
    """Nothing is sent."""
    engine = Engine(cell_of((TICKET, NONCE)))
    with pytest.raises(BadRequest):
        await guarded(engine).batch(cast(Any, Live()), [RangeIntent((b"a",), WHOLE_PARTITION)])
    assert engine.reads == []
