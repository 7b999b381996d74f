"""One request and what is answered to it, between the server and the routes.

A route is given an `Exchange`, asks it for the parts of the request, and returns a `Reply` or a `Stream`.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec

from polysite import api
from polysite.errors import BadRequest, TooLarge
from polysite.server.auth import Principal
from polysite.server.convert import Codec, shown
from polysite.server.members import check_members
from polysite.server.problems import HttpRefusal, refuse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]
T = TypeVar("T")


class CountedBody(Protocol):
    """A body that knows how many members its JSON has at least."""

    def members_min(self) -> int: ...


BodyType = TypeVar("BodyType", bound=CountedBody)

JSON = b"application/json"
DRAINED_BYTES_MAX = 64 * 1024 * 1024
"""A refused body up to this length is read past and dropped, so that the sender gets to read why; beyond it the
connection is closed."""

_encode = msgspec.json.Encoder().encode
_LEVELS: dict[str, api.Level] = {level: level for level in get_args(api.Level)}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_QUOTED_VALUE = re.compile(r" '.*'(?= - at `|$)", re.DOTALL)
_SINGLE_HEADERS = frozenset(
    {b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key", b"origin", b"polysite-lock"}
)


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    round_trips: float = 0
    headers: Headers = ()
    media_type: bytes = JSON


class Stream(NamedTuple):
    """An answer sent piece by piece; if the iterator fails, the connection is cut so that nobody takes it for whole."""

    media_type: bytes
    chunks: AsyncIterator[bytes]
    headers: Headers = ()


class ClientGone(Exception):
    """The client hung up; nobody reads an answer."""


def reply_json(answer: Any, *, status: int = 200, round_trips: float = 0, headers: Headers = ()) -> Reply:
    """An answer as JSON."""
    return Reply(status, _encode(answer), round_trips, headers)


class Exchange:
    """One request. `captured` are the variable segments of the path, `rest` the key segments of a row's path, all raw.

    `names` are the variable parts of a path of another interface, decoded; `is_foreign`: it is of one. `codec` and `lock`: the table and the lock reference that the call turned out to be about.
    """

    __slots__ = (
        "_query",
        "_receive",
        "body_bytes_max",
        "captured",
        "codec",
        "headers",
        "is_foreign",
        "lock",
        "method",
        "names",
        "principal",
        "request_id",
        "rest",
        "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, *, body_bytes_max: int) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body_bytes_max = body_bytes_max
        self.captured: list[bytes] = []
        self.rest: list[bytes] = []
        self.names: tuple[str, ...] = ()
        self.is_foreign = False
        self.request_id = b""
        self.principal: Principal
        self.codec: Codec | None = None
        self.lock: str | None = None
        self._receive = receive
        self._query: Mapping[str, str] | None = None

    def check_headers(self) -> None:
        """Refuse a request that says twice what may be said once: two readers could understand it differently."""
        if len(self.headers) == len(self.scope["headers"]):
            return
        seen: set[bytes] = set()
        for name, _ in self.scope["headers"]:
            if name in seen and name in _SINGLE_HEADERS:
                raise refuse(f"the header {name.decode('latin-1')} is there twice")
            seen.add(name)

    @property
    def asked_id(self) -> bytes | None:
        """The request id that the client chose, if it chose a usable one."""
        asked = self.headers.get(b"x-request-id")
        return asked if asked is not None and _REQUEST_ID.fullmatch(asked) else None

    def query(self, *allowed: str) -> Mapping[str, str]:
        """The query's parameters, of which only `allowed` may be there, each once."""
        if self._query is None:
            raw: bytes = self.scope["query_string"]
            self._query = (_parse_query_cached if len(raw) <= 64 else _parse_query)(raw)
        if self._query:
            for name in self._query:
                if name not in allowed:
                    known = f"; it takes {', '.join(allowed)}" if allowed else ""
                    raise refuse(f"there is no query parameter {shown(name)} here{known}")
        return self._query

    @property
    def reference(self) -> str | None:
        """The lock reference in the header `Polysite-Lock`, None without one."""
        header = self.headers.get(b"polysite-lock")
        return None if header is None else header.decode("latin-1")

    @property
    def idempotency_key(self) -> str | None:
        """The header `Idempotency-Key`, None without one."""
        header = self.headers.get(b"idempotency-key")
        if header is None:
            return None
        if not _IDEMPOTENCY_KEY.fullmatch(header):
            raise refuse("an Idempotency-Key is 1 to 255 printable ASCII characters without spaces")
        return header.decode("ascii")

    def level(self, query: Mapping[str, str]) -> api.Level:
        """The level asked for; with a lock reference and no level it is critical, without both eventual."""
        asked = query.get("level")
        if asked is None:
            return "critical" if b"polysite-lock" in self.headers else "eventual"
        return check_level(asked)

    async def body(self, decoder: "msgspec.json.Decoder[BodyType]", *, optional: bool = False) -> BodyType:
        """The body as a struct. `optional`: nothing at all counts as an empty object. BadRequest names what is wrong, a member
        that is there twice too."""
        content_type = self.headers.get(b"content-type")
        if content_type is not None and content_type != JSON and not _is_json(content_type):
            raise refuse("the body is JSON: send Content-Type: application/json", status=415)
        raw = await self.raw_body()
        if not raw:
            if not optional:
                raise refuse("the request needs a body in JSON")
            raw = b"{}"
        body = decode_json(decoder, raw, "the body")
        check_members(raw, "the body", at_least=body.members_min())
        return body

    async def raw_body(self) -> bytes:
        """All bytes of the body; TooLarge as soon as they are known to be too many."""
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > self.body_bytes_max:
            raise self._too_large(close=int(length) > DRAINED_BYTES_MAX)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body
        parts = [body]
        size = len(body)
        while message.get("more_body", False):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.body_bytes_max:
                raise self._too_large(close=True)
        return b"".join(parts)

    async def hung_up(self) -> None:
        """Return when the client is gone; to be called once the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _too_large(self, *, close: bool) -> HttpRefusal:
        error = TooLarge(f"a request body is at most {self.body_bytes_max} bytes", bytes_max=self.body_bytes_max)
        return HttpRefusal(413, error, ((b"connection", b"close"),) if close else ())


def check_level(asked: str) -> api.Level:
    """`asked` if it is a level."""
    level = _LEVELS.get(asked)
    if level is None:
        raise BadRequest("level is eventual, quorum, critical or atomic")
    return level


def decode_json(decoder: "msgspec.json.Decoder[T]", raw: bytes | str, what: str) -> T:
    """JSON as a struct; BadRequest says where it is wrong and never repeats a value."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        reason = _QUOTED_VALUE.sub("", str(error))
        if len(reason) > 300:
            reason = reason[:300] + "…"
        raise BadRequest(f"{what}: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"{what} is not JSON in UTF-8") from None
    except RecursionError:
        raise BadRequest(f"{what} is nested too deeply") from None


def query_flag(query: Mapping[str, str], name: str, *, default: bool) -> bool:
    """A parameter that is 1 (or true) or 0 (or false)."""
    text = query.get(name)
    if text is None:
        return default
    if text in ("1", "true"):
        return True
    if text in ("0", "false"):
        return False
    raise refuse(f"{name} is 1 or 0")


def query_int(query: Mapping[str, str], name: str, *, low: int, high: int) -> int | None:
    """A parameter that is a whole number within bounds; None if it is not there."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high):
        raise refuse(f"{name} is a whole number from {low} to {high}")
    return int(text)


def _parse_query(raw: bytes) -> Mapping[str, str]:
    if not raw:
        return {}
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=64
        )
    except ValueError:  # UnicodeDecodeError is one
        raise refuse("the query is not made of name=value pairs in percent-encoded UTF-8") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        twice = next(name for position, (name, _) in enumerate(pairs) if name in dict(pairs[:position]))
        raise refuse(f"the query parameter {shown(twice)} is there twice")
    return query


_parse_query_cached = lru_cache(maxsize=1024)(_parse_query)


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == JSON or media_type.endswith(b"+json")
