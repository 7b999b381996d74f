"""An engine as a value: what is written for it and how it is called."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polysite.lab.engines.accord import COMES_BACK, AccordSpec
from polysite.lab.engines.cassandra import MAIN_CLASS, CassandraSpec
from polysite.lab.engines.specs import Installation
from polysite.lab.engines.tools import Java
from polysite.lab.engines.zookeeper import Member, ZooKeeperSpec

INSTALLATION = Installation(jars=(Path("/jars/z.jar"), Path("/jars/a.jar")), java=Java("/java", 17, "17"))
CASSANDRA = CassandraSpec(folder="/data", address="127.0.0.9")
ZOOKEEPER = ZooKeeperSpec(folder="/data", address="127.0.0.9")


def yaml_of(spec: CassandraSpec) -> dict[str, Any]:
    """The written cassandra.yaml, read back: one JSON value a line."""
    lines = spec.files()["conf/cassandra.yaml"].splitlines()
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in lines)}


def test_what_cells_and_stores_rely_on_is_written() -> None:
    """Goal: the settings that the protocol's cost and safety rest on are in force by default."""
    written = yaml_of(CASSANDRA)
    assert written["paxos_variant"] == "v2"
    assert written["paxos_state_purging"] == "repaired"
    assert written["hinted_handoff_enabled"] is True
    assert written["hints_flush_period"] == "1000ms"
    assert written["endpoint_snitch"] == "GossipingPropertyFileSnitch"
    assert CASSANDRA.files()["conf/cassandra-rackdc.properties"] == "dc=dc1\nrack=rack1\n"


def test_a_site_of_several() -> None:
    """Goal: everything that places a Cassandra node among others is written as it was said."""
    spec = CassandraSpec(
        folder="/data", address="10.0.0.1", seeds=("10.0.0.1", "10.0.0.2"), data_center="ams", rack="r7", cluster_name="three sites",
        initial_token=100, native_port=9142, storage_port=7100, phi_convict_threshold=5, answer_ms=2500, contention_ms=1500, hints=False,
        hints_flush_ms=200,
    )  # fmt: skip
    written = yaml_of(spec)
    assert written["seed_provider"][0]["parameters"] == [{"seeds": "10.0.0.1,10.0.0.2"}]
    assert (written["listen_address"], written["rpc_address"]) == ("10.0.0.1", "10.0.0.1")
    assert (written["native_transport_port"], written["storage_port"], spec.port) == (9142, 7100, 9142)
    assert (written["initial_token"], written["num_tokens"]) == ("100", 1)
    assert written["cluster_name"] == "three sites"
    assert written["phi_convict_threshold"] == 5
    assert (written["read_request_timeout"], written["write_request_timeout"]) == ("2500ms", "2500ms")
    assert written["cas_contention_timeout"] == "1500ms"
    assert (written["hinted_handoff_enabled"], written["hints_flush_period"]) == (False, "200ms")
    assert spec.files()["conf/cassandra-rackdc.properties"] == "dc=ams\nrack=r7\n"


def test_a_node_with_accord() -> None:
    """Goal: Accord is on, its journal is in a folder of its own, and what Cassandra 6 does not know any more is left out."""
    spec = AccordSpec(folder="/data", address="127.0.0.9", accord={"journal": COMES_BACK}, settings={"num_tokens": 4})
    written = yaml_of(spec)
    assert written["accord"] == {"enabled": True, "journal_directory": "/data/accord_journal", "journal": COMES_BACK}
    assert written["num_tokens"] == 4
    command = " ".join(spec.command(INSTALLATION))
    assert "-Dcassandra.ring_delay_ms=0" in command
    assert "skip_schema_check" not in command and "rangemovement" not in command
    assert "skip_schema_check" in " ".join(CASSANDRA.command(INSTALLATION))


def test_how_the_disk_is_waited_for() -> None:
    """Goal: nothing that was acknowledged is forgotten by a killed process: `batch`, which waits for the disk, is what is written if
    nothing else is said; Cassandra refuses a period beside it, so none is."""
    assert yaml_of(msgspec.structs.replace(CASSANDRA, commitlog_sync="periodic"))["commitlog_sync_period"] == "10s"
    batch = yaml_of(CASSANDRA)
    assert batch["commitlog_sync"] == "batch"
    assert not {"commitlog_sync_period", "periodic_commitlog_sync_lag_block"} & set(batch)


def test_other_settings_win() -> None:
    """Goal: a drill can set anything."""
    written = yaml_of(msgspec.structs.replace(CASSANDRA, settings={"paxos_variant": "v1", "new": 1}))
    assert (written["paxos_variant"], written["new"]) == ("v1", 1)


def test_the_command_of_a_cassandra_node() -> None:
    """Goal: small and fast, and safe against a kill. Method: the options that make it so, the classpath in the list's order, and none of those that are
    often recommended and lose the schema or the writes of a killed process."""
    command = CASSANDRA.command(INSTALLATION, jvm=["-Dextra=1"])
    assert command[0] == "/java"
    assert command[-3:] == ["-cp", "/jars/z.jar:/jars/a.jar", MAIN_CLASS]
    assert {"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss384k", "-Dextra=1"} <= set(
        command
    )
    assert "-Dcassandra.memtable.row_overhead_size=181" in command
    assert not [
        part for part in command if "unsafesystem" in part or "flush_local_schema" in part or "javaagent" in part
    ]
    assert not [part for part in command if part.startswith("-XX:SharedArchiveFile")]


def test_the_archive_is_used() -> None:
    """Goal: an archive of loaded classes that is there is used, by both engines."""
    archived = INSTALLATION._replace(archive=Path("/cache/x.jsa"))
    for spec in (CASSANDRA, ZOOKEEPER):
        assert "-XX:SharedArchiveFile=/cache/x.jsa" in spec.command(archived)


def test_a_folder_with_spaces() -> None:
    """Goal: any folder will do. Method: where Java wants a URL it gets one, and where XML is written it stays XML."""
    spec = CassandraSpec(folder="/my data & more", address="127.0.0.9")
    assert "-Dcassandra.config=file:///my%20data%20%26%20more/conf/cassandra.yaml" in spec.command(INSTALLATION)
    assert "<file>/my data &amp; more/system.log</file>" in spec.files()["conf/logback.xml"]
    assert yaml_of(spec)["data_file_directories"] == ["/my data & more/data"]


@pytest.mark.parametrize("spec", [CassandraSpec, ZooKeeperSpec])
def test_a_relative_folder_is_refused(spec: Any) -> None:
    """Goal: the engine runs in its folder, so a relative path would be looked up twice."""
    with pytest.raises(ValueError, match="absolute path, not 'data'"):
        spec(folder="data", address="127.0.0.9")


def test_a_zookeeper_server_alone() -> None:
    """Goal: a server alone has no ensemble and no number."""
    files = ZOOKEEPER.files()
    assert "server." not in files["conf/zoo.cfg"]
    assert {"clientPortAddress=127.0.0.9", "clientPort=2181", "dataDir=/data/data", "admin.enableServer=false"} <= set(
        files["conf/zoo.cfg"].splitlines()
    )
    assert "data/myid" not in files
    assert ZOOKEEPER.command(INSTALLATION)[-1] == "/data/conf/zoo.cfg"


def test_a_zookeeper_ensemble() -> None:
    """Goal: each member knows the others and which it is."""
    members = tuple(Member(number=number, address=f"10.0.0.{number}") for number in (1, 2, 3))
    files = ZooKeeperSpec(folder="/data", address="10.0.0.2", members=members, number=2, tick_ms=2000).files()
    assert files["data/myid"] == "2\n"
    assert {"server.1=10.0.0.1:2888:3888", "server.3=10.0.0.3:2888:3888", "tickTime=2000"} <= set(
        files["conf/zoo.cfg"].splitlines()
    )


@pytest.mark.parametrize("numbers", [(1, 2), (3, 3)])
def test_a_number_that_is_nobodys_or_two_members(numbers: tuple[int, ...]) -> None:
    """Goal: an ensemble that could never form is refused before anything is started."""
    members = tuple(Member(number=number, address="10.0.0.1") for number in numbers)
    with pytest.raises(ValueError, match="number 3 must be one of the members' numbers"):
        ZooKeeperSpec(folder="/data", address="10.0.0.1", members=members, number=3)


@pytest.mark.parametrize("spec", [CASSANDRA, ZOOKEEPER])
def test_a_specification_can_be_kept(spec: Any) -> None:
    """Goal: a lab keeps its state in a file. Method: through JSON and back."""
    assert msgspec.json.decode(msgspec.json.encode(spec), type=type(spec)) == spec
