"""Clients of the simulated world that work through the production client and server, and the links between them.

Goal: what is lost, late or there twice between a client and a site changes nothing of what is promised. Method: each fault of the links by
itself, seen from both ends, on a world whose sites are well; then whole runs, judged.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from polysite.api import KeyName, LockAnswer, RowGet, RowPut, Step
from polysite.client._async.carrier import Carrier
from polysite.client._async.coordinator import HttpCoordinator
from polysite.client.pacing import AsyncPace
from polysite.client.transport import NotSent, Request, Response
from polysite.errors import OutcomeUnknown, SiteUnreachable
from polysite.testing.loop import seeded
from polysite.testing.simulated import simulated_runtime
from polysite.testing.world import World, world
from polysite.testing.world.campaign import quiet
from polysite.testing.world.clients import TABLES
from polysite.testing.world.faults import Fault, carry_out
from polysite.testing.world.link_faults import LINK_FAULTS
from polysite.testing.world.processes import Process
from polysite.testing.world.running import Plan, carried_out
from polysite.testing.world.traffic import FLAT, KEYSPACE
from polysite.testing.world.witness import Witness
from polysite.values.tables import KeyspaceSpec

KEY = KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": "x"})
OTHER = KeyName(keyspace=KEYSPACE, table=FLAT, key={"id": "y"})


class Served(NamedTuple):
    """A world with a client at `ams`, which holds the lock of KEY."""

    world: World
    process: Process
    client: HttpCoordinator
    lock: LockAnswer

    async def put(self, value: str, key: str | None = None) -> int | None:
        answer = await self.client.put(
            KEY, {"a": value}, level="critical", reference=self.lock.reference, idempotency_key=key
        )
        return answer.stamp

    async def row(self) -> Any:
        """What the process itself says of the row."""
        found = await self.process.coordinator.get(KEY, level="critical", reference=self.lock.reference)
        return found.row and found.row["a"]


@asynccontextmanager
async def served(seed: int, *, retries: int = 0, processes: int = 1) -> AsyncIterator[Served]:
    """The world, the newest process of `ams`, a client that sends again so often, and its lock."""
    async with world(seed) as made:
        for _ in range(processes - 1):
            await made.start_process("ams")
        process = made.process("ams")
        assert process is not None
        await process.coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
        for spec in TABLES:
            await process.coordinator.create_table(spec)
        pace = AsyncPace(simulated_runtime(seed, process="client"))
        client = HttpCoordinator(Carrier(made.links.transports("ams"), retries=retries, answer_s=3.0, pace=pace))
        yield Served(made, process, client, await client.acquire([KEY], lease_ms=60_000))
        await made.links.idle()


@seeded(seeds=4)
async def test_a_lost_request_does_nothing(seed: int) -> None:
    """Goal: nobody has taken it in, and the client cannot know. Method: every request is lost; then look at the row."""
    async with served(seed) as made:
        made.world.links.weather.lost = 1.0
        with pytest.raises(OutcomeUnknown):
            await made.put("v")
        assert await made.row() is None


@seeded(seeds=4)
async def test_a_lost_answer_is_of_a_call_that_was_carried_out(seed: int) -> None:
    """Goal: the row is written, and the client cannot know. Method: every answer is lost; then look at the row."""
    async with served(seed) as made:
        made.world.links.weather.unanswered = 1.0
        with pytest.raises(OutcomeUnknown):
            await made.put("v")
        assert await made.row() == "v"


@seeded(seeds=4)
async def test_a_refused_connection_is_a_refusal(seed: int) -> None:
    """Goal: nothing was sent, which the client knows. Method: every connection is refused."""
    async with served(seed) as made:
        made.world.links.weather.refused = 1.0
        with pytest.raises(SiteUnreachable):
            await made.put("v")
        assert await made.row() is None


@seeded(seeds=4)
async def test_a_late_request_arrives_after_its_client_has_gone(seed: int) -> None:
    """Goal: what is under way takes effect though nobody waits for it any more. Method: requests take up to half a minute."""
    async with served(seed) as made:
        made.world.links.weather.late, made.world.links.weather.late_s = 1.0, 30.0
        for number in range(100):
            told = await asyncio.gather(made.put(f"{number}"), return_exceptions=True)
            if isinstance(told[0], OutcomeUnknown):
                break
        written = await made.row()
        await asyncio.sleep(30.0)
        assert await made.row() != written


@seeded(seeds=4)
async def test_a_doubled_request_has_one_effect(seed: int) -> None:
    """Goal: the second of two sendings changes nothing, and is answered as the first. Method: a put under a key comes again after the
    next put."""
    async with served(seed, processes=2) as made:
        made.world.links.weather.doubled = 1.0
        await made.put("first", key="k")
        made.world.links.weather.doubled = 0.0
        await made.put("second", key="l")
        await asyncio.sleep(made.world.links.weather.late_s + 1)
        assert await made.row() == "second"
        assert made.world.links.witness.repeated == 1
        assert made.world.links.findings == []


@seeded(seeds=4)
async def test_only_what_says_so_comes_twice(seed: int) -> None:
    """Goal: nobody on the way sends a write again that has no key. Method: the same, without a key."""
    async with served(seed) as made:
        made.world.links.weather.doubled = 1.0
        await made.put("first")
        await made.put("second")
        await asyncio.sleep(made.world.links.weather.late_s + 1)
        assert await made.row() == "second"


@seeded(seeds=4)
async def test_a_cut_between_clients_and_their_site(seed: int) -> None:
    """Goal: nothing passes, other sites' clients are none the wiser, and after it all is well. Method: cut, put, heal, put."""
    async with served(seed) as made:
        await carry_out(made.world, [Fault(at_s=0.0, lasts_s=99.0, name="clients cut off", site="bei")], 0.1)
        made.world.links.cut("ams")
        with pytest.raises((OutcomeUnknown, SiteUnreachable)):
            await made.put("v")
        assert await made.row() is None
        made.world.links.heal("ams")
        await made.put("w")
        assert await made.row() == "w"


@seeded(seeds=4)
async def test_an_answer_that_meets_a_cut(seed: int) -> None:
    """Goal: the call is carried out, and its answer does not come. Method: cut the link while the call is under way."""
    async with served(seed) as made:
        putting = asyncio.ensure_future(made.put("v"))
        await asyncio.sleep(0.01)
        made.world.links.cut("ams")
        with pytest.raises(OutcomeUnknown):
            await putting
        assert await made.row() == "v"


@seeded(seeds=4)
async def test_a_process_that_dies_breaks_its_connections(seed: int) -> None:
    """Goal: what it was asked has no answer; whoever asks next is refused a connection, and another port answers. Method: two
    processes, of which the one that is asked is killed."""
    async with served(seed, processes=2) as made:
        first = made.world.links.process_at("ams", 0)
        assert first is not None
        putting = asyncio.ensure_future(made.put("v"))
        await asyncio.sleep(0.01)
        await first.kill()
        with pytest.raises(OutcomeUnknown):
            await putting
        (port, other) = made.world.links.transports("ams")
        health = Request("GET", "/v3/health/live", {})
        with pytest.raises(NotSent):
            await port.send(health)
        assert (await other.send(health)).status == 200
        assert (await made.client.queue(KEY)).entries


@seeded(seeds=4)
async def test_the_client_goes_on_with_another_process(seed: int) -> None:
    """Goal: a section that was not answered by one process is sent again to the other, has one effect, and the same answer when it is asked for
    once more. Method: the process that is asked dies under a section with a key."""
    async with served(seed, retries=3, processes=2) as made:
        first = made.world.links.process_at("ams", 0)
        assert first is not None
        steps: list[Step] = [RowGet(), RowPut(columns={"a": "w"})]
        before = await made.client.acquire([OTHER], lease_ms=5_000, idempotency_key="k")
        await made.client.release(before.reference)
        working = asyncio.ensure_future(made.client.section(OTHER, steps, lease_ms=2_000, idempotency_key="l"))
        await asyncio.sleep(0.01)
        await first.kill()
        done = await working
        assert done.fencing_token > before.fencing_token
        again = await made.client.section(OTHER, steps, lease_ms=2_000, idempotency_key="l")
        assert (again.fencing_token, again.results) == (done.fencing_token, done.results)
        assert made.world.links.witness.repeated == 1
        assert made.world.links.findings == []


@seeded(seeds=4)
async def test_a_frozen_process_carries_out_what_it_had_taken_in(seed: int) -> None:
    """Goal: its client gives up, and the call takes effect once it thaws. Method: freeze it under a put."""
    async with served(seed) as made:
        made.process.freeze()
        with pytest.raises(OutcomeUnknown):
            await made.put("v")
        made.process.thaw()
        await made.world.links.idle()
        assert await made.row() == "v"


@seeded(seeds=4)
async def test_a_wish_that_is_cancelled_is_withdrawn(seed: int) -> None:
    """Goal: an acquire that also reads the row, cancelled while it waits, leaves no place in the queue. Method: cancel it behind a
    holder, and look. (Found by the simulation: the wish was looked for as one that does not read, so it was another request.)"""
    async with served(seed) as made:
        wishing = asyncio.ensure_future(made.client.acquire([KEY], lease_ms=60_000, wait_ms=9_000, read=True))
        await asyncio.sleep(1.0)
        assert len((await made.client.queue(KEY)).entries) == 2
        wishing.cancel()
        await asyncio.gather(wishing, return_exceptions=True)
        await asyncio.sleep(2.0)
        assert len((await made.client.queue(KEY)).entries) == 1
        await made.client.release(made.lock.reference)


@pytest.mark.parametrize("name", LINK_FAULTS)
def test_each_fault_alone(name: str) -> None:
    """Each fault of the links, the sites being well: nothing is found, and every key is had again after it."""
    faults = tuple(
        Fault(at_s=at_s, lasts_s=5.0, name=name, site=site, amount=0.9) for at_s, site in ((1.0, "ams"), (6.0, "irv"))
    )
    with quiet():
        verdict = carried_out(Plan(seed=7, faults=faults, lasts_s=12.0, served=True))
    assert verdict.findings == []
    assert verdict.done > 50


@pytest.mark.parametrize("seed", range(100, 108))
def test_a_swarm_of_faults_of_links_and_sites(seed: int) -> None:
    """Nothing is found against runs whose clients work over links, with any faults at all."""
    with quiet():
        verdict = carried_out(Plan(seed=seed, served=True))
    assert verdict.findings == []


def test_the_witness_tells_answers_that_differ() -> None:
    """Goal: two answers to one request are told where they differ in what they say was done, not in what it cost. Method: three answers
    under one key, and one under another."""
    witness = Witness()
    request = Request("PUT", "/v3/x", {"idempotency-key": "k"})
    for body in (b'{"stamp":1,"round_trips":2}', b'{"stamp":1,"round_trips":0}'):
        witness.note("ams/1", request, Response(200, {}, body))
    witness.note("ams/1", request._replace(headers={"idempotency-key": "l"}), Response(200, {}, b'{"stamp":3}'))
    witness.note("ams/1", request, Response(503, {}, b'{"code":"unavailable"}'))
    assert (witness.findings, witness.repeated) == ([], 1)
    witness.note("ams/4", request, Response(200, {}, b'{"stamp":2}'))
    assert witness.findings == [
        "PUT /v3/x at ams/4 answered {'stamp': 2}, where PUT /v3/x at ams/1 had answered {'stamp': 1}"
    ]
    witness.note("ams/4", request, Response(422, {}, b'{"code":"idempotency_mismatch"}'))
    assert "taken for another" in witness.findings[-1]
