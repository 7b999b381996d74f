"""What each order does. One method per order, named after it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from polysite.errors import BadRequest, Refused
from polysite.lab import orders
from polysite.lab.faults.fault import why_of
from polysite.lab.keeper.networks import Networks
from polysite.lab.keeper.progress import Progress
from polysite.lab.keeper.sites import Running, Sites
from polysite.lab.services.polysite import SKEW_FILE, url_of
from polysite.lab.skew import set_skew, skew_s
from polysite.lab.state import LabFolder, Plan
from polysite.lab.topology import Topology


class Obedience:
    """Carries out orders on a lab. `networks` None: the sites are on this machine's loopback."""

    def __init__(
        self, plan: Plan, folder: LabFolder, networks: Networks | None, sites: Sites, progress: Progress
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._networks = networks
        self._sites = sites
        self._progress = progress

    async def obey(self, order: orders.AnyOrder) -> Any:
        """Do it; the answer's value. PolysiteError: it was not done, or not wholly."""
        name = type(order).__name__.lower()
        value = await getattr(self, f"_{name}")(order)
        if not isinstance(order, orders.Status | orders.Rtt):
            self._progress.tell("order", **msgspec.to_builtins(order))
        return value

    async def _status(self, _: orders.Status) -> orders.LabStatus:
        plan, networks = self._plan, self._networks
        packets = None
        if networks is not None:
            report = await networks.report()
            packets = msgspec.convert(msgspec.to_builtins(report), orders.PacketStatus)
        return orders.LabStatus(
            lab=plan.lab,
            mode=plan.mode,
            why_loopback=plan.why_loopback,
            store=plan.store,
            cells=plan.cells,
            up_s=round(self._progress.up_s, 1),
            sites=tuple(self._site_status(name) for name in plan.topology.names),
            links=() if networks is None else tuple(networks.book.status()),
            packets=packets,
        )

    def _site_status(self, site: str) -> orders.SiteStatus:
        return orders.SiteStatus(
            name=site,
            address=self._plan.topology.address(site),
            url=url_of(self._plan, site),
            namespace=None if self._networks is None else self._networks.namespace(site),
            skew_s=skew_s(self._folder.site(site) / SKEW_FILE),
            services=tuple(running.status() for running in self._sites.at(site)),
        )

    async def _cut(self, order: orders.Cut) -> None:
        networks = self._needs_networks()
        networks.book.cut(order.sites, one_way=order.one_way)
        await networks.tell()

    async def _heal(self, order: orders.Heal) -> None:
        networks = self._needs_networks()
        networks.book.heal(order.sites)
        await networks.tell()

    async def _loss(self, order: orders.Loss) -> None:
        networks = self._needs_networks()
        networks.book.lose(order.share, order.sites)
        await networks.tell()

    async def _reorder(self, order: orders.Reorder) -> None:
        networks = self._needs_networks()
        networks.book.reorder(order.share, order.sites)
        await networks.tell()

    async def _distance(self, order: orders.Distance) -> None:
        networks = self._needs_networks()
        before = networks.book.topology
        if [len(row) for row in order.rtt_ms] != [len(before.sites)] * len(before.sites):
            raise BadRequest(f"the distances of {len(before.sites)} sites are as many rows of as many numbers")
        networks.book.topology = Topology(before.sites, order.rtt_ms)
        await networks.tell()

    async def _rtt(self, order: orders.Rtt) -> list[orders.PairRtt]:
        return await self._needs_networks().measure(order.count)

    async def _freeze(self, order: orders.Freeze) -> None:
        self._sites.freeze(self._meant(order.site, order.services))

    async def _kill(self, order: orders.Kill) -> None:
        await self._sites.kill(self._meant(order.site, order.services))

    async def _start(self, order: orders.Start) -> None:
        await self._sites.start(self._meant(order.site, order.services))

    async def _skew(self, order: orders.Skew) -> None:
        self._plan.topology.index(order.site)
        set_skew(self._folder.site(order.site) / SKEW_FILE, order.ahead_s)

    def _meant(self, site: str, services: Sequence[str]) -> list[Running]:
        self._plan.topology.index(site)
        meant = self._sites.at(site, services)
        if not meant:
            raise BadRequest(f"nothing runs at {site}: the lab was started with networks alone")
        return meant

    def _needs_networks(self) -> Networks:
        if self._networks is None:
            raise Refused(f"this lab is on loopback, where nothing lies between the sites ({why_of(self._plan)})")
        return self._networks
