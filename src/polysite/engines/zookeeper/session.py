"""The session with ZooKeeper: requests with their answers on the loop, and what it is to the servers right now.

    Connection.CONNECTED ──lost──▶ LOST ──again──▶ CONNECTED      everything unanswered is told when it is lost

Nothing that is kept depends on the session: there are no ephemeral znodes. So its end costs no more than the connection's;
kazoo begins another one by itself, and what was asked in between was not sent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL

from polysite.clock import Runtime
from polysite.engines.zookeeper.bridge import Bridge, LoopHandler, Result
from polysite.engines.zookeeper.failures import Against, told, unanswered
from polysite.engines.zookeeper.settings import ZookeeperSettings
from polysite.engines.zookeeper.standing import QUESTION, NotTold, Standing, parse_standing
from polysite.errors import BadRequest, Overloaded, PolysiteError, Unavailable

_log = logging.getLogger(__name__)
_client_log = logging.getLogger(f"{__name__}.kazoo")
# Below warnings it tells requests with their content, and credentials.
_client_log.setLevel(logging.WARNING)

Answered = Callable[[Any, PolysiteError | None], None]
"""Called with the value (or an `Against`) and None, or with anything and the error."""

REQUESTS_MAX = 10_000
RECONNECT_S_MAX = 0.5
ASK_PAUSE_S = 0.5
ASKS_MAX = 40


class _Waiting:
    """A request without an answer yet."""

    __slots__ = ("answered", "changes", "due_s")

    def __init__(self, answered: Answered, changes: bool, due_s: float) -> None:
        self.answered: Answered | None = answered
        self.changes = changes
        self.due_s = due_s


class ZookeeperSession:
    """A connection of one process to ZooKeeper. All of it is used on the loop that started it."""

    def __init__(self, settings: ZookeeperSettings, runtime: Runtime, *, asks_standing: bool = True) -> None:
        """`asks_standing`: ask each server that it is connected to whether it leads."""
        self.settings = settings.checked()
        self._asks_standing = asks_standing
        self.standing: Standing | None = None
        """What the connected server is; None while it has not said so."""
        self.connections = 0
        """Connections made so far; the number tells one from the next."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the connection is there again, or gone, and when `standing` is known."""
        self._runtime = runtime
        self._request_s = settings.request_ms / 1000
        self._client: Any = None
        self._bridge: Bridge | None = None
        self._connected = False
        self._closing = False
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        return self._connected

    def beside(self) -> "ZookeeperSession":
        """Another session with the same servers, for reads that must not wait for what this one changes: ZooKeeper answers the requests of one
        session in their order. It asks no server whether it leads."""
        return ZookeeperSession(self.settings, self._runtime, asks_standing=False)

    async def start(self) -> None:
        """Connect. BadRequest: the password cannot be read; Unavailable: no server answered within `connect_ms`."""
        self._closing = False
        loop = asyncio.get_running_loop()
        self._bridge = Bridge(loop)
        self._connect()
        try:
            async with asyncio.timeout(self.settings.connect_ms / 1000):
                while not self._connected:
                    await self.next_move()
        except TimeoutError:
            await self.close()
            raise Unavailable(
                f"no ZooKeeper server answered within {self.settings.connect_ms} ms: is one running, and is "
                f"zookeeper.servers ({', '.join(self.settings.servers)}) right?"
            ) from None

    async def close(self) -> None:
        """Let go, once the server has answered what is under way (it answers in order, and the end of the session comes last) or
        the connection is given up; what then has no answer is told so."""
        self._closing = True
        client, self._client = self._client, None
        self._connected = False
        if client is not None:
            await asyncio.get_running_loop().run_in_executor(None, _end, client)
        self._give_up("closing")
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def standing_known(self) -> Standing | None:
        """What the connected server is, once it has said so or will not."""
        while self._tasks and self.standing is None and self._connected:
            await self.next_move()
        return self.standing

    def send(self, call: Callable[[Any], Result], answered: Answered, *, changes: bool) -> None:
        """Make a call of kazoo's client and have its answer told, once, later. Requests are carried out in the order in
        which they are sent, as long as the connection lasts.

        Raises Unavailable if it is not sent.
        """
        if not self._connected or self._bridge is None or self._closing:
            raise Unavailable("there is no connection to ZooKeeper right now")
        if len(self._waiting) >= REQUESTS_MAX:
            raise Overloaded("too many requests wait for ZooKeeper")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(answered, changes, loop.time() + self._request_s)
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = loop.call_at(waiting.due_s, self._tell_late)
        call(self._client).rawlink(partial(self._bridge.post, self._arrived, waiting))

    async def ask(self, call: Callable[[Any], Result], *, changes: bool = False) -> Any:
        """As `send` for a task: the value, or an `Against`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(call, partial(settle, future), changes=changes)
        return await future

    def _arrived(self, waiting: _Waiting, result: Result) -> None:
        error = result.exception
        if error is None:
            self._answer(waiting, result.value, None)
            return
        meaning = told(error, changes=waiting.changes)
        if isinstance(meaning, Against):
            self._answer(waiting, meaning, None)
        else:
            self._answer(waiting, None, meaning)

    def _answer(self, waiting: _Waiting, value: Any, error: PolysiteError | None) -> None:
        answered, waiting.answered = waiting.answered, None
        queue = self._waiting
        while queue and queue[0].answered is None:
            queue.popleft()
        if not queue:
            self._wake()
        if answered is not None:
            answered(value, error)

    def _tell_late(self) -> None:
        """Tell those whose time is over; all wait equally long, so the first is the next."""
        loop = asyncio.get_running_loop()
        self._timer = None
        queue = self._waiting
        while queue and (queue[0].answered is None or queue[0].due_s <= loop.time()):
            waiting = queue.popleft()
            if waiting.answered is not None:
                self._tell(waiting, "no_answer")
        if queue:
            self._timer = loop.call_at(queue[0].due_s, self._tell_late)
        self._wake()

    def _give_up(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if each.answered is not None:
                self._tell(each, reason)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, waiting: _Waiting, reason: str) -> None:
        answered, waiting.answered = waiting.answered, None
        assert answered is not None
        try:
            answered(None, unanswered(reason, changes=waiting.changes))
        except Exception:  # noqa: BLE001
            _log.exception("the callback of a request failed")

    def _connect(self) -> None:
        bridge = self._bridge
        assert bridge is not None
        handler = LoopHandler(bridge)
        settings = self.settings
        client = KazooClient(
            hosts=",".join(settings.servers),
            timeout=settings.session_ms / 1000,
            handler=handler,
            auth_data=[("digest", f"{settings.user}:{self._password()}")] if settings.user else None,
            default_acl=CREATOR_ALL_ACL if settings.user else None,
            randomize_hosts=False,
            connection_retry=KazooRetry(
                max_tries=-1, delay=0.05, backoff=2, max_delay=RECONNECT_S_MAX, sleep_func=handler.sleep_func
            ),
            logger=_client_log,
        )
        self._client = client
        client.add_listener(partial(self._heard, bridge, client))
        client.start_async()

    def _password(self) -> str:
        try:
            lines = Path(self.settings.password_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            raise BadRequest("zookeeper.password_file cannot be read") from None
        if not lines or not lines[0]:
            raise BadRequest("zookeeper.password_file is empty: its first line is the password")
        return lines[0]

    def _heard(self, bridge: Bridge, client: Any, state: str) -> None:
        """On the connection thread, in order with the answers."""
        bridge.post(self._turned, client, state, client.client_state)

    def _turned(self, client: Any, state: str, keeper_state: str) -> None:
        if client is not self._client:
            return
        self.standing = None
        self._connected = state == KazooState.CONNECTED
        if self._connected:
            self.connections += 1
            if self._asks_standing:
                self._background(self._ask_standing(self.connections), name="zookeeper-standing")
        elif keeper_state in (KeeperState.CLOSED, KeeperState.AUTH_FAILED) and not self._closing:
            # Its thread has ended: kazoo does so when it is not let in, and when it is answered what it does not know.
            _log.warning("the client of ZooKeeper ended (%s); another one is made", keeper_state)
            self._client = None
            self._background(self._replace(client), name="zookeeper-replace")
        self._wake()
        self.changed()

    async def _replace(self, client: Any) -> None:
        try:
            await self._runtime.clock.sleep_s(RECONNECT_S_MAX)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, _end, client)
        while not self._closing:
            try:
                self._connect()
                return
            except PolysiteError as error:
                _log.warning("no new client of ZooKeeper: %s", error)
                await self._runtime.clock.sleep_s(RECONNECT_S_MAX)

    async def _ask_standing(self, connection: int) -> None:
        """Ask the connected server whether it leads, until it has said so; answers about an earlier one are dropped."""
        loop = asyncio.get_running_loop()
        for _ in range(ASKS_MAX):
            client = self._client
            if connection != self.connections or not self._connected or client is None:
                return
            try:
                standing = parse_standing(await loop.run_in_executor(None, client.command, QUESTION))
            except NotTold as error:
                if error.final:
                    _log.warning("%s; changes are taken to cost two round trips", error)
                    return
            except Exception as error:  # noqa: BLE001 - whatever the connection died of
                _log.debug("the server was not asked: %s", type(error).__name__)
            else:
                if connection == self.connections and self._connected:
                    self.standing = standing
                    self._wake()
                    self.changed()
                return
            await self._runtime.clock.sleep_s(ASK_PAUSE_S)

    def _background(self, work: Any, *, name: str) -> None:
        task = self._runtime.spawner.spawn(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("work on the ZooKeeper session failed", exc_info=task.exception())
        self._wake()

    async def next_move(self) -> None:
        """Return after the next change of the connection, or of what is known of the server; perhaps earlier."""
        self._moved.clear()
        await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()


def settle(future: "asyncio.Future[Any]", value: Any, error: PolysiteError | None) -> None:
    """Give a task's future its answer, if the task still waits."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _end(client: Any) -> None:
    """Stop a client; it waits for its thread, so it is called beside the loop."""
    try:
        client.stop()
        client.close()
    except Exception as error:  # noqa: BLE001
        _log.warning("the client of ZooKeeper did not end cleanly: %s", type(error).__name__)
