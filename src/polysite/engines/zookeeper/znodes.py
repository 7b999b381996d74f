"""The few requests that cells make of ZooKeeper, as calls with plain answers.

A znode is ZooKeeper's unit: a path with data and a version, which is 0 when it is made and counts its changes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from kazoo.protocol.states import EventType

from polysite.engines.zookeeper.failures import Against
from polysite.engines.zookeeper.session import Answered, ZookeeperSession
from polysite.errors import PolysiteError


class Found(NamedTuple):
    """What stands under a path."""

    version: int
    data: bytes


class Znodes:
    """Requests of one session. Each `answered` is called once, later; each raises Unavailable if it is not sent."""

    def __init__(self, session: ZookeeperSession) -> None:
        self._session = session

    def get(self, path: str, answered: Answered) -> None:
        """Found, or `Against.ABSENT`, as the connected server has it."""
        self._session.send(lambda client: client.get_async(path), partial(_found, answered), changes=False)

    def get_now(self, path: str, answered: Answered) -> None:
        """As `get` after the connected server has caught up with the leader.

        Both are sent at once: ZooKeeper carries out a session's requests in their order. An error of the first is told.
        """
        failed: list[PolysiteError] = []

        def caught_up(_value: Any, error: PolysiteError | None) -> None:
            if error is not None:
                failed.append(error)

        def got(value: Any, error: PolysiteError | None) -> None:
            answered(value, failed[0] if failed else error)

        self._session.send(lambda client: client.sync_async(path), caught_up, changes=False)
        self.get(path, got)

    def create(self, path: str, data: bytes, answered: Answered) -> None:
        """None when it was made; `Against.EXISTS`, or `Against.ABSENT` if what is above it is not there."""
        self._session.send(lambda client: client.create_async(path, data), partial(_done, answered), changes=True)

    def set(self, path: str, data: bytes, version: int, answered: Answered) -> None:
        """None when it was changed; `Against.MOVED`, `Against.ABSENT`."""
        assert version >= 0, "a negative version would match any"
        self._session.send(lambda client: client.set_async(path, data, version), partial(_done, answered), changes=True)

    def watch(self, path: str, fired: Callable[[bool], None], answered: Answered) -> None:
        """Have `fired` called once, on the loop: True when the path is made, changed or removed, False when the connection is
        lost and the watch with it. The answer tells that the watch is set, and the version of what is there; None: nothing is."""

        def seen(event: Any) -> None:
            fired(event.type != EventType.NONE)

        self._session.send(lambda client: client.exists_async(path, seen), partial(_version, answered), changes=False)

    def children(self, path: str, answered: Answered) -> None:
        """The names under a path in no order, or `Against.ABSENT`."""
        self._session.send(lambda client: client.get_children_async(path), answered, changes=False)


def _found(answered: Answered, value: Any, error: PolysiteError | None) -> None:
    if error is None and not isinstance(value, Against):
        data, stat = value
        value = Found(stat.version, data or b"")
    answered(value, error)


def _version(answered: Answered, value: Any, error: PolysiteError | None) -> None:
    answered(None if value is None or error is not None else value.version, error)


def _done(answered: Answered, value: Any, error: PolysiteError | None) -> None:
    answered(value if isinstance(value, Against) else None, error)
