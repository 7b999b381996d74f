"""Engines as the lab starts them, for real: they come up and answer, say why when they do not, and never stay behind."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from polysite.lab.engines import CassandraSpec, Engine, EngineEnded, ZooKeeperSpec, free_address, start
from polysite.lab.engines.probes import ask_cassandra
from tests.support.engines import require, running
from tests.support.source import ROOT

GONE_S = 30


@pytest.mark.engine("cassandra")
def test_a_cassandra_node_comes_up_and_answers(cassandra_node: Engine) -> None:
    """Goal: the fixture is a serving Cassandra node that is as it was asked to be. Method: ask it in its own protocol, read its log."""
    assert cassandra_node.is_alive()
    assert cassandra_node.standing().lacks(()) == ""
    assert cassandra_node.standing().lacks(["192.0.2.1"]) == "it does not list 192.0.2.1 yet"
    log = cassandra_node.log()
    assert "paxos_variant=v2" in log and "paxos_state_purging=repaired" in log and "hints_flush_period=1000ms" in log


@pytest.mark.engine("cassandra")
def test_a_bad_setting_is_told(tmp_path: Path) -> None:
    """Goal: whoever misconfigures an engine reads why it died, at once. Method: a variant of Paxos that there is not; the error comes long before the
    limit and names it."""
    spec = CassandraSpec(
        folder=str(tmp_path), address=free_address((9042, 7000)), settings={"paxos_variant": "v3", "cluster_name": "x"}
    )
    engine = start(spec, require("cassandra"))
    try:
        with pytest.raises(EngineEnded, match="ended while it started") as caught:
            engine.wait_ready(wait_s=100)
    finally:
        engine.kill()
    assert "v3" in caught.value.message and "paxos_variant" in caught.value.message
    assert "\tat " not in caught.value.message


@pytest.mark.engine("zookeeper")
def test_the_last_words_are_of_this_start(tmp_path: Path) -> None:
    """Goal: an engine that dies at its second start is not explained by what it wrote at its first. Method: the same folder with one setting that is no
    number, then with another."""
    spec = ZooKeeperSpec(folder=str(tmp_path), address=free_address((2181,)))
    told = ""
    for wrong in ("never", "nowhere"):
        engine = start(msgspec.structs.replace(spec, settings={"tickTime": wrong}), require("zookeeper"))
        try:
            with pytest.raises(EngineEnded, match=wrong) as caught:
                engine.wait_ready(wait_s=60)
        finally:
            engine.kill()
        told = caught.value.message
    assert "never" in engine_log(tmp_path) and "never" not in told


def engine_log(folder: Path) -> str:
    return (folder / "system.log").read_text()


@pytest.mark.engine("zookeeper")
def test_a_zookeeper_server_comes_up_and_answers(zookeeper_server: Engine) -> None:
    """Goal: the fixture is a serving ZooKeeper, alone. Method: its own word `srvr`."""
    assert zookeeper_server.standing().mode == "standalone"


@pytest.mark.engine("zookeeper")
def test_stopping_freezing_and_killing(tmp_path: Path) -> None:
    """Goal: an engine can be stopped, frozen and killed, each seen from outside, and what it kept is there after the next start. Method: one
    small server through all of it."""
    spec = ZooKeeperSpec(folder=str(tmp_path), address=free_address((2181,)))
    installation = require("zookeeper")
    with running(start(spec, installation)) as engine:
        engine.freeze()
        assert engine.is_alive()
        assert "timed out" in spec.ask().flaw
        engine.thaw()
        assert engine.wait_ready(wait_s=30).mode == "standalone"
        engine.freeze()
        assert engine.stop(wait_s=30), "a frozen one was not woken to end"
        assert not engine.is_alive()
        assert "refused" in engine.standing().flaw
    with running(start(spec, installation)) as engine:
        engine.kill()
        assert not engine.is_alive()
        engine.kill()
    assert (tmp_path / "data" / "version-2").is_dir()


@pytest.mark.engine("zookeeper")
def test_an_engine_behind_a_prefix_is_asked_behind_it(tmp_path: Path) -> None:
    """Goal: where the lab starts an engine inside a network namespace, it is asked in there too. Method: a prefix that leaves a mark each time
    it is gone through: once by the server, then by the question."""
    marks = tmp_path / "marks"
    prefix = ["sh", "-c", 'echo "$1" >> "$0"; exec "$@"', str(marks)]
    spec = ZooKeeperSpec(folder=str(tmp_path / "zoo keeper"), address=free_address((2181,)))
    with running(start(spec, require("zookeeper"), prefix=prefix)) as engine:
        assert engine.standing().mode == "standalone"
    assert marks.read_text().splitlines()[-1] == sys.executable


@pytest.mark.engine("zookeeper")
def test_the_archive_of_loaded_classes_fits(tmp_path: Path) -> None:
    """Goal: the archive that was made is one that this Java takes. Method: forbid it to start without; where none could be made there is nothing to
    try."""
    installation = require("zookeeper")
    if installation.archive is None:
        pytest.skip("capability missing: a Java that archives loaded classes")
    spec = ZooKeeperSpec(folder=str(tmp_path), address=free_address((2181,)))
    with running(start(spec, installation, jvm=["-Xshare:on"])) as engine:
        assert engine.standing().mode == "standalone"


STARTER = """
import sys
from polysite.lab.engines import ZooKeeperSpec, fetch, release_of, start
import os
engine = start(ZooKeeperSpec(folder=sys.argv[1], address=sys.argv[2]), fetch(release_of("zookeeper"), os.environ), guarded=sys.argv[3] == "yes")
engine.wait_ready()
print(engine.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.engine("zookeeper")
def test_no_engine_survives_the_one_who_started_it(tmp_path: Path) -> None:
    """Goal: a test run that is killed leaves no engine. Method: a process that starts one, killed with SIGKILL once it serves; the engine, which
    is frozen at that moment so that it cannot help, is gone soon after."""
    require("zookeeper")
    address = free_address((2181,))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path), address, "yes"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    assert starter.stdout is not None and starter.stdin is not None
    engine = int(starter.stdout.readline())
    watched = os.pidfd_open(engine)
    try:
        os.kill(engine, signal.SIGSTOP)
        starter.kill()
        starter.wait(GONE_S)
        assert _ends(watched), "the engine is still there"
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(watched, signal.SIGKILL)
        os.close(watched)
        starter.stdin.close()
        starter.stdout.close()


def _ends(watched: int) -> bool:
    """Whether the process ends within the limit; a process descriptor is readable when it has."""
    return bool(select.select([watched], [], [], GONE_S)[0])


@pytest.mark.engine("zookeeper")
def test_who_speaks_no_cassandra_is_told(zookeeper_server: Engine) -> None:
    """Goal: a wrong port is told as such. Method: ask a ZooKeeper server as if it were a Cassandra node."""
    assert ask_cassandra(zookeeper_server.spec.address, 2181, ask_s=5).flaw != ""
