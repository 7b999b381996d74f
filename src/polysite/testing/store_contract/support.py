"""Tables, keys and writes that the suites are made of."""

import pytest

from polysite.cells.contract import Cells
from polysite.stores.contract import Store, StoreCapability
from polysite.testing.stepped_clock import SteppedClock
from polysite.values.keys import RowKey
from polysite.values.rows import Put, StoredRow
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, KeyspaceSpec, TableSpec
from polysite.values.types import parse_type

KEYSPACE = "contract"

FLAT = TableSpec(
    keyspace=KEYSPACE,
    name="flat",
    columns=(ColumnSpec("name", "text"), ColumnSpec("colour", "text"), ColumnSpec("size", "int")),
    partition_key=("name",),
    writes="mixed",
)
"""One row per partition."""

WIDE = TableSpec(
    keyspace=KEYSPACE,
    name="wide",
    columns=(
        ColumnSpec("name", "text"),
        ColumnSpec("year", "int"),
        ColumnSpec("title", "text"),
        ColumnSpec("colour", "text"),
        ColumnSpec("size", "int"),
    ),
    partition_key=("name",),
    clustering_key=(ClusteringColumn("year", "desc"), ClusteringColumn("title")),
    writes="mixed",
)
"""Rows of a partition in order of year, the latest first, then of title."""

CONDITIONAL = TableSpec(
    keyspace=KEYSPACE,
    name="conditional",
    columns=WIDE.columns,
    partition_key=WIDE.partition_key,
    clustering_key=WIDE.clustering_key,
    writes="conditional",
)

BY_COLOUR = IndexSpec(name="by_colour", column="colour")
BY_TITLE = IndexSpec(name="by_title", column="title")

_TEXT = parse_type("text")
_INT = parse_type("int")


def text(value: str) -> bytes:
    return _TEXT.serialise(value)


def number(value: int) -> bytes:
    return _INT.serialise(value)


def flat(name: str) -> RowKey:
    return RowKey((text(name),))


def wide(name: str, year: int, title: str = "t") -> RowKey:
    return RowKey((text(name),), (number(year), text(title)))


def put(
    key: RowKey, stamp: int, *, life_ms: int | None = None, marker: bool = True, **columns: str | int | None
) -> Put:
    """A put of `colour` and `size`, whichever are named."""
    cells = {name: _bytes(value) for name, value in columns.items()}
    return Put(key=key, cells=cells, stamp=stamp, marker=marker, life_ms=life_ms)


def _bytes(value: str | int | None) -> bytes | None:
    if value is None:
        return None
    return number(value) if isinstance(value, int) else text(value)


def shown(row: StoredRow) -> dict[str, object]:
    """The columns of a row that have a value."""
    types = WIDE.types
    return {name: types[name].deserialise(cell.value) for name, cell in sorted(row.cells.items())}


def years(rows: list[StoredRow]) -> list[int]:
    """The year of each row of WIDE."""
    found = [_INT.deserialise(row.key.clustering[0]) for row in rows]
    return [int(str(year)) for year in found]


def need(store: Store, *capabilities: StoreCapability) -> None:
    """Skip the test, naming what the engine lacks."""
    for capability in capabilities:
        if capability not in store.capabilities:
            pytest.skip(f"{store.name} lacks the capability {capability}")


def settable(clock: SteppedClock | None) -> SteppedClock:
    """The clock, or a skip if the engine has one of its own."""
    if clock is None:
        pytest.skip("the engine's clock cannot be set")
    return clock


async def made(store: Store, spec: TableSpec) -> TableSpec:
    """The table, empty."""
    await store.create_keyspace(KeyspaceSpec(name=spec.keyspace))
    await store.drop_table(spec.keyspace, spec.name)
    assert await store.create_table(spec)
    return spec


class StoreSuite:
    """What every suite has: the fixtures, and anyio to run coroutines."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def clock(self) -> SteppedClock | None:
        """The clock of the engine under test."""
        return SteppedClock()

    @pytest.fixture
    def cells(self, store: Store) -> Cells:
        """The cells of the same engine, where it has `joint`."""
        need(store, "joint")
        pytest.skip(f"no cells are given for {store.name}")
