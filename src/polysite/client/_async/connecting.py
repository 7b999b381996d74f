"""A site over HTTP, from the addresses of its processes."""

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from polysite.client._async.carrier import RETRIES_DEFAULT, Carrier
from polysite.client._async.coordinator import HttpCoordinator
from polysite.client._async.site import Site
from polysite.client.pacing import AsyncPace
from polysite.client.transport import ANSWER_S_DEFAULT, AsyncTransport
from polysite.errors import BadRequest

if TYPE_CHECKING:
    from polysite.client.aiohttp_transport import AiohttpTransport


def connect(
    url: str | Sequence[str],
    *,
    bearer: str | None = None,
    retries: int = RETRIES_DEFAULT,
    answer_s: float = ANSWER_S_DEFAULT,
    idempotent_writes: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    transport: AsyncTransport | None = None,
    pace: AsyncPace | None = None,
) -> Site:
    """The site at `url`; several addresses are processes of ONE site, of which one is asked at a time.

    Nothing is asked yet. `retries`: how often what is safe to send again is sent again, with growing pauses drawn by
    chance: reads and everything that has the same effect however often it is sent; any request that certainly did not
    happen for a passing reason; writes only under an idempotency key, which the caller gives or, with
    `idempotent_writes`, the client makes. `answer_s`: how long an answer is waited for, beyond what the call itself waits.
    `transport` replaces the network (`url` is not used then).
    """
    if transport is not None:
        transports = [transport]
    else:
        urls = [url] if isinstance(url, str) else list(url)
        if not urls:
            raise BadRequest("at least one address of the site is needed")
        transports = [_transport(address, ssl_context) for address in urls]
    carrier = Carrier(transports, bearer=bearer, retries=retries, answer_s=answer_s, pace=pace)
    return Site(HttpCoordinator(carrier, idempotent_writes=idempotent_writes), pace=carrier.pace)


def _transport(url: str, ssl_context: ssl.SSLContext | None) -> "AiohttpTransport":
    from polysite.client.aiohttp_transport import AiohttpTransport

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadRequest("the address of a site is http://HOST:PORT or https://HOST:PORT")
    return AiohttpTransport(url, ssl_context=ssl_context)
