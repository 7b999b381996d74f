"""Processes of a simulated world: each can be frozen for any time, and killed at any moment, with what it was doing.

All that goes in and out of a process passes its gate. A frozen process sends nothing and takes nothing in until it thaws, when its
clocks have gone on without it, as those of a machine do that was suspended. What it had sent before takes effect meanwhile. A killed one sends
nothing more, and whoever called it hears nothing.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from polysite.clock import Runtime
from polysite.errors import OutcomeUnknown, PolysiteError, SiteUnreachable, Unavailable
from polysite.site import SiteCoordinator, SiteSettings
from polysite.testing.processes import MemorySlots
from polysite.testing.simulated import SimulatedClock, simulated_runtime
from polysite.testing.world.network import Network

T = TypeVar("T")

MESSAGE = "message "
"""What the names of the tasks begin with that see to messages of other processes."""

DOUBLED_KINDS = frozenset({"push"})
"""Messages of which the network may make two."""


class Gate:
    """Where a process meets the world."""

    def __init__(self) -> None:
        self._thawed: asyncio.Event = asyncio.Event()
        self._thawed.set()
        self.dead = False

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    @property
    def is_frozen(self) -> bool:
        return not self._thawed.is_set()

    async def passed(self) -> None:
        """Return once the process runs. CancelledError: it is dead; nothing leaves it, and nothing in it goes on."""
        while self.is_frozen and not self.dead:
            await self._thawed.wait()
        if self.dead:
            raise asyncio.CancelledError

    def kill(self) -> None:
        self.dead = True
        self._thawed.set()


class Gated:
    """An engine's adapter as a process has it: its coroutines begin and end at the gate."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def gated(*arguments: Any, **named: Any) -> Any:
            await self._gate.passed()
            try:
                return await found(*arguments, **named)
            finally:
                await self._gate.passed()

        self.__dict__[name] = gated
        return gated


class Process:
    """One process of a site, from start to death. `number` tells those of one world apart."""

    def __init__(
        self,
        addresses: "Addresses",
        site: str,
        number: int,
        store: Any,
        cells: Any,
        slots: MemorySlots,
        *,
        seed: int | str,
        settings: SiteSettings,
    ) -> None:
        self.site = site
        self.name = f"{site}/{number}"
        self.gate = Gate()
        self.runtime: Runtime = simulated_runtime(seed, process=self.name)
        assert isinstance(self.runtime.clock, SimulatedClock)
        self.clock: SimulatedClock = self.runtime.clock
        self.address = f"memory:{self.name}"
        self._addresses = addresses
        self._slots = slots
        self._entering = asyncio.Lock()
        self._frozen_s: float | None = None
        self._rate = self.clock.rate
        self._loop = asyncio.get_running_loop()
        self._slot_taken: Any = None
        self.serves = False
        """It has started."""
        gated_store: Any = Gated(store, self.gate)
        gated_cells: Any = Gated(cells, self.gate)
        self.coordinator = SiteCoordinator(
            gated_store,
            gated_cells,
            self.runtime,
            settings,
            slots=_Slots(slots, self),
            channel=Channel(addresses, self),
        )

    async def start(self) -> None:
        """Return once it serves. Unavailable: it died before."""
        self._addresses.join(self)
        task = self.runtime.spawner.spawn(self.coordinator.start(), name=f"start {self.name}")
        await asyncio.wait({task})
        if task.cancelled():
            raise Unavailable("the process died while it started")
        task.result()
        self.serves = True

    async def close(self) -> None:
        """End in order. Messages that are still seen to are cut off then, as a server cuts its connections."""
        await self.coordinator.close()
        self._addresses.leave(self)
        self.gate.kill()
        spawner: Any = self.runtime.spawner
        left = [task for task in spawner.tasks if task.get_name().startswith(MESSAGE)]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def freeze(self) -> None:
        """Stop it where it is; `thaw` lets it go on."""
        if self._frozen_s is None and not self.gate.dead:
            self._frozen_s = self._loop.time()
            self.clock.set_rate(0.0)
            self.gate.freeze()

    def thaw(self) -> None:
        if self._frozen_s is None or self.gate.dead:
            return
        lost_s = (self._loop.time() - self._frozen_s) * self._rate
        self._frozen_s = None
        self.clock.set_rate(self._rate)
        self.clock.step_monotonic_s(lost_s)
        self.clock.step_wall_us(round(lost_s * 1e6))
        self.gate.thaw()

    def drift(self, rate: float) -> None:
        """Let its clocks run at that rate; those of a frozen process do once it thaws."""
        self._rate = rate
        if self._frozen_s is None:
            self.clock.set_rate(rate)

    async def kill(self) -> None:
        """End it at this moment, with everything it was doing."""
        self._addresses.leave(self)
        self.gate.kill()
        if self._slot_taken is not None:
            self._slot_taken.release()
        spawner: Any = self.runtime.spawner
        while tasks := [task for task in spawner.tasks if not task.done() and task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # nobody is left to be told

    async def call(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]], *, limit_s: float) -> T:
        """What `work` gives back when it runs in this process. OutcomeUnknown: no answer within `limit_s`, or the process died."""
        task = self.runtime.spawner.spawn(self._carried(work), name=f"call {self.name}")
        try:
            done, _ = await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=0.0)
            raise OutcomeUnknown("no answer within the limit", reason="limit")
        if self.gate.dead:
            raise OutcomeUnknown("the connection was lost", reason="connection")
        return task.result()

    async def _carried(self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, T]]) -> T:
        async with self._entering:  # what came in while it was frozen begins in the order in which it came
            await self.gate.passed()
        try:
            return await work(self.coordinator)
        finally:
            await self.gate.passed()


class _Slots:
    """The slots of the process's host, which remember who took one."""

    def __init__(self, slots: MemorySlots, process: Process) -> None:
        self._slots = slots
        self._process = process

    def take(self) -> Any:
        self._process._slot_taken = self._slots.take()  # noqa: SLF001
        return self._process._slot_taken  # noqa: SLF001

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slots, name)


class Addresses:
    """Which process is reached where."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._processes: dict[str, Process] = {}

    def join(self, process: Process) -> None:
        self._processes[process.address] = process

    def leave(self, process: Process) -> None:
        self._processes.pop(process.address, None)

    def find(self, address: str) -> Process | None:
        return self._processes.get(address)


class Channel:
    """The peer channel of one process."""

    def __init__(self, addresses: Addresses, process: Process) -> None:
        self._addresses = addresses
        self._process = process
        self._loop = asyncio.get_running_loop()

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:
        """As `polysite.site.peers.PeerChannel`."""
        gate, network = self._process.gate, self._addresses.network
        await gate.passed()
        source, target = self._process.site, _site_of(address)
        answered: asyncio.Future[bytes] = self._loop.create_future()

        def home(outcome: bytes | PolysiteError) -> None:
            if answered.done():
                return
            if isinstance(outcome, PolysiteError):
                answered.set_exception(outcome)
            else:
                answered.set_result(outcome)

        def arrive() -> None:
            process = self._addresses.find(address)
            if process is None:
                refused = SiteUnreachable("a process of ours cannot be reached")
                network.send(target, source, lambda: home(refused))
                return
            work = _handled(process, kind, body, lambda outcome: network.send(target, source, lambda: home(outcome)))
            process.runtime.spawner.spawn(work, name=f"{MESSAGE}{kind}")

        network.send(source, target, arrive, can_double=kind in DOUBLED_KINDS)
        try:
            async with asyncio.timeout(answer_s):
                return await answered
        except TimeoutError:
            raise OutcomeUnknown("a process of ours did not answer", reason="peer") from None
        finally:
            if answered.done() and not answered.cancelled():
                answered.exception()
            await gate.passed()


async def _handled(process: Process, kind: str, body: bytes, answer: Callable[[bytes | PolysiteError], Any]) -> None:
    """Have the process take in a message."""
    try:
        await process.gate.passed()
        handle: Awaitable[bytes] = process.coordinator.handle_peer_message(kind, body)
        outcome: bytes | PolysiteError = await handle
        await process.gate.passed()
    except PolysiteError as error:
        if process.gate.dead:
            return
        outcome = error
    answer(outcome)


def _site_of(address: str) -> str:
    return address.removeprefix("memory:").partition("/")[0]
