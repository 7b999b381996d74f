"""One small view of SQLite, whichever library carries it: apsw, else the standard library's.

A connection is used by one thread at a time. Statements are cached by their text by both libraries, so the same text
is cheap to run again. Results are fetched whole (or through `stream`, which ends its statement): a statement left
half-read would hold its snapshot open, and what was committed since would stay unseen.
"""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing
from typing import Any, Literal, Protocol, TypeAlias

try:
    import apsw
except ImportError:  # pragma: no cover - not every machine has a build of it
    HAS_APSW = False
else:
    HAS_APSW = True

Value: TypeAlias = "bytes | int | str | None"
Values: TypeAlias = "tuple[Value, ...]"
DriverName = Literal["apsw", "sqlite3"]

STATEMENTS_CACHED = 512
_BUSY_PAUSE_S = 0.001


class Connection(Protocol):
    """What the engine asks of a connection. It commits nothing by itself inside `begin` … `commit`."""

    transaction_number: int
    """Counted up by the writer at every `begin`, so that what was learnt in one transaction is not trusted in another."""
    remembered: dict[str, Any]
    """What those who use the connection keep beside it; it goes when the connection goes."""

    def run(self, sql: str, values: Values = ()) -> None:
        """Run a statement to its end."""
        ...

    def change(self, sql: str, values: Values) -> int:
        """Run an insert, update or delete; the number of rows it changed."""
        ...

    def first(self, sql: str, values: Values = ()) -> "tuple[Any, ...] | None":
        """The first row of a result that has few, None if it has none."""
        ...

    def all(self, sql: str, values: Values = ()) -> "list[tuple[Any, ...]]":
        """Every row of a result."""
        ...

    def stream(self, sql: str, values: Values = ()) -> "Generator[tuple[Any, ...], None, None]":
        """Row after row; close the iterator to end the statement early."""
        ...

    def changed_total(self) -> int:
        """Rows changed since the connection was opened."""
        ...

    def in_transaction(self) -> bool:
        """False also after an error that made SQLite roll back by itself."""
        ...

    def close(self) -> None: ...


class ApswConnection:
    """A connection through apsw."""

    def __init__(self, path: str, *, busy_wait_s: float) -> None:
        self._connection = apsw.Connection(path, statementcachesize=STATEMENTS_CACHED)
        self._connection.set_busy_handler(_busy_handler(busy_wait_s))
        # One cursor for everything that is fetched whole: to make one per statement costs as much as a point read.
        self._execute = self._connection.cursor().execute
        self.changed_total = self._connection.total_changes
        self._changes = self._connection.changes
        self.transaction_number = 0
        self.remembered: dict[str, Any] = {}

    def run(self, sql: str, values: Values = ()) -> None:
        self._execute(sql, values).fetchall()

    def change(self, sql: str, values: Values) -> int:
        self._execute(sql, values)
        return self._changes()

    def first(self, sql: str, values: Values = ()) -> "tuple[Any, ...] | None":
        rows = self._execute(sql, values).fetchall()
        return rows[0] if rows else None

    def all(self, sql: str, values: Values = ()) -> "list[tuple[Any, ...]]":
        return self._execute(sql, values).fetchall()

    def stream(self, sql: str, values: Values = ()) -> "Generator[tuple[Any, ...], None, None]":
        with closing(self._connection.cursor()) as cursor:
            yield from cursor.execute(sql, values)

    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()


class StandardConnection:
    """A connection through the standard library."""

    def __init__(self, path: str, *, busy_wait_s: float) -> None:
        self._connection = sqlite3.connect(
            path,
            timeout=busy_wait_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
        )
        self._execute = self._connection.execute
        self.transaction_number = 0
        self.remembered: dict[str, Any] = {}

    def run(self, sql: str, values: Values = ()) -> None:
        self._execute(sql, values).fetchall()

    def change(self, sql: str, values: Values) -> int:
        return self._execute(sql, values).rowcount

    def first(self, sql: str, values: Values = ()) -> "tuple[Any, ...] | None":
        rows = self._execute(sql, values).fetchall()
        return rows[0] if rows else None

    def all(self, sql: str, values: Values = ()) -> "list[tuple[Any, ...]]":
        return self._execute(sql, values).fetchall()

    def stream(self, sql: str, values: Values = ()) -> "Generator[tuple[Any, ...], None, None]":
        with closing(self._connection.cursor()) as cursor:
            yield from cursor.execute(sql, values)

    def changed_total(self) -> int:
        return self._connection.total_changes

    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()


def driver_names() -> tuple[DriverName, ...]:
    """The libraries that can be used here, the better first."""
    return ("apsw", "sqlite3") if HAS_APSW else ("sqlite3",)


def connect(path: str, *, busy_wait_s: float, driver: DriverName | None = None) -> Connection:
    """Open `path`; a lock held by another process is waited for up to `busy_wait_s`. `driver` None: the best there is.

    One process uses one driver per file: the locks of POSIX are the process's, and the two libraries do not know of
    each other's.
    """
    if (driver or driver_names()[0]) == "apsw":
        return ApswConnection(path, busy_wait_s=busy_wait_s)
    return StandardConnection(path, busy_wait_s=busy_wait_s)


def failure_code(error: BaseException) -> int | None:
    """SQLite's extended result code of a driver's error, None for any other error."""
    if HAS_APSW and isinstance(error, apsw.Error):
        return int(getattr(error, "extendedresult", 1))
    if isinstance(error, sqlite3.Error):
        return int(getattr(error, "sqlite_errorcode", 1))
    return None


def _busy_handler(busy_wait_s: float) -> Any:
    """Ask again every millisecond: the library's own pauses grow to 100 ms, which is 100 group commits of the other process."""
    never = threading.Event()
    tries_max = int(busy_wait_s / _BUSY_PAUSE_S)

    def again(tries: int) -> bool:
        if tries >= tries_max:
            return False
        never.wait(_BUSY_PAUSE_S)
        return True

    return again
