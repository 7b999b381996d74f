"""The peer channel's ear of a process that serves no HTTP: a Unix socket beside its file, for `polysite.open`."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import cast

import uvicorn
from uvicorn.server import ServerState

from polysite.api import Coordinator
from polysite.clock import Runtime
from polysite.server.app import Application
from polysite.server.logs import make_logger
from polysite.server.peers import UNIX, PeerHandler, peer_routes
from polysite.server.protocol import BoundedProtocol
from polysite.server.service import Service
from polysite.server.settings import Settings
from polysite.server.socket_names import short_name


class PeerListener:
    """Listens until it is closed; `address` is what other processes are told."""

    def __init__(
        self, server: asyncio.AbstractServer, path: Path, state: ServerState, named: contextlib.ExitStack
    ) -> None:
        self._server = server
        self._path = path
        self._state = state
        self._named = named

    @property
    def address(self) -> str:
        return f"{UNIX}{self._path}"

    async def close(self) -> None:
        """Take no more messages; those under way are cut, and their senders do not know what became of them."""
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        with self._named, contextlib.suppress(FileNotFoundError):
            self._path.unlink()


async def listen_for_peers(handler: PeerHandler, secret: bytes, path: Path, runtime: Runtime) -> PeerListener | None:
    """Listen at `path`, readable by its owner alone. None: the path is too long for a socket on this system.

    A socket file that a dead process left there is taken over, so the path must be this process's own (its slot's).
    """
    path = _absolute(path)
    settings = Settings()
    logger = make_logger(settings.telemetry, runtime.clock)
    # The channel's route asks for nothing of the coordinator; the handler does.
    service = Service(cast(Coordinator, None), settings, runtime=runtime, logger=logger)
    app = Application(service, routes=peer_routes(handler, secret))
    config = uvicorn.Config(
        app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=60
    )
    state = ServerState()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as named:
        name = named.enter_context(short_name(path))
        if name is None:
            return None
        path.unlink(missing_ok=True)
        server = await loop.create_unix_server(
            lambda: BoundedProtocol(config=config, server_state=state, app_state={}, _loop=loop), path=name
        )
        path.chmod(0o600)
        # The name stays good as long as the listener lives: the loop may look at it again when it closes.
        return PeerListener(server, path, state, named.pop_all())


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
