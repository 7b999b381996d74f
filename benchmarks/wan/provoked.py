"""Paths of the second table that nobody walks unless something goes wrong: what a client does there. `provoking` makes it go wrong."""

import asyncio
import time
from collections.abc import Sequence

from polysite.api import Coordinator, KeyName
from polysite.errors import OutcomeUnknown

from .bounds import Bounds, alike, groups
from .cues import cue, reached
from .judging import Measured, measured
from .keys import GRACE_S, QUIET_W, RELEASE_W
from .operations import Watch
from .samples import Sample
from .tables import KEYSPACE, LOCKED, TEXT, write_whole

UNSETTLED = "get: unsettled row"
LATE = "put answered after lease minus margin, what it adds"
BESIDE = "lock beside a shared holder"
REFUSED = "lock beside a shared holder: first compare-and-set refused"

WRITE = 1
FIRST_GET = 1
LONG_LEASE_MS, SHORT_LEASE_MS = 60_000, 6_000
SETTLED_W = 5
"""What was agreed on has reached every site after so many round trips."""
SENT_S = 0.4
"""Until a request that was made is under way to the other sites."""


BOUNDS = {
    UNSETTLED: alike(FIRST_GET + 1),
    LATE: Bounds(2, 1, 2),
    BESIDE: Bounds(2, 1, 2),
    REFUSED: Bounds(2 + 2, 1 + 2, 2 + 3),
}


def table(samples: Sequence[Sample], leads: str | None) -> list[tuple[float, Measured]]:
    """Every path that was provoked, with its bound."""
    found = []
    for operation, bounds in BOUNDS.items():
        for group, members in groups(samples, leads).items():
            of_path = [sample for sample in members if sample.operation == operation]
            if of_path:
                found.append((bounds.of(group), measured(operation, group, of_path)))
    return found


def keys_of(prefix: str, path: str, number: int) -> list[KeyName]:
    """So many keys that nobody used before."""
    return [KeyName(keyspace=KEYSPACE, table=LOCKED, key={"k": f"{prefix}-{path}-{at}"}) for at in range(number)]


async def unsettled(coordinator: Coordinator, watch: Watch, keys: Sequence[KeyName]) -> None:
    """Gets of rows of which a put stayed without an answer. A second put, of one column, keeps the first from being sent again, and does
    not cover the row."""
    locks = await asyncio.gather(*(coordinator.acquire([key], read=True, lease_ms=LONG_LEASE_MS) for key in keys))
    held = list(zip(keys, [lock.reference for lock in locks], strict=True))

    def put(key: KeyName, reference: str, **columns: object) -> "asyncio.Task[object]":
        return asyncio.create_task(coordinator.put(key, columns, level="critical", reference=reference))

    reached(time.monotonic())
    await cue()  # the engines of the others stand still
    first = [put(key, reference, v=TEXT, n=1) for key, reference in held]
    await asyncio.sleep(SENT_S)
    second = [put(key, reference, n=2) for key, reference in held]
    for outcome in await asyncio.gather(*first, return_exceptions=True):
        assert isinstance(outcome, OutcomeUnknown), outcome
    reached(time.monotonic())
    await cue()  # they go on
    await asyncio.gather(*second)
    # The first put may be stored here alone. A majority that finds its copies different makes them alike at once, which takes two round
    # trips more: the engine's, that no answer tells. That is over before anything is measured.
    await asyncio.gather(*(coordinator.get(key, level="quorum") for key in keys))
    await asyncio.sleep(QUIET_W * watch.rtt_ms / 1000 + GRACE_S)
    for key, reference in held:
        began_s = time.monotonic()
        found = await coordinator.get(key, level="critical", reference=reference)
        watch.told(UNSETTLED, began_s, found.round_trips)
        assert found.row is not None
        await coordinator.release(reference, validate=False)
        await asyncio.sleep(RELEASE_W * watch.rtt_ms / 1000)


async def late(coordinator: Coordinator, watch: Watch, keys: Sequence[KeyName]) -> None:
    """Puts that are stored while the process that sent them stands still, until their lock's lease has nearly passed. What they take
    and claim beyond the put itself counts from the moment the process goes on."""
    asked_s = time.monotonic()
    locks = await asyncio.gather(*(coordinator.acquire([key], lease_ms=SHORT_LEASE_MS) for key in keys))
    reached(asked_s)
    await cue()  # the engines of the others stand still, so no put is answered yet

    async def put(key: KeyName, reference: str) -> tuple[float, float]:
        done = await coordinator.put(key, {"v": TEXT, "n": 1}, level="critical", reference=reference)
        return time.monotonic(), done.round_trips

    puts = [asyncio.create_task(put(key, lock.reference)) for key, lock in zip(keys, locks, strict=True)]
    await asyncio.sleep(SENT_S)
    reached(asked_s)
    went_on_s = await cue()
    for ended_s, claimed in await asyncio.gather(*puts):
        watch.took(LATE, (ended_s - went_on_s) * 1000, claimed - WRITE)
    await asyncio.gather(*(coordinator.release(lock.reference, validate=False) for lock in locks))


async def refused(coordinator: Coordinator, other: Coordinator, watch: Watch, keys: Sequence[KeyName]) -> None:
    """Shared locks beside one that this process holds: it believes to know the cell, and does not look. Another site changes the cell
    without telling, by dropping an entry of its own. Paxos refuses in one round trip where everything agreed on has settled, else in two;
    so it rests in between; but a view that is 10 W old would be looked at again first."""
    rest_s = SETTLED_W * watch.rtt_ms / 1000
    for key in keys:
        first = await coordinator.acquire([key], kind="shared", lease_ms=LONG_LEASE_MS)
        began_s = time.monotonic()
        beside = await coordinator.acquire([key], kind="shared", lease_ms=LONG_LEASE_MS)
        watch.told(BESIDE, began_s, beside.round_trips)
        theirs = await other.acquire([key], kind="shared", lease_ms=LONG_LEASE_MS)
        await other.preempt(key, fencing_token=theirs.fencing_token)
        await asyncio.sleep(rest_s)
        began_s = time.monotonic()
        last = await coordinator.acquire([key], kind="shared", lease_ms=LONG_LEASE_MS)
        watch.told(REFUSED, began_s, last.round_trips)
        for lock in (first, beside, last):
            await coordinator.release(lock.reference)


async def prepare(coordinator: Coordinator, keys: Sequence[KeyName]) -> None:
    """Rows that are covered whole, and rest."""
    await write_whole(coordinator, LOCKED, [str(key.key["k"]) for key in keys])
