"""The Accord server of the tests, which is an alpha release and was seen to hang (decision 10): then another one takes its place.

A test that fails is run again on a fresh server only if the server it ran on is shown not to serve, by a schema change that it does not
answer to a plain driver, or by having ended. The failure of a test on a server that serves stands, and so does everything after
`REPLACED_MAX` servers. What the server said and did at that time is in the summary of the run, whether or not the tests passed.
"""

import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from cassandra import DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy

from polysite.client.pacing import Pace
from polysite.lab.engines import Engine

REPLACED_MAX = 2
"""Servers per run."""

READY_S = 90
ANSWER_S = 20.0
"""What a schema change may take; 0.02 s is usual."""

DUMP_S = 5.0
TELLING_THREADS = ("AccordExecutor", "GlobalLogFollower", "InternalMetadataStage", "Native-Transport", "deadlock")
LINES_PER_THREAD = 10

_hung: list[str] = []
"""What is told of each server that hung in this run."""

_nodes: "list[AccordNodes]" = []
"""Those of this run: one, once a test asked for it."""


class AccordNodes:
    """One server at a time, started when it is first asked for."""

    def __init__(self, begin: Callable[[], Engine]) -> None:
        self._begin = begin
        self._engine: Engine | None = None
        _nodes.append(self)

    def node(self) -> Engine:
        """The server; started if there is none."""
        if self._engine is None:
            engine = self._begin()
            try:
                engine.wait_ready(wait_s=READY_S)
            except BaseException:
                engine.kill()
                raise
            self._engine = engine
        return self._engine

    def give_up_a_hung_one(self) -> str:
        """End the server if it does not serve; what it was doing, empty if it serves or there is none."""
        if self._engine is None or not (flaw := flaw_of(self._engine)):
            return ""
        told = f"{flaw}\nits last words:\n{self._engine.last_words()}\n{threads_of(self._engine)}"
        self.close()
        return told

    def close(self) -> None:
        if self._engine is not None:
            self._engine.kill()
            self._engine = None


def flaw_of(engine: Engine, answer_s: float = ANSWER_S) -> str:
    """Why a server does not serve; empty if it carries out a schema change. Asked by the driver alone, with nothing of ours between."""
    if not engine.is_alive():
        return "it has ended"
    spec = engine.spec
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([spec.address]), request_timeout=answer_s
    )
    cluster = Cluster(
        [spec.address],
        port=spec.port,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=answer_s,
        control_connection_timeout=answer_s,
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
    )
    replication = "{'class': 'NetworkTopologyStrategy', 'dc1': 1}"
    try:
        cluster.connect().execute(f"CREATE KEYSPACE probe{uuid.uuid4().hex[:12]} WITH replication = {replication}")
    except (NoHostAvailable, DriverException, OSError) as error:
        return f"{type(error).__name__} of a schema change"
    finally:
        cluster.shutdown()
    return ""


def threads_of(engine: Engine) -> str:
    """The stacks of the threads that carry schema changes, transactions and requests, as its Java machine writes them on SIGQUIT."""
    if not engine.is_alive():
        return ""
    output = Path(engine.spec.folder) / "output.log"
    before = output.stat().st_size
    os.kill(engine.pid, signal.SIGQUIT)
    pace = Pace()
    end = pace.monotonic_s() + DUMP_S
    while "\nHeap" not in (dump := output.read_text(encoding="utf-8", errors="replace")[before:]):
        if pace.monotonic_s() >= end:
            return f"its threads did not tell their stacks within {DUMP_S:g} s"
        pace.sleep_s(0.05)
    blocks = [block for block in dump.split("\n\n") if any(name in block for name in TELLING_THREADS)]
    return "\n".join(line for block in blocks for line in block.splitlines()[:LINES_PER_THREAD])


def run_with_another_server(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run the test; and once more, on another server, if it failed on one that had stopped serving. The second run is the one that counts."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    failed = any(report.failed for report in reports)
    if failed and len(_hung) < REPLACED_MAX and (told := "".join(nodes.give_up_a_hung_one() for nodes in _nodes)):
        _hung.append(f"{item.nodeid}\n{told}")
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def tell(reporter: pytest.TerminalReporter) -> None:
    """Every server that hung, by the test that met it."""
    for told in _hung:
        reporter.section(
            "an Accord server (alpha release, decision 10) hung; the test ran again on another one", sep="-"
        )
        reporter.write_line(told)
