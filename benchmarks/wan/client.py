"""A client at one site of the lab: `polysite lab exec SITE -- python -m benchmarks.wan.client JOB PLAN`, PLAN as JSON.

Its output is one JSON line per record of `samples`; the site's process is where POLYSITE_URL says.
"""

import asyncio
import os
import sys

import msgspec

import polysite
from polysite.api import KeyName
from polysite.client import Site

from . import paths, provoked, v2
from .contention import contend
from .keys import GRACE_S, QUIET_W, Quiet
from .operations import Sections, Watch
from .profile import W_SPARE_MS
from .samples import Ways, tell
from .second_process import second_process
from .tables import V2, owned, prepare, prepare_v2

FOLLOWS_S, ASKS_S = 400, 0.5
SITES_AT_ONCE = 3


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`index`: the site's place among the sites. `turn`: how often everything was measured before. `clients` and what follows: the contended key."""

    site: str
    index: int = 0
    turn: int = 0
    rtt_ms: float = 0
    repeats: int = 0
    clients: int = 0
    begin_s: float = 0
    lasts_s: float = 0
    other_url: str = ""
    """A process at another site."""
    settings: str = ""
    """The settings file of the site's process."""


async def tables(_plan: Plan, site: Site) -> None:
    """Make what is measured on."""
    await prepare(site)
    await v2.make(os.environ["POLYSITE_URL"])
    await prepare_v2(site)


async def rest_v2(plan: Plan, _site: Site) -> None:
    """The cycle of REST v2."""
    keys = Quiet(owned(plan.index, plan.turn), plan.rtt_ms, table=V2)
    prefix = f"{plan.site}-{plan.turn}-{plan.rtt_ms:g}"
    await v2.measure(os.environ["POLYSITE_URL"], Watch(plan.site, plan.rtt_ms), keys, prefix, plan.repeats)


async def waiting_release_v2(plan: Plan, _site: Site) -> None:
    """Releases of REST v2 that are answered when they are carried out, by a process of the site that is set so."""
    keys = Quiet(owned(plan.index, plan.turn), plan.rtt_ms, table=V2)
    url = os.environ["POLYSITE_URL"]
    async with second_process(plan.settings, url, POLYSITE_V2_RELEASE_WAITS="true") as waiting:
        await v2.measure_release(waiting, Watch(plan.site, plan.rtt_ms), keys, plan.repeats)


async def contended_v2(plan: Plan, _site: Site) -> None:
    """One client of REST v2 at this site on one key."""
    await v2.contend(os.environ["POLYSITE_URL"], site=plan.site, begin_s=plan.begin_s, lasts_s=plan.lasts_s)


async def total_v2(plan: Plan, _site: Site) -> None:
    """The counter of that key."""
    await v2.total(os.environ["POLYSITE_URL"], site=plan.site)


async def sections(plan: Plan, site: Site) -> None:
    """The first table."""
    keys = Quiet(owned(plan.index, plan.turn), plan.rtt_ms)
    await Sections(site.coordinator, Watch(plan.site, plan.rtt_ms), keys).measure(plan.repeats)


async def follow(plan: Plan, site: Site) -> None:
    """End when the site's process has measured the distance that there is now, which takes up to five of its rounds."""
    async with asyncio.timeout(FOLLOWS_S):
        while True:
            known_ms = (await site.coordinator.health()).majority_rtt_ms
            if plan.rtt_ms <= known_ms <= plan.rtt_ms + W_SPARE_MS:
                return
            await asyncio.sleep(ASKS_S)


async def ways(plan: Plan, site: Site) -> None:
    """How far everything is from here."""
    health = await site.coordinator.health()
    rtt_ms = {other.site: other.rtt_ms for other in health.sites if other.rtt_ms is not None}
    tell(Ways(site=plan.site, majority_rtt_ms=health.majority_rtt_ms, rtt_ms=rtt_ms))


async def contended(plan: Plan, site: Site) -> None:
    """All clients of this site on one key, from `begin_s` of the machine's monotonic clock on, for `lasts_s`."""
    await contend(site.coordinator, site=plan.site, clients=plan.clients, begin_s=plan.begin_s, lasts_s=plan.lasts_s)


async def second(plan: Plan, site: Site) -> None:
    """The second table."""
    prefix = f"{plan.site}-{plan.turn}-{plan.rtt_ms:g}"
    begins = plan.index * len(paths.PATHS) // SITES_AT_ONCE
    await paths.measure(site.coordinator, Watch(plan.site, plan.rtt_ms), prefix, plan.repeats, begins=begins)


async def unsettled(plan: Plan, site: Site) -> None:
    """Rows of which a put stayed without an answer."""
    keys = await _prepared(plan, site, "unsettled")
    await provoked.unsettled(site.coordinator, Watch(plan.site, plan.rtt_ms), keys)


async def late(plan: Plan, site: Site) -> None:
    """Puts that are answered when the lease has nearly passed."""
    keys = await _prepared(plan, site, "late")
    await provoked.late(site.coordinator, Watch(plan.site, plan.rtt_ms), keys)


async def refused(plan: Plan, site: Site) -> None:
    """Compare-and-sets that stand on a view which another site has made stale."""
    keys = await _prepared(plan, site, "refused")
    async with polysite.connect(plan.other_url, answer_s=60) as other:
        await provoked.refused(site.coordinator, other.coordinator, Watch(plan.site, plan.rtt_ms), keys)


async def _prepared(plan: Plan, site: Site, path: str) -> list[KeyName]:
    keys = provoked.keys_of(f"{plan.site}-{plan.turn}-{plan.rtt_ms:g}", path, plan.repeats)
    await provoked.prepare(site.coordinator, keys)
    await asyncio.sleep(QUIET_W * plan.rtt_ms / 1000 + GRACE_S)
    return keys


JOBS = {
    "tables": tables,
    "sections": sections,
    "paths": second,
    "unsettled": unsettled,
    "late": late,
    "refused": refused,
    "rest_v2": rest_v2,
    "waiting_release_v2": waiting_release_v2,
    "contended_v2": contended_v2,
    "total_v2": total_v2,
    "follow": follow,
    "ways": ways,
    "contended": contended,
}


async def run(job: str, plan: Plan) -> None:
    async with polysite.connect(os.environ["POLYSITE_URL"], answer_s=60) as site:
        await JOBS[job](plan, site)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Plan)))
