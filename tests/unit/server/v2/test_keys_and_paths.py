"""Key columns of a table, names, lock ids, and the way from a path to its operation."""

from typing import Any

import pytest

from polysite.errors import BadRequest
from polysite.server.exchange import Reply
from polysite.server.v2.bodies import Body
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure
from polysite.server.v2.interface import ENDPOINTS
from polysite.server.v2.names import fold, parse_lock_id, parse_lock_name
from polysite.server.v2.paths import Endpoint, Paths, decode_path
from polysite.server.v2.primary_keys import key_columns, parse_primary_key


@pytest.mark.parametrize(
    ("text", "partition", "clustering"),
    [
        ("a", ["a"], []), ("(a)", ["a"], []), ("( A )", ["a"], []), ("a, b", ["a"], ["b"]), ("(a, b, c)", ["a"], ["b", "c"]),
        ("((a, b), c)", ["a", "b"], ["c"]), ("(a, b), c, d", ["a", "b"], ["c", "d"]), ("((a))", ["a"], []), ("(a),b", ["a"], ["b"]), ("", [], []),
    ],
)  # fmt: skip
def test_primary_keys(text: str, partition: list[str], clustering: list[str]) -> None:
    """The forms of CQL."""
    assert parse_primary_key(text) == (partition, clustering)


@pytest.mark.parametrize("text", ["(a", "a)", "((a)", ")a(", "(a))", "((a, b), c", "(" * 2_000])
def test_parentheses_that_do_not_match(text: str) -> None:
    """Refused, with what is wrong."""
    with pytest.raises(Failure, match="do not match"):
        parse_primary_key(text)


@pytest.mark.parametrize(
    ("members", "partition", "clustering"),
    [
        ({"primaryKey": "a, b"}, ("a",), [("b", "asc")]),
        ({"primaryKey": "x", "fields": {"PRIMARY KEY": "((a, b), c)"}}, ("a", "b"), [("c", "asc")]),
        ({"partitionKey": "(a, b)", "clusteringKey": "", "primaryKey": "x"}, ("a", "b"), []),
        ({"partitionKey": "a", "clusteringKey": "b", "filteringKey": "c", "clusteringOrder": "c DESC, b asc"}, ("a",), [("b", "asc"), ("c", "desc")]),
        ({"primaryKey": "a", "clusteringOrder": "nothing at all"}, ("a",), []),
    ],
)  # fmt: skip
def test_key_columns(members: dict[str, Any], partition: tuple[str, ...], clustering: list[tuple[str, str]]) -> None:
    """partitionKey before PRIMARY KEY before primaryKey; an order is looked at where there is something to order."""
    found = key_columns(Body(members), members.get("fields", {}))
    assert found.partition == partition
    assert [(column.name, column.direction) for column in found.clustering] == clustering


@pytest.mark.parametrize(
    "members",
    [
        {}, {"partitionKey": "a"}, {"partitionKey": "", "clusteringKey": "b"}, {"partitionKey": "a", "clusteringKey": "A"}, {"primaryKey": "a, a"},
        {"primaryKey": "a, b", "clusteringOrder": "b"}, {"primaryKey": "a, b", "clusteringOrder": "b up"},
        {"primaryKey": "a, b", "clusteringOrder": "a ASC"}, {"primaryKey": "a'"}, {"primaryKey": "vector_ts"}, {"primaryKey": ["a"]},
    ],
)  # fmt: skip
def test_keys_that_are_none(members: dict[str, Any]) -> None:
    """Each is refused with a reason."""
    with pytest.raises((Failure, BadRequest)) as told:
        key_columns(Body(members), {})
    assert str(told.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("k.t.a", ("k", "t", "a")),
        ("k.t.a.b", ("k", "t", "a.b")),
        ("k.t..", ("k", "t", ".")),
        ("K.T.$1", ("K", "T", "$1")),
    ],
)
def test_lock_names(text: str, parts: tuple[str, ...]) -> None:
    """The key is all that follows the second dot."""
    name = parse_lock_name(text)
    assert tuple(name) == parts
    assert str(name) == text
    lock_id = parse_lock_id(f"${text}$42")
    assert (lock_id.name, lock_id.ticket, str(lock_id)) == (name, 42, f"${text}$42")


@pytest.mark.parametrize("text", ["", "k", "k.t", "k.t.", ".t.a", "k..a", "..."])
def test_what_is_no_lock_name(text: str) -> None:
    """Three parts, none of them empty."""
    with pytest.raises(BadRequest, match="Invalid lock"):
        parse_lock_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "$$",
        "k.t.a$1",
        "$k.t.a",
        "$k.t.a$",
        "$k.t.a$x",
        "$k.t.a$-1",
        "$k.t.a$1.0",
        "$k.t.a$٣",
        "$k.t.a$" + "1" * 19,
    ],
)
def test_what_is_no_lock_id(text: str) -> None:
    """A dollar sign, a name, another one, a number."""
    with pytest.raises(BadRequest):
        parse_lock_id(text)


def test_names_fold() -> None:
    """As CQL folds what is not quoted; letters of other alphabets are none, nor those that fold into ours."""
    assert fold("MixedCase_1", "table") == "mixedcase_1"
    for what, name in (
        ("table", "\u212aelvin"), ("table", "é"), ("column", "vector_ts"), ("column", "VECTOR_TS"), ("keyspace", "polysite"), ("table", ""),
        ("table", "a" * 49), ("table", "a\n"),
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            fold(name, what)


async def nothing(_call: Call) -> Reply:
    return Reply(200, b"")


@pytest.mark.parametrize(
    ("path", "name", "names"),
    [
        (b"v2/keyspaces/ks/tables/t/rows", "v2_select", ("ks", "t")), (b"v2/keyspaces/ks/tables/t/rows/", "v2_select", ("ks", "t")),
        (b"v2/keyspaces/a/b/tables/c/d/rows", "v2_select", ("a/b", "c/d")), (b"v2/keyspaces//tables/t/rows", "v2_select", ("", "t")),
        (b"v2/keyspaces/tables/tables/rows/rows", "v2_select", ("tables", "rows")), (b"v2/locks/enquire/k.t.a%2Fb", "v2_enquire", ("k.t.a/b",)),
        (b"v2/locks/acquire/%24k.t.a%241", "v2_acquire", ("$k.t.a$1",)), (b"v2/locks/k.t.a", "v2_lock_state", ("k.t.a",)),
        (b"v77/version", "v2_version", ()), (b"v2/version/build", "v2_build", ()),
    ],
)  # fmt: skip
def test_paths(path: bytes, name: str, names: tuple[str, ...]) -> None:
    """Each leads to its operation with its variable parts decoded."""
    found = Paths(ENDPOINTS).find(b"/MUSIC/rest/" + path)
    assert found is not None
    assert (found.methods["GET"].name, found.names) == (name, names)


def test_tables_that_are_called_like_parts_of_paths() -> None:
    """A table called rows is made and dropped, one called index has indexes."""
    paths = Paths(ENDPOINTS)
    for raw, method, name, names in (
        (b"v2/keyspaces/ks/tables/rows", "POST", "v2_create_table", ("ks", "rows")),
        (b"v2/keyspaces/ks/tables/criticalget", "DELETE", "v2_drop_table", ("ks", "criticalget")),
        (b"v2/keyspaces/ks/tables/rows/rows/criticalget", "PUT", "v2_critical_get", ("ks", "rows")),
        (b"v2/keyspaces/ks/tables/index/index/index", "POST", "v2_create_index", ("ks", "index", "index")),
        (b"v2/keyspaces/tables/tables/tables/rows", "POST", "v2_insert", ("tables", "tables")),
        (b"v2/keyspaces/ks/tables/a/b", "POST", "v2_create_table", ("ks", "a/b")),
    ):
        found = paths.find(b"/MUSIC/rest/" + raw)
        assert found is not None
        assert (found.methods[method].name, found.names) == (name, names)


@pytest.mark.parametrize("path", [b"", b"v2", b"vx/version", b"v2/nothing", b"v2/locks/a/b/c/d", b"V2/version"])
def test_paths_that_lead_nowhere(path: bytes) -> None:
    """No operation stands there."""
    assert Paths(ENDPOINTS).find(b"/MUSIC/rest/" + path) is None


def test_a_path_that_is_no_text() -> None:
    """Broken escapes and what is no UTF-8 are refused."""
    for raw in (b"v2/%zz", b"v2/%", b"v2/%F", b"v2/%FF"):
        with pytest.raises(Failure):
            decode_path(raw)


def test_an_operation_stands_once() -> None:
    """Two of one method on one path are a mistake."""
    one = Endpoint("one", "GET", "v2/a", nothing)
    with pytest.raises(AssertionError):
        Paths([one, one._replace(name="two")])
