"""A coordinator that shares its file with other processes: it hears them on a socket beside the file, and reaches them."""

import logging
from pathlib import Path
from typing import Any

from polysite.cells.contract import Cells
from polysite.clock import Runtime
from polysite.server.peer_listener import PeerListener, listen_for_peers
from polysite.server.peers import SECRET_FILE, PeerCarrier, load_secret
from polysite.site import SiteCoordinator, SiteSettings
from polysite.stores.contract import Store

_log = logging.getLogger(__name__)


class Process(SiteCoordinator):
    """One of the processes on a file. They prove to each other that they know the secret that lies beside it."""

    def __init__(
        self,
        store: Store,
        cells: Cells,
        runtime: Runtime,
        settings: SiteSettings,
        *,
        slots: Any,
        meeting: Path,
        secret_file: Path | None,
    ) -> None:
        """`meeting` is the folder of slots, sockets and, unless `secret_file` says otherwise, the secret."""
        super().__init__(store, cells, runtime, settings, slots=slots)
        self._runtime = runtime
        self._meeting = meeting
        self._secret_file = secret_file or meeting / SECRET_FILE
        self._listener: PeerListener | None = None
        self._carrier: PeerCarrier | None = None

    async def start(self) -> None:
        await super().start()
        assert self._slot is not None
        secret = load_secret(self._secret_file, self._runtime.randomness)
        self._carrier = PeerCarrier(secret)
        self.use_channel(self._carrier)
        socket = self._meeting / f"process-{self._slot.process}.sock"
        self._listener = await listen_for_peers(self.handle_peer_message, secret, socket, self._runtime)
        if self._listener is None:
            _log.warning("the path of the file is too long for a socket here: no other process can reach this one")
        else:
            self.address_is(self._listener.address)

    async def close(self) -> None:
        await super().close()
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            await carrier.close()
