"""The description of `/v3` in OpenAPI 3.1, made from the route table and the types of the bodies."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from polysite import __version__, api
from polysite.server.problems import STATUS, TYPE_BASE, Problem, title_of
from polysite.server.routing import Parameter, Route

ALWAYS = ("bad_request", "unauthenticated", "forbidden", "unavailable", "overloaded")
"""Codes that every route for which somebody must be known may answer."""
_REF = "#/components/schemas/{name}"
_PATH_ABOUT = {
    "keyspace": "The keyspace.",
    "table": "The table.",
    "index": "The index.",
    "key": "The primary key, one path segment per column, each percent-encoded; written here as one.",
    "reference": "A lock reference as the lock request answered it, or `-` if it is in the header Polysite-Lock.",
}
_NAME_SCHEMA = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,47}$"}
_PATH_SCHEMA: dict[str, dict[str, Any]] = {
    "keyspace": _NAME_SCHEMA,
    "table": _NAME_SCHEMA,
    "index": _NAME_SCHEMA,
    "key": {"type": "string"},
    "reference": {"type": "string", "pattern": r"^([12]\.[A-Za-z0-9_-]+|-)$"},
}
_HEADERS = {name: {"$ref": f"#/components/headers/{name}"} for name in ("Polysite-Round-Trips", "X-Request-Id")}
_HEADER_COMPONENTS: dict[str, Any] = {
    "Polysite-Round-Trips": {
        "description": "Wide-area round trips the call waited for.",
        "schema": {"type": "string", "pattern": r"^[0-9.]+$"},
    },
    "X-Request-Id": {"description": "The request in our logs.", "schema": {"type": "string"}},
}


def describe_interface(routes: Sequence[Route]) -> bytes:
    """The document as JSON."""
    types: set[type] = {Problem, api.Event}
    for route in routes:
        types.update(answer for answer in route.answers.values() if isinstance(answer, type) and answer is not dict)
        if route.body is not None:
            types.add(route.body)
    ordered = sorted(types, key=lambda found: found.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    problems: dict[str, Any] = {}
    for route in routes:
        path = route.pattern.replace("...}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, problems)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "polysite",
            "version": __version__,
            "summary": "Locks that fence and tables that converge, for services that run at several sites.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": problems,
            "headers": _HEADER_COMPONENTS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
    return msgspec.json.encode(document)


def _operation(route: Route, problems: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": re.split(r"(?<=[.:]) ", route.about, maxsplit=1)[0].rstrip(".:"),
        "description": route.about,
        "parameters": [*_path_parameters(route), *map(_parameter, route.parameters)],
        "responses": _responses(route, problems),
    }
    if not route.open_to_all:
        operation["security"] = [{"bearer": []}, {}]
    if route.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": _REF.format(name=route.body.__name__)}}
        if route.body_example is not None:
            content["example"] = route.body_example
        operation["requestBody"] = {"required": not route.body_optional, "content": {"application/json": content}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    for name in route.captures:
        parameter = {
            "name": name, "in": "path", "required": True, "description": _PATH_ABOUT[name], "schema": _PATH_SCHEMA[name],
        }  # fmt: skip
        if route.path_examples and name in route.path_examples:
            parameter["example"] = route.path_examples[name]
        found.append(parameter)
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _responses(route: Route, problems: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in route.answers.items():
        responses[str(status)] = {"description": _good(status), "headers": _HEADERS, "content": _content(route, answer)}
    codes = [*route.errors, *(() if route.open_to_all else ALWAYS), "bad_request"]
    if route.body is not None:
        codes.append("too_large")
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUS[code], []).append(code)
    if route.body is not None:
        by_status[415] = ["bad_request"]
    by_status[414] = by_status[431] = ["too_large"]
    for status, found in sorted(by_status.items()):
        if str(status) not in responses:
            name = f"{status}-" + "-".join(found)
            problems.setdefault(name, _problem(status, found))
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return responses


def _content(route: Route, answer: Any) -> dict[str, Any]:
    if answer is None or answer is dict:
        schema: dict[str, Any] = {"type": "string"} if answer is None else {"type": "object"}
    else:
        schema = {"$ref": _REF.format(name=answer.__name__)}
    content: dict[str, Any] = {}
    for media_type in route.media_types:
        content[media_type] = {"schema": schema if media_type == "application/json" else {"type": "string"}}
    return content


def _problem(status: int, codes: Sequence[str]) -> dict[str, Any]:
    lines = [f"`{code}`: {title_of(code)}" for code in codes]
    example = {
        "type": TYPE_BASE + codes[0], "title": title_of(codes[0]), "status": status, "detail": title_of(codes[0]),
        "code": codes[0], "outcome": "unknown" if codes[0] == "outcome_unknown" else "refused", "retry": False,
        "request": "8c1f0a-1", "attributes": {},
    }  # fmt: skip
    return {
        "description": "\n".join(lines),
        "headers": _HEADERS,
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}, "example": example}},
    }


def _good(status: int) -> str:
    return {200: "Done.", 201: "Made.", 202: "Taken, not finished.", 503: "Not ready."}[status]
