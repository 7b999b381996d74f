"""Clients near every site: when they ask, whom, what they do when it fails, and what became of each request in the end.

Requests begin at every site's door at random (Poisson), also while the site is down. Half are eventual, reads and writes; half are
one-shot sections, a read and a write under a lock. A client asks the site that is near, if the door counts it as up; a site that refused or did not answer
is left alone until it says that it is ready. What fails is tried again, at another site, until 2 s have passed since the request began.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from polysite.api import KeyName, RowGet, RowPut
from polysite.core import lock_cell
from polysite.errors import OutcomeUnknown, PolysiteError, SiteUnreachable
from polysite.site import SiteCoordinator
from polysite.testing.simulated import SeededRandomness
from polysite.testing.world.world import World
from polysite.values.tables import ColumnSpec, TableSpec

KEYSPACE = "ks"
TABLES = tuple(
    TableSpec(
        keyspace=KEYSPACE,
        name=name,
        columns=(ColumnSpec("id", "text"), ColumnSpec("a", "text")),
        partition_key=("id",),
        writes=writes,  # type: ignore[arg-type]
    )
    for name, writes in (("plain", "eventual"), ("locked", "sections"))
)

IN_TIME_S = 2.0
"""A request that is answered later has failed."""

SLOW_S = 0.5
"""What took longer is told of, since it is on its way there."""

LEASE_MS = 2_000
PER_SITE_S = 10.0
"""Requests a second at each site's door."""

KEYS = 50
"""Of each table, chosen evenly: so few that what a site left locked when it went down is asked for within the window."""

ATTEMPT_S = 0.8
"""A client waits for an answer so long, and then asks elsewhere."""

MARGIN_S = 0.3
"""A lock is waited for less long by this, which leaves time for the rest, so that it is the site that tells."""

PROBE_S = 1.0
"""Between two questions whether a site that was left alone is ready."""

PAUSE_S_FIRST, PAUSE_S_MAX = 0.05, 0.4
"""Between attempts, drawn from nothing up to this, which doubles."""


class Failure(msgspec.Struct, frozen=True):
    """A request that did not succeed in time. `attempts`: site and code of each; `began_s` is measured from the scenario's first change."""

    began_s: float
    home: str
    kind: str
    key: str
    cause: str
    attempts: tuple[tuple[str, str], ...]
    had_majority: bool
    """Whether a majority of the sites was up when it began."""


class Tally(msgspec.Struct):
    """What became of the requests that are counted."""

    requests: int = 0
    failures: list[Failure] = msgspec.field(default_factory=list)
    slowest_s: float = 0.0
    """Of those that succeeded."""
    slow: int = 0
    """How many of those took longer than SLOW_S."""
    again: int = 0
    """How many succeeded that were tried more than once."""


class Ways:
    """Which sites can be reached from outside, and how they fail: "stopped" ones refuse, others that are down do not answer."""

    def __init__(self, sites: tuple[str, ...]) -> None:
        self.sites = sites
        self.down: dict[str, str] = {}
        self.lost_majority_s = -1e9
        """The last moment at which no majority was up."""

    def is_silent(self, site: str) -> bool:
        return self.down.get(site, "stopped") != "stopped"

    @property
    def has_majority(self) -> bool:
        return (len(self.sites) - len(self.down)) * 2 > len(self.sites)


class Door:
    """The clients near one site."""

    def __init__(self, world: World, ways: Ways, home: str, counts: Callable[[float], bool], tally: Tally) -> None:
        """`counts` says whether a request that begins at that time, in the loop's seconds, is counted."""
        self._world = world
        self._ways = ways
        self._home = home
        self._counts = counts
        self._tally = tally
        self._chance = SeededRandomness(f"{world.seed}/door {home}")
        self._left_alone: set[str] = set()
        self._probes: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self.is_open = True

    async def serve(self, until_s: float) -> None:
        """Let requests begin until then, and return when the last has ended."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._gap_s())
                if self._world.now_s() >= until_s:
                    break
                group.create_task(self._request(), name=f"request {self._home}")
        self.is_open = False
        await asyncio.gather(*self._probes)

    # one request

    async def _request(self) -> None:
        began_s, had_majority = self._world.now_s(), self._ways.has_majority
        self._numbers += 1
        kind, key, ask = self._drawn(f"{self._home}/{self._numbers}")
        chance = SeededRandomness(f"{self._world.seed}/request {self._home}/{self._numbers}")
        attempts: list[tuple[str, str]] = []
        behind = succeeded = False
        while (left_s := began_s + IN_TIME_S - self._world.now_s()) > 0:
            site = self._chosen(attempts, chance)
            try:
                await self._attempt(site, ask, min(left_s, ATTEMPT_S))
            except PolysiteError as error:
                behind = behind or (kind == "section" and self._is_behind_the_dead(key))
                attempts.append((site, _told(error)))
                pause_s = min(PAUSE_S_MAX, PAUSE_S_FIRST * 2 ** (len(attempts) - 1))
                await asyncio.sleep(chance.uniform(0.0, pause_s))
            else:
                succeeded = self._world.now_s() - began_s <= IN_TIME_S
                break
        if self._counts(began_s):
            cause = self._cause(kind, began_s, attempts, behind=behind)
            self._note(succeeded, Failure(began_s, self._home, kind, key, cause, tuple(attempts), had_majority))

    def _note(self, succeeded: bool, request: Failure) -> None:
        """Count a request as what it came to: `request` says how it failed, if it did."""
        tally = self._tally
        tally.requests += 1
        if succeeded:
            took_s = self._world.now_s() - request.began_s
            tally.slowest_s = max(tally.slowest_s, took_s)
            tally.slow += took_s > SLOW_S
            tally.again += bool(request.attempts)
        else:
            tally.failures.append(request)

    def _cause(self, kind: str, began_s: float, attempts: list[tuple[str, str]], *, behind: bool) -> str:
        """What a request failed of, if it did, in words. `behind`: it met a lock whose holder's site was down."""
        ways = self._ways
        if len(ways.down) == len(ways.sites):
            return "no site is up"
        if kind == "section" and (not ways.has_majority or ways.lost_majority_s >= began_s):
            return "section: no majority of the sites is up"
        if behind:
            return "section: behind a lock that a site held when it went down"
        return f"{kind}: {attempts[-1][1] if attempts else 'late'}"

    def _is_behind_the_dead(self, key: str) -> bool:
        spec = self._world.rows.catalogue.table(KEYSPACE, "locked").spec
        view = self._world.registers.register(spec.lock_key({"id": key}).encode()).view
        head = lock_cell.head(lock_cell.decode(view.content))
        return head is not None and head.site in self._ways.down

    def _chosen(self, attempts: list[tuple[str, str]], chance: SeededRandomness) -> str:
        """The near site first, then others that count as up, those not asked yet before those that were."""
        asked = [site for site, _ in attempts]
        others = [site for site in self._ways.sites if site != self._home]
        order = [self._home, *(others.pop(chance.below(len(others))) for _ in list(others))]
        up = [site for site in order if site not in self._left_alone] or order
        return min(up, key=lambda site: (asked.count(site), order.index(site)))

    async def _attempt(self, site: str, ask: "_Ask", limit_s: float) -> None:
        """One site is asked. PolysiteError: it refused, or did not answer in time."""
        ways, rtt_s = self._ways, self._world.network.rtt_s(self._home, site)
        until_s = self._world.now_s() + limit_s
        await asyncio.sleep(rtt_s / 2)
        process = self._world.process(site)
        if not ways.is_silent(site) and process is None:
            await asyncio.sleep(rtt_s / 2)
            self._leave_alone(site)
            raise SiteUnreachable("the site refuses connections")
        failure: PolysiteError | None = None
        if process is not None and not ways.is_silent(site):
            wait_ms = max(0, round((limit_s - rtt_s - MARGIN_S) * 1000))
            try:
                await process.call(lambda of: ask(of, wait_ms), limit_s=until_s - rtt_s / 2 - self._world.now_s())
            except PolysiteError as error:
                failure = error
        if ways.is_silent(site):
            await asyncio.sleep(max(0.0, until_s - self._world.now_s()))
            failure = OutcomeUnknown("the site does not answer", reason="silent")
        else:
            await asyncio.sleep(rtt_s / 2)
        if failure is not None:
            if failure.attributes.get("reason") in {"silent", "connection", "limit"}:
                self._leave_alone(site)
            raise failure

    # who is up

    def _leave_alone(self, site: str) -> None:
        if site not in self._left_alone:
            self._left_alone.add(site)
            probe = asyncio.ensure_future(self._probe(site))
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)

    async def _probe(self, site: str) -> None:
        while self.is_open:
            await asyncio.sleep(PROBE_S)
            process = self._world.process(site)
            if process is None or self._ways.is_silent(site):
                continue
            try:
                health = await process.call(lambda of: of.health(), limit_s=PROBE_S)
            except PolysiteError:
                continue
            if health.ready:
                self._left_alone.discard(site)
                return

    # what is asked

    def _drawn(self, value: str) -> "tuple[str, str, _Ask]":
        """The kind of a request, the key it is about, and how it is asked."""
        kind = ("section", "section", "read", "write")[self._chance.below(4)]
        named = f"k{self._chance.below(KEYS)}"
        key = {"id": named}
        plain = KeyName(keyspace=KEYSPACE, table="plain", key=key)
        locked = KeyName(keyspace=KEYSPACE, table="locked", key=key)
        columns = {"a": value}
        if kind == "read":
            return kind, named, lambda site, _: site.get(plain, level="eventual")
        if kind == "write":
            return kind, named, lambda site, _: site.put(plain, columns, level="eventual")
        return (
            kind,
            named,
            lambda site, wait_ms: site.section(
                locked, [RowGet(), RowPut(columns=columns)], wait_ms=wait_ms, lease_ms=LEASE_MS
            ),
        )

    def _gap_s(self) -> float:
        return -math.log(1.0 - self._chance.uniform(0.0, 1.0)) / PER_SITE_S


_Ask = Callable[[SiteCoordinator, int], Coroutine[Any, Any, Any]]


def _told(error: PolysiteError) -> str:
    """The code, and the reason where that says more."""
    reason = error.attributes.get("reason")
    return f"{error.code} ({reason})" if reason else error.code
