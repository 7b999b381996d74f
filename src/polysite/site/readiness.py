"""Whether the store answers, as health tells it."""

from polysite.errors import PolysiteError
from polysite.site.context import SiteContext
from polysite.site.processes import PROCESSES
from polysite.stores.contract import Store
from polysite.values.keys import RowKey

ASKED_AGAIN_S = 0.05


async def refusal_of(store: Store, context: SiteContext) -> PolysiteError | None:
    """Why no majority of the store answers; None: one does. Asked for is the row of this process, which nobody agrees on and no other process asks for: what
    all sites agree on, asked by all of them again and again, would be in the way of itself. One failed read is no store that does not answer, for an
    engine may refuse one at once and answer the next."""
    types, author = PROCESSES.types, context.author
    key = RowKey((types["site"].serialise(author.site),), (types["process"].serialise(author.process),))
    try:
        await store.read(PROCESSES, key, "majority")
    except PolysiteError:
        await context.clock.sleep_s(ASKED_AGAIN_S + context.rtt_s)
    else:
        return None
    try:
        await store.read(PROCESSES, key, "majority")
    except PolysiteError as error:
        return error
    return None
