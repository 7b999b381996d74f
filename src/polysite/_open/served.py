"""A coordinator on engines that replicate: other processes, of this site and of the others, reach it at the server's address."""

from collections.abc import Callable
from typing import Any

from polysite.cells.contract import Cells
from polysite.clock import Runtime
from polysite.server.peers import PeerCarrier
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.contract import Store


class ServedSite(SiteCoordinator):
    """One process of one of several sites. They prove to each other that they know the shared secret."""

    def __init__(
        self,
        store: Store,
        cells: Cells,
        runtime: Runtime,
        settings: SiteSettings,
        *,
        slots: Any,
        carrier: Callable[[], PeerCarrier],
    ) -> None:
        """`carrier` makes the channel when the process starts; `settings.address` is where others reach it."""
        super().__init__(store, cells, runtime, settings, slots=slots)
        self._make_carrier = carrier
        self._carrier: PeerCarrier | None = None

    async def start(self) -> None:
        # Before the start takes a name, it asks over the channel whether somebody else has it.
        self._carrier = self._make_carrier()
        self.use_channel(self._carrier)
        await super().start()

    async def close(self) -> None:
        await super().close()
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            await carrier.close()
