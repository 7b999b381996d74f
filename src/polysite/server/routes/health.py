"""Whether the process lives and is ready, what it is, how it describes itself, and what it counts."""

import msgspec

from polysite import __version__, api
from polysite.server import wire
from polysite.server.exchange import Exchange, Reply, reply_json
from polysite.server.metrics import MEDIA_TYPE
from polysite.server.routing import Route
from polysite.server.service import Service


async def get_about(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    health = await service.coordinator.health()
    about = wire.About(
        name="polysite", version=__version__, site=health.site, process=health.process, openapi="/v3/openapi.json"
    )
    return reply_json(about)


async def get_live(service: Service, exchange: Exchange) -> Reply:  # noqa: ARG001
    exchange.query()
    return reply_json(wire.Live(live=True))


async def get_ready(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    health = await service.coordinator.health()
    if service.stopping.begun:
        health = msgspec.structs.replace(health, ready=False, reasons=[*health.reasons, "the process stops"])
    return reply_json(health, status=200 if health.ready else 503)


async def get_openapi(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    return Reply(200, service.describe())


async def get_metrics(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    return Reply(200, service.metrics.render(), media_type=MEDIA_TYPE)


ROUTES = [
    Route(
        method="GET", pattern="/v3", name="about", handler=get_about, open_to_all=True,
        about="What this server is: version, site, process.", answers={200: wire.About},
    ),
    Route(
        method="GET", pattern="/v3/openapi.json", name="openapi", handler=get_openapi, open_to_all=True,
        about="The description of this interface, OpenAPI 3.1.", answers={200: dict},
    ),
    Route(
        method="GET", pattern="/v3/health/live", name="live", handler=get_live, open_to_all=True,
        about="Liveness: the process answers.", answers={200: wire.Live},
    ),
    Route(
        method="GET", pattern="/v3/health/ready", name="ready", handler=get_ready, open_to_all=True,
        about="Readiness: 200 if the process can serve, 503 with the reasons if not.", answers={200: api.Health, 503: api.Health},
    ),
    Route(
        method="GET", pattern="/metrics", name="metrics", asks_also="any token", handler=get_metrics,
        about="Counters for Prometheus.", answers={200: None}, media_types=("text/plain",),
    ),
]  # fmt: skip
