"""Several processes of one site inside one program: their slots, and a peer channel that moves messages in memory."""

import itertools
from collections.abc import Awaitable, Callable, Iterable

from polysite.errors import OutcomeUnknown, SiteUnreachable

Handler = Callable[[str, bytes], Awaitable[bytes]]


class MemorySlot:
    """A slot held until it is released, or its process is said to be dead."""

    def __init__(self, slots: "MemorySlots", process: str, incarnation: int) -> None:
        self._slots = slots
        self.process = process
        self.incarnation = incarnation

    def release(self) -> None:
        self._slots.free(self.process, self.incarnation)


class MemorySlots:
    """Slots of one data folder, in memory; `polysite.site.processes.ProcessSlots`."""

    def __init__(self, *, letters: Iterable[str] = ()) -> None:
        """`letters`: what names end with, one after the other as they are drawn; none: they end with nothing."""
        self._drawn = iter(letters)
        self._suffix = "".join(f"-{drawn}" for drawn in itertools.islice(self._drawn, 1))
        self._incarnations: dict[str, int] = {}
        self._held: set[str] = set()

    @property
    def lettered(self) -> bool:
        return bool(self._suffix)

    def rename(self) -> None:
        if self.lettered:
            self._suffix = f"-{next(self._drawn)}"

    def take(self) -> MemorySlot:
        number = 1
        while f"p{number}{self._suffix}" in self._held:
            number += 1
        process = f"p{number}{self._suffix}"
        incarnation = self._incarnations[process] = self._incarnations.get(process, 0) + 1
        self._held.add(process)
        return MemorySlot(self, process, incarnation)

    def free(self, process: str, incarnation: int) -> None:
        if self._incarnations.get(process) == incarnation:
            self._held.discard(process)

    def is_dead(self, process: str, incarnation: int) -> bool:
        known = self._incarnations.get(process)
        return known is not None and (known > incarnation or process not in self._held)


class MemoryChannel:
    """Carries messages between the processes that joined it, by address. `cut` addresses cannot be reached."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self.cut: set[str] = set()
        self.lose_answers = False
        """Messages are handled, and their senders told OutcomeUnknown."""
        self.sent: list[tuple[str, str]] = []
        """Address and kind of every message."""

    def join(self, address: str, handler: Handler) -> None:
        """Messages for `address` go to `handler`."""
        self._handlers[address] = handler

    def leave(self, address: str) -> None:
        self._handlers.pop(address, None)

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:  # noqa: ARG002
        """As `polysite.site.peers.PeerChannel`."""
        self.sent.append((address, kind))
        handler = self._handlers.get(address)
        if handler is None or address in self.cut:
            raise SiteUnreachable("a process of ours cannot be reached")
        answer = await handler(kind, body)
        if self.lose_answers:
            raise OutcomeUnknown("a process of ours did not answer", reason="peer")
        return answer
