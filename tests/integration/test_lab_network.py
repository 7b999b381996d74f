"""The network between two sites, by real packets through real namespaces.

Method: two networks and the process that carries packets between them, UDP sockets inside. Needs root and a TUN device.
"""

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import msgspec
import pytest

from polysite.lab.network import capability
from polysite.lab.network.forwarder import Orders, Report

pytestmark = pytest.mark.skipif(capability.missing() is not None, reason=f"missing: {capability.missing()}")

ADDRESSES = ("10.65.7.1", "10.65.7.2")
PORT = 7001
LOST_S = 0.3
"""How long to wait for what shall not come: many times the delay of these tests."""


class Sites:
    """A UDP socket per site, and the orders for what lies between."""

    def __init__(self, sockets: list[socket.socket], control: socket.socket) -> None:
        self.sockets = sockets
        self._control = control

    def order(self, orders: Orders) -> Report:
        self._control.send(msgspec.json.encode(orders))
        return msgspec.json.decode(self._control.recv(1 << 16), type=Report)

    def send(self, source: int, text: bytes) -> None:
        self.sockets[source].sendto(text, (ADDRESSES[1 - source], PORT))

    def received(self, site: int) -> bytes | None:
        """The next packet at a site; None: none came."""
        self.sockets[site].settimeout(LOST_S)
        try:
            return self.sockets[site].recv(100)
        except TimeoutError:
            return None


@contextmanager
def two_sites(delay_s: float) -> Iterator[Sites]:
    from polysite.lab.network.devices import inside, make_network

    with ExitStack() as stack:
        networks = [make_network(address) for address in ADDRESSES]
        for network in networks:
            stack.callback(network.close)
        sockets = []
        for network, address in zip(networks, ADDRESSES, strict=True):
            with inside(network.namespace):
                made = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            made.bind((address, PORT))
            sockets.append(made)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(10)
        tuns = [network.tun for network in networks]
        process = subprocess.Popen(
            [sys.executable, "-m", "polysite.lab.network.forwarder", *map(str, [theirs.fileno(), *tuns])],
            pass_fds=[theirs.fileno(), *tuns],
        )
        theirs.close()
        sites = Sites(sockets, ours)
        try:
            sites.order(Orders(delays_s=[[0, delay_s], [delay_s, 0]]))
            yield sites
        finally:
            ours.close()
            assert process.wait(10) == 0, "the carrier ends when nobody is left to give orders"


def test_the_delay_is_what_was_asked_for() -> None:
    """Goal: a round trip of 40 ms takes 40 ms, never less, and at the median at most 4 ms more."""
    with two_sites(0.020) as sites:
        taken = []
        for _ in range(20):
            before = time.perf_counter()
            sites.send(0, b"ping")
            assert sites.received(1) == b"ping"
            sites.send(1, b"pong")
            assert sites.received(0) == b"pong"
            taken.append(time.perf_counter() - before)
    assert min(taken) >= 0.040
    assert statistics.median(taken) < 0.044


def test_cuts_are_one_way_and_heal() -> None:
    """Goal: what is sent into a cut never arrives, the other direction goes on, and after healing both do."""
    with two_sites(0.005) as sites:
        sites.order(Orders(cut=[(0, 1)]))
        sites.send(0, b"cut")
        sites.send(1, b"open")
        assert sites.received(0) == b"open"
        assert sites.received(1) is None
        assert sites.order(Orders(cut=[])).dropped == 1
        sites.send(0, b"healed")
        assert sites.received(1) == b"healed"


def test_everything_may_be_lost() -> None:
    """Goal: a link that loses all loses all, and the carrier counts it."""
    with two_sites(0.001) as sites:
        sites.order(Orders(loss=[(0, 1, 1.0)]))
        for _ in range(3):
            sites.send(0, b"lost")
        assert sites.received(1) is None
        assert sites.order(Orders(loss=[])).dropped == 3
