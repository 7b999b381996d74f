"""Whatever is sent to the interface of MUSIC 3.x works, or is refused with the reason and changes nothing. It is never a failure of the server.

Method: requests drawn by hypothesis go to an application over a site in memory; what is stored is compared before and after a refusal.
"""

import asyncio
import json
import string
from collections.abc import Awaitable, Callable, Iterator
from struct import pack
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from polysite.server.v2.interface import ENDPOINTS
from polysite.site import SiteCoordinator
from polysite.values.tables import NAME_PATTERN, RESERVED_KEYSPACE
from tests.contract.test_coordinator import make_coordinator
from tests.support.music import Answer, Music, how

T = TypeVar("T")
QUIET = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
TYPES = {
    "a": "ascii", "bi": "bigint", "bl": "blob", "bo": "boolean", "da": "date", "de": "decimal", "do": "double", "fl": "float",
    "i": "inet", "n": "int", "sm": "smallint", "t": "text", "ti": "time", "ts": "timestamp", "tu": "timeuuid", "ty": "tinyint",
    "u": "uuid", "vi": "varint", "vc": "varchar", "li": "list<text>", "ma": "map<text, text>", "se": "set<int>",
    "mm": "map<int, list<int>>", "tp": "tuple<int, text>",
}  # fmt: skip
WORDS = (
    "SET", "WHERE", "USING", "OFFSET", "resettable", "nowhere", "set where", "'; DROP TABLE typed; --", "a.b", "a.b.c", "$", "$1", "$a$1",
    "'", "''", '"', "a/b", "..", "", " ", "%2F", "?", "é", "\U0001f5f3", "\u202e", "\x00", "\r\n", "Select", "k" * 48, "k" * 49, "K\u212a",
    "vector_ts", "polysite_x", "PRIMARY KEY", "system", "null", "[]", "{}", "-1", "1e5",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=12), st.text(min_size=1_000, max_size=1_001))


class Place:
    """The application, and a loop of its own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.coordinator: SiteCoordinator
        self.music: Music

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await work()

        return self.runner.run(awaited())

    async def stored(self) -> str:
        """All that is there: keyspaces, tables, rows and queues of the tables of these tests."""
        found: list[Any] = []
        for keyspace in await self.coordinator.keyspaces():
            for spec in await self.coordinator.tables(keyspace.name):
                rows = (await self.coordinator.select(spec.keyspace, spec.name, limit=1_000)).rows
                found.append((spec, sorted(map(repr, rows))))
            found.append(keyspace)
        return repr(found)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """One request, which is answered well whatever it is."""
        answer = await self.music.ask(method, path, body, **more)
        assert answer.status in {200, 400}, answer
        if answer.status == 400:
            assert answer.json.get("status", "FAILURE") in {"FAILURE", "INACTIVE"}
            assert answer.json.get("error") or answer.json.get("message"), "a refusal has a reason"
        return answer


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with asyncio.Runner() as runner:
        found = Place(runner)

        async def begin() -> None:
            found.coordinator = make_coordinator(joint=True)
            await found.coordinator.start()
            found.music = Music(found.coordinator, atomic_wait_ms=0, promote_wait_ms=0)
            await found.music.make_table()
            await found.music.make_table({"id": "text", **TYPES}, table="typed")
            await found.music.make_table({"id": "text", "plans": "map<text, text>"}, table="cond")

        runner.run(begin())
        yield found
        assert "request failed" not in found.music.log.getvalue()
        runner.run(found.coordinator.close())


def key_fits(key: str) -> bool:
    return 0 < len(key.encode()) <= 4_096


@QUIET
@given(key=TEXTS)
@example("k" * 4_096)
@example("x" * 70_000)
def test_any_key(place: Place, key: str) -> None:
    """The same text is the same row and the same lock everywhere; an empty one and one that is too long are refused everywhere."""

    async def work() -> None:
        ask, path = place.ask, f"{Music.rows_path()}?id={quote(key, safe='')}"
        before = await place.stored()
        inserted = await ask("POST", Music.rows_path(), {"values": {"id": key, "count": 1}, **how({})})
        assert (inserted.status == 200) is key_fits(key)
        if inserted.status != 200:
            if len(quote(key)) < 10_000:
                assert (await ask("PUT", path, {"values": {"count": 2}, **how({"kind": "atomic"})})).status == 400
                assert (await ask("POST", f"/v2/locks/create/ks.music.{quote(key, safe='')}")).status == 400
            assert await place.stored() == before
            return
        created = await ask("POST", f"/v2/locks/create/ks.music.{quote(key, safe='')}")
        lock = created.json["lock"]["lock"]
        assert lock.startswith(f"$ks.music.{key}$")
        named = quote(lock, safe="")
        assert (await ask("GET", f"/v2/locks/acquire/{named}")).status == 200
        assert (await ask("PUT", path, {"values": {"count": 2}, **how({"lock": lock})})).message == "Update performed"
        read = await ask("PUT", path.replace("/rows?", "/rows/criticalget?"), how({"lock": lock}))
        assert read.rows == [{"id": key, "count": 2, "note": None}]
        enquired = await ask("GET", f"/v2/locks/enquire/ks.music.{quote(key, safe='')}")
        assert enquired.json["lock"]["lock-holder"] == lock
        assert (await ask("DELETE", f"/v2/locks/release/{named}")).status == 200
        assert (await ask("GET", path)).rows == read.rows
        assert (await ask("DELETE", path, how({"kind": "atomic"}))).status == 200
        assert await place.stored() == before

    place.run(work)


@QUIET
@given(name=TEXTS, where=st.sampled_from(["keyspace", "table", "column", "key column", "index", "field", "option"]))
def test_any_name(place: Place, name: str, where: str) -> None:
    """A name of CQL, folded to lower case, makes what it names; any other is refused, and nothing is made."""
    folded = name.lower() if name.isascii() else name

    async def work() -> None:
        fits = bool(NAME_PATTERN.fullmatch(folded))
        before = await place.stored()
        table, fields, key, more = "made", {"id": "text", "n": "int"}, "id", {}
        path = "/v2/keyspaces/ks/tables/made"
        if where == "keyspace":
            assume(folded not in {"ks", ""} and not folded.startswith(RESERVED_KEYSPACE) and folded != "mixed")
            keyspace = {"replicationInfo": {"class": "SimpleStrategy", "replication_factor": 1}, "consistencyInfo": {}}
            made = await place.ask("POST", f"/v2/keyspaces/{quote(name, safe='')}", keyspace)
            assert (made.status == 200) is fits
            if fits:
                assert (await place.ask("DELETE", f"/v2/keyspaces/{quote(folded, safe='')}")).status == 200
            assert await place.stored() == before
            return
        if where == "table":
            assume(folded not in {"music", "typed", "cond"})
            path, table = f"/v2/keyspaces/ks/tables/{quote(name, safe='')}", folded
        elif where in {"column", "key column"}:
            assume(folded not in {"id", "n", "primary key"})
            fits = fits and folded != "vector_ts" and not folded.startswith("polysite_")
            fields[name] = "text"
            key = f"(id, {name})" if where == "key column" else key
        elif where == "option":
            more, fits = {"properties": {name: name}}, name == "comment"
        made = await place.ask("POST", path, {"fields": fields, "primaryKey": key, **more})
        if where in {"index", "field"}:
            assert made.status == 200
            asked = f"n?index_name={quote(name, safe='')}" if where == "index" else quote(name, safe="")
            indexed = await place.ask("POST", f"{path}/index/{asked}")
            if where == "index":
                assert (indexed.status == 200) is (fits or not name)
            else:
                assert (indexed.status == 200) is (folded == "n")
        elif "," not in name and "(" not in name and ")" not in name and name.strip() == name:
            assert (made.status == 200) is fits, made
        if made.status == 200:
            assert (await place.ask("DELETE", f"/v2/keyspaces/ks/tables/{quote(table, safe='')}")).status == 200
        assert await place.stored() == before

    place.run(work)


NUMBER = st.integers
SHOWN: dict[str, st.SearchStrategy[Any]] = {
    "a": st.text(string.ascii_letters + string.punctuation + " ", max_size=20),
    "bi": NUMBER(-(2**63), 2**63 - 1),
    "bo": st.booleans(),
    "da": st.dates().map(str),
    "do": st.floats(allow_nan=False, allow_infinity=False),
    "fl": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "i": st.ip_addresses().map(str),
    "n": NUMBER(-(2**31), 2**31 - 1),
    "sm": NUMBER(-(2**15), 2**15 - 1),
    "t": TEXTS,
    "ts": st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    "ty": NUMBER(-128, 127),
    "u": st.uuids().map(str),
    "vi": NUMBER(-(2**300), 2**300),
    "vc": TEXTS,
    "li": st.lists(TEXTS, max_size=4),
    "ma": st.dictionaries(TEXTS, TEXTS, max_size=4),
    "se": st.sets(NUMBER(-5, 5), max_size=5).map(sorted),
    "mm": st.dictionaries(NUMBER(0, 9).map(str), st.lists(NUMBER(0, 9), max_size=3), max_size=3),
    "tp": st.tuples(NUMBER(0, 9), TEXTS).map(list),
}
ZEROS = {"bi": 0, "n": 0, "fl": 0.0, "do": 0.0, "bo": False, "ma": {}, "mm": {}, "li": []}


@settings(QUIET, max_examples=60)
@given(values=st.fixed_dictionaries({}, optional={name: st.none() | strategy for name, strategy in SHOWN.items()}))
def test_any_value_reads_as_it_was_written(place: Place, values: dict[str, Any]) -> None:
    """Each type, eventual and atomic; null reads as null, or as the zero that clients calculate with. Empty collections are nulls to CQL."""

    async def work() -> None:
        for more in ({}, {"kind": "atomic"}):
            body = {"values": {"id": "v", **values}, **how(dict(more))}
            assert (await place.ask("POST", Music.rows_path("typed"), body)).message == "Insert Successful"
            (row,) = (await place.music.select(table="typed", id="v")).rows
            for name, value in values.items():
                shown = ZEROS.get(name) if value is None else value
                if name == "fl":  # the shortest text of the same 32 bits
                    assert pack("f", row[name]) == pack("f", shown)
                else:
                    assert row[name] == shown or (not value and row[name] in ([], {}, None)), name
            await place.music.delete("v", table="typed", **dict(more))

    place.run(work)


JSON = st.recursive(
    st.none() | st.booleans() | NUMBER(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(QUIET, max_examples=150)
@given(column=st.sampled_from([*TYPES]), value=JSON)
def test_any_json_for_any_type(place: Place, column: str, value: Any) -> None:
    """It is stored, and reads as JSON, or is refused by the column's name, and the row stays as it was. As a text it is never null."""

    async def work() -> None:
        await place.music.insert({"id": "j"}, table="typed")
        before = await place.stored()
        answer = await place.ask("PUT", Music.rows_path("typed", id="j"), {"values": {column: value}, **how({})})
        (row,) = (await place.music.select(table="typed", id="j")).rows
        if answer.status == 400:
            assert column in answer.error
            assert await place.stored() == before
        elif TYPES[column] in {"text", "varchar", "ascii"}:
            assert (row[column] is None) is (value is None)
        await place.music.delete("j", table="typed")

    place.run(work)


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "values": st.dictionaries(st.sampled_from(["id", "n", "t", "ID", "x'"]), JSON, max_size=3) | JSON,
        "objectMap": st.dictionaries(st.sampled_from(["bl", "t"]), JSON, max_size=2) | JSON,
        "consistencyInfo": st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["eventual", "atomic", "critical", "eventual_nb", "ATOMIC", "nope"]) | JSON,
                "lockId": st.sampled_from(["$ks.typed.a$1", "$ks.typed.a", "$$"]) | JSON,
                "consistency": st.sampled_from(["ONE", "quorum", "SERIAL", "ANY", "all"]) | JSON,
            },
        )
        | JSON,
        "conditions": st.dictionaries(st.sampled_from(["n", "t", "x", "exists", "nonexists"]), JSON, max_size=3) | JSON,
        "columns": st.lists(st.sampled_from(["n", "t", "id", "x"]) | JSON, max_size=3) | JSON,
        "ttl": st.sampled_from(["60", 60, "+-5", "1 ", 10**25, -1, 1.5]) | JSON,
        "timestamp": st.sampled_from([1, "2", 10**30, -1, "٣"]) | JSON,
        "fields": st.dictionaries(TEXTS, st.sampled_from([*TYPES.values(), "counter", "list<", "x"]) | JSON, max_size=3)
        | JSON,
        "primaryKey": st.sampled_from(["id", "((id), n)", "(id", "id)", "(((("]) | JSON,
        "partitionKey": TEXTS | JSON,
        "clusteringKey": TEXTS | JSON,
        "filteringKey": TEXTS | JSON,
        "clusteringOrder": st.sampled_from(["n ASC", "n desc, id ASC", "n", "n up"]) | JSON,
        "properties": JSON,
        "replicationInfo": st.dictionaries(st.sampled_from(["class", "replication_factor", "dc'1"]), JSON, max_size=3)
        | JSON,
        "durabilityOfWrites": JSON,
        "leasePeriod": st.sampled_from([1, "5", -5, 10**30, 1.5, "+-1"]) | JSON,
        "lockType": st.sampled_from(["READ", "write", 0, 3, "x"]) | JSON,
        "primaryKeyValue": JSON,
        "casscadeColumnName": st.sampled_from(["plans", "id"]) | JSON,
        "casscadeColumnData": st.fixed_dictionaries({}, optional={"key": JSON, "value": JSON}) | JSON,
        "tableValues": st.dictionaries(st.sampled_from(["id", "plans"]), JSON, max_size=2) | JSON,
        "appname": JSON,
        "aid": JSON,
    },
)
BODIES = (
    MEMBERS.map(lambda body: json.dumps(body).encode())
    | JSON.map(lambda body: json.dumps(body).encode())
    | st.binary(max_size=20)
)
CHANGES = [
    one
    for one in ENDPOINTS
    if one.name not in {"v2_drop_keyspace", "v2_drop_table", "v2_drop_queue", "v2_old_drop_queue"}
]


@pytest.mark.slow
@settings(QUIET, max_examples=250)
@given(data=st.data())
def test_any_request(place: Place, data: st.DataObject) -> None:
    """Any body, query and names for every operation: nothing but 200 and 400; a refusal, but of the lock interface, leaves all as it was."""
    endpoint = data.draw(st.sampled_from(CHANGES))
    names = {
        "keyspace": st.sampled_from(["ks", "KS"]) | TEXTS, "table": st.sampled_from(["typed", "cond"]) | TEXTS,
        "name": st.sampled_from(["ks.typed.a", "ks.typed.a.b", "ks.nope.a"]) | TEXTS, "queue": st.just("typed") | TEXTS,
        "id": st.sampled_from(["$ks.typed.a$1", "$ks.typed.a$99", "ks.typed.a"]) | TEXTS, "field": st.sampled_from(["n", "t"]) | TEXTS,
        "level": st.just("ONE") | TEXTS, "n": st.just("2"),
    }  # fmt: skip
    path = "/" + endpoint.pattern.replace("...}", "}")
    for name, strategy in names.items():
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(data.draw(strategy), safe=""))
    query = data.draw(st.lists(st.tuples(st.sampled_from(["id", "n", "ID", "index_name"]) | TEXTS, TEXTS), max_size=2))
    if query:
        path += "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    headers = data.draw(st.sampled_from([{}, {"owner": "x"}, {"x-minorversion": "1", "x-patchversion": "0"}]))

    async def work() -> None:
        before = await place.stored()
        answer = await place.music.ask(endpoint.method, path, raw=data.draw(BODIES), headers=headers)
        if "/admin/" in path:
            assert answer.status in {200, 400, 401, 414}
            return
        assert answer.status in {200, 400} or (answer.status == 414 and len(path) > 16_000), (path, answer)
        if answer.status == 400:
            assert answer.json
            assert await place.stored() == before, (path, answer)

    place.run(work)


@pytest.mark.slow
@settings(QUIET, max_examples=100)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"]),
    path=st.lists(st.sampled_from(["v2", "v1", "v9", "keyspaces", "tables", "rows", "locks", "ks", "", "typed", "%2F", "%00"]) | TEXTS.map(quote), max_size=8),
    query=st.binary(max_size=12).map(lambda raw: raw.replace(b"?", b"").decode("latin-1")).filter(str.isascii) | st.text("ab=&%+", max_size=20),
)  # fmt: skip
def test_any_path(place: Place, method: str, path: list[str], query: str) -> None:
    """Any path and query: nothing but 200 and 400 (and 401 of what is left of the registry)."""

    async def work() -> None:
        before = await place.stored()
        answer = await place.music.ask(method, "/" + "/".join(path) + "?" + query)
        assert answer.status in {200, 400, 401, 414}, answer
        if answer.status != 200:
            assert await place.stored() == before
        for table in await place.coordinator.tables("ks"):
            assert table.name in {"music", "typed", "cond"}

    place.run(work)
