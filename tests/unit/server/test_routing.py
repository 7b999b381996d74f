"""From method and raw path to a route."""

import pytest

from polysite.server.app import ROUTES
from polysite.server.exchange import Exchange
from polysite.server.problems import HttpRefusal
from polysite.server.routing import Router

TABLE = "/v3/keyspaces/k/tables/t"


def exchange(method: str, path: str) -> Exchange:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    scope = {"method": method, "raw_path": path.encode(), "query_string": b"", "headers": []}
    return Exchange(scope, receive, body_bytes_max=1)


@pytest.fixture
def router() -> Router:
    return Router(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "name", "captured", "rest"),
    [
        ("GET", "/v3", "about", [], []),
        ("GET", "/metrics", "metrics", [], []),
        ("GET", "/v3/keyspaces/k", "get_keyspace", ["k"], []),
        ("PUT", TABLE, "create_table", ["k", "t"], []),
        ("GET", TABLE + "/rows", "select_rows", ["k", "t"], []),
        ("HEAD", TABLE + "/rows", "select_rows", ["k", "t"], []),
        ("GET", TABLE + "/rows/a", "get_row", ["k", "t"], ["a"]),
        ("HEAD", TABLE + "/rows/a", "get_row", ["k", "t"], ["a"]),
        ("PUT", TABLE + "/rows/a/b/c", "put_row", ["k", "t"], ["a", "b", "c"]),
        ("DELETE", TABLE + "/rows/a%2Fb/..", "delete_row", ["k", "t"], ["a%2Fb", ".."]),
        ("GET", TABLE + "/rows/", "get_row", ["k", "t"], [""]),
        ("GET", TABLE + "/rows//a//", "get_row", ["k", "t"], ["", "a", "", ""]),
        ("GET", TABLE + "/rows/get", "get_row", ["k", "t"], ["get"]),
        ("PUT", TABLE + "/rows/put/rows/select", "put_row", ["k", "t"], ["put", "rows", "select"]),
        ("POST", TABLE + "/rows/get", "get_row_by_body", ["k", "t"], []),
        ("POST", TABLE + "/rows/put", "put_row_by_body", ["k", "t"], []),
        ("POST", TABLE + "/rows/delete", "delete_row_by_body", ["k", "t"], []),
        ("POST", TABLE + "/rows/select", "select_rows_by_body", ["k", "t"], []),
        ("GET", "/v3/keyspaces/rows/tables/rows/rows/rows", "get_row", ["rows", "rows"], ["rows"]),
        ("POST", "/v3/locks", "acquire_lock", [], []),
        ("DELETE", "/v3/locks/holder", "preempt_holder", [], []),
        ("DELETE", "/v3/locks/1.abc", "release_lock", ["1.abc"], []),
        ("POST", "/v3/locks/1.abc/wait", "wait_for_lock", ["1.abc"], []),
    ],
)  # fmt: skip
def test_paths_lead_to_their_routes(
    router: Router, method: str, path: str, name: str, captured: list[str], rest: list[str]
) -> None:
    """Each path twice, because the second time the part before a row's key may be remembered."""
    for _ in range(2):
        asked = exchange(method, path)
        assert router.find(asked).name == name
        assert asked.captured == [part.encode() for part in captured]
        assert asked.rest == [part.encode() for part in rest]


@pytest.mark.parametrize(
    "path", ["/", "", "/v4", "/v3/", "/v3/keyspaces/k/", "/v3/keyspace", "/v3/locks/1.a/steal", "*", "/v3//keyspaces"]
)
def test_other_paths_are_not_found(router: Router, path: str) -> None:
    """404, with a pointer to the description."""
    with pytest.raises(HttpRefusal, match="openapi") as refused:
        router.find(exchange("GET", path))
    assert refused.value.status == 404


def test_an_empty_name_is_a_name(router: Router) -> None:
    """Whether a keyspace can be called so is for the coordinator to say."""
    assert router.find(exchange("GET", "/v3/keyspaces/")).name == "get_keyspace"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", TABLE + "/rows/a", b"DELETE, GET, HEAD, PUT"),
        ("PATCH", TABLE + "/rows/get", b"DELETE, GET, HEAD, POST, PUT"),
        ("POST", "/v3", b"GET, HEAD"),
        ("GET", "/v3/sections", b"POST"),
        ("OPTIONS", "/v3/locks", b"GET, HEAD, POST"),
    ],
)
def test_another_method_is_405_with_those_there_are(router: Router, method: str, path: str, allowed: bytes) -> None:
    """Also once the prefix of a row's path is remembered."""
    router.find(exchange("GET", TABLE + "/rows/a"))
    with pytest.raises(HttpRefusal) as refused:
        router.find(exchange(method, path))
    assert refused.value.status == 405
    assert refused.value.headers == ((b"allow", allowed),)


def test_remembered_prefixes_are_bounded(router: Router) -> None:
    """Names come from clients: what is remembered of them must not grow without end."""
    for number in range(3_000):
        assert router.find(exchange("GET", f"/v3/keyspaces/k/tables/t{number}/rows/a")).name == "get_row"
    assert len(router._prefixes) <= 1_024
    assert router.find(exchange("GET", "/v3/keyspaces/k/tables/last/rows/a")).name == "get_row"
