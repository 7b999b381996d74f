"""The description of the interface."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from polysite.server.app import ROUTES
from polysite.server.openapi import describe_interface
from polysite.server.problems import STATUS


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(describe_interface(ROUTES))
    return made


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    """By the validator of the specification."""
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_route_is_described_with_its_refusals(document: dict[str, Any]) -> None:
    """Each route is there under its name, and each code it may answer leads to a response with that status."""
    for route in ROUTES:
        operation = document["paths"][route.pattern.replace("...}", "}")][route.method.lower()]
        assert operation["operationId"] == route.name
        assert {str(STATUS[code]) for code in route.errors} <= set(operation["responses"])
        assert "{" not in operation["summary"]
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)


def test_examples_are_what_their_schemas_say(document: dict[str, Any]) -> None:
    """Every example of a body is validated against the schema beside it."""
    tried = 0
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content and "example" in content:
                schema = {**content["schema"], "components": document["components"]}
                Draft202012Validator(schema).validate(content["example"])
                tried += 1
    assert tried >= 15


def test_request_bodies_take_no_other_member(document: dict[str, Any]) -> None:
    """Strictness is part of the description."""
    for name in ("PutBody", "AcquireBody", "SectionBody", "TableBody"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_it_says_nothing_of_routes_that_are_not_for_clients(document: dict[str, Any]) -> None:
    """The channel between our own processes is not described."""
    assert all(path.startswith("/v3") or path == "/metrics" for path in document["paths"])
