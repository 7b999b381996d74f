"""Lock cells in ZooKeeper: one znode per cell, whose version counts the changes.

    /polysite/cells                     what is here, as text: the format
    /polysite/cells/0a7                 one of 1024 folders, by the key's hash, made when first needed
    /polysite/cells/0a7/k-voting%00…    a cell: its key in the name, its content in the data

A znode's version is 0 when it is made; the cell's is one more. A cell's znode is never removed: one made again would count
from 0, and a change left unanswered could still fit.
"""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from polysite.cells.contract import NEVER_WRITTEN, CellAnswer, CellCapability, CellCosts, Cells, CellView
from polysite.engines.zookeeper import Standing
from polysite.engines.zookeeper.failures import Against
from polysite.engines.zookeeper.session import ZookeeperSession, settle
from polysite.engines.zookeeper.znodes import Found, Znodes
from polysite.errors import BadRequest, CellExhausted, OutcomeUnknown, PolysiteError, TooLarge, Unavailable

FORMAT = b"polysite cells 1"
FOLDERS = 1024
CELL_BYTES_MAX = 1_000_000
"""Path and content together. ZooKeeper 3.9 closes the connection of whoever sends a packet over 1,048,575 bytes
(`jute.maxbuffer`), and its servers wrap what they send each other."""
VERSION_MAX = 2**31 - 1
"""Of a znode: ZooKeeper counts in 32 bits, and takes -1 for any version."""
LISTED_AT_ONCE = 32

ALONE = CellCosts()
BESIDE_THE_LEADER = CellCosts(compare_and_set=1, compare_and_set_refused=1)
ELSEWHERE = CellCosts(read=1, compare_and_set=2, compare_and_set_refused=2)
COSTS: dict[Standing | None, CellCosts] = {
    "standalone": ALONE,
    "leader": BESIDE_THE_LEADER,
    "follower": ELSEWHERE,
    "observer": ELSEWHERE,
    None: ELSEWHERE,
}
"""By what the connected server is. A change goes to the leader and from there to a majority and back. A refused one does
too: ZooKeeper 3.9 gives errors of changes their place among the transactions, so that the connected server has what stood
against it when it answers, and the read that follows is a local one. `sync` asks the leader."""


class ZookeeperCells(Cells):
    """The cells under one folder of ZooKeeper. `costs` follows what the connected server is, again after each connection.

    There are two sessions: ZooKeeper answers the requests of one in their order, so a local read would wait for the change of another cell
    that is under way. What reads here and now goes through the second one (local reads, watches, listings), what changes or must follow a
    change through the first. Both are with this site's server as a rule; if one has met another server, a local read may be older
    than a change that was answered before, as it may be with any replica.

    `read` is `sync` and a read of the connected server. It is as good as the leader's knowledge that it leads: one that was
    cut off or frozen, and has not noticed that another was elected, answers its own clients from the past, until at most
    `syncLimit` ticks after the cut. What it answers is a past true state, and no change can be made from it.
    """

    name = "zookeeper"
    capabilities: frozenset[CellCapability] = frozenset({"watch", "local_view", "durable"})
    begins = True

    def __init__(self, session: ZookeeperSession) -> None:
        self.costs = ELSEWHERE
        self._session = session
        self._znodes = Znodes(session)
        self._reading = session.beside()
        self._reads = Znodes(self._reading)
        self._root = f"{session.settings.folder}/cells"
        self._made: set[int] = set()
        self._watchers: dict[bytes, list[Callable[[], None]]] = {}
        self._armed: dict[bytes, object] = {}
        self._first: dict[bytes, int | None] = {}
        """By key, as long as its first watch has not fired: the cell's version when it was set; None: it is not known to be set yet."""
        self._own: dict[bytes, int] = {}
        """By key, while it is not known whether its first watch is set: the version that was made here meanwhile."""
        self._connection = 0

    async def start(self) -> None:
        """Connect and make the folder. BadRequest: it holds something else, or cells of another format; Unavailable: no server
        answers, or the user may not."""
        self._session.changed = self._session_changed
        self._reading.changed = self._reading_changed
        await self._session.start()
        try:
            await self._reading.start()
            await self._prepare()
            await self._session.standing_known()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(self._reading.close(), self._session.close())

    async def read_local(self, key: bytes) -> CellView:
        return _view(await _asked(partial(self._reads.get, self._path(key))))

    async def read(self, key: bytes) -> CellView:
        return _view(await _asked(partial(self._znodes.get_now, self._path(key))))

    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        future: asyncio.Future[CellAnswer] = asyncio.get_running_loop().create_future()

        def answered(answer: CellAnswer | BaseException) -> None:
            if not future.done():
                if isinstance(answer, CellAnswer):
                    future.set_result(answer)
                else:
                    future.set_exception(answer)

        self.begin(key, expected_version, content, answered)
        return await future

    def begin(
        self,
        key: bytes,
        expected_version: int,
        content: bytes,
        answered: Callable[[CellAnswer | BaseException], None],
    ) -> None:
        """TooLarge: path and content are over CELL_BYTES_MAX; CellExhausted: ZooKeeper counts no further."""
        path = self._path(key)
        if len(path) + len(content) > CELL_BYTES_MAX:
            raise TooLarge(f"a cell's path and content in ZooKeeper are at most {CELL_BYTES_MAX} bytes")
        if expected_version > VERSION_MAX:
            raise CellExhausted("ZooKeeper counts no further changes of this cell")
        change = _Change(self, key, path, expected_version, content, answered)
        if expected_version == 0:
            change.make()
        else:
            self._znodes.set(path, content, expected_version - 1, change.told)

    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        """In the order of the folders' numbers, and in byte order within one: `after` is the start of a walk or one of them."""
        listed = await _asked(partial(self._reads.children, self._root))
        folders = [] if listed is Against.ABSENT else sorted(int(name, 16) for name in listed)
        if after:
            folders = [folder for folder in folders if folder >= _folder(after)]
        found: list[bytes] = []
        for start in range(0, len(folders), LISTED_AT_ONCE):
            if len(found) >= limit:
                break
            part = folders[start : start + LISTED_AT_ONCE]
            asked = [_asked(partial(self._reads.children, self._folder_path(folder))) for folder in part]
            for folder, names in zip(part, await asyncio.gather(*asked), strict=True):
                keys = [] if names is Against.ABSENT else sorted(map(_key, names))
                found += [key for key in keys if not after or folder != _folder(after) or key > after]
        return found[:limit]

    def watch(self, key: bytes, changed: Callable[[], None]) -> Callable[[], None]:
        """Tells of changes by any process, as soon as the connected server has them: of those that a local read which is sent after this call
        does not show. After a lost connection `changed` is called
        once, when there is another one: some changes may have been missed."""
        self._watchers.setdefault(key, []).append(changed)
        if key not in self._armed:
            self._first[key] = None
            self._arm(key)

        def stop() -> None:
            watchers = self._watchers.get(key, [])
            if changed in watchers:
                watchers.remove(changed)
            if not watchers:
                self._watchers.pop(key, None)

        return stop

    def make(self, key: bytes, path: str, content: bytes, told: Callable[[Any, PolysiteError | None], None]) -> None:
        """Send what makes a cell; its folder goes ahead of it where it is not known to be there, in the same trip."""
        folder = _folder(key)
        if folder not in self._made:
            self._znodes.create(self._folder_path(folder), b"", partial(self._folder_made, folder))
        self._znodes.create(path, content, told)

    def glance(self, path: str, found: Callable[[Any, PolysiteError | None], None]) -> None:
        """What is there, without a wait for other changes. It may be from before a change that was answered."""
        try:
            self._reads.get(path, found)
        except Unavailable:
            self.look(path, found)

    def look(self, path: str, found: Callable[[Any, PolysiteError | None], None]) -> None:
        """What is there, after every change that was sent before."""
        self._znodes.get(path, found)

    def forget_folder(self, key: bytes) -> None:
        self._made.discard(_folder(key))

    def _folder_made(self, folder: int, value: Any, error: PolysiteError | None) -> None:
        if error is None and value is not Against.ABSENT:
            self._made.add(folder)

    async def _prepare(self) -> None:
        """Make the folder, or see that it is one of ours."""
        try:
            found = await _asked(partial(self._znodes.get, self._root))
            if found is Against.ABSENT:
                parts = self._root.split("/")[1:-1]
                above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
                for path in above:
                    await _asked(partial(self._znodes.create, path, b""))
                await _asked(partial(self._znodes.create, self._root, FORMAT))
                found = await _asked(partial(self._znodes.get_now, self._root))
        except OutcomeUnknown as error:
            raise Unavailable("ZooKeeper was lost while its folder was made; start again") from error
        if not isinstance(found, Found) or found.data != FORMAT:
            raise BadRequest(
                f"zookeeper.folder: {self._root} holds something else, or cells of a format that this version does not know"
            )

    def changed_here(self, key: bytes, version: int) -> None:
        """A change was made here. A watch that was asked for before it, in the other session, may have been set after it: then it
        does not tell, and this does. (Watches that are set again need no such care: whoever was told looks after that.)"""
        if key not in self._first:
            return
        since = self._first[key]
        if since is None:
            self._own[key] = version
        elif version <= since:
            self._tell(key)

    def _session_changed(self) -> None:
        self.costs = COSTS[self._session.standing]

    def _reading_changed(self) -> None:
        if not self._reading.is_connected or self._reading.connections == self._connection:
            return
        self._connection = self._reading.connections
        self._armed.clear()
        self._first.clear()
        self._own.clear()
        for key in list(self._watchers):
            self._arm(key)
            self._tell(key)

    def _arm(self, key: bytes) -> None:
        """Set a watch, unless one is set. Without a connection that is for the next one."""
        if key in self._armed or not self._reading.is_connected:
            return
        mark = self._armed[key] = object()
        try:
            self._reads.watch(self._path(key), partial(self._fired, key, mark), partial(self._set, key, mark))
        except Unavailable:
            self._disarm(key)

    def _set(self, key: bytes, mark: object, znode_version: int | None, error: PolysiteError | None) -> None:
        if self._armed.get(key) is not mark:
            return
        if error is not None:
            self._disarm(key)
        elif key in self._first:
            version = self._first[key] = 0 if znode_version is None else znode_version + 1
            if 0 < self._own.pop(key, 0) <= version:
                self._tell(key)

    def _disarm(self, key: bytes) -> None:
        del self._armed[key]
        self._first.pop(key, None)
        self._own.pop(key, None)

    def _fired(self, key: bytes, mark: object, moved: bool) -> None:
        if self._armed.get(key) is not mark:
            return
        self._disarm(key)
        if moved and key in self._watchers:
            # Set again before anybody looks, and by the same session: what comes before the look is seen by it, and what comes
            # after it is told.
            self._arm(key)
            self._tell(key)

    def _tell(self, key: bytes) -> None:
        for changed in self._watchers.get(key, ()):
            asyncio.get_running_loop().call_soon(changed)

    def _folder_path(self, folder: int) -> str:
        return f"{self._root}/{folder:03x}"

    def _path(self, key: bytes) -> str:
        path = f"{self._folder_path(_folder(key))}/k-{quote_from_bytes(key, safe='')}"
        if len(path) > CELL_BYTES_MAX:
            raise TooLarge(f"a cell's path and content in ZooKeeper are at most {CELL_BYTES_MAX} bytes")
        return path


class _Change:
    """A compare-and-set under way: what was sent, and what its answer leads to."""

    __slots__ = ("_again", "_answered", "_cells", "_content", "_expected", "_key", "_path")

    def __init__(
        self,
        cells: ZookeeperCells,
        key: bytes,
        path: str,
        expected: int,
        content: bytes,
        answered: Callable[[CellAnswer | BaseException], None],
    ) -> None:
        self._cells = cells
        self._key = key
        self._path = path
        self._expected = expected
        self._content = content
        self._answered = answered
        self._again = False

    def make(self) -> None:
        """Send it as the first of its cell."""
        self._cells.make(self._key, self._path, self._content, self.told)

    def told(self, value: Any, error: PolysiteError | None) -> None:
        """The answer of what was sent."""
        if error is not None:
            self._answered(error)
        elif value is None:
            self._cells.changed_here(self._key, self._expected + 1)
            self._answered(CellAnswer(True, CellView(self._expected + 1, self._content)))
        elif value is Against.ABSENT and self._expected > 0:
            self._answered(CellAnswer(False, NEVER_WRITTEN))
        else:
            try:
                self._go_on(value)
            except PolysiteError as refused:
                self._answered(refused)

    def _go_on(self, value: Against) -> None:
        if value is not Against.ABSENT:
            self._cells.glance(self._path, self._glanced)
        elif self._again:
            raise Unavailable("the folder of this cell was removed from ZooKeeper")
        else:
            # It was refused for want of a folder that is known here: somebody has removed it.
            self._again = True
            self._cells.forget_folder(self._key)
            self.make()

    def _glanced(self, value: Any, error: PolysiteError | None) -> None:
        """What is newer than what was expected is what stood against it, or what came of that."""
        if error is None and _view(value).version > self._expected:
            self._answered(CellAnswer(False, _view(value)))
            return
        try:
            self._cells.look(self._path, self._looked)
        except PolysiteError as refused:
            self._answered(refused)

    def _looked(self, value: Any, error: PolysiteError | None) -> None:
        if error is not None:
            self._answered(error)
        elif value is Against.ABSENT:
            self._answered(Unavailable("this cell was removed from ZooKeeper while it was changed"))
        else:
            self._answered(CellAnswer(False, _view(value)))


async def _asked(send: Callable[[Callable[[Any, PolysiteError | None], None]], None]) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    send(partial(settle, future))
    return await future


def _view(found: Any) -> CellView:
    return CellView(found.version + 1, found.data) if isinstance(found, Found) else NEVER_WRITTEN


def _folder(key: bytes) -> int:
    return zlib.crc32(key) % FOLDERS


def _key(name: str) -> bytes:
    return unquote_to_bytes(name[2:])
