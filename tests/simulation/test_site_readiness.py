"""What health says of the store."""

from typing import Any

from polysite.errors import QuorumUnavailable
from polysite.testing.loop import seeded
from tests.support.sites import world_of


@seeded(seeds=3)
async def test_one_failed_read_is_no_store_that_does_not_answer(seed: int) -> None:
    """Goal: whoever sends calls where it is ready does not turn away for a single read that an engine refused; twice in a row is told.
    Method: a store that refuses once, and for good."""
    async with world_of(seed) as world:
        site: Any = world.processes[0].coordinator
        real, refusals = site._store.read, [1]

        async def refuses(table: Any, key: Any, level: Any) -> Any:
            assert level == "majority"
            if refusals[0]:
                refusals[0] -= 1
                raise QuorumUnavailable("a replica failed")
            return await real(table, key, level)

        site._store.read = refuses
        assert (await site.health()).ready
        refusals[0] = 2
        assert (await site.health()).reasons == ["the store does not answer: quorum_unavailable"]
        assert (await site.health()).ready
        site._store.read = real
