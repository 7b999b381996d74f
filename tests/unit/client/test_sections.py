"""Sections, tables and lock sets over the real coordinator, in process and over HTTP.

Method: the embedded store on `:memory:` and the production coordinator on the seeded loop, so an hour of waiting takes no
time and every interleaving has a seed. Over HTTP the requests go straight into the server's application.
"""
# ruff: noqa: PT012  # what raises is the end of the section's block

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import polysite
from polysite import AcquireTimeout, BadRequest, CompareFailed, LockLost, RowExpectation, RowGet, RowPut, Site, Table
from polysite.api import ReleaseAnswer
from polysite.client.asgi_transport import AsgiTransport
from polysite.client.pacing import AsyncPace
from polysite.clock import Runtime
from polysite.server.app import build_app
from polysite.server.settings import Settings
from polysite.testing.loop import current_loop, run, simulated_runtime

SEEDS = range(3)
LEASE_S = 3.0


@asynccontextmanager
async def voting(carrier: str) -> AsyncIterator[Site]:
    """A site with the tables `votes` (one key column), `rounds` (two) and `log` (eventual)."""
    runtime = simulated_runtime(1)
    async with polysite.open(runtime=runtime) as here, over(carrier, here, runtime) as site:
        await site.create_keyspace("voting")
        await site.create_table("voting", "votes", {"name": "text", "count": "int"}, partition_key="name")
        await site.create_table(
            "voting",
            "rounds",
            {"name": "text", "round": "int", "count": "int"},
            partition_key="name",
            clustering_key=["round"],
        )
        await site.create_table("voting", "log", {"name": "text", "n": "int"}, partition_key="name", writes="eventual")
        yield site


@asynccontextmanager
async def over(carrier: str, here: Site, runtime: Runtime) -> AsyncIterator[Site]:
    """`here` itself, or a client of a server over the same coordinator."""
    if carrier == "in process":
        yield here
        return
    application = build_app(here.coordinator, Settings(), runtime=runtime)
    transport = AsgiTransport(application)
    async with polysite.connect("", transport=transport, pace=AsyncPace(runtime)) as site:
        yield site


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed {seed}")
def seed(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture(params=["in process", "over HTTP"])
def on_a_site(
    request: pytest.FixtureRequest, seed: int
) -> Callable[[Callable[[Site], Coroutine[Any, Any, None]]], None]:
    """Runs a function with a site, on the loop of each seed."""

    def carry(work: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with voting(request.param) as site:
                await work(site)

        run(main, seed=seed)

    return carry


OnASite = Callable[[Callable[[Site], Coroutine[Any, Any, None]]], None]


async def waiting(table: Table, key: Any) -> int:
    """How many entries the queue of a key has."""
    return len((await table.queue(key)).entries)


async def until_free(table: Table, key: Any) -> None:
    """Return when the queue of a key is empty; a release in the background takes its time."""
    async with asyncio.timeout(60):
        while await waiting(table, key):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_section_reads_writes_and_lets_go(on_a_site: OnASite) -> None:
    """The next holder sees the write, and has a higher fencing token."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        tokens = []
        for expected in (None, {"name": "ana", "count": 1}):
            async with votes.section("ana", lease_s=LEASE_S) as section:
                assert await section.get() == expected
                await section.put({"count": 1})
                assert await section.get() == {"name": "ana", "count": 1}
                tokens.append(section.fencing_token)
        assert tokens[0] < tokens[1]
        await until_free(votes, "ana")

    on_a_site(work)


def test_many_tasks_lose_no_vote(on_a_site: OnASite) -> None:
    """Forty sections on one key from ten tasks: every one starts from the latest value."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")

        async def vote() -> None:
            for _ in range(4):
                async with votes.section("ana", lease_s=LEASE_S, wait_s=None) as section:
                    row = await section.get()
                    await section.put({"count": (row["count"] if row else 0) + 1})

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(vote())
        assert await votes.get("ana", level="quorum") == {"name": "ana", "count": 40}

    on_a_site(work)


def test_a_long_body_keeps_its_lock(on_a_site: OnASite) -> None:
    """Signs of life are sent by themselves: ten leases later the lock is still held and the release is validated."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=LEASE_S, validate=True) as section:
            await asyncio.sleep(10 * LEASE_S)
            await section.put({"count": 1})

    on_a_site(work)


def test_the_body_is_cancelled_when_it_is_preempted(on_a_site: OnASite) -> None:
    """Within a third of the lease, at the await where it stands, and `LockLost` leaves the section."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        told: list[LockLost] = []
        with pytest.raises(LockLost):
            async with votes.section("ana", lease_s=LEASE_S, on_lost=told.append) as section:
                await votes.preempt("ana")
                began_s = current_loop().time()
                try:
                    await asyncio.sleep(1000)
                finally:
                    assert current_loop().time() - began_s <= LEASE_S / 2
                    assert section.is_lost
        assert len(told) == 1
        async with votes.section("ana", wait_s=0) as section:
            await section.put({"count": 2})

    on_a_site(work)


def test_a_call_that_learns_of_the_loss(on_a_site: OnASite) -> None:
    """The body's own put is refused; nothing of it happened, and every later call is refused without asking."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        with pytest.raises(LockLost) as caught:
            async with votes.section("ana", lease_s=LEASE_S) as section:
                await section.put({"count": 1})
                await votes.preempt("ana")
                with pytest.raises(LockLost):
                    await section.put({"count": 2})
                assert section.is_lost
                await section.get()
        assert caught.value.outcome == "refused"
        assert await votes.get("ana", level="quorum") == {"name": "ana", "count": 1}

    on_a_site(work)


def test_the_row_that_came_with_the_lock_is_not_served_twice(on_a_site: OnASite) -> None:
    """It is the first get only: after an own put, delete or batch a get says what was written."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=60) as section:
            await section.put({"count": 1})
            assert await section.get() == {"name": "ana", "count": 1}
        async with votes.section("ana", lease_s=60) as section:
            await section.batch([RowPut(key={"name": "ana"}, columns={"count": 2})])
            assert await section.get() == {"name": "ana", "count": 2}
        async with votes.section("ana", lease_s=60) as section:
            await section.delete()
            assert await section.get() is None

    on_a_site(work)


def test_a_section_known_to_be_lost_sends_nothing(on_a_site: OnASite) -> None:
    """Even if the site would still take it: a client that was silent for its lease must not write any more. The lock, if
    the site still holds it, is given up."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        with pytest.raises(LockLost):
            async with votes.section("ana", lease_s=60) as section:
                section._keeper.lose(LockLost("silent", reason="no_answer"))
                with pytest.raises(LockLost, match="silent"):
                    await section.put({"count": 1})
                raise section.lost_error or AssertionError
        await until_free(votes, "ana")
        assert await votes.get("ana", level="quorum") is None

    on_a_site(work)


def test_a_loss_after_the_last_write(on_a_site: OnASite) -> None:
    """What was answered done stays done; only who asked for the proof is told that it cannot be had."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=LEASE_S) as section:
            await section.put({"count": 1})
            await votes.preempt("ana")
        with pytest.raises(LockLost):
            async with votes.section("bo", lease_s=LEASE_S, validate=True) as section:
                await section.put({"count": 1})
                await votes.preempt("bo")

    on_a_site(work)


def test_a_body_that_fails_lets_go(on_a_site: OnASite) -> None:
    """Its error leaves unchanged, and the lock is free at once."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        with pytest.raises(ZeroDivisionError):
            async with votes.section("ana", lease_s=1000):
                raise ZeroDivisionError
        async with votes.section("ana", wait_s=1):
            pass

    on_a_site(work)


def test_a_cancelled_body_lets_go(on_a_site: OnASite) -> None:
    """The cancellation stays one, and the lock is free at once."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")

        async def body() -> None:
            async with votes.section("ana", lease_s=1000):
                await asyncio.sleep(1000)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await body()
        async with votes.section("ana", wait_s=1):
            pass

    on_a_site(work)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_validated_release_that_is_cancelled_is_carried_out(on_a_site: OnASite, by_hand: bool) -> None:
    """Goal: a caller who gives up while the release is on its way leaves no lock behind until the lease. Method: a release that
    takes a second to reach the site, cancelled after half of it, at the section's end or by hand."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        release = site.coordinator.release

        async def slowly(reference: str, *, validate: bool = True) -> ReleaseAnswer:
            await asyncio.sleep(1)
            return await release(reference, validate=validate)

        site.coordinator.release = slowly  # type: ignore[method-assign]

        async def body() -> None:
            async with votes.section("ana", lease_s=1000, validate=True) as section:
                if by_hand:
                    await section.release()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await body()
        await asyncio.sleep(1)
        async with votes.section("ana", wait_s=0):
            pass

    on_a_site(work)


@pytest.mark.parametrize("wait_s", [0, 0.5, 10])
def test_a_lock_that_is_not_granted(on_a_site: OnASite, wait_s: float) -> None:
    """AcquireTimeout after the wait, and the wish has left the queue."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=60):
            began_s = current_loop().time()
            with pytest.raises(AcquireTimeout) as caught:
                async with votes.section("ana", wait_s=wait_s):
                    raise AssertionError("two holders")
            assert caught.value.ahead == 1
            assert current_loop().time() - began_s == pytest.approx(wait_s, abs=0.2)
            assert await waiting(votes, "ana") == 1

    on_a_site(work)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 5.0])
def test_a_wait_that_is_cancelled(on_a_site: OnASite, after_s: float) -> None:
    """Whoever stops waiting leaves no wish behind, however early it stops."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=60):
            waiter = asyncio.ensure_future(votes.section("ana", wait_s=None).__aenter__())
            await asyncio.sleep(after_s)
            waiter.cancel()
            await asyncio.wait([waiter])
            await asyncio.sleep(0.1)
            assert await waiting(votes, "ana") == 1

    on_a_site(work)


def test_shared_sections_and_promotion(on_a_site: OnASite) -> None:
    """Two hold together; the one that asks becomes exclusive when the other has left; two that ask do not both get it."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", shared=True, lease_s=60) as first:
            async with votes.section("ana", shared=True, lease_s=60, wait_s=1) as second:
                asked = asyncio.ensure_future(first.promote(wait_s=30))
                await asyncio.sleep(1)
                assert not asked.done()
                with pytest.raises(CompareFailed):
                    await second.promote()
            await asked
            await first.put({"count": 1})
        assert await votes.get("ana", level="quorum") == {"name": "ana", "count": 1}

    on_a_site(work)


def test_a_lock_set(on_a_site: OnASite) -> None:
    """All keys or none; its rows are named by table and key; two sets in opposite order do not wait for each other for ever."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")

        async def move(first: str, second: str) -> None:
            async with site.lock_set([(votes, first), (votes, second)], lease_s=60, wait_s=60) as locks:
                for key, change in ((first, -1), (second, 1)):
                    row = await locks.get(votes, key)
                    await locks.put(votes, key, {"count": (row["count"] if row else 0) + change})

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(move("ana", "bo"))
                group.create_task(move("bo", "ana"))
        assert [(await votes.get(key, level="quorum") or {})["count"] for key in ("ana", "bo")] == [0, 0]
        async with votes.section("bo", lease_s=60):
            with pytest.raises(AcquireTimeout):
                async with site.lock_set([(votes, "ana"), (votes, "bo")], wait_s=1):
                    raise AssertionError("two holders")
        async with votes.section("ana", wait_s=1):
            pass

    on_a_site(work)


def test_a_section_on_a_partition(on_a_site: OnASite) -> None:
    """Rows of the partition are named by what comes after the section's key; all of them can be walked over."""

    async def work(site: Site) -> None:
        rounds = site.table("voting", "rounds")
        async with rounds.section("ana", lease_s=60) as section:
            for number in (1, 2, 3):
                await section.put({"count": number}, key=number)
            await section.delete(2)
            assert await section.get(("ana", 3)) == {"name": "ana", "round": 3, "count": 3}
            assert await section.get({"round": 2}) is None
            assert [row["round"] async for row in section.rows()] == [1, 3]
            assert [
                row["round"] for row in (await section.select([("name", "eq", "ana"), ("round", "gt", 1)])).rows
            ] == [3]
            with pytest.raises(BadRequest):
                await section.get()

    on_a_site(work)


def test_release_before_the_end(on_a_site: OnASite) -> None:
    """It proves the section's writes; afterwards the section's verbs are refused, and the end of the body is quiet."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        async with votes.section("ana", lease_s=60) as section:
            await section.put({"count": 1})
            assert (await section.release()).validated
            assert await waiting(votes, "ana") == 0
            for refused in (section.get, section.release):
                with pytest.raises(BadRequest):
                    await refused()
            await asyncio.sleep(100)
        with pytest.raises(BadRequest):
            await section.__aenter__()
        with pytest.raises(BadRequest):
            await votes.section("ana").get()

    on_a_site(work)


def test_a_whole_section_in_one_call(on_a_site: OnASite) -> None:
    """Steps in their order under one lock; an expectation that does not hold writes nothing and leaves nothing behind."""

    async def work(site: Site) -> None:
        votes = site.table("voting", "votes")
        done = await votes.run("ana", [RowPut(columns={"count": 1}), RowGet()])
        assert done.results == [None, {"name": "ana", "count": 1}]
        with pytest.raises(CompareFailed):
            await votes.run("ana", [RowExpectation(equals={"count": 9}), RowPut(columns={"count": 2})])
        assert await votes.get("ana", level="quorum") == {"name": "ana", "count": 1}
        assert await waiting(votes, "ana") == 0

    on_a_site(work)


def test_tables_without_sections(on_a_site: OnASite) -> None:
    """A put goes the way the table is written; rows are walked over page by page; what it cost is added up."""

    async def work(site: Site) -> None:
        log, votes = site.table("voting", "log"), site.table("voting", "votes")
        for number in range(7):
            await log.put(f"n{number}", {"n": number})
        assert sorted([row["n"] async for row in log.rows(page_rows=2)]) == list(range(7))
        page = await log.select(limit=3)
        assert len(page.rows) == 3
        assert page.cursor is not None
        await log.delete("n0")
        assert await log.get("n0") is None
        await votes.put("ana", {"count": 1})
        assert await votes.get(("ana",)) == await votes.get({"name": "ana"}) == {"name": "ana", "count": 1}
        assert (await votes.read("ana", stamps=True)).stamps is not None
        assert site.round_trips == 0

    on_a_site(work)


def test_opening(on_a_site: OnASite) -> None:
    """`open` can be awaited or entered, once; what is no setting is refused by name."""

    async def work(_: Site) -> None:
        opening = polysite.open(runtime=simulated_runtime(2))
        site = await opening
        assert (await site.health()).ready
        with pytest.raises(BadRequest):
            await opening
        await site.close()
        with pytest.raises(BadRequest, match="lease_for_ever"):
            await polysite.open(lease_for_ever=True)

    on_a_site(work)
