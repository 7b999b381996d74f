"""One key that clients of all sites want at once: each takes it, reads the counter, writes one more, lets go, and asks again."""

import asyncio
import math
import time
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.figures import Figure
from polysite.api import Coordinator, KeyName
from polysite.errors import PolysiteError

from .samples import Failure, Record, Tenure, tell
from .tables import CONTENDED, KEYSPACE, LOCKED, TEXT

WAIT_MS = 30_000
RATE_LEAST = 4.0
HAND_OVER_W = 3.0
KEY = KeyName(keyspace=KEYSPACE, table=LOCKED, key={"k": CONTENDED})


async def contend(coordinator: Coordinator, *, site: str, clients: int, begin_s: float, lasts_s: float) -> None:
    """So many clients from a moment on, that all sites are told, for so long."""
    await coordinator.table(KEYSPACE, LOCKED)
    await asyncio.sleep(max(0.0, begin_s - time.monotonic()))
    until_s = begin_s + lasts_s

    async def again_and_again(client: str) -> None:
        while time.monotonic() < until_s:
            try:
                tell(await _tenure(coordinator, site, client))
            except PolysiteError as error:
                tell(Failure(site=site, client=client, outcome=error.outcome, code=error.code, message=str(error)))

    await asyncio.gather(*(again_and_again(f"{site}-{number}") for number in range(clients)))


async def _tenure(coordinator: Coordinator, site: str, client: str) -> Tenure | Failure:
    asked_s = time.monotonic()
    lock = await coordinator.acquire([KEY], wait_ms=WAIT_MS, read=True, owner=client)
    held_s = time.monotonic()
    if not lock.held:
        await coordinator.release(lock.reference)
        return Failure(site=site, client=client, outcome="refused", code="not_served", message="not held in time")
    assert lock.rows is not None
    row = lock.rows[0]
    assert row is not None
    columns = {"v": TEXT, "n": row["n"] + 1}
    await coordinator.put(KEY, columns, level="critical", reference=lock.reference)
    release_s = time.monotonic()
    await coordinator.release(lock.reference, validate=False)
    return Tenure(
        site=site,
        client=client,
        ticket=lock.fencing_token,
        read=row["n"],
        asked_s=asked_s,
        held_s=held_s,
        release_s=release_s,
        ended_s=time.monotonic(),
    )


def judged(name: str, told: Sequence[Record], *, clients: int, rtt_ms: float) -> list[Figure]:
    """What the clients of all sites told, against the bounds; `clients` in all."""
    tenures = sorted((one for one in told if isinstance(one, Tenure)), key=lambda one: one.ticket)
    if not tenures:
        return [Figure(f"{name}: tenures", 0, "per second", at_least=RATE_LEAST)]
    failures = [one for one in told if isinstance(one, Failure)]
    unknown = [one for one in failures if one.outcome == "unknown"]
    codes = ", ".join(sorted({one.code for one in failures}))
    spent_s = max(one.ended_s for one in tenures) - min(one.asked_s for one in tenures)
    hands = sorted(hand_overs(tenures, rtt_ms))
    served = len({one.client for one in tenures})
    worst_s = max(one.held_s - one.asked_s for one in tenures)
    figures = [
        Figure(f"{name}: tenures", len(tenures) / spent_s, "per second", at_least=RATE_LEAST, detail=shares(tenures)),
        Figure(f"{name}: served out of turn", out_of_turn(tenures), "", at_most=0),
        Figure(f"{name}: lost updates", lost_updates(tenures, len(unknown)), "", at_most=0),
        Figure(f"{name}: unknown outcomes shown", len(unknown), "", at_most=0),
        Figure(f"{name}: other errors", len(failures) - len(unknown), "", at_most=0, detail=codes),
        Figure(
            f"{name}: clients served", served, f"of {clients}", at_least=clients, detail=f"longest wait {worst_s:.1f} s"
        ),
    ]
    middle, latest = (hands[len(hands) // 2], hands[-1]) if hands else (math.inf, math.inf)
    detail = f"{middle:.0f} ms in the middle, {latest:.0f} at most, {len(hands)} of them"
    hand_over = Figure(f"{name}: hand-over to another site", middle / rtt_ms, "W", at_most=HAND_OVER_W, detail=detail)
    figures.append(hand_over)
    return figures


def shares(tenures: Sequence[Tenure]) -> str:
    """Tenures per site."""
    sites = sorted({one.site for one in tenures})
    return ", ".join(f"{site} {sum(one.site == site for one in tenures)}" for site in sites)


def hand_overs(tenures: Sequence[Tenure], rtt_ms: float) -> list[float]:
    """Milliseconds from a release call until the next holder, at another site, knew that it holds; of those who waited already.
    Tenures in the order of their tickets."""
    return [
        (after.held_s - before.release_s) * 1000
        for before, after in pairwise(tenures)
        if after.site != before.site and after.asked_s < before.release_s - 2 * rtt_ms / 1000
    ]


def out_of_turn(tenures: Sequence[Tenure]) -> int:
    """How many held before somebody with a smaller ticket did. Tenures in the order of their tickets."""
    return sum(after.held_s < before.held_s for before, after in pairwise(tenures))


def lost_updates(tenures: Sequence[Tenure], unknown: int) -> int:
    """How many holders did not find what the one before them wrote. Tenures in the order of their tickets; a tenure with an unknown
    outcome is not among them, and may have written."""
    gaps = [after.read - before.read - 1 for before, after in pairwise(tenures)]
    return sum(gap < 0 for gap in gaps) + max(0, sum(gap for gap in gaps if gap > 0) - unknown)
