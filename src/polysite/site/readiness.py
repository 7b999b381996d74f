"""Whether the store answers, as health tells it."""

from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.stores.contract import Store

ASKED_AGAIN_S = 0.05


async def refusal_of(store: Store, context: SiteContext) -> PolysiteError | None:
    """Why the store does not answer; None: it does. One failed read is no store that does not answer: an engine may refuse one at once and
    answer the next, as Cassandra was seen to do while its Paxos repair passed over the row."""
    try:
        await store.keyspaces()
    except PolysiteError:
        await context.clock.sleep_s(ASKED_AGAIN_S + context.rtt_s)
    else:
        return None
    try:
        await store.keyspaces()
    except PolysiteError as error:
        return error
    return None
