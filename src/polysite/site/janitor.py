"""What is done now and then: idle cells are compacted, tombstones collected, the process shows that it is there."""

from typing import Any

from polysite.core import lock_cell
from polysite.core.wishes import Compact
from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.site.keys import KeyState, KeyTable
from polysite.site.processes import Registry
from polysite.site.sessions import Sessions
from polysite.values.keys import LockKey

KEYS_PER_ROUND = 500
WATCHED_MAX = 20_000


class Janitor:
    """Rounds of small tidying. Cells are walked a few at a time, so a start costs nothing per key.

    An idle cell is one whose version this process has seen unchanged for `compact_idle_s` on its own clock.
    """

    def __init__(self, context: SiteContext, keys: KeyTable, sessions: Sessions, registry: Registry) -> None:
        self._context = context
        self._keys = keys
        self._sessions = sessions
        self._registry = registry
        self._after = b""
        self._idle: dict[bytes, tuple[int, float]] = {}
        self._collect: Any = getattr(context.store, "collect_tombstones", None)

    def start(self) -> None:
        """Begin the rounds."""
        settings = self._context.settings
        self._context.timers.after(settings.janitor_s, self._round)
        self._context.timers.after(settings.registry_beat_s, self._beat)

    def _round(self) -> None:
        if not self._context.closing:
            self._context.background(self._tidy(), name="site-janitor")

    def _beat(self) -> None:
        if not self._context.closing:
            self._context.background(self._show(), name="site-registry")

    async def _show(self) -> None:
        try:
            await self._registry.beat()
        finally:
            if not self._context.closing:
                self._context.timers.after(self._context.settings.registry_beat_s, self._beat)

    async def _tidy(self) -> None:
        try:
            await self._walk()
            if self._collect is not None:
                await self._collect()
        finally:
            if not self._context.closing:
                self._context.timers.after(self._context.settings.janitor_s, self._round)

    async def _walk(self) -> None:
        """Look at the next few cells; compact those that were idle for long."""
        cells = self._context.cells
        found = await cells.keys(self._after, KEYS_PER_ROUND)
        self._after = found[-1] if len(found) == KEYS_PER_ROUND else b""
        now_s = self._context.clock.monotonic_s()
        for encoded in found:
            if self._context.closing:
                return
            # Where cells are read without waiting, calls of clients come in between.
            await self._context.clock.sleep_s(0)
            view = await cells.read_local(encoded)
            try:
                cell = lock_cell.decode(view.content)
            except PolysiteError:
                continue
            # A compaction leaves itself behind as the last change: it is not to be followed by another for ever.
            if cell.queue or (len(lock_cell.recent_changes(cell)) <= 1 and not cell.departed):
                self._idle.pop(encoded, None)
                continue
            seen = self._idle.get(encoded)
            if seen is None or seen[0] != view.version:
                if len(self._idle) < WATCHED_MAX:
                    self._idle[encoded] = (view.version, now_s)
            elif now_s - seen[1] >= self._context.settings.compact_idle_s:
                del self._idle[encoded]
                await self._compact(encoded, view.version)

    async def _compact(self, encoded: bytes, version: int) -> None:
        state: KeyState = self._keys.take(LockKey.decode(encoded), encoded)
        try:
            await self._sessions.combiner.look(state)
            if state.version == version and not state.cell.queue:
                await self._sessions.combiner.ask(state, Compact())
        except PolysiteError:
            pass
        finally:
            self._keys.drop(state)
