"""The quirks of MUSIC 3.2.40, each with a test that its behaviour would fail.

Method: requests as its clients send them, to an application over a site in memory, on virtual time. The numbers are those of the list on
the page "Coming from MUSIC 3.x".
"""

import json
from asyncio import ensure_future as task
from asyncio import sleep
from typing import Any
from urllib.parse import quote

import pytest

from polysite.api import KeyName
from polysite.client.transport import Request
from polysite.server.v2 import rows
from polysite.testing.loop import seeded
from tests.support.music import ATOMIC, BASE, Music, how, music_of


@seeded
async def test_q01_nothing_is_spliced_into_a_statement(seed: int) -> None:
    """Names that are none are refused, and a quote in a key is a letter like any other, in rows and in locks."""
    async with music_of(seed) as (_, [music]):
        body = {"fields": {"id": "text"}, "primaryKey": "id"}
        for name in ("t'", "t;drop", 't"', "t where", "1t", "t-t", "é", "t" * 49):
            assert "letter" in (await music.ask("POST", f"/v2/keyspaces/ks/tables/{quote(name)}", body)).error
            assert (await music.insert({"id": "x", name: 1})).error.startswith("Invalid column name")
            assert "Undefined column" in (await music.select(**{name: "1"})).error
        assert (await music.select()).rows == []
        key = "it's; DROP TABLE music; --"
        lock = await music.lock(key)
        assert (await music.put(key, {"note": "'); --"}, lock=lock)).message == "Update performed"
        assert (await music.release(lock)).status == 200
        assert (await music.put(key, {"count": 2}, kind="atomic")).message == "Update performed"
        assert (await music.select(id=key)).rows == [{"id": key, "count": 2, "note": "'); --"}]
        assert await music.enquire(key) is None


@seeded
async def test_q02_names_that_hold_keywords(seed: int) -> None:
    """A table, columns and values with SET, WHERE and semicolons inside work under a lock and atomically."""
    async with music_of(seed) as (_, [music]):
        await music.make_table({"id": "text", "RESET": "text", "SOMEWHERE": "text", "using": "text"}, table="OFFSET")
        lock = await music.lock("k WHERE 1", table="OFFSET")
        values = {"RESET": " SET x = 1; WHERE ", "SOMEWHERE": "WHERE;", "using": "USING TIMESTAMP 1"}
        for more in ({"lock": lock}, {"kind": "atomic"}):
            if "kind" in more:
                await music.release(lock)
            assert (await music.put("k WHERE 1", values, table="OFFSET", **more)).message == "Update performed"
            (row,) = (await music.select(table="OFFSET")).rows
            assert row == {"id": "k WHERE 1", **{name.lower(): value for name, value in values.items()}}
            assert (await music.put("k WHERE 1", {"using": None}, table="OFFSET", **more)).status == 200


@seeded
async def test_q03_what_does_not_convert_is_refused_and_changes_nothing(seed: int) -> None:
    """The column is named, the row stays as it was. What clients rely on is kept: null is null, scalars convert to one another."""
    async with music_of(seed) as (_, [music]):
        await music.make_table({"id": "text", "n": "int", "u": "uuid", "b": "boolean", "t": "text"}, table="typed")
        before = {"id": "a", "n": 1, "u": "00000001-0001-0001-0001-000000000001", "b": True, "t": "x"}
        assert (await music.insert(before, table="typed")).status == 200
        for column, bad in (("n", "5.0"), ("n", "x"), ("n", 2**31), ("u", "zz"), ("n", [1])):
            for told in (
                await music.insert({"id": "a", column: bad}, table="typed"),
                await music.put("a", {column: bad}, table="typed", kind="atomic"),
            ):
                assert told.error.startswith(f"{column}: ")
                assert told.headers["polysite-outcome"] == "refused"
        assert (await music.select(table="typed")).rows == [before]
        assert (
            await music.insert({"id": "a", "n": "7", "b": "TRUE", "u": "1-1-1-1-1", "t": 5}, table="typed")
        ).status == 200
        assert (await music.select(table="typed")).rows == [{**before, "n": 7, "t": "5"}]
        assert (await music.insert({"id": "a", "n": None, "t": None, "u": None, "b": {}}, table="typed")).status == 200
        assert (await music.select(table="typed")).rows == [{"id": "a", "n": 0, "u": None, "b": False, "t": None}]


@seeded
async def test_q04_keys_with_dots(seed: int) -> None:
    """The key of a lock is everything after the second dot: host names, addresses and mails are keys of their own."""
    async with music_of(seed) as (_, [music]):
        for key in ("10.0.0.1", "10.0.0.2", "a.b", "a", "...", "x@example.com"):
            lock = await music.lock(key)
            assert lock == f"$ks.music.{key}$1"
            assert (await music.put(key, {"count": 1}, lock=lock)).message == "Update performed"
            assert await music.enquire(key) == lock
        for key in ("a.c", "b.c"):
            assert (await music.put(key, {"count": 1}, kind="atomic")).message == "Update performed"


@seeded
async def test_q05_promotion(seed: int) -> None:
    """A lone reader becomes a writer at once; one of several when the others have left, and then it may write."""
    async with music_of(seed, promote_wait_ms=0) as (_, [music]):
        one, other = [await music.lock("a", kind="READ") for _ in range(2)]
        assert "read lock" in (await music.put("a", {"count": 1}, lock=one)).error
        waiting = await music.promote(one)
        assert waiting.error == "Your lock upgrade is in progress. Check again to see if successful."
        assert (await music.promote(other)).error == "Can't promote, already promoting another lockref."
        await music.release(other)
        granted = await music.promote(one)
        assert (granted.status, granted.json["lock"]) == (200, {"lock": one})
        assert (await music.put("a", {"count": 1}, lock=one)).message == "Update performed"
        # Whoever did not get the answer asks again.
        assert (await music.promote(one)).status == 200
        assert (await music.promote(await music.lock("b"))).error == "Lockref is already write."
        assert (await music.promote("$ks.music.a$99")).error == "Lockref does not exist."


@seeded
async def test_q06_holders(seed: int) -> None:
    """The exclusive first alone, or all readers in front of the first writer."""
    async with music_of(seed) as (_, [music]):

        async def holders(key: str) -> Any:
            answer = await music.ask("GET", f"/v2/locks/holders/ks.music.{key}")
            return answer.json["lock"]["lock-holder"] if answer.status == 200 else answer.error

        for kind in ("WRITE", "WRITE", "READ"):
            await music.enqueue("w", kind=kind)
        assert await holders("w") == ["$ks.music.w$1"]
        for kind in ("READ", "READ", "WRITE", "READ"):
            await music.enqueue("r", kind=kind)
        assert await holders("r") == ["$ks.music.r$1", "$ks.music.r$2"]
        assert await holders("none") == "No lock holders for the key"


@seeded
async def test_q07_a_preempted_key_without_a_row_is_not_blocked(seed: int) -> None:
    """After a preemption the next acquire succeeds whether there is a row or not, and what was stored is kept."""
    async with music_of(seed) as (_, [music]):
        await music.insert({"id": "there", "count": 5, "note": "kept"})
        for key in ("absent", "there"):
            lost = await music.lock(key)
            assert (await music.ask("DELETE", f"/v2/locks/delete/{lost}")).status == 200
            lock = await music.lock(key)
            assert lock.endswith("$2")
            found = await music.critical_get(key, lock=lock)
            assert found.rows == ([] if key == "absent" else [{"id": "there", "count": 5, "note": "kept"}])
            assert (await music.put(key, {"count": 6}, lock=lock)).message == "Update performed"


@seeded
async def test_q08_a_locked_read_without_the_lock_fails(seed: int) -> None:
    """Not the holder, busy, or no locking type: a failure with its reason. A row that is not there is a success without rows."""
    async with music_of(seed, atomic_wait_ms=0) as (_, [music]):
        await music.insert({"id": "a", "count": 1})
        held = await music.lock("a")
        waits = await music.enqueue("a")
        assert (await music.critical_get("a", lock=waits)).error == f"{waits} is not the lock holder"
        assert "Unable to create lock reference" in (await music.critical_get("a", kind="atomic")).error
        assert "critical or atomic" in (await music.critical_get("a", kind="eventual")).error
        assert (await music.critical_get("a", kind="nonsense")).error
        assert (await music.critical_get("a", lock=held)).rows == [{"id": "a", "count": 1, "note": None}]
        for more in ({"kind": "atomic"}, {"lock": await music.lock("b")}):
            key = "c" if "kind" in more else "b"
            none = await music.critical_get(key, **more)
            assert none.json == {"status": "SUCCESS", "result": {}, "error": "No data found"}


@seeded
async def test_q09_ttl_and_timestamp_of_an_update(seed: int) -> None:
    """An update takes both: of two, the one with the higher timestamp counts, and what has a life ends with it."""
    async with music_of(seed) as (_, [music]):
        assert (await music.put("a", {"count": 2}, timestamp=2000)).status == 200
        assert (await music.put("a", {"count": 1}, timestamp=1000)).status == 200
        assert (await music.select(id="a")).rows[0]["count"] == 2
        assert (await music.put("b", {"count": 3, "note": "x"}, ttl=60)).status == 200
        assert (await music.select(id="b")).rows == [{"id": "b", "count": 3, "note": "x"}]
        await sleep(61)
        assert (await music.select(id="b")).rows == []


@seeded
async def test_q10_ttl_under_a_lock(seed: int) -> None:
    """ttl goes with critical and atomic writes, of inserts and of updates."""
    async with music_of(seed) as (_, [music]):
        lock = await music.lock("a")
        assert (await music.insert({"id": "a", "count": 1}, lock=lock, ttl="60")).message == "Insert Successful"
        assert (await music.put("b", {"count": 1}, kind="atomic", ttl=60)).message == "Update performed"
        assert len((await music.select()).rows) == 2
        await music.release(lock)
        await sleep(61)
        assert (await music.select()).rows == []
        for bad in ("soon", -1, 10**10, "+-5", "1.5"):
            assert "ttl" in (await music.insert({"id": "c"}, ttl=bad)).error
        assert (await music.select()).rows == []


@seeded
async def test_q11_primary_key_as_the_first_member(seed: int) -> None:
    """The order of the members of `fields` means nothing."""
    async with music_of(seed) as (world, [music]):
        await music.make_table({"PRIMARY KEY": "(b, a)", "a": "text", "b": "text"}, table="first")
        await music.make_table({"a": "text", "b": "text", "PRIMARY KEY": "(b, a)"}, table="last")
        for table in ("first", "last"):
            spec = await world.processes[0].coordinator.table("ks", table)
            assert (spec.partition_key, spec.clustering_names) == (("b",), ("a",))


@seeded
async def test_q12_filtering_key_without_clustering_key(seed: int) -> None:
    """filteringKey is the last clustering column, with or without others; partitionKey alone is refused with the reason."""
    async with music_of(seed) as (world, [music]):
        fields = {"p": "text", "c": "text", "f": "text"}
        await music.make_table(fields, table="filtering", partitionKey="p", filteringKey="f")
        await music.make_table(fields, table="both", partitionKey="(p)", clusteringKey="c", filteringKey="f")
        names = [(await world.processes[0].coordinator.table("ks", table)).key_names for table in ("filtering", "both")]
        assert names == [("p", "f"), ("p", "c", "f")]
        alone = await music.ask("POST", "/v2/keyspaces/ks/tables/alone", {"fields": fields, "partitionKey": "p"})
        assert "clusteringKey or filteringKey" in alone.error


@seeded
async def test_q13_a_name_within_another_is_no_overlap(seed: int) -> None:
    """Key columns overlap if they are the same."""
    async with music_of(seed) as (_, [music]):
        fields = {"id": "text", "video_id": "text"}
        await music.make_table(fields, table="videos", partitionKey="video_id", clusteringKey="id")
        body = {"fields": fields, "partitionKey": "id", "clusteringKey": "ID"}
        assert "overlaps" in (await music.ask("POST", "/v2/keyspaces/ks/tables/twice", body)).error


@seeded
async def test_q14_names_fold(seed: int) -> None:
    """The key column is recognised in whatever case it is written, in the body and in the query."""
    async with music_of(seed) as (_, [music]):
        await music.make_table({"Id": "text", "Replicas": "text"}, table="Folded", primaryKey="ID")
        assert (await music.insert({"ID": "a", "REPLICAS": "1"}, table="FOLDED")).message == "Insert Successful"
        path = Music.rows_path("folded", iD="a")
        assert (await music.ask("PUT", path, {"values": {"replicas": "2"}, **how({})})).status == 200
        assert (await music.select(table="fOLDED", ID="a")).rows == [{"id": "a", "replicas": "2"}]
        assert (await music.ask("DELETE", path, how({}))).status == 200
        assert (await music.select(table="folded")).rows == []


@seeded
async def test_q15_every_answer_is_the_envelope(seed: int) -> None:
    """What is no JSON, of the wrong shape, type or method, or nowhere, is told in the envelope, as application/json."""
    async with music_of(seed) as (_, [music]):
        path = Music.rows_path()
        for answer in (
            await music.ask("POST", path, raw=b"{"),
            await music.ask("POST", path, raw=b"[]"),
            await music.ask("POST", path, raw=b'{"values": 1}'),
            await music.ask("POST", path, raw=b"\xff"),
            await music.ask("POST", path, raw=b"<x/>", headers={"content-type": "text/xml"}),
            await music.ask("GET", path, headers={"accept": "text/plain"}),
            await music.ask("PATCH", path),
            await music.ask("GET", "/v2/nothing/here"),
            await music.ask("GET", "/v2/keyspaces/%FF/tables/t/rows"),
            await music.ask("GET", "/v2/keyspaces/%zz/tables/t/rows"),
            await music.ask("POST", "/v2/locks/create/ks.music.a", {"lockType": "MINE"}),
        ):
            assert answer.error


@seeded
async def test_q16_every_type_reads_as_what_was_stored(seed: int) -> None:
    """Values of the types that the original read as null come back; a blob is its bytes, and a null one no failure."""
    stored = {
        "a": "ascii", "ts": "2024-02-29T12:00:00.000Z", "d": "2024-02-29", "ti": "23:59:59.123456789",
        "tu": "13814000-1dd2-11b2-8080-808080808080", "i": "10.0.0.1", "de": "12.50", "s": 7, "y": -7,
        "v": 2**80, "se": [1, 2], "li": [3, 1, 3], "ma": {"x": 1}, "tp": [1, "a"],
    }  # fmt: skip
    types = {
        "a": "ascii", "ts": "timestamp", "d": "date", "ti": "time", "tu": "timeuuid", "i": "inet", "de": "decimal",
        "s": "smallint", "y": "tinyint", "v": "varint", "se": "set<int>", "li": "list<int>", "ma": "map<text, int>",
        "tp": "tuple<int, text>", "bl": "blob",
    }  # fmt: skip
    async with music_of(seed) as (_, [music]):
        await music.make_table({"id": "text", **types}, table="typed")
        assert (await music.insert({"id": "x", **stored}, table="typed", objectMap={"bl": "AAEC/w=="})).status == 200
        (row,) = (await music.select(table="typed")).rows
        assert row == {"id": "x", **stored, "bl": "AAEC/w=="}
        assert (await music.put("x", {"bl": None}, table="typed")).status == 200
        (row,) = (await music.select(table="typed")).rows
        assert row["bl"] is None


@seeded
async def test_q17_the_conditional_interface_tells_failures(seed: int) -> None:
    """Busy or absent is a failure and no success, bad input is a 400, and an entry keeps what was not named, commas and all."""
    async with music_of(seed, atomic_wait_ms=0) as (_, [music]):
        await music.make_table({"id": "text", "plans": "map<text, text>"}, table="cond")
        lock = await music.lock("x", table="cond")
        assert (await conditional(music, "insert", {"a": 1})).error
        await music.release(lock)
        assert (await conditional(music, "insert", {"a": "1,2:3", "n": {"deep": [1]}, "count": 5})).message
        assert (await conditional(music, "update", {"count": 6, "new": 1})).message == "update success"
        (row,) = (await music.select(table="cond")).rows
        expected = {"a": "1,2:3", "n": {"deep": [1]}, "count": 6, "status": "new"}
        assert json.loads(row["plans"]["plan"]) == expected
        assert "Cannot find data" in (await conditional(music, "update", {"a": 1}, key="absent")).error
        bad = await conditional(music, "insert", {"a": 1}, primaryKey=None)
        assert bad.error == "One or more input values missing"


@seeded
async def test_q18_failures_say_what_is_missing(seed: int) -> None:
    """No text of the Java runtime, no UNKNOWNERROR, no failure without a reason."""
    async with music_of(seed, atomic_wait_ms=0) as (_, [music]):
        held = await music.lock("a")
        assert held
        contended = [await music.put("a", {"count": 1}, kind="atomic"), await music.insert({"id": "a"}, kind="atomic")]
        contended.append(await music.delete("a", kind="atomic"))
        texts = {answer.error for answer in contended}
        assert texts == {"Unable to create lock reference for key [a]. Please try again."}
        path = Music.rows_path(id="a")
        for answer, said in (
            (await music.ask("POST", path, {"values": {"id": "a"}}), "consistencyInfo"),
            (await music.ask("POST", path, {"values": {"id": "a"}, "consistencyInfo": {"consistency": "ONE"}}), "type"),
            (await music.ask("POST", path), "Incomplete Request body"),
            (await music.ask("PUT", path, {"consistencyInfo": ATOMIC}), "values"),
            (await music.ask("DELETE", path.replace("/ks/", "/nope/"), how({})), "nope"),
            (await music.ask("PUT", path.replace("/music/", "/nope/"), {"values": {"a": 1}, **how({})}), "ks.nope"),
            (await music.ask("POST", "/v2/keyspaces/k2", {"replicationInfo": {}}), "consistencyInfo"),
        ):
            assert said in answer.error
            assert "NullPointer" not in answer.error


# Q19 is in test_v2_accounts.py: test_q19_a_permission_is_for_the_keyspace_of_the_path.


@seeded
async def test_q20_a_lock_is_of_its_table(seed: int) -> None:
    """A lock on the same key of another table or keyspace is no lock on this row."""
    async with music_of(seed) as (_, [music]):
        await music.make_table(table="other")
        await music.make_table(keyspace="ks2")
        await music.lock("a")
        other = await music.lock("a", table="other")
        assert (await music.put("a", {"count": 1}, lock=other)).error == f"{other} does not exist."
        assert (await music.put("a", {"count": 1}, lock="$ks2.music.a$1")).error == "$ks2.music.a$1 does not exist."
        assert (await music.critical_get("a", lock=other)).error
        assert (await music.select()).rows == []
        # The same table, in another case, is the same table.
        assert (await music.put("a", {"count": 1}, lock="$KS.Music.a$1")).message == "Update performed"


@seeded
async def test_q21_the_holder_s_lease_counts(seed: int) -> None:
    """A live holder outlasts every lease that others name, a waiting call is patient, a silent holder is preempted after his own lease."""
    async with music_of(seed, atomic_wait_ms=200) as (_, [music]):
        held = await music.lock("a")
        waits = await music.enqueue("a")
        for _ in range(30):
            await sleep(0.5)
            answer = await music.ask("POST", f"/v2/locks/acquire-with-lease/{waits}", {"leasePeriod": 1_000})
            assert answer.status == 400
            assert (await music.acquire(held)).status == 200
        assert "Unable to create lock reference" in (await music.put("a", {"count": 1}, kind="atomic")).error
        assert (await music.put("a", {"count": 2}, lock=held)).message == "Update performed"
        await music.ask("POST", f"/v2/locks/acquire-with-lease/{held}", {"leasePeriod": 1_000})
        for _ in range(8):
            await sleep(0.4)
            await music.acquire(waits)
        assert (await music.acquire(waits)).status == 200
        assert (await music.put("a", {"count": 3}, lock=held)).error == f"{held} does not exist."
        assert (await music.critical_get("a", lock=waits)).rows[0]["count"] == 2


@seeded
async def test_q21_an_atomic_operation_waits_a_while(seed: int) -> None:
    """Somebody in front who leaves in time makes it no failure."""
    async with music_of(seed, atomic_wait_ms=1_000) as (_, [music]):
        held = await music.lock("a")
        put = task(music.put("a", {"count": 1}, kind="atomic"))
        await sleep(0.5)
        assert not put.done()
        await music.release(held)
        assert (await put).message == "Update performed"


@seeded
async def test_q22_no_value_and_no_lock_is_logged(seed: int) -> None:
    """Down to debug, the log names routes and statuses: no value, key, lock id, owner or credential."""
    async with music_of(seed) as (world, [music]):
        lock = await music.lock("seekrit-key", owner="seekrit-owner")
        ticket = await world.processes[0].coordinator.ticket(
            KeyName(keyspace="ks", table="music", key={"id": "seekrit-key"}), 1
        )
        await music.put("seekrit-key", {"note": "seekrit-value"}, lock=lock)
        await music.put("seekrit-key", {"count": "seekrit-bad"}, lock=lock)
        await music.select(id="seekrit-key")
        await music.acquire("$ks.music.seekrit-key$77")
        await music.ask("GET", "/v2/version", headers={"authorization": "Basic seekrit"})
        await music.release(lock)
        log = music.log.getvalue()
        assert "v2_acquire" in log
        assert "seekrit" not in log
        assert lock not in log
        assert ticket is not None
        assert ticket.reference not in log
        assert ticket.reference not in repr(ticket)


@seeded
async def test_q23_an_eventual_write_after_a_critical_one_counts(seed: int) -> None:
    """It is there afterwards, also after a delete under a lock; while somebody holds the key it waits, and is refused rather than lost."""
    async with music_of(seed) as (_, [music]):
        lock = await music.lock("a")
        await music.put("a", {"count": 1}, lock=lock)
        waiting = task(music.put("a", {"count": 7}))
        await sleep(0.5)
        assert not waiting.done()
        await music.release(lock)
        assert (await waiting).message == "Eventual Operation Successfully performed"
        assert (await music.select(id="a")).rows[0]["count"] == 7
        assert (await music.delete("a", kind="atomic")).status == 200
        assert (await music.insert({"id": "a", "count": 8})).message == "Insert Successful"
        assert (await music.select(id="a")).rows[0]["count"] == 8
        assert (await music.insert({"id": "a", "count": 9}, kind="eventual_nb")).message == "Insert Successful"
        await music.lock("a")
        refused = await music.put("a", {"count": 10})
        assert refused.error
        assert refused.headers["polysite-outcome"] == "refused"
        assert (await music.select(id="a")).rows[0]["count"] == 9


@seeded
async def test_q24_numbers_go_on_after_a_table_was_dropped(seed: int) -> None:
    """A table that is made again hands out higher numbers; who was in the old queue blocks it for its lease at most."""
    async with music_of(seed) as (_, [music]):
        await music.lock("a")
        assert await music.enqueue("a") == "$ks.music.a$2"
        assert (await music.ask("DELETE", "/v2/keyspaces/ks/tables/music")).status == 200
        await music.make_table()
        lock = await music.enqueue("a")
        assert lock == "$ks.music.a$3"
        for _ in range(70):
            await sleep(1)
            if (await music.acquire(lock)).status == 200:
                break
        assert await music.enquire("a") == lock


@seeded
async def test_q25_a_failure_is_400_and_programs_can_tell_which(seed: int) -> None:
    """The status stays 400, as clients expect; code and outcome stand in headers."""
    async with music_of(seed, atomic_wait_ms=0) as (_, [music]):
        await music.lock("a")
        busy = await music.put("a", {"count": 1}, kind="atomic")
        assert busy.status == 400
        assert (busy.headers["polysite-code"], busy.headers["polysite-outcome"]) == ("acquire_timeout", "refused")
        bad = await music.put("a", {"count": "x"})
        assert bad.status == 400
        assert (bad.headers["polysite-code"], bad.headers["polysite-outcome"]) == ("bad_request", "refused")


@seeded
async def test_q26_many_rows_are_streamed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is answered, and the first piece is on its way before the last page was read."""
    monkeypatch.setattr(rows, "PAGE_ROWS", 20)
    async with music_of(seed) as (world, [music]):
        for number in range(50):
            await music.insert({"id": f"{number}", "count": number})
        pages = []
        coordinator = world.processes[0].coordinator
        select = coordinator.select

        async def counted(*args: Any, **more: Any) -> Any:
            await sleep(0.1)
            pages.append(args)
            return await select(*args, **more)

        monkeypatch.setattr(coordinator, "select", counted)
        pieces = []
        async for item in music._transport._messages(Request("GET", BASE + Music.rows_path(), {})):
            if item["type"] == "http.response.body":
                pieces.append((item["body"], len(pages)))
        whole = json.loads(b"".join(body for body, _ in pieces))
        assert whole["status"] == "SUCCESS"
        assert list(whole["result"]) == [f"row {number}" for number in range(50)]
        assert sorted(row["count"] for row in whole["result"].values()) == list(range(50))
        assert len(pages) == 3
        assert any(body and read < 3 for body, read in pieces)


@seeded
async def test_q27_slashes(seed: int) -> None:
    """One at the end of a path is no part of a name; a name with one inside is refused."""
    async with music_of(seed) as (_, [music]):
        body = {"fields": {"id": "text"}, "primaryKey": "id"}
        assert (await music.ask("POST", "/v2/keyspaces/ks/tables/slashed/", body)).message.startswith(
            "TableName slashed "
        )
        assert (await music.insert({"id": "a"}, table="slashed")).status == 200
        assert (await music.ask("GET", "/v2/keyspaces/ks/tables/slashed/rows/")).rows == [{"id": "a"}]
        assert "letter" in (await music.ask("POST", "/v2/keyspaces/ks/tables/a/b", body)).error
        assert (await music.ask("DELETE", "/v2/keyspaces/ks/tables/slashed/")).status == 200


@seeded
async def test_q28_delete_takes_an_id_or_a_name(seed: int) -> None:
    """An id drops that entry, a name the whole queue; either way late writes of who held it change nothing."""
    async with music_of(seed) as (_, [music]):
        held, waits, last = [await music.enqueue("a") for _ in range(3)]
        assert (await music.ask("DELETE", f"/v2/locks/delete/{waits}")).json == {"status": "SUCCESS"}
        assert await music.enquire("a") == held
        assert (await music.ask("DELETE", f"/v2/locks/delete/{waits}")).json == {"status": "SUCCESS"}
        assert (await music.ask("DELETE", "/v2/locks/delete/ks.music.a")).json == {"status": "SUCCESS"}
        assert await music.enquire("a") is None
        for lock in (held, waits, last):
            assert (await music.put("a", {"count": 1}, lock=lock)).error == f"{lock} does not exist."
        assert await music.lock("a") == "$ks.music.a$4"
        assert (await music.ask("DELETE", "/v2/locks/delete/nonsense")).error.startswith("Invalid lock")


@seeded
async def test_q29_no_columns_are_the_whole_row(seed: int) -> None:
    """An empty list and none at all delete the row, as before; columns that are named are nulls afterwards."""
    async with music_of(seed) as (_, [music]):
        for key, columns in (("a", []), ("b", None), ("c", ["count"])):
            await music.insert({"id": key, "count": 1, "note": "n"})
            assert (await music.delete(key, columns=columns)).status == 200
        assert (await music.select()).rows == [{"id": "c", "count": 0, "note": "n"}]
        assert "PRIMARY KEY" in (await music.delete("c", columns=["id"])).error
        assert (await music.delete("c", columns=["note['x']"])).error.startswith("Invalid column name")


@seeded
async def test_q30_a_failed_acquire_has_one_shape(seed: int) -> None:
    """status, message, error and lock, whether it waits, is unknown or is no lock id."""
    async with music_of(seed) as (_, [music]):
        await music.lock("a")
        waits = await music.enqueue("a")
        for lock_id in (waits, "$ks.music.a$99", "$ks.nope.a$1", "nonsense", "$ks.music.a$x", "$$"):
            answer = await music.acquire(lock_id)
            assert answer.error
            assert answer.json.keys() == {"status", "message", "error", "lock"}
            assert answer.json["lock"] == {"lock": lock_id}
        assert (await music.acquire(waits)).json["message"] == f"{waits} is not a lock holder"


@seeded
async def test_q31_a_write_without_an_acquire_is_fenced_all_the_same(seed: int) -> None:
    """Whoever is in front may write without having asked; what was left unsettled by a preempted holder is settled first."""
    async with music_of(seed, "old", "new") as (world, [old, new]):
        lost = await old.lock("a")
        await old.put("a", {"count": 1, "note": "first"}, lock=lost)
        gate = world.processes[0].faults.hold("write")
        late = task(old.put("a", {"count": 99}, lock=lost))
        await sleep(0.1)
        assert (await new.ask("DELETE", f"/v2/locks/delete/{lost}")).status == 200
        lock = await new.enqueue("a")
        assert (await new.put("a", {"note": "second"}, lock=lock)).message == "Update performed"
        assert (await new.critical_get("a", lock=lock)).rows == [{"id": "a", "count": 1, "note": "second"}]
        gate.set_result(None)
        await late  # an order to drop a live holder may belie what it is told at that moment
        assert (await new.critical_get("a", lock=lock)).rows == [{"id": "a", "count": 1, "note": "second"}]
        assert (await new.release(lock)).status == 200
        assert (await old.select(id="a")).rows == [{"id": "a", "count": 1, "note": "second"}]


async def conditional(music: Music, what: str, value: dict[str, Any], *, key: str = "x", **more: Any) -> Any:
    """One call of the conditional interface on the table cond."""
    body = {
        "primaryKey": "id",
        "primaryKeyValue": key,
        "casscadeColumnName": "plans",
        "casscadeColumnData": {"key": "plan", "value": value},
        "tableValues": {"id": key},
        "conditions": {"exists": {"status": "again"}, "nonexists": {"status": "new"}},
        **more,
    }
    return await music.ask(
        "POST" if what == "insert" else "PUT", f"/v2/conditional/{what}/keyspaces/ks/tables/cond", body
    )
