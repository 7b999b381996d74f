"""What the cases of the coordinator contract share."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from polysite.api import (
    Coordinator,
    KeyName,
)
from polysite.values.tables import ClusteringColumn, ColumnSpec, IndexSpec, KeyspaceSpec, TableSpec, Writes

T = TypeVar("T")

LIMIT_S = 20.0
_numbers = itertools.count(1)


async def within(work: Awaitable[T], limit_s: float = LIMIT_S) -> T:
    """What `work` gives, or a failure if it takes too long."""
    return await asyncio.wait_for(work, limit_s)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, letting the loop go round in between, until it holds; a failure if it takes too long."""

    async def ask() -> None:
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0)

    await within(ask())


class Place:
    """A keyspace with one table per way of writing."""

    def __init__(self, coordinator: Coordinator, keyspace: str) -> None:
        self.coordinator = coordinator
        self.keyspace = keyspace

    def row(self, key: str, table: str = "votes") -> KeyName:
        return KeyName(keyspace=self.keyspace, table=table, key={"id": key})

    def line(self, key: str, number: int, table: str = "lines") -> KeyName:
        return KeyName(keyspace=self.keyspace, table=table, key={"id": key, "number": number})

    async def count(self, key: str, level: Any = "eventual", table: str = "votes", **more: Any) -> int | None:
        row = (await self.coordinator.get(self.row(key, table), level=level, **more)).row
        return None if row is None else row["count"]


def table_spec(keyspace: str, name: str, writes: Writes) -> TableSpec:
    """A table with one key column."""
    columns = (ColumnSpec("id", "text"), ColumnSpec("count", "int"), ColumnSpec("note", "text"))
    return TableSpec(keyspace=keyspace, name=name, columns=columns, partition_key=("id",), writes=writes)


def lines_spec(keyspace: str, name: str = "lines", writes: Writes = "sections") -> TableSpec:
    """A table with rows in order, an index, and one lock per partition."""
    return TableSpec(
        keyspace=keyspace,
        name=name,
        columns=(ColumnSpec("id", "text"), ColumnSpec("number", "int"), ColumnSpec("text", "text")),
        partition_key=("id",),
        clustering_key=(ClusteringColumn("number"),),
        indexes=(IndexSpec(name="by_text", column="text"),),
        writes=writes,
    )


class CoordinatorSuite:
    """What the cases share: the fixture `coordinator` comes from whoever runs them."""

    @pytest.fixture
    async def place(self, coordinator: Coordinator) -> AsyncIterator[Place]:
        keyspace = f"contract{next(_numbers)}"
        assert await coordinator.create_keyspace(KeyspaceSpec(name=keyspace))
        for name, writes in (("votes", "sections"), ("mixed", "mixed"), ("plain", "eventual"), ("cas", "conditional")):
            assert await coordinator.create_table(table_spec(keyspace, name, writes))  # type: ignore[arg-type]
        assert await coordinator.create_table(lines_spec(keyspace))
        assert await coordinator.create_table(lines_spec(keyspace, "notes", "eventual"))
        yield Place(coordinator, keyspace)
        await coordinator.drop_keyspace(keyspace)
