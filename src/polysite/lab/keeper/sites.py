"""What runs at the sites while the lab lives: started, waited for, frozen, killed, started again, ended."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from polysite.errors import BadRequest, Unavailable
from polysite.lab.keeper.children import Child, Children
from polysite.lab.keeper.probing import answers
from polysite.lab.orders import ServiceStatus
from polysite.lab.services.service import ENGINE, POLYSITE, Command, CommandProbe, HttpProbe, Service

READY_S = 180.0
LOOK_S = 0.05
STARTS_MAX = 5
"""For a process that ends for a passing reason before it is ready, as whoever keeps it running elsewhere would start it again."""
LAST_BYTES = 4_096
LAST_LINES = 3


class Running:
    """One service at a site. `child` None: it was never started."""

    def __init__(self, service: Service, namespace: int | None, children: Children) -> None:
        self.service = service
        self.child: Child | None = None
        self.ready = False
        self._namespace = namespace
        self._children = children

    @property
    def about(self) -> str:
        return f"{self.service.name} at {self.service.site}"

    def status(self) -> ServiceStatus:
        child = self.child
        if child is None:
            return ServiceStatus(name=self.service.name, state="ended", pid=0)
        if child.exit_code is not None:
            return ServiceStatus(name=self.service.name, state="ended", pid=child.pid, exit_code=child.exit_code)
        state = "frozen" if child.frozen else "ready" if self.ready else "starting"
        return ServiceStatus(name=self.service.name, state=state, pid=child.pid)

    def start(self) -> None:
        """Write its files and start its process, if it does not live."""
        if self.child is not None and self.child.exit_code is None:
            return
        self.ready = False
        for path, text in self.service.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.child = self._children.start(self.service.command, self._namespace)

    async def wait_ready(self, wait_s: float) -> None:
        """Return once it is ready. Unavailable, with its last words: it ended instead, or took too long."""
        assert self.child is not None
        try:
            async with asyncio.timeout(wait_s):
                await self._look(self.child)
        except TimeoutError:
            raise Unavailable(
                f"{self.about} is not ready after {wait_s:.0f} s; its log ends: {self._last_words()}"
            ) from None
        if self.child.exit_code is not None:
            raise Unavailable(
                f"{self.about} ended with {self.child.exit_code} before it was ready; its log ends: {self._last_words()}"
            )
        self.ready = True

    async def _look(self, child: Child) -> None:
        """Until it is ready or has ended."""
        probe = self.service.probe
        while child.exit_code is None:
            if isinstance(probe, HttpProbe):
                if await answers(probe, self._namespace):
                    return
            elif await self._probe_ends_well(probe):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await child.ended.wait()

    async def _probe_ends_well(self, probe: CommandProbe) -> bool:
        log = self.service.command.log.with_suffix(".probe.log")
        asked = self._children.start(Command(probe.argv, self.service.command.folder, log), self._namespace)
        try:
            await asked.ended.wait()
        finally:
            asked.send(9)
        return asked.exit_code == 0

    def _last_words(self) -> str:
        told = [last_words(log) for log in (*self.service.more_logs, self.service.command.log)]
        return " | ".join(filter(None, told)) or "(it wrote nothing)"


class Sites:
    """All services, site by site in the order they are started in."""

    def __init__(self, running: Sequence[Running], tell: Callable[..., None]) -> None:
        self._running = running
        self._tell = tell

    def at(self, site: str, services: Sequence[str] = ()) -> list[Running]:
        """The services meant; BadRequest names those there are."""
        here = [running for running in self._running if running.service.site == site]
        names = [running.service.name for running in here]
        meant = set(services) - {ENGINE}
        if ENGINE in services:
            meant.update(engines := [name for name in names if name != POLYSITE])
            if not engines:
                raise BadRequest(f"no engine runs at {site}; an embedded one is part of the polysite process")
        if meant - set(names):
            there = ", ".join(names) or "nothing"
            raise BadRequest(f"there is no {', '.join(sorted(meant - set(names)))} at {site}; {there} runs there")
        return [running for running in here if not services or running.service.name in meant]

    async def start(self, meant: Iterable[Running], wait_s: float = READY_S) -> None:
        """Start what does not live and let the frozen go on, stage by stage; return when all are ready."""
        for stage in _stages(meant):
            async with asyncio.TaskGroup() as group:
                for running in stage:
                    group.create_task(self._start_one(running, wait_s))

    async def _start_one(self, running: Running, wait_s: float) -> None:
        began_s = time.monotonic()
        if running.child is not None:
            running.child.thaw()
        for left in reversed(range(STARTS_MAX)):
            running.start()
            assert running.child is not None
            try:
                await running.wait_ready(wait_s)
                break
            except Unavailable:
                if (
                    left == 0
                    or running.service.passing_code is None
                    or running.child.exit_code != running.service.passing_code
                ):
                    raise
                self._tell("again", service=running.service.name, site=running.service.site)
        self._tell("ready", service=running.service.name, site=running.service.site, took_s=_rounded(began_s))

    def freeze(self, meant: Iterable[Running]) -> None:
        for running in meant:
            if running.child is not None:
                running.child.freeze()

    async def kill(self, meant: Iterable[Running]) -> None:
        for running in meant:
            if running.child is not None:
                await running.child.end(0)

    async def end(self) -> None:
        """End all, the last stage first: a polysite process lets its sections finish while its engine still lives."""
        for stage in reversed(_stages(self._running)):
            ending = [(running.child, running.service.gentle_s) for running in stage if running.child is not None]
            await asyncio.gather(*(child.end(gentle_s) for child, gentle_s in ending))


def _stages(running: Iterable[Running]) -> list[list[Running]]:
    """Grouped by the stage they are started in, the first first."""
    by_stage: dict[int, list[Running]] = {}
    for one in running:
        by_stage.setdefault(one.service.stage, []).append(one)
    return [by_stage[stage] for stage in sorted(by_stage)]


def last_words(log: Path) -> str:
    """The end of a log, on one line; frames of stack traces are left out."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith(("at ", "... "))]
    return " | ".join(telling[-LAST_LINES:])


def _rounded(began_s: float) -> float:
    return round(time.monotonic() - began_s, 2)
