"""Registers as Paxos makes them, in a few lines: linearizable, slow, and with answers that never come.

A change promises, proposes, commits: two round trips to a majority. Changes that meet supersede each other, and who was superseded may be
told so, or nothing. A proposal that nobody was told of stays there until somebody who reads completes it, or another change takes its place.
Each site's replica learns of a commit when it arrives, if it does; what it shows until then is some older state.
"""

import asyncio
from dataclasses import dataclass, field

from polysite.cells.contract import CONTENDED, NEVER_WRITTEN, CellAnswer, CellCosts, Cells, CellView
from polysite.clock import Randomness
from polysite.errors import OutcomeUnknown, Unavailable
from polysite.testing.world.network import Network
from polysite.testing.world.rows import ANSWER_S


@dataclass
class Doubt:
    """How often changes are not answered: `lost_before` of them are given up before they were proposed, `lost_after` were made and
    their author is not told, `left` are accepted by some and by nobody committed. `missed`: the share of the commits that a site's replica does
    not learn of. `stale`: the share of the local reads that show an older state than the last one did. `superseded`: the share of those
    whose change met another and who are told nothing more; the others try again."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    left: float = 0.0
    missed: float = 0.0
    stale: float = 0.0
    superseded: float = 0.0


@dataclass
class Register:
    """One cell. `left` is a proposal that was accepted by some and that nobody was told of, with who it was made over."""

    view: CellView = NEVER_WRITTEN
    promised: float = 0.0
    left: CellView | None = None
    states: list[CellView] = field(default_factory=lambda: [NEVER_WRITTEN])
    learned: dict[str, int] = field(default_factory=dict)


class Registers:
    """The cells of a world."""

    def __init__(self, network: Network, randomness: Randomness) -> None:
        self.network = network
        self.randomness = randomness
        self.doubt = Doubt()
        self.registers: dict[bytes, Register] = {}
        self.changes = self.collisions = self.unanswered = 0
        self._loop = asyncio.get_running_loop()

    def register(self, key: bytes) -> Register:
        found = self.registers.get(key)
        if found is None:
            found = self.registers[key] = Register()
        return found

    def now_s(self) -> float:
        return self._loop.time()

    def happens(self, share: float) -> bool:
        return bool(share) and self.randomness.uniform(0.0, 1.0) < share

    def commit(self, register: Register, view: CellView, site: str) -> None:
        """Make `view` the state, and tell the replicas, that of `site` at once."""
        register.view = view
        register.left = None
        register.states.append(view)
        for other in self.network.sites:
            if other == site:
                self._learn(register, other, view.version)
            elif not self.happens(self.doubt.missed):
                self.network.send(site, other, lambda other=other: self._learn(register, other, view.version))  # type: ignore[misc]

    def _learn(self, register: Register, site: str, version: int) -> None:
        if self.network.has_engine(site):
            register.learned[site] = max(register.learned.get(site, 0), version)


class WorldCells(Cells):
    """The cells as the processes of one site see them."""

    name = "world"
    capabilities = frozenset({"local_view", "durable"})

    def __init__(self, registers: Registers, site: str) -> None:
        self._all = registers
        self._site = site
        self._network = registers.network
        wide = 1 if len(registers.network.sites) > 1 else 0
        self.costs = CellCosts(read=wide, compare_and_set=2 * wide, compare_and_set_refused=wide)

    async def start(self) -> None:
        self._check()

    async def close(self) -> None:
        return

    async def read_local(self, key: bytes) -> CellView:
        if not self._network.has_engine(self._site):
            raise Unavailable("the engine is down")
        found = self._all.registers.get(key)
        if found is None:
            return NEVER_WRITTEN
        version = found.learned.get(self._site, 0)
        if self._all.happens(self._all.doubt.stale):
            version = int(self._all.randomness.uniform(0.0, version + 1))
        return found.states[min(version, found.view.version)]

    async def read(self, key: bytes) -> CellView:
        self._check()
        until_s = self._all.now_s() + ANSWER_S
        register = self._all.register(key)
        while await self._promise(register, until_s) is None:
            await self._pause(until_s, Unavailable("others changed the cell at the same time", reason=CONTENDED))
        register.learned[self._site] = register.view.version
        return register.view

    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        self._check()
        every, doubt = self._all, self._all.doubt
        register, until_s = every.register(key), every.now_s() + ANSWER_S
        every.changes += 1
        if every.happens(doubt.lost_before):
            await self._nothing(until_s)
        while True:
            ballot = await self._promise(register, until_s, unknown=True)
            if ballot is not None:
                if register.view.version != expected_version:
                    return CellAnswer(False, register.view)
                accepted = await self._propose(register, ballot, expected_version, content, until_s)
                if accepted is not None:
                    return accepted
            every.collisions += 1
            await self._pause(until_s, OutcomeUnknown("the change was superseded"))

    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        self._check()
        return sorted(key for key in self._all.registers if key > after)[:limit]

    async def _promise(self, register: Register, until_s: float, *, unknown: bool = False) -> float | None:
        """A ballot that a majority promised, with what was left by others completed; None: a higher one was there already."""
        every = self._all
        ballot = every.now_s() + every.randomness.uniform(0.0, 1e-6)
        await self._trip(until_s, unknown=unknown)
        if register.promised > ballot:
            return None
        register.promised = ballot
        await self._trip(until_s, unknown=unknown)
        left = register.left
        if left is not None and left.version == register.view.version + 1 and every.happens(0.5):
            await self._trip(until_s, unknown=unknown)
            if register.promised == ballot and register.left is left:
                every.commit(register, left, self._site)
            await self._trip(until_s, unknown=unknown)
        return ballot

    async def _propose(
        self, register: Register, ballot: float, expected_version: int, content: bytes, until_s: float
    ) -> CellAnswer | None:
        """The answer if the proposal was accepted; None: it was superseded."""
        every, doubt = self._all, self._all.doubt
        await self._trip(until_s, unknown=True)
        if register.promised != ballot or register.view.version != expected_version:
            return None
        view = CellView(expected_version + 1, content)
        if every.happens(doubt.left):
            register.left = view
            await self._nothing(until_s)
        every.commit(register, view, self._site)
        if every.happens(doubt.lost_after):
            await self._nothing(until_s)
        await self._trip(until_s, unknown=True)
        return CellAnswer(True, view)

    async def _trip(self, until_s: float, *, unknown: bool) -> None:
        """Half a round trip to the nearest majority and back counts as two. No answer: the way is cut."""
        late_s = self._all.randomness.uniform(0.0, self._network.weather.jitter_s)
        await asyncio.sleep(self._network.majority_rtt_s(self._site) / 2 + late_s)
        if self._reach() * 2 <= len(self._network.sites):
            await asyncio.sleep(max(0.0, until_s - self._all.now_s()))
            if unknown:
                self._all.unanswered += 1
                raise OutcomeUnknown("no answer came")
            raise Unavailable("no answer came")

    async def _nothing(self, until_s: float) -> None:
        await asyncio.sleep(max(0.0, until_s - self._all.now_s()))
        self._all.unanswered += 1
        raise OutcomeUnknown("no answer came")

    async def _pause(self, until_s: float, error: Exception) -> None:
        """Wait a little before the next attempt; or `error`, if that is what comes of it."""
        every = self._all
        pause_s = every.randomness.uniform(0.0, max(0.005, self._network.majority_rtt_s(self._site)))
        if every.happens(every.doubt.superseded) or every.now_s() + pause_s > until_s:
            raise error
        await asyncio.sleep(pause_s)

    def _reach(self) -> int:
        """Replicas that can be asked and whose answers arrive."""
        network, site = self._network, self._site
        if not network.has_engine(site):
            return 0
        return sum(
            other == site
            or (network.has_engine(other) and not network.is_cut(site, other) and not network.is_cut(other, site))
            for other in network.sites
        )

    def _check(self) -> None:
        """Unavailable: this site's engine is down, or counts too many of the others as away."""
        network, site = self._network, self._site
        if not network.has_engine(site):
            raise Unavailable("the engine is down")
        if sum(not network.counts_as_away(site, other) for other in network.sites) * 2 <= len(network.sites):
            raise Unavailable("too few replicas can be reached")
