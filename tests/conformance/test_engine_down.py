"""What clients are told while the engine is down.

Goal: every exchange of the recording is a plain FAILURE at once, and the health check answers all the same.
"""

from typing import Any, cast

import pytest

from polysite.api import Coordinator, Health
from polysite.client.asgi_transport import AsgiTransport
from polysite.client.transport import Request
from polysite.clock import Runtime
from polysite.errors import QuorumUnavailable
from polysite.server.app import build_app
from polysite.server.settings import Settings
from tests.support.exchanges import Recorded, Told, differences, parsed, recorded, same

EXCHANGES = [one for one in recorded() if one.section == "down"]


class NoEngine:
    """A coordinator that reaches no replica."""

    is_wide = False
    lease_ms_min = 100

    def __getattr__(self, verb: str) -> Any:
        async def unavailable(*_args: object, **_kwargs: object) -> None:
            raise QuorumUnavailable

        return unavailable

    async def health(self) -> Health:
        return Health(ready=False, site="ams", process="1", version="0", reasons=["the engine does not answer"])


@pytest.mark.parametrize("one", EXCHANGES, ids=lambda one: one.name)
async def test_an_answer_is_the_recorded_one_or_says_it_in_our_words(one: Recorded) -> None:
    """Each exchange of the section, sent to an application whose coordinator refuses every verb."""
    application = build_app(cast(Coordinator, NoEngine()), Settings(), runtime=Runtime())
    headers = {name.lower(): value for name, value in one.headers.items()}
    response = await AsgiTransport(application).send(Request(one.method, one.path, headers, one.body or b""))
    told = Told(response.status, parsed(response.body.decode()))
    difference = differences().get(one.name)
    if difference is None:
        assert same(one, told)
    else:
        assert (told.status, told.answer) == (difference.status, difference.answer)
        assert not same(one, told)
        assert response.headers["polysite-outcome"] == "refused"
