"""Slices of a partition: order, directions, prefixes, inclusive and exclusive ends."""

import itertools

import pytest

from polysite.errors import BadRequest
from polysite.stores.contract import PAGE_ROWS_MAX, Store
from polysite.testing.store_contract.support import (
    KEYSPACE,
    WIDE,
    StoreSuite,
    made,
    need,
    number,
    put,
    text,
    wide,
    years,
)
from polysite.values.keys import RowKey
from polysite.values.rows import Bound, DeleteRange, Put, Slice
from polysite.values.tables import ClusteringColumn, ColumnSpec, TableSpec
from polysite.values.types import parse_type

YEARS = (-7, 0, 3, 12)
TITLES = ("", "a", "ab", "b")
IN_ORDER = [(year, title) for year in sorted(YEARS, reverse=True) for title in sorted(TITLES)]

BOUNDS: list[tuple[int, str | None, bool] | None] = [
    None,
    (3, None, True),
    (3, None, False),
    (3, "ab", True),
    (3, "ab", False),
    (5, None, True),
    (12, "b", False),
    (-7, "", True),
]


def bound(end: tuple[int, str | None, bool] | None) -> Bound | None:
    if end is None:
        return None
    year, title, inclusive = end
    return Bound((number(year),) if title is None else (number(year), text(title)), inclusive)


def starts(row: tuple[int, str], end: tuple[int, str | None, bool]) -> int:
    """Where a row stands to a bound in clustering order: before (-1), starting with it (0), after (1)."""
    year, title, _ = end
    if row[0] != year:
        return -1 if row[0] > year else 1
    if title is None or row[1] == title:
        return 0
    return -1 if row[1] < title else 1


def within(
    row: tuple[int, str], lower: tuple[int, str | None, bool] | None, upper: tuple[int, str | None, bool] | None
) -> bool:
    if lower is not None and (starts(row, lower) < 0 or (starts(row, lower) == 0 and not lower[2])):
        return False
    return not (upper is not None and (starts(row, upper) > 0 or (starts(row, upper) == 0 and not upper[2])))


class BoundsSuite(StoreSuite):
    """Year descending, then title ascending."""

    async def test_every_pair_of_bounds_both_ways(self, store: Store) -> None:
        """All slices between a choice of ends, against the order worked out by hand; also those that are empty."""
        await made(store, WIDE)
        await store.write(WIDE, [put(wide("a", *row), 5) for row in reversed(IN_ORDER)], "majority")
        await store.write(WIDE, [put(wide("other", *row), 5) for row in IN_ORDER], "majority")
        for lower, upper in itertools.product(BOUNDS, BOUNDS):
            expected = [row for row in IN_ORDER if within(row, lower, upper)]
            for reverse in (False, True):
                page = await store.read_partition(
                    WIDE, (text("a"),), "majority", slice=Slice(bound(lower), bound(upper)), limit=100, reverse=reverse
                )
                keys = [wide("a", *row) for row in (reversed(expected) if reverse else expected)]
                assert [row.key for row in page.rows] == keys, (lower, upper, reverse)
                assert page.cursor is None

    async def test_every_pair_of_bounds_deletes_what_it_reads(self, store: Store) -> None:
        """The same slices as range tombstones: what is left is what the slice does not have."""
        await made(store, WIDE)
        for at, (lower, upper) in enumerate(itertools.product(BOUNDS, BOUNDS)):
            name = f"p{at}"
            await store.write(WIDE, [put(wide(name, *row), 5) for row in IN_ORDER], "majority")
            part = Slice(bound(lower), bound(upper))
            await store.write(WIDE, [DeleteRange(partition=(text(name),), slice=part, stamp=6)], "majority")
            page = await store.read_partition(WIDE, (text(name),), "majority", limit=100)
            left = [wide(name, *row) for row in IN_ORDER if not within(row, lower, upper)]
            assert [row.key for row in page.rows] == left, (lower, upper)

    @pytest.mark.parametrize("direction", ["asc", "desc"])
    @pytest.mark.parametrize(
        ("spelling", "values"),
        [
            ("bigint", [-(2**63), -1, 0, 1, 2**40]),
            ("blob", [b"", b"\x00", b"\x00\x01", b"\x01", b"\xff", b"\xff\x00", b"\xff\xff"]),
            ("text", ["", "\x00", "a", "a\x00", "aa", "b", "\U0010ffff"]),
            ("double", [float("-inf"), -1.5, 0.0, 2.25, float("inf")]),
            ("varint", [-(10**30), -1, 0, 255, 256, 10**30]),
            ("boolean", [False, True]),
        ],
    )
    async def test_types_in_their_order(
        self, store: Store, direction: str, spelling: str, values: list[object]
    ) -> None:
        """A column of each kind, kept in either direction: rows come as the values were listed, or the other way round."""
        cql_type = parse_type(spelling)
        spec = TableSpec(
            keyspace=KEYSPACE,
            name=f"of_{spelling}_{direction}",
            columns=(ColumnSpec("name", "text"), ColumnSpec("place", spelling), ColumnSpec("after", "int")),
            partition_key=("name",),
            clustering_key=(
                ClusteringColumn("place", "desc" if direction == "desc" else "asc"),
                ClusteringColumn("after"),
            ),
        )
        await made(store, spec)
        keys = [RowKey((text("a"),), (cql_type.serialise(value), number(at))) for value in values for at in (1, 2)]
        await store.write(spec, [Put(key=key, cells={}, stamp=5) for key in keys[::-1]], "majority")
        page = await store.read_partition(spec, (text("a"),), "majority", limit=100)
        wanted = values if direction == "asc" else values[::-1]
        assert [cql_type.deserialise(row.key.clustering[0]) for row in page.rows][::2] == wanted
        for value in values:
            data = cql_type.serialise(value)
            one = Slice(Bound((data,), True), Bound((data,), True))
            page = await store.read_partition(spec, (text("a"),), "majority", slice=one, limit=100)
            assert [row.key.clustering for row in page.rows] == [(data, number(1)), (data, number(2))]

    async def test_a_slice_that_cannot_be_is_refused(self, store: Store) -> None:
        """More components than the key has; limits outside their bounds; a partition of too many columns."""
        await made(store, WIDE)
        long = Slice(Bound((number(1), text("a"), text("b")), True), None)
        with pytest.raises(BadRequest):
            await store.read_partition(WIDE, (text("a"),), "local", slice=long, limit=10)
        with pytest.raises(BadRequest):
            await store.read_partition(WIDE, (text("a"), text("b")), "local", limit=10)
        for limit in (0, -1, PAGE_ROWS_MAX + 1):
            with pytest.raises(BadRequest):
                await store.read_partition(WIDE, (text("a"),), "local", limit=limit)
            with pytest.raises(BadRequest):
                await store.scan(WIDE, "local", limit=limit)

    async def test_a_page_is_one_moment_of_the_partition(self, store: Store) -> None:
        """Each page shows all of a batch or none of it."""
        await made(store, WIDE)
        need(store)
        for stamp in range(1, 20):
            await store.write(WIDE, [put(wide("a", year), stamp, size=stamp) for year in range(8)], "majority")
            page = await store.read_partition(WIDE, (text("a"),), "majority", limit=100)
            assert {row.cells["size"].value for row in page.rows} == {number(stamp)}
            assert years(page.rows) == list(range(7, -1, -1))
