"""The process that carries the packets: reads what leaves each site, and hands it to the site it is for when its time has come.

Run as `python -m polysite.lab.network.forwarder CONTROL TUN…`: numbers of open files, in the order of the sites. On CONTROL, a
socket, comes one JSON object per datagram (`Orders`), each answered with one (`Report`). It ends when the other side of
CONTROL is closed.
"""

import contextlib
import gc
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from polysite.lab.network import kernel
from polysite.lab.network.schedule import Counts, Link, Schedule

PACKET_BYTES_MAX = 65_535
ORDER_BYTES_MAX = 1 << 20
READS_MAX = 64
"""Packets read from one site before the others have their turn."""
IPV4 = 4
IDLE_S = 5.0
URGENT = -15
"""Niceness: a packet that is late because others compute is a delay that nobody asked for."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The state the links shall be in; the whole of it each time. None: as before."""

    delays_s: list[list[float]] | None = None
    cut: list[Link] | None = None
    loss: list[tuple[int, int, float]] | None = None
    reorder: list[tuple[int, int, float]] | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the packets so far, and how many are under way."""

    carried: int
    dropped: int
    overtaken: int
    late_ms_max: float
    under_way: int


class Forwarder:
    """Carries packets between the open TUN devices `tuns` until `control` is closed on the other side."""

    def __init__(
        self, control: socket.socket, tuns: list[int], *, now_s: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self._control = control
        self._tuns = tuns
        self._now_s = now_s
        self._chance = chance
        self.schedule = Schedule([[0.0] * len(tuns) for _ in tuns])

    def run(self) -> None:
        """Carry packets and obey orders."""
        sources = {descriptor: index for index, descriptor in enumerate(self._tuns)}
        control = self._control.fileno()
        watched = [*self._tuns, control]
        while True:
            # Unlike poll, select takes its wait in microseconds; there are few files here.
            readable, _, _ = select.select(watched, [], [], self._wait_s())
            for descriptor in readable:
                if descriptor == control:
                    if not self._obey():
                        return
                else:
                    self._read(sources[descriptor], descriptor)
            self._write()

    def _wait_s(self) -> float:
        next_s = self.schedule.next_s()
        return IDLE_S if next_s is None else max(0.0, next_s - self._now_s())

    def _read(self, source: int, descriptor: int) -> None:
        now_s, enter, chance, count = self._now_s(), self.schedule.enter, self._chance, len(self._tuns)
        for _ in range(READS_MAX):
            try:
                packet = os.read(descriptor, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            # The sites are the first addresses of their network, in order. Anything else (IPv6, broadcast) goes nowhere.
            if packet[0] >> 4 == IPV4 and 0 <= (target := packet[19] - 1) < count and packet[12:15] == packet[16:19]:
                enter(now_s, (source, target), packet, chance)

    def _write(self) -> None:
        for target, packet in self.schedule.leave(self._now_s()):
            with contextlib.suppress(OSError):  # a full queue at the other end: lost, as on any wire
                os.write(self._tuns[target], packet)

    def _obey(self) -> bool:
        """Take one order; False: there is nobody left to give any."""
        data = self._control.recv(ORDER_BYTES_MAX)
        if not data:
            return False
        orders = msgspec.json.decode(data, type=Orders)
        faults = self.schedule.faults
        if orders.delays_s is not None:
            self.schedule.delays_s = orders.delays_s
        if orders.cut is not None:
            faults.cut = set(orders.cut)
        if orders.loss is not None:
            faults.loss = {(source, target): share for source, target, share in orders.loss}
        if orders.reorder is not None:
            faults.reorder = {(source, target): share for source, target, share in orders.reorder}
        self._control.send(msgspec.json.encode(self._report()))
        return True

    def _report(self) -> Report:
        counts: Counts = self.schedule.counts
        late_s, counts.late_s_max = counts.late_s_max, 0.0
        return Report(
            carried=counts.carried,
            dropped=counts.dropped,
            overtaken=counts.overtaken,
            late_ms_max=round(late_s * 1000, 3),
            under_way=len(self.schedule),
        )


def main(arguments: list[str]) -> int:
    """Carry packets between the files named."""
    control, *tuns = (int(number) for number in arguments)
    with contextlib.suppress(OSError):
        kernel.wake_on_time()
    with contextlib.suppress(OSError):
        os.nice(URGENT)
    gc.disable()  # packets hold no cycles
    with socket.socket(fileno=control) as orders:
        Forwarder(orders, tuns, now_s=time.monotonic, chance=random.random).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
