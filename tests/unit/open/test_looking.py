"""What the doctor says of engines."""

import pytest

from polysite._open.backends import Backends
from polysite._open.looking import Looked, look_at_engines
from polysite.engines.cassandra import checks
from polysite.engines.cassandra.port import ServerFacts
from polysite.lab.engines import CassandraSpec, Engine, ZooKeeperSpec
from polysite.server.settings import load_settings

CASSANDRA = {"store.engine": "cassandra", "cassandra.contact_points": ["127.0.0.1"], "cassandra.data_center": "ams"}


def look(**flags: object) -> list[Looked]:
    return look_at_engines(load_settings(flags={**CASSANDRA, **flags}).settings)


def test_what_cannot_be_and_what_is_not_there() -> None:
    """Goal: settings that do not hold are to be mended, an engine that is away is not. Method: the embedded one, engines that do not go
    together, a section that is missing, a closed port."""
    assert look_at_engines(load_settings().settings) == []
    (found,) = look_at_engines(load_settings(flags={"cells.engine": "zookeeper"}).settings)
    assert (found.engine, found.fine) == ("engines", False)
    (found,) = look_at_engines(load_settings(flags={"store.engine": "cassandra"}).settings)
    assert (found.engine, found.fine, "[cassandra]" in found.finding) == ("cassandra", False, True)
    (found,) = look(**{"cassandra.port": 1})
    assert (found.engine, found.fine) == ("cassandra", None)


class Reached:
    """A port to a server that answers."""

    async def connect(self) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize("durable", [True, False])
def test_a_commit_log_that_does_not_wait_is_to_be_mended(durable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: an operator is told what a killed server would forget, and what to set. Method: what the check of the server finds out is given."""

    async def checked(*_: object) -> checks.ServerChecked:
        return checks.ServerChecked(ServerFacts("5.0.9", "lab", "ams", frozenset({"ams"})), durable)

    monkeypatch.setattr(Backends, "cassandra_port", lambda _: Reached())
    monkeypatch.setattr(checks, "check_server", checked)
    (found,) = look()
    assert (found.fine, "commitlog_sync to batch or group" in found.finding) == (durable, not durable)


@pytest.mark.engine("cassandra")
@pytest.mark.engine("zookeeper")
def test_engines_that_answer(cassandra_node: Engine, zookeeper_server: Engine) -> None:
    """Goal: each engine says what it is; one that is set otherwise than the settings say is to be mended. Method: a Cassandra node and a
    ZooKeeper server, once with another data center."""
    cassandra, zookeeper = cassandra_node.spec, zookeeper_server.spec
    assert isinstance(cassandra, CassandraSpec)
    assert isinstance(zookeeper, ZooKeeperSpec)
    there = {"cassandra.contact_points": [cassandra.address], "cassandra.data_center": cassandra.data_center}
    both = {"cells.engine": "zookeeper", "zookeeper.servers": [f"{zookeeper.address}:{zookeeper.port}"]}
    rows, cells = look(**there, **both)
    assert (rows.engine, rows.fine, "Paxos v2" in rows.finding) == ("cassandra", True, True)
    assert (cells.engine, cells.fine, "standalone" in cells.finding) == ("zookeeper", True, True)
    (wrong,) = look(**{**there, "cassandra.data_center": "elsewhere"})
    assert (wrong.fine, "data center" in wrong.finding) == (False, True)


@pytest.mark.engine("accord")
def test_cells_through_accord(accord_node: Engine) -> None:
    """Goal: rows and cells on the same Cassandra nodes are looked at one after the other, and it is said that the cells are an experiment."""
    spec = accord_node.spec
    assert isinstance(spec, CassandraSpec)
    there = {"cassandra.contact_points": [spec.address], "cassandra.data_center": spec.data_center}
    rows, cells = look(**there, **{"cells.engine": "accord"})
    assert (rows.engine, rows.fine, "Paxos v2" in rows.finding) == ("cassandra", True, True)
    assert (cells.engine, cells.fine, "Accord, experimental" in cells.finding) == ("accord", True, True)
