"""The networks of the sites while the lab lives, and the process that carries packets between them."""

import asyncio
import contextlib
import os
import socket
import statistics
import sys

import msgspec

from polysite.errors import BadRequest, Unavailable
from polysite.lab.keeper.children import Child, Children
from polysite.lab.keeper.links import LinkBook
from polysite.lab.network.devices import SiteNetwork, make_network
from polysite.lab.network.echo import EchoSocket
from polysite.lab.network.forwarder import Orders, Report
from polysite.lab.orders import PairRtt
from polysite.lab.services.service import Command
from polysite.lab.state import LabFolder
from polysite.lab.topology import Topology

REPORT_S = 5.0
REPORT_BYTES_MAX = 1 << 16
ECHO_COUNT_MAX = 100
ECHO_WAIT_S = 2.0
"""Over the planned round trip, until an echo counts as lost."""


class Networks:
    """One network per site. Made by `open`; `close` leaves nothing."""

    def __init__(self, topology: Topology, children: Children, folder: LabFolder) -> None:
        self.book = LinkBook(topology)
        self._children = children
        self._folder = folder
        self._networks: dict[str, SiteNetwork] = {}
        self._control: socket.socket | None = None
        self._asking = asyncio.Lock()
        self._late_ms_max = 0.0
        self.carrier: Child | None = None
        """The process that carries packets; when it has ended, the sites are apart for good."""

    async def open(self) -> None:
        """Make the networks and start carrying packets. Unavailable says what is not allowed here."""
        for site in self.book.topology.sites:
            try:
                self._networks[site.name] = make_network(site.address)
            except OSError as error:
                raise Unavailable(f"the network of {site.name} cannot be made: {error.strerror}") from None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        files = (theirs.fileno(), *(network.tun for network in self._networks.values()))
        argv = [sys.executable, "-m", "polysite.lab.network.forwarder", *map(str, files)]
        with contextlib.closing(theirs):
            self.carrier = self._children.start(Command(argv, self._folder.path, self._folder.log), None, files=files)
        await self.tell()

    def namespace(self, site: str) -> int:
        """The open file of a site's network."""
        return self._networks[site].namespace

    async def tell(self) -> None:
        """Have the carrier do what the book says now."""
        await self._ask(self.book.orders())

    async def report(self) -> Report:
        """What became of the packets so far; the latest one since this was last asked."""
        found = await self._ask(Orders())
        late_ms, self._late_ms_max = self._late_ms_max, 0.0
        return msgspec.structs.replace(found, late_ms_max=late_ms)

    async def _ask(self, orders: Orders) -> Report:
        assert self._control is not None
        loop = asyncio.get_running_loop()
        try:
            async with self._asking, asyncio.timeout(REPORT_S):
                await loop.sock_sendall(self._control, msgspec.json.encode(orders))
                answer = await loop.sock_recv(self._control, REPORT_BYTES_MAX)
        except (TimeoutError, OSError):
            raise Unavailable("the process that carries the packets does not answer") from None
        if not answer:
            raise Unavailable("the process that carries the packets has ended")
        report = msgspec.json.decode(answer, type=Report)
        self._late_ms_max = max(self._late_ms_max, report.late_ms_max)
        return report

    async def measure(self, count: int) -> list[PairRtt]:
        """Round trips between each two sites, each direction by `count` echoes one after the other, all pairs side by side."""
        if not 1 <= count <= ECHO_COUNT_MAX:
            raise BadRequest(f"1 to {ECHO_COUNT_MAX} echoes are measured at a time, not {count}")
        names = self.book.topology.names
        pairs = [(source, target) for source in names for target in names if source != target]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._measure_pair(*pair, count, mark=i)) for i, pair in enumerate(pairs, 1)]
        return [task.result() for task in tasks]

    async def _measure_pair(self, source: str, target: str, count: int, *, mark: int) -> PairRtt:
        topology = self.book.topology
        planned_ms = (topology.delay_s(source, target) + topology.delay_s(target, source)) * 1000
        echo = EchoSocket(self.namespace(source), mark)
        with contextlib.closing(echo):
            taken = [
                await echo.round_trip_s(topology.address(target), number, planned_ms / 1000 + ECHO_WAIT_S)
                for number in range(count)
            ]
        back_ms = [round(one_s * 1000, 2) for one_s in taken if one_s is not None]
        return PairRtt(
            source=source,
            target=target,
            planned_ms=planned_ms,
            median_ms=round(statistics.median(back_ms), 2) if back_ms else None,
            least_ms=min(back_ms, default=None),
            most_ms=max(back_ms, default=None),
            lost=count - len(back_ms),
        )

    async def close(self) -> None:
        """Let go of everything: networks and devices live no longer than the files open on them."""
        if self._control is not None:
            self._control.close()
        if self.carrier is not None:
            await self.carrier.end(0)
        for network in self._networks.values():
            with contextlib.suppress(OSError):
                os.close(network.namespace)
                os.close(network.tun)
        self._networks.clear()
