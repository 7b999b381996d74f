"""REST v2 between sites: what the cycle costs, by claim and by the clock, and clients of three sites on one key."""

import asyncio
import json
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from polysite.client.asgi_transport import AsgiTransport
from polysite.client.transport import Request
from polysite.server.app import build_app
from polysite.server.settings import Settings, V2Settings
from polysite.site import SiteCoordinator
from polysite.testing.loop import seeded
from polysite.testing.simulated import simulated_runtime
from tests.support.wide import wide_world

RTT_S = 0.05
QUIET_S = 20 * RTT_S
TABLE = "keyspaces/ks/tables/ballots"
TENURES = 12
POLL_S = 0.02


class Told(NamedTuple):
    """An answer, the round trips that it claims, and those that passed until it was there."""

    answer: dict[str, Any]
    claimed: int
    passed: float

    @property
    def succeeded(self) -> bool:
        return bool(self.answer["status"] == "SUCCESS")


class Server:
    """REST v2 of one site."""

    def __init__(self, coordinator: SiteCoordinator, seed: int, settings: V2Settings | None = None) -> None:
        made = Settings(v2=settings or V2Settings())
        self._transport = AsgiTransport(build_app(coordinator, made, runtime=simulated_runtime(seed, process="server")))

    async def ask(self, method: str, path: str, body: object = None) -> Told:
        raw = b"" if body is None else json.dumps(body).encode()
        began_s = asyncio.get_running_loop().time()
        request = Request(method, f"/MUSIC/rest/v2/{path}", {"content-type": "application/json"}, raw)
        response = await self._transport.send(request)
        passed = (asyncio.get_running_loop().time() - began_s) / RTT_S
        return Told(json.loads(response.body), int(response.headers.get("polysite-round-trips", 0)), passed)

    async def done(self, method: str, path: str, body: object = None) -> Told:
        """As `ask`; the answer must be SUCCESS."""
        told = await self.ask(method, path, body)
        assert told.succeeded, told
        return told

    async def create(self, key: str) -> tuple[str, Told]:
        """The lock id."""
        told = await self.done("POST", f"locks/create/ks.ballots.{key}")
        return told.answer["lock"]["lock"], told

    async def until_held(self, lock_id: str) -> Told:
        """The answer that it holds, asked for again and again."""
        while not (told := await self.ask("GET", f"locks/acquire/{quote(lock_id)}")).succeeded:
            assert told.answer["error"].endswith("is not a lock holder"), told
            await asyncio.sleep(POLL_S)
        return told

    async def get_and_put(self, key: str, lock_id: str) -> tuple[Told, Told]:
        """Count one up."""
        info = {"type": "critical", "lockId": lock_id}
        got = await self.done("PUT", f"{TABLE}/rows/criticalget?name={key}", {"consistencyInfo": info})
        body = {"values": {"votes": got.answer["result"]["row 0"]["votes"] + 1}, "consistencyInfo": info}
        return got, await self.done("PUT", f"{TABLE}/rows?name={key}", body)

    async def release(self, lock_id: str) -> Told:
        return await self.done("DELETE", f"locks/release/{quote(lock_id)}")

    async def cycle(self, key: str) -> list[Told]:
        """Create, acquire, critical get, critical put, release."""
        lock_id, created = await self.create(key)
        acquired = await self.until_held(lock_id)
        return [created, acquired, *await self.get_and_put(key, lock_id), await self.release(lock_id)]


async def make_row(server: Server, key: str) -> None:
    """The table, and a row that is inserted without a lock."""
    await server.done("POST", TABLE, {"fields": {"name": "text", "votes": "int"}, "primaryKey": "name"})
    values = {"values": {"name": key, "votes": 0}, "consistencyInfo": {"type": "eventual"}}
    await server.done("POST", f"{TABLE}/rows", values)


@seeded(seeds=3)
@pytest.mark.parametrize(("release_waits", "release"), [(None, 0), (False, 0), (True, 2)])
async def test_round_trips_of_the_cycle(seed: int, release_waits: bool | None, release: int) -> None:
    """Goal: create waits for two round trips, acquire for none, get for one (two where no section read or wholly wrote the row before),
    put for one, and release for none, unless it is set to wait; and that is what passes. Method: a row that was inserted without a
    lock, and a cycle at each site, the key at rest between them."""
    async with wide_world(seed, rtt_s=RTT_S) as world:
        servers = [Server(site, seed, V2Settings(release_waits=release_waits)) for site in world.sites.values()]
        await make_row(servers[0], "ada")
        for server, get in zip(servers, (2, 1, 1), strict=True):
            await asyncio.sleep(QUIET_S)
            told = await server.cycle("ada")
            assert [one.claimed for one in told] == [2, 0, get, 1, release]
            assert [round(one.passed) for one in told] == [2, 0, get, 1, release]


@seeded(seeds=5)
async def test_three_sites_want_one_key(seed: int) -> None:
    """Goal: clients of three sites get on, one after the other, and count exactly. Method: each counts the same row up so many times."""
    async with wide_world(seed, rtt_s=RTT_S) as world:
        servers = [Server(site, seed) for site in world.sites.values()]
        await make_row(servers[0], "ada")
        numbers: list[int] = []

        async def count(server: Server) -> None:
            for _ in range(TENURES):
                lock_id, _ = await server.create("ada")
                await server.until_held(lock_id)
                numbers.append(int(lock_id.rpartition("$")[2]))
                await server.get_and_put("ada", lock_id)
                await server.release(lock_id)

        async with asyncio.timeout(120):
            await asyncio.gather(*map(count, servers))
        found = await servers[1].cycle("ada")
        assert found[2].answer["result"]["row 0"]["votes"] == 3 * TENURES
        assert numbers == sorted(set(numbers))
