"""Whatever order writes arrive in, and however often: the same rows."""

import itertools
import weakref
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polysite.stores.contract import Store
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract.bounds import IN_ORDER
from polysite.testing.store_contract.model import PartitionModel, Seen
from polysite.testing.store_contract.support import BY_COLOUR, WIDE, StoreSuite, made, number, settable, text, wide
from polysite.values.keys import RowKey
from polysite.values.rows import (
    WHOLE_PARTITION,
    Bound,
    DeleteRange,
    DeleteRow,
    Put,
    SetPartStamp,
    Slice,
    StoredRow,
    Write,
)
from polysite.values.tables import TableSpec

ROWS = IN_ORDER[3:9]
STAMPS = st.integers(1, 7)
LIVES = st.sampled_from([None, None, None, 2_000, 5_000])
_partitions = itertools.count()
_prepared: "weakref.WeakSet[Store]" = weakref.WeakSet()
"""Stores whose table the first example has made."""

colours = st.sampled_from([None, text("red"), text("sable")])
sizes = st.sampled_from([None, number(1), number(2)])
cell_sets = st.fixed_dictionaries({}, optional={"colour": colours, "size": sizes})
bounds = st.one_of(
    st.none(),
    st.builds(lambda row, inclusive: Bound((number(row[0]),), inclusive), st.sampled_from(ROWS), st.booleans()),
    st.builds(
        lambda row, inclusive: Bound((number(row[0]), text(row[1])), inclusive), st.sampled_from(ROWS), st.booleans()
    ),
)
slices = st.one_of(st.just(WHOLE_PARTITION), st.builds(Slice, bounds, bounds))


@st.composite
def writes_to(draw: st.DrawFn, name: str) -> Write:
    """Any write to the partition `name`, with few stamps, so that ties are common."""
    kind = draw(st.sampled_from(["put", "put", "put", "put", "row", "range", "static"]))
    stamp = draw(STAMPS)
    if kind == "range":
        return DeleteRange(partition=(text(name),), slice=draw(slices), stamp=stamp)
    if kind == "static":
        return SetPartStamp(partition=(text(name),), part_stamp=draw(STAMPS), stamp=stamp)
    key = wide(name, *draw(st.sampled_from(ROWS)))
    if kind == "row":
        return DeleteRow(key=key, stamp=stamp)
    return Put(
        key=key,
        cells=draw(cell_sets),
        stamp=stamp,
        marker=draw(st.booleans()),
        life_ms=draw(LIVES),
        row_stamp=draw(st.sampled_from([None, None, stamp, max(1, stamp - 2)])),
        absent=draw(st.sampled_from([None, None, False, True])),
    )


def seen(row: StoredRow) -> Seen:
    cells = {name: (cell.value, cell.stamp) for name, cell in row.cells.items()}
    return Seen(cells, row.present, row.row_stamp, row.absent)


async def check(store: Store, table: TableSpec, model: PartitionModel, name: str, now_us: int) -> None:
    """Every way to read the partition tells what the model does."""
    part_stamp = model.part_stamp()
    expected: list[tuple[RowKey, Seen]] = []
    for place in ROWS:
        key = wide(name, *place)
        row = await store.read(table, key, "majority")
        wanted = model.row(key, now_us)
        assert seen(row) == wanted, place
        assert row.part_stamp == part_stamp
        if wanted.present:
            expected.append((key, wanted))
    for reverse in (False, True):
        page = await store.read_partition(table, (text(name),), "majority", limit=100, reverse=reverse)
        assert [(row.key, seen(row)) for row in page.rows] == (expected[::-1] if reverse else expected)
        assert (page.part_stamp, page.cursor) == (part_stamp, None)
    for index in table.indexes:
        for colour in ("red", "sable"):
            found = await _by_index(store, table, (index.column, text(colour)), name)
            assert found == [key for key, row in expected if row.cells.get("colour", (b"", 0))[0] == text(colour)]


relaxed = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


async def _by_index(store: Store, table: TableSpec, index: tuple[str, bytes], name: str) -> list[RowKey]:
    """The rows of the partition that the index finds, in the order of ROWS."""
    page = await store.scan(table, "majority", index=index, limit=10_000)
    found = {row.key for row in page.rows if row.key.partition == (text(name),)}
    return [wide(name, *place) for place in ROWS if wide(name, *place) in found]


class Scenario(NamedTuple):
    """Writes to a partition of their own, and the batches in which they arrive."""

    name: str
    writes: list[Write]
    batches: list[list[Write]]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Some writes, some of them twice, shuffled, one at a time or a few together."""
    name = f"p{next(_partitions)}"
    writes = draw(st.lists(writes_to(name), min_size=1, max_size=8))
    again = draw(st.lists(st.sampled_from(writes), max_size=3))
    order = draw(st.permutations(writes + again))
    size = draw(st.integers(1, 3))
    return Scenario(name, writes, [order[start : start + size] for start in range(0, len(order), size)])


class ConvergenceSuite(StoreSuite):
    """The state is a function of the set of writes."""

    @pytest.mark.parametrize("indexed", [False, True])
    @given(scenario=scenarios())
    @relaxed
    async def test_any_order_and_any_repetition_give_the_same_reads(
        self, store: Store, clock: SteppedClock | None, indexed: bool, scenario: Scenario
    ) -> None:
        """Random writes in a random order against a model that keeps them all; at four moments, so that lives end."""
        table = await _there(store, indexed=indexed)
        lives = clock is not None and "expiry" in store.capabilities
        kept = (lambda write: write) if lives else _for_ever
        start_us = clock.wall_us() if clock is not None else 0
        for batch in scenario.batches:
            await store.write(table, [kept(write) for write in batch], "majority")
        model = PartitionModel([kept(write) for write in scenario.writes], start_us)
        for passed_s in (0.0, 1.999, 0.001, 3.0):
            if lives:
                settable(clock).advance_s(passed_s)
            await check(store, table, model, scenario.name, start_us if clock is None else clock.wall_us())


def _for_ever(write: Write) -> Write:
    return msgspec.structs.replace(write, life_ms=None) if isinstance(write, Put) else write


async def _there(store: Store, *, indexed: bool) -> TableSpec:
    """The table, made by the first example of a store; each example has a partition of its own."""
    if store not in _prepared:
        await made(store, WIDE)
        _prepared.add(store)
        if indexed:
            await store.create_index(WIDE.keyspace, WIDE.name, BY_COLOUR)
    return await store.table(WIDE.keyspace, WIDE.name)
