"""Steps of a start, which an engine may refuse for a passing reason."""

import logging
from collections.abc import Awaitable, Callable

from polysite.errors import OutcomeUnknown, Unavailable
from polysite.site.context import SiteContext
from polysite.site.idempotency import RECORDS
from polysite.site.naming import Naming
from polysite.site.owners import OWNERS
from polysite.site.processes import PROCESSES, Registry
from polysite.values.tables import RESERVED_KEYSPACE, KeyspaceSpec

PAUSE_S = 0.2
PAUSE_S_MAX = 3.0
_log = logging.getLogger(__name__)


async def patiently(context: SiteContext, step: Callable[[], Awaitable[None]]) -> None:
    """Carry out a step of the start. Sites that start together change the same schema, and an engine may refuse or not answer
    those that meet: that passes, so where there are several sites it is tried again for `start_s`."""
    clock, randomness = context.clock, context.randomness
    until_s, pause_s = clock.monotonic_s() + context.settings.start_s, PAUSE_S
    while True:
        try:
            return await step()
        except (Unavailable, OutcomeUnknown) as error:
            if not context.is_wide or clock.monotonic_s() + pause_s > until_s:
                raise
            _log.warning("the start waits for the engine: %s", error.code)
            await clock.sleep_s(randomness.uniform(pause_s / 2, pause_s))
            pause_s = min(PAUSE_S_MAX, 2 * pause_s)


async def settle_in(context: SiteContext, naming: Naming, registry: Registry) -> None:
    """Make the reserved tables and say that this process is here, unless somebody else is."""

    async def settle() -> None:
        await context.store.create_keyspace(KeyspaceSpec(name=RESERVED_KEYSPACE))
        for spec in (PROCESSES, RECORDS, OWNERS):
            await context.store.create_table(spec)
        await naming.look(registry)
        await registry.beat()

    await patiently(context, settle)
