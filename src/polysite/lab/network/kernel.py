"""The few system calls of Linux that Python 3.11 has no name for. Each raises OSError as those of `os` do."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
"""Mounts of one's own."""
CLONE_NEWPID = 0x20000000
"""Processes of one's own: the first child is their process 1, and when it ends the kernel kills the others."""
CLONE_NEWNET = 0x40000000
"""A network of one's own."""

_MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x4000, 1 << 18, 2, 4, 8
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Leave the namespaces of these kinds for new ones. That of processes (CLONE_NEWPID) begins with the next child."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def enter(namespace: int, flags: int = 0) -> None:
    """Enter the namespace of an open file. `flags` 0 takes any kind."""
    _check(_libc.setns(ctypes.c_int(namespace), ctypes.c_int(flags)), "setns")


def own_proc() -> None:
    """Show the processes of one's own namespace in /proc, to nobody else. Needs CLONE_NEWNS and to be process 1 or its child."""
    none = ctypes.c_char_p(None)
    _check(_libc.mount(b"none", b"/", none, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), none), "mount --make-rprivate /")
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _check(_libc.mount(b"proc", b"/proc", b"proc", flags, none), "mount /proc")


def die_with_parent(signal_number: int) -> None:
    """Be sent this signal when the thread that made this process ends; see PR_SET_PDEATHSIG."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0), "prctl")


def wake_on_time() -> None:
    """Have timers of this thread go off when they should, not up to 50 µs later; see PR_SET_TIMERSLACK."""
    _check(_libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0), "prctl")
