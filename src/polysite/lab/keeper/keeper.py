"""The keeper's life: networks, services, orders, and the end of all of them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec

from polysite.errors import BadRequest, PolysiteError, Unavailable
from polysite.lab.keeper.children import Children
from polysite.lab.keeper.networks import Networks
from polysite.lab.keeper.obeying import Obedience
from polysite.lab.keeper.progress import Progress
from polysite.lab.keeper.sites import Running, Sites
from polysite.lab.orders import Answer, AnyOrder, Down
from polysite.lab.services.polysite import SKEW_FILE
from polysite.lab.services.service import Service
from polysite.lab.skew import set_skew
from polysite.lab.state import LabFolder, Plan
from polysite.server.socket_names import short_name

NOT_OURS = "POLYSITE_"
"""What variables of the caller's own site begin with; they are nothing to the lab's."""


class Keeper:
    """Keeps one lab until it is told to end."""

    def __init__(self, folder: LabFolder, plan: Plan, services: list[Service], progress: Progress) -> None:
        self._folder = folder
        self._plan = plan
        self._progress = progress
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        self._children = Children(environment, bound=plan.mode == "loopback")
        self._networks = Networks(plan.topology, self._children, folder) if plan.mode == "network" else None
        self._services = services
        self._sites = Sites([], progress.tell)

    async def run(self) -> None:
        """From nothing to ready, until the end. PolysiteError: it could not be made ready; nothing is left."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._children.bury)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        try:
            await self._open_networks()
            running = [Running(service, self._namespace(service.site), self._children) for service in self._services]
            self._sites = Sites(running, self._progress.tell)
            async with self._listening():
                await self._unless_over(self._sites.start(running))
                self._progress.tell("up")
                self._progress.leave()
                await self._over.wait()
        finally:
            await self._end()

    async def _open_networks(self) -> None:
        names = self._plan.topology.names
        for site in names:
            place = self._folder.site(site)
            place.mkdir(parents=True, exist_ok=True)
            set_skew(place / SKEW_FILE, 0.0)
        if self._networks is not None:
            await self._networks.open()
            assert self._networks.carrier is not None
            self._spawn(self._watch(self._networks.carrier.ended))
        self._progress.tell("networks" if self._networks is not None else "loopback", sites=list(names))

    def _namespace(self, site: str) -> int | None:
        return None if self._networks is None else self._networks.namespace(site)

    async def _watch(self, carrier_ended: asyncio.Event) -> None:
        """Without its carrier of packets the lab is none."""
        await carrier_ended.wait()
        if not self._over.is_set():
            self._progress.tell("failed", message="the process that carries the packets has ended")
            self._over.set()

    async def _unless_over(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it. Unavailable: the end came first."""
        doing = self._spawn(work)
        ending = self._spawn(self._over.wait())
        await asyncio.wait([doing, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait([doing])
            raise Unavailable("the lab was told to end before it was up")
        if error := doing.exception():
            raise first_of(error)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        obedience = Obedience(self._plan, self._folder, self._networks, self._sites, self._progress)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError), contextlib.closing(writer):
                if line := await reader.readline():
                    writer.write(msgspec.json.encode(await self._answer(obedience, line)) + b"\n")
                    await writer.drain()

        with short_name(self._folder.socket) as name:
            server = await asyncio.start_unix_server(serve, path=name or str(self._folder.socket))
            self._folder.socket.chmod(0o600)
            async with server:
                yield

    async def _answer(self, obedience: Obedience, line: bytes) -> Answer:
        try:
            order = msgspec.json.decode(line, type=AnyOrder)
        except msgspec.DecodeError as error:
            return Answer(code=BadRequest.code, message=f"the keeper does not understand the order: {error}")
        if isinstance(order, Down):
            self._over.set()
            return Answer()
        try:
            return Answer(value=msgspec.to_builtins(await obedience.obey(order)))
        except (PolysiteError, ExceptionGroup) as failed:
            first = first_of(failed)
            if not isinstance(first, PolysiteError):
                raise
            return Answer(code=first.code, message=first.message)

    async def _end(self) -> None:
        """Nothing of the lab is left but its folder."""
        self._over.set()
        await self._sites.end()
        if self._networks is not None:
            await self._networks.close()
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(FileNotFoundError):
            self._folder.socket.unlink()


def first_of(error: BaseException) -> BaseException:
    """The first error of ours in a group of them; itself otherwise."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [first_of(one) for one in error.exceptions]
    return next((one for one in inner if isinstance(one, PolysiteError)), inner[0])
