"""Network namespaces without names, each with one TUN device, as open files.

A namespace without a name lives while a process is in it or a file of it is open, a TUN device while its file is open. So
whoever made them need not clean up: when its processes have ended, however they did, the kernel has removed both.
"""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from polysite.lab.network import kernel

TUN = "/dev/net/tun"
DEVICE = "wan"
MTU_BYTES = 8_900
"""Large packets: the process that carries them pays per packet."""
QUEUE_PACKETS = 5_000

_OWN = "/proc/thread-self/ns/net"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8922, 0x8943
_IFF_UP = 0x1
_REQUEST_BYTES = 40
"""Size of `struct ifreq`: 16 bytes of name, 24 of union."""


class SiteNetwork(NamedTuple):
    """Open files: the namespace of a site, and its TUN device, from which the packets that leave the site are read."""

    namespace: int
    tun: int

    def close(self) -> None:
        for descriptor in self:
            os.close(descriptor)


def make_network(address: str) -> SiteNetwork:
    """A new network with loopback and one device that has `address` in a /24, both up. OSError says what is not allowed."""
    with _staying():
        kernel.unshare(kernel.CLONE_NEWNET)
        with contextlib.ExitStack() as undo:
            namespace = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, namespace)
            tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(os.close, tun)
            request = struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI)
            fcntl.ioctl(tun, _TUNSETIFF, request)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as through:
                _bring_up(through, "lo")
                _set(through, _SIOCSIFADDR, _packed_address(address))
                _set(through, _SIOCSIFNETMASK, _packed_address("255.255.255.0"))
                _set(through, _SIOCSIFMTU, struct.pack("i20x", MTU_BYTES))
                _set(through, _SIOCSIFTXQLEN, struct.pack("i20x", QUEUE_PACKETS))
                _bring_up(through, DEVICE)
            undo.pop_all()
        return SiteNetwork(namespace, tun)


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in that network meanwhile. Sockets made there stay there. For this thread; what it awaits must not come between."""
    with _staying():
        kernel.enter(namespace, kernel.CLONE_NEWNET)
        yield


@contextlib.contextmanager
def _staying() -> Iterator[None]:
    """Come back to the network of before."""
    before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            kernel.enter(before, kernel.CLONE_NEWNET)
        finally:
            os.close(before)


def _bring_up(through: socket.socket, device: str) -> None:
    request = struct.pack("16s24x", device.encode())
    (flags,) = struct.unpack_from("H", fcntl.ioctl(through, _SIOCGIFFLAGS, request), 16)
    fcntl.ioctl(through, _SIOCSIFFLAGS, struct.pack("16sH22x", device.encode(), flags | _IFF_UP))


def _set(through: socket.socket, what: int, value: bytes) -> None:
    request = struct.pack("16s", DEVICE.encode()) + value
    assert len(request) == _REQUEST_BYTES
    fcntl.ioctl(through, what, request)


def _packed_address(address: str) -> bytes:
    """`struct sockaddr_in` in the union of `struct ifreq`."""
    return struct.pack("HH4s16x", socket.AF_INET, 0, socket.inet_aton(address))
