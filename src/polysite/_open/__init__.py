"""The front door: a site in this process on one file, and the place where engines, cells and coordinator are put together.

`polysite.open` is for programs, `build_coordinator` for the server. Both end in `_start`, so that a program and a server
on the same file are two processes of one site and behave alike.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from polysite.api import Coordinator
from polysite.client import Site
from polysite.client.pacing import AsyncPace
from polysite.clock import Runtime
from polysite.errors import BadRequest

if TYPE_CHECKING:
    from polysite.server.run import Place
    from polysite.server.settings import Settings
    from polysite.site import SiteCoordinator

MEMORY = ":memory:"


class Opening:
    """A site about to be opened: `async with polysite.open(…) as site`, or `site = await polysite.open(…)`."""

    def __init__(self, start: Callable[[], Any], pace: AsyncPace) -> None:
        self._start = start
        self._pace = pace
        self._site: Site | None = None

    def __await__(self) -> Generator[Any, None, Site]:
        return self._open().__await__()

    async def __aenter__(self) -> Site:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._site is not None:
            await self._site.close()

    async def _open(self) -> Site:
        if self._site is not None:
            raise BadRequest("this site was opened before; call polysite.open again for another one")
        coordinator: Coordinator = await self._start()
        self._site = Site(coordinator, pace=self._pace)
        return self._site


def open(  # noqa: A001
    path: str | PathLike[str] = MEMORY,
    *,
    site: str = "local",
    runtime: Runtime | None = None,
    **settings: Any,
) -> Opening:
    """A site in this process, on the file `path` (or the folder that `polysite serve --data` was given).

    `:memory:` dies with the program. Several programs, and servers, may open one file at once: they are processes of one
    site. `site` is its name, `runtime` clock and chance (None: the machine's); `settings` are those of
    `polysite.site.settings.SiteSettings`.
    """
    pace = AsyncPace(runtime)

    async def start() -> Coordinator:
        return await start_embedded(path, site=site, runtime=pace.runtime, **settings)

    return Opening(start, pace)


async def start_embedded(
    path: str | PathLike[str] = MEMORY, *, site: str = "local", runtime: Runtime | None = None, **settings: Any
) -> Coordinator:
    """A started coordinator on the embedded engine; closing it lets go of the file. Arguments as `open`."""
    from polysite.site.settings import SiteSettings

    known = {member.name for member in dataclasses.fields(SiteSettings)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise BadRequest(f"there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if settings.get("peers"):
        from polysite._open.backends import ONE_SITE

        raise BadRequest(ONE_SITE)
    return await _start(path, runtime or Runtime(), site=site, **settings)


async def build_coordinator(settings: "Settings", place: "Place", runtime: Runtime) -> Coordinator:
    """The started coordinator of a server process, by its settings. BadRequest names a setting that cannot be met.

    `place` is where clients and the processes of all sites reach this one. Processes on one file reach each other on sockets
    beside it.
    """
    from polysite._open.backends import is_embedded

    if not is_embedded(settings):
        return await _start_served(settings, place, runtime)
    return await _start(
        Path(settings.store.data),
        runtime,
        folder=True,
        secret_file=Path(settings.site.secret_file) if settings.site.secret_file else None,
        site=settings.site.name,
        majority_rtt_ms=settings.site.majority_rtt_ms,
        section_wait_ms=settings.site.section_wait_ms,
    )


async def _start_served(settings: "Settings", place: "Place", runtime: Runtime) -> Coordinator:
    """Engines that replicate, one process of one site."""
    from polysite._open.backends import Backends
    from polysite._open.served import ServedSite
    from polysite.engines.process_slots import FileSlots
    from polysite.server.peers import PeerCarrier, load_secret, secret_path
    from polysite.server.tls import peer_context
    from polysite.site import SiteSettings

    backends = Backends(settings, runtime)
    site = settings.site
    coordinator = ServedSite(
        backends.store(),
        backends.cells(),
        runtime,
        SiteSettings(
            site=site.name,
            address=place.url,
            peers=site.peers,
            majority_rtt_ms=site.majority_rtt_ms,
            section_wait_ms=site.section_wait_ms,
        ),
        slots=FileSlots(Path(settings.store.data), draw=lambda: runtime.randomness.random_bytes(4).hex()),
        carrier=lambda: PeerCarrier(
            load_secret(secret_path(settings), runtime.randomness), trust=peer_context(settings)
        ),
    )
    return await _started(coordinator)


async def _started(coordinator: "SiteCoordinator") -> Coordinator:
    """The coordinator once it has started; what had begun is undone if it cannot."""
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(coordinator.close)
        await coordinator.start()
        undo.pop_all()
    return coordinator


async def _start(
    path: str | PathLike[str],
    runtime: Runtime,
    *,
    folder: bool = False,
    secret_file: Path | None = None,
    **settings: Any,
) -> Coordinator:
    """Engine, store, cells, process slots and coordinator over one file; `secret_file` None: where processes meet."""
    from polysite.cells.embedded import EmbeddedCells
    from polysite.engines.process_slots import FileSlots
    from polysite.engines.sqlite import FILE_NAME, SqliteEngine
    from polysite.site import SiteCoordinator, SiteSettings
    from polysite.stores.embedded import EmbeddedStore

    file = _file(path, FILE_NAME, folder=folder)
    engine = SqliteEngine(MEMORY if file is None else file, clock=runtime.clock)
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    if file is None:
        coordinator = SiteCoordinator(store, cells, runtime, SiteSettings(**settings))
    else:
        from polysite._open.process import Process

        meeting = file.parent if file.name == FILE_NAME else file.with_name(file.name + ".processes")
        coordinator = Process(
            store,
            cells,
            runtime,
            SiteSettings(**settings),
            slots=FileSlots(meeting),
            meeting=meeting,
            secret_file=secret_file,
        )
    return await _started(coordinator)


def _file(path: str | PathLike[str], name: str, *, folder: bool) -> Path | None:
    """The database file that `path` means: itself, the one in the folder, or None for one in memory."""
    if not folder and str(path) == MEMORY:
        return None
    found = Path(path)
    return found / name if folder or found.is_dir() else found
