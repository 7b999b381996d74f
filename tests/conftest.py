"""What every test gets."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support import accord_nodes as accord
from tests.support import engines
from tests.support.engines import accord_node, accord_nodes, cassandra_node, zookeeper_server

__all__ = ["accord_node", "accord_nodes", "cassandra_node", "zookeeper_server"]

# No wall-clock assertions anywhere, so hypothesis has no deadline either. A failure prints the blob that reproduces it.
settings.register_profile("here", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutine functions run on asyncio."""
    return "asyncio"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` chooses: a test that asks for an engine's fixture has its mark."""
    engines.mark_by_fixtures(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the chosen tests need now, where no test's time is running."""
    if not session.config.option.collectonly:
        for engine in sorted({name for item in session.items for name in engines.engines_of(item)}):
            engines.prepare(engine, session.config)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs an engine which this machine cannot have is skipped, and says what is missing."""
    for engine in engines.engines_of(item):
        engines.require(engine)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A test whose Accord server was found hung runs again on another server."""
    return accord.run_with_another_server(item, nextitem) if "accord" in engines.engines_of(item) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every Accord server that hung is told, also when all tests passed on the one after it."""
    accord.tell(terminalreporter)
