"""From method and raw path to a route: a tree of path segments.

Matching is on the raw path, before any percent-decoding, because a key may hold slashes, dots and anything else.
`{name}` takes one segment, `{name...}` takes all that are left (the values of a primary key, empty ones too).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from polysite.errors import UnknownKey
from polysite.server.auth import Right
from polysite.server.exchange import Exchange, Reply, Stream
from polysite.server.problems import HttpRefusal, refuse

if TYPE_CHECKING:
    from polysite.server.service import Service

Handler = Callable[["Service", Exchange], Awaitable[Reply | Stream]]

ROWS = b"/rows/"
ROW_METHODS = ("GET", "PUT", "DELETE")
PREFIXES_MAX = 1_024
NOT_FOUND_HINT = "there is no such path; GET /v3/openapi.json describes those there are"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of the query, or a header, as the description of the interface tells it."""

    name: str
    schema: dict[str, Any]
    about: str
    place: str = "query"
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Route:
    """One verb on one path, and everything the description of the interface says about it.

    `right` is needed on the keyspace that the first captured segment names. `asks`: what the handler itself asks for, on the
    keyspace of each key that the request names; `asks_also`: a sentence on what more it asks for, and when. Without any of
    them whoever is known may, or anybody (`open_to_all`). `begins` marks the start of something new, which a stopping server refuses; `waits` what may take long by its nature.
    `answers` maps a status to the type of its body (None: not JSON). `errors` are codes.
    """

    method: str
    pattern: str
    name: str
    about: str
    handler: Handler
    right: Right | None = None
    asks: tuple[Right, ...] = ()
    asks_also: str = ""
    open_to_all: bool = False
    begins: bool = False
    changes: bool = False
    waits: bool = False
    body: Any = None
    body_example: Any = None
    body_optional: bool = False
    parameters: tuple[Parameter, ...] = ()
    answers: dict[int, Any]
    media_types: tuple[str, ...] = ("application/json",)
    errors: tuple[str, ...] = ()
    path_examples: dict[str, str] | None = None
    internal: bool = False

    @property
    def captures(self) -> list[str]:
        """The names of the variable segments, in order."""
        return [part.strip("{}").removesuffix("...") for part in self.pattern.split("/") if part.startswith("{")]


class _Branch:
    __slots__ = ("any_segment", "literals", "rest", "routes")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Branch] = {}
        self.any_segment: _Branch | None = None
        self.rest: dict[str, Route] = {}
        self.routes: dict[str, Route] = {}


class _Prefix(NamedTuple):
    """What a path that starts so resolves to, but for the key."""

    captured: list[bytes]
    methods: dict[str, Route]


class Router:
    """All routes as a tree. Literal segments win over variable ones.

    Paths of rows are most of the traffic, so what stands before the key is remembered with what it resolved to.
    """

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._root = _Branch()
        self._prefixes: dict[bytes, _Prefix] = {}
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        branch = self._root
        for part in route.pattern.strip("/").split("/"):
            if part.endswith("...}"):
                self._put(branch.rest, route)
                return
            if part.startswith("{"):
                branch.any_segment = branch.any_segment or _Branch()
                branch = branch.any_segment
            else:
                branch = branch.literals.setdefault(part.encode(), _Branch())
        self._put(branch.routes, route)

    @staticmethod
    def _put(methods: dict[str, Route], route: Route) -> None:
        assert route.method not in methods, f"{route.method} {route.pattern} is there twice"
        methods[route.method] = route

    def find(self, exchange: Exchange) -> Route:
        """The route of a request; `captured` and `rest` of the exchange are set. HttpRefusal: no such path or method."""
        raw_path: bytes = exchange.scope["raw_path"]
        prefix, slash, rest = raw_path.partition(ROWS)
        known = self._prefixes.get(prefix) if slash else None
        if known is not None and exchange.method in known.methods:
            exchange.captured = known.captured
            exchange.rest = rest.split(b"/")
            return known.methods[exchange.method]
        methods = self._methods(raw_path.split(b"/"), exchange)
        route = methods.get(exchange.method) or (methods.get("GET") if exchange.method == "HEAD" else None)
        if route is None:
            raise _refusal(methods)
        if slash and exchange.rest and b"/".join(exchange.rest) == rest and len(self._prefixes) < PREFIXES_MAX:
            self._prefixes[prefix] = _Prefix(exchange.captured, {method: methods[method] for method in ROW_METHODS})
        return route

    def _methods(self, segments: list[bytes], exchange: Exchange) -> dict[str, Route]:
        branch = self._root
        last = len(segments) - 1
        for position in range(1, last + 1):
            segment = segments[position]
            found = branch.literals.get(segment)
            if found is not None and (not branch.rest or (position == last and exchange.method in found.routes)):
                branch = found
            elif branch.rest:
                exchange.rest = segments[position:]
                return (
                    {**branch.rest, **(found.routes if found is not None else {})} if position == last else branch.rest
                )
            elif branch.any_segment is not None:
                exchange.captured.append(segment)
                branch = branch.any_segment
            else:
                return {}
        return branch.routes


def _refusal(methods: dict[str, Route]) -> HttpRefusal:
    if not methods:
        return HttpRefusal(404, UnknownKey(NOT_FOUND_HINT))
    allowed = sorted({*methods, *(("HEAD",) if "GET" in methods else ())})
    return refuse(
        f"the path takes {', '.join(allowed)}", status=405, headers=((b"allow", ", ".join(allowed).encode()),)
    )
