"""When each packet arrives, or that it never does. Decisions only: packets, times and chance are handed in.

    schedule = Schedule(delays_s)
    schedule.enter(now_s, source, target, packet, chance)
    for target, packet in schedule.leave(now_s): ...

A link is one direction between two sites. It takes its time; while it is cut nothing gets through it, nor does what was on
its way when it was cut; it may lose a share of the packets, and let a share overtake those before them.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

PACKETS_MAX = 100_000
"""Packets under way at once; what comes on top is lost, as in any router."""
OVERTAKING = 0.5
"""What a packet that overtakes needs of its link's delay."""

Link = tuple[int, int]
"""Indexes of the site that sends and the site that receives."""


@dataclass
class LinkFaults:
    """What is wrong with the links: those that are cut, and the share (0 to 1) of packets that are lost or overtake."""

    cut: set[Link] = field(default_factory=set)
    loss: dict[Link, float] = field(default_factory=dict)
    reorder: dict[Link, float] = field(default_factory=dict)


@dataclass
class Counts:
    """Packets since the start, and how late the latest was carried, in seconds, since this was last asked."""

    carried: int = 0
    dropped: int = 0
    overtaken: int = 0
    late_s_max: float = 0.0


class Schedule:
    """The packets under way, by the moment they arrive. `delays_s[source][target]` is how long a link takes."""

    def __init__(self, delays_s: Sequence[Sequence[float]]) -> None:
        self.delays_s = delays_s
        self.faults = LinkFaults()
        self.counts = Counts()
        self._under_way: list[tuple[float, int, Link, bytes]] = []
        self._entered = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def enter(self, now_s: float, link: Link, packet: bytes, chance: Callable[[], float]) -> None:
        """A packet sets out. `chance` draws from [0, 1); it is asked only on links that lose or reorder."""
        faults = self.faults
        if link in faults.cut or len(self._under_way) >= PACKETS_MAX:
            self.counts.dropped += 1
            return
        if faults.loss and chance() < faults.loss.get(link, 0.0):
            self.counts.dropped += 1
            return
        source, target = link
        delay_s = self.delays_s[source][target]
        if faults.reorder and chance() < faults.reorder.get(link, 0.0):
            delay_s *= OVERTAKING
            self.counts.overtaken += 1
        self._entered += 1
        # Two packets of one moment leave in the order they came.
        heapq.heappush(self._under_way, (now_s + delay_s, self._entered, link, packet))

    def leave(self, now_s: float) -> Iterator[tuple[int, bytes]]:
        """The packets that have arrived by now, each with the site it is for."""
        under_way, counts = self._under_way, self.counts
        while under_way and under_way[0][0] <= now_s:
            due_s, _, link, packet = heapq.heappop(under_way)
            counts.late_s_max = max(counts.late_s_max, now_s - due_s)
            if link in self.faults.cut:
                counts.dropped += 1
                continue
            counts.carried += 1
            yield link[1], packet

    def next_s(self) -> float | None:
        """When the next packet arrives; None: none is under way."""
        return self._under_way[0][0] if self._under_way else None
