"""The coordinator contract over HTTP: the client against the server, in this process and through a real one.

Goal: whatever stands on the protocol cannot tell a coordinator in its process from one over the wire.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from polysite.api import Coordinator
from polysite.client import connect
from polysite.client._sync.connecting import connect as connect_blocking
from polysite.client.asgi_transport import AsgiTransport
from polysite.clock import Runtime
from polysite.server.app import build_app
from polysite.server.settings import Settings
from polysite.testing.coordinator_contract import CoordinatorContract, Place
from tests.contract.test_coordinator import make_coordinator
from tests.support.server import started_server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started_server(tmp_path_factory.mktemp("site") / "data") as found:
        yield found


class TestApplication(CoordinatorContract):
    """Requests go straight into the server's application."""

    @pytest.fixture
    async def coordinator(self) -> AsyncIterator[Coordinator]:
        inner = make_coordinator(joint=True)
        await inner.start()
        site = connect("", transport=AsgiTransport(build_app(inner, Settings(), runtime=Runtime())))
        yield site.coordinator
        await site.close()
        await inner.close()


class TestServer(CoordinatorContract):
    """Over sockets, against a server process."""

    @pytest.fixture
    async def coordinator(self, url: str) -> AsyncIterator[Coordinator]:
        async with connect(url) as site:
            yield site.coordinator


class OnThreads:
    """The blocking coordinator behind the awaited protocol: each call on a thread, so that the same suite runs over it."""

    def __init__(self, url: str) -> None:
        self._blocking = connect_blocking(url).coordinator

    def __getattr__(self, verb: str):  # type: ignore[no-untyped-def]
        blocking = getattr(self._blocking, verb)

        async def call(*args: object, **kwargs: object) -> object:
            return await asyncio.to_thread(blocking, *args, **kwargs)

        return call

    def events(self, **chosen: str) -> AsyncIterator[object]:
        events = self._blocking.events(**chosen)

        async def walk() -> AsyncIterator[object]:
            while (event := await asyncio.to_thread(next, events, None)) is not None:
                yield event

        return walk()


class TestBlocking(CoordinatorContract):
    """The client without await, against the same process."""

    @pytest.mark.skip("a call on a thread cannot be cancelled")
    async def test_cancelled_acquire(self, coordinator: Coordinator, place: Place) -> None:
        """Nothing to try."""

    @pytest.fixture
    async def coordinator(self, url: str) -> AsyncIterator[OnThreads]:
        found = OnThreads(url)
        yield found
        await found.close()
