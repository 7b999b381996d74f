"""Whether this machine lets us make networks, and if not, what is missing. Tried, not guessed, in a process of its own."""

import os
import sys

from polysite.lab.network import kernel

PROBE_ADDRESS = "10.64.0.1"


def missing() -> str | None:
    """The first thing that is missing for sites with networks of their own, in words; None: nothing is."""
    if sys.platform != "linux":
        return "Linux"
    if os.geteuid() != 0:
        return "root"
    from polysite.lab.network.devices import TUN

    if not os.path.exists(TUN):
        return TUN
    return _tried()


def _tried() -> str | None:
    """Make one network in a child, which takes it along when it ends."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = b""
        try:
            told = _try().encode()
        finally:
            os.write(writing, told or b"an unforeseen error")
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return None if told == b"ok" else told.decode()


def _try() -> str:
    from polysite.lab.network.devices import TUN, make_network

    try:
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
    except OSError as error:
        return f"the right to make namespaces ({error.strerror})"
    try:
        make_network(PROBE_ADDRESS).close()
    except OSError as error:
        what = TUN if error.filename == TUN else "a network namespace with a TUN device"
        return f"the right to make or open {what} ({error.strerror})"
    return "ok"
