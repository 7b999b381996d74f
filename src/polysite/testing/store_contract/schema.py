"""Keyspaces and tables."""

import pytest

from polysite.errors import AlreadyExists, BadRequest, UnknownKey
from polysite.stores.contract import Store
from polysite.testing.store_contract.support import (
    BY_COLOUR,
    FLAT,
    KEYSPACE,
    WIDE,
    StoreSuite,
    flat,
    made,
    put,
    shown,
)
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec


class SchemaSuite(StoreSuite):
    """What is made is there, once, as it was made."""

    async def test_keyspaces_are_made_once(self, store: Store) -> None:
        """Made, there already, different; and all of them by name."""
        await store.drop_keyspace(KEYSPACE)
        assert await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        assert not await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        with pytest.raises(AlreadyExists):
            await store.create_keyspace(KeyspaceSpec(name=KEYSPACE, replicas={"here": 3}))
        await store.create_keyspace(KeyspaceSpec(name="another"))
        names = [spec.name for spec in await store.keyspaces()]
        assert [name for name in names if name in {"another", KEYSPACE}] == ["another", KEYSPACE]

    async def test_dropping_a_keyspace_drops_its_tables(self, store: Store) -> None:
        """Drop one with a table; make both again; the rows are gone."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")
        assert await store.drop_keyspace(KEYSPACE)
        assert not await store.drop_keyspace(KEYSPACE)
        with pytest.raises(UnknownKey):
            await store.tables(KEYSPACE)
        await made(store, FLAT)
        assert not (await store.read(FLAT, flat("a"), "majority")).present

    async def test_tables_are_made_once(self, store: Store) -> None:
        """Made, there already, different, without a keyspace; the spec comes back equal."""
        await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        await store.drop_table(KEYSPACE, "wide")
        assert await store.create_table(WIDE)
        assert not await store.create_table(WIDE)
        other = TableSpec(
            keyspace=KEYSPACE, name="wide", columns=(*WIDE.columns, ColumnSpec("more", "blob")), partition_key=("name",)
        )
        with pytest.raises(AlreadyExists):
            await store.create_table(other)
        with pytest.raises(UnknownKey):
            await store.create_table(
                TableSpec(keyspace="nowhere", name="t", columns=FLAT.columns, partition_key=("name",))
            )
        assert await store.table(KEYSPACE, "wide") == WIDE

    async def test_an_index_is_part_of_the_table(self, store: Store) -> None:
        """A table that differs in its indexes differs."""
        await made(store, FLAT)
        await store.create_index(KEYSPACE, "flat", BY_COLOUR)
        assert (await store.table(KEYSPACE, "flat")).indexes == (BY_COLOUR,)
        with pytest.raises(AlreadyExists):
            await store.create_table(FLAT)

    async def test_tables_are_listed_by_name(self, store: Store) -> None:
        """Two tables, made in the other order."""
        await store.drop_keyspace(KEYSPACE)
        await made(store, WIDE)
        await made(store, FLAT)
        assert await store.tables(KEYSPACE) == [FLAT, WIDE]
        with pytest.raises(UnknownKey):
            await store.tables("nowhere")

    async def test_a_table_that_cannot_be_is_refused(self, store: Store) -> None:
        """Names and columns that are polysite's own."""
        await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        hidden = TableSpec(
            keyspace=KEYSPACE, name="t", columns=(ColumnSpec("polysite_x", "text"),), partition_key=("polysite_x",)
        )
        with pytest.raises(BadRequest):
            await store.create_table(hidden)
        with pytest.raises(BadRequest):
            await store.create_keyspace(KeyspaceSpec(name="no good"))

    async def test_a_dropped_table_is_gone(self, store: Store) -> None:
        """Whatever is asked of it afterwards is refused as unknown."""
        await made(store, FLAT)
        assert await store.drop_table(KEYSPACE, "flat")
        assert not await store.drop_table(KEYSPACE, "flat")
        with pytest.raises(UnknownKey):
            await store.table(KEYSPACE, "flat")
        with pytest.raises(UnknownKey):
            await store.read(FLAT, flat("a"), "local")
        with pytest.raises(UnknownKey):
            await store.write(FLAT, [put(flat("a"), 5)], "local")
        with pytest.raises(UnknownKey):
            await store.scan(FLAT, "local", limit=10)

    async def test_a_table_made_again_starts_from_nothing(self, store: Store) -> None:
        """Neither rows nor tombstones of the one before it are felt. Where the engine tells makings apart, it is another."""
        await made(store, FLAT)
        await store.write(FLAT, [put(flat("a"), 500, colour="red")], "majority")
        before = await store.table(KEYSPACE, "flat")
        await made(store, FLAT)
        after = await store.table(KEYSPACE, "flat")
        assert after == before == FLAT
        assert after.making != before.making or after.making == 0
        await store.write(FLAT, [put(flat("a"), 5, colour="blue")], "majority")
        assert shown(await store.read(FLAT, flat("a"), "majority")) == {"colour": "blue"}

    async def test_what_is_known_of_a_table_is_what_the_store_says(self, store: Store) -> None:
        """Asked without waiting: nothing, or the very table, its making included; never one whose dropping was answered."""
        await store.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        await store.drop_table(KEYSPACE, "flat")
        assert store.known_table(KEYSPACE, "flat") is None
        for _ in range(2):
            assert await store.create_table(FLAT)
            await _check_known(store)
            await store.create_index(KEYSPACE, "flat", BY_COLOUR)
            await _check_known(store)
            await store.drop_index(KEYSPACE, "flat", BY_COLOUR.name)
            await _check_known(store)
            assert await store.drop_table(KEYSPACE, "flat")
            assert store.known_table(KEYSPACE, "flat") is None
        await made(store, FLAT)
        await _check_known(store)
        assert await store.drop_keyspace(KEYSPACE)
        assert store.known_table(KEYSPACE, "flat") is None
        assert store.known_table("nowhere", "flat") is None

    async def test_a_table_of_other_columns_is_not_taken_for_the_old_one(self, store: Store) -> None:
        """Who still holds the old spec is told, and reads nothing wrong."""
        await made(store, FLAT)
        other = TableSpec(
            keyspace=KEYSPACE, name="flat", columns=(*FLAT.columns, ColumnSpec("more", "int")), partition_key=("name",)
        )
        await made(store, other)
        with pytest.raises(UnknownKey):
            await store.write(FLAT, [put(flat("a"), 5, colour="red")], "majority")


async def _check_known(store: Store) -> None:
    """What is known of FLAT now, before and after it was asked for, is what the store says."""
    known = store.known_table(KEYSPACE, "flat")
    spec = await store.table(KEYSPACE, "flat")
    for seen in (known, store.known_table(KEYSPACE, "flat")):
        assert seen is None or (seen, seen.making) == (spec, spec.making)
