"""Who may do what over HTTP, and as whom.

Method: the real coordinator behind the application with bearer tokens, each with one set of rights; requests go straight in.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from polysite.api import Coordinator, KeyName
from polysite.client import HttpCoordinator, connect
from polysite.client.asgi_transport import AsgiTransport
from polysite.client.transport import Request, Response
from polysite.clock import Runtime
from polysite.errors import Forbidden
from polysite.server.app import ROUTES, Application, build_app
from polysite.server.auth import hash_token
from polysite.server.routing import Route
from polysite.server.settings import load_settings
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec
from tests.contract.test_coordinator import make_coordinator

ROW = KeyName(keyspace="voting", table="votes", key={"voter": "ana"})
COLUMNS = (ColumnSpec("voter", "text"), ColumnSpec("count", "int"))
RIGHTS = ("read", "write", "lock", "admin")


def token_settings(**rights_of: tuple[str, ...]) -> dict[str, object]:
    """A token per name with these rights on every keyspace; its secret is its name."""
    return {
        "auth.tokens": [
            {"name": name, "sha256": hash_token(name), **{right: ["*"] for right in rights}}
            for name, rights in rights_of.items()
        ]
    }


@asynccontextmanager
async def application(**rights_of: tuple[str, ...]) -> AsyncIterator[tuple[Application, Coordinator]]:
    """The application with these tokens and one table, and the coordinator behind it."""
    inner = make_coordinator(joint=True)
    await inner.start()
    await inner.create_keyspace(KeyspaceSpec(name="voting"))
    await inner.create_table(TableSpec(keyspace="voting", name="votes", columns=COLUMNS, partition_key=("voter",)))
    yield build_app(inner, load_settings(flags=token_settings(**rights_of)).settings, runtime=Runtime()), inner
    await inner.close()


async def status_of(app: Application, route: Route, token: str, reference: str) -> int:
    """What the route's own example is answered with. A stream is not read on."""
    captured = {"reference": reference, "index": "by_count", **(route.path_examples or {"keyspace": "voting"})}
    target = re.sub(r"\{(\w+)(\.\.\.)?\}", lambda found: captured[found[1]], route.pattern)
    if any(parameter.name == "key" for parameter in route.parameters):
        target += "?key=voting/votes/ana"
    return await sent(app, route.method, target, token, None if route.body is None else route.body_example)


async def sent(app: Application, method: str, target: str, token: str, body: object) -> int:
    """The status of the answer."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    raw = b"" if body is None else json.dumps(body).encode()
    async with aclosing(AsgiTransport(app).stream(Request(method, target, headers, raw))) as answer:  # type: ignore[type-var]
        head = await anext(answer)
        assert isinstance(head, Response)
        return head.status


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.open_to_all], ids=lambda route: route.name)
async def test_every_route_asks_for_the_rights_it_is_documented_with(route: Route) -> None:
    """Goal: the table of rights is true. Method: send each route's example with exactly its rights, then with all but one of
    them, and with none; only the first is let through. What a route asks for beyond that is tried below."""
    needed = (*filter(None, [route.right]), *route.asks)
    example: Any = route.body_example
    if route.name == "run_section":
        needed = (*needed, "read", "write")
    if isinstance(example, dict) and example.get("expect"):
        needed = (*needed, "read")
    lacking = {f"no{right}": tuple(other for other in RIGHTS if other != right) for right in needed}
    async with application(exact=needed, **lacking) as (app, inner):
        reference = (await inner.acquire([ROW])).reference if "reference" in route.captures else ""
        for name in lacking:
            assert await status_of(app, route, name, reference) == 403
        assert await status_of(app, route, "exact", reference) not in (401, 403)
        assert await status_of(app, route, "unknown", reference) == 401


KEY = {"keyspace": "voting", "table": "votes", "key": ROW.key}
PUT = {"op": "put", "columns": {"count": 1}}
CAS = {"writes": [{**PUT, "key": ROW.key}]}


@pytest.mark.parametrize(
    ("target", "body", "telling"),
    [
        ("/v3/locks", {"keys": [KEY], "wait_ms": 0}, {"read": True}),
        ("/v3/locks/REFERENCE/wait", {"wait_ms": 0}, {"read": True}),
        ("/v3/sections", {"key": KEY, "steps": [PUT]}, {"steps": [{"op": "get"}]}),
        ("/v3/sections", {"key": KEY, "steps": [PUT]}, {"steps": [{"op": "expect", "exists": False}, PUT]}),
        ("/v3/keyspaces/voting/tables/cas/batch", CAS, {"expect": [{"key": ROW.key, "exists": False}]}),
    ],
)
async def test_what_tells_rows_needs_the_right_to_read(
    target: str, body: dict[str, Any], telling: dict[str, Any]
) -> None:
    """Goal: nobody reads rows with other rights, by whatever verb. Method: each verb that may be answered with rows, by a
    token that may do all but read; without the rows it is let through."""
    async with application(ana=("write", "lock")) as (app, inner):
        await inner.create_table(
            TableSpec(keyspace="voting", name="cas", columns=COLUMNS, partition_key=("voter",), writes="conditional")
        )
        lock = await inner.acquire([ROW])
        if "sections" in target:
            await inner.release(lock.reference)
        target = target.replace("REFERENCE", lock.reference)
        assert await sent(app, "POST", target, "ana", {**body, **telling}) == 403
        assert await sent(app, "POST", target, "ana", body) in (200, 202)


async def test_an_atomic_call_needs_no_right_to_lock() -> None:
    """Goal: as the page says, a section of one call is no lock to hold on to. Method: put and get at that level."""
    async with application(ana=("read", "write")) as (app, _), caller(app, "ana") as coordinator:
        await coordinator.put(ROW, {"count": 1}, level="atomic")
        found = await coordinator.get(ROW, level="atomic")
        assert found.row == {"voter": "ana", "count": 1}
        with pytest.raises(Forbidden):
            await coordinator.acquire([ROW])


@asynccontextmanager
async def caller(app: Application, name: str) -> AsyncIterator[HttpCoordinator]:
    async with connect("", transport=AsgiTransport(app), bearer=name) as site:
        assert isinstance(site.coordinator, HttpCoordinator)
        yield site.coordinator


async def test_the_credentials_name_who_preempted() -> None:
    """Goal: the event of a preemption names the bearer token, whatever name was said. Method: preempt by both routes."""
    async with application(ana=RIGHTS) as (app, inner), caller(app, "ana") as coordinator:
        events = inner.events(keyspace="voting")
        for said in (None, "bert"):
            lock = await coordinator.acquire([ROW])
            await coordinator.preempt(ROW, ordered_by=said)
            while (event := await asyncio.wait_for(anext(events), 20)).kind != "preempted":
                pass
            assert (event.fencing_token, event.detail) == (lock.fencing_token, "by order of ana")
        await events.aclose()  # type: ignore[attr-defined]


async def test_a_preemption_needs_the_right_to_administer() -> None:
    """Goal: who may lock may not end the locks of others. Method: preempt with every right but one."""
    async with application(bert=("read", "write", "lock")) as (app, _), caller(app, "bert") as coordinator:
        with pytest.raises(Forbidden):
            await coordinator.preempt(ROW)
