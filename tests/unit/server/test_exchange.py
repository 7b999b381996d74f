"""The parts of a request: query, headers, body."""

from typing import Any

import msgspec
import pytest

from polysite.errors import BadRequest, TooLarge
from polysite.server import wire
from polysite.server.exchange import ClientGone, Exchange, decode_json
from polysite.server.problems import HttpRefusal

section = msgspec.json.Decoder(wire.SectionBody)
put = msgspec.json.Decoder(wire.PutBody)


def exchange(
    *messages: dict[str, Any], query: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
) -> Exchange:
    given = list(messages)

    async def receive() -> dict[str, Any]:
        return given.pop(0)

    scope = {"method": "PUT", "raw_path": b"/", "query_string": query, "headers": headers or []}
    return Exchange(scope, receive, body_bytes_max=1_000)


def chunk(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_query_is_read_and_only_what_is_known_is_taken() -> None:
    """Percent-decoded, blank values kept; short ones are remembered and still checked against each route's names."""
    for _ in range(2):
        assert exchange(query=b"level=quorum&cursor=a%2Fb&where=").query("level", "cursor", "where") == {
            "level": "quorum", "cursor": "a/b", "where": "",
        }  # fmt: skip
        with pytest.raises(HttpRefusal, match="cursor"):
            exchange(query=b"level=quorum&cursor=a%2Fb&where=").query("level", "where")


@pytest.mark.parametrize(
    "query", [b"a=1&a=2", b"a", b"a=%ff", b"a=\xff", b"&&=&", b"x=1&" * 80 + b"y=2", b"level=1&b=2&level=3"]
)
def test_a_doubtful_query_is_refused(query: bytes) -> None:
    """Twice the same name, no value, no UTF-8, too many."""
    with pytest.raises(HttpRefusal):
        exchange(query=query).query("a", "b", "level")


def test_what_a_query_says_is_not_repeated() -> None:
    """Names that are plausible are named, values never."""
    with pytest.raises(HttpRefusal) as refused:
        exchange(query=b"nme=hidden").query("name")
    assert "nme" in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_headers_that_count_stand_once() -> None:
    """Two lock references would be read differently by different readers; two of another header do not matter."""
    with pytest.raises(HttpRefusal, match="polysite-lock"):
        exchange(headers=[(b"polysite-lock", b"a"), (b"polysite-lock", b"b")]).check_headers()
    exchange(headers=[(b"accept", b"a"), (b"accept", b"b")]).check_headers()


@pytest.mark.parametrize("key", [b"", b"a b", "ü".encode(), b"x" * 256, b"a\x00"])
def test_an_idempotency_key_is_printable_ascii(key: bytes) -> None:
    """Bounded, and free of what logs and headers cannot carry."""
    with pytest.raises(HttpRefusal):
        _ = exchange(headers=[(b"idempotency-key", key)]).idempotency_key
    assert exchange(headers=[(b"idempotency-key", b"a-1")]).idempotency_key == "a-1"


async def test_a_body_may_come_in_pieces() -> None:
    """Three pieces, then whole."""
    pieces = [chunk(b'{"colu', more=True), chunk(b'mns":{}', more=True), chunk(b"}")]
    assert (await exchange(*pieces).body(put)).columns == {}


async def test_a_body_over_the_bound_is_refused_before_it_is_read() -> None:
    """By its length alone: no message is taken. A huge one also closes the connection."""
    with pytest.raises(HttpRefusal) as refused:
        await exchange(headers=[(b"content-length", b"1001")]).raw_body()
    assert (refused.value.status, refused.value.headers) == (413, ())
    assert isinstance(refused.value.error, TooLarge)
    with pytest.raises(HttpRefusal) as refused:
        await exchange(headers=[(b"content-length", b"9" * 12)]).raw_body()
    assert refused.value.headers == ((b"connection", b"close"),)


async def test_a_body_without_a_length_is_refused_once_it_is_too_long() -> None:
    """The last piece is never asked for."""
    with pytest.raises(HttpRefusal) as refused:
        await exchange(chunk(b"x" * 900, more=True), chunk(b"x" * 200, more=True)).raw_body()
    assert refused.value.status == 413


async def test_a_client_that_hangs_up_within_the_body_is_noticed() -> None:
    """Nothing is decoded from half a body."""
    with pytest.raises(ClientGone):
        await exchange(chunk(b"{", more=True), {"type": "http.disconnect"}).body(put)


async def test_a_body_is_json_or_refused() -> None:
    """415 for another media type; a missing body is told as such; an optional one may be missing."""
    with pytest.raises(HttpRefusal) as refused:
        await exchange(chunk(b"a=b"), headers=[(b"content-type", b"application/x-www-form-urlencoded")]).body(put)
    assert refused.value.status == 415
    with pytest.raises(HttpRefusal, match="needs a body"):
        await exchange(chunk(b"")).body(put)
    optional = msgspec.json.Decoder(wire.Empty)
    assert await exchange(chunk(b"")).body(optional, optional=True) == wire.Empty()
    charset = [(b"content-type", b"Application/JSON; charset=utf-8")]
    assert (await exchange(chunk(b'{"columns":{}}'), headers=charset).body(put)).columns == {}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"columns":{},"colour":1}', "`colour`"),
        (b'{"columns":{},"expires_ms":0}', ">= 1"),
        (b'{"columns":{},"expires_ms":' + b"9" * 30 + b"}", "<="),
        (b'{"columns":{},"expires_ms":' + b"9" * 9000 + b"}", "the body"),
        (b'{"columns":{},"expires_ms":1.5}', "float"),
        (b'{"columns":{},"expires_ms":1e400}', "the body"),
        (b'{"columns":{},"expires_ms":true}', "bool"),
        (b'{"columns":{"a":NaN}}', "not JSON"),
        (b'{"columns":{"a":"\xff"}}', "not JSON"),
        (b'{"columns":{"a":"\\ud800"}}', "not JSON"),
        (b'{"columns":{"a":' + b"[" * 100_000, "deep"),
        (b'{"columns":' + b'{"a":' * 100_000, "deep"),
        (b"[" * 100_000, "the body"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"columns":{}} {}', "not JSON"),
        (b'{"columns":{}', "not JSON"),
        (b"null", "null"),
        (b"\x00", "not JSON"),
    ],
)
def test_bad_json_is_refused_with_its_place(raw: bytes, says: str) -> None:
    """Unknown members by name, numbers by their bounds, bombs and broken encodings without a fuss."""
    with pytest.raises(BadRequest) as refused:
        decode_json(put, raw, "the body")
    assert says in refused.value.message
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    "raw",
    [
        b'{"key":{"keyspace":"k","table":"t","key":{}},"steps":[{"op":"hidden"}]}',
        b'{"key":{"keyspace":"k","table":"t","key":{}},"steps":["hidden"]}',
        b'{"key":"hidden","steps":[]}',
        b'{"key":{"keyspace":"k","table":"t","key":{"hidden":1}},"steps":[{"op":"hidden\' - at `$"}]}',
    ],
)
def test_values_are_not_repeated(raw: bytes) -> None:
    """What a message says of a wrong value is its kind and place."""
    with pytest.raises(BadRequest) as refused:
        decode_json(section, raw, "the body")
    assert "hidden" not in refused.value.message


def test_a_member_with_a_long_name_does_not_make_a_long_message() -> None:
    """The name is repeated, but not at any length."""
    with pytest.raises(BadRequest) as refused:
        decode_json(put, b'{"' + b"x" * 100_000 + b'":1}', "the body")
    assert len(refused.value.message) < 400
