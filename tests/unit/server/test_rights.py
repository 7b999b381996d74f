"""Who may do what over HTTP, and as whom.

Method: the real coordinator behind the application with bearer tokens, each with one set of rights; requests go straight in.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from polysite.api import Coordinator, KeyName
from polysite.client import HttpCoordinator, connect
from polysite.client.asgi_transport import AsgiTransport
from polysite.clock import Runtime
from polysite.errors import Forbidden
from polysite.server.app import Application, build_app
from polysite.server.auth import hash_token
from polysite.server.settings import load_settings
from polysite.values.tables import ColumnSpec, KeyspaceSpec, TableSpec
from tests.contract.test_coordinator import make_coordinator

ROW = KeyName(keyspace="voting", table="votes", key={"id": "a"})
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
    columns = (ColumnSpec("id", "text"), ColumnSpec("count", "int"))
    await inner.create_table(TableSpec(keyspace="voting", name="votes", columns=columns, partition_key=("id",)))
    yield build_app(inner, load_settings(flags=token_settings(**rights_of)).settings, runtime=Runtime()), inner
    await inner.close()


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
