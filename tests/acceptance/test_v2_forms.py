"""What some installations need beside the interface of 3.2.40: tracing headers, the paths without a version, what older servers had.

Method: an application with the settings in question, over a site in memory.
"""

from typing import Any

import pytest

from polysite.server.settings import Settings, TracingHeader, V2Settings
from polysite.server.v2.tracing import echoed
from polysite.testing.loop import seeded
from tests.support.music import ATOMIC, KEYSPACE, Music, how, music_of
from tests.support.sites import world_of

TRACED = V2Settings(
    transaction_id=TracingHeader(required=True, prefix="X-ATT"),
    conversation_id=TracingHeader(prefix="X-CSI-"),
    message_id=TracingHeader(required=True, prefix="X-MSG-"),
    client_id=TracingHeader(required=True),
)


@seeded
async def test_tracing_headers_are_asked_for_in_turn_and_answered(seed: int) -> None:
    """The first that is missing is named; those before it are answered all the same; an empty one will do; one not required is not asked for."""
    async with world_of(seed) as world:
        music = Music(world.processes[0].coordinator, settings=Settings(v2=TRACED))
        path = Music.rows_path("votes")
        given: dict[str, str] = {}
        for name, missing in (
            ("", "X-ATT-Transaction-Id"),
            ("x-att-transaction-id", "X-MSG-MessageId"),
            ("X-Msg-MessageID", "ClientId"),
        ):
            if name:
                given[name.lower()] = f"value of {name}"
            answer = await music.ask("GET", path, headers=given)
            assert (answer.status, answer.json["responseCode"]) == (400, 400)
            assert f"'{missing}' required on http header" in answer.json["responseMessage"]
            assert given.items() <= answer.headers.items()
        answer = await music.ask("GET", path, headers={**given, "clientid": ""})
        assert answer.rows == []
        assert {**given, "clientid": ""}.items() <= answer.headers.items()
        # Neither the conditional interface nor what tells of the service is traced.
        assert (await music.ask("GET", "/v2/version")).status == 200
        conditional = await music.ask("PUT", "/v2/conditional/update/keyspaces/ks/tables/votes", {})
        assert "required on http header" not in conditional.body.decode()


def test_what_is_echoed_is_printable() -> None:
    """Nothing that ends a line or controls a terminal is answered; letters of any kind are."""
    assert echoed(b"40") == b"40"
    assert echoed(b"a\r\nSet-Cookie: x\x00\x1b[1m\x7f") == b"aSet-Cookie: x[1m"
    assert echoed("é b".encode("latin-1")) == "é b".encode("latin-1")


@seeded
async def test_versions_are_answered_again(seed: int) -> None:
    """What the request says of its version, or the server's own."""
    async with music_of(seed, version="3.4.5") as (_, [music]):
        answer = await music.select()
        told = [answer.headers[f"x-{name}version"] for name in ("latest", "minor", "patch")]
        assert told == ["3.4.5", "4", "5"]
        answer = await music.ask("GET", Music.rows_path(), headers={"x-minorversion": "any", "x-patchversion": ""})
        assert (answer.headers["x-minorversion"], answer.headers["x-patchversion"]) == ("any", "")


@seeded
async def test_the_headers_1_and_0_make_a_locked_read(seed: int) -> None:
    """Only exactly these, as numbers, and only with a body that says how."""
    async with music_of(seed) as (_, [music]):
        await music.insert({"id": "a", "count": 1})
        lock = await music.lock("a")
        body, path = how({"lock": lock}), Music.rows_path(id="a")
        bad = how({"lock": "$ks.music.a$9"})
        for minor, patch, locked in (("1", "0", True), ("01", "+0", True), ("1", "1", False), ("0", "23", False)):
            headers = {"x-minorversion": minor, "x-patchversion": patch}
            assert (await music.ask("GET", path, body, headers=headers)).rows[0]["count"] == 1
            assert ((await music.ask("GET", path, bad, headers=headers)).status == 400) is locked
        headers = {"x-minorversion": "1", "x-patchversion": "0"}
        assert (await music.ask("GET", path, headers=headers)).rows[0]["count"] == 1
        assert "consistencyInfo" in (await music.ask("GET", path, {"x": 1}, headers=headers)).error
        headers = {"x-minorversion": "x", "x-patchversion": "y"}
        assert (await music.ask("GET", path, headers=headers)).error == 'For input string: "x"'


@seeded
async def test_plain_paths(seed: int) -> None:
    """The same operations, with the bare answers of the oldest servers; making what is there is no failure there."""
    async with music_of(seed, plain_paths=True, atomic_wait_ms=0) as (_, [music]):

        async def plain(method: str, path: str, body: Any = None) -> tuple[int, str]:
            answer = await music.ask(method, path, body)
            assert answer.headers["x-latestversion"] == "3.2.40"
            return answer.status, answer.body.decode()

        table = {"fields": {"id": "text", "count": "int", "PRIMARY KEY": "(id)"}}
        for _ in range(2):
            assert await plain("POST", "/keyspaces/plain", KEYSPACE) == (204, "")
            assert await plain("POST", "/keyspaces/plain/tables/t", table) == (204, "")
        rows = "/keyspaces/plain/tables/t/rows"
        assert await plain("POST", rows, {"values": {"id": "a", "count": 1}, **how({})}) == (204, "")
        assert await plain("GET", f"{rows}?id=a") == (200, '{"row 0":{"id":"a","count":1}}')
        assert await plain("GET", f"{rows}?id=b") == (200, "{}")
        assert await plain("POST", "/locks/create/plain.t.a") == (200, "$plain.t.a$1")
        assert await plain("POST", "/locks/create/plain.t.a") == (200, "$plain.t.a$2")
        assert await plain("GET", "/locks/acquire/$plain.t.a$1") == (200, "true")
        assert await plain("GET", "/locks/acquire/$plain.t.a$2") == (200, "false")
        update = {"values": {"count": 2}, **how({"lock": "$plain.t.a$1"})}
        assert await plain("PUT", f"{rows}?id=a", update) == (200, "SUCCESS | Update performed")
        update = {"values": {"count": 2}, **how({"lock": "$plain.t.a$2"})}
        assert await plain("PUT", f"{rows}?id=a", update) == (200, "FAILURE | $plain.t.a$2 is not the lock holder")
        status, told = await plain("GET", "/locks/enquire/plain.t.a")
        assert (status, '"error":""' in told, '"lock-holder":"$plain.t.a$1"' in told) == (200, True, True)
        assert await plain("DELETE", "/locks/release/$plain.t.a$1") == (204, "")
        assert await plain("DELETE", "/locks/delete/plain.t.a") == (204, "")
        read = await plain("PUT", f"{rows}/criticalget?id=a", {"consistencyInfo": ATOMIC})
        assert read == (200, '{"row 0":{"id":"a","count":2}}')
        assert (await plain("GET", "/version"))[1] == "MUSIC:3.2.40"
        assert (await plain("POST", rows, {"values": {"id": "a", "count": "x"}, **how({})}))[0] == 400
        assert await plain("DELETE", "/keyspaces/plain/tables/t") == (204, "")


@seeded
async def test_plain_rows_are_streamed_without_an_envelope(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a page are the same bare object."""
    monkeypatch.setattr("polysite.server.v2.rows.PAGE_ROWS", 3)
    async with music_of(seed, plain_paths=True) as (_, [music]):
        for number in range(7):
            await music.insert({"id": f"{number}"})
        answer = await music.ask("GET", "/keyspaces/ks/tables/music/rows")
        assert list(answer.json) == [f"row {number}" for number in range(7)]


@seeded
async def test_plain_paths_are_off_unless_asked_for(seed: int) -> None:
    """Nothing stands there."""
    async with music_of(seed) as (_, [music]):
        assert (await music.ask("GET", "/keyspaces/ks/tables/music/rows")).error == "HTTP 404 Not Found"
        assert (await music.ask("GET", "/version")).error == "HTTP 404 Not Found"


@seeded
async def test_what_older_servers_had(seed: int) -> None:
    """Health by its old names, queues without a version, the registry that keeps nothing."""
    async with music_of(seed) as (world, [music]):
        for name in ("cs", "zk"):
            answer = await music.ask("GET", f"/v1/service/{name}")
            assert (answer.status, list(answer.json)) == (200, ["ACTIVE"])
        fields = {"p": "text", "at": "int", "what": "text", "PRIMARY KEY": "(p, at)"}
        path = "/priorityq/keyspaces/ks/jobs"
        assert (await music.ask("POST", path, {"fields": fields, "clusteringOrder": "at DESC"})).status == 200
        for at in (1, 3, 2):
            assert (await music.ask("POST", f"{path}/rows", {"values": {"p": "x", "at": at}, **how({})})).status == 200
        assert [row["at"] for row in (await music.ask("GET", f"{path}/peek?p=x")).rows] == [3]
        filtered = await music.ask("GET", f"/v2{path}/filter?p=x")
        assert [row["at"] for row in filtered.rows] == [3, 2, 1]
        assert (
            await music.ask("DELETE", f"{path}/rows?p=x&at=3", how({"kind": "atomic"}))
        ).message == "Update performed"
        assert [row["at"] for row in (await music.ask("GET", f"{path}/peek?p=x")).rows] == [2]
        body = {"appname": "app", "userId": "u", "isAAF": "false", "password": "p"}
        onboarded = (await music.ask("POST", "/v2/admin/onboardAppWithMusic", body)).json
        found = (await music.ask("POST", "/v2/admin/search", {"appname": "app"})).json
        assert found == {onboarded["Generated AID"]: "TBD"}
        assert (await music.ask("POST", "/v2/admin/onboardAppWithMusic", {})).status == 401
        world.processes[0].faults.down = True
        assert (await music.ask("GET", "/v2/service/musicHealthCheck")).json["MUSIC"] == "Active"


@seeded
async def test_keyspaces_may_be_turned_off(seed: int) -> None:
    """Then neither is one made nor dropped; tables are."""
    async with world_of(seed) as world:
        music = Music(world.processes[0].coordinator, keyspace_active=False)
        assert "turned off" in (await music.ask("POST", "/v2/keyspaces/more", KEYSPACE)).error
        assert "turned off" in (await music.ask("DELETE", "/v2/keyspaces/ks")).error
        assert (await music.make_table()).status == 200
        off = Music(world.processes[0].coordinator, enabled=False)
        answer = await off.ask("GET", "/v2/version")
        assert answer.status == 404
