"""Real engines for tests: fetched before the first test that needs one, one of a kind per run, gone with the run however it ends.

    @pytest.mark.engine("cassandra")
    def test_something(cassandra_node: Engine) -> None:
        connect(cassandra_node.spec.address, cassandra_node.spec.port)

A test that asks for one of the fixtures is marked by that. A test that starts engines of its own says the mark itself and takes what it
needs from `require`. On a machine that cannot have the engine the test is skipped, and the reason names the missing capability.
"""

import os
from collections.abc import Iterable, Iterator

import pytest

from polysite.errors import PolysiteError
from polysite.lab.engines import (
    AccordSpec,
    CapabilityMissing,
    CassandraSpec,
    Engine,
    FetchFailed,
    Installation,
    ZooKeeperSpec,
    fetch,
    free_address,
    release_of,
    start,
)
from polysite.lab.engines.accord import COMES_BACK
from tests.support.accord_nodes import AccordNodes

FIXTURES = {"cassandra_node": "cassandra", "accord_node": "accord", "zookeeper_server": "zookeeper"}
"""Fixture → the engine that a test needs which asks for it."""

_found: dict[str, Installation | PolysiteError] = {}
"""What became of fetching each engine in this run; it is tried once."""


class Telling:
    """Remarks of a fetch, which may take a minute, to where people look for them while nothing else is printed."""

    def __init__(self, config: pytest.Config | None) -> None:
        self._config = config

    def arrived(self, count: int, total: int) -> None:
        if count == 0:
            self.note(f"fetching an engine, {total} jars")

    def note(self, text: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter") if self._config is not None else None
        if reporter is not None:
            reporter.write_line(text)


def prepare(engine: str, config: pytest.Config | None = None) -> Installation | PolysiteError:
    """The installed engine, fetched if need be, or what kept it from being there."""
    if engine not in _found:
        try:
            _found[engine] = fetch(release_of(engine), os.environ, progress=Telling(config))
        except PolysiteError as error:
            _found[engine] = error
    return _found[engine]


def require(engine: str) -> Installation:
    """The installed engine. Skips the test if this machine cannot have it; fails if what was fetched is not what is pinned."""
    found = prepare(engine)
    if isinstance(found, CapabilityMissing):
        pytest.skip(found.message)
    if isinstance(found, FetchFailed):
        pytest.skip(f"capability missing: {engine}; {found.message}")
    if isinstance(found, PolysiteError):
        raise found
    return found


def engines_of(item: pytest.Item) -> list[str]:
    """The engines that a test is marked with."""
    return [name for mark in item.iter_markers("engine") for name in mark.args if name in FIXTURES.values()]


def mark_by_fixtures(items: Iterable[pytest.Item]) -> None:
    """Whoever asks for an engine's fixture has its mark."""
    for item in items:
        for fixture, engine in FIXTURES.items():
            if fixture in getattr(item, "fixturenames", ()) and engine not in engines_of(item):
                item.add_marker(pytest.mark.engine(engine))


@pytest.fixture(scope="session")
def cassandra_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One Cassandra node, data centre `dc1`, alone; tests keep out of each other's way by keys of their own."""
    installation = require("cassandra")
    folder = tmp_path_factory.mktemp("cassandra")
    spec = CassandraSpec(folder=str(folder), address=free_address((9042, 7000)))
    with running(start(spec, installation)) as engine:
        yield engine


@pytest.fixture(scope="session")
def accord_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccordNodes]:
    """The Cassandra node of version 6 with Accord, and the one that follows it should it hang."""

    def begin() -> Engine:
        folder = str(tmp_path_factory.mktemp("accord"))
        spec = AccordSpec(folder=folder, address=free_address((9042, 7000)), accord={"journal": COMES_BACK})
        return start(spec, require("accord"))

    nodes = AccordNodes(begin)
    yield nodes
    nodes.close()


@pytest.fixture
def accord_node(accord_nodes: AccordNodes) -> Engine:
    """One Cassandra node of version 6 with Accord, data centre `dc1`, alone; tests keep out of each other's way by keys of their own."""
    return accord_nodes.node()


@pytest.fixture(scope="session")
def zookeeper_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One ZooKeeper server, alone; tests keep out of each other's way by a chroot of their own."""
    installation = require("zookeeper")
    spec = ZooKeeperSpec(folder=str(tmp_path_factory.mktemp("zookeeper")), address=free_address((2181,)))
    with running(start(spec, installation)) as engine:
        yield engine


class running:  # noqa: N801
    """A started engine, ready inside the block and gone behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> Engine:
        try:
            self._engine.wait_ready(wait_s=90)
        except BaseException:
            self._engine.kill()
            raise
        return self._engine

    def __exit__(self, *_: object) -> None:
        self._engine.kill()
