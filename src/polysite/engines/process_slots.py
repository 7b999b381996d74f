"""Process slots as exclusively locked files of the data folder.

The operating system frees the lock when the process dies, however it dies, so a lock that can be taken proves that the
one who held it is gone. The file holds the incarnation, which each taker raises durably before it is used.

    process-p1.lock    the lock, and the incarnation
    machine            letters that the names end with, and what they are bound to: `9f3c11d0 5b1e…`

A lock proves something only in the folder where it was taken. In a copy of the folder all locks are free, while the processes of the
original live: so letters are bound to the very file they stand in and to the machine, and a copy draws new ones.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from polysite.errors import BadRequest, Overloaded

SLOTS_MAX = 64
MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
"""What is written there is drawn when a system is installed, and stays (machine-id(5))."""

_log = logging.getLogger(__name__)


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

    def __init__(self, folder: Path, *, draw: Callable[[], str] | None = None, machine: str | None = None) -> None:
        """`draw` makes those letters, where several machines serve a site; None: there is only this folder. `machine` is what
        the letters are bound to beside the file; None: what this machine says it is, if it does."""
        self._folder = folder
        self._draw = draw
        self._machine = _this_machine() if machine is None else machine

    @property
    def lettered(self) -> bool:
        """Whether names end with letters of the folder."""
        return self._draw is not None

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
                name = f"p{number}{self._suffix_here()}"
            except BaseException:
                os.close(descriptor)
                raise
            return FileSlot(name, incarnation, descriptor)
        raise Overloaded(f"{SLOTS_MAX} processes serve this data folder already")

    def is_dead(self, process: str, incarnation: int) -> bool:
        """True only if that incarnation's lock was free or the slot has a newer incarnation."""
        suffix = self._suffix()
        if suffix is None:
            return False
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

    def rename(self) -> None:
        """Draw new letters: somebody else has the same. Processes that go on under the old ones are not known to be dead from now on."""
        if self._draw is not None:
            with self._drawing():
                self._write_letters(self._draw())

    def _suffix(self) -> str | None:
        """What the names of this folder's processes end with; None: the letters there are were drawn for another one, or none were."""
        if self._draw is None:
            return ""
        letters = self._letters()
        return None if letters is None else f"-{letters}"

    def _suffix_here(self) -> str:
        """The same, with letters drawn if need be."""
        suffix = self._suffix()
        if suffix is None:
            assert self._draw is not None
            with self._drawing():
                if self._letters() is None:
                    if self._letters_file.exists():
                        _log.warning("the data folder was copied or moved: its processes have new names from now on")
                    self._write_letters(self._draw())
            suffix = self._suffix()
        assert suffix is not None
        return suffix

    def _letters(self) -> str | None:
        """The letters, if they were drawn for this folder; None if not, or not yet."""
        try:
            descriptor = os.open(self._letters_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            letters, _, bound = os.pread(descriptor, 256, 0).decode("ascii", "replace").strip().partition(" ")
            if not letters.isalnum():
                # Without letters two machines would have processes of one name, and each could call the other's dead.
                raise BadRequest(
                    "the file `machine` in the data folder names no machine: remove it, and new letters are drawn"
                )
            return letters if bound == self._binding(descriptor) else None
        finally:
            os.close(descriptor)

    def _write_letters(self, letters: str) -> None:
        """In a new file, that takes the place of the old one whole."""
        made = self._folder / f"machine.{os.getpid()}"
        made.unlink(missing_ok=True)
        with made.open("w", encoding="ascii") as file:
            file.write(f"{letters} {self._binding(file.fileno())}\n")
            file.flush()
            os.fsync(file.fileno())  # it counts from the rename on, also after a loss of power
        made.rename(self._letters_file)

    def _binding(self, descriptor: int) -> str:
        """What an open file and this machine are known by: a copy of the file has another inode, unless the whole disk was copied."""
        inode = os.fstat(descriptor).st_ino
        return hashlib.sha256(f"{inode} {self._machine}".encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """Alone among the processes of the folder."""
        descriptor = os.open(self._folder / "machine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def _letters_file(self) -> Path:
        return self._folder / "machine"

    def _path(self, process: str) -> Path:
        return self._folder / f"process-{process}.lock"


def _this_machine() -> str:
    """What this machine says it is, "" if it says nothing."""
    for name in MACHINE_FILES:
        with contextlib.suppress(OSError):
            return Path(name).read_text(encoding="ascii", errors="replace").strip()
    return ""


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
