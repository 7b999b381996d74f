"""Faults of the original's locks, each with a test that its behaviour would fail.

Method: as in `test_v2_quirks`, with engines that lose answers and processes that die where the fault needs it. The numbers are those of the
list on the page "Coming from MUSIC 3.x".
"""

import asyncio
from asyncio import ensure_future as task
from asyncio import sleep
from typing import Any

import pytest

from polysite.api import KeyName
from polysite.core import lock_cell
from polysite.testing.faults import FaultRates
from polysite.testing.loop import seeded
from tests.support.music import Answer, Music, music_of
from tests.support.wide import wide_world

LEASE_MS = 1_000


async def entries(music: Music, key: str) -> list[int]:
    """The tickets in the queue of a key of ks.music."""
    queue = await music.application.service.coordinator.queue(KeyName(keyspace="ks", table="music", key={"id": key}))
    return [entry.fencing_token for entry in queue.entries]


async def with_lease(music: Music, lock_id: str, lease_ms: int = LEASE_MS) -> Answer:
    """Acquire with a lease."""
    return await music.ask("POST", f"/v2/locks/acquire-with-lease/{lock_id}", {"leasePeriod": lease_ms})


async def until_held(music: Music, lock_id: str, *, within_s: float) -> float:
    """Ask again and again, as clients do, until the lock is held; how long it took."""
    passed_s = 0.0
    while (await music.acquire(lock_id)).status != 200:
        assert passed_s < within_s, f"{lock_id} was not granted within {within_s} s"
        await sleep(0.1)
        passed_s += 0.1
    return passed_s


@seeded(seeds=5)
async def test_b20_a_holder_stays_the_holder(seed: int) -> None:
    """Whatever old states a replica shows, nobody who was told that he holds is told later that he does not, at whichever process."""
    async with music_of(seed, "one", "two") as (world, musics):
        for process in world.processes:
            process.faults.rates = FaultRates(stale=0.7)
        for _ in range(3):
            lock = await musics[0].enqueue("a")
            await until_held(musics[1], lock, within_s=5)
            for turn in range(10):
                assert (await musics[turn % 2].acquire(lock)).status == 200
                assert (await musics[turn % 2].put("a", {"count": turn}, lock=lock)).status == 200
            assert (await musics[1].release(lock)).status == 200


@seeded
async def test_b21_a_key_without_a_row_is_no_dead_key(seed: int) -> None:
    """A holder that died before its first insert leaves a key that the next one holds, reads and writes."""
    async with music_of(seed, "dies", "lives") as (world, [dies, lives]):
        lost = await dies.lock("a")
        await with_lease(dies, lost)
        lock = await lives.enqueue("a")
        await world.processes[0].kill()
        await until_held(lives, lock, within_s=5)
        assert (await lives.critical_get("a", lock=lock)).rows == []
        assert (await lives.insert({"id": "a", "count": 1}, lock=lock)).message == "Insert Successful"
        assert (await lives.critical_get("a", lock=lock)).rows == [{"id": "a", "count": 1, "note": None}]


@seeded
async def test_b22_values_outlast_a_preemption(seed: int) -> None:
    """What the next holder settles is every value as it was, of every type, and nulls are nulls: never the word null, a zero or other bytes."""
    types = {"i": "int", "u": "uuid", "b": "blob", "ip": "inet", "ts": "timestamp", "s": "set<int>", "bo": "boolean"}
    async with music_of(seed) as (world, [music]):
        await music.make_table({"id": "text", "n": "text", **types}, table="typed")
        coordinator = world.processes[0].coordinator
        full = {
            "id": "full", "n": "null", "i": 0, "u": "00000001-0001-0001-0001-000000000001", "b": "bnVsbA==", "ip": "10.0.0.1",
            "ts": "2024-02-29T12:00:00.000Z", "s": [1, 2], "bo": True,
        }  # fmt: skip
        before: Any = None
        for values in (full, {"id": "empty"}):
            key = values["id"]
            blob = {name: value for name, value in values.items() if name == "b"}
            rest = {name: value for name, value in values.items() if name != "b"}
            await music.insert(rest, table="typed", objectMap=blob)
            name = KeyName(keyspace="ks", table="typed", key={"id": key})
            before = (await coordinator.get(name)).row
            lost = await music.lock(str(key), table="typed")
            await music.ask("DELETE", f"/v2/locks/delete/{lost}")
            lock = await music.lock(str(key), table="typed")
            await music.critical_get(str(key), table="typed", lock=lock)
            await music.release(lock)
            assert (await coordinator.get(name)).row == before
        assert before == {"id": "empty", "n": None, **dict.fromkeys(types)}


@seeded(seeds=5)
async def test_b23_an_atomic_operation_leaves_no_ticket(seed: int) -> None:
    """Whatever answer is lost on the way, and if the view of the queue is old, no atomic operation leaves an entry that nobody has."""
    async with music_of(seed) as (world, [music]):
        faults = world.processes[0].faults
        for _ in range(8):
            faults.rates = FaultRates(lost_after=0.2, lost_before=0.2, refused=0.1, stale=0.5)
            answer = await music.put("a", {"count": 1}, kind="atomic")
            assert answer.status in {200, 400}
            faults.rates = FaultRates()
            await sleep(15)
            assert await entries(music, "a") == []
        assert (await music.put("a", {"count": 2}, kind="atomic")).status == 200


@seeded
@pytest.mark.parametrize("after_effect", [True, False])
async def test_b24_an_unanswered_create_makes_no_ghost(seed: int, after_effect: bool) -> None:
    """The change was made or not, and its answer lost: the client has its lock, and there is no other entry in the queue."""
    async with music_of(seed) as (world, [music]):
        world.processes[0].faults.lose_next("compare_and_set", after_effect=after_effect)
        lock = await music.lock("a")
        assert lock == "$ks.music.a$1"
        assert await entries(music, "a") == [1]
        await music.release(lock)
        assert await music.lock("a") == "$ks.music.a$2"


@seeded(seeds=3)
async def test_b25_creates_that_meet_succeed(seed: int) -> None:
    """Three sites ask for one key four times each at once: everybody gets a number of their own."""
    async with wide_world(seed) as world:
        musics = [Music(site, runtime=world.ocean.runtime) for site in world.sites.values()]
        asked = [task(music.create("a", table="votes")) for music in musics for _ in range(4)]
        locks = [answer.json["lock"]["lock"] for answer in await asyncio.gather(*asked)]
        assert sorted(locks) == sorted(f"$ks.votes.a${number}" for number in range(1, 13))
        for music in musics:
            for lock in locks:
                await music.release(lock)


@seeded
async def test_b26_a_lease_begins_when_the_lock_is_held(seed: int) -> None:
    """Who waited for longer than the lease is not evicted when its turn comes, whatever lease those behind it name."""
    async with music_of(seed) as (_, [music]):
        first, second, third = [await music.enqueue("a") for _ in range(3)]
        assert (await with_lease(music, second, 2_000)).status == 400
        for _ in range(50):
            await sleep(0.1)
            for lock in (first, second, third):
                await music.acquire(lock)
        await music.release(first)
        assert (await music.acquire(second)).status == 200
        assert (await with_lease(music, third, 100)).status == 400
        await sleep(1.5)
        assert (await music.acquire(third)).status == 400
        assert (await music.put("a", {"count": 1}, lock=second)).message == "Update performed"


@seeded
async def test_b27_preemption_goes_on_after_an_outage(seed: int) -> None:
    """The engine is down while a dead holder's lease ends; when it is back the next in the queue gets the lock."""
    async with music_of(seed, "dies", "lives") as (world, [dies, lives]):
        await with_lease(dies, await dies.lock("a"))
        lock = await lives.enqueue("a")
        await world.processes[0].kill()
        world.processes[1].faults.down = True
        for _ in range(30):
            await sleep(0.1)
            assert (await lives.acquire(lock)).status == 400
        world.processes[1].faults.down = False
        await until_held(lives, lock, within_s=5)


@seeded
async def test_b28_a_key_used_often_costs_what_it_cost_at_first(seed: int) -> None:
    """After 300 cycles the cell of a key is no longer than after 100, and a cycle makes no more calls of the engine."""
    async with music_of(seed) as (world, [music]):
        sizes, calls = [], []
        faults = world.processes[0].faults
        for number in range(1, 301):
            before = sum(faults.calls.values())
            await music.release(await music.lock("a"))
            if number % 100 == 0:
                sizes.append(len(lock_cell.encode(await world.cell("a", "music"))))
                calls.append(sum(faults.calls.values()) - before)
        assert max(sizes) <= sizes[0] + 32, sizes  # a number may take a byte more
        assert calls[0] == calls[1] == calls[2]


@seeded
async def test_b29_an_idle_key_keeps_its_number_and_little_else(seed: int) -> None:
    """A while after the last use the cell is compacted; the next lock goes on with the numbers."""
    async with music_of(seed) as (world, [music]):
        for _ in range(20):
            await music.release(await music.lock("a"))
        used = len(lock_cell.encode(await world.cell("a", "music")))
        await sleep(1_800)
        cell = await world.cell("a", "music")
        assert len(lock_cell.encode(cell)) < used / 4
        assert not cell.departed
        assert await music.lock("a") == "$ks.music.a$21"


@seeded
async def test_b30_no_ring_where_owners_are_not_told(seed: int) -> None:
    """Those without an owner are not one owner: two of them, each waiting for the other's key, are refused nothing."""
    async with music_of(seed) as (_, [music]):
        for owner in (None, ""):
            await music.lock("a", owner=owner)
            await music.lock("b", owner=owner)
            assert await music.enqueue("b", owner=owner)
            assert await music.enqueue("a", owner=owner)
            for key in ("a", "b"):
                await music.ask("DELETE", f"/v2/locks/delete/ks.music.{key}")


@seeded(seeds=5)
async def test_b30_of_two_that_close_a_ring_at_once_one_is_refused(seed: int) -> None:
    """Two processes, each of whose owners asks for the other's key at the same time: they do not wait for each other for ever."""
    async with music_of(seed, "one", "two") as (_, [one, two]):
        await one.lock("a", owner="x")
        await two.lock("b", owner="y")
        answers = await asyncio.gather(one.create("b", owner="x"), two.create("a", owner="y"))
        refused = [answer for answer in answers if answer.status == 400]
        assert refused
        for answer in refused:
            assert answer.error.startswith("Deadlock detected when ")
        await sleep(1)  # the refused ones are given up in the background
        assert len(await entries(one, "a")) + len(await entries(one, "b")) == 4 - len(refused)


@seeded
async def test_b31_holders_are_those_who_hold(seed: int) -> None:
    """A single reader behind a writer is no holder; of readers all are."""
    async with music_of(seed) as (_, [music]):
        for kind in ("READ", "READ", "READ", "WRITE"):
            await music.enqueue("a", kind=kind)
        answer = await music.ask("GET", "/v2/locks/holders/ks.music.a")
        assert answer.json["lock"]["lock-holder"] == [f"$ks.music.a${number}" for number in (1, 2, 3)]


@seeded
async def test_b32_not_the_holder_is_not_no_data(seed: int) -> None:
    """A read by somebody who does not hold, or no longer holds, is a failure; only an absent row is an empty success."""
    async with music_of(seed) as (_, [music]):
        held = await music.lock("a")
        waits = await music.enqueue("a")
        assert (await music.critical_get("a", lock=waits)).status == 400
        assert (await music.critical_get("a", lock=held)).rows == []
        await music.release(held)
        assert (await music.critical_get("a", lock=held)).status == 400
        assert (await music.critical_get("a", lock=waits)).rows == []


@seeded
async def test_b33_a_conditional_write_that_failed_is_a_failure(seed: int) -> None:
    """The engine refuses the write, or the lock is lost in between: no success is told. It costs one lock and no more."""
    async with music_of(seed) as (world, [music]):
        await music.make_table({"id": "text", "plans": "map<text, text>"}, table="cond")
        body = {
            "primaryKey": "id", "primaryKeyValue": "x", "casscadeColumnName": "plans", "tableValues": {"id": "x"},
            "casscadeColumnData": {"key": "plan", "value": {"a": 1}},
            "conditions": {"exists": {"status": "again"}, "nonexists": {"status": "new"}},
        }  # fmt: skip
        path = "/v2/conditional/insert/keyspaces/ks/tables/cond"
        world.processes[0].faults.refuse_next("write")
        refused = await music.ask("POST", path, body)
        assert refused.error
        assert refused.headers["polysite-outcome"] == "refused"
        assert (await music.select(table="cond")).rows == []
        world.processes[0].faults.lose_next("write", after_effect=False)
        unknown = await music.ask("POST", path, body)
        assert unknown.status == 200 or unknown.headers["polysite-outcome"] == "unknown"
        await sleep(1)
        before = world.processes[0].faults.calls["compare_and_set"]
        assert (await music.ask("POST", path, body)).message
        await sleep(1)
        assert world.processes[0].faults.calls["compare_and_set"] - before <= 2
        assert (await music.create("x", table="cond")).status == 200


@seeded
async def test_b34_apostrophes_and_forged_ids(seed: int) -> None:
    """A key with an apostrophe is locked, asked for and released; an id that is made up of statements names nothing."""
    async with music_of(seed) as (_, [music]):
        other = await music.lock("other")
        for key in ("o'brien", "' OR '1'='1", "x'; DELETE FROM q WHERE id='other"):
            lock = await music.lock(key)
            assert (await music.ask("GET", f"/v2/locks/enquire/ks.music.{key}".replace(" ", "%20"))).status == 200
            assert (await music.release(lock)).status == 200
            assert await entries(music, key) == []
            assert (await music.create(key, owner="it's me")).status == 200
        for forged in (
            "$ks.music.a' OR 1=1$1",
            "$ks.music.other$1 OR 1=1",
            "$ks.music.other$1' IF EXISTS;--",
            "$ks.music.other$-1",
        ):
            await music.release(forged)
            await music.ask("DELETE", f"/v2/locks/delete/{forged.replace(' ', '%20')}")
        assert await music.enquire("other") == other


@seeded
async def test_b35_keys_with_dots_and_dollars(seed: int) -> None:
    """They lock what they name, no prefix of it, and are written and released like any other."""
    async with music_of(seed) as (_, [music]):
        keys = ("a.b", "a.b.c", "a", "a$1", "$", "$1", "a$$", "$ks.music.a$1", ".", "a.")
        locks = [await music.lock(key) for key in keys]
        for key, lock in zip(keys, locks, strict=True):
            assert lock == f"$ks.music.{key}$1"
            assert (await music.put(key, {"count": 1}, lock=lock)).message == "Update performed"
        for key, lock in zip(keys, locks, strict=True):
            assert (await music.release(lock)).status == 200
            assert await music.enquire(key) is None


@seeded
async def test_b36_an_acquire_may_be_sent_again(seed: int) -> None:
    """It is a GET, which what stands between may repeat: nothing changes but a sign of life. That an id is not anybody's who counts up to
    it, test_a_lock_is_its_account_s shows."""
    async with music_of(seed) as (world, [music]):
        held, waits = await music.lock("a"), await music.enqueue("a")
        before = await world.cell("a", "music")
        for _ in range(20):
            assert (await music.acquire(held)).status == 200
            assert (await music.acquire(waits)).status == 400
        assert await world.cell("a", "music") == before


@seeded
async def test_b37_a_write_under_a_lock_reads_no_queue(seed: int) -> None:
    """A critical write is one write of the engine, and none of its reads."""
    async with music_of(seed) as (world, [music]):
        lock = await music.lock("a")
        await music.put("a", {"count": 0}, lock=lock)
        before = dict(world.processes[0].faults.calls)
        for number in range(10):
            assert (await music.put("a", {"count": number}, lock=lock)).status == 200
        after = world.processes[0].faults.calls
        assert after["write"] - before["write"] == 10
        assert after.get("read", 0) == before.get("read", 0)
        assert after["compare_and_set"] == before["compare_and_set"]


@seeded
async def test_b38_polling_costs_no_agreement_between_sites(seed: int) -> None:
    """Whoever waits is told by the holder's site: asking again takes no wide-area round trip, and the grant is seen at once."""
    async with wide_world(seed, rtt_s=0.1) as world:
        ams, bei, _ = [Music(site, runtime=world.ocean.runtime) for site in world.sites.values()]
        held = await ams.lock("a", table="votes")
        waits = await bei.enqueue("a", table="votes")
        changes = world.ocean.changes
        for _ in range(20):
            await sleep(0.02)
            answer = await bei.acquire(waits)
            assert answer.status == 400
            assert answer.headers["polysite-round-trips"] == "0"
        assert world.ocean.changes == changes
        await ams.release(held)
        assert await until_held(bei, waits, within_s=2) < 1
        await bei.release(waits)


@seeded
async def test_b39_who_gave_up_blocks_nobody_for_long(seed: int) -> None:
    """A client that went away without a word is dropped from the queue when its lease is over, though it never held."""
    async with music_of(seed, lease_ms=2_000) as (_, [music]):
        held, gone, waits = [await music.enqueue("a") for _ in range(3)]
        for _ in range(50):
            await sleep(0.1)
            await music.acquire(held)
            await music.acquire(waits)
        assert await entries(music, "a") == [1, 3]
        assert "does not exist" in (await music.acquire(gone)).json["message"]
        await music.release(held)
        assert (await music.acquire(waits)).status == 200


@seeded
async def test_b40_a_dead_process_s_tickets_block_nobody_for_long(seed: int) -> None:
    """What it held and what it waited with are dropped after their leases; a client of it that lives goes on elsewhere at once."""
    async with music_of(seed, "dies", "lives", lease_ms=2_000) as (world, [dies, lives]):
        held, waits = await dies.lock("a"), await dies.enqueue("a")
        other = await dies.lock("b")
        last = await lives.enqueue("a")
        await world.processes[0].kill()
        assert await until_held(lives, other, within_s=3) < 3
        assert (await lives.put("b", {"count": 1}, lock=other)).message == "Update performed"
        assert await until_held(lives, last, within_s=5) > 0.5
        for lock in (held, waits):
            assert (await lives.acquire(lock)).status == 400


@seeded
async def test_b41_every_row_of_the_partition_is_settled(seed: int) -> None:
    """What the next holder read of a partition stays so, whichever of its rows a late write of the one before was about."""
    async with music_of(seed, "old", "new") as (world, [old, new]):
        fields = {"p": "text", "c": "int", "v": "int"}
        await new.make_table(fields, table="parts", primaryKey="((p), c)")
        for number in range(3):
            await new.insert({"p": "x", "c": number, "v": number}, table="parts")
        lost = await old.lock("x", table="parts")
        await with_lease(old, lost)
        gates = [world.processes[0].faults.hold(call) for call in ("write", "compare_and_set", "read")]
        path = Music.rows_path("parts", p="x", c=1)
        body: Any = {"values": {"v": 99}, "consistencyInfo": {"type": "critical", "lockId": lost}}
        late = task(old.ask("PUT", path, body))
        lock = await new.enqueue("x", table="parts")
        await until_held(new, lock, within_s=5)
        read = "/v2/keyspaces/ks/tables/parts/rows/criticalget?p=x"
        asked = {"consistencyInfo": {"type": "critical", "lockId": lock}}
        before = await new.ask("PUT", read, asked)
        assert [row["v"] for row in before.rows] == [0, 1, 2]
        for gate in gates:
            gate.set_result(None)
        assert (await late).error
        await sleep(1)
        assert [row["v"] for row in (await new.ask("PUT", read, asked)).rows] == [0, 1, 2]
        assert (await new.release(lock)).status == 200
        assert [row["v"] for row in (await new.select(table="parts", p="x")).rows] == [0, 1, 2]


@seeded
async def test_b42_no_hidden_column_null_conditions_question_marks(seed: int) -> None:
    """Tables have the columns they were given and no other; a condition on a null column is judged; a question mark is a letter."""
    async with music_of(seed) as (world, [music]):
        spec = await world.processes[0].coordinator.table("ks", "music")
        assert set(spec.types) == {"id", "count", "note"}
        assert (await music.insert({"id": "a", "vector_ts": "1"})).error == "Invalid column name : vector_ts"
        await music.insert({"id": "a", "count": 1})
        answer = await music.put("a", {"count": 2}, kind="atomic", conditions={"note": "x"})
        assert answer.error == "Lock acquired but the condition is not true"
        answer = await music.put("a", {"note": "? ? ?"}, kind="atomic", conditions={"note": None, "count": 1})
        assert answer.message == "Update performed"
        answer = await music.put("a?", {"note": "'?'"}, kind="atomic", conditions={"note": "?"})
        assert "No data found to update" in answer.error
        assert (await music.put("a?", {"note": "'?'"}, kind="atomic")).status == 200
        assert (await music.select(id="a?")).rows == [{"id": "a?", "count": 0, "note": "'?'"}]
        assert (await music.select(id="a")).rows == [{"id": "a", "count": 1, "note": "? ? ?"}]
