"""Versioned cells as rows of the file: what the cells and the joint step of the store share."""

from polysite.engines.sqlite.driver import Connection

_READ = "select version, content from cells where key = ?"
_FIRST = "insert into cells (key, version, content) values (?, 1, ?) on conflict (key) do nothing"
_NEXT = "update cells set version = version + 1, content = ? where key = ? and version = ?"


def read_cell(connection: Connection, key: bytes) -> tuple[int, bytes] | None:
    """Version and content; None for a cell that was never written."""
    row = connection.first(_READ, (key,))
    return None if row is None else (row[0], row[1])


def change_cell(connection: Connection, key: bytes, expected: int, content: bytes) -> tuple[bool, int, bytes]:
    """Set `content` if the version is `expected`: (applied, version, content) afterwards."""
    if expected == 0:
        changed = connection.change(_FIRST, (key, content))
    else:
        changed = connection.change(_NEXT, (content, key, expected))
    if changed:
        return True, expected + 1, content
    found = read_cell(connection, key)
    return (False, 0, b"") if found is None else (False, *found)
