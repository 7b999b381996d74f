"""Process slots as exclusively locked files of the data folder.

The operating system frees the lock when the process dies, however it dies, so a lock that can be taken proves that the
one who held it is gone. The file holds the incarnation, which each taker raises durably before it is used.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from polysite.errors import BadRequest, Overloaded

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
    """The slots of one data folder. Where other machines of the site have folders of their own, the names of the processes end
    with some letters that were drawn when the folder was first used: no two processes of a site have one name."""

    def __init__(self, folder: Path, *, draw: Callable[[], str] | None = None) -> None:
        """`draw` makes those letters, where several machines serve a site; None: there is only this folder."""
        self._folder = folder
        self._draw = draw

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
                name = f"p{number}{self._suffix()}"
            except BaseException:
                os.close(descriptor)
                raise
            return FileSlot(name, incarnation, descriptor)
        raise Overloaded(f"{SLOTS_MAX} processes serve this data folder already")

    def is_dead(self, process: str, incarnation: int) -> bool:
        """True only if that incarnation's lock was free or the slot has a newer incarnation."""
        suffix = self._suffix()
        slot = process.removesuffix(suffix)
        if not (process.endswith(suffix) and slot[:1] == "p" and slot[1:].isdigit()):
            return False
        try:
            descriptor = os.open(self._path(slot), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _incarnation(descriptor) > incarnation or _lock(descriptor)
        finally:
            os.close(descriptor)

    def _suffix(self) -> str:
        """What the names of this folder's processes end with."""
        if self._draw is None:
            return ""
        path = self._folder / "machine"
        if not path.exists():
            made = self._folder / f"machine.{os.getpid()}"
            with made.open("w", encoding="ascii") as file:
                file.write(self._draw())
                file.flush()
                os.fsync(file.fileno())  # it counts from the link on, also after a loss of power
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(made)
            made.unlink()
        letters = path.read_text(encoding="ascii", errors="replace").strip()
        if not letters.isalnum():
            # Without letters two machines would have processes of one name, and each could call the other's dead.
            raise BadRequest(
                "the file `machine` in the data folder names no machine: remove it, and new letters are drawn"
            )
        return f"-{letters}"

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
