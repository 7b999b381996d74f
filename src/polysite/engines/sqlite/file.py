"""The database file that a store and the cells of a process share: how it is made, opened, read and written.

One connection writes (`Writer`), one reads on the event loop's thread, and a few in a small pool read what may take
long. Every statement outside a transaction sees what was committed before it began, so a read that starts after a
write was answered sees that write. Several processes may have the file open at once.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from polysite.clock import Clock, SystemClock
from polysite.engines.sqlite.driver import Connection, DriverName, connect
from polysite.engines.sqlite.failures import translated
from polysite.engines.sqlite.writer import QUEUED_JOBS_MAX, Writer
from polysite.errors import BadRequest, Unavailable

T = TypeVar("T")

FILE_NAME = "polysite.db"
MEMORY = ":memory:"
APPLICATION_ID = 0x504F4C59
FORMAT = 1
"""Of the tables below and of what is in them. A file of another format is never touched."""

BUSY_WAIT_S = 5.0
READ_BUSY_WAIT_S = 1.0
POOL_THREADS = 2
_CACHE_KIB = 8_192
_POOL_CACHE_KIB = 1_024
"""Of each connection; what is not there comes from the operating system's own cache."""
_LOG_BYTES_MAX = 64 * 1024 * 1024
_LOG_PAGES = 4_000
"""The log is copied into the file when it has this many pages (16 MiB): a page that many writes changed is copied once."""

_SCHEMA = (
    "create table meta (name text primary key, value integer not null) without rowid",
    "insert into meta values ('generation', 1), ('tables_made', 0), ('conditional_stamp', 0)",
    "create table keyspaces (name text primary key, spec blob not null) without rowid",
    (
        "create table tables (number integer primary key, keyspace text not null, name text not null, spec blob not null,"
        " ranged integer not null default 0, indexes_made integer not null default 0, unique (keyspace, name))"
    ),
    "create table cells (key blob primary key, version integer not null, content blob not null) without rowid",
)


class SqliteEngine:
    """One database file as this process uses it; its store and its cells are made over the same engine object.

    `path` is the file (its folder is made if need be), or `:memory:` for one that dies with the engine and is always
    `inline`: no threads, reads and writes on the loop that started it. `pages_max` bounds the size of the file, so that
    tests can fill it. `busy_wait_s` is how long a write waits for another process to let go of the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        inline: bool = False,
        driver: DriverName | None = None,
        jobs_max: int = QUEUED_JOBS_MAX,
        pages_max: int | None = None,
        busy_wait_s: float = BUSY_WAIT_S,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.inline = inline or str(path) == MEMORY
        self.is_durable = str(path) != MEMORY
        self._path = str(path)
        self._driver = driver
        self._pages_max = pages_max
        self._busy_wait_s = busy_wait_s
        self._users = 0
        self._starting: asyncio.Lock | None = None
        self._reader: Connection | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._pooled: list[Connection] = []
        self._watchers: dict[bytes, list[Callable[[], None]]] = {}
        self.writer = Writer(self._connect_writer, inline=self.inline, jobs_max=jobs_max)

    @property
    def reader(self) -> Connection:
        """The connection for reads on the loop's thread."""
        if self._reader is None:
            raise Unavailable("the engine is not started")
        return self._reader

    async def start(self) -> None:
        """Make or check the file and open it; counted, so that store and cells may each start and close it.

        BadRequest: the file is of another application or of a format this version does not know.
        """
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._users == 0:
                await self._open()
            self._users += 1

    async def close(self) -> None:
        """The last of those who started it answers everything under way and lets go of the file."""
        self._users -= 1
        if self._users == 0:
            await self._shut()
        self._users = max(self._users, 0)

    def watch(self, key: bytes, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after `tell(key)`, until the returned function is called."""
        self._watchers.setdefault(key, []).append(changed)

        def stop() -> None:
            watchers = self._watchers.get(key, [])
            if changed in watchers:
                watchers.remove(changed)
            if not watchers:
                self._watchers.pop(key, None)

        return stop

    def tell(self, key: bytes) -> None:
        """The cell `key` was changed."""
        for changed in self._watchers.get(key, ()):
            asyncio.get_running_loop().call_soon(changed)

    async def in_pool(self, read: Callable[[Connection], T]) -> T:
        """Carry out `read` where it does not hold up the loop; inline it runs here."""
        if self._pool is None:
            with translated:
                return read(self.reader)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read_pooled, read)

    async def _open(self) -> None:
        try:
            shared = await self.writer.start()
            with translated:
                self._reader = shared or self._connect(READ_BUSY_WAIT_S)
        except BaseException:
            await self.writer.close()
            raise
        if not self.inline:
            self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="polysite-reader")

    async def _shut(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        for connection in self._pooled:
            connection.close()
        self._pooled.clear()
        reader, self._reader = self._reader, None
        if reader is not None and not self.inline:
            reader.close()
        await self.writer.close()

    def _read_pooled(self, read: Callable[[Connection], T]) -> T:
        with translated:
            connection = self._pooled.pop() if self._pooled else self._connect_pooled()
            try:
                return read(connection)
            finally:
                self._pooled.append(connection)

    def _connect_pooled(self) -> Connection:
        return self._connect(READ_BUSY_WAIT_S, cache_kib=_POOL_CACHE_KIB)

    def _connect(self, busy_wait_s: float, *, cache_kib: int = _CACHE_KIB) -> Connection:
        connection = connect(self._path, busy_wait_s=busy_wait_s, driver=self._driver)
        try:
            connection.run("pragma temp_store = memory")
            connection.run(f"pragma cache_size = -{cache_kib}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_writer(self) -> Connection:
        if self.is_durable:
            _make_file(self._path)
        connection = self._connect(self._busy_wait_s)
        try:
            if self._pages_max is not None:
                connection.run(f"pragma max_page_count = {self._pages_max}")
            connection.run("pragma journal_mode = wal")
            connection.run("pragma synchronous = full")
            connection.run(f"pragma journal_size_limit = {_LOG_BYTES_MAX}")
            connection.run(f"pragma wal_autocheckpoint = {_LOG_PAGES}")
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _make_file(path: str) -> None:
    """The file and the folder are for their owner alone; SQLite gives the log beside the file the same mode."""
    folder = os.path.dirname(path)
    try:
        if folder:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Unavailable(f"the database file cannot be made or opened: {error.strerror}") from error


def _prepare(connection: Connection) -> None:
    """Make the tables in a new file; refuse a file that is not ours."""
    connection.run("begin immediate")
    try:
        application_id = _pragma(connection, "application_id")
        made = connection.first("select count(*) from sqlite_master")
        if application_id == 0 and made == (0,):
            connection.run(f"pragma application_id = {APPLICATION_ID}")
            connection.run(f"pragma user_version = {FORMAT}")
            for statement in _SCHEMA:
                connection.run(statement)
        elif application_id != APPLICATION_ID:
            raise BadRequest("the file is a database of another application: name another file")
        elif _pragma(connection, "user_version") != FORMAT:
            raise BadRequest("the file was written in a format that this version of polysite does not know")
        connection.run("commit")
    except BaseException:
        if connection.in_transaction():
            connection.run("rollback")
        raise


def _pragma(connection: Connection, name: str) -> int:
    row = connection.first(f"pragma {name}")
    return int(row[0]) if row else 0
