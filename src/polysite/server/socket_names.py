"""Names of Unix sockets that lie deep in a tree: the operating system takes about a hundred bytes, folders may be deeper.

A socket beside a database file is where the file is, and both who listens and who connects know only its path. Linux lets
an open folder stand for its path (`/proc/self/fd/N/name`), so both open the folder and name the socket in it. The socket is
the same file as ever, in a folder that only its owner writes to; nothing is put into a shared place under a guessable name.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NAME_BYTES_MAX = 100
"""Linux takes 107 bytes for the name of a socket, others a few less."""
OPEN_FOLDERS = "/proc/self/fd"


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str | None]:
    """A name for the socket `path` (absolute) that can be listened on and connected to, good until the context ends.

    None: the path is too long, and this system has no other name for it. OSError: its folder cannot be opened.
    """
    if len(os.fsencode(path)) <= NAME_BYTES_MAX:
        yield str(path)
        return
    if not os.path.isdir(OPEN_FOLDERS):
        yield None
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = f"{OPEN_FOLDERS}/{folder}/{path.name}"
        yield name if len(os.fsencode(name)) <= NAME_BYTES_MAX else None
    finally:
        os.close(folder)
