"""The protocol over HTTP: what each verb sends, and what it makes of the answer.

Method: a script stands behind the transport; requests are compared as they go out, answers as they come back.
"""

from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from polysite.api import Condition, KeyName, RangeDelete, RowDelete, RowExpectation, RowGet, RowPut, RowWrite, Step
from polysite.client import AsyncFunctionTransport, HttpCoordinator, Response
from polysite.client._async.carrier import Carrier
from polysite.client.pacing import AsyncPace
from polysite.errors import BadRequest, CompareFailed, OutcomeUnknown, UnknownKey
from polysite.testing.loop import run, simulated_runtime
from tests.support.scripted import UNANSWERED, VOTES, ScriptedSite, answer, refusal

LOCK_ANSWER: dict[str, Any] = {
    "reference": "1.abc",
    "held": True,
    "kind": "exclusive",
    "lease_ms": 10_000,
    "keys": [{"keyspace": "voting", "table": "votes", "key": {"name": "ana"}, "fencing_token": 4, "ahead": 0}],
    "rows": [{"name": "ana", "count": 1, "total": "2.50"}],
    "round_trips": 2,
}


def ask(
    site: ScriptedSite, work: Callable[[HttpCoordinator], Coroutine[Any, Any, Any]], *, idempotent_writes: bool = False
) -> Any:
    """The result of `work` with a coordinator whose site plays the script."""

    async def main() -> Any:
        carrier = Carrier([AsyncFunctionTransport(site.answer_async)], pace=AsyncPace(simulated_runtime(1)))
        return await work(HttpCoordinator(carrier, idempotent_writes=idempotent_writes))

    return run(main, seed=1)


def name(key: Any = "ana") -> KeyName:
    return KeyName(keyspace="voting", table="votes", key={"name": key})


def test_get_turns_types_both_ways() -> None:
    """The key goes into the path, values come back as Python values of their column's type."""
    site = ScriptedSite(
        answer({"row": {"name": "a/b", "count": 1, "total": "2.50"}, "stamps": {"count": 7}, "round_trips": 1})
    )
    found = ask(site, lambda coordinator: coordinator.get(name("a/b"), level="quorum", stamps=True))
    assert found.row == {"name": "a/b", "count": 1, "total": Decimal("2.50")}
    assert (found.stamps, found.round_trips) == ({"count": 7}, 1)
    assert site.asked[0].target == "/v3/keyspaces/voting/tables/votes/rows/a%2Fb?level=quorum&stamps=1"


@pytest.mark.parametrize("key", ["", ".", "..", "x" * 3000])
@pytest.mark.parametrize(("verb", "end"), [("get", "rows/get"), ("put", "rows/put"), ("delete", "rows/delete")])
def test_keys_that_a_path_cannot_carry_go_into_the_body(key: str, verb: str, end: str) -> None:
    """Empty and dot segments are taken out of paths on the way, long paths are cut: the client switches by itself."""
    site = ScriptedSite(answer({"row": None, "stamp": 1}))

    async def work(coordinator: HttpCoordinator) -> None:
        if verb == "get":
            await coordinator.get(name(key))
        elif verb == "put":
            await coordinator.put(name(key), {"count": 1})
        else:
            await coordinator.delete(name(key))

    ask(site, work)
    asked = site.asked[0]
    assert (asked.method, urlsplit(asked.target).path) == ("POST", f"/v3/keyspaces/voting/tables/votes/{end}")
    assert site.last_body["key"] == {"name": key}


@pytest.mark.parametrize("key", ["...", "ana.b", "a b", "ü😀", "a?b#c%", "'\"$&+;=@"])
def test_odd_keys_stay_in_the_path(key: str) -> None:
    """Everything else is percent-encoded whole, so that no character means anything on the way."""
    site = ScriptedSite(answer({"row": None}))
    ask(site, lambda coordinator: coordinator.get(name(key)))
    path = urlsplit(site.asked[0].target).path
    assert path.rsplit("/", 1)[0] == "/v3/keyspaces/voting/tables/votes/rows"
    assert path.isascii()
    assert site.asked[0].method == "GET"


def test_put_under_a_lock() -> None:
    """The reference goes in a header, never in a path; values go as JSON of their types."""
    site = ScriptedSite(answer({"stamp": 9, "round_trips": 1}))
    found = ask(
        site,
        lambda coordinator: coordinator.put(
            name(), {"total": Decimal("1.5"), "count": None}, level="critical", reference="1.abc", expires_ms=50
        ),
    )
    assert (found.stamp, found.round_trips) == (9, 1)
    asked = site.asked[0]
    assert (asked.method, asked.target) == ("PUT", "/v3/keyspaces/voting/tables/votes/rows/ana?level=critical")
    assert asked.headers["polysite-lock"] == "1.abc"
    assert "idempotency-key" not in asked.headers
    assert site.last_body == {"columns": {"total": "1.5", "count": None}, "expires_ms": 50}


def test_the_spec_is_asked_for_once() -> None:
    """Until an answer tells another schema of the table; then once more, and the answer is read by the new one."""
    site = ScriptedSite(answer({"row": None}), answer({"row": None}, headers={"polysite-schema": "s1"}))

    async def twice(coordinator: HttpCoordinator) -> None:
        await coordinator.get(name())
        await coordinator.get(name())

    ask(site, twice)
    assert site.specs_asked == 1

    changed = ScriptedSite(answer({"row": {"name": "ana", "count": "2.5"}}, headers={"polysite-schema": "s2"}))

    async def change(coordinator: HttpCoordinator) -> Any:
        await coordinator.table("voting", "votes")
        changed.spec = {**VOTES, "columns": [{"name": "name", "type": "text"}, {"name": "count", "type": "decimal"}]}
        changed.schema = "s2"
        return await coordinator.get(name())

    assert ask(changed, change).row == {"name": "ana", "count": Decimal("2.5")}


def test_a_refusal_by_a_stale_spec_is_tried_by_the_new_one() -> None:
    """A table made anew has other columns; what is known of it must not make a right call wrong."""
    site = ScriptedSite(answer({"stamp": 1}))

    async def work(coordinator: HttpCoordinator) -> None:
        await coordinator.table("voting", "votes")
        site.spec = {**VOTES, "columns": [*VOTES["columns"], {"name": "fresh", "type": "int"}]}
        await coordinator.put(name(), {"fresh": 1})

    ask(site, work)
    assert site.last_body == {"columns": {"fresh": 1}}


def test_a_refusal_by_the_true_spec_is_told() -> None:
    """Without a newer spec the refusal stands, and nothing was sent."""
    site = ScriptedSite()
    with pytest.raises(UnknownKey):
        ask(site, lambda coordinator: coordinator.put(name(), {"nothing": 1}))
    with pytest.raises(BadRequest):
        ask(site, lambda coordinator: coordinator.put(name(), {"count": "many"}))
    assert not site.asked


def test_writes_are_sent_again_only_under_a_key() -> None:
    """The caller's key, or one of the client's own if it is told to make them; the same on every sending."""

    async def put(coordinator: HttpCoordinator) -> None:
        await coordinator.put(name(), {"count": 1})

    async def put_once(coordinator: HttpCoordinator) -> None:
        await coordinator.put(name(), {"count": 1}, idempotency_key="k1")

    with pytest.raises(OutcomeUnknown):
        ask(ScriptedSite(UNANSWERED, answer({})), put)
    for work, made in ((put_once, False), (put, True)):
        site = ScriptedSite(UNANSWERED, answer({"stamp": 1}))
        ask(site, work, idempotent_writes=made)
        keys = {request.headers["idempotency-key"] for request in site.asked}
        assert len(keys) == 1
        assert made or keys == {"k1"}


def test_select_short_and_long() -> None:
    """Conditions go into the query, or into a body where they are long; rows come back typed, with the cursor."""
    page = answer({"rows": [{"name": "ana", "count": 1, "total": None}], "cursor": "c2", "round_trips": 0})
    short = ScriptedSite(page)
    where = [Condition(column="name", comparison="eq", value="ana")]
    found = ask(short, lambda coordinator: coordinator.select("voting", "votes", where=where, limit=5, cursor="c1"))
    assert found.rows == [{"name": "ana", "count": 1, "total": None}]
    assert found.cursor == "c2"
    asked = parse_qs(urlsplit(short.asked[0].target).query)
    assert msgspec.json.decode(asked["where"][0]) == [["name", "eq", "ana"]]
    assert (asked["limit"], asked["cursor"]) == (["5"], ["c1"])

    long = ScriptedSite(page)
    many = [Condition(column="name", comparison="in", value=["x" * 100] * 50)]
    ask(long, lambda coordinator: coordinator.select("voting", "votes", where=many))
    assert urlsplit(long.asked[0].target).path.endswith("/rows/select")
    assert long.last_body["where"][0][:2] == ["name", "in"]


def test_batch_and_section_spell_their_steps() -> None:
    """Every kind of write and step in its JSON form."""
    site = ScriptedSite(answer({"stamp": 3}))
    writes: list[RowWrite] = [
        RowPut(columns={"count": 1}, key={"name": "ana"}, expires_ms=9),
        RowDelete(key={"name": "ana"}),
        RangeDelete(where=[Condition(column="name", comparison="eq", value="ana")]),
    ]
    expect = [RowExpectation(key={"name": "ana"}, exists=False)]
    ask(site, lambda coordinator: coordinator.batch("voting", "votes", writes, expect=expect))
    assert site.last_body == {
        "level": "eventual",
        "writes": [
            {"op": "put", "key": {"name": "ana"}, "columns": {"count": 1}, "expires_ms": 9},
            {"op": "delete", "key": {"name": "ana"}},
            {"op": "delete_range", "where": [["name", "eq", "ana"]]},
        ],
        "expect": [{"op": "expect", "key": {"name": "ana"}, "exists": False}],
    }

    section = ScriptedSite(
        answer(
            {"results": [None, {"name": "ana", "total": "1"}], "fencing_token": 2, "validated": True, "round_trips": 3}
        )
    )
    steps: list[Step] = [RowExpectation(equals={"total": None}), RowGet()]
    found = ask(section, lambda coordinator: coordinator.section(name(), steps, wait_ms=50))
    assert found.results == [None, {"name": "ana", "total": Decimal(1)}]
    assert (found.fencing_token, found.validated, found.round_trips) == (2, True, 3)
    assert section.last_body["steps"] == [{"op": "expect", "equals": {"total": None}}, {"op": "get"}]


def test_a_failed_comparison_carries_typed_rows() -> None:
    """What was found comes back as Python values, in or out of a session."""
    site = ScriptedSite(refusal(CompareFailed("differs", rows=[{"name": "ana", "total": "1.5"}, None]), status=412))
    with pytest.raises(CompareFailed) as caught:
        ask(site, lambda coordinator: coordinator.batch("voting", "votes", [RowDelete(key={"name": "ana"})]))
    assert caught.value.rows == [{"name": "ana", "total": Decimal("1.5")}, None]


def test_acquire_is_sent_again_as_the_same_wish() -> None:
    """The idempotency key is the wish's identity in the queue, so a lost answer leaves no second entry behind."""
    site = ScriptedSite(UNANSWERED, answer(LOCK_ANSWER))
    found = ask(site, lambda coordinator: coordinator.acquire([name()], read=True))
    assert found.keys[0].key == {"name": "ana"}
    assert found.rows == [{"name": "ana", "count": 1, "total": Decimal("2.50")}]
    assert (found.fencing_token, found.round_trips) == (4, 2)
    assert len({request.headers["idempotency-key"] for request in site.asked}) == 1
    assert site.last_body["keys"] == [{"keyspace": "voting", "table": "votes", "key": {"name": "ana"}}]


@pytest.mark.parametrize("verb", ["wait", "renew", "promote", "release"])
def test_references_never_stand_in_a_path(verb: str) -> None:
    """A path is logged on the way, and whoever has a reference may use it."""
    site = ScriptedSite(answer({"validated": True}) if verb == "release" else answer(LOCK_ANSWER))
    ask(site, lambda coordinator: getattr(coordinator, verb)("1.secret"))
    assert "secret" not in site.asked[0].target
    assert site.asked[0].headers["polysite-lock"] == "1.secret"


def test_release_says_whether_it_was_validated() -> None:
    """202 without the wait is a release that is carried out later; one that was not answered is not sent again."""
    site = ScriptedSite(answer({"validated": False}, status=202))
    assert ask(site, lambda coordinator: coordinator.release("1.a", validate=False)).validated is False
    assert site.asked[0].target.endswith("?wait=0")
    with pytest.raises(OutcomeUnknown):
        ask(ScriptedSite(UNANSWERED, answer({})), lambda coordinator: coordinator.release("1.a"))


def test_health_of_a_process_that_is_not_ready() -> None:
    """It is an answer, although its status is one of an error; a proxy's 503 is none. A site that knows others tells of them."""
    body: dict[str, object] = {"ready": False, "site": "s", "process": "p1", "version": "1", "reasons": ["skew"]}
    found = ask(ScriptedSite(answer(body, status=503)), lambda coordinator: coordinator.health())
    assert (found.ready, found.reasons) == (False, ["skew"])
    assert (found.sites, found.majority_rtt_ms) == ([], 0)
    body |= {
        "sites": [{"site": "t", "answers": True, "rtt_ms": 50.7}, {"site": "u", "answers": False}],
        "majority_rtt_ms": 60,
    }
    found = ask(ScriptedSite(answer(body, status=503)), lambda coordinator: coordinator.health())
    assert found.majority_rtt_ms == 60
    assert [(site.site, site.answers, site.rtt_ms) for site in found.sites] == [("t", True, 50.7), ("u", False, None)]
    with pytest.raises(OutcomeUnknown):
        ask(ScriptedSite(Response(503, {}, b"{}")), lambda coordinator: coordinator.health())


def test_events_are_read_from_the_stream() -> None:
    """Comments are passed over, data may come in several lines, keys come back typed."""
    lines = (
        b": events from now on\n\n"
        b'event: granted\ndata: {"kind": "granted", "at_us": 5, "site": "s",\n'
        b'data: "keyspace": "voting", "table": "votes", "key": {"name": "ana"}, "fencing_token": 3}\n\n'
    )
    site = ScriptedSite(Response(200, {}, lines))

    async def work(coordinator: HttpCoordinator) -> Any:
        return [event async for event in coordinator.events(keyspace="voting")]

    (event,) = ask(site, work)
    assert (event.kind, event.key, event.fencing_token) == ("granted", {"name": "ana"}, 3)
    assert site.asked[0].target == "/v3/events?keyspace=voting"


def test_schema_verbs() -> None:
    """201 means made now; the names stand in the path, the rest in the body."""
    site = ScriptedSite(
        answer({}, status=201), answer({}, status=200), answer({"dropped": True}), answer({"tables": [VOTES]})
    )

    async def work(coordinator: HttpCoordinator) -> Any:
        spec = await coordinator.table("voting", "votes")
        return (
            await coordinator.create_table(spec),
            await coordinator.create_table(spec),
            await coordinator.drop_table("voting", "votes"),
            await coordinator.tables("voting"),
        )

    made, again, dropped, tables = ask(site, work)
    assert (made, again, dropped) == (True, False, True)
    assert tables[0].regular_names == ("count", "total")
    body = msgspec.json.decode(site.asked[0].body)
    assert "keyspace" not in body
    assert body["partition_key"] == ["name"]
