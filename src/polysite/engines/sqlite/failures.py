"""SQLite's result codes as our errors: the one table, and the one context manager at the engine's edge.

Messages say what to mend and never show a path or a value.
"""

from types import TracebackType

from polysite.engines.sqlite.driver import failure_code
from polysite.errors import OutcomeUnknown, Overloaded, PolysiteError, StoreFull, TooLarge, Unavailable, UnknownKey

SQL_ERROR, BUSY, NO_MEMORY, READ_ONLY, IO_ERROR, CORRUPT, FULL = 1, 5, 7, 8, 10, 11, 13

ERRORS: dict[int, tuple[type[PolysiteError], str]] = {
    BUSY: (Unavailable, "another process kept the database file locked for too long"),
    6: (Unavailable, "the database file is locked"),
    NO_MEMORY: (Overloaded, "the engine ran out of memory"),
    READ_ONLY: (Unavailable, "the database file cannot be written: check its mode, its owner and the mount"),
    9: (Unavailable, "the engine was interrupted"),
    IO_ERROR: (Unavailable, "the disk under the database file failed to read or write"),
    CORRUPT: (Unavailable, "the database file is damaged: restore it from a copy"),
    FULL: (StoreFull, "the disk is full: make room and try again"),
    14: (Unavailable, "the database file cannot be opened: check that its folder exists and may be written"),
    15: (Unavailable, "the locking protocol of the database file failed: is it on a network file system?"),
    18: (TooLarge, "a value is larger than the engine can hold"),
    26: (Unavailable, "the file is no database: name another, or move it away"),
}
"""Primary result code → what to raise when certainly nothing was committed."""

_OTHER = (Unavailable, "the embedded engine failed")


def refused(error: BaseException) -> BaseException:
    """What a driver's error means when nothing was committed; any other error is returned as it is."""
    code = failure_code(error)
    if code is None:
        return error
    if code == SQL_ERROR and "no such table" in str(error):
        return _with_cause(UnknownKey("there is no such table any more"), error)
    error_type, message = ERRORS.get(code & 0xFF, _OTHER)
    return _with_cause(error_type(message, engine_code=code), error)


def uncommitted(error: BaseException) -> BaseException:
    """What an error of COMMIT means.

    Full: the record that makes the transaction count was not written whole. Busy: it was not begun. With any other error
    that record may be in the log already, so that a process that opens the file after a crash would find it.
    """
    code = failure_code(error)
    if code is not None and code & 0xFF in {FULL, BUSY}:
        return refused(error)
    return _with_cause(OutcomeUnknown("the disk failed during the commit", reason="commit_failed"), error)


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room: then no other job of the group has a chance either."""
    code = failure_code(error)
    return code is not None and code & 0xFF == FULL


class Translated:
    """`with translated:` turns a driver's errors into ours, with the cause kept."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            return
        ours = refused(error)
        if ours is not error:
            raise ours from error


translated = Translated()


def _with_cause(error: PolysiteError, cause: BaseException) -> PolysiteError:
    error.__cause__ = cause
    return error
