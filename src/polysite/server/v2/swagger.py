"""The description of this interface: Swagger 2.0, as its clients fetch it."""

from collections.abc import Sequence

import msgspec

from polysite.server.v2.paths import Endpoint


def describe(endpoints: Sequence[Endpoint], version: str) -> bytes:
    """Paths, methods, and what stands in the paths."""
    paths: dict[str, dict[str, object]] = {}
    for endpoint in endpoints:
        parts = endpoint.pattern.replace("...}", "}").replace("v{n}", "v{version}")
        named = [part.partition("{")[2].rstrip("}") for part in parts.split("/") if "{" in part]
        paths.setdefault("/" + parts, {})[endpoint.method.lower()] = {
            "operationId": endpoint.name,
            "produces": ["application/json"],
            "parameters": [{"name": name, "in": "path", "required": True, "type": "string"} for name in named],
            "responses": {"200": {"description": "SUCCESS"}, "400": {"description": "FAILURE"}},
        }
    described = {
        "swagger": "2.0",
        "info": {"title": "MUSIC", "version": version},
        "basePath": "/MUSIC/rest",
        "paths": paths,
    }
    return msgspec.json.encode(described)
