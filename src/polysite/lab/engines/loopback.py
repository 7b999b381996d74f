"""Addresses of this machine that nobody else uses: a network of its own for what runs on one machine."""

import random
import secrets
import socket
import sys
from collections.abc import Sequence

from polysite.errors import Unavailable

TRIES_MAX = 64


def free_address(ports: Sequence[int], chance: random.Random | None = None) -> str:
    """A loopback address on which all of `ports` are free; drawn, so that runs side by side do not meet.

    On Linux the whole of 127/8 is this machine; elsewhere only 127.0.0.1 is. `chance` None: the operating system's. Unavailable:
    none was found.
    """
    drawn = chance if chance is not None else random.Random(secrets.randbits(64))
    for _ in range(TRIES_MAX if sys.platform == "linux" else 1):
        address = (
            f"127.{drawn.randint(64, 250)}.{drawn.randint(1, 250)}.{drawn.randint(1, 250)}"
            if sys.platform == "linux"
            else "127.0.0.1"
        )
        if all(_is_free(address, port) for port in ports):
            return address
    raise Unavailable(f"no loopback address has the ports {', '.join(map(str, ports))} free")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
