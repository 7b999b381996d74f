"""The coordinator contract with rows in Cassandra 6 and lock cells there through Accord, as sites run it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from polysite.api import KeyName, RowDelete, RowExpectation, RowGet, RowPut
from polysite.cells.accord import AccordCells
from polysite.cells.contract import Cells
from polysite.clock import Runtime
from polysite.engines.cassandra.opening import cassandra_port
from polysite.errors import BadRequest, CompareFailed, LockLost
from polysite.lab.engines import Engine
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.cassandra import CassandraStore
from polysite.testing.coordinator_contract import CoordinatorContract
from polysite.testing.coordinator_contract.support import eventually, table_spec, within
from polysite.values.tables import KeyspaceSpec
from tests.support.cassandra import settings_for


class TestAccord(CoordinatorContract):
    """Rows and cells through one port."""

    @pytest.fixture
    async def coordinator(self, accord_node: Engine) -> AsyncIterator[SiteCoordinator]:
        runtime, settings = Runtime(), settings_for(accord_node, keyspace_prefix="ac_")
        port = cassandra_port(settings)
        cells: Cells = AccordCells(port, settings, clock=runtime.clock)
        store = CassandraStore(port, settings, clock=runtime.clock, accord=True)
        # A run of its own among those before it, whose rows and cells are still there.
        coordinator = SiteCoordinator(store, cells, runtime, SiteSettings(site=f"s{uuid.uuid4().hex[:8]}"))
        await coordinator.start()
        yield coordinator
        await coordinator.close()

    # tables whose sections are transactions of the engine

    @pytest.fixture
    async def stock(self, coordinator: SiteCoordinator) -> Callable[[str], KeyName]:
        """A transactional table; gives the key of a row."""
        keyspace = f"tx{uuid.uuid4().hex[:8]}"
        await coordinator.create_keyspace(KeyspaceSpec(name=keyspace))
        await coordinator.create_table(table_spec(keyspace, "stock", "transactional"))
        return lambda key: KeyName(keyspace=keyspace, table="stock", key={"id": key})

    async def test_sections_as_transactions(
        self, coordinator: SiteCoordinator, stock: Callable[[str], KeyName]
    ) -> None:
        """A section reads, expects and writes in one step; a later step sees what an earlier one wrote; tickets rise."""
        one = await coordinator.section(stock("a"), [RowGet(), RowPut(columns={"count": 1}), RowGet()])
        assert one.results[0] is None
        assert one.results[2] is not None and one.results[2]["count"] == 1
        two = await coordinator.section(
            stock("a"), [RowExpectation(equals={"count": 1}), RowPut(columns={"note": "x"}), RowGet()]
        )
        assert two.fencing_token > one.fencing_token
        row = (await coordinator.get(stock("a"), level="atomic")).row
        assert row == {"id": "a", "count": 1, "note": "x"}
        assert (await coordinator.get(stock("a"), level="quorum")).row == row
        with pytest.raises(CompareFailed) as refused:
            await coordinator.section(stock("a"), [RowExpectation(equals={"count": 9}), RowDelete()])
        assert refused.value.attributes["rows"] == [row]
        await coordinator.delete(stock("a"), level="atomic")
        assert (await coordinator.get(stock("a"), level="atomic")).row is None

    async def test_transactions_at_once_lose_nothing(
        self, coordinator: SiteCoordinator, stock: Callable[[str], KeyName]
    ) -> None:
        """Method: tasks raise one counter, each by what it has read, and again when somebody else was quicker."""
        await coordinator.put(stock("n"), {"count": 0}, level="atomic")

        async def raise_by_one() -> None:
            while True:
                row = (await coordinator.get(stock("n"), level="atomic")).row
                assert row is not None
                try:
                    await coordinator.section(
                        stock("n"),
                        [RowExpectation(equals={"count": row["count"]}), RowPut(columns={"count": row["count"] + 1})],
                    )
                    return
                except CompareFailed:
                    continue

        await within(asyncio.gather(*(raise_by_one() for _ in range(6))))
        row = (await coordinator.get(stock("n"), level="atomic")).row
        assert row is not None and row["count"] == 6

    async def test_a_lock_held_on_a_transactional_table(
        self, coordinator: SiteCoordinator, stock: Callable[[str], KeyName]
    ) -> None:
        """Gets and puts under a reference, and none once it was preempted; a section waits until a lock is let go."""
        lock = await coordinator.acquire([stock("a")], read=True)
        assert lock.rows == [None]
        for count in (1, 2):
            await coordinator.put(stock("a"), {"count": count}, level="critical", reference=lock.reference)
        row = (await coordinator.get(stock("a"), level="critical", reference=lock.reference)).row
        assert row is not None and row["count"] == 2
        waiting = asyncio.create_task(
            coordinator.section(stock("a"), [RowGet(), RowPut(columns={"count": 3})], wait_ms=20_000)
        )
        await eventually(lambda: _queued(coordinator, stock("a"), 2))
        assert (await coordinator.release(lock.reference)).validated
        answer = await within(waiting)
        assert answer.results[0] is not None and answer.results[0]["count"] == 2
        lock = await coordinator.acquire([stock("a")], wait_ms=20_000)
        await coordinator.preempt(stock("a"))
        with pytest.raises(LockLost):
            await coordinator.put(stock("a"), {"count": 9}, level="critical", reference=lock.reference)
        row = (await coordinator.get(stock("a"), level="atomic")).row
        assert row is not None and row["count"] == 3

    async def test_what_a_transactional_table_refuses(
        self, coordinator: SiteCoordinator, stock: Callable[[str], KeyName]
    ) -> None:
        """No plain write is taken, and no idempotency key: each with the reason."""
        for level in ("eventual", "quorum"):
            with pytest.raises(BadRequest, match="critical sections only"):
                await coordinator.put(stock("a"), {"count": 1}, level=level)
        with pytest.raises(BadRequest, match="no idempotency key"):
            await coordinator.section(stock("a"), [RowPut(columns={"count": 1})], idempotency_key="k")
        assert (await coordinator.get(stock("a"), level="atomic")).row is None


async def _queued(coordinator: SiteCoordinator, key: KeyName, count: int) -> bool:
    await asyncio.sleep(0.02)
    return len((await coordinator.queue(key)).entries) == count
