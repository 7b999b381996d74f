"""Keyspaces, tables, indexes."""

import pytest

from polysite.api import (
    Condition,
    Coordinator,
    KeyName,
    RowGet,
    RowPut,
)
from polysite.errors import (
    AlreadyExists,
    BadRequest,
    UnknownKey,
)
from polysite.testing.coordinator_contract.support import CoordinatorSuite, Place, table_spec
from polysite.values.tables import IndexSpec, KeyspaceSpec


class SchemaSuite(CoordinatorSuite):
    """Keyspaces, tables, indexes."""

    async def test_create_again(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: the same again is fine, another under the same name is refused. Method: create twice, then differently."""
        spec = table_spec(place.keyspace, "votes", "sections")
        assert await coordinator.create_keyspace(KeyspaceSpec(name=place.keyspace)) is False
        assert await coordinator.create_table(spec) is False
        with pytest.raises(AlreadyExists):
            await coordinator.create_table(table_spec(place.keyspace, "votes", "mixed"))

    async def test_what_is_there(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: what was made is listed, what was dropped is not. Method: list, drop, list."""
        assert place.keyspace in {spec.name for spec in await coordinator.keyspaces()}
        names = {spec.name for spec in await coordinator.tables(place.keyspace)}
        assert names == {"votes", "mixed", "plain", "cas", "lines", "notes"}
        assert (await coordinator.table(place.keyspace, "votes")).writes == "sections"
        assert await coordinator.drop_table(place.keyspace, "plain")
        assert not await coordinator.drop_table(place.keyspace, "plain")
        with pytest.raises(UnknownKey):
            await coordinator.table(place.keyspace, "plain")

    async def test_reserved(self, coordinator: Coordinator) -> None:
        """Goal: the reserved keyspace is out of reach. Method: make a table and a keyspace there;
        read and write rows of a table that is there."""
        with pytest.raises(BadRequest):
            await coordinator.create_keyspace(KeyspaceSpec(name="polysite"))
        with pytest.raises(BadRequest):
            await coordinator.create_table(table_spec("polysite", "mine", "eventual"))
        assert "polysite" not in {spec.name for spec in await coordinator.keyspaces()}
        row = KeyName(keyspace="polysite", table="idempotency", key={"site": "local", "request": "r"})
        for call in (
            coordinator.get(row),
            coordinator.put(row, {}),
            coordinator.delete(row),
            coordinator.section(row, [RowGet()]),
        ):
            with pytest.raises(UnknownKey):
                await call

    async def test_index(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: an index made later finds earlier rows; without it the condition is refused. Method: write, make, select."""
        for number in range(3):
            await coordinator.put(place.row(f"k{number}", "plain"), {"count": number % 2})
        where = [Condition(column="count", comparison="eq", value=0)]
        with pytest.raises(BadRequest):
            await coordinator.select(place.keyspace, "plain", where=where)
        assert await coordinator.create_index(place.keyspace, "plain", IndexSpec(name="by_count", column="count"))
        page = await coordinator.select(place.keyspace, "plain", where=where)
        assert sorted(row["id"] for row in page.rows) == ["k0", "k2"]
        assert await coordinator.drop_index(place.keyspace, "plain", "by_count")

    async def test_tickets_go_on(self, coordinator: Coordinator, place: Place) -> None:
        """Goal: a table made again does not start its tickets anew, so old fencing tokens stay old. Method: drop and make."""
        first = await coordinator.section(place.row("a"), [RowPut(columns={"count": 1})])
        await coordinator.drop_table(place.keyspace, "votes")
        await coordinator.create_table(table_spec(place.keyspace, "votes", "sections"))
        again = await coordinator.section(place.row("a"), [RowGet(), RowPut(columns={"count": 2})])
        assert again.results[0] is None
        assert again.fencing_token > first.fencing_token
