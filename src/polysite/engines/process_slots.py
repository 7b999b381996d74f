"""Process slots as exclusively locked files of the data folder.

The operating system frees the lock when the process dies, however it dies, so a lock that can be taken proves that the
one who held it is gone. The file holds the incarnation, which each taker raises durably before it is used.
"""

import fcntl
import os
from pathlib import Path

from polysite.errors import Overloaded

SLOTS_MAX = 64


class FileSlot:
    """A slot held through an open, locked file."""

    def __init__(self, process: str, incarnation: int, descriptor: int) -> None:
        self.process = process
        self.incarnation = incarnation
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go; closing the file frees the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class FileSlots:
    """The slots of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self) -> FileSlot:
        """Hold the first free slot under a new incarnation; Overloaded if all are taken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, SLOTS_MAX + 1):
            descriptor = os.open(self._path(f"p{number}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if not _lock(descriptor):
                    os.close(descriptor)
                    continue
                incarnation = _incarnation(descriptor) + 1
                _write_incarnation(descriptor, incarnation)
            except BaseException:
                os.close(descriptor)
                raise
            return FileSlot(f"p{number}", incarnation, descriptor)
        raise Overloaded(f"{SLOTS_MAX} processes serve this data folder already")

    def is_dead(self, process: str, incarnation: int) -> bool:
        """True only if that incarnation's lock was free or the slot has a newer incarnation."""
        if not (process[:1] == "p" and process[1:].isdigit()):
            return False
        try:
            descriptor = os.open(self._path(process), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _incarnation(descriptor) > incarnation or _lock(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, process: str) -> Path:
        return self._folder / f"process-{process}.lock"


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _incarnation(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else 0


def _write_incarnation(descriptor: int, incarnation: int) -> None:
    os.pwrite(descriptor, f"{incarnation}\n".encode("ascii"), 0)
    os.fsync(descriptor)
