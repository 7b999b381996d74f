"""Cells start on a real Cassandra only if it is set up as they need it; else the error says what to do."""

from pathlib import Path

import pytest

from polysite.cells.cassandra import CassandraCells
from polysite.clock import SystemClock
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import BadRequest, Unavailable
from polysite.lab.engines import CassandraSpec, Engine, free_address, start
from tests.support.cassandra import settings_for
from tests.support.engines import require, running

pytestmark = [pytest.mark.anyio, pytest.mark.engine("cassandra")]


async def started(settings: CassandraSettings) -> CassandraCells:
    """Cells that started, and were closed again."""
    cells = CassandraCells(cassandra_port(settings), settings, clock=SystemClock())
    try:
        await cells.start()
    finally:
        await cells.close()
    return cells


async def test_what_is_missing_is_made_or_told(cassandra_node: Engine) -> None:
    """Without `create` a missing keyspace is an error, and a missing table; with it both are made once, and found afterwards."""
    settings = settings_for(cassandra_node, keyspace_prefix="start_", create=False)
    with pytest.raises(BadRequest, match="the keyspace start_polysite_cells is missing"):
        await started(settings)
    made = await started(settings_for(cassandra_node, keyspace_prefix="start_"))
    assert "local_view" in made.capabilities
    assert "durable" in made.capabilities  # its commit log waits for the disk
    await started(settings)
    port = cassandra_port(settings)
    await port.connect()
    await port.define("DROP TABLE start_polysite_cells.cells")
    with pytest.raises(BadRequest, match=r"the table start_polysite_cells\.cells is missing"):
        await started(settings)
    await port.define("CREATE TABLE start_polysite_cells.cells (key text PRIMARY KEY, version bigint, content blob)")
    with pytest.raises(BadRequest, match="has other columns"):
        await started(settings)
    await port.define("DROP KEYSPACE start_polysite_cells")
    await port.close()


async def test_settings_that_do_not_fit_the_cluster(cassandra_node: Engine) -> None:
    """A data center that is not there, another data center's contact point, another replication, too little patience: each is told."""
    await started(settings_for(cassandra_node))
    with pytest.raises(BadRequest, match=r"is replicated as \{'dc1': '1'\}, the settings say \{'dc1': '2'\}"):
        await started(settings_for(cassandra_node, replicas={"dc1": 2}))
    with pytest.raises(BadRequest, match=r"Cassandra knows the data centers \['dc1'\]"):
        await started(settings_for(cassandra_node, replicas={"dc1": 1, "bei": 1}, keyspace_prefix="other_"))
    with pytest.raises(BadRequest, match="in the data center 'dc1', but data_center says 'bei'"):
        await started(settings_for(cassandra_node, data_center="bei"))
    with pytest.raises(BadRequest, match="range_request_timeout of Cassandra 10000 ms"):
        await started(settings_for(cassandra_node, request_ms=5_000))


@pytest.mark.parametrize("driver", ["cassandra-driver", "acsylla"])
async def test_nobody_is_there(driver: str) -> None:
    """Without a server at the contact points the start is `Unavailable`, in words that say what to check."""
    spec = CassandraSpec(folder="/nowhere", address=free_address((9042,)))
    settings = CassandraSettings(contact_points=[spec.address], data_center="dc1", driver=driver)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="check contact_points, port and TLS"):
        await started(settings)


async def test_an_old_kind_of_agreement_is_refused(tmp_path: Path) -> None:
    """Cassandra as it is delivered, with Paxos v1 and legacy purging, is refused with the line to write into cassandra.yaml."""
    spec = CassandraSpec(
        folder=str(tmp_path), address=free_address((9042, 7000)), paxos_variant="v1", paxos_state_purging="legacy"
    )
    with (
        running(start(spec, require("cassandra"))) as engine,
        pytest.raises(BadRequest, match="set `paxos_variant: v2` in the cassandra"),
    ):
        await started(settings_for(engine))
